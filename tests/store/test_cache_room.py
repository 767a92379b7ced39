"""A full or failing disk is said once, and serving goes on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxyapp.store.entry import StoreFull
from proxyapp.store.room import RETRY_DELAY, Room, room_of
from tests.store.stores import KEY, MIB, Bench, Said, bench, flood, listening, stored


def words(said: Said) -> list[str]:
    """Return what was said of the disk."""
    return [
        str(event.get("why", "works"))
        for event in said.events
        if "disk" in str(event.get("log_format"))
    ]


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """No file may get longer than *size*: writing on fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_until_full(running: Bench) -> bool:
    """Begin a long body, and write until it is given up; False if it wasn't begun."""
    body = running.store.begin(KEY + b"/long", stored(), None)
    if body is None:
        return False
    with pytest.raises(StoreFull):
        flood(body, 10 * MIB)
    return True


def test_one_line_for_each_incident(tmp_path: Path) -> None:
    """Serving goes on uncached; after a while it's tried again, and said when it works."""
    with bench(tmp_path) as running, listening() as said:
        running.store.put(KEY, stored(), b"hello")
        running.settle()
        with longest_file(MIB):
            assert fill_until_full(running)
            assert not fill_until_full(running)
            running.store.put(KEY + b"/new", stored(), b"new")
            assert running.read_key(KEY) == [b"hello"]
            assert running.read_key(KEY + b"/new") == [b"new"]
            running.settle(RETRY_DELAY + 1)
            assert fill_until_full(running)
        assert words(said) == ["is full"]
        assert running.store.statistics().is_failing
        running.settle(RETRY_DELAY + 1)
        running.store.put(KEY, stored(), b"works")
        running.settle()
        assert words(said) == ["is full", "works"]
        assert not running.store.statistics().is_failing
        assert not list((tmp_path / "growing").iterdir())


def test_a_short_content_that_the_disk_does_not_take(tmp_path: Path) -> None:
    """It stays in memory, and no part of it on the disk."""
    with bench(tmp_path) as running, listening() as said:
        running.settle()
        with longest_file(10_000):
            running.store.put(KEY, stored(), b"x" * 60_000)
            running.settle()
        assert words(said) == ["is full"]
        assert running.read_key(KEY) == [b"x" * 60_000]
        assert not list((tmp_path / "growing").iterdir())
        assert not list((tmp_path / "bodies").glob("*/*"))
    with bench(tmp_path) as running:
        assert not running.store.variants(KEY)


def test_an_index_that_the_disk_does_not_take(tmp_path: Path) -> None:
    """Bodies without rows go, and what is known stays."""
    with bench(tmp_path) as running, listening() as said:
        running.store.put(KEY, stored(), b"hello")
        running.settle()
        connection = running.store._library._disk._connection  # type: ignore[attr-defined]
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        for number in range(20):
            running.store.put(KEY + b"/%d" % number * 500, stored(), b"x")
        running.settle(2)
        assert words(said) == ["is full"]
        assert running.read_key(KEY) == [b"hello"]
        assert len(list((tmp_path / "bodies").glob("*/*"))) == 1
        connection.execute("PRAGMA max_page_count = 1000000").fetchall()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a file system without a byte left the cache goes on, and comes back."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with bench(mounted) as running, listening() as said:
            running.store.put(KEY, stored(), b"hello")
            running.settle()
            filler = mounted / "filler"
            with pytest.raises(OSError, match="No space"):
                filler.write_bytes(bytes(4 * MIB))
            assert not fill_until_full(running) or words(said)
            running.store.put(KEY + b"/2", stored(), b"2" * 50_000)
            running.settle(5)
            assert running.read_key(KEY) == [b"hello"]
            assert words(said) == ["is full"]
            filler.unlink()
            running.settle(RETRY_DELAY + 1)
            running.store.put(KEY, stored(), b"again")
            running.settle(2)
            assert words(said) == ["is full", "works"]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, ""), "is full"),
        (OSError(errno.EDQUOT, ""), "is full"),
        (OSError(errno.EIO, ""), "fails"),
        (OSError(errno.EROFS, ""), "fails"),
        (sqlite3.OperationalError("disk I/O error"), "fails"),
    ],
)
def test_what_is_said(error: OSError | sqlite3.Error, why: str) -> None:
    """It's the disk's fault, one way or the other."""
    now = [0.0]
    room = Room(MIB, lambda: now[0], lambda: None)
    with listening() as said:
        room.failed(error)
        room.failed(error)
        assert (room.is_usable, room.is_failing) == (False, True)
        now[0] = RETRY_DELAY
        assert (room.is_usable, room.is_failing) == (True, True)
        room.failed(error)
        assert not room.is_usable
        room.worked(5)
        assert (room.is_usable, room.take_written()) == (True, 5)
    assert words(said) == [why, "works"]


def test_growing_takes_room() -> None:
    """At the limit the sweeper is called; a bit beyond, nothing more is taken."""
    called: list[None] = []
    room = Room(100 * MIB, lambda: 0.0, lambda: called.append(None))
    assert room.take(60 * MIB)
    assert not room.has(41 * MIB)
    assert room.take(40 * MIB)
    assert not called
    assert room.take(10 * MIB)
    assert called
    assert not room.take(10 * MIB)
    room.put_back(110 * MIB, is_kept=False)
    assert (room.used, room.growing) == (0, 0)


def test_room_of() -> None:
    """Blocks are taken, and a row."""
    assert room_of(300, 0) == room_of(300, 3796) == 4096 + 1024
    assert room_of(300, 3797) == 8192 + 1024
