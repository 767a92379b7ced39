"""Promises of proxyapp.proxy.relay: in memory what it says and does, on sockets what it splices."""

from __future__ import annotations

import gc
import socket
import ssl
import weakref
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet import protocol, reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp.exchange import TakenOver
from proxyapp.net import pipes
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.net.valve import Valve
from proxyapp.proxy.relay import Relay
from proxyapp.stream import SPLICE_FROM, Body, Receiver
from proxyapp.wire import bodies
from proxyapp.wire.framing import Framing, Kind
from tests.certificates import server_context
from tests.net.loopback import PATIENCE, Network, Peer, Witness, Witnesses, turn
from tests.support import MemorySource, MemoryTransport, RecordedReply, connect

IDLE = 40.0
CLOSING = 8.0


@implementer(IHalfCloseableProtocol)
class ToReceiver(protocol.Protocol):
    """A connection of which everything goes to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._receiver.received(data)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self._receiver.input_ended()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """See Protocol."""
        self._receiver.lost(reason.check(ConnectionDone) is not None)


class Joined:
    """A relay between two far ends in memory."""

    def __init__(self, early: bytes = b"", late: bytes = b"", has_ended: bool = False) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.relay = Relay(self.sweep, IDLE, CLOSING)
        self.client = connect(self.clock, ToReceiver(self.relay.client), 1)
        self.origin = connect(self.clock, ToReceiver(self.relay.origin), 2)
        self.origin.pauseProducing()
        self.relay.join(
            TakenOver(self.client, early, has_ended),
            TakenOver(self.origin, late, has_ended=False),
        )
        self.turn()

    @property
    def is_over(self) -> bool:
        return bool(self.relay.done.called)

    def turn(self) -> None:
        """Let what was asked for happen."""
        for _ in range(4):
            self.clock.advance(0)

    def wait(self, seconds: int) -> None:
        """Let time pass, as the sweep sees it."""
        for _ in range(seconds * 4):
            self.clock.advance(0.25)
        self.turn()

    def ends(self, *ends: str) -> Joined:
        """Let the client do the first, the origin the second; skip a dash."""
        for transport, end in zip((self.client, self.origin), ends, strict=True):
            if end != "-":
                getattr(transport, end)()
                self.turn()
        return self


@pytest.fixture(autouse=True)
def _no_pipes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory nothing can be spliced; it is as if descriptors were short."""
    if "network" not in request.fixturenames:
        monkeypatch.setattr(pipes, "take", lambda: None)


def test_both_ways() -> None:
    """Bytes go both ways, those that were there first of all; and are counted."""
    joined = Joined(b"early", b"late")
    joined.origin.hears(b"early")
    joined.client.hears(b"late")
    joined.client.says(b"up")
    joined.origin.says(b"down!")
    joined.origin.hears(b"up")
    joined.client.hears(b"down!")
    assert (joined.relay.up.moved, joined.relay.down.moved) == (7, 9)
    assert not joined.is_over


@pytest.mark.parametrize("whose", ["client", "origin"])
def test_half_close_crosses(whose: str) -> None:
    """The end of one side's input crosses behind its bytes; the other direction goes on."""
    joined = Joined()
    near, far = joined.client, joined.origin
    if whose == "origin":
        near, far = far, near
    near.says(b"last words")
    near.ends()
    joined.turn()
    far.hears(b"last words")
    assert far.is_half_closed
    far.says(b"x" * 1000)
    near.hears(b"x" * 1000)
    assert not joined.is_over
    far.ends()
    joined.turn()
    assert joined.is_over
    assert near.reason == far.reason == "ConnectionDone"


def test_no_half_close_at_the_very_end() -> None:
    """When both inputs have ended the connections are closed, which says it all."""
    joined = Joined()
    joined.client.ends()
    joined.turn()
    assert joined.origin.is_half_closed
    joined.origin.ends()
    joined.turn()
    assert not joined.client.is_half_closed
    assert joined.is_over
    assert joined.client.reason == joined.origin.reason == "ConnectionDone"
    assert repr(joined.sweep) == "<Sweep of 0>"


