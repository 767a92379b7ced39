"""connections: what becomes of those that are open once no more are to come."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from proxyapp import errors, stream
from proxyapp.exchange import Client, Reply, Request
from proxyapp.server.connections import GRACE
from proxyapp.server.doors import Clients
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.messages import OutgoingResponse
from tests.server.conftest import CLIENT, Act, Scene, hang_up

OK = OutgoingResponse(200, b"OK", [])
GET = b"GET http://h/1 HTTP/1.1\r\nHost: h\r\n\r\n"
_LATER = 2.0  # seconds, more than GRACE and the sweep take


def slow(turn: Deferred[None]) -> Act:
    """Return an act that answers when *turn* comes."""

    async def act(request: Request, reply: Reply) -> None:
        await turn
        reply.answer(OK, b"slow")

    return act


class Ears(stream.Receiver):
    """Takes what a tunnel gets."""

    def received(self, data: bytes) -> None:
        """See Receiver."""

    def input_ended(self) -> None:
        """See Receiver."""

    def lost(self, is_clean: bool) -> None:
        """See Receiver."""


def close(scene: Scene, on_left: Callable[[], None] = lambda: None) -> None:
    """Let no more come."""
    scene.around.connections.close(on_left)


def test_idle_connection(scene: Scene) -> None:
    """It is closed after a moment, for a request may be on its way."""
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    close(scene)
    assert wire.connected
    assert not wire.ending
    scene.pass_time(_LATER)
    assert wire.ending
    assert GRACE < _LATER


def test_request_on_its_way(scene: Scene) -> None:
    """One that arrives in that moment is answered, and told that it was the last."""
    connection, wire = scene.connect()
    close(scene)
    connection.dataReceived(GET)
    assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.ending
    assert scene.statuses == [200]


def test_head_on_its_way(scene: Scene) -> None:
    """One of which a part is here has the time that a head has."""
    connection, wire = scene.connect()
    connection.dataReceived(GET[:10])
    close(scene)
    scene.pass_time(_LATER)
    connection.dataReceived(GET[10:])
    assert b"\r\nConnection: close\r\n" in wire.take()
    assert wire.ending


def test_running_request(scene: Scene) -> None:
    """It goes on, and its answer says that it is the last."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    close(scene)
    scene.pass_time(10 * _LATER)
    assert not wire.ending
    turn.callback(None)
    assert b"\r\nConnection: close\r\n" in wire.take()
    assert wire.ending


def test_answer_that_had_begun(scene: Scene) -> None:
    """One that promised to keep the connection does, for a moment."""
    turn: Deferred[None] = Deferred()

    async def streaming(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, Framing(Kind.LENGTH, 4))
        sink.write(b"da")
        await turn
        sink.write(b"ta")

    scene.script.acts.append(streaming)
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    close(scene)
    turn.callback(None)
    assert b"close" not in wire.take()
    scene.pass_time(_LATER)
    assert wire.ending


def test_new_connection(scene: Scene) -> None:
    """One that was accepted at the last moment has that moment, too."""
    close(scene)
    _, wire = scene.connect()
    scene.pass_time(_LATER)
    assert wire.ending


def test_tunnels_are_told_apart(scene: Scene) -> None:
    """A tunnel goes on, and is no longer among those that speak HTTP."""

    async def tunnel(request: Request, reply: Reply) -> None:
        reply.take_over(OK, Ears())
        await Deferred()

    scene.script.acts.append(tunnel)
    talking, _ = scene.connect()
    tunnelling, wire = scene.connect()
    tunnelling.dataReceived(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
    close(scene)
    scene.pass_time(_LATER)
    assert not wire.ending
    connections = scene.around.connections
    assert connections.tunnels == [tunnelling]
    assert connections.others == [talking]


def test_who_leaves_is_told(scene: Scene) -> None:
    """Whoever waits for the last one hears of each."""
    left: list[int] = []
    first, first_wire = scene.connect()
    second, second_wire = scene.connect()
    hang_up(first, first_wire)
    connections = scene.around.connections
    close(scene, lambda: left.append(len(connections)))
    assert repr(connections) == "<Connections 1 open, closing>"
    hang_up(second, second_wire)
    assert left == [0]


def test_ended_early(scene: Scene) -> None:
    """A request that may not go on is answered with the reason, and logged with it."""
    scene.script.acts.append(slow(Deferred()))
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    (open_one,) = scene.around.connections
    assert open_one.turn is not None
    assert open_one.turn.record.client_host == CLIENT.host
    open_one.turn.end_early(errors.Overloaded("no more"))
    assert wire.take().startswith(b"HTTP/1.1 503 ")
    assert (scene.statuses, scene.records[0].reason) == ([503], "no more")


class Others:
    """Counts of other processes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ours: list[tuple[str, int]] = []

    def add(self, key: str, change: int) -> None:
        """See Elsewhere."""
        self.ours.append((key, change))

    def of(self, key: str) -> int:
        """See Elsewhere."""
        return self.count

    def total(self) -> int:
        """See Elsewhere."""
        return self.count


def test_clients_elsewhere_count(scene: Scene) -> None:
    """What a client has at other processes counts, and they are told of what it has here."""
    others = Others(0)
    limits = scene.around.limits
    clients = Clients(limits, others)
    assert clients.enter(Client("a", 1)) is None
    others.count = limits.per_client
    error = clients.enter(Client("a", 2))
    assert error is not None
    clients.leave(Client("a", 2))
    assert others.ours == [("a", 1), ("a", 1), ("a", -1)]
