"""What a hostile origin sends: refused, or cut off, and never mistaken for the next answer.

Each case names the section that decides it, or who got it wrong, by CVE.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect
from tests.origin import Origin, Routes, Visit, exactly
from tests.security.attacks import NEXT, filled, named, rest_of, seen, talk_to
from tests.talk import Talk

BAD = b"GET http://{origin}/bad HTTP/1.1\r\nHost: {origin}\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_INI = """\
[pool]
response_timeout = 500ms
read_timeout = 500ms
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with short time-outs for origins."""
    with start(tmp_path_factory.mktemp("responses"), _INI) as started:
        yield started


# --- Heads ---

HEADS: list[tuple[str, bytes]] = [
    (
        "RFC 9112 6.3",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0",
    ),
    ("RFC 9112 6.3", OK + b"Content-Length: 5\r\nContent-Length: 1\r\n\r\nhello"),
    ("RFC 9112 6.3", OK + b"Content-Length: 5, 5\r\n\r\nhello"),
    ("RFC 9110 8.6", OK + b"Content-Length: +5\r\n\r\nhello"),
    ("RFC 9110 8.6", OK + b"Content-Length: -5\r\n\r\nhello"),
    ("RFC 9110 8.6", OK + b"Content-Length:\r\n\r\nhello"),
    ("CVE-2014-0099", OK + b"Content-Length: 18446744073709551621\r\n\r\nhello"),
    ("RFC 9112 6.1", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 6.1", OK + b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 6.1", OK + b"Transfer-Encoding: gzip\r\n\r\nhello"),
    ("RFC 9112 6.1", OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 6.3", OK + b"Transfer-Encoding: nothing\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 6.1", OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (
        "RFC 9112 6.1",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("RFC 9112 5.1", OK + b"Content-Length : 5\r\n\r\nhello"),
    ("RFC 9112 5.2", OK + b"X: y\r\n Content-Length: 5\r\n\r\nhello"),
    ("RFC 9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    ("RFC 9112 2.2", OK + b"X: y\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 2.2", OK + b"X: y\rContent-Length: 5\r\n\r\nhello"),
    ("CVE-2024-24795", OK + b"Set-Cookie: a=b\rLocation: http://evil.example/\r\n\r\nhello"),
    ("RFC 9110 5.5", OK + b"X: a\x00b\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9110 5.5", OK + b"X: a\x1b]0;b\x07\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9110 5.1", OK + b": y\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9110 5.1", OK + b"no colon\r\nContent-Length: 5\r\n\r\nhello"),
    ("CVE-2025-23167", OK + b"X: y\r\n\rContent-Length: 5\r\n\r\nhello"),
    # Status lines.
    ("RFC 9112 4", b"HTTP/1.1 99 No\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/1.1 1000 No\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/1.1 200OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("RFC 9112 4", b"<html>hello</html>\r\n\r\n"),
    ("RFC 9112 4", b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    # Too much of it.
    ("CVE-2023-38039", OK + b"X: y\r\n" * 100_000),
    ("CVE-2023-38039", OK + b"X: y\r\n" * 129 + b"Content-Length: 0\r\n\r\n"),
    ("CVE-2024-25617", OK + b"X: " + b"y" * 70_000 + b"\r\n\r\nhello"),
    ("CVE-2021-3737", b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 100_000),
    ("RFC 9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    ("RFC 9110 15.2", b"HTTP/1.1 102 Processing\r\n\r\n" * 65 + OK + b"Content-Length: 0\r\n\r\n"),
    ("RFC 9110 15.2.1", b"HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\nhello\r\n"),
    # A protocol that nobody offered.
    ("RFC 9110 7.8", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nhello"),
    ("RFC 9110 7.8", b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + EVIL),
]


@pytest.mark.parametrize(("source", "answer"), HEADS, ids=named)
def test_heads_that_are_none(
    impatient: Running, origin: Origin[Routes], source: str, answer: bytes
) -> None:
    """The client gets a 502 of ours, nothing of that, and the connection to the origin ends."""
    origin.served.on(b"/bad", exactly(answer))
    with talk_to(impatient.proxy) as talk:
        talk.send(filled(BAD, origin))
        refusal = talk.response()
        while refusal.status < 200:
            refusal = talk.response()
        assert (refusal.status, b"hello" in refusal.body) == (502, False), source
        assert refusal.head.one(b"Proxy-Status").startswith(b"proxyapp; error=http_protocol_error")
        talk.send(filled(NEXT, origin))
        assert talk.response().body == b"hello"
    assert seen(origin) == [b"/bad", b"/next"]
    assert origin.connections == 2


# --- Bodies that end too early, or not at all ---

CUT: list[tuple[str, bytes]] = [
    ("RFC 9112 8", OK + b"Content-Length: 10\r\n\r\nhello"),
    ("RFC 9112 8", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    ("RFC 9112 8", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
    ("RFC 9112 8", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("RFC 9112 8", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    ("RFC 9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"),
    ("RFC 9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\nhello"),
    ("RFC 9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2013-2028", OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello"),
    ("CVE-2023-39326", OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 70_000),
    ("RFC 9110 6.5.1", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n"),
    ("CVE-2023-46589", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 5_000),
]


@pytest.mark.parametrize("is_last", [True, False], ids=["ends", "stays"])
@pytest.mark.parametrize(("source", "answer"), CUT, ids=named)
def test_bodies_without_an_end(
    impatient: Running, origin: Origin[Routes], source: str, answer: bytes, is_last: bool
) -> None:
    """RFC 9112 section 8: nobody takes the part for the whole; that connection isn't used again."""
    origin.served.on(b"/bad", exactly(answer, is_last))
    with talk_to(impatient.proxy) as talk:
        talk.send(filled(BAD, origin))
        received = rest_of(talk) if is_cut(talk) else b""
    assert b"\r\n0\r\n" not in received, source
    with talk_to(impatient.proxy) as talk:
        talk.send(filled(NEXT, origin))
        assert talk.response().body == b"hello"
    assert origin.connections == 2


