"""What grows is read by many meanwhile, kept if it may be, and never more than was promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.cache.growing import Growing
from proxyapp.store.entry import StoreFull
from proxyapp.store.store import CacheStore, StoreLimits
from tests.cache.flowstage import BLOCK, crashing
from tests.conftest import LoggedErrors
from tests.store.stores import KEY, LIMITS, MIB, Bench, bench, stored

_T = TypeVar("_T")
ERROR = errors.ResponseIncomplete("cut")
TIGHT = StoreLimits(memory=4 * MIB, disk=64 * MIB, max_object=3 * len(BLOCK))


class Source:
    """Who brings the bytes; *said* is what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def heard(self) -> list[str]:
        """Return what it was told since the last time."""
        said, self.said = self.said, []
        return said


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path, getattr(request, "param", LIMITS)) as started:
        yield started


tight = pytest.mark.parametrize("running", [TIGHT], indirect=True, ids=["tight"])


def grow(running: Bench, total: int | None = None, entry: bool = False) -> Growing:
    """Begin to store something; with *entry*, behind the part that is there."""
    part = running.store.variants(KEY)[0] if entry else None
    start = part.extents[0][1] if part is not None else 0
    body = running.store.begin(KEY, stored(), total, part, start)
    assert body is not None
    return Growing(body, total)


def read_all(growing: Growing, position: int = 0) -> bytes:
    """Return what there is from *position* on."""
    pieces = []
    while piece := growing.read(position, 10_000):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("total", [None, 2 * len(BLOCK)])
def test_it_is_read_while_it_grows(running: Bench, total: int | None) -> None:
    """What was written is there for readers at once, and stored at the end."""
    growing = grow(running, total)
    growing.enter("reader", 0)
    growing.write(BLOCK)
    assert read_all(growing) == BLOCK
    assert growing.end == growing.kept == len(BLOCK)
    growing.write(BLOCK)
    growing.finish()
    assert read_all(growing, len(BLOCK)) == BLOCK
    growing.leave("reader")
    assert running.read_key(KEY) == [BLOCK * 2]
    assert (growing.total, growing.is_over) == (2 * len(BLOCK), True)


def test_who_waits_is_woken(running: Bench) -> None:
    """More bytes, or the end, are what a reader waits for."""
    growing = grow(running)
    assert not (first := growing.more(0)).has_happened
    growing.write(b"x")
    assert first.has_happened
    assert growing.more(0).has_happened
    assert not (last := growing.more(1)).has_happened
    growing.fail(ERROR)
    assert last.has_happened
    assert growing.error is ERROR


def test_a_reader_that_fails_hurts_nobody(running: Bench, logged_errors: LoggedErrors) -> None:
    """A mistake in what one reader does is logged, and the others go on."""
    growing = grow(running)
    first, second, third = (growing.more(0) for _ in range(3))
    first.wake(crashing())
    growing.write(b"x")
    assert second.has_happened
    assert third.has_happened
    growing.finish()
    assert running.read_key(KEY) == [b"x"]
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


def test_the_descriptor_is_closed_once(running: Bench) -> None:
    """Its own descriptor is there until it is over and everybody has left, whoever is last."""
    for last in ("end", "reader"):
        growing = grow(running)
        growing.enter(1, 0)
        growing.enter(2, 0)
        growing.leave(1)
        descriptor = growing.descriptor
        for step in ("reader", "end") if last == "end" else ("end", "reader"):
            os.fstat(descriptor)
            growing.leave(2) if step == "reader" else growing.fail(ERROR)
        assert growing.descriptor == -1
        growing.leave(2)


def test_more_than_was_promised(running: Bench) -> None:
    """Too many bytes make all of it worthless, and nothing more is taken."""
    growing = grow(running, total=10)
    growing.enter("reader", 0)
    growing.write(b"0123456789" + b"more")
    assert isinstance(growing.error, errors.ResponseIncomplete)
    growing.write(b"and more")
    assert growing.end == 0
    growing.leave("reader")
    assert not running.store.variants(KEY)


@pytest.mark.parametrize("end", ["fail", "abandon"])
def test_an_early_end(running: Bench, end: str) -> None:
    """What came until an interruption is kept for later, but not what isn't part of one whole."""
    growing = grow(running, total=2 * len(BLOCK))
    growing.write(BLOCK)
    getattr(growing, end)(ERROR)
    parts = [entry.extents for entry in running.store.variants(KEY)]
    assert parts == ([((0, len(BLOCK)),)] if end == "fail" else [])
    assert growing.error is ERROR


