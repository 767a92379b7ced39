"""Names to addresses: cached, asked once at a time, in threads that nobody else uses."""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.names import client as names_client
from twisted.names import dns
from twisted.names.error import DNSQueryTimeoutError, ResolverError
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from proxyapp import errors
from proxyapp.net.connecting import is_address
from proxyapp.net.local import NO_DESCRIPTOR
from proxyapp.net.timers import Sweep

# getaddrinfo blocks a thread until the resolver's own time-out; so many may wait at once.
THREADS = 16
# Names waiting for a thread; past it a flood of dead names would make everybody wait.
MAX_WAITING = 1024
MAX_CACHED = 4096
# getaddrinfo tells no TTL; a minute is what stub resolvers cache without one.
SYSTEM_TTL = 60.0


class Addresses(NamedTuple):
    """What a name stands for: IP literals in the order to try, and how long that holds (s)."""

    literals: tuple[str, ...]
    ttl: float


class Lookup(Protocol):
    """One way to ask for a name's addresses."""

    def __call__(self, name: str) -> Deferred[Addresses]:
        """Look *name* up; fails with NameUnknown or NameTimeout."""


class Resolver:
    """Answers from the cache, joins a look-up that is under way, or asks *lookup*.

    *ttl_max* and *negative_ttl* are in seconds.
    """

    def __init__(self, lookup: Lookup, sweep: Sweep, ttl_max: float, negative_ttl: float) -> None:
        self._lookup = lookup
        self._sweep = sweep
        self._ttl_max = ttl_max
        self._negative_ttl = negative_ttl
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: dict[str, list[Deferred[tuple[str, ...]]]] = {}

    def __repr__(self) -> str:
        return f"<Resolver {len(self._cache)} cached, {len(self._waiting)} being asked>"

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Return the addresses of *host*, at least one; an IP literal stands for itself.

        Raises NameUnknown, NameTimeout or Overloaded.
        """
        return self.known(host) or await self._ask(host)

    def known(self, host: str) -> tuple[str, ...] | None:
        """Return what `resolve` would, or raise as it would, if no look-up is needed; else None."""
        if _is_literal(host):
            return (host,)
        entry = self._cache.get(host)
        if entry is None:
            return None
        return entry.answer() if entry.expires > self._sweep.now else None

    def remembered(self, host: str) -> tuple[str, ...]:
        """Return the addresses that *host* had, however long ago, or none."""
        if _is_literal(host):
            return (host,)
        entry = self._cache.get(host)
        return entry.literals if entry is not None else ()

    @property
    def asked(self) -> int:
        """How many names are being looked up."""
        return len(self._waiting)

    def forget_failures(self) -> None:
        """Ask again for every name that could not be found: the reason is gone."""
        for host in [host for host, entry in self._cache.items() if entry.error is not None]:
            del self._cache[host]

    def _ask(self, host: str) -> Deferred[tuple[str, ...]]:
        waiting = self._waiting.get(host)
        mine: Deferred[tuple[str, ...]] = Deferred()
        if waiting is not None:
            waiting.append(mine)
            return mine
        if len(self._waiting) >= MAX_WAITING:
            raise errors.Overloaded("too many names are being looked up at once")
        self._waiting[host] = [mine]
        asked = maybeDeferred(self._lookup, host)
        asked.addCallbacks(
            lambda found: self._keep(host, _Entry(self._until(found.ttl), found.literals, None)),
            lambda failure: self._keep(host, self._negative(failure)),
        )
        return mine

    def _until(self, ttl: float) -> float:
        return self._sweep.now + min(ttl, self._ttl_max)

    def _negative(self, failure: Failure) -> _Entry:
        error = failure.value
        if not isinstance(error, errors.ExchangeError):
            error = errors.NameUnknown("the name could not be looked up")
        # A shortage of ours says nothing about the name.
        ttl = 0.0 if isinstance(error, errors.Overloaded) else self._negative_ttl
        return _Entry(self._sweep.now + ttl, (), error)

    def _keep(self, host: str, entry: _Entry) -> None:
        self._cache[host] = entry
        self._cache.move_to_end(host)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        for waiting in self._waiting.pop(host, []):
            if waiting.called:
                continue  # whoever asked has given up
            if entry.error is None:
                waiting.callback(entry.literals)
            else:
                waiting.errback(entry.error)


class _Entry(NamedTuple):
    """A cached answer: addresses, or the error to raise again."""

    expires: float
    literals: tuple[str, ...]
    error: errors.ExchangeError | None

    def answer(self) -> tuple[str, ...]:
        if self.error is not None:
            raise type(self.error)(self.error.reason)
        return self.literals


def _is_literal(host: str) -> bool:
    return ":" in host or (host[-1:].isdigit() and is_address(host))


class SystemLookup:
    """getaddrinfo(3), so hosts files and nsswitch count, in a pool of our own."""

    def __init__(self, reactor: IReactorThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, name="resolver")
        self._pool.start()

    def __call__(self, name: str) -> Deferred[Addresses]:
        """See Lookup."""
        return deferToThreadPool(self._reactor, self._pool, _getaddrinfo, name)

    def stop(self) -> None:
        """End the threads that wait for work."""
        self._pool.stop()


def _getaddrinfo(name: str) -> Addresses:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise errors.NameTimeout("no name server answered") from error
        raise errors.NameUnknown("the name has no address") from error
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno in NO_DESCRIPTOR:
            raise errors.Overloaded("no descriptor is free to look up a name") from error
        raise errors.NameUnknown("the name could not be looked up") from error
    literals = dict.fromkeys(str(address[4][0]).partition("%")[0] for address in found)
    return Addresses(tuple(literals), SYSTEM_TTL)


class ServerLookup:
    """The name servers of [dns] servers, asked for both kinds of address at once."""

    def __init__(self, resolver: names_client.Resolver) -> None:
        self._resolver = resolver

    def __call__(self, name: str) -> Deferred[Addresses]:
        """See Lookup."""
        both = DeferredList(
            [self._resolver.lookupIPV6Address(name), self._resolver.lookupAddress(name)],
            consumeErrors=True,
        )
        return both.addCallback(_merge)

    def stop(self) -> None:
        """Nothing runs between look-ups."""


def _merge(results: list[tuple[bool, object]]) -> Addresses:
    literals: list[str] = []
    ttls: list[float] = []
    for succeeded, answer in results:
        if not succeeded or not isinstance(answer, tuple):
            continue
        for record in answer[0]:
            if isinstance(record.payload, dns.Record_A):
                literals.append(record.payload.dottedQuad())
            elif isinstance(record.payload, dns.Record_AAAA):
                literals.append(socket.inet_ntop(socket.AF_INET6, record.payload.address))
            ttls.append(float(record.ttl))
    if literals:
        return Addresses(tuple(literals), min(ttls))
    failures = [answer for succeeded, answer in results if not succeeded]
    if any(isinstance(f, Failure) and f.check(*_NO_ANSWER) for f in failures):
        raise errors.NameTimeout("no name server answered")
    raise errors.NameUnknown("the name has no address")


_NO_ANSWER: tuple[type[Exception], ...] = (DNSQueryTimeoutError, DeferredTimeout, ResolverError)


def name_server(given: str) -> tuple[str, int]:
    """Return address and port of a name server given as address, address:port or [v6]:port."""
    if given.count(":") == 1 or given.startswith("["):
        host, _, port = given.rpartition(":")
        return host.strip("[]"), int(port)
    return given, dns.PORT
