"""ports: connections beyond what descriptors allow are told apart, and accept isn't called to fail.

The limit of this process stays as it is: what the port believes of it is made up.
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from proxyapp.net import ports
from proxyapp.net.ports import ImmediatePort, Room, count_descriptors, room
from proxyapp.net.reactor import ApplianceReactor
from tests.net.loopback import Network, Witness, Witnesses, flow, open_descriptors, turn


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (64, Room(64, 48, 56, 4)),
        (100, Room(100, 75, 88, 6)),
        (1024, Room(1024, 768, 1008, 8)),
        (524288, Room(524288, 524032, 524272, 8)),
        (resource.RLIM_INFINITY, None),
    ],
)
def test_room(monkeypatch: pytest.MonkeyPatch, most: int, expected: Room | None) -> None:
    """A quarter of a small limit, and 256 of a large one, are for those who are there."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (most, most))
    assert room() == expected


def test_count_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and where not even that can be done there are none left."""
    assert count_descriptors(1000) == len(open_descriptors()) - 1

    def refuse(path: str) -> list[str]:
        raise OSError

    monkeypatch.setattr(ports.os, "listdir", refuse)
    assert count_descriptors(1000) == 1000


class Door:
    """A port, and clients that come to it."""

    def __init__(self, reactor: ApplianceReactor) -> None:
        self.factory = Witnesses()
        self.port: IListeningPort = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.clients: list[socket.socket] = []

    def knock(self) -> None:
        """Let a client connect."""
        address = ("127.0.0.1", self.port.getHost().port)  # type: ignore[attr-defined]
        self.clients.append(socket.create_connection(address))

    async def next(self) -> Witness:
        """Let a client in, and return the connection."""
        made = self.factory.next
        self.knock()
        return await made

    async def close(self) -> None:
        """Leave nothing behind."""
        for client in self.clients:
            client.close()
        await maybeDeferred(self.port.stopListening)
        for witness in self.factory.made:
            witness.transport.abortConnection()
            if not witness.lost.called:
                await witness.lost


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def door(network: Network) -> AsyncIterator[Door]:
    """Return a door; it is closed at the end."""
    made = Door(network.reactor)
    yield made
    await made.close()


def limit(monkeypatch: pytest.MonkeyPatch, left: Room | None) -> None:
    """Let the port believe in this limit, and at once."""
    monkeypatch.setattr(ports, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(ports, "room", lambda: left)


@flow
async def test_plenty(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough of them, or without a limit, nobody is surplus, and nothing is counted."""
    monkeypatch.setattr(ports, "count_descriptors", lambda most: 1 / 0)
    for left in (None, Room(1 << 20, 1 << 19, 1 << 19, 8)):
        limit(monkeypatch, left)
        assert not ports.is_surplus((await door.next()).transport)


@flow
async def test_high_numbers(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with a high number is surplus, and is accepted."""
    limit(monkeypatch, Room(1000, 3, 900, 8))
    assert ports.is_surplus((await door.next()).transport)


@flow
async def test_low_numbers_among_many(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they were scarce, they are counted; a hole among many is surplus, too."""
    used = [500]
    monkeypatch.setattr(ports, "count_descriptors", lambda most: used[0])
    monkeypatch.setattr(ports, "_COUNT_EVERY", 0.0)
    limit(monkeypatch, Room(1000, 3, 900, 8))
    await door.next()
    limit(monkeypatch, Room(1000, 500, 900, 8))
    assert ports.is_surplus((await door.next()).transport)
    used[0] = 499
    assert not ports.is_surplus((await door.next()).transport)
    used[0] = 100
    await door.next()
    monkeypatch.setattr(ports, "count_descriptors", lambda most: 1 / 0)
    assert not ports.is_surplus((await door.next()).transport)


@flow
async def test_nearly_none(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they are nearly used up clients wait in the backlog, and come in later."""
    monkeypatch.setattr(ports, "count_descriptors", lambda most: 1000)
    monkeypatch.setattr(ports, "_COUNT_EVERY", 0.0)
    limit(monkeypatch, Room(1000, 3, 4, 8))
    await door.next()
    made = door.factory.next
    door.knock()
    for _ in range(5):
        await turn()
    assert len(door.factory.made) == 1
    limit(monkeypatch, None)
    await made
    assert len(door.factory.made) == 2


@flow
async def test_port_that_closes_meanwhile(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is closed while it waits isn't opened again."""
    monkeypatch.setattr(ports, "_PAUSE", 0.0)
    limit(monkeypatch, Room(1000, 3, 4, 8))
    door = Door(network.reactor)
    await door.next()
    await door.close()
    for _ in range(3):
        await turn()


def test_foreign() -> None:
    """What isn't one of our connections is no surplus."""
    assert not ports.is_surplus(object())  # type: ignore[arg-type]
    assert ImmediatePort.surplus_from == sys.maxsize
