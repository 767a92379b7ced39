"""reactor: our transports on a clock that never jumps; one mistake costs one connection."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from twisted.internet import main as twisted_main
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import ClientFactory, Protocol

from proxyapp.net import reactor as appliance_reactor
from proxyapp.net.accepting import ImmediateServer
from proxyapp.net.connecting import ImmediateClient
from proxyapp.net.reactor import BACKLOG, ApplianceReactor
from tests.conftest import LoggedErrors
from tests.net.loopback import Network, Witness, Witnesses, flow, turn

ROOT = Path(__file__).parents[2]


class Dialling(ClientFactory):
    """Makes one Witness, or tells why not."""

    noisy = False

    def __init__(self) -> None:
        self.result: Deferred[Witness] = Deferred()

    def buildProtocol(self, addr: object) -> Protocol:
        witness = Witness()
        from_now = witness.until(lambda: bool(witness.received))
        from_now.addCallback(lambda _: self.result.callback(witness))
        return witness

    def clientConnectionFailed(self, connector: object, reason: object) -> None:
        self.result.errback(reason)  # type: ignore[arg-type]  # a Failure


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1"])
@flow
async def test_listen_and_connect(appliance: ApplianceReactor, interface: str) -> None:
    """Both ends of a connection are transports of ours, over IPv4 and IPv6."""
    factory = Witnesses()
    made = factory.next
    port = appliance.listenTCP(0, factory, interface=interface)
    dialling = Dialling()
    number = port.getHost().port  # type: ignore[attr-defined]  # it is TCP
    appliance.connectTCP(interface, number, dialling)
    server = await made
    server.transport.write(b"welcome")
    client = await dialling.result
    assert isinstance(server.transport, ImmediateServer)
    assert isinstance(client.transport, ImmediateClient)
    assert client.received == b"welcome"
    client.transport.write(b"thanks")
    await server.until(lambda: server.received == b"thanks")
    client.transport.abortConnection()
    await client.lost
    await server.lost
    await maybeDeferred(port.stopListening)


@flow
async def test_connect_to_nobody(appliance: ApplianceReactor) -> None:
    """A refused connection is told to the factory."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dialling = Dialling()
        appliance.connectTCP("127.0.0.1", closed.getsockname()[1], dialling)
        with pytest.raises(ConnectionRefusedError, match="refused") as raised:
            await _as_os_error(dialling.result)
    assert raised.value.errno


async def _as_os_error(work: Deferred[Witness]) -> None:
    try:
        await work
    except Exception as error:
        assert type(error).__name__ == "ConnectionRefusedError"
        raise ConnectionRefusedError(111, "refused") from error


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@flow
async def test_adopt_stream_port(appliance: ApplianceReactor, family: int) -> None:
    """A listening socket from elsewhere (systemd, a master) brings transports of ours."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen(5)
        listening.setblocking(False)
        address = listening.getsockname()
        factory = Witnesses()
        made = factory.next
        port = appliance.adoptStreamPort(listening.fileno(), family, factory)
    with socket.create_connection(address[:2]):
        server = await made
        assert isinstance(server.transport, ImmediateServer)
    await server.until(lambda: bool(server.ends))
    server.transport.loseConnection()
    await server.lost
    await maybeDeferred(port.stopListening)


@flow
async def test_adopt_unix_port(appliance: ApplianceReactor, tmp_path: Path) -> None:
    """A Unix socket from elsewhere works as with the stock reactor."""
    path = str(tmp_path / "listening")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(5)
        listening.setblocking(False)
        factory = Witnesses()
        made = factory.next
        port = appliance.adoptStreamPort(listening.fileno(), socket.AF_UNIX, factory)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        server = await made
        server.transport.write(b"stock")
        await turn()
        assert client.recv(10) == b"stock"
    await server.until(lambda: bool(server.ends))
    server.transport.loseConnection()
    await server.lost
    await maybeDeferred(port.stopListening)


@pytest.mark.parametrize(("wanted", "given"), [(1, BACKLOG), (50, BACKLOG), (5000, 5000)])
@flow
async def test_backlog(appliance: ApplianceReactor, wanted: int, given: int) -> None:
    """A crowd of connections at once finds room, whoever listens."""
    port = appliance.listenTCP(0, Witnesses(), backlog=wanted, interface="127.0.0.1")
    assert port.backlog == given  # type: ignore[attr-defined]  # tcp.Port's
    await maybeDeferred(port.stopListening)


@flow
async def test_a_crowd(network: Network) -> None:
    """Two hundred connections in one turn are all accepted and all served."""
    pairs = [await network.connect() for _ in range(3)]
    address = pairs[0][1].socket.getpeername()
    factory = network.factories[0]
    crowd = [socket.create_connection(address) for _ in range(200)]
    while len(factory.made) < 201:
        await turn()
    for witness in factory.made:
        witness.transport.write(b"!")
    await turn()
    assert [client.recv(2) for client in crowd] == [b"!"] * 200
    for client in crowd:
        client.close()


def test_seconds_are_monotonic(
    appliance: ApplianceReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting the machine's clock moves no delayed call."""
    before = appliance.seconds()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert appliance.seconds() >= before
    assert abs(appliance.seconds() - time.monotonic()) < 1.0


@flow
async def test_delayed_calls(appliance: ApplianceReactor) -> None:
    """Delayed calls come in their order, and not before their time."""
    order: list[int] = []
    begun = time.monotonic()
    done: Deferred[None] = Deferred()
    for number in (3, 1, 2):
        appliance.callLater(number * 0.02, order.append, number)
    appliance.callLater(0.08, done.callback, None)
    await done
    assert order == [1, 2, 3]
    assert time.monotonic() - begun >= 0.08


