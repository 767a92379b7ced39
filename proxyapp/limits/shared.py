"""Buckets that several processes take from, so that a client gets its rate once and not from each.

Two processes that take at the very same moment may take one step for nothing; a bucket makes up for
more than that in no time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxyapp.rules.buckets import Bucket, Tokens

# How a bucket is made: its key, rate, capacity, and the time.
MakeBucket = Callable[[str, float, float, float], Tokens]


class Cells(Protocol):
    """Where levels are; net.shared.SharedCells is it."""

    def get(self, key: str, now: float) -> tuple[float, float] | None:
        """Return what *key* stands for *now*."""

    def put(self, key: str, first: float, second: float, until: float, now: float) -> bool:
        """Let *key* stand for two numbers; False where there is no room."""


class SharedBucket:
    """See Bucket; the level of *key* is in *cells*, and a full bucket takes no room there."""

    __slots__ = ("_cells", "_key", "_own", "capacity", "rate")

    def __init__(self, cells: Cells, key: str, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._cells = cells
        self._key = key
        # For as long as there is no room.
        self._own = Bucket(rate, capacity, now)

    def __repr__(self) -> str:
        return f"<SharedBucket of {self.capacity:.1f}, {self.rate:.1f} a second>"

    def level(self, now: float) -> float:
        """See Bucket."""
        found = self._cells.get(self._key, now)
        if found is None:
            return self._own.level(now)
        level, at = found
        return min(self.capacity, level + max(0.0, now - at) * self.rate)

    def take(self, amount: float, now: float) -> None:
        """See Bucket."""
        level = self.level(now) - amount
        full_at = now + (self.capacity - level) / self.rate
        if not self._cells.put(self._key, level, now, full_at, now):
            self._own.take(amount, now)

    def wait(self, amount: float, now: float) -> float:
        """See Bucket."""
        return max(0.0, amount - self.level(now)) / self.rate


def own_bucket(key: str, rate: float, capacity: float, now: float) -> Tokens:
    """Return a bucket that nobody else takes from."""
    return Bucket(rate, capacity, now)
