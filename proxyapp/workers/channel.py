"""The line between the master and one worker: messages, and descriptors that go with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet import protocol
from twisted.internet.interfaces import IFileDescriptorReceiver, IReactorSocket, IUNIXTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp.workers.messages import BadMessage, Json, Message, from_line, to_line

# All tunnels of a worker are told in one line, some 200 bytes each.
_LONGEST = 64 << 20

_log = Logger()


@implementer(IFileDescriptorReceiver)
class Channel(LineOnlyReceiver):
    """One end of it. *on_message* gets what the other end says, *on_lost* is told of its end."""

    transport: IUNIXTransport  # that of an adopted AF_UNIX connection
    delimiter = b"\n"
    MAX_LENGTH = _LONGEST

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._descriptors: list[int] = []
        self._is_open = False

    def connectionMade(self) -> None:
        """See IProtocol."""
        self._is_open = True

    def say(self, word: str, **fields: Json) -> None:
        """Send a message; nothing happens where nobody is there any more."""
        self.hand(word, (), **fields)

    def hand(self, word: str, descriptors: Sequence[int], **fields: Json) -> None:
        """Send a message, and copies of *descriptors*; they stay open until they have left."""
        if not self._is_open:
            return
        for descriptor in descriptors:
            self.transport.sendFileDescriptor(descriptor)
        self.transport.write(to_line(word, fields))

    def lineReceived(self, line: bytes) -> None:
        """See LineOnlyReceiver."""
        try:
            self._on_message(from_line(line))
        except BadMessage:
            _log.failure("what another process of ours said makes no sense")

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See IFileDescriptorReceiver."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def take_descriptors(self, count: int) -> list[int]:
        """Return the next *count* that have come, in their order; they are the caller's now.

        They are here with their message at the latest, and maybe before it.
        """
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._is_open = False
        for descriptor in self.take_descriptors(len(self._descriptors)):
            os.close(descriptor)
        self._on_lost()

    def close(self) -> None:
        """Say no more."""
        if self._is_open:
            self.transport.loseConnection()


class _Factory(protocol.Factory):
    """Makes the one protocol there is."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: object) -> Channel:
        """See IProtocolFactory."""
        return self._channel


def open_channel(reactor: IReactorSocket, end: socket.socket, channel: Channel) -> None:
    """Have *channel* speak through *end*, which is closed with it."""
    end.setblocking(False)
    factory = cast(ServerFactory, _Factory(channel))
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, factory)
    end.close()
