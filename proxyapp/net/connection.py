"""Twisted's TCP connection, made leaner where it is watched and where it ends.

Twisted closes a connection when the loop comes round and finds that it can be written to. Here that
is the end of the turn in which it was asked for, like everything that `ApplianceReactor.send_later`
is told of.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from twisted.internet import abstract, error, tcp
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python import log
from twisted.python.failure import Failure

from proxyapp.net import compat

if TYPE_CHECKING:
    _Base = tcp.Connection
else:
    _Base = object

compat.require(tcp.Connection, ("_closeSocket", "_shouldShutdown", "_closeWriteConnection"))
compat.require(
    tcp.Connection, ("_tempDataLen", "dataBuffer", "_aborting", "_postLoseConnection", "TLS")
)

_CLOSED = Failure(error.ConnectionDone())
# Of a connection that has gone, the next event tells.
_GONE = suppress(OSError)


class Unfinished(Protocol):
    """What has something left to do before the loop waits; see ApplianceReactor.send_later."""

    def end_turn(self) -> None:
        """Do it."""

    def abortConnection(self) -> None:
        """That failed."""


class LeanConnection(_Base):
    """Put before tcp.Connection among the bases, it does the same in fewer steps."""

    # shutdown(2) would say what close(2) says: no other process has descriptors of ours.
    _shouldShutdown = False
    # As the reactor was told; most of what asks it to watch or not comes too late.
    is_reading = is_writing = False

    def startReading(self) -> None:
        """See FileDescriptor."""
        if not self.is_reading:
            self.is_reading = True
            self.reactor.addReader(self)

    def stopReading(self) -> None:
        """See FileDescriptor."""
        if self.is_reading:
            self.is_reading = False
            self.reactor.removeReader(self)

    def startWriting(self) -> None:
        """See FileDescriptor."""
        if not self.is_writing:
            self.is_writing = True
            self.reactor.addWriter(self)

    def stopWriting(self) -> None:
        """See FileDescriptor."""
        if self.is_writing:
            self.is_writing = False
            self.reactor.removeWriter(self)

    def send_held(self) -> None:
        """Send what this turn's writes left."""

    def loseConnection(self) -> None:
        """See ITransport: at the end of this turn, if nothing is unsent then."""
        if self.TLS:
            super().loseConnection()
        elif self.connected and not self.disconnecting:
            self.stopReading()
            self.disconnecting = 1
            self.reactor.send_later(self)  # type: ignore[attr-defined]  # ApplianceReactor's

    def end_turn(self) -> None:
        """Send what is held, and close if that was asked for and nothing is left to do before."""
        self.send_held()
        if not self.disconnecting or not self.connected or self._aborting:
            return
        if self._tempDataLen or self.dataBuffer or self.producer is not None:
            self.startWriting()
        elif self._postLoseConnection() is not None:
            self.connectionLost(_CLOSED)

    def end_input(self) -> Exception | None:
        """The other side will send no more; nothing is left for doRead to return."""
        self.stopReading()
        self.readConnectionLost(_CLOSED)
        return None

    def readConnectionLost(self, reason: Failure) -> None:
        """See IHalfCloseableDescriptor; the input isn't watched any more."""
        self.is_reading = False
        if IHalfCloseableProtocol.providedBy(self.protocol):  # adapting it costs four times that
            self._tell(self.protocol.readConnectionLost)
        else:
            self.connectionLost(reason)

    def _closeWriteConnection(self) -> None:
        with _GONE:
            self.socket.shutdown(socket.SHUT_WR)
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._tell(self.protocol.writeConnectionLost)

    def _tell(self, half_is_lost: Callable[[], None]) -> None:
        try:
            half_is_lost()
        except Exception:  # the protocol's mistake
            log.err()
            self.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor; a connection is lost once, however often that is told."""
        if not hasattr(self, "socket"):
            return
        abstract.FileDescriptor.connectionLost(self, reason)
        self._closeSocket(not isinstance(reason.value, error.ConnectionAborted))
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)


def prepare(opened: socket.socket) -> None:
    """Set what each TCP socket of ours gets: no waiting for acknowledgements, keep-alive."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
