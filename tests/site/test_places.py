"""Places for blocking work: how many run, who waits, and who is turned away."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from proxyapp import errors
from proxyapp.site.places import Places, detached

_T = TypeVar("_T")


class Threads:
    """Threads whose work ends when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], _T]) -> Deferred[_T]:
        result: Deferred[_T] = Deferred()
        self.under_way.append(lambda: result.callback(job()))
        return result

    def end(self) -> None:
        """Let the oldest piece of work run to its end."""
        self.under_way.pop(0)()


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Return the descriptor of something."""
    found = os.open("/", os.O_RDONLY)
    yield found
    os.close(found)


def start(places: Places, descriptor: int, results: list[object]) -> Deferred[None]:
    """Let a piece of work enter; what comes of it is added to *results*."""

    def work(own: int, halt: threading.Event) -> str:
        assert own != descriptor
        os.fstat(own)
        return "halted" if halt.is_set() else "done"

    return Deferred.fromCoroutine(places.run(descriptor, work)).addBoth(results.append)


def test_refused(descriptor: int) -> None:
    """Where the line has no room, the client is told to come again."""
    threads = Threads()
    places = Places(threads, 1, 1, "too many are here")
    results: list[object] = []
    for _ in range(3):
        start(places, descriptor, results)
    (refusal,) = results
    error = refusal.value  # type: ignore[attr-defined]
    assert isinstance(error, errors.Overloaded)
    assert (error.reason, error.fields) == ("too many are here", ((b"Retry-After", b"5"),))
    assert repr(places) == "<Places 1 of 1 busy, 1 waiting>"
    for _ in range(2):
        threads.end()
    assert results[1:] == ["done", "done"]
    assert repr(places) == "<Places 0 of 1 busy, 0 waiting>"


def test_one_who_leaves_the_line(descriptor: int) -> None:
    """Who gives up waiting makes room in the line."""
    threads = Threads()
    places = Places(threads, 1, 1, "")
    results: list[object] = []
    start(places, descriptor, results)
    start(places, descriptor, []).cancel()
    assert repr(places) == "<Places 1 of 1 busy, 0 waiting>"
    start(places, descriptor, results)
    threads.end()
    threads.end()
    assert results == ["done", "done"]


def test_one_who_leaves_the_work(descriptor: int) -> None:
    """A place is free when its thread has ended, and not when its client has gone."""
    threads = Threads()
    places = Places(threads, 1, 1, "")
    results: list[object] = []
    running = start(places, descriptor, results)
    running.cancel()
    assert results[0].check(CancelledError)  # type: ignore[attr-defined]
    assert places.busy == 1
    start(places, descriptor, results)
    assert len(threads.under_way) == 1
    threads.end()
    threads.end()
    assert results[1:] == ["done"]
    assert places.busy == 0


def test_work_that_fails(descriptor: int) -> None:
    """What the work raises is raised, and its place is free."""

    def fail(own: int, halt: threading.Event) -> None:
        raise errors.NotFound("gone")

    def in_thread(job: Callable[[], _T]) -> Deferred[_T]:
        return succeed(None).addCallback(lambda _: job())

    places = Places(in_thread, 1, 0, "")
    results: list[object] = []
    Deferred.fromCoroutine(places.run(descriptor, fail)).addErrback(results.append)
    assert results[0].check(errors.NotFound)  # type: ignore[attr-defined]
    assert places.busy == 0


def test_no_descriptor() -> None:
    """Where there are no descriptors left the place isn't lost."""
    places = Places(Threads(), 1, 0, "")
    results: list[object] = []
    start(places, -1, results)
    assert results[0].check(errors.Overloaded)  # type: ignore[attr-defined]
    assert places.busy == 0


@pytest.mark.parametrize("is_failure", [False, True])
def test_detached(is_failure: bool) -> None:
    """The end of the work is told even when nobody waits; its outcome is then nobody's."""
    ended: list[str] = []
    running: Deferred[str] = Deferred()
    outcome = detached(running, lambda: ended.append("ended"))
    outcome.addErrback(lambda failure: failure.trap(CancelledError) and None)
    outcome.cancel()
    assert not ended
    if is_failure:
        running.errback(ValueError())
    else:
        running.callback("result")
    assert ended == ["ended"]
