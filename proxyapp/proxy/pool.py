"""Which upstream connection carries which request.

A connection is in exactly one of three states, and the pool counts rather than scans:

- *taken*: handed out by `getConnection`, from the moment of the assignment until `release`;
- *idle*: kept for the next request to the same origin, the most recently used one first (LIFO);
- gone: closed by us or by the origin; the pool hears of it from the connection (`lost`).

A request that finds its origin, or the whole pool, at its limit waits in line. It is given a
connection that is released, or leave to dial when one closes. The names are those of
`twisted.web.client.HTTPConnectionPool` where the meaning is the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from proxyapp import errors
from proxyapp.net.dial import Dialled
from proxyapp.net.timers import NEVER, TICK, Sweep
from proxyapp.proxy.upstream import Upstream
from proxyapp.wire.target import Origin

# For how long a connection beyond max_idle_per_host is idle, in seconds. Closed at once, all but
# max_idle_per_host of a burst's connections would be dialled anew for every single request. The
# sweep counts from its last tick, so without one more it could be no time at all.
EXCESS_IDLE = 0.5 + TICK


class Dials(Protocol):
    """Makes connections; see net.dial.Dialler."""

    async def dial(self, origin: Origin, protocol: IProtocol) -> Dialled:
        """Connect *protocol* to *origin*."""


# Makes an unconnected upstream to the origin, kept by the pool.
MakeUpstream = Callable[["HTTPConnectionPool", Origin], Upstream]


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The sizes of the pool; *queue_timeout* in seconds."""

    max_idle_per_host: int
    max_per_host: int
    max_total: int
    queue_timeout: float


@dataclass(slots=True)
class PoolCounters:
    """What the pool has done since it began."""

    dialled: int = 0
    reused: int = 0
    handshakes: int = 0
    resumed: int = 0
    queued: int = 0


@dataclass(slots=True)
class _Host:
    """The connections to one origin; gone from the pool when it is empty."""

    idle: list[Upstream] = field(default_factory=list)
    open: int = 0
    waiting: _Line = field(default_factory=OrderedDict)


class _Waiter:
    """A request in *line*: fired with a connection, or with None for leave to dial."""

    __slots__ = ("deadline", "line", "origin", "slot", "turn")

    def __init__(self, origin: Origin, line: _Line) -> None:
        self.origin = origin
        self.turn: Deferred[Upstream | None] = Deferred()
        self.deadline = NEVER
        self.slot = 0
        self.line = line
        line[self] = None

    def stand_in(self, line: _Line) -> None:
        """Go over to the end of another line."""
        self.leave()
        self.line = line
        line[self] = None

    def leave(self) -> None:
        """Stand in line no longer."""
        self.line.pop(self, None)

    def expire(self) -> None:
        """See Watched."""
        self.turn.errback(
            errors.Overloaded("all connections to the origin were in use for too long")
        )


# First come, first served; and whoever gives up leaves at once, from wherever in the line.
_Line = OrderedDict[_Waiter, None]


