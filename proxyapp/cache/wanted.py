"""What a fetch for the cache is about, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from twisted.internet.interfaces import IReactorTime

from proxyapp.cache.growing import Growing
from proxyapp.exchange import Forwarder, Reply, Request
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching import freshness, keys, parts
from proxyapp.rules.caching.arrival import Present
from proxyapp.rules.caching.rules import CacheRule, CacheRules
from proxyapp.rules.caching.stored import Stored, Varying
from proxyapp.rules.memory import room
from proxyapp.store.entry import Entry
from proxyapp.store.store import CacheStore
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Origin

# Clients choose how long URLs are; what is remembered of them stays below some 3 MB.
_LONGEST_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Means:
    """What every fetch needs; *origin* is what asks it, *seconds* the time of day.

    Where the store *is_shared* other processes are told of fetches, and theirs are followed.
    """

    store: CacheStore
    origin: Forwarder
    sweep: Sweep
    seconds: Callable[[], float]
    stall_timeout: float
    clock: IReactorTime
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer to a request is stored, and by which rule."""

    key: bytes
    rule: CacheRule


class Places:
    """Where answers are stored by *rules*, remembered of URLs that aren't long."""

    def __init__(self, rules: CacheRules) -> None:
        self._rules = rules
        self._memory: dict[tuple[Origin, bytes], Place] = {}

    def of(self, origin: Origin, path: bytes) -> Place:
        """Return the place of what *path*, with its query, of *origin* is."""
        place = self._memory.get((origin, path))
        if place is None:
            rule = self._rules.find(origin, path)
            place = Place(keys.key(origin, path, rule), rule)
            if len(path) <= _LONGEST_REMEMBERED:
                room(self._memory)[origin, path] = place
        return place


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a fetch is for: *request* is the client's, *asking* what the origin is asked.

    The answer may say something of *entry*, or add to it; *continues_at* is where the content of
    *entry* breaks off if the origin is asked for what follows. *variant* is what those who share it
    agree in, once it is known that others want another one.
    """

    request: Request
    asking: RequestHead
    place: Place
    entry: Entry | None = None
    continues_at: int | None = None
    variant: Varying = ()

    @property
    def present(self) -> Present | None:
        """What the answer may be about."""
        return None if self.entry is None else Present(self.entry.stored, self.continues_at)

    def afresh(self) -> Wanted:
        """Return what is wanted if all that is there already is of no use."""
        asking = parts.unconditional(self.request.head)
        return replace(self, asking=asking, entry=None, continues_at=None)

    @property
    def is_of_part(self) -> bool:
        """Does the client want only a part of what the origin is asked for?"""
        return b"range" in self.request.head.fields and b"range" not in self.asking.fields


@dataclass(frozen=True, slots=True)
class Passed:
    """The response may not be shared; it goes to one client, by *reply*, or to nobody."""

    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Ready:
    """It is in the store as *entry*; *was_there* before, and the origin said that it's right."""

    entry: Entry
    was_there: bool


def is_worth_keeping(means: Means, place: Place, stored: Stored, is_whole: bool) -> bool:
    """Is what came of *stored* to replace what is there under the same key?

    Not if that was asked for later and came sooner; nor does a part replace a whole that is still
    of use, be it only for when the origin can't be reached.
    """
    now = means.seconds()
    for entry in means.store.variants(place.key):
        if not entry.is_complete or entry.stored.varying != stored.varying:
            continue
        # What comes from the future comes from before the clock was set.
        if stored.arrived_at < entry.stored.arrived_at <= now:
            return False
        if not is_whole and freshness.terms(entry.stored, place.rule.policy).failing_until > now:
            return False
    return True


Outcome: TypeAlias = Passed | Ready | Growing
