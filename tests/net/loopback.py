"""Connections over loopback: one end a transport of ours, the other a plain socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import IO, NamedTuple, ParamSpec, TypeVar, cast

import pytest
from twisted.internet import reactor as running
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp.net import pipes
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.transport import ImmediateTransport

_T = TypeVar("_T")
_P = ParamSpec("_P")

# Seconds after which a blocking socket of a test gives up, rather than hang.
PATIENCE = 20.0


@implementer(IHalfCloseableProtocol)
class Witness(Protocol):
    """Remembers what its transport delivers; *on_data* may do more with it."""

    transport: ImmediateTransport

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[str] = []
        self.on_data: Callable[[bytes], object] = lambda data: None
        self.lost: Deferred[None] = Deferred()
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return what fires when *condition* holds; it is asked after every event."""
        happened: Deferred[None] = Deferred()
        self._waiting.append((condition, happened))
        self._look()
        return happened

    def _look(self) -> None:
        for condition, happened in list(self._waiting):
            if condition():
                self._waiting.remove((condition, happened))
                happened.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)
        self._look()

    def readConnectionLost(self) -> None:
        self.ends.append("input")
        self._look()

    def writeConnectionLost(self) -> None:
        self.ends.append("output")
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ends.append(type(reason.value).__name__)
        self._look()
        self.lost.callback(None)


class Witnesses(Factory):
    """Makes a Witness for each connection, and tells who waits for it."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Witness] = []
        self.next: Deferred[Witness] = Deferred()

    def buildProtocol(self, addr: object) -> Witness:
        witness = Witness()
        self.made.append(witness)
        running.callLater(0, self._tell, witness)
        return witness

    def _tell(self, witness: Witness) -> None:
        waiting, self.next = self.next, Deferred()
        waiting.callback(witness)


class Opening(NamedTuple):
    """See sendfile.File."""

    descriptor: int
    status: os.stat_result


def opening(file: IO[bytes]) -> Opening:
    """Return *file* as it is to be sent."""
    return Opening(file.fileno(), os.fstat(file.fileno()))


@dataclass
class Peer:
    """The far end of a connection: a blocking socket, used in threads."""

    socket: socket.socket

    def read(self, size: int) -> Deferred[bytes]:
        """Read *size* bytes, or as many as there are before the end of input."""
        return deferToThread(self._read, size)

    def read_some(self, size: int) -> Deferred[bytes]:
        """Read what is there, at most *size* bytes."""
        return deferToThread(self.socket.recv, size)

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self.socket.recv(min(size - len(found), 1 << 18))
            if not piece:
                break
            found += piece
        return bytes(found)

    def read_all(self) -> Deferred[bytes]:
        """Read until the end of input."""
        return self.read(1 << 40)

    def send(self, data: bytes) -> Deferred[None]:
        """Send all of *data*."""
        return deferToThread(self.socket.sendall, data)

    def end_output(self) -> None:
        """Say that no more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the other end sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


@dataclass
class Network:
    """Makes connections, and takes them down with everything else."""

    reactor: ApplianceReactor
    ports: list[IListeningPort] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    factories: list[Witnesses] = field(default_factory=list)

    async def connect(self, buffer: int = 0) -> tuple[Witness, Peer]:
        """Return our end and the far one; *buffer* is the size of the kernel's buffers (bytes)."""
        factory = Witnesses()
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.ports.append(port)
        self.factories.append(factory)
        end = socket.socket()
        if buffer:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            cast(socket.socket, port.socket).setsockopt(  # type: ignore[attr-defined]
                socket.SOL_SOCKET, socket.SO_SNDBUF, buffer
            )
        end.settimeout(PATIENCE)
        made = factory.next
        end.connect(("127.0.0.1", port.getHost().port))  # type: ignore[attr-defined]
        peer = Peer(end)
        self.peers.append(peer)
        return await made, peer

    def in_thread(self, work: Callable[[], _T]) -> Deferred[_T]:
        """Do *work*, which blocks, beside the reactor."""
        return deferToThread(work)

    async def close(self) -> None:
        """Leave nothing behind."""
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
            peer.socket.close()
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        for witness in [made for factory in self.factories for made in factory.made]:
            witness.on_data = lambda data: None
            witness.transport.abortConnection()
            if not witness.lost.called:
                await witness.lost
        pipes.close_free()


def flow(test: Callable[_P, Coroutine[Deferred[object], object, None]]) -> Callable[_P, object]:
    """Run an asynchronous test in the reactor, for as long as the patience lasts."""

    @wraps(test)
    def run(*arguments: _P.args, **named: _P.kwargs) -> Deferred[None]:
        done: Deferred[None] = Deferred.fromCoroutine(test(*arguments, **named))
        return done.addTimeout(PATIENCE + 5, running)

    return run


def turn() -> Deferred[None]:
    """Return what fires after one whole turn of the loop, with its events."""
    passed: Deferred[None] = Deferred()
    running.callLater(
        0,
        running.callLater,
        0,
        passed.callback,
        None,
    )
    return passed


async def failure_of(work: Awaitable[_T], expected: type[BaseException]) -> BaseException:
    """Wait for *work* to fail with *expected*, and return the error."""
    with pytest.raises(expected) as raised:
        await work
    return raised.value


def open_descriptors() -> set[str]:
    """Return the numbers of this process's open descriptors."""
    return set(os.listdir("/proc/self/fd"))
