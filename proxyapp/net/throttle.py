"""Bandwidth that several connections share: each in its turn, in small steps, and no busy loop.

The bytes that a throttle lets through are paid after they have passed, so the level of its bucket
may be below zero by one step; nothing passes then, and who comes waits in line. A tick lets as many
go on as the level has steps for. So the mean is the rate, no burst is longer than BURST, and a
connection that goes on waits behind all the others the next time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from proxyapp.net.valve import Wake
from proxyapp.rules.buckets import Bucket, Tokens

# Seconds between two looks at those who wait. What is longer is seen as jerks in a video call.
TICK = 0.05
# What may be saved up for, in seconds: enough that a late tick loses nothing.
BURST = 0.2
# Bytes that one connection may move before the next one's turn. The smallest is more than one
# segment; the largest is what a socket takes at once.
MIN_STEP = 2048
MAX_STEP = 1 << 20

# How the bucket is made: its rate, its capacity, and the time.
MakeBucket = Callable[[float, float, float], Tokens]


class Pacer:
    """Ticks while anybody waits, for all throttles together."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: set[Throttle] = set()
        self._call: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<Pacer of {len(self._waiting)} throttles>"

    def now(self) -> float:
        """Return the time, in seconds."""
        return self._clock.seconds()

    def add(self, throttle: Throttle) -> None:
        """Let *throttle* serve those who wait, from the next tick on."""
        self._waiting.add(throttle)
        if self._call is None:
            self._call = self._clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._call = None
        waiting, self._waiting = self._waiting, set()
        for throttle in waiting:
            if throttle.serve():
                self.add(throttle)

    def stop(self) -> None:
        """Tick no more."""
        self._waiting.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None


class Throttle:
    """Lets *rate* bytes a second through, in either direction; see valve.Gate."""

    __slots__ = ("_bucket", "_pacer", "_waiting", "step")

    def __init__(self, rate: float, pacer: Pacer, make: MakeBucket = Bucket) -> None:
        """Pace *rate*, by what *make* makes of it, the burst, and the time."""
        self.step = min(MAX_STEP, max(MIN_STEP, int(rate * TICK)))
        self._bucket = make(rate, max(rate * BURST, self.step), pacer.now())
        self._pacer = pacer
        # In the order of their turns; a dictionary, because who asks again keeps his place.
        self._waiting: dict[Wake, None] = {}

    def __repr__(self) -> str:
        return f"<Throttle {self._bucket!r}, {len(self._waiting)} waiting>"

    @property
    def is_at_rest(self) -> bool:
        """Has nobody taken anything lately, so that a new throttle would be just like it?"""
        bucket = self._bucket
        return not self._waiting and bucket.level(self._pacer.now()) >= bucket.capacity

    def allow(self, wake: Wake) -> int:
        """See Gate."""
        if self._bucket.level(self._pacer.now()) > 0:
            return self.step
        self._waiting[wake] = None
        self._pacer.add(self)
        return 0

    def spend(self, amount: int) -> None:
        """See Gate."""
        self._bucket.take(amount, self._pacer.now())

    def serve(self) -> bool:
        """Wake as many as there are steps to take; return whether anybody still waits."""
        steps = math.ceil(self._bucket.level(self._pacer.now()) / self.step)
        while self._waiting and steps > 0:
            wake = next(iter(self._waiting))
            del self._waiting[wake]
            steps -= wake()
        return bool(self._waiting)
