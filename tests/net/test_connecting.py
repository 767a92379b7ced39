"""connecting: whoever dials hears what becomes of it once, and not before he has dialled."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from twisted.internet import error as net_error
from twisted.internet import reactor as running
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from proxyapp.net.connecting import ImmediateClient, is_address
from proxyapp.net.reactor import ApplianceReactor
from tests.conftest import LoggedErrors
from tests.net.loopback import Witness, flow, turn


class Dial(ClientFactory[Witness]):
    """One call of connectTCP, and what was heard of it."""

    noisy = False

    def __init__(self, make: Callable[[], Witness | None] = Witness) -> None:
        self._make = make
        self.witness: Witness | None = None
        self.connector: IConnector | None = None
        self.heard: list[str] = []
        self.settled: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def start(self, reactor: ApplianceReactor, host: str, port: int, timeout: float = 5.0) -> Dial:
        self.connector = reactor.connectTCP(host, port, self, timeout)
        assert self.heard == ["started"]
        return self

    def startedConnecting(self, connector: IConnector) -> None:
        self.heard.append("started")

    def buildProtocol(self, addr: object) -> Witness | None:
        self.heard.append("made")
        running.callLater(0, self.settled.callback, None)  # when it has its connection
        self.witness = self._make()
        return self.witness

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.heard.append(type(reason.value).__name__)
        self.settled.callback(None)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        self.heard.append("lost")
        self.lost.callback(None)

    async def end(self) -> None:
        """Close the connection."""
        if self.witness is not None:
            self.witness.transport.abortConnection()
            await self.lost


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Yield a socket that listens on loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=5) as opened:
        opened.settimeout(5)
        yield opened


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """Yield a socket whose backlog is full, so that nobody else gets through to it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as opened:
        opened.settimeout(5)
        crowd = [socket.socket() for _ in range(4)]
        for waiting in crowd:
            waiting.setblocking(False)
            waiting.connect_ex(opened.getsockname())
        yield opened
        for waiting in crowd:
            waiting.close()


def port_of(opened: socket.socket) -> int:
    """Return the port that *opened* listens on."""
    return int(opened.getsockname()[1])


async def let_in(full: socket.socket, dial: Dial) -> list[socket.socket]:
    """Accept everybody who waits at *full*, and *dial* when the kernel knocks again."""
    accepted = []
    full.setblocking(False)
    while len(dial.heard) < 2:
        with suppress(BlockingIOError):
            accepted.append(full.accept()[0])
        await turn()
    with suppress(BlockingIOError):
        accepted.append(full.accept()[0])
    return accepted


def refuse(*arguments: object) -> socket.socket:
    """Be a socket.socket that fails."""
    raise OSError(errno.EMFILE, "Too many open files")


@flow
async def test_refused(appliance: ApplianceReactor, listening: socket.socket) -> None:
    """A refusal, which on loopback is known at once, is told in the same turn but afterwards."""
    dial = Dial().start(appliance, "127.0.0.3", port_of(listening))
    await dial.settled
    assert dial.heard == ["started", "ConnectionRefusedError"]