def test_it_goes_on_behind_a_part(running: Bench) -> None:
    """What was there before is there for the readers too."""
    part = grow(running, total=2 * len(BLOCK))
    part.write(BLOCK)
    part.fail(ERROR)
    growing = grow(running, 2 * len(BLOCK), entry=True)
    assert growing.followable is None
    growing.enter("reader", 0)
    growing.write(BLOCK[::-1])
    assert read_all(growing) == BLOCK + BLOCK[::-1]
    growing.finish()
    growing.leave("reader")
    assert running.read_key(KEY) == [BLOCK + BLOCK[::-1]]


# --- No more room ---


def overflow(running: Bench, *positions: int) -> tuple[Growing, Source]:
    """Let something grow past what the store takes, with readers at *positions*."""
    growing, source = grow(running), Source()
    for number, position in enumerate(positions):
        growing.enter(number, position)
    growing.pulled_by(source)
    for _ in range(3):
        growing.write(BLOCK)
    assert not source.heard()
    growing.write(b"tail")
    assert not growing.is_kept
    return growing, source


@tight
def test_a_full_store_holds_the_origin(running: Bench) -> None:
    """What the store doesn't take waits for the slowest reader, and the origin waits with it."""
    growing, source = overflow(running, 0, 0)
    assert source.heard() == ["pause"]
    assert read_all(growing) == BLOCK * 3 + b"tail"
    growing.moved(0, growing.end)
    assert source.heard()[-1] == "pause"
    growing.moved(1, growing.end)
    assert source.heard() == ["resume"]
    growing.write(b"next")
    assert read_all(growing, growing.end - 4) == b"next"
    growing.leave(0)
    growing.leave(1)
    growing.finish()
    assert not running.store.variants(KEY)


@tight
def test_a_slow_reader_is_no_stall(running: Bench) -> None:
    """As long as somebody takes something, the origin's time-out begins anew."""
    growing, source = overflow(running, 0)
    source.heard()
    growing.moved(0, 1000)
    assert source.heard() == ["resume", "pause"]
    growing.leave(0)
    growing.fail(ERROR)


@tight
def test_the_slow_one_leaves(running: Bench) -> None:
    """Whoever is gone holds nobody up."""
    growing, source = overflow(running, 3 * len(BLOCK) + 4, 0)
    source.heard()
    growing.leave(1)
    assert source.heard() == ["resume"]
    growing.leave(0)
    growing.fail(ERROR)


@tight
def test_nobody_reads_and_nothing_is_stored(running: Bench) -> None:
    """The origin isn't asked for more of what goes nowhere; its time-out ends that."""
    growing, source = overflow(running)
    assert source.heard() == ["pause"]
    growing.fail(ERROR)
    assert growing.descriptor == -1


def test_the_store_is_stopped(tmp_path: Path) -> None:
    """When the store stops under it, the readers get the rest all the same."""
    running = Bench(tmp_path, LIMITS)
    growing, source = grow(running), Source()
    growing.enter("reader", 0)
    growing.pulled_by(source)
    growing.write(BLOCK)
    running.stop()
    growing.write(b"rest")
    assert read_all(growing) == BLOCK + b"rest"
    assert source.heard() == ["pause"]
    growing.finish()
    growing.leave("reader")


def test_the_end_finds_no_room(running: Bench) -> None:
    """Whether it can be stored in the end is nothing to the readers."""
    growing = grow(running)
    growing.enter("reader", 0)
    growing.write(BLOCK)
    with mock.patch("proxyapp.store.bodies.GrowingBody.finish", side_effect=StoreFull):
        growing.finish()
    assert growing.error is None
    assert read_all(growing) == BLOCK
    growing.leave("reader")


# --- A slow disk ---


class SlowThread:
    """Runs jobs when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = Deferred()
        self.jobs.append(lambda: done.callback(job()))
        return done

    def run(self) -> None:
        """Do what there is to do."""
        while self.jobs:
            self.jobs.pop(0)()


def test_a_slow_disk_holds_the_origin(tmp_path: Path) -> None:
    """What isn't written out is bounded, and afterwards only the same source is told to go on."""
    thread, clock = SlowThread(), Clock()
    limits = StoreLimits(memory=MIB, disk=256 * MIB, max_object=256 * MIB)
    store = CacheStore(tmp_path, limits, thread, clock, clock.seconds)
    store.start()
    thread.run()
    body = store.begin(KEY, stored(), None)
    assert body is not None
    for has_left in (False, True):
        growing, source = Growing(body, None), Source()
        growing.pulled_by(source)
        while not source.said:
            growing.write(bytes(MIB))
        if has_left:
            growing.pulled_by(None)
        assert source.heard() == ["pause"]
        thread.run()
        assert source.heard() == ([] if has_left else ["resume"])
        os.close(growing.descriptor)
    body.abandon()
    stopped: list[object] = []
    store.stop().addBoth(stopped.append)
    while not stopped:
        thread.run()
        clock.advance(0.1)