def is_cut(talk: Talk) -> bool:
    """Read one head: is it that of a 200, which can only be cut? Else it says what happened."""
    head = talk.head()
    if head.start == b"HTTP/1.1 200 OK":
        return True
    assert head.start.split(b" ")[1] in (b"502", b"504")
    return False


# --- Bytes behind the answer ---

EXCESS: list[tuple[str, bytes, bytes, int, bytes]] = [
    ("RFC 9112 9.2", b"GET", OK + b"Content-Length: 4\r\n\r\ngood" + EVIL, 200, b"good"),
    ("RFC 9112 9.2", b"GET", OK + b"Content-Length: 0\r\n\r\n" + EVIL, 200, b""),
    ("RFC 9112 9.2", b"GET", OK + b"Content-Length: 4\r\n\r\ngoodx", 200, b"good"),
    ("RFC 9112 9.2", b"GET", OK + b"Content-Length: 4\r\n\r\ngood\r\n", 200, b"good"),
    (
        "RFC 9112 9.2",
        b"GET",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + EVIL,
        200,
        b"good",
    ),
    ("RFC 9112 6.3", b"HEAD", OK + b"Content-Length: 4\r\n\r\nevil", 200, b""),
    ("RFC 9112 6.3", b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0", 200, b""),
    ("RFC 9112 6.3", b"GET", b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, 204, b""),
    ("RFC 9110 8.6", b"GET", b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nevil", 204, b""),
    ("RFC 9112 6.3", b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\nevil", 304, b""),
    ("RFC 9112 6.3", b"GET", b"HTTP/1.1 304 No\r\n\r\n" + EVIL, 304, b""),
    (
        "RFC 9112 6.3",
        b"GET",
        b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        304,
        b"",
    ),
    (
        "RFC 9110 15.2",
        b"GET",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\ngood" + EVIL,
        200,
        b"good",
    ),
]


@pytest.mark.parametrize(("source", "method", "answer", "status", "body"), EXCESS, ids=named)
def test_bytes_behind_an_answer(
    impatient: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    method: bytes,
    answer: bytes,
    status: int,
    body: bytes,
) -> None:
    """They answer nothing: they go nowhere, and their connection isn't used again."""
    origin.served.on(b"/bad", exactly(answer))
    talk = connect(impatient.proxy)
    talk.send(filled(BAD.replace(b"GET", method) + NEXT, origin))
    found = talk.response(method)
    while found.status < 200:
        found = talk.response(method)
    assert (found.status, found.body) == (status, body), source
    assert status != 204 or not found.head.all(b"Content-Length")
    assert talk.response().body == b"hello"
    assert origin.connections == 2


def test_an_answer_before_the_question(
    impatient: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """RFC 9112 section 9.2: what an idle connection says is no answer to the next request."""
    go_on, is_over = threading.Event(), threading.Event()

    def prepare(visit: Visit) -> None:
        visit.answer(OK, b"Content-Length: 4\r\n\r\ngood")
        assert go_on.wait(10)
        visit.answer(EVIL)
        rest_of(visit.talk)
        visit.is_last = True
        is_over.set()

    origin.served.on(b"/bad", prepare)
    talk = connect(impatient.proxy)
    talk.send(filled(BAD, origin))
    assert talk.response().body == b"good"
    go_on.set()
    assert is_over.wait(10)
    talk.send(filled(NEXT, origin))
    assert talk.response().body == b"hello"
    assert origin.connections == 2


def test_fields_of_this_hop_stay_here(
    impatient: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """RFC 9110 section 7.6.1: nor may an origin ask for the password that the proxy is given."""
    fields = (
        b"Proxy-Authenticate: Basic realm=evil\r\nProxy-Authentication-Info: x\r\n"
        b"Connection: X-Hop, Content-Length, Via\r\nX-Hop: y\r\nKeep-Alive: timeout=9\r\n"
        b"Upgrade: h2c\r\nProxy-Connection: keep-alive\r\nVia: 1.1 far\r\nContent-Length: 4\r\n\r\n"
    )
    challenge = b"HTTP/1.1 407 Proxy Authentication Required\r\n" + fields + b"good"
    origin.served.on(b"/bad", exactly(challenge))
    talk = connect(impatient.proxy)
    talk.send(filled(BAD + NEXT, origin))
    answer = talk.response()
    assert (answer.status, answer.body) == (407, b"good")
    names = [name.lower() for name, _ in answer.head.fields]
    assert sorted(names) == [b"cache-status", b"content-length", b"via", b"via"]
    assert talk.response().body == b"hello"


def test_a_silent_origin_costs_one_answer(impatient: Running, origin: Origin[Routes]) -> None:
    """RFC 9110 section 15.6.5: an origin that never ends its head is given up in time."""
    origin.served.on(b"/bad", exactly(b"HTTP/1.1 200 OK\r\nX: "))
    with talk_to(impatient.proxy) as talk:
        talk.send(filled(BAD, origin))
        assert talk.response().status == 504
    wait_for(lambda: not origin.open, "end of the connection to the origin")