@flow
async def test_no_descriptor(appliance: ApplianceReactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor for it the attempt has failed."""
    monkeypatch.setattr(socket, "socket", refuse)
    dial = Dial().start(appliance, "127.0.0.1", 9)
    monkeypatch.undo()
    await dial.settled
    assert dial.heard == ["started", "ConnectBindError"]


@flow
async def test_unreachable(appliance: ApplianceReactor) -> None:
    """What the kernel refuses outright is told like everything else."""
    dial = Dial().start(appliance, "255.255.255.255", 9)
    await dial.settled
    assert dial.heard[0] == "started"
    assert len(dial.heard) == 2
    assert issubclass(getattr(net_error, dial.heard[1]), net_error.ConnectError)


@flow
async def test_timeout(appliance: ApplianceReactor, full: socket.socket) -> None:
    """An attempt that nobody answers is given up after its time."""
    dial = Dial().start(appliance, "127.0.0.1", port_of(full), 0.05)
    await dial.settled
    assert dial.heard == ["started", "TimeoutError"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3"])
@flow
async def test_stopped_at_once(
    appliance: ApplianceReactor, listening: socket.socket, host: str
) -> None:
    """Who stops before he has heard anything hears of that, and of nothing else."""
    dial = Dial().start(appliance, host, port_of(listening))
    assert dial.connector is not None
    dial.connector.stopConnecting()
    await turn()
    assert dial.heard == ["started", "UserError"]
    with pytest.raises(net_error.NotConnectingError):
        dial.connector.stopConnecting()


@flow
async def test_stopped_on_the_way(appliance: ApplianceReactor, full: socket.socket) -> None:
    """So does who stops while he waits; what comes of it later is nobody's."""
    dial = Dial().start(appliance, "127.0.0.1", port_of(full))
    await turn()
    assert dial.connector is not None
    dial.connector.disconnect()
    assert dial.heard == ["started", "UserError"]
    full.accept()[0].close()
    await turn()
    assert dial.heard == ["started", "UserError"]


@flow
async def test_refused_later(appliance: ApplianceReactor, full: socket.socket) -> None:
    """What ends the waiting is told as what it is, though the reactor only knows that it ended."""
    dial = Dial().start(appliance, "127.0.0.1", port_of(full))
    await turn()
    assert dial.heard == ["started"]
    full.close()  # and when the kernel asks again, after a second, it is refused
    await dial.settled
    assert dial.heard == ["started", "ConnectionRefusedError"]


@flow
async def test_nobody_wants_it(appliance: ApplianceReactor, listening: socket.socket) -> None:
    """A connection for which there is no protocol is closed."""
    dial = Dial(lambda: None).start(appliance, "127.0.0.1", port_of(listening))
    await dial.lost
    assert dial.heard == ["started", "made", "lost"]
    with listening.accept()[0] as peer:
        assert peer.recv(10) == b""


class Mistaken(Witness):
    """Fails when it is given its connection."""

    def connectionMade(self) -> None:
        raise ZeroDivisionError


@flow
async def test_mistake_in_connection_made(
    appliance: ApplianceReactor, listening: socket.socket, logged_errors: LoggedErrors
) -> None:
    """A mistake of the protocol is logged, and costs the connection."""
    dial = Dial(Mistaken).start(appliance, "127.0.0.1", port_of(listening))
    await dial.lost
    assert dial.witness is not None
    assert dial.witness.ends == ["ConnectionAborted"]
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


@flow
async def test_mistake_of_the_factory(
    appliance: ApplianceReactor,
    listening: socket.socket,
    full: socket.socket,
    logged_errors: LoggedErrors,
) -> None:
    """A mistake of the factory is logged, and leaves no socket."""

    def fail() -> Witness:
        raise ZeroDivisionError

    dials = [Dial(fail).start(appliance, "127.0.0.1", port_of(each)) for each in (listening, full)]
    listening.accept()[0].close()
    for accepted in await let_in(full, dials[1]):
        accepted.close()
    for dial in dials:
        await dial.settled
    assert [dial.heard for dial in dials] == [["started", "made"]] * 2
    assert len(logged_errors.flush(ZeroDivisionError)) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@flow
async def test_made_at_once(appliance: ApplianceReactor, host: str) -> None:
    """A connection that stands at once is told in the same turn, and knows both its ends."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        dial = Dial().start(appliance, host, port_of(listening))
        before = [*appliance.getReaders(), *appliance.getWriters()]
        await dial.settled
        assert not [each for each in before if isinstance(each, ImmediateClient)]
        assert dial.witness is not None
        transport = dial.witness.transport
        peer, address = listening.accept()
        with peer:
            ends = [(end.host, end.port) for end in (transport.getPeer(), transport.getHost())]
            assert ends == [listening.getsockname()[:2], address[:2]]
            assert type(transport.getPeer()) is type(transport.getHost())
            assert transport.getTcpNoDelay()
            assert transport.getTcpKeepAlive()
            assert repr(transport) == f"<ImmediateClient to {host}:{port_of(listening)}>"
            peer.sendall(b"hello")
            await dial.witness.until(lambda: dial.witness.received == b"hello")
            await dial.end()
    assert dial.heard == ["started", "made", "lost"]


@flow
async def test_made_later(appliance: ApplianceReactor, full: socket.socket) -> None:
    """A connection that has to wait is there when the far end lets it in."""
    dial = Dial().start(appliance, "127.0.0.1", port_of(full))
    await turn()
    assert dial.heard == ["started"]
    accepted = await let_in(full, dial)
    await dial.settled
    assert dial.witness is not None
    dial.witness.transport.write(b"hello")
    port = dial.witness.transport.getHost().port
    await turn()
    (peer,) = [each for each in accepted if each.getpeername()[1] == port]
    assert peer.recv(10) == b"hello"
    await dial.end()
    for each in accepted:
        each.close()
    assert dial.heard == ["started", "made", "lost"]


class Hesitant(Witness):
    """Wants no input yet."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


@flow
async def test_paused_from_the_start(appliance: ApplianceReactor, listening: socket.socket) -> None:
    """A protocol that pauses its connection when it gets it hears nothing before it resumes."""
    dial = Dial(Hesitant).start(appliance, "127.0.0.1", port_of(listening))
    await dial.settled
    assert dial.witness is not None
    with listening.accept()[0] as peer:
        peer.sendall(b"hello")
        await turn()
        assert dial.witness.transport not in appliance.getReaders()
        assert dial.witness.received == b""
        dial.witness.transport.resumeProducing()
        await dial.witness.until(lambda: dial.witness.received == b"hello")
        await dial.end()


@pytest.mark.parametrize("given", [{"host": "localhost"}, {"bindAddress": ("127.0.0.4", 0)}])
@flow
async def test_left_to_twisted(
    appliance: ApplianceReactor, listening: socket.socket, given: dict[str, object]
) -> None:
    """A name, and an address to dial from, go Twisted's way."""
    dial = Dial()
    arguments = {"host": "127.0.0.1", "port": port_of(listening), "factory": dial, **given}
    appliance.connectTCP(**arguments)  # type: ignore[arg-type]  # as above
    await dial.settled
    assert dial.witness is not None
    assert isinstance(dial.witness.transport, tcp.Client)
    with listening.accept()[0] as peer:
        if "bindAddress" in given:
            assert peer.getpeername()[0] == "127.0.0.4"
        await dial.end()


@flow
async def test_dialled_again(appliance: ApplianceReactor, listening: socket.socket) -> None:
    """A connector whose connection has gone may be asked for another one."""
    dial = Dial().start(appliance, "127.0.0.1", port_of(listening))
    for _ in range(2):
        await dial.settled
        listening.accept()[0].close()
        await dial.end()
        dial.settled, dial.lost = Deferred(), Deferred()
        assert dial.connector is not None
        dial.connector.connect()
    await dial.settled
    await dial.end()
    assert dial.heard == ["started", "made", "lost"] * 3


@flow
async def test_nothing_for_the_collector(
    appliance: ApplianceReactor, listening: socket.socket
) -> None:
    """A connection that has ended refers to nothing that refers to it."""

    async def visit() -> None:
        dial = Dial().start(appliance, "127.0.0.1", port_of(listening))
        await dial.settled
        listening.accept()[0].close()
        await dial.end()
        dial.connector = None  # which has the factory

    await visit()
    await turn()
    gc.collect()
    gc.disable()
    try:
        before = clients()
        for _ in range(3):
            await visit()
            await turn()
        assert clients() <= before
    finally:
        gc.enable()


def clients() -> int:
    """Count the dialled connections that are somewhere in memory."""
    return sum(isinstance(each, ImmediateClient) for each in gc.get_objects())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", False),
        ("localhost", False),
        ("1.2.3", False),
        ("127.1", False),
        ("01.2.3.4", False),
        ("1.2.3.4 ", False),
        ("1.2.3.4\0", False),
        ("\u0661.2.3.4", False),
        ("fe80::1%lo", False),  # its scope is for Twisted to find
        ("a:b", False),
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:192.0.2.1", True),
    ],
)
def test_is_address(host: str, expected: bool) -> None:
    """Only what needs no look-up is an address."""
    assert is_address(host) is expected
