"""Workers that died are replaced: at once the first time, and then after longer and longer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# In seconds: after the second death, and twice as long after each further one.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
# Who lived so long has nothing to do with those who died before.
_HEALTHY = 60.0


class Replacing:
    """When a worker with a certain number is started again; *start* does it."""

    def __init__(self, clock: IReactorTime, start: Callable[[int], None]) -> None:
        self._clock = clock
        self._start = start
        self._deaths: dict[int, int] = {}
        self._calls: dict[int, IDelayedCall] = {}

    def __repr__(self) -> str:
        return f"<Replacing {sorted(self._calls)}>"

    def died(self, number: int, lived: float) -> float:
        """The worker *number*, which lived so many seconds, is gone; return when it's replaced."""
        deaths = 0 if lived >= _HEALTHY else self._deaths.get(number, 0)
        self._deaths[number] = deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (deaths - 1), LONGEST_PAUSE) if deaths else 0.0
        self._calls[number] = self._clock.callLater(pause, self._replace, number)
        return pause

    def _replace(self, number: int) -> None:
        del self._calls[number]
        self._start(number)

    def stop(self) -> None:
        """Replace nobody any more, and forget who died."""
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        self._deaths.clear()
