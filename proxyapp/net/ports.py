"""Listening sockets, and what they do when descriptors are short.

Descriptors are numbered from the lowest one that is free, so the number of a new connection says
for nothing that many are open. From a certain number on a connection is *surplus*: it is accepted,
and the protocol refuses it, so that those that are there can go on, which takes connections to
origins, files and pipes. When nearly all are used, nobody is accepted for a moment: clients wait in
the backlog.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
from typing import NamedTuple, cast

from twisted.internet import tcp
from twisted.internet.interfaces import IProtocol, IReactorFDSet, IReactorTime

from proxyapp.net import compat
from proxyapp.net import transport as net_transport
from proxyapp.net.accepting import ImmediateServer, LeanPort
from proxyapp.net.transport import Transport

compat.require(tcp.Port, ("_fromListeningDescriptor", "_realPortNumber", "numberAccepts"))

# Twisted's default of 50 drops connections when a page opens them by the dozen.
BACKLOG = 1024
# Descriptors that no new client may have: so many, and no more than this part of all there are.
_HEADROOM = 256
_HEADROOM_PART = 4
# Those of them that aren't for refusals either.
_LAST = 16
# Seconds for which nobody is accepted: most refused connections are gone by then.
_PAUSE = 0.25
# Counting ten thousand takes milliseconds, so it's done this seldom (seconds).
_COUNT_EVERY = 0.1
# An admin may change the limit of a process that runs (prlimit(1)).
_LOOK_EVERY = 1.0


class AcceptedTransport(ImmediateServer):
    """The accepted end of a connection; with *is_surplus*, one that there is no room to serve."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[object, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        super().__init__(sock, protocol, client, server, sessionno, reactor)
        port = cast(ImmediatePort, server)
        self.is_surplus = sock.fileno() >= port.surplus_from
        port.highest = max(port.highest, sock.fileno())


class Room(NamedTuple):
    """How many descriptors there may be, and from which number or count on they are scarce.

    *at_once* is how many there are certainly descriptors for while they aren't nearly used up.
    """

    most: int
    scarce: int
    nearly_none: int
    at_once: int


def room() -> Room | None:
    """Return what the process's limit leaves; None if there is no limit."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return None
    headroom = min(_HEADROOM, most // _HEADROOM_PART)
    last = min(_LAST, headroom // 2)
    return Room(most, most - headroom, most - last, max(1, last // 2))


def count_descriptors(most: int) -> int:
    """Return how many descriptors are open; *most* if not even that can be looked up."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # that of listdir itself
    except OSError:
        return most


class ImmediatePort(LeanPort):
    """A listening socket whose connections are immediate transports."""

    transport = AcceptedTransport
    surplus_from = sys.maxsize
    highest = 0
    # Once a high number has been seen, a low one may be a hole: then they are counted.
    _counts = False
    _count = 0
    _counted_at = 0.0
    _room: Room | None = None
    _looked_at = -math.inf

    def doRead(self) -> None:
        """Accept what waits, or nobody for a while when descriptors are nearly used up."""
        now = cast(IReactorTime, self.reactor).seconds()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at, self._room = now, room()
        left = self._room
        if left is None:
            super().doRead()
            return
        self.highest = count = self._used(left)
        if count < left.nearly_none:
            self.surplus_from = 0 if count >= left.scarce else left.scarce
            self.numberAccepts = min(self.numberAccepts, left.at_once)
            super().doRead()
            self._counts = self._counts or self.highest >= left.scarce
        if self.highest >= left.nearly_none:
            self.stopReading()
            cast(IReactorTime, self.reactor).callLater(_PAUSE, self._accept_again)

    def _used(self, left: Room) -> int:
        """Return how many descriptors are open, if they may be scarce; else 0."""
        if not self._counts:
            return 0
        now = cast(IReactorTime, self.reactor).seconds()
        if now - self._counted_at >= _COUNT_EVERY:
            self._counted_at = now
            self._count = count_descriptors(left.most)
            self._counts = self._count >= left.scarce // 2
        return self._count

    def _accept_again(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


def is_surplus(transport: Transport) -> bool:
    """Are there too few descriptors left to do anything for this new connection?"""
    below = net_transport.carrier(transport)
    return isinstance(below, AcceptedTransport) and below.is_surplus