class HTTPConnectionPool:
    """Persistent connections to origins, shared by all clients."""

    def __init__(
        self, dialler: Dials, sweep: Sweep, limits: PoolLimits, make_upstream: MakeUpstream
    ) -> None:
        self.maxPersistentPerHost = limits.max_idle_per_host
        self.counters = PoolCounters()
        self._dialler = dialler
        self._sweep = sweep
        self._limits = limits
        self._make_upstream = make_upstream
        self._hosts: dict[Origin, _Host] = {}
        self._idle: OrderedDict[Upstream, None] = OrderedDict()  # the longest idle first
        self._line: _Line = OrderedDict()  # those that max_total holds up
        self._open = 0
        self._leaving: deque[Origin] = deque()  # whose places are being given to others
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<HTTPConnectionPool {self._open} open, {len(self._idle)} idle>"

    async def getConnection(self, origin: Origin) -> Upstream:
        """Return a connection to *origin* that is the caller's until `release`.

        Raises Overloaded after queue_timeout in line, and what dialling raises.
        """
        upstream = self.take_idle(origin) or await self._admit(origin)
        return upstream or await self._dial(origin)

    def take_idle(self, origin: Origin) -> Upstream | None:
        """Return the most recently used idle connection to *origin*, taken, or None."""
        host = self._hosts.get(origin)
        while host is not None and host.idle:
            upstream = host.idle.pop()
            del self._idle[upstream]
            # One that is closing still counts as open until it is gone, but is good for nothing.
            if not upstream.is_broken:
                self.counters.reused += 1
                return upstream
        return None

    def release(self, upstream: Upstream) -> None:
        """Take *upstream* back after an exchange, and keep it if it can serve another."""
        if not upstream.is_reusable or self._is_closing:
            upstream.abort()
            return
        host = self._hosts[upstream.origin]
        is_excess = len(host.idle) >= self.maxPersistentPerHost
        upstream.end_exchange(EXCESS_IDLE if is_excess else NEVER)
        waiter = self._first_waiter(host) if host.waiting or self._line else None
        if waiter is None:
            host.idle.append(upstream)
            self._idle[upstream] = None
        elif waiter.origin == upstream.origin:
            self.counters.reused += 1
            waiter.leave()
            waiter.turn.callback(upstream)
        else:
            upstream.close()  # its place is worth more to a request for another origin

    def lost(self, upstream: Upstream) -> None:
        """See Keeper: *upstream* is gone; whoever waits for room gets it."""
        self._forget_idle(upstream)
        self._leave(upstream.origin)

    def closeCachedConnections(self) -> None:
        """Close every idle connection, and those in use as soon as they are released."""
        self._is_closing = True
        self.closeIdleConnections()

    def closeIdleConnections(self) -> None:
        """Close every idle connection: what was reached by them may be out of reach now."""
        for upstream in list(self._idle):
            self._close_idle(upstream)

    def drop_idle(self, origin: Origin) -> None:
        """Close the idle connections to *origin*: one that was used later than they has died."""
        host = self._hosts.get(origin)
        for upstream in [] if host is None else list(host.idle):
            self._close_idle(upstream)

    # Taking and dialling.

    async def _dial(self, origin: Origin) -> Upstream:
        upstream = self._make_upstream(self, origin)
        try:
            upstream.dialled = await self._dialler.dial(origin, upstream)
        except BaseException:
            # Cancelled or failed: before the connection was made it can't report its own loss.
            if upstream.transport is None:
                self._leave(origin)
            raise
        self.counters.dialled += 1
        self.counters.handshakes += upstream.dialled.tls == "full"
        self.counters.resumed += upstream.dialled.tls == "resumed"
        return upstream

    # Counting, and the line.

    async def _admit(self, origin: Origin) -> Upstream | None:
        """Count a connection to be dialled (None), or wait in line, maybe for a released one."""
        is_host_full = self._host(origin).open >= self._limits.max_per_host
        if not is_host_full and self._has_room():
            self._enter(origin)
            return None
        waiter = _Waiter(origin, self._host(origin).waiting if is_host_full else self._line)
        self.counters.queued += 1
        self._sweep.set(waiter, self._limits.queue_timeout)
        try:
            return await waiter.turn
        finally:
            waiter.leave()
            self._sweep.drop(waiter)
            self._forget_empty(origin)

    def _host(self, origin: Origin) -> _Host:
        return self._hosts.setdefault(origin, _Host())

    def _has_room(self) -> bool:
        if self._open < self._limits.max_total:
            return True
        if not self._idle:
            return False
        self._close_idle(next(iter(self._idle)))  # its place is free as soon as it is lost
        return self._open < self._limits.max_total

    def _enter(self, origin: Origin) -> None:
        self._host(origin).open += 1
        self._open += 1

    def _leave(self, origin: Origin) -> None:
        self._leaving.append(origin)
        if len(self._leaving) > 1:
            return  # whoever was let in failed at once: a long line of those is no deep recursion
        while self._leaving:
            origin = self._leaving[0]
            host = self._hosts[origin]
            host.open -= 1
            self._open -= 1
            waiter = self._first_waiter(host)
            if waiter is not None:
                waiter.leave()
                self._enter(waiter.origin)
                waiter.turn.callback(None)
            self._forget_empty(origin)
            self._leaving.popleft()

    def _first_waiter(self, host: _Host) -> _Waiter | None:
        return _first(host.waiting) or self._first_in_line()

    def _first_in_line(self) -> _Waiter | None:
        """Return the first of those that max_total holds up; those at their host's limit move."""
        while waiter := _first(self._line):
            host = self._host(waiter.origin)
            if host.open < self._limits.max_per_host:
                return waiter
            waiter.stand_in(host.waiting)
        return None

    def _forget_empty(self, origin: Origin) -> None:
        host = self._hosts.get(origin)
        if host is not None and not host.open and not host.waiting:
            del self._hosts[origin]

    def _close_idle(self, upstream: Upstream) -> None:
        self._forget_idle(upstream)
        upstream.close()

    def _forget_idle(self, upstream: Upstream) -> None:
        if upstream in self._idle:
            del self._idle[upstream]
            self._hosts[upstream.origin].idle.remove(upstream)


def _first(line: _Line) -> _Waiter | None:
    return next(iter(line), None)
