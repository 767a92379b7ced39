"""accepting: who waits is let in, whatever becomes of those before."""

from __future__ import annotations

import errno
import socket
from typing import cast
from unittest import mock

import pytest
from twisted.internet.defer import maybeDeferred

from proxyapp.net.accepting import ImmediateServer, LeanPort
from proxyapp.net.reactor import ApplianceReactor
from tests.conftest import LoggedErrors
from tests.net.loopback import Witness, Witnesses, flow, turn


class Selective(Witnesses):
    """Has a way of its own with the first connection."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self._first = first

    def buildProtocol(self, addr: object) -> Witness:
        first, self._first = self._first, ""
        if first == "fails":
            raise ZeroDivisionError
        if first == "refuses":
            return cast(Witness, None)
        witness = super().buildProtocol(addr)
        if first == "mistaken":
            witness.makeConnection = lambda transport: 1 / 0  # type: ignore[assignment]
        return witness


def listen(reactor: ApplianceReactor, factory: Witnesses, host: str) -> tuple[LeanPort, int]:
    """Return a port for *factory*, and its number."""
    port = LeanPort(0, factory, 50, host, reactor)
    port.startListening()
    return port, port.getHost().port


async def close(*opened: socket.socket | Witness | LeanPort) -> None:
    """Close what a test opened."""
    for each in opened:
        if isinstance(each, socket.socket):
            each.close()
        elif isinstance(each, Witness):
            each.transport.abortConnection()
            if not each.lost.called:
                await each.lost
        else:
            await maybeDeferred(each.stopListening)


@pytest.mark.parametrize("first", ["fails", "refuses", "mistaken"])
@flow
async def test_first_one_goes_wrong(
    appliance: ApplianceReactor, logged_errors: LoggedErrors, first: str
) -> None:
    """One connection that is refused, or that a mistake costs, keeps nobody else out."""
    factory = Selective(first)
    port, number = listen(appliance, factory, "127.0.0.1")
    clients = [socket.create_connection(("127.0.0.1", number)) for _ in range(2)]
    while not factory.made or not hasattr(factory.made[-1], "transport"):
        await turn()
    factory.made[-1].transport.write(b"hello")
    await turn()
    assert clients[1].recv(10) == b"hello"
    assert len(logged_errors.flush(ZeroDivisionError)) == (first != "refuses")
    if first == "refuses":
        assert clients[0].recv(10) == b""
    await close(*clients, factory.made[-1], port)


@flow
async def test_first_one_cannot_be_watched(
    appliance: ApplianceReactor, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that watches no more descriptors (epoll(7)) costs a connection, not the port."""
    factory = Witnesses()
    port, number = listen(appliance, factory, "127.0.0.1")
    refusal = mock.Mock(side_effect=OSError(errno.ENOSPC, "no watches"))
    monkeypatch.setattr(port, "transport", refusal)
    clients = [socket.create_connection(("127.0.0.1", number))]
    while not refusal.called:
        await turn()
    monkeypatch.undo()
    assert clients[0].recv(10) == b""
    clients.append(socket.create_connection(("127.0.0.1", number)))
    while len(factory.made) < 2:
        await turn()
    assert len(logged_errors.flush(OSError)) == 1
    await close(*clients, factory.made[1], port)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED, errno.EPERM, errno.ENOBUFS])
@flow
async def test_accept_fails(
    appliance: ApplianceReactor, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What accept(2) can't do now is left to Twisted, and done when it can."""
    factory = Witnesses()
    port, where = listen(appliance, factory, "127.0.0.1")
    failing = Failing(port.socket, number)
    monkeypatch.setattr(port, "socket", failing)
    client = socket.create_connection(("127.0.0.1", where))
    while not failing.calls:
        await turn()
    monkeypatch.undo()
    second = socket.create_connection(("127.0.0.1", where))
    while not factory.made:
        await turn()
    await turn()
    await close(client, second, *factory.made, port)


class Failing:
    """A listening socket that accepts nobody."""

    def __init__(self, real: socket.socket, number: int) -> None:
        self._real = real
        self._number = number
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def _accept(self) -> object:
        raise OSError(self._number, "not now")

    def accept(self) -> object:
        self.calls += 1
        raise OSError(self._number if self.calls == 1 else errno.EAGAIN, "not now")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@flow
async def test_accepted(appliance: ApplianceReactor, host: str) -> None:
    """An accepted connection knows both its ends, and has the options that all of ours have."""
    factory = Witnesses()
    made = factory.next
    port, number = listen(appliance, factory, host)
    with socket.create_connection((host, number)) as client:
        server = await made
        transport = server.transport
        assert isinstance(transport, ImmediateServer)
        assert (transport.getHost().host, transport.getHost().port) == (host, number)
        assert (transport.getPeer().host, transport.getPeer().port) == client.getsockname()[:2]
        assert type(transport.getPeer()) is type(transport.getHost())
        assert transport.getTcpNoDelay()
        assert transport.getTcpKeepAlive()
        assert repr(transport) == f"<ImmediateServer #1 of {host}>"
        await close(server, port)


@flow
async def test_adopted_port_has_the_options(appliance: ApplianceReactor) -> None:
    """So have the connections of a listening socket from elsewhere."""
    factory = Witnesses()
    made = factory.next
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        number = listening.getsockname()[1]
        port = appliance.adoptStreamPort(listening.fileno(), socket.AF_INET, factory)
    with socket.create_connection(("127.0.0.1", number)):
        server = await made
        assert server.transport.getTcpNoDelay()
        assert server.transport.getTcpKeepAlive()
        await close(server, cast(LeanPort, port))


@flow
async def test_nobody_waits(appliance: ApplianceReactor) -> None:
    """An event without anybody, because he has been let in already, is none."""
    factory = Witnesses()
    port, _ = listen(appliance, factory, "127.0.0.1")
    for _ in range(3):
        port.doRead()
    assert factory.made == []
    assert port.numberAccepts == 1
    await close(port)


@flow
async def test_crowd_behind_one(appliance: ApplianceReactor) -> None:
    """After single connections a crowd is let in at a growing pace, and whole."""
    factory = Witnesses()
    port, number = listen(appliance, factory, "127.0.0.1")
    port.doRead()
    clients = [socket.create_connection(("127.0.0.1", number)) for _ in range(50)]
    seen = []
    while len(factory.made) < 50:
        before = len(factory.made)
        port.doRead()
        seen.append(len(factory.made) - before)
    assert seen == [1, 21, 28]
    await turn()
    await close(*clients, *factory.made, port)
