"""closing: the last answer arrives, and nobody holds a connection for ever."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.transport import Transport
from proxyapp.server.closing import LINGER, MAX_LINGER, Closing
from tests.server.conftest import Scene, Wire

STALL = 7.0
BIG = b"x" * 30_000_000


# --- Where there is no half-close ---


def test_close_in_memory(scene: Scene) -> None:
    """close ends the connection behind what was written."""
    wire = Wire()
    Closing(cast(Transport, wire), scene.sweep, STALL).close()
    assert wire.ending == "closed"


def test_linger_without_half_close(scene: Scene) -> None:
    """Where a half-close can't be, as under TLS, linger is a close."""
    wire = Wire()
    Closing(cast(Transport, wire), scene.sweep, STALL).linger()
    assert wire.ending == "closed"
    assert repr(scene.sweep) == "<Sweep of 0>"


def test_too_much_to_throw_away(scene: Scene) -> None:
    """A client that goes on sending has to wait, so that it may look at its answer."""
    wire = Wire()
    closing = Closing(cast(Transport, wire), scene.sweep, STALL)
    piece = b"x" * 65536
    for _ in range(MAX_LINGER // len(piece)):
        closing.throw_away(piece)
    assert not wire.is_paused
    closing.throw_away(b"x")
    assert wire.is_paused
    assert wire.ending == ""


# --- On real sockets, but with a clock of our own ---


@implementer(IHalfCloseableProtocol)
class Closer(Protocol):
    """The accepted end of a connection, which does nothing but close."""

    def __init__(self, scene: Scene) -> None:
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._scene = scene

    def connectionMade(self) -> None:
        self.closing = Closing(cast(Transport, self.transport), self._scene.sweep, STALL)
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.closing.throw_away(data)

    def readConnectionLost(self) -> None:
        self.closing.close()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closing.stop()
        self.lost.callback(None)


class OneCloser(Factory):
    """Makes the one closer that the test looks at."""

    noisy = False

    def __init__(self, closer: Closer) -> None:
        self._closer = closer

    def buildProtocol(self, addr: IAddress | None) -> Closer:
        return self._closer


class Pair(NamedTuple):
    """Both ends of one connection; *client* is a plain socket that doesn't block."""

    closer: Closer
    client: socket.socket
    reactor: ApplianceReactor

    async def turn(self) -> None:
        """Let the reactor go round."""
        await deferLater(self.reactor, 0, lambda: None)

    async def read(self, size: int) -> bytes:
        """Read *size* bytes, or up to the end."""
        pieces: list[bytes] = []
        while size:
            try:
                data = self.client.recv(min(size, 1 << 20))
            except BlockingIOError:
                await self.turn()
                continue
            if not data:
                break
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Write *data* at the closer's end."""
        assert self.closer.transport is not None
        self.closer.transport.write(data)


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def pair(reactor: ApplianceReactor, scene: Scene) -> AsyncIterator[Pair]:
    """Yield the ends of a connection that has just been made."""
    closer = Closer(scene)
    port = reactor.listenTCP(0, OneCloser(closer), interface="127.0.0.1")
    address = cast(IPv4Address, port.getHost())
    client = socket.create_connection(("127.0.0.1", address.port))
    client.setblocking(False)
    await closer.made
    yield Pair(closer, client, reactor)
    client.close()
    await closer.lost
    await maybeDeferred(port.stopListening)
    assert repr(scene.sweep) == "<Sweep of 0>"


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_linger(pair: Pair, scene: Scene) -> None:
    """The client reads the answer and the end of it, while it may still send for a while."""
    pair.write(b"answer")
    pair.closer.closing.linger()
    assert await pair.read(100) == b"answer"
    for _ in range(3):
        pair.client.send(b"more" * 1000)
        scene.pass_time(1.5)
        await pair.turn()
    assert not pair.closer.lost.called
    scene.pass_time(LINGER)
    await pair.closer.lost


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_answer_outlives_a_flood(pair: Pair, scene: Scene) -> None:
    """Whoever sends far too much, and then looks, finds the answer; whoever never looks is cut."""
    pair.write(b"answer")
    pair.closer.closing.linger()
    blocked = 0
    while blocked < 20:
        try:
            pair.client.send(bytes(1 << 20))
        except BlockingIOError:
            blocked += 1
        await pair.turn()
    assert await pair.read(100) == b"answer"
    assert not pair.closer.lost.called
    scene.pass_time(2 * LINGER)
    await pair.closer.lost


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_linger_ends_with_the_client(pair: Pair, scene: Scene) -> None:
    """A client that closes when it has read its answer isn't waited for."""
    pair.write(b"answer")
    pair.closer.closing.linger()
    assert await pair.read(100) == b"answer"
    pair.client.close()
    await pair.closer.lost


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_linger_for_a_slow_reader(pair: Pair, scene: Scene) -> None:
    """An answer that is still being read is not cut off when the time is over."""
    pair.write(BIG)
    pair.closer.closing.linger()
    taken = 0
    while taken < len(BIG):
        taken += len(await pair.read(3_000_000))
        scene.pass_time(LINGER)
        await pair.turn()
    assert taken == len(BIG)
    scene.pass_time(2 * LINGER)
    await pair.closer.lost


@pytest.mark.parametrize("way", [Closing.close, Closing.linger])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_reader_that_takes_nothing(
    pair: Pair, scene: Scene, way: Callable[[Closing], None]
) -> None:
    """A client that reads nothing for the stall time-out loses the connection."""
    pair.write(BIG)
    await pair.turn()
    way(pair.closer.closing)
    scene.pass_time(STALL - 1)
    await pair.turn()
    assert not pair.closer.lost.called
    scene.pass_time(STALL)
    await pair.closer.lost