@flow
async def test_call_made_as_a_turn_ends(network: Network, appliance: ApplianceReactor) -> None:
    """What is asked for by whoever hears of an end, as the turn ends, isn't slept over."""
    for begin in (lambda act: appliance.callLater(0, act), appliance.callFromThread):
        ours, _ = await network.connect()
        done: Deferred[None] = Deferred()
        ours.lost.addCallback(lambda _, done=done: appliance.callLater(0, done.callback, None))
        begin(ours.transport.loseConnection)  # type: ignore[no-untyped-call]
        begun = time.monotonic()
        await done
        assert time.monotonic() - begun < 1.0


@flow
async def test_call_from_a_thread(appliance: ApplianceReactor, network: Network) -> None:
    """A thread's call is made at once, though nothing else is due for long."""
    far_off = appliance.callLater(60.0, lambda: None)
    for _ in range(5):
        done: Deferred[None] = Deferred()
        begun = time.monotonic()
        await network.in_thread(lambda done=done: appliance.callFromThread(done.callback, None))  # type: ignore[misc]
        await done
        assert time.monotonic() - begun < 1.0
    far_off.cancel()


@flow
async def test_mistake_in_a_delayed_call(
    appliance: ApplianceReactor, logged_errors: LoggedErrors
) -> None:
    """A mistake in one delayed call is logged, and the next one is made all the same."""
    done: Deferred[None] = Deferred()

    def fail() -> None:
        raise ZeroDivisionError

    appliance.callLater(0, fail)
    appliance.callLater(0, done.callback, None)
    await done
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


def test_iterate() -> None:
    """One iteration polls once, and doesn't wait for more."""
    reactor = ApplianceReactor()
    calls: list[int] = []
    far_off = reactor.callLater(60.0, calls.append, 1)
    reactor.callLater(0, calls.append, 2)
    begun = time.monotonic()
    for _ in range(3):
        reactor.iterate(0)
    assert calls == [2]
    assert time.monotonic() - begun < 1.0
    far_off.cancel()
    close(reactor)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, ConnectionError])
@flow
async def test_mistake_costs_one_connection(
    network: Network, logged_errors: LoggedErrors, error: type[Exception]
) -> None:
    """An exception in a protocol is logged and closes its connection; the others go on."""
    pairs = [await network.connect() for _ in range(3)]

    def fail(data: bytes) -> None:
        raise error("on purpose")

    pairs[1][0].on_data = fail
    for _, peer in pairs:
        await peer.send(b"?")
    await pairs[1][0].lost
    assert pairs[1][0].ends == [error.__name__]
    for ours, _ in (pairs[0], pairs[2]):
        await ours.until(lambda ours=ours: ours.received == b"?")  # type: ignore[misc]
        assert ours.ends == []
    assert len(logged_errors.flush(error)) == 1


@flow
async def test_mistake_in_connection_lost(network: Network, logged_errors: LoggedErrors) -> None:
    """An exception while a connection ends is logged, its socket is closed, and others go on."""
    ours, peer = await network.connect()
    other, other_peer = await network.connect()
    other.transport.pauseProducing()

    def fail() -> bool:
        raise ZeroDivisionError

    failing = ours.until(lambda: bool(ours.ends) and fail())
    await other_peer.send(b"still here")
    peer.reset()
    while not ours.ends:
        await turn()
    await turn()
    other.transport.resumeProducing()
    await other.until(lambda: other.received == b"still here")
    assert ours.transport.connected == 0
    assert logged_errors.flush(ZeroDivisionError)
    assert not failing.called
    ours.lost.callback(None)


@flow
async def test_closed_between_events(network: Network) -> None:
    """A connection that another one's event closes in the same turn gets no event of its own."""
    pairs = [await network.connect() for _ in range(10)]

    def abort_all(data: bytes) -> None:
        for ours, _ in pairs:
            ours.transport.abortConnection()

    for ours, _ in pairs:
        ours.on_data = abort_all
    for _, peer in pairs:
        peer.socket.sendall(b"x")
    for ours, _ in pairs:
        await ours.lost
    assert sum(bool(ours.received) for ours, _ in pairs) == 1


def test_install_leaves_another_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reactor is installed already, it stays."""
    installed: list[object] = []
    monkeypatch.setattr(twisted_main, "installReactor", installed.append)
    appliance_reactor.install()
    assert installed == []


def test_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, ours becomes the process's."""
    installed: list[ApplianceReactor] = []
    monkeypatch.setattr(twisted_main, "installReactor", installed.append)
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor")
    appliance_reactor.install()
    (reactor,) = installed
    assert isinstance(reactor, ApplianceReactor)
    close(reactor)


def close(reactor: ApplianceReactor) -> None:
    """Close what a reactor that never ran has opened."""
    for reader in reactor.removeAll():
        reader.connectionLost(None)
    for waker in reactor._internalReaders:
        waker.connectionLost(None)
    poller = reactor._poller
    assert isinstance(poller, select.epoll)
    poller.close()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("twisted.internet.epollreactor", "EPollReactor"),
        ("twisted.internet.selectreactor", "SelectReactor"),
        ("twisted.internet.pollreactor", "PollReactor"),
    ],
)
def test_stock_reactor(module: str, name: str) -> None:
    """On Twisted's own reactors tunnels and files are copied, and arrive whole."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.stock", module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "reactor": name,
        "job": "CopyFile",
        "splice": False,
        "unsent": 0,
        "is_whole": True,
    }
