"""Ports on sockets that were handed to this process: whoever made them goes on having them."""

from __future__ import annotations

import socket

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from proxyapp.net import compat

compat.require(unix.Port, ("_bindPath", "_preexistingSocket", "_shouldShutdown"))


class HandedUnixPort(unix.Port):
    """A Unix socket's port that leaves its path, and the socket of the others, as they are."""

    # Or nobody who has the same socket could accept any more.
    _shouldShutdown = False

    def startListening(self) -> None:
        """See IListeningPort."""
        tcp.Port.startListening(self)

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor."""
        tcp.Port.connectionLost(self, reason)


def adopt_unix(descriptor: int, factory: IProtocolFactory, reactor: object) -> HandedUnixPort:
    """Return a port, not listening yet, on a copy of *descriptor*."""
    copy = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
    copy.setblocking(False)
    port = HandedUnixPort(copy.getsockname(), factory, reactor=reactor)
    port._preexistingSocket = copy
    return port
