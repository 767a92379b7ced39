"""One coarse sweep for every time-out of every connection, instead of a delayed call for each.

A watched object carries its own deadline. Moving it later, which is what traffic does all day,
is one attribute; only the first deadline and an earlier one touch the sweep's slots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

TICK = 0.5  # seconds; no time-out of ours is told more exactly than this
NEVER = math.inf
# How often progress is looked for, as a part of the time-out: a stall is noticed that much late.
LOOK = 0.25

_log = Logger()


class Watched(Protocol):
    """What the sweep needs of an object with a time-out; *deadline* and *slot* belong to it.

    A new object starts with NEVER and 0.
    """

    deadline: float
    slot: int

    def expire(self) -> None:
        """The deadline has passed; nothing is watched until a new one is set."""


class Sweep:
    """Calls `expire` on each watched object within a tick after its deadline.

    *now* is the clock's time at the last tick: exact enough for time-outs, free to read.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Watched]] = {}
        self._call: IDelayedCall | None = None
        self.now = clock.seconds()
        self._done = int(self.now / TICK)

    def __repr__(self) -> str:
        return f"<Sweep of {sum(map(len, self._slots.values()))}>"

    def start(self) -> None:
        """Begin to tick."""
        self.now = self._clock.seconds()
        self._schedule()

    def stop(self) -> None:
        """Stop ticking and forget everything watched."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for items in self._slots.values():
            for item in items:
                item.slot = 0
        self._slots.clear()

    def set(self, item: Watched, seconds: float) -> None:
        """Let *item* expire *seconds* from now, unless it is set again before."""
        deadline = self.now + seconds
        item.deadline = deadline
        if not item.slot or deadline < item.slot * TICK - TICK:
            self._move(item, deadline)

    def _move(self, item: Watched, deadline: float) -> None:
        if item.slot:
            self._leave(item)
        if deadline == NEVER:
            return
        item.slot = max(int(deadline / TICK) + 1, self._done + 1)
        self._slots.setdefault(item.slot, set()).add(item)

    def _leave(self, item: Watched) -> None:
        slot = self._slots.get(item.slot)
        if slot is not None:
            slot.discard(item)
            if not slot:
                del self._slots[item.slot]
        item.slot = 0

    def drop(self, item: Watched) -> None:
        """Watch *item* no longer, and keep no reference to it."""
        item.deadline = NEVER
        if item.slot:
            self._leave(item)

    def _schedule(self) -> None:
        # At the multiples of TICK, where the slots end.
        seconds = self._clock.seconds()
        self._call = self._clock.callLater(TICK - seconds % TICK, self._wake)

    def _wake(self) -> None:
        # A turn later: what has come while this process couldn't run is read first, and counts.
        self._call = self._clock.callLater(0, self._tick)

    def _tick(self) -> None:
        self._schedule()
        self.now = self._clock.seconds()
        current = int(self.now / TICK)
        if current - self._done > len(self._slots):
            due = sorted(slot for slot in self._slots if slot <= current)
        else:
            due = [slot for slot in range(self._done + 1, current + 1) if slot in self._slots]
        self._done = current
        for slot in due:
            self._sweep_slot(slot)

    def _sweep_slot(self, slot: int) -> None:
        for item in self._slots.pop(slot, ()):
            if item.slot != slot:
                continue  # dropped or moved by another one's expiry
            item.slot = 0
            if item.deadline <= self.now:
                item.deadline = NEVER
                self._expire(item)
            elif item.deadline != NEVER:
                self._move(item, item.deadline)

    def _expire(self, item: Watched) -> None:
        try:
            item.expire()
        except Exception:  # the others' time-outs still count
            _log.failure("a time-out failed: {item}", item=item)


class Drain:
    """Watches that a connection keeps taking the bytes that wait for it.

    *left* says how many bytes that is, or None while it can't take any for no fault of its own;
    when it has not changed for *timeout* seconds, *on_stall* is called once.
    """

    __slots__ = ("_last", "_left", "_moved", "_on_stall", "_sweep", "_timeout", "deadline", "slot")

    def __init__(
        self,
        sweep: Sweep,
        timeout: float,
        left: Callable[[], int | None],
        on_stall: Callable[[], None],
    ) -> None:
        self._sweep = sweep
        self._timeout = timeout
        self._left = left
        self._on_stall = on_stall
        self._last = left()
        self._moved = sweep.now
        self.deadline = NEVER
        self.slot = 0
        sweep.set(self, timeout * LOOK)

    def stop(self) -> None:
        """Watch no longer."""
        self._sweep.drop(self)

    def expire(self) -> None:
        """See Watched."""
        left = self._left()
        if left is None or left != self._last:
            self._last = left
            self._moved = self._sweep.now
        wait = self._moved + self._timeout - self._sweep.now
        if wait <= 0:
            self._on_stall()
        else:
            self._sweep.set(self, min(wait, self._timeout * LOOK))
