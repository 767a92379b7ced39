"""Promises of proxyapp.proxy.upstream."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.net.task import Task
from proxyapp.net.timers import NEVER, Sweep
from proxyapp.proxy.answer import Answer
from proxyapp.proxy.upstream import CLOSE_TIMEOUT, RequestSink, Upstream
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.target import Origin
from tests.support import HEAD, OK, TIMEOUTS, connect, response

ASKING = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Keeping:
    """A connection, the far end of it, and its keeper."""

    def __init__(self, scheme: str = "http") -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.lost_ones: list[Upstream] = []
        timeouts = replace(TIMEOUTS, response=8.0, idle=20.0)
        origin = Origin(scheme, "a.example", 80)
        self.upstream = Upstream(origin, self, self.sweep, timeouts, HEAD)
        self.far = connect(self.clock, self.upstream)
        self.error: Exception | None = None
        self.has_answer = False

    def lost(self, upstream: Upstream) -> None:
        """See Keeper."""
        self.lost_ones.append(upstream)

    def ask(self, has_body: bool = False) -> Answer:
        """Send a request, and wait for its answer."""
        answer = self.upstream.ask(ASKING, b"GET", has_body, lambda head: None)
        Task(self._wait(answer), self._end).resume()
        return answer

    async def _wait(self, answer: Answer) -> None:
        await answer.arrived
        self.has_answer = True

    def _end(self, error: Exception | None) -> None:
        self.error = error

    def exchange(self) -> Keeping:
        """Carry a whole exchange."""
        self.ask()
        self.far.hears(ASKING)
        self.far.says(OK)
        assert self.upstream.is_reusable
        self.upstream.end_exchange(NEVER)
        return self

    def turn(self) -> None:
        """Let what was asked for happen."""
        for _ in range(4):
            self.clock.advance(0)

    def wait(self, seconds: float) -> None:
        """Let time pass, as the sweep sees it."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
        self.turn()


def test_exchanges() -> None:
    """One exchange after the other goes over a connection, and its state is told."""
    keeping = Keeping()
    assert repr(keeping.upstream) == "<Upstream a.example:80 idle, 0 served>"
    keeping.ask()
    assert repr(keeping.upstream) == "<Upstream a.example:80 busy, 0 served>"
    keeping.far.hears(ASKING)
    keeping.far.says(OK)
    keeping.upstream.end_exchange(NEVER)
    keeping.exchange()
    assert repr(keeping.upstream) == "<Upstream a.example:80 idle, 2 served>"
    keeping.far.resets()
    assert repr(keeping.upstream) == "<Upstream a.example:80 broken, 2 served>"
    assert keeping.lost_ones == [keeping.upstream]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        response(b"100 Continue"),
        response(b"200 OK", b"Content-Length: 9", body=b"abc"),
        response(b"200 OK", body=b"abc"),
        OK + b"excess",
        response(b"200 OK", b"Content-Length: 2", b"Connection: close", body=b"hi"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        response(b"101 Switching Protocols"),
    ],
)
def test_not_reusable(said: bytes) -> None:
    """What isn't wholly over, or isn't kept by the origin, carries no other exchange."""
    keeping = Keeping()
    keeping.ask()
    if said:
        keeping.far.says(said)
    assert not keeping.upstream.is_reusable


def test_not_reusable_before_the_request_has_left() -> None:
    """An early answer doesn't make a connection free."""
    keeping = Keeping()
    keeping.ask(has_body=True)
    keeping.far.says(OK)
    assert not keeping.upstream.is_reusable
    assert keeping.upstream.persists
    keeping.upstream.sent()
    assert keeping.upstream.is_reusable


@pytest.mark.parametrize(
    ("used", "said", "untouched"),
    [(False, b"", False), (True, b"", True), (True, b"H", False), (False, b"H", False)],
)
def test_untouched(used: bool, said: bytes, untouched: bool) -> None:
    """Only a used connection that died before a byte of the answer hasn't touched the request."""
    keeping = Keeping()
    if used:
        keeping.exchange()
    keeping.ask()
    if said:
        keeping.far.says(said)
    keeping.far.closes()
    assert isinstance(keeping.error, errors.ConnectionEnded)
    assert keeping.upstream.is_untouched is untouched


def test_asking_a_broken_connection() -> None:
    """A connection that broke while it was idle fails its next exchange at once."""
    keeping = Keeping().exchange()
    keeping.far.ends()
    assert keeping.upstream.is_broken
    keeping.ask()
    assert isinstance(keeping.error, errors.ConnectionEnded)
    assert keeping.upstream.is_untouched
    keeping.far.hears_nothing()


@pytest.mark.parametrize("end", ["ends", "closes", "resets"])
def test_the_end_of_an_idle_connection(end: str) -> None:
    """An idle connection whose origin leaves is broken at once, and gone a turn later."""
    keeping = Keeping().exchange()
    getattr(keeping.far, end)()
    assert keeping.upstream.is_broken
    keeping.turn()
    assert keeping.far.is_gone
    assert keeping.lost_ones == [keeping.upstream]
    assert repr(keeping.sweep) == "<Sweep of 0>"


