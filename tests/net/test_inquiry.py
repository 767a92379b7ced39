"""An inquiry: asks once, reads one head, keeps what is behind it, and always comes to an end."""

from __future__ import annotations

from unittest import mock

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.inquiry import Inquiry
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import ResponseHead
from tests.support import MemoryTransport, connect

ASKING = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"


class Asked:
    """An inquiry whose far end is the test."""

    def __init__(self, limits: HeadLimits | None = None) -> None:
        self.clock = Clock()
        self.inquiry = Inquiry(self.clock, ASKING, limits or HeadLimits())
        self.results: list[ResponseHead | Failure] = []
        self.inquiry.answered.addBoth(self.results.append)
        self.far: MemoryTransport = connect(self.clock, self.inquiry)
        self.far.hears(ASKING)

    def turn(self) -> None:
        for _ in range(4):
            self.clock.advance(0)

    @property
    def status(self) -> int:
        """The status it has told of."""
        (head,) = self.results
        assert isinstance(head, ResponseHead)
        return head.status

    @property
    def error(self) -> BaseException | None:
        """What it has failed with."""
        (failure,) = self.results
        assert isinstance(failure, Failure)
        return failure.value


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_head_and_what_is_behind_it(piece: int) -> None:
    """However the answer is cut, its head is told of, and not a byte of the rest is lost."""
    asked = Asked()
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"220 ready"
    for start in range(0, len(data), piece):
        asked.far.says(data[start : start + piece])
    assert not asked.results
    asked.turn()
    assert asked.status == 200
    asked.far.resumeProducing()
    asked.turn()
    assert asked.inquiry.take_rest() == b"220 ready"
    assert not asked.far.is_gone


def test_nothing_is_read_behind_the_head() -> None:
    """The connection is paused as soon as its new owner is to be found."""
    asked = Asked()
    asked.far.says(OK)
    assert not asked.far.is_reading
    asked.far.says(b"for somebody else")
    asked.turn()
    assert asked.status == 200
    assert asked.inquiry.take_rest() == b""
    assert asked.inquiry.hand_over() is asked.far


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 103 x\r\n\r\n" * 16,
        b"\x15\x03\x01\x00\x02\x02\x16",
    ],
)
def test_what_is_no_answer(said: bytes) -> None:
    """It fails with BadResponse, and the connection is closed."""
    asked = Asked()
    asked.far.says(said)
    asked.turn()
    assert isinstance(asked.error, errors.BadResponse)
    assert asked.far.is_gone


def test_a_head_without_end() -> None:
    """It is bounded."""
    asked = Asked(HeadLimits(size=1024))
    asked.far.says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000)
    asked.turn()
    assert isinstance(asked.error, errors.BadResponse)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: y", OK])
def test_who_leaves(said: bytes) -> None:
    """A connection that ends before somebody could take it over is none."""
    for end in (MemoryTransport.closes, MemoryTransport.resets, MemoryTransport.ends):
        asked = Asked()
        asked.far.says(said)
        asked.far.resumeProducing()
        end(asked.far)
        if said == OK and end is not MemoryTransport.resets:
            continue  # paused, its end isn't seen before the head is told
        asked.turn()
        assert isinstance(asked.error, errors.ConnectionEnded)


def test_who_refuses_and_leaves() -> None:
    """An answer after which there is nothing to take over counts, whatever comes behind it."""
    for end in (MemoryTransport.closes, MemoryTransport.resets):
        asked = Asked()
        asked.far.says(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        end(asked.far)
        asked.turn()
        assert asked.status == 403
        # What is gone isn't touched any more: under TLS that would raise.
        with mock.patch.object(asked.far, "abortConnection", side_effect=AttributeError):
            asked.inquiry.abort()


def test_whoever_loses_interest() -> None:
    """Cancelling closes the connection, and is heard of once."""
    asked = Asked()
    asked.inquiry.answered.cancel()
    asked.turn()
    assert isinstance(asked.error, CancelledError)
    assert asked.far.is_gone
    assert not asked.clock.getDelayedCalls()


def test_it_can_be_aborted_before_it_is_connected() -> None:
    """There is nothing to close then."""
    clock = Clock()
    Inquiry(clock, ASKING, HeadLimits()).abort()
    assert not clock.getDelayedCalls()
