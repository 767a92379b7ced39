"""A responder's work that may be stopped from inside: by what it writes its answer to."""

from __future__ import annotations

from collections.abc import Coroutine

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from proxyapp import errors
from proxyapp.net.task import Task, Wakeup


class Errand:
    """Runs one piece of work, to its end or until it is stopped."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._done = Wakeup()
        self._task: Task | None = None
        self._stopping: IDelayedCall | None = None
        self._error: errors.ExchangeError | None = None

    def __repr__(self) -> str:
        state = "stopped" if self._stopping is not None else "running"
        return f"<Errand {'done' if self._done.has_happened else state}>"

    async def run(self, work: Coroutine[Deferred[object] | Wakeup, None, None]) -> None:
        """Do *work*; raises what it raises, or what it was stopped with."""
        self._task = Task(work, self._done.happen)
        self._task.resume()
        try:
            await self._done
        except (CancelledError, errors.ExchangeError):
            # Whoever cancels us from outside comes before the work has heard of it.
            if self._stopping is None or not self._done.has_happened:
                raise
        finally:
            if self._stopping is not None and self._stopping.active():
                self._stopping.cancel()
            self._cancel()
        if self._error is not None:
            raise self._error

    def stop(self, error: errors.ExchangeError | None = None, delay: float = 0) -> None:
        """End the work *delay* seconds later, with *error* unless it is None.

        Never at once: who calls is deep inside the connection that the work reads from.
        """
        if self._done.has_happened:
            return
        self._error = self._error or error
        if self._stopping is None or not self._stopping.active():
            self._stopping = self._clock.callLater(delay, self._cancel)
        elif not delay:
            self._stopping.reset(0)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
