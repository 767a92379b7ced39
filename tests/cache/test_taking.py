"""What an origin's responder says to the one that fetches goes to where that says."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from twisted.internet.task import Clock

from proxyapp import errors, stream
from proxyapp.cache.taking import Taking
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import OutgoingResponse
from tests.cache.flowstage import FlowReply, reply, response


class Clerk:
    """Takes everything into one reply."""

    def __init__(self, clock: Clock) -> None:
        self.sink = reply(clock)
        self.taken: list[tuple[OutgoingResponse, Framing, bytes | None]] = []

    def take(self, head: OutgoingResponse, framing: Framing, whole: bytes | None) -> stream.Sink:
        """See Taker."""
        self.taken.append((head, framing, whole))
        return self.sink


@pytest.fixture
def clerk() -> Clerk:
    """Return who takes."""
    return Clerk(Clock())


@pytest.fixture
def leader() -> FlowReply:
    """Return the reply of the client."""
    return reply(Clock())


@pytest.mark.parametrize("body", [b"", b"body"])
def test_a_whole(clerk: Clerk, leader: FlowReply, body: bytes) -> None:
    """A whole answer is shown as that, and written to its end."""
    taking, head = Taking(clerk, leader), response()
    assert not taking.has_begun
    taking.pass_on(head, body)
    assert clerk.taken == [(head, Framing(Kind.LENGTH, len(body)), body)]
    assert (clerk.sink.body, clerk.sink.trailers) == (body, NO_FIELDS)
    assert taking.has_begun
    assert leader.head is None


def test_a_stream(clerk: Clerk, leader: FlowReply) -> None:
    """A longer one goes to the sink it is told."""
    taking, head = Taking(clerk, leader), response()
    assert taking.begin(head, CHUNKED) is clerk.sink
    assert clerk.taken == [(head, CHUNKED, None)]
    assert taking.has_begun


def test_hints(clerk: Clerk, leader: FlowReply) -> None:
    """1xx answers are for the leader; without one they're for nobody."""
    hint = OutgoingResponse(103, b"", [])
    Taking(clerk, leader).interim(hint)
    Taking(clerk, None).interim(hint)
    assert leader.interims == [hint]
    assert not clerk.taken


def test_the_record_is_the_leaders(clerk: Clerk, leader: FlowReply) -> None:
    """What is noted of the origin stands in the leader's line of the log."""
    Taking(clerk, leader).record.upstream = "192.0.2.7:80"
    Taking(clerk, None).record.upstream = "elsewhere"
    assert leader.record.upstream == "192.0.2.7:80"


def test_what_never_comes(clerk: Clerk, leader: FlowReply) -> None:
    """Origins answer no GET with another protocol."""
    with pytest.raises(errors.BadResponse):
        Taking(clerk, leader).take_over(response(status=101), Mock())


def test_in_our_name(clerk: Clerk, leader: FlowReply) -> None:
    """What isn't from the origin is taken in the same way, with its length."""
    Taking(clerk, leader).answer(OutgoingResponse(200, b"OK", [(b"Allow", b"GET")]), b"body")
    lines = [b"Allow: GET", b"Content-Length: 4"]
    length = Framing(Kind.LENGTH, 4)
    assert clerk.taken == [(OutgoingResponse(200, b"OK", [], lines), length, b"body")]
    assert clerk.sink.body == b"body"
