"""The folder of the bodies: names, locks and what is there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from proxyapp.store import folder
from proxyapp.store.folder import BodyFolder, let_go

_ALONE = fcntl.LOCK_EX | fcntl.LOCK_NB
_SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB


@pytest.fixture
def place(tmp_path: Path) -> BodyFolder:
    """Return a folder that is ready."""
    made = BodyFolder(tmp_path / "cache", lambda: 1.7e9)
    made.prepare()
    made.prepare()
    return made


def test_ids_are_new(place: BodyFolder) -> None:
    """None comes twice, they grow, and fit into SQLite's integers; the clock may stand still."""
    ids = [place.new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert 0 < ids[0] < ids[-1] < 1 << 63


def test_ids_differ_between_processes(tmp_path: Path) -> None:
    """Two that ask in the same microsecond hardly get the same."""
    first, second = (BodyFolder(tmp_path, lambda: 1.7e9) for _ in range(2))
    ids = {first.new_id() for _ in range(50)} & {second.new_id() for _ in range(50)}
    assert len(ids) < 10


def test_bodies_of_a_minute_share_a_folder(tmp_path: Path) -> None:
    """A memory card writes whole blocks: what is made together is together."""
    now = [1.7e9]
    place = BodyFolder(tmp_path, lambda: now[0])
    folders = set()
    for _ in range(60):
        folders.add(os.path.dirname(place.body_path(place.new_id())))
        now[0] += 1.0
    assert len(folders) <= 2
    for _ in range(1000):
        folders.add(os.path.dirname(place.body_path(place.new_id())))
        now[0] += 1000.0
    assert 100 < len(folders) <= 256


def test_a_growing_body_gets_its_name(place: BodyFolder) -> None:
    """It's found under its id before and after."""
    number = place.new_id()
    descriptor = place.create(number)
    os.write(descriptor, b"hello")
    assert (folder.has(place, number), folder.growing(place)) == (False, [number])
    assert folder.growing_room(place) >= 0
    for _ in range(2):
        opened = place.open(number)
        assert os.read(opened, 9) == b"hello"
        os.close(opened)
        if not folder.has(place, number):
            place.settle(number)
    assert (list(folder.bodies(place)), folder.growing(place)) == ([number], [])
    assert list(folder.times(place)) == [number]
    let_go(descriptor)
    place.unlink(number)
    place.unlink(number)
    place.unlink_growing(number)
    with pytest.raises(FileNotFoundError):
        place.open(number)


def test_one_writes(place: BodyFolder) -> None:
    """A growing body is its writer's, until that lets go, whoever else has it open."""
    number = place.new_id()
    descriptor = place.create(number)
    follower = os.dup(descriptor)
    with pytest.raises(BlockingIOError):
        place.adopt(number)
    let_go(descriptor)
    os.close(place.adopt(number))
    place.settle(number)
    again = place.reopen(number)
    with pytest.raises(BlockingIOError):
        place.reopen(number)
    os.close(again)
    os.close(follower)
    os.close(place.create(number))
    with pytest.raises(FileExistsError):
        place.create(number)
    place.unlink_growing(number)


def test_locks(place: BodyFolder) -> None:
    """Many change things together, one alone."""
    alone, shared = place.lock("lock", _ALONE), place.lock("lock", _SHARED)
    with place.shared(), place.shared(), pytest.raises(BlockingIOError):
        alone.__enter__()
    with place.alone(), pytest.raises(BlockingIOError):
        shared.__enter__()
