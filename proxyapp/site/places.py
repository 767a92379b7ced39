"""Places for blocking work: a few pieces run at a time, the rest waits in a line with an end."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred

from proxyapp import errors
from proxyapp.site.threads import InThread

_T = TypeVar("_T")
_RETRY = (b"Retry-After", b"5")


def detached(running: Deferred[_T], on_end: Callable[[], None]) -> Deferred[_T]:
    """Return the outcome of *running* as something that may be cancelled while it goes on.

    A thread can't be stopped from outside: *on_end* is called when it has really come to its end,
    whether or not anybody still waits for the outcome.
    """
    outcome: Deferred[_T] = Deferred()

    def end(result: _T) -> _T:
        on_end()
        return result

    running.addBoth(end)
    running.addCallbacks(outcome.callback, outcome.errback)
    return outcome


class Places:
    """Lets *at_once* pieces of work run and *waiting* more wait, first come, first served.

    *refusal* is what those hear for whom there is no room.
    """

    def __init__(self, in_thread: InThread, at_once: int, waiting: int, refusal: str) -> None:
        self._in_thread = in_thread
        self._at_once = at_once
        self._most_waiting = waiting
        self._refusal = refusal
        self._line: deque[Deferred[None]] = deque()
        self.busy = 0

    def __repr__(self) -> str:
        return f"<Places {self.busy} of {self._at_once} busy, {len(self._line)} waiting>"

    async def enter(self) -> None:
        """Take a place, once there is one; raises Overloaded where the line is full."""
        if self.busy < self._at_once:
            self.busy += 1
            return
        if len(self._line) >= self._most_waiting:
            raise errors.Overloaded(self._refusal, (_RETRY,))
        turn: Deferred[None] = Deferred(self._line.remove)
        self._line.append(turn)
        await turn

    def leave(self) -> None:
        """Give the place to the next in line, if there is one."""
        if self._line:
            self._line.popleft().callback(None)
        else:
            self.busy -= 1

    async def run(self, descriptor: int, work: Callable[[int, threading.Event], _T]) -> _T:
        """Run *work* in a thread, on its own duplicate of *descriptor*, and return its result.

        The event is set when nobody waits for the result any more: *work* looks at it now and
        then. Raises Overloaded, and what *work* raises.
        """
        await self.enter()
        try:
            own = os.dup(descriptor)
        except OSError as error:
            self.leave()
            raise errors.Overloaded("too many files or connections are open", (_RETRY,)) from error
        halt = threading.Event()

        def end() -> None:
            os.close(own)
            self.leave()

        try:
            return await detached(self._in_thread(partial(work, own, halt)), end)
        finally:
            halt.set()
