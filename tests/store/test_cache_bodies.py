"""A body that grows says how it gets on, and ends once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from proxyapp.store.bodies import STEP, BodyFile, GrowingBody, in_memory, read_whole
from proxyapp.store.bodyhead import Damaged
from proxyapp.store.entry import Entry, Extents, StoreFull, size_of
from tests.store.stores import KEY, result, stored

MOST = 20 * STEP


class Kept:
    """See Keeper: what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.has_room = True
        self.writing_out: list[Deferred[None]] = []

    def take(self, amount: int) -> bool:
        return self.has_room

    def failed(self, error: OSError) -> None:
        self.told.append("failed")

    def write_out(self, descriptor: int) -> Deferred[None]:
        os.close(descriptor)
        self.writing_out.append(Deferred())
        return self.writing_out[-1]

    def keep(self, body: GrowingBody, file: BodyFile, extents: Extents) -> Entry:
        self.told.append("kept")
        return Entry(body.key, file.id, body.stored, size_of(extents), extents)

    def drop(self, body: GrowingBody, file: BodyFile) -> None:
        self.told.append("dropped")


@pytest.fixture
def kept() -> Kept:
    """Return a keeper."""
    return Kept()


@pytest.fixture
def body(kept: Kept) -> Iterator[GrowingBody]:
    """Yield a new body in memory."""
    file = BodyFile(1, os.memfd_create("test"), 0, (), MOST, is_new=True)
    growing = GrowingBody(KEY, stored(), file, 0, kept)
    yield growing
    growing.abandon()


def test_it_grows(body: GrowingBody, kept: Kept) -> None:
    """Followers see what was written, and how far that is."""
    body.write(b"hello ")
    body.write(b"world")
    assert (body.start, body.end, body.size) == (0, 11, 11)
    assert os.fstat(body.descriptor).st_size == 11
    assert os.pread(body.descriptor, 5, body.offset + 6) == b"world"
    entry = body.finish()
    assert (entry.is_complete, entry.extents, kept.told) == (True, ((0, 11),), ["kept"])
    assert body.descriptor == -1


@pytest.mark.parametrize("reason", ["room", "most", "disk"])
def test_it_is_given_up_once(body: GrowingBody, kept: Kept, reason: str) -> None:
    """StoreFull is raised once; then nothing more is taken, and nothing kept."""
    body.write(b"x")
    if reason == "room":
        kept.has_room = False
    elif reason == "disk":  # a pipe has no positions
        ends = os.pipe()
        os.dup2(ends[1], body.descriptor)
        for end in ends:
            os.close(end)
    with pytest.raises(StoreFull):
        body.write(bytes(MOST) if reason == "most" else b"y")
    body.write(b"z")
    body.abandon()
    assert body.suspend() is None
    with pytest.raises(StoreFull):
        body.finish()
    assert kept.told == ["failed"] * (reason == "disk") + ["dropped"]


def test_a_slow_disk_is_told(body: GrowingBody, kept: Kept) -> None:
    """It is behind when much isn't written out, until that has been."""
    piece = bytes(STEP)
    body.write(piece)
    assert len(kept.writing_out) == 1
    for _ in range(2):
        body.write(piece)
        assert not body.is_behind
        assert result(body.caught_up()) is None
    body.write(piece)
    assert body.is_behind
    caught_up: list[None] = []
    body.caught_up().addCallback(caught_up.append)
    assert not caught_up
    kept.writing_out[0].callback(None)
    assert caught_up == [None]
    assert not body.is_behind
    body.write(piece)
    assert len(kept.writing_out) == 2


def test_suspended_empty_it_is_nothing(body: GrowingBody, kept: Kept) -> None:
    """A part without a byte is dropped."""
    assert body.suspend() is None
    assert kept.told == ["dropped"]


def test_a_part_has_no_total_of_its_own(kept: Kept) -> None:
    """The end of a part isn't that of the content."""
    file = BodyFile(1, os.memfd_create("test"), 0, (), MOST, is_new=True)
    part = GrowingBody(KEY, stored(), file, 100, kept)
    part.write(b"x")
    entry = part.finish()
    assert (entry.stored.total, entry.extents, entry.is_complete) == (None, ((100, 101),), False)


def test_repr(body: GrowingBody) -> None:
    """It says how far it is."""
    body.write(b"abc")
    assert repr(body) == f"<GrowingBody {KEY!r} 0-3>"
    body.abandon()
    assert repr(body).endswith("over>")


def test_reading_whole() -> None:
    """What is too short is damaged."""
    opened = in_memory(b"hello")
    assert read_whole(opened.descriptor, 5, 0) == b"hello"
    with pytest.raises(Damaged):
        read_whole(opened.descriptor, 6, 0)
    opened.close()
