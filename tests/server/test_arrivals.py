"""arrivals: bytes become requests, each with its door and its body."""

from __future__ import annotations

from typing import cast

import pytest

from proxyapp import errors
from proxyapp.net.transport import Transport
from proxyapp.server.arrivals import Arrivals
from proxyapp.stream import EMPTY
from tests.server.conftest import CLIENT, LIMITS, Scene, Wire

POST = b"POST http://h/ HTTP/1.1\r\nHost: h\r\n"
GET = b"GET http://h/%d HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def arrivals(scene: Scene) -> Arrivals:
    """Return what reads from a connection on which nothing has arrived."""
    return Arrivals(cast(Transport, Wire()), scene.sweep, LIMITS, scene.doors, CLIENT)


# --- Heads ---

FAULTS = [
    (b"\0", errors.BadRequest),
    (POST + b"Host: h\r\n\r\n", errors.BadRequest),
    (POST.replace(b"Host: h", b"Host: other") + b"\r\n", errors.BadRequest),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", errors.BadRequest),
    (POST + b"Content-Length: 101\r\n\r\n", errors.BodyTooLarge),
    (b"GET /" + b"a" * 1000, errors.TargetTooLong),
    (POST + b"A: " + b"a" * 1000, errors.HeadTooLarge),
    (POST + b"A: a\r\n" * 10 + b"\r\n", errors.HeadTooLarge),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", errors.UnknownTransferCoding),
    (POST.replace(b"1.1", b"2.0") + b"\r\n", errors.UnknownVersion),
    (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", errors.BadRequest),
    (b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", errors.BadRequest),
]


@pytest.mark.parametrize(("sent", "fault"), FAULTS)
def test_faults(arrivals: Arrivals, sent: bytes, fault: type[errors.ClientFault]) -> None:
    """What isn't a request for us raises its own error, and leaves the head to be logged."""
    arrivals.reader.feed(sent)
    with pytest.raises(errors.ClientFault) as caught:
        arrivals.next_request()
    assert type(caught.value) is fault
    whole = sent.endswith(b"\r\n\r\n") and fault is not errors.TargetTooLong
    assert arrivals.head == (sent if whole else b"")


def test_byte_by_byte(arrivals: Arrivals) -> None:
    """There is no request before its head is whole, and then there is one."""
    head = GET % 1
    for number in range(len(head)):
        assert arrivals.next_request() is None
        arrivals.reader.feed(head[number : number + 1])
    arrived = arrivals.next_request()
    assert arrived is not None
    assert arrived[0].head.target == b"http://h/1"
    assert arrivals.next_request() is None
    assert arrivals.head == b"", "that of the last request has been answered for"


@pytest.mark.parametrize(
    ("start", "service"),
    [
        (b"GET http://h/ HTTP/1.1", "proxy"),
        (b"CONNECT h:80 HTTP/1.1", "tunnel"),
        (b"GET / HTTP/1.1", "site"),
        (b"OPTIONS * HTTP/1.1", "proxy"),
        (b"OPTIONS http://h HTTP/1.1", "proxy"),
    ],
)
def test_doors(arrivals: Arrivals, start: bytes, service: str) -> None:
    """The form of the target picks the door."""
    arrivals.reader.feed(start + b"\r\nHost: h\r\n\r\n")
    arrived = arrivals.next_request()
    assert arrived is not None
    request, door = arrived
    assert door.service == service
    assert request.client == CLIENT
    assert request.body is EMPTY


def test_pipelined(arrivals: Arrivals) -> None:
    """Requests that arrive together come out one by one, and what follows stays."""
    arrivals.reader.feed(GET % 1 + GET % 2 + GET[:9])
    targets = []
    while arrived := arrivals.next_request():
        targets.append(arrived[0].head.target)
    assert targets == [b"http://h/1", b"http://h/2"]
    assert not arrivals.reader.is_empty


# --- Bodies ---


@pytest.mark.parametrize(
    ("field", "framed", "size"),
    [
        (b"Content-Length: 5", b"hello", 5),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 5),
        (b"Content-Length: 0", b"", 0),
        (b"Transfer-Encoding: chunked", b"0\r\n\r\n", 0),
    ],
)
@pytest.mark.parametrize("together", range(3))
def test_body_and_what_follows(
    arrivals: Arrivals, field: bytes, framed: bytes, size: int, together: int
) -> None:
    """A body ends where its framing says, however much of it came with the head."""
    head, following = POST + field + b"\r\n\r\n", GET % 2
    cut = (0, len(framed) // 2, len(framed + following))[together]
    arrivals.reader.feed(head + (framed + following)[:cut])
    arrived = arrivals.next_request()
    assert arrived is not None
    body = arrived[0].body
    rest = (framed + following)[cut:]
    if arrivals.body is not None:
        assert arrivals.body is body
        rest = arrivals.read_body(rest)
    if rest:
        arrivals.reader.feed(rest)
    assert body.is_complete
    assert arrivals.body is None
    assert body.size == size
    second = arrivals.next_request()
    assert second is not None
    assert second[0].head.target == b"http://h/2"


@pytest.mark.parametrize(
    ("framed", "fault"),
    [(b"ZZ\r\n", errors.BadRequest), (b"65\r\n" + b"x" * 101, errors.BodyTooLarge)],
)
def test_broken_bodies(arrivals: Arrivals, framed: bytes, fault: type[errors.ClientFault]) -> None:
    """A body that breaks off raises, and nothing is read as a body any more."""
    arrivals.reader.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert arrivals.next_request() is not None
    with pytest.raises(fault):
        arrivals.read_body(framed)
    assert arrivals.body is None


def test_whose_fault(arrivals: Arrivals) -> None:
    """A body that stops is the client's fault: 408 for silence, 400 for an early end."""
    assert isinstance(arrivals.silent(), errors.RequestTimeout)
    assert isinstance(arrivals.cut(), errors.BadRequest)
    assert arrivals.silence_timeout == LIMITS.read_timeout
