"""How much may be taken by now: token buckets, and the periods of quotas."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, Protocol

from proxyapp.rules.question import Period

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Tokens(Protocol):
    """What can be taken from as from a Bucket."""

    rate: float
    capacity: float

    def level(self, now: float) -> float:
        """Return how much is there."""

    def take(self, amount: float, now: float) -> None:
        """Take *amount*."""

    def wait(self, amount: float, now: float) -> float:
        """Return in how many seconds there will be *amount*; 0 if it is there."""


class Bucket:
    """Tokens that come in steadily, *rate* a second, and are kept up to *capacity*; full at first.

    More may be taken than there is: the level is below zero then, and comes back with time. *now*
    is in seconds, of a clock that is the same for all calls.
    """

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._at = now

    def __repr__(self) -> str:
        return f"<Bucket {self._level:.1f} of {self.capacity:.1f}, {self.rate:.1f} a second>"

    def level(self, now: float) -> float:
        """Return how much is in it."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take *amount* out."""
        self._level = self.level(now) - amount

    def wait(self, amount: float, now: float) -> float:
        """Return in how many seconds there will be *amount*; 0 if it is there."""
        return max(0.0, amount - self.level(now)) / self.rate


class Span(NamedTuple):
    """One period of a quota, in local time, as a clock on the wall shows it.

    *begins* tells it from all others of its kind; at *ends* the next one has begun.
    """

    begins: date
    ends: datetime


def span_of(period: Period, now: datetime) -> Span:
    """Return the day, the week (from Monday) or the month that *now*, local time, is in."""
    today = now.date()
    if period == "month":
        begins = today.replace(day=1)
        following = (begins + timedelta(days=31)).replace(day=1)
    elif period == "week":
        begins = today - timedelta(days=today.weekday())
        following = begins + timedelta(days=7)
    else:
        begins = today
        following = today + timedelta(days=1)
    return Span(begins, datetime.combine(following, time()))


def retry_after(seconds: float) -> bytes:
    """Return the value of Retry-After (RFC 9110 section 10.2.3) for a wait: whole seconds."""
    return b"%d" % max(1, math.ceil(seconds))


def size_text(size: float) -> str:
    """Return a number of bytes in the largest unit of which there is at least one: 1.5 GiB."""
    unit = _UNITS[0]
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.4g} {unit}"
