"""Blocking work in threads: where it runs, and jobs that have an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed

_T = TypeVar("_T")


class InThread(Protocol):
    """Runs *job* in a thread, as deferToThreadPool does when it is bound to a pool."""

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        """Return what fires, in the reactor's thread, with what *job* returned or raised."""


class Strand:
    """Runs jobs one after the other, in the order in which they were given.

    A job that has been given is run, whether anybody still waits for it or not: who gives up
    waiting, because its client is gone, can put a last job behind it that clears up.
    """

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._last: Deferred[None] = succeed(None)

    def run(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Run *job* in its turn; cancelling only ends the wait for it."""
        outcome: Deferred[_T] = Deferred()

        def begin(_: None) -> Deferred[None]:
            return self._in_thread(job).addCallbacks(outcome.callback, outcome.errback)

        self._last.addCallback(begin)
        return outcome
