"""TCP connections to IP addresses, dialled with as few system calls as that takes.

A connection that isn't made yet isn't watched before it is known that it has to be waited for: on
loopback it stands when connect(2) is asked a second time.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import base, error, tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IDelayedCall, IProtocol, IWriteDescriptor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp.net import compat
from proxyapp.net.connection import prepare
from proxyapp.net.transport import ImmediateTransport

compat.require(base.BaseConnector, ("_makeTransport", "timeoutID", "failIfNotConnected"))

_CONNECTED = (0, errno.EISCONN)
_ON_THE_WAY = (errno.EINPROGRESS, errno.EALREADY)


def is_address(host: str) -> bool:
    """Is *host* an IP address, and not a name that somebody has to look up?"""
    try:
        socket.inet_pton(_family(host), host)
    except (OSError, ValueError):
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class ImmediateClient(ImmediateTransport, tcp.Connection):
    """The dialled end of a connection to *peer*; *connector* hears of its end."""

    _tlsClientDefault = True  # as tcp.Client has it

    def __init__(
        self,
        opened: socket.socket,
        protocol: IProtocol,
        peer: IPv4Address | IPv6Address,
        connector: ImmediateConnector,
    ) -> None:
        super().__init__(opened, protocol, connector.reactor)  # type: ignore[arg-type]  # it is one
        self._peer = peer
        self._connector: ImmediateConnector | None = connector
        self.connected = 1

    def __repr__(self) -> str:
        return f"<ImmediateClient to {self._peer.host}:{self._peer.port}>"

    def begin(self) -> None:
        """Give the protocol its connection; one that it pauses at once is never watched."""
        self.is_reading = True
        self.protocol.makeConnection(self)
        if self.is_reading:
            self.reactor.addReader(self)

    def getHost(self) -> IPv4Address | IPv6Address:
        """See ITransport."""
        return type(self._peer)("TCP", *self.socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """See ITransport."""
        return self._peer

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor."""
        super().connectionLost(reason)
        # Neither keeps the other one for the collector.
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.connectionLost(reason)


class ImmediateConnector(base.BaseConnector):
    """Dials the IP address *host*; *timeout* is in seconds."""

    def __init__(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float,
        reactor: base.ReactorBase,
    ) -> None:
        # The attempt keeps the time itself: what is decided at once needs no delayed call.
        super().__init__(factory, None, reactor)  # type: ignore[arg-type]  # it may be None
        self._host, self._port, self._limit = host, port, timeout

    def getDestination(self) -> IPv4Address | IPv6Address:
        """See IConnector."""
        kind = IPv6Address if ":" in self._host else IPv4Address
        return kind("TCP", self._host, self._port)

    def _makeTransport(self) -> _Attempt:  # type: ignore[override]  # no tcp.Client yet
        return _Attempt(self, (self._host, self._port), self._limit)

    def made(self, opened: socket.socket) -> None:
        """The connection is there: *opened* is its socket."""
        peer = self.getDestination()
        protocol = self.buildProtocol(peer)
        client = ImmediateClient(opened, protocol or Protocol(), peer, self)
        self.transport = client  # type: ignore[assignment]  # a tcp.Client is this and an attempt
        try:
            client.begin()
        except Exception:  # its own mistake
            log.err()
            client.abortConnection()
        if protocol is None:
            client.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """See tcp.Connector."""
        self.transport = None
        super().connectionLost(reason)


@implementer(IWriteDescriptor)
class _Attempt:
    """A connection that isn't made yet.

    Who dials doesn't hear what becomes of it before the end of the turn.
    """

    def __init__(
        self, connector: ImmediateConnector, target: tuple[str, int], timeout: float
    ) -> None:
        self._connector: ImmediateConnector | None = connector
        self._target = target
        self._reactor = reactor = connector.reactor
        self._socket: socket.socket | None = None
        self._timeout: IDelayedCall | None = None
        self._told = self._begin()
        if self._told in _ON_THE_WAY:
            reactor.addWriter(self)
            too_late = error.TimeoutError()
            self._timeout = reactor.callLater(timeout, self.failIfNotConnected, too_late)
        else:
            reactor.send_later(self)  # type: ignore[attr-defined]  # ApplianceReactor's

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return f"{type(self).__name__} {self._target}"

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return -1 if self._socket is None else self._socket.fileno()

    def _begin(self) -> int:
        family = _family(self._target[0])
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as refused:
            return refused.errno or errno.EMFILE
        prepare(self._socket)
        told = self._socket.connect_ex(self._target)
        return self._socket.connect_ex(self._target) if told in _ON_THE_WAY else told

    def doWrite(self) -> None:
        """See IWriteDescriptor: ask how far it is."""
        if self._connector is None or self._socket is None:
            return
        self._told = self._socket.connect_ex(self._target)
        if self._told not in _ON_THE_WAY:
            self._wait_no_longer()
            self.end_turn()

    def _wait_no_longer(self) -> None:
        self._reactor.removeWriter(self)
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def connectionLost(self, reason: Failure) -> None:
        """See IWriteDescriptor: it has failed, and the socket knows best why."""
        if self._connector is not None:
            self.doWrite()
        else:
            self.abortConnection()

    def end_turn(self) -> None:
        """See Unfinished: it is known what has become of it."""
        opened, told = self._socket, self._told
        if opened is None:
            self.failIfNotConnected(error.ConnectBindError(told, os.strerror(told)))
        elif told not in _CONNECTED:
            self.failIfNotConnected(error.getConnectError((told, os.strerror(told))))
        elif self._connector is not None:
            connector, self._connector = self._connector, None
            connector.made(opened)

    def failIfNotConnected(self, reason: Exception) -> None:
        """Give up for *reason*; too late, once it is known what has become of it."""
        connector, self._connector = self._connector, None
        if connector is None:
            return
        if self._socket is not None:
            self._wait_no_longer()
            self._socket.close()
        connector.connectionFailed(Failure(reason))

    def abortConnection(self) -> None:
        """See Unfinished: who dialled made a mistake when he heard of it."""
        if self._socket is not None:
            self._socket.close()