def test_bytes_on_an_idle_connection() -> None:
    """An idle connection has nothing to say (RFC 9112 section 9.3)."""
    keeping = Keeping().exchange()
    keeping.far.says(OK)
    assert keeping.upstream.is_broken
    keeping.turn()
    assert keeping.far.is_aborted


def test_response_timeout() -> None:
    """The head of the answer has its time, and the time is over with the head."""
    keeping = Keeping()
    keeping.ask()
    keeping.wait(9)
    assert isinstance(keeping.error, errors.ResponseTimeout)
    assert keeping.far.is_aborted
    other = Keeping()
    other.ask()
    other.far.says(response(b"200 OK", b"Content-Length: 2"))
    other.wait(30)
    assert not other.far.is_gone


def test_response_timeout_begins_when_all_is_sent() -> None:
    """While its body is on its way, a request has no answer to wait for."""
    keeping = Keeping()
    keeping.ask(has_body=True)
    keeping.wait(30)
    assert keeping.error is None
    keeping.upstream.sent()
    keeping.wait(7)
    assert keeping.error is None
    keeping.wait(2)
    assert isinstance(keeping.error, errors.ResponseTimeout)


@pytest.mark.parametrize(("at_most", "patience"), [(NEVER, 21), (2.0, 3)])
def test_idle_time(at_most: float, patience: int) -> None:
    """An idle connection is closed after its idle time, or after what its keeper allows."""
    keeping = Keeping()
    keeping.ask()
    keeping.far.says(OK)
    keeping.upstream.end_exchange(at_most)
    keeping.wait(patience - 2)
    assert not keeping.far.is_gone
    keeping.wait(2)
    assert keeping.far.reason == "ConnectionDone"


def test_a_close_that_the_other_end_ignores() -> None:
    """A close that isn't answered, as TLS wants it, becomes an abort after a while."""
    keeping = Keeping().exchange()
    keeping.far.takes = False
    keeping.far.write(b"close_notify")
    keeping.upstream.close()
    keeping.wait(CLOSE_TIMEOUT - 1)
    assert not keeping.far.is_gone
    keeping.wait(2)
    assert keeping.far.is_aborted
    assert keeping.lost_ones == [keeping.upstream]


def test_malformed_answer() -> None:
    """An answer that isn't HTTP ends the connection."""
    keeping = Keeping()
    keeping.ask()
    keeping.far.says(b"nonsense\r\n\r\n")
    assert isinstance(keeping.error, errors.BadResponse)
    keeping.turn()
    assert keeping.far.is_aborted


def test_abort_before_it_is_connected() -> None:
    """A connection that was never made can be given up."""
    upstream = Upstream(Origin("http", "a", 80), Keeping(), Sweep(Clock()), TIMEOUTS, HEAD)
    upstream.abort()
    assert upstream.is_broken


def test_abort_of_what_is_gone() -> None:
    """A connection that is gone isn't touched any more: under TLS that would raise."""
    keeping = Keeping()
    keeping.ask()
    keeping.far.all_heard()
    keeping.far.resets()
    with mock.patch.object(keeping.far, "abortConnection", side_effect=AttributeError):
        keeping.upstream.abort()
    assert keeping.lost_ones == [keeping.upstream]


class Receiving:
    """Takes over a connection that left HTTP."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def received(self, data: bytes) -> None:
        """See Receiver."""
        self.events.append(data)

    def input_ended(self) -> None:
        """See Receiver."""
        self.events.append("end")

    def lost(self, is_clean: bool) -> None:
        """See Receiver."""
        self.events.append(is_clean)


@pytest.mark.parametrize(("end", "is_clean"), [("closes", True), ("resets", False)])
def test_taken_over(end: str, is_clean: bool) -> None:
    """After a 101 everything goes to the receiver, and no time-out is ours any more."""
    keeping, receiver = Keeping(), Receiving()
    keeping.ask()
    keeping.far.says(response(b"101 Switching Protocols") + b"early")
    assert keeping.upstream.take_over(receiver) == b"early"
    keeping.wait(100)
    keeping.far.says(b"late")
    getattr(keeping.far, end)()
    assert receiver.events == [b"late", *(["end"] if is_clean else []), is_clean]
    assert keeping.lost_ones == [keeping.upstream]
    assert not keeping.upstream.is_reusable


def test_faults_name_the_origin() -> None:
    """A silence and a cut are told apart."""
    upstream = Keeping("https").upstream
    assert isinstance(upstream.silent(), errors.ReadTimeout)
    assert isinstance(upstream.cut(), errors.ResponseIncomplete)
    assert upstream.is_tls


def test_request_sink() -> None:
    """A request's body leaves in the framing that its head announced."""
    keeping = Keeping()
    keeping.ask(has_body=True)
    keeping.far.all_heard()
    raw = RequestSink(keeping.upstream, Framing(Kind.LENGTH, 4), 5.0)
    raw.write(b"abcd")
    raw.finish(Fields([]))
    keeping.far.hears(b"abcd")
    framed = RequestSink(keeping.upstream, CHUNKED, 5.0)
    framed.write(b"abcd")
    framed.flush()
    framed.finish(Fields([(b"X-Sum", b"1"), (b"Host", b"forged")]))
    keeping.far.hears(b"4\r\nabcd\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert (raw.is_raw, framed.is_raw) == (True, False)
    assert isinstance(raw.stalled(), errors.ReadTimeout)
