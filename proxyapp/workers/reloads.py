"""Reloads, one at a time: who asks while one runs waits for the next, which is one for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred


class Outcome(NamedTuple):
    """What came of a reload; without *mistakes* it was done."""

    mistakes: tuple[str, ...] = ()


class Reloads:
    """Has *reload* run for those who ask."""

    def __init__(self, reload: Callable[[], Awaitable[Outcome]]) -> None:
        self._reload = reload
        self._asked: list[Deferred[Outcome]] = []
        self._is_running = False

    def __repr__(self) -> str:
        return f"<Reloads {'running' if self._is_running else 'idle'}, {len(self._asked)} waiting>"

    def ask(self) -> Deferred[Outcome]:
        """Return what comes of a reload that begins no earlier than now."""
        mine: Deferred[Outcome] = Deferred()
        self._asked.append(mine)
        if not self._is_running:
            self._is_running = True
            Deferred.fromCoroutine(self._run())
        return mine

    async def _run(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            outcome = await self._reload()
            for each in asked:
                each.callback(outcome)
        self._is_running = False