def test_nothing_for_the_collector() -> None:
    """A relay that is over refers to nothing that refers to it."""
    joined = Joined()
    joined.client.says(b"x")
    joined.origin.hears(b"x")
    joined.ends("ends", "ends")
    assert joined.is_over
    relay = weakref.ref(joined.relay)
    gc.disable()
    try:
        del joined.relay
        assert relay() is None
    finally:
        gc.enable()


def test_half_close_waits_for_the_bytes() -> None:
    """The end crosses behind what the other side hasn't taken yet."""
    joined = Joined()
    joined.origin.takes = False
    joined.client.says(b"x" * 200_000)
    joined.client.ends()
    joined.turn()
    assert not joined.origin.is_half_closed
    joined.origin.takes_all()
    joined.turn()
    joined.origin.hears(b"x" * 200_000)
    assert joined.origin.is_half_closed


def test_half_close_before_the_relay() -> None:
    """An end of input that came before the two were joined crosses as well."""
    joined = Joined(b"GET /", has_ended=True)
    joined.origin.hears(b"GET /")
    assert joined.origin.is_half_closed
    joined.origin.says(b"answer")
    joined.origin.ends()
    joined.turn()
    joined.client.hears(b"answer")
    assert joined.is_over


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        (("resets", "-"), "ConnectionAborted"),
        (("-", "resets"), "ConnectionAborted"),
        (("closes", "-"), "ConnectionDone"),
        (("-", "closes"), "ConnectionDone"),
    ],
)
def test_one_connection_is_lost(ends: tuple[str, str], reason: str) -> None:
    """When one connection is gone the other one follows, and in the same manner."""
    joined = Joined().ends(*ends)
    assert joined.is_over
    other = joined.origin if ends[1] == "-" else joined.client
    assert other.reason == reason
    assert repr(joined.sweep) == "<Sweep of 0>"


def test_bytes_on_the_way_arrive() -> None:
    """What the lost side sent before its orderly end is still delivered, if anybody takes it."""
    joined = Joined()
    joined.client.takes = False
    joined.origin.says(b"x" * 1000)
    joined.origin.closes()
    joined.turn()
    assert not joined.is_over
    joined.client.takes_all()
    joined.turn()
    joined.client.hears(b"x" * 1000)
    assert joined.is_over


def test_bytes_on_the_way_that_nobody_takes() -> None:
    """A client that doesn't take the last bytes is cut off after close_timeout."""
    joined = Joined()
    joined.client.takes = False
    joined.origin.says(b"x" * 1000)
    joined.origin.closes()
    joined.wait(int(CLOSING) - 1)
    assert not joined.is_over
    joined.wait(4)
    assert joined.is_over
    assert joined.client.reason == "ConnectionAborted"


def test_bytes_on_the_way_that_are_taken_slowly() -> None:
    """A client isn't cut while it goes on taking the last bytes, however slowly it does."""
    joined = Joined()
    joined.client.takes = False
    joined.origin.says(b"x" * 1000)
    joined.origin.closes()
    for _ in range(6):
        joined.wait(int(CLOSING) - 4)
        joined.client.takes_some(100)
    assert not joined.is_over
    joined.client.takes_all()
    joined.turn()
    joined.client.hears(b"x" * 1000)
    assert joined.is_over


def test_back_pressure() -> None:
    """Either side is read no faster than the other one reads."""
    joined = Joined()
    for near, far in ((joined.client, joined.origin), (joined.origin, joined.client)):
        far.takes = False
        near.says(b"x" * 100_000)
        assert not near.is_reading
        near.says(b"y" * 100_000)
        assert far.unsent == 100_000
        far.takes_all()
        joined.turn()
        assert near.is_reading
        far.hears(b"x" * 100_000 + b"y" * 100_000)


