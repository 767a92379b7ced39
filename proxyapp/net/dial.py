"""An origin to a connected transport: resolve, judge each address, race them, shake hands.

The addresses that are judged are the very ones that are dialled, so a name that resolves
differently a second later (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import NamedTuple

from twisted.internet import error as net_error
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IProtocol,
    ITransport,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.nearby import NearbyNames, resolved
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.resolver import Resolver
from proxyapp.net.tls import TlsClient, adopt
from proxyapp.net.uplink import Uplink
from proxyapp.wire.target import Origin

# RFC 8305 section 5: how long an attempt has before the next address is tried beside it (s).
ATTEMPT_DELAY = 0.25
# A name with a hundred addresses is no reason to knock at a hundred doors.
MAX_ADDRESSES = 8


class Dialled(NamedTuple):
    """What a connection turned out to be: address:port, and "", "full" or "resumed" for TLS.

    *early* is what has arrived on it already, from behind a parent proxy.
    """

    address: str
    tls: str
    early: bytes = b""


# Returns nothing, or raises the Refused that says why the address may not be dialled for the host.
Judge = Callable[[str, str, int], None]


class Dialler:
    """Connects to origins. *connect_timeout* in seconds holds for names, TCP and TLS alike.

    *uplink* hears of every connection that is tried, and knows when that's of no use.
    """

    def __init__(
        self,
        reactor: IApplianceReactor,
        resolver: Resolver,
        judge: Judge,
        tls: TlsClient,
        connect_timeout: float,
        uplink: Uplink,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._judge = judge
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._uplink = uplink
        self._nearby = NearbyNames(reactor, resolver, uplink, connect_timeout)

    async def dial(self, origin: Origin, protocol: IProtocol) -> Dialled:
        """Connect *protocol* to *origin*, over TLS if its scheme is https.

        Raises Refused, NameUnknown, NameTimeout, Overloaded, LineDown and the errors of connecting.
        """
        found = None if self._uplink.is_down else self._resolver.known(origin.host)
        found = found or await self._find(origin)
        addresses = allowed(self._judge, found, origin.host, origin.port)
        if self._uplink.is_down:
            addresses = self._uplink.near(origin.host, origin.port, addresses)
        race = Race(self._reactor, addresses, origin.port, self._connect_timeout)
        with self._uplink.watched(origin.host, origin.port, addresses):
            transport = await race.run()
        self._uplink.reached(origin.host, origin.port, race.winner)
        address = _joined(race.winner, origin.port)
        if origin.scheme != "https":
            adopt(transport, protocol)
            return Dialled(address, "")
        secured = self._tls.secure(transport, origin, protocol)
        secured.addTimeout(self._connect_timeout, self._reactor)
        try:
            return Dialled(address, await secured)
        except DeferredTimeout:
            raise errors.ConnectTimeout("the origin did not answer in time") from None

    async def _find(self, origin: Origin) -> tuple[str, ...]:
        if self._uplink.is_down:
            return await self._nearby.find(origin.host, origin.port)
        with self._uplink.watched(origin.host, origin.port, ()):
            return await resolved(self._reactor, self._resolver, origin.host, self._connect_timeout)


def allowed(judge: Judge, found: tuple[str, ...], host: str, port: int) -> list[str]:
    """Return those of the addresses *found* that may be dialled, in the order to try.

    Raises the Refused of the first one where none may.
    """
    addresses = []
    refusal: errors.Refused | None = None
    for address in interleaved(found)[:MAX_ADDRESSES]:
        try:
            judge(host, address, port)
        except errors.Refused as refused:
            refusal = refusal or refused
        else:
            addresses.append(address)
    if refusal is not None and not addresses:
        raise refusal
    return addresses


def interleaved(addresses: tuple[str, ...]) -> list[str]:
    """Alternate the address families, the first one's first (RFC 8305 section 4)."""
    if len(addresses) == 1:
        return [*addresses]
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    second = [address for address in addresses if address not in first]
    pairs = chain.from_iterable(zip_longest(first, second))
    return [address for address in pairs if address is not None]


class _Attempt(Protocol):
    """Holds a fresh connection until it is known who won."""

    def __init__(self, race: Race, address: str) -> None:
        self._race = race
        self._address = address

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._race.won(self._address, self.transport)


class _Door(ClientFactory):
    """One address being tried."""

    noisy = False

    def __init__(self, race: Race, address: str) -> None:
        self._race = race
        self._address = address

    def buildProtocol(self, addr: object) -> _Attempt | None:
        return None if self._race.is_over else _Attempt(self._race, self._address)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._race.failed(self._address, connector, reason)


class Race:
    """Happy eyeballs over addresses that may all be dialled (RFC 8305 section 5).

    All together have *seconds*; whoever starts later has less.
    """

    def __init__(
        self, reactor: IApplianceReactor, addresses: list[str], port: int, seconds: float
    ) -> None:
        self._reactor = reactor
        self._waiting = list(reversed(addresses))
        self._port = port
        self._deadline = reactor.seconds() + seconds
        self._running: list[IConnector] = []
        self._next: IDelayedCall | None = None
        self._failure: errors.ExchangeError | None = None
        self._done: Deferred[ITransport] = Deferred(lambda _: self._stop())
        self.is_over = False
        self.winner = ""

    def run(self) -> Deferred[ITransport]:
        """Start; fires with the first connection, or fails with what the first failure was.

        When the time is over it fails with ConnectTimeout.
        """
        self._try_next()
        return self._done

    @property
    def _left(self) -> float:
        """How much time there is (s)."""
        return max(0.0, self._deadline - self._reactor.seconds())

    def _try_next(self) -> None:
        self._next = None
        address = self._waiting.pop()
        if self._waiting:
            self._next = self._reactor.callLater(ATTEMPT_DELAY, self._try_next)
        door = _Door(self, address)
        self._running.append(self._reactor.connectTCP(address, self._port, door, self._left))

    def won(self, address: str, transport: ITransport) -> None:
        """The connection to *address* stands, and the race is over."""
        self.winner = address
        self._stop(transport)
        self._done.callback(transport)

    def failed(self, address: str, connector: IConnector, reason: Failure) -> None:
        """The attempt at *address* came to nothing, or was called off."""
        if self.is_over:
            return
        if self._failure is None or not self._left:
            self._failure = _fault(address, self._port, reason)
        if connector in self._running:
            self._running.remove(connector)
        if self._waiting and self._left:
            if self._next is not None:
                self._next.cancel()
            self._try_next()
        elif not self._running:
            self._stop()
            self._done.errback(self._failure)

    def _stop(self, winner: ITransport | None = None) -> None:
        self.is_over = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for connector in self._running:
            if getattr(connector, "transport", None) is not winner:
                connector.stopConnecting()
        self._running.clear()


def _fault(address: str, port: int, reason: Failure) -> errors.ExchangeError:
    where = _joined(address, port)
    if reason.check(net_error.ConnectionRefusedError):
        return errors.ConnectRefused(f"{where} refused the connection")
    if reason.check(net_error.TimeoutError, net_error.TCPTimedOutError):
        return errors.ConnectTimeout(f"{where} did not answer")
    if reason.check(net_error.ConnectBindError):
        return errors.Overloaded("no socket is free for another connection")
    if getattr(reason.value, "osError", None) == errno.ECONNRESET:
        return errors.ConnectionEnded(f"{where} closed the connection at once")
    return errors.OriginUnreachable(f"there is no way to {where}")


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
