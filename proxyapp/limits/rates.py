"""What is shared by all exchanges of one client under one rule: request rate and bandwidth.

Clients choose how many of them there are, so what is remembered of them is bounded. Who was
forgotten begins with a full bucket again: that is worth one second's requests, or 0.2 s of traffic.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from itertools import islice
from typing import NamedTuple

from proxyapp.limits.shared import MakeBucket, own_bucket
from proxyapp.net.throttle import Pacer, Throttle
from proxyapp.rules.buckets import Tokens

# Clients remembered for each kind of limit, some 400 bytes each.
REMEMBERED = 16384
# Of how many the one to forget is chosen.
_OLDEST = 16


class Share(NamedTuple):
    """Whose it is: *name* of the rule, and a user or else the address of a client."""

    name: str
    who: str


class RequestRates:
    """A bucket of requests for each share; *clock* says the time, in seconds."""

    def __init__(self, clock: Pacer, make: MakeBucket = own_bucket) -> None:
        self._clock = clock
        self._make = make
        self._buckets: OrderedDict[Share, Tokens] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RequestRates of {len(self._buckets)}>"

    def wait(self, share: Share, rate: float) -> float:
        """Count a request: 0 if it may be now, else in how many seconds one may be.

        One second's requests may come at once, and always one.
        """
        now = self._clock.now()
        bucket = self._buckets.get(share)
        if bucket is None or bucket.rate != rate:
            made = self._make(f"requests\0{share.name}\0{share.who}", rate, max(1.0, rate), now)
            bucket = self._buckets[share] = made
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(share)
        seconds = bucket.wait(1.0, now)
        if not seconds:
            bucket.take(1.0, now)
        return seconds


class Bandwidths:
    """A throttle for each share."""

    def __init__(self, pacer: Pacer, make: MakeBucket = own_bucket) -> None:
        self._pacer = pacer
        self._make = make
        self._throttles: OrderedDict[Share, tuple[int, Throttle]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Bandwidths of {len(self._throttles)}>"

    def throttle(self, share: Share, rate: int) -> Throttle:
        """Return what lets *rate* bytes a second through for *share*."""
        found = self._throttles.get(share)
        if found is None or found[0] != rate:
            self._make_room()
            make = partial(self._make, f"bytes\0{share.name}\0{share.who}")
            found = self._throttles[share] = (rate, Throttle(rate, self._pacer, make))
        self._throttles.move_to_end(share)
        return found[1]

    def _make_room(self) -> None:
        """Forget one of the oldest if there are too many; one that nobody uses, if there is one."""
        if len(self._throttles) < REMEMBERED:
            return
        oldest = list(islice(self._throttles.items(), _OLDEST))
        unused = (share for share, (_, throttle) in oldest if throttle.is_at_rest)
        del self._throttles[next(unused, oldest[0][0])]