def test_waiting_for_its_share_is_not_idle() -> None:
    """A tunnel that is throttled down to nothing isn't cut, until its share has come."""
    joined = Joined()
    joined.client.valve = Valve(joined.client)
    joined.client.valve.waits_to_send = True
    joined.wait(3 * int(IDLE))
    assert not joined.is_over
    joined.client.valve.waits_to_send = False
    joined.wait(2 * int(IDLE))
    assert joined.is_over


def test_idle_timeout() -> None:
    """Without a byte in either direction the relay is cut; a byte in one keeps both."""
    joined = Joined()
    for _ in range(3):
        joined.wait(int(IDLE) - 12)
        joined.origin.says(b"ping")
    joined.wait(int(IDLE) - 12)
    assert not joined.is_over
    joined.wait(24)
    assert joined.is_over
    assert joined.client.reason == joined.origin.reason == "ConnectionAborted"
    joined.client.hears(b"ping" * 3)
    assert joined.relay.down.moved == 12


def test_cut() -> None:
    """A relay that is cut, or whose end is cancelled, closes both connections at once."""
    for act in ("cut", "cancel"):
        joined = Joined()
        if act == "cut":
            joined.relay.cut()
        else:
            joined.relay.done.addErrback(lambda failure: None)
            joined.relay.done.cancel()
        joined.turn()
        assert joined.is_over
        assert joined.client.is_aborted
        assert joined.origin.is_aborted
        assert repr(joined.sweep) == "<Sweep of 0>"


def test_repr() -> None:
    """A relay tells its state."""
    joined = Joined(b"abc")
    shown = "<Relay up <Direction open, 3 bytes>, down <Direction open, 0 bytes>>"
    assert repr(joined.relay) == shown
    joined.origin.all_heard()


# --- On sockets ---


class Witnessed(ToReceiver):
    """The same on a real connection, whose witness has to hear of its end."""

    def __init__(self, receiver: Receiver, witness: Witness) -> None:
        super().__init__(receiver)
        self._witness = witness

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """See Protocol."""
        super().connectionLost(reason)
        self._witness.connectionLost(reason)


async def joined_by_sockets(network: Network, buffer: int = 0) -> tuple[Relay, Witness, Witness]:
    """Return a relay that joins the near ends of two real connections; *buffer* is the client's."""
    relay = Relay(Sweep(cast(ApplianceReactor, reactor)), IDLE, CLOSING)
    ends: list[Witness] = []
    for receiver, size in ((relay.client, buffer), (relay.origin, 0)):
        witness, _ = await network.connect(size)
        witness.transport.protocol = Witnessed(receiver, witness)
        ends.append(witness)
    client, origin = ends
    relay.join(
        TakenOver(client.transport, b"", has_ended=False),
        TakenOver(origin.transport, b"", has_ended=False),
    )
    return relay, client, origin


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_spliced_download(network: Network) -> None:
    """A long direction is spliced, is counted to the byte, and ends like a short one."""
    relay, _, _ = await joined_by_sockets(network)
    client, origin = network.peers
    size = 40 * SPLICE_FROM
    reading = client.read_all()
    await client.send(b"GET")
    assert await origin.read(3) == b"GET"
    await origin.send(b"x" * size)
    origin.end_output()
    assert len(await reading) == size
    client.end_output()
    await relay.done
    assert (relay.up.moved, relay.down.moved) == (3, size)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_half_closed_client_that_reads_late(network: Network) -> None:
    """A client that has said all it has, and takes its time, gets every byte of a long answer."""
    relay, _, _ = await joined_by_sockets(network)
    client, origin = network.peers
    size = 200 * SPLICE_FROM
    client.end_output()
    assert await origin.read(1) == b""
    sending = origin.send(b"x" * size)
    assert len(await client.read(SPLICE_FROM)) == SPLICE_FROM
    rest = client.read_all()
    await sending
    origin.socket.close()
    assert len(await rest) == size - SPLICE_FROM
    await relay.done
    assert relay.down.moved == size


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_reset_behind_the_end(network: Network) -> None:
    """An origin that has said all it had, and takes no more, doesn't cost a slow client a byte."""
    relay, _, witness = await joined_by_sockets(network, buffer=4096)
    client, origin = network.peers
    size = SPLICE_FROM - 1
    await origin.send(b"x" * size)
    origin.socket.close()
    while not relay.down.is_over:
        await turn()
    for count in (1, 2):  # the first byte is answered with a reset, which the next one feels
        await client.send(b"u")
        while relay.up.moved < count:
            await turn()
    await witness.lost
    assert len(await client.read_all()) == size
    await relay.done


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("whose", [0, 1])
async def test_counts_when_it_is_cut(network: Network, whose: int) -> None:
    """A reset in the middle of a splice cuts the other side; what went through stays counted."""
    relay, _, _ = await joined_by_sockets(network)
    client, origin = network.peers
    size = 10 * SPLICE_FROM
    await origin.send(b"x" * size)
    assert len(await client.read(size)) == size
    network.peers[whose].reset()
    await relay.done
    assert relay.down.moved == size


