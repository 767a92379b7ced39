"""doors: how many clients may be connected."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from proxyapp import errors
from proxyapp.exchange import Client
from proxyapp.server.connection import Listener
from proxyapp.server.doors import Clients
from tests.server.conftest import LIMITS, Scene, Wire, hang_up, make

ONE, SAME, OTHER = Client("a", 1), Client("a", 2), Client("b", 1)


def test_one_too_many_of_one_client() -> None:
    """Past per_client a client is refused, and another one isn't."""
    clients = Clients(LIMITS)
    assert [clients.enter(client) for client in (ONE, SAME, OTHER)] == [None] * 3
    clients = Clients(LIMITS)
    clients.enter(ONE)
    clients.enter(SAME)
    assert isinstance(clients.enter(ONE), errors.Overloaded)
    assert clients.enter(OTHER) is not None, "and that was one of three, all the same"


def test_one_too_many_of_all() -> None:
    """Past clients everybody is refused."""
    clients = Clients(replace(LIMITS, clients=1, per_client=5))
    assert clients.enter(ONE) is None
    refusal = clients.enter(OTHER)
    assert isinstance(refusal, errors.Overloaded)
    assert refusal.status == 503


def test_leaving_makes_room() -> None:
    """Who leaves is forgotten altogether, whether it was refused or not."""
    clients = Clients(LIMITS)
    for _ in range(100):
        for client in (ONE, SAME, ONE):
            clients.enter(client)
        for client in (ONE, SAME, ONE):
            clients.leave(client)
    assert clients.open == 0
    assert repr(clients) == "<Clients 0 connections from 0 addresses>"
    assert clients.enter(ONE) is None


@pytest.mark.parametrize(
    ("address", "client"),
    [
        (IPv4Address("TCP", "192.0.2.9", 5), Client("192.0.2.9", 5)),
        (UNIXAddress("/run/socket"), Client("", 0)),
        (None, Client("", 0)),
    ],
)
def test_listener_counts(scene: Scene, address: IAddress | None, client: Client) -> None:
    """Every connection is counted in and out, with the client's address if it has one."""
    clients = Clients(LIMITS)
    listener = Listener(scene.around, scene.doors, clients)
    connection, wire = listener.buildProtocol(address), Wire()
    make(connection, wire)
    assert repr(clients) == "<Clients 1 connections from 1 addresses>"
    assert f"{client.host}:{client.port} idle" in repr(connection)
    hang_up(connection, wire)
    assert clients.open == 0


def test_listener_refuses(scene: Scene) -> None:
    """One connection too many gets its 503 as soon as it is made."""
    listener = Listener(scene.around, scene.doors, Clients(replace(LIMITS, clients=0)))
    connection, wire = listener.buildProtocol(None), Wire()
    make(connection, wire)
    assert wire.sent.startswith(b"HTTP/1.1 503 ")
    assert wire.ending == "closed"
    assert scene.statuses == [503]
