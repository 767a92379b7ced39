"""TCP connections that arrive, accepted with as few system calls as that takes."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.python import log

from proxyapp.net import compat
from proxyapp.net.connection import prepare
from proxyapp.net.transport import ImmediateTransport

compat.require(tcp.Server, ("_addressType", "server", "client", "sessionno"))
compat.require(socket.socket, ("_accept",))
compat.require(tcp.Port, ("_buildAddr", "_fromListeningDescriptor", "_realPortNumber"))

# Where an IPv6 address has its scope (RFC 4007); Twisted spells it in the address itself.
_SCOPE = 3
_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class ImmediateServer(ImmediateTransport, tcp.Server):
    """The accepted end of a connection."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[object, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        """Do what tcp.Server does, but for the texts about itself that nobody reads."""
        tcp.Connection.__init__(self, sock, protocol, reactor)
        if len(client) > _SCOPE:
            self._addressType = IPv6Address
        self.server, self.client, self.sessionno = server, client, sessionno
        self.startReading()
        self.connected = 1

    def __repr__(self) -> str:
        return f"<ImmediateServer #{self.sessionno} of {self.client[0]}>"


class LeanPort(tcp.Port):
    """A listening socket whose connections are immediate transports."""

    transport = ImmediateServer

    def startListening(self) -> None:
        """See IListeningPort."""
        super().startListening()
        prepare(self.socket)  # and Linux hands it on to every socket that is accepted

    def doRead(self) -> None:
        """Accept whoever waits; where that fails, Twisted knows what to do."""
        most, accepted = self.numberAccepts, 0
        while accepted < most:
            try:
                # Without the enumerations that accept() makes of the family and of the type: 3 us.
                descriptor, peer = self.socket._accept()  # type: ignore[union-attr]
            except BlockingIOError:
                break
            except OSError:
                super().doRead()  # it keeps a descriptor for when they are short
                return
            accepted += 1
            self._welcome(descriptor, peer)
        # Who meets a crowd lets in more at a time, as Twisted does.
        self.numberAccepts = most + 20 if accepted == most else max(1, accepted)

    def _welcome(self, descriptor: int, peer: tuple[Any, ...]) -> None:
        opened = socket.socket(self.addressFamily, self.socketType, 0, descriptor)
        try:
            server = self._server_of(opened, peer)
        except Exception:  # what is wrong with one connection doesn't close the door to all
            log.err()
            server = None
        if server is None:
            opened.close()
            return
        try:
            server.protocol.makeConnection(server)
        except Exception:  # its own mistake
            log.err()
            server.abortConnection()

    def _server_of(self, opened: socket.socket, peer: tuple[Any, ...]) -> ImmediateServer | None:
        if len(peer) > _SCOPE and peer[_SCOPE]:
            peer = (socket.getnameinfo(peer, _NUMERIC)[0], *peer[1:])
        assert self.factory is not None
        protocol = self.factory.buildProtocol(self._buildAddr(peer))
        if protocol is None:
            return None
        self.sessionno += 1
        return self.transport(opened, protocol, peer, self, self.sessionno, self.reactor)
