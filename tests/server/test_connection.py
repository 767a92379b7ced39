"""connection: requests in turn on one client's connection, its patience, and its ends."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred

from proxyapp import errors, stream
from proxyapp.exchange import Reply, Request
from proxyapp.wire.messages import OutgoingResponse
from tests.server.conftest import CLIENT, Act, Scene, hang_up

OK = OutgoingResponse(200, b"OK", [])
POST = b"POST http://h/ HTTP/1.1\r\nHost: h\r\n"


def get(number: int) -> bytes:
    """Return a request, of which the scripted responder echoes the path."""
    return b"GET http://h/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number


def bodies(sent: bytes) -> list[bytes]:
    """Return the bodies of answers in *sent*, which are paths with numbers."""
    return [each.partition(b"\r\n\r\n")[2] for each in sent.split(b"HTTP/1.1 200 OK\r\n")[1:]]


def slow(turn: Deferred[None]) -> Act:
    """Return an act that answers when *turn* comes."""

    async def act(request: Request, reply: Reply) -> None:
        await turn
        reply.answer(OK, b"slow")

    return act


def unread(status: int) -> Act:
    """Return an act that answers with *status* without reading the request's body."""

    async def act(request: Request, reply: Reply) -> None:
        reply.answer(OutgoingResponse(status, b"R", []), b"")

    return act


# --- In turn ---


def test_pipelined(scene: Scene) -> None:
    """Answers leave in the order of their requests, each begun when the one before has ended."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(get(1) + get(2))
    connection.dataReceived(get(3))
    assert len(scene.script.requests) == 1
    assert wire.sent == b""
    turn.callback(None)
    assert bodies(wire.take()) == [b"slow", b"/2", b"/3"]
    assert scene.statuses == [200] * 3


def test_a_thousand_at_once(scene: Scene) -> None:
    """Requests that are answered at once don't pile up on the stack."""
    connection, wire = scene.connect()
    connection.dataReceived(b"".join(map(get, range(1000))))
    assert bodies(wire.sent) == [b"/%d" % number for number in range(1000)]


def test_flood_is_held_up(scene: Scene) -> None:
    """While a turn lasts no more is read than a head may have, and nothing is lost."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(get(0))
    fed = 0
    while not wire.is_paused:
        fed += 1
        connection.dataReceived(get(fed))
    assert fed * len(get(1)) < 2000
    turn.callback(None)
    assert not wire.is_paused
    assert len(bodies(wire.sent)) == 1 + fed


def test_state_report(scene: Scene) -> None:
    """The representation tells who it is, and what runs."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, _ = scene.connect()
    assert repr(connection) == "<ClientConnection 192.0.2.7:40000 idle>"
    connection.dataReceived(get(1))
    assert "<Turn of b'GET' <ClientReply 0, 0 bytes sent>>" in repr(connection)
    turn.callback(None)


# --- Patience ---


def test_idle(scene: Scene) -> None:
    """A connection on which nothing comes is closed, without an answer or a line."""
    connection, wire = scene.connect()
    scene.pass_time(9.5)
    assert wire.ending == ""
    scene.pass_time(1)
    assert (wire.sent, wire.ending, scene.records) == (b"", "closed", [])
    hang_up(connection, wire)
    assert scene.left == [CLIENT]


def test_idle_again(scene: Scene) -> None:
    """The time counts from the last answer."""
    connection, wire = scene.connect()
    scene.pass_time(9)
    connection.dataReceived(get(1))
    scene.pass_time(9)
    assert wire.ending == ""
    scene.pass_time(1.5)
    assert wire.ending == "closed"


@pytest.mark.parametrize("before", [b"", get(1)], ids=["first", "second"])
def test_slow_head(scene: Scene, before: bytes) -> None:
    """A head has head_timeout from its first byte, however often another one comes."""
    connection, wire = scene.connect()
    connection.dataReceived(before)
    for octet in b"GET ht":
        connection.dataReceived(bytes([octet]))
        assert b" 408 " not in wire.sent
        scene.pass_time(1)
    assert b"HTTP/1.1 408 Request Timeout\r\n" in wire.sent
    assert wire.ending == "closed"
    assert scene.statuses[-1] == 408


def test_no_time_runs_in_a_turn(scene: Scene) -> None:
    """However long an answer takes, it's neither a slow head nor idleness."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(get(1) + b"GET")
    scene.pass_time(60)
    assert wire.ending == ""
    turn.callback(None)
    scene.pass_time(4)
    assert b" 408 " not in wire.sent
    scene.pass_time(2)
    assert b" 408 " in wire.sent


# --- Bodies ---


def test_unread_body_ends_the_connection(scene: Scene) -> None:
    """An answer to a request whose body nobody read is the last one, and says so."""
    scene.script.acts.append(unread(413))
    connection, wire = scene.connect()
    connection.dataReceived(POST + b"Content-Length: 50\r\n\r\nabc")
    assert b"\r\nConnection: close\r\n" in wire.sent
    assert wire.ending == "closed"
    connection.dataReceived(b"d" * 47 + get(1))
    assert len(scene.script.requests) == 1


def test_whole_body_that_nobody_reads(scene: Scene) -> None:
    """One that has arrived whole is in nobody's way."""
    scene.script.acts.append(unread(405))
    connection, wire = scene.connect()
    connection.dataReceived(POST + b"Content-Length: 3\r\n\r\nabc" + get(1))
    assert b"Connection: close" not in wire.sent
    assert bodies(wire.sent) == [b"/1"]
    assert scene.records[0].received == 3