async def connect_by_tls(network: Network, folder: Path) -> tuple[Witness, Peer]:
    """Return our end and the far one of a connection under TLS, with small buffers."""
    context, _ = server_context(folder)
    chain = str(folder / "server.pem")
    factory = Witnesses()
    layers = TLSMemoryBIOFactory(DefaultOpenSSLContextFactory(chain, chain), False, factory)
    port = network.reactor.listenTCP(0, layers, interface="127.0.0.1")
    network.ports.append(port)
    port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    end.settimeout(PATIENCE)
    made = factory.next
    end.connect(("127.0.0.1", port.getHost().port))  # type: ignore[attr-defined]
    peer = Peer(await network.in_thread(lambda: context.wrap_socket(end)))
    network.peers.append(peer)
    return await made, peer


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_slow_client_under_tls(network: Network, tmp_path: Path) -> None:
    """Who was paused when splicing was tried is resumed, where nothing can be spliced."""
    relay = Relay(Sweep(cast(ApplianceReactor, reactor)), IDLE, CLOSING)
    (near, client), (far, origin) = await connect_by_tls(network, tmp_path), await network.connect()
    near.transport.wrappedProtocol = Witnessed(relay.client, near)  # type: ignore[attr-defined]
    far.transport.protocol = Witnessed(relay.origin, far)
    relay.join(
        TakenOver(near.transport, b"", has_ended=False),
        TakenOver(far.transport, b"", has_ended=False),
    )
    begun, rest = SPLICE_FROM - 4096, 3 * SPLICE_FROM
    await origin.send(b"x" * begun)
    while relay.down.moved < begun:
        await turn()
    sending = origin.send(b"x" * rest)
    while far.transport.is_reading:
        await turn()
    assert len(await client.read(begun + rest)) == begun + rest
    await sending
    client.socket.close()
    await relay.done


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_spliced_body(network: Network) -> None:
    """A long body of known length goes from socket to socket, and is counted all the same."""
    (near, sender), (far, reader) = await network.connect(), await network.connect()
    size = SPLICE_FROM * 20
    sweep = Sweep(cast(ApplianceReactor, reactor))
    source = MemorySource(cast(MemoryTransport, near.transport), sweep)
    sink = RecordedReply(cast(MemoryTransport, far.transport))
    body = Body(bodies.decoder_for(Framing(Kind.LENGTH, size)), source)
    near.on_data = body.push
    sending, reading = sender.send(b"y" * size + b"next"), reader.read(size)
    await near.until(lambda: bool(near.received))
    near.on_data = lambda data: None
    await body.deliver(sink)
    await sending
    assert await reading == b"y" * size
    assert body.size == size
    assert len(sink.body) < size
    await near.until(lambda: near.received.endswith(b"next"))
