"""sockets: what descriptions want, and ports on sockets that are open already."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from proxyapp.net import sockets
from proxyapp.net.ports import BACKLOG
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.sockets import ListenError, Wanted

awaiting = pytest_twisted.ensureDeferred


class Greeter(Protocol):
    """Says hello, and closes."""

    def connectionMade(self) -> None:
        """See IProtocol."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


@pytest.fixture
def factory() -> Factory:
    """Return what makes greeters."""
    made = Factory.forProtocol(Greeter)
    made.noisy = False
    return made


@pytest.mark.parametrize(
    ("description", "wanted"),
    [
        ("tcp:80", Wanted(socket.AF_INET, "0.0.0.0", 80)),
        ("tcp:80:interface=127.0.0.1", Wanted(socket.AF_INET, "127.0.0.1", 80)),
        (r"tcp:80:interface=\:\:1", Wanted(socket.AF_INET6, "::1", 80)),
        ("tcp6:80", Wanted(socket.AF_INET6, "::", 80)),
        ("tcp:80:backlog=4096", Wanted(socket.AF_INET, "0.0.0.0", 80, 4096)),
        ("tcp:80:backlog=5", Wanted(socket.AF_INET, "0.0.0.0", 80, BACKLOG)),
        ("haproxy:tcp:80", Wanted(socket.AF_INET, "0.0.0.0", 80)),
        ("unix:/run/x:mode=600", Wanted(socket.AF_UNIX, "/run/x", 0, 50, 0o600, True)),
        ("unix:/run/x:lockfile=0", Wanted(socket.AF_UNIX, "/run/x", 0, 50, 0o666, False)),
    ],
)
def test_wanted(description: str, wanted: Wanted) -> None:
    """A description wants what Twisted takes it for."""
    assert sockets.read(description) == wanted


@pytest.mark.parametrize("description", ["systemd:domain=INET:index=0", "ssl:443", "nonsense"])
def test_unreadable(description: str) -> None:
    """What Twisted can't make sense of is one kind of error."""
    with pytest.raises(ListenError):
        sockets.read(description)


def test_addresses_are_shared_among_us() -> None:
    """We may open an address several times; but not where somebody else has it."""
    first = sockets.open_socket(Wanted(socket.AF_INET, "127.0.0.1"), is_exclusive=True)
    wanted = Wanted(socket.AF_INET, "127.0.0.1", first.getsockname()[1])
    second = sockets.open_socket(wanted, is_exclusive=False)
    with pytest.raises(ListenError, match="Address already in use"):
        sockets.open_socket(wanted, is_exclusive=True)
    for each in (first, second):
        assert not each.getblocking()
        assert not each.get_inheritable()
        each.close()


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(socket.AF_INET, "203.0.113.1", 1), "Cannot assign"),
        (Wanted(socket.AF_UNIX, "/no/such/folder/x"), "No such file"),
        (Wanted(socket.AF_INET, "no address", 1), "."),
    ],
)
def test_cannot_open(wanted: Wanted, why: str) -> None:
    """Why an address can't be had is told in the system's words."""
    with pytest.raises(ListenError, match=why):
        sockets.open_socket(wanted, is_exclusive=False)


def greeting(address: object, family: socket.AddressFamily = socket.AF_INET) -> Deferred[bytes]:
    """Return what whoever listens at *address* says."""

    def converse() -> bytes:
        with socket.socket(family) as talking:
            talking.settimeout(10)
            talking.connect(address)
            return talking.recv(100)

    return deferToThread(converse)


async def stop(port: IListeningPort) -> None:
    """Stop listening."""
    stopping = port.stopListening()
    if stopping is not None:
        await stopping


@awaiting
async def test_listening_on_sockets(reactor: ApplianceReactor, factory: Factory) -> None:
    """A port accepts on all of its sockets, and leaves them open."""
    first = sockets.open_socket(Wanted(socket.AF_INET, "127.0.0.1"), is_exclusive=True)
    address = first.getsockname()
    second = sockets.open_socket(Wanted(socket.AF_INET, *address), is_exclusive=False)
    for description in ("tcp:1", "tcp6:1", "systemd:domain=INET:index=0", "unix:/run/x"):
        port = sockets.listen_on(reactor, description, factory, [first, second])
        port.startListening()
        assert port.getHost().port == address[1]
        assert [await greeting(address) for _ in range(8)] == [b"hello"] * 8
        await stop(port)
    waiting = socket.create_connection(address)
    (again := sockets.listen_on(reactor, "tcp:1", factory, [first, second])).getHost()
    assert await deferToThread(waiting.recv, 10) == b"hello", "it waited in the queue"
    await stop(again)
    for each in (waiting, first, second):
        each.close()


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a Unix socket that listens."""
    made = sockets.open_socket(Wanted(socket.AF_UNIX, str(tmp_path / "s")), is_exclusive=False)
    yield made
    made.close()


@awaiting
async def test_unix_socket_outlives_its_port(
    reactor: ApplianceReactor, factory: Factory, unix: socket.socket
) -> None:
    """A port on a socket that was handed over leaves the path, and the socket, to the others."""
    path = unix.getsockname()
    for _ in range(2):
        port = sockets.listen_on(reactor, "unix:/whatever", factory, [unix])
        assert await greeting(path, socket.AF_UNIX) == b"hello"
        await stop(port)
    assert Path(path).is_socket()


@awaiting
async def test_listening_by_endpoint(reactor: ApplianceReactor, factory: Factory) -> None:
    """Where nothing is handed over, a description opens its own; or says why it can't."""
    listen = sockets.listen_by_endpoint(reactor)
    port = listen("tcp:0:interface=127.0.0.1", factory)
    number = port.getHost().port
    with pytest.raises(ListenError, match="Address already in use"):
        listen(f"tcp:{number}:interface=127.0.0.1", factory)
    assert await greeting(("127.0.0.1", number)) == b"hello"
    await stop(port)