@pytest.mark.parametrize(
    ("sent", "status"), [(b"ZZ\r\n", 400), (b"65\r\n" + b"x" * 101 + b"\r\n", 413)]
)
def test_broken_body(scene: Scene, sent: bytes, status: int) -> None:
    """A body that breaks off ends the exchange with its own fault; what follows is no request."""

    async def act(request: Request, reply: Reply) -> None:
        await request.body.deliver(cast(stream.Sink, _Nowhere()))
        raise AssertionError("it is broken")

    scene.script.acts.append(act)
    connection, wire = scene.connect()
    connection.dataReceived(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.dataReceived(sent)
    connection.dataReceived(get(1))
    assert wire.sent.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in wire.sent
    assert len(scene.script.requests) == 1
    assert scene.statuses == [status]


class _Nowhere:
    """A sink that forgets."""

    is_raw = False
    stall_timeout = 10.0

    def __init__(self) -> None:
        self.transport = self

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def flush(self) -> None:
        pass

    def finish(self, trailers: object) -> None:
        pass

    def passed(self, count: int) -> None:
        pass

    def stalled(self) -> errors.ExchangeError:
        return errors.ReadTimeout("never")


@pytest.mark.parametrize(("early", "persists"), [(get(1), False), (b"", True)])
def test_bytes_for_a_tunnel_that_is_refused(scene: Scene, early: bytes, persists: bool) -> None:
    """What came along with a CONNECT that failed is never read as a request."""
    scene.script.acts.append(unread(502))
    connection, wire = scene.connect()
    connection.dataReceived(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n" + early)
    assert (b"Connection: close" in wire.sent) != persists
    assert wire.ending == ("" if persists else "closed")
    assert len(scene.script.requests) == 1
    if persists:
        connection.dataReceived(get(2))
        assert bodies(wire.sent) == [b"/2"]


# --- Ends ---


def test_refused_connection(scene: Scene) -> None:
    """A connection too many is told so before it says anything, and isn't listened to."""
    connection, wire = scene.connect(errors.Overloaded("too many"))
    assert wire.sent.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert wire.sent.endswith(b"too many")
    connection.dataReceived(get(1))
    hang_up(connection, wire)
    assert scene.script.requests == []
    assert scene.statuses == [503]
    assert scene.left == [CLIENT]


def test_end_of_input_while_idle(scene: Scene) -> None:
    """A client that says good-bye is answered in kind."""
    connection, wire = scene.connect()
    connection.readConnectionLost()
    assert (wire.sent, wire.ending) == (b"", "closed")


def test_end_of_input_inside_a_head(scene: Scene) -> None:
    """Half a head isn't a request; nobody waits for the rest."""
    connection, wire = scene.connect()
    connection.dataReceived(b"GET http://h/ HT")
    connection.readConnectionLost()
    assert wire.ending == "closed"
    assert scene.script.requests == []


def test_end_of_input_during_turns(scene: Scene) -> None:
    """Whatever was asked before the end of input is answered, and only the last one says close."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(get(1) + get(2))
    connection.readConnectionLost()
    assert wire.ending == ""
    turn.callback(None)
    assert bodies(wire.sent) == [b"slow", b"/2"]
    assert wire.sent.count(b"Connection: close") == 1
    assert wire.ending == "closed"


def test_end_of_input_inside_a_body(scene: Scene) -> None:
    """A body that ends too early is a bad request."""

    async def act(request: Request, reply: Reply) -> None:
        await request.body.deliver(cast(stream.Sink, _Nowhere()))

    scene.script.acts.append(act)
    connection, wire = scene.connect()
    connection.dataReceived(POST + b"Content-Length: 5\r\n\r\nabc")
    connection.readConnectionLost()
    assert wire.sent.startswith(b"HTTP/1.1 400 ")
    assert scene.statuses == [400]


@pytest.mark.parametrize("is_clean", [True, False])
def test_lost_while_idle(scene: Scene, is_clean: bool) -> None:
    """A connection that goes while idle is counted out, and nothing stays behind."""
    connection, wire = scene.connect()
    connection.dataReceived(get(1))
    hang_up(connection, wire, is_clean)
    assert scene.left == [CLIENT]
    assert repr(scene.sweep) == "<Sweep of 0>"


def test_lost_during_a_turn(scene: Scene) -> None:
    """The turn is given up, its record written, and those behind it never begin."""
    turn: Deferred[None] = Deferred()
    scene.script.acts.append(slow(turn))
    connection, wire = scene.connect()
    connection.dataReceived(get(1) + get(2))
    hang_up(connection, wire)
    assert scene.statuses == [499]
    assert len(scene.script.requests) == 1
    assert scene.left == [CLIENT]
    assert repr(scene.sweep) == "<Sweep of 0>"
