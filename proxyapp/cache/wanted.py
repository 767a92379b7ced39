"""What a fetch for the cache is about, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from twisted.internet.interfaces import IReactorTime

from proxyapp.cache.entry import Entry
from proxyapp.cache.growing import Growing
from proxyapp.cache.store import CacheStore
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching.arrival import Present
from proxyapp.rules.caching.rules import CacheRule
from proxyapp.wire.messages import RequestHead


@dataclass(frozen=True, slots=True)
class Means:
    """What every fetch needs; *origin* is the responder that asks it, *seconds* the time of day.

    Where the store *is_shared* other processes are told of fetches, and theirs are followed.
    """

    store: CacheStore
    origin: Responder
    sweep: Sweep
    seconds: Callable[[], float]
    stall_timeout: float
    clock: IReactorTime
    is_shared: bool = False


@dataclass(slots=True, unsafe_hash=True)  # made for each request: a frozen one takes longer
class Place:
    """Where the answer to a request is stored, and by which rule."""

    key: bytes
    rule: CacheRule


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a fetch is for: *request* is the client's, *asking* what the origin is asked.

    The answer may say something of *entry*, or add to it; *continues_at* is where the content of
    *entry* breaks off if the origin is asked for what follows.
    """

    request: Request
    asking: RequestHead
    place: Place
    entry: Entry | None = None
    continues_at: int | None = None

    @property
    def present(self) -> Present | None:
        """What the answer may be about."""
        return None if self.entry is None else Present(self.entry.stored, self.continues_at)


@dataclass(frozen=True, slots=True)
class Passed:
    """The response may not be shared; it goes to one client, by *reply*."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Ready:
    """It is in the store as *entry*; *was_there* before, and the origin said that it's right."""

    entry: Entry
    was_there: bool


Outcome: TypeAlias = Passed | Ready | Growing
