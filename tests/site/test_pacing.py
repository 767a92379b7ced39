"""Bodies made in threads: as fast as the client takes them, and let go of when it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import Transport
from proxyapp.site.pacing import CHUNK, PIECE, Pace
from proxyapp.wire.headers import Fields
from tests.conftest import LoggedErrors

_T = TypeVar("_T")
STALL = 8.0


class Threads:
    """One thread, whose work is done when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], _T]) -> Deferred[_T]:
        result: Deferred[_T] = Deferred()

        def run() -> None:
            try:
                result.callback(job())
            except Exception:
                result.errback(Failure())

        self.under_way.append(run)
        return result

    def work(self) -> None:
        """Do everything that there is to do."""
        while self.under_way:
            self.under_way.pop(0)()


class Sink:
    """A sink and its connection, which asks for pauses as the test says."""

    is_raw = False
    stall_timeout = STALL

    def __init__(self) -> None:
        self.transport = cast(Transport, self)
        self.events: list[str] = []
        self.pieces: list[bytes] = []
        self.producer: object = None

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def flush(self) -> None:
        self.events.append("flushed")

    def finish(self, trailers: Fields) -> None:
        self.events.append("finished")

    def passed(self, count: int) -> None:
        raise AssertionError("nothing is spliced")

    def stalled(self) -> errors.ExchangeError:
        return errors.WriteTimeout("too slow")

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class Stage:
    """A body on its way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.threads = Threads()
        self.sink = Sink()
        self.halt = threading.Event()
        self.ends = 0
        self.results: list[object] = []
        self.pace = Pace(self.sink, self.sweep, self.threads, chunks, self.halt, self._end)
        self.running = Deferred.fromCoroutine(self.pace.run()).addBoth(self.results.append)

    def _end(self) -> None:
        self.ends += 1

    def step(self) -> None:
        """Let the thread make one piece."""
        self.threads.under_way.pop(0)()

    @property
    def error(self) -> BaseException | None:
        """What ended it early."""
        (result,) = self.results
        return result.value if isinstance(result, Failure) else None

    def is_let_go(self) -> bool:
        """Is everything at rest, and was the end told once?"""
        self.threads.work()
        at_rest = self.sink.producer is None and repr(self.sweep) == "<Sweep of 0>"
        return at_rest and self.ends == 1 and self.halt.is_set()


def numbered(count: int, size: int, closed: list[str]) -> Iterator[bytes]:
    """Yield *count* chunks, and note the end."""
    try:
        for number in range(count):
            yield bytes([number]) * size
    finally:
        closed.append("closed")


# What goes wrong.


def test_iterator_that_fails() -> None:
    """What the iterator raises is raised; the body isn't finished."""

    def failing() -> Iterator[bytes]:
        yield bytes(PIECE)
        raise errors.InternalError("it broke")

    stage = Stage(failing())
    stage.threads.work()
    assert isinstance(stage.error, errors.InternalError)
    assert stage.sink.events == ["flushed"]
    assert stage.is_let_go()


def test_client_leaves_while_a_piece_is_made() -> None:
    """The iterator isn't touched until its thread has let go of it, then closed."""
    closed: list[str] = []
    stage = Stage(numbered(100, CHUNK, closed))
    stage.step()
    stage.running.cancel()
    assert isinstance(stage.error, CancelledError)
    assert stage.halt.is_set()
    assert (closed, stage.ends) == ([], 0)
    assert stage.is_let_go()
    assert closed == ["closed"]
    assert len(b"".join(stage.sink.pieces)) == PIECE


def test_halted_thread_stops_at_once() -> None:
    """A thread that is gathering small chunks hears that nobody wants them."""
    made: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            made.append(1)
            if len(made) == 3:
                stage.halt.set()
            yield b""

    stage = Stage(endless())
    stage.step()
    assert len(made) == 3


def test_client_leaves_while_it_is_waited_for() -> None:
    """A paused connection that is gone ends the wait."""
    closed: list[str] = []
    stage = Stage(numbered(100, CHUNK, closed))
    stage.pace.pauseProducing()
    stage.step()
    assert repr(stage.pace) == "<Pace waiting>"
    stage.pace.stopProducing()
    assert isinstance(stage.error, errors.ClientGone)
    assert stage.is_let_go()
    assert closed == ["closed"]


def test_connection_ends_while_a_piece_is_made() -> None:
    """Nothing is written to a connection that is gone."""
    stage = Stage(numbered(100, CHUNK, []))
    stage.pace.stopProducing()
    stage.step()
    assert isinstance(stage.error, errors.ClientGone)
    assert not stage.sink.pieces
    assert stage.is_let_go()


def test_stall() -> None:
    """A client that takes nothing for too long is given up; time that we need doesn't count."""
    stage = Stage(numbered(100, CHUNK, []))
    stage.clock.pump([0.5] * int(8 * STALL))
    assert not stage.results
    stage.pace.pauseProducing()
    stage.step()
    stage.clock.pump([0.5] * int(2 * STALL - 2))
    assert not stage.results
    stage.clock.pump([0.5] * int(STALL))
    assert isinstance(stage.error, errors.WriteTimeout)
    assert stage.is_let_go()


def test_iterator_that_cannot_be_closed(logged_errors: LoggedErrors) -> None:
    """Even then the end is told, and the mistake is logged."""

    def stubborn() -> Iterator[bytes]:
        try:
            yield bytes(PIECE)
        finally:
            raise ValueError("no")

    stage = Stage(stubborn())
    stage.step()
    stage.running.cancel()
    assert stage.is_let_go()
    assert len(logged_errors.flush(ValueError)) == 1


# What goes well.


@pytest.mark.parametrize(
    ("count", "size", "pieces"),
    [(0, 1, 0), (3, 0, 0), (1, 1, 1), (255, 512, 2), (4, CHUNK, 2), (5, CHUNK - 1, 2)],
)
def test_whole(count: int, size: int, pieces: int) -> None:
    """Everything arrives in order, small chunks together, and then the end."""
    closed: list[str] = []
    stage = Stage(numbered(count, size, closed))
    stage.threads.work()
    assert stage.results == [None]
    assert b"".join(stage.sink.pieces) == b"".join(numbered(count, size, []))
    assert len(stage.sink.pieces) == pieces
    assert all(len(piece) < PIECE + CHUNK for piece in stage.sink.pieces)
    assert stage.sink.events == ["flushed", "finished"]
    assert stage.is_let_go()
    assert closed == ["closed"]


def test_any_iterator() -> None:
    """What isn't a generator needs no closing."""
    stage = Stage(iter([b"a", b"b"]))
    stage.threads.work()
    assert stage.sink.pieces == [b"ab"]
    assert stage.is_let_go()


def test_pause() -> None:
    """While the client takes nothing, one piece is made in advance and no more."""
    stage = Stage(numbered(100, CHUNK, []))
    assert stage.sink.producer is stage.pace
    stage.step()
    stage.pace.pauseProducing()
    stage.threads.work()
    assert len(stage.sink.pieces) == 1
    assert repr(stage.pace) == "<Pace waiting>"
    stage.pace.resumeProducing()
    assert len(stage.sink.pieces) == 2
    stage.pace.pauseProducing()
    stage.pace.resumeProducing()
    stage.threads.work()
    assert len(stage.sink.pieces) == 50
    assert stage.is_let_go()
