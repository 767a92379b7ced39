"""Bytes that no sane program sends, thrown at the running product from either side of it.

Whatever comes, the process prints no traceback, answers nobody with 500, and goes on to answer the
next good request.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.appliance import Running, wait_for
from tests.conftest import StartAppliance
from tests.origin import Origin, Routes, exactly, shout
from tests.talk import Talk

# Nothing here may leave the machine: other addresses are refused, and names lead nowhere. Nothing
# waits for long either.
_INI = """\
[access]
destinations = 127.0.0.1
[dns]
servers = 127.0.0.1:9
[pool]
connect_timeout = 300ms
response_timeout = 300ms
read_timeout = 300ms
[limits]
head_timeout = 500ms
idle_timeout = 500ms
request_head = 4KiB
[tunnel]
idle_timeout = 500ms
"""
_BOUND = settings(max_examples=150, deadline=None)
# Tunnels end elsewhere, so that what reaches the origin went through the parser, and is HTTP.
_ORIGIN, _FAR = b"127.0.0.1:@@@@@", b"127.0.0.1:#####"


@pytest.fixture
def victim(start_appliance: StartAppliance) -> Iterator[Running]:
    """Yield the product; fail if it ever spoke of a mistake of its own."""
    with start_appliance(_INI) as running:
        yield running
        running.stop()
        said = "\n".join(running.said)
        assert "Traceback" not in said
        assert "Unhandled" not in said
        assert '"status":500' not in running.log.read_text()


def check_well(victim: Running, origin: Origin[Routes]) -> None:
    """Fail unless good requests are answered as they should be.

    The very next one may not be: with such short time-outs a busy machine is late now and then.
    """
    wait_for(lambda: is_answered(victim, origin), "good answer")


def is_answered(victim: Running, origin: Origin[Routes]) -> bool:
    """Is a good request answered as it should be?"""
    authority = origin.authority.encode("ascii")
    with Talk(socket.create_connection(("127.0.0.1", victim.proxy))) as talk:
        talk.send(b"GET http://%b/well HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        return talk.response().body == b"hello"


# --- From the client's side ---

GOOD = [
    b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\nAccept: */*\r\n\r\n" % (_ORIGIN, _ORIGIN),
    b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nhello" % (_ORIGIN, _ORIGIN),
    b"PUT http://%b/ HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n" % (_ORIGIN, _ORIGIN),
    b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\nGET / HTTP/1.1\r\n\r\n" % (_FAR, _FAR),
    b"GET http://%b/ HTTP/1.0\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\nMax-Forwards: 1"
    b"\r\nX-Real-Protocol: https\r\nVia: 1.1 a, 1.0 b (c)\r\n\r\n" % _ORIGIN,
    b'GET /a?b HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\nIf-None-Match: "x", *\r\n'
    b"Accept: text/html;q=0.5\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
]
SPITEFUL = st.sampled_from(
    [
        *(bytes([octet]) for octet in b"\r\n\0 :\t,;\xff@%[*-"),
        *(b"\r\n", b"://", b"9" * 30, b"Host: h\r\n", b"Content-Length: 5\r\n"),
        b"Transfer-Encoding: chunked\r\n",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, models: list[bytes]) -> bytes:
    """Draw some of *models*, one behind the other, with a few pieces cut, doubled or put in."""
    data = b"".join(draw(st.lists(st.sampled_from(models), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        between = draw(st.one_of(st.binary(max_size=4), SPITEFUL, st.just(data[start:end] * 2)))
        data = data[:start] + between + data[end:]
    return data


@pytest.fixture
def models(origin: Origin[Routes]) -> Iterator[list[bytes]]:
    """Yield requests that are good, and go to *origin* and to the end of a tunnel."""
    with Origin(shout) as far:
        places = {_ORIGIN: origin.authority.encode("ascii"), _FAR: far.authority.encode("ascii")}
        yield [
            model.replace(_ORIGIN, places[_ORIGIN]).replace(_FAR, places[_FAR]) for model in GOOD
        ]


def throw(victim: Running, pieces: list[bytes], port: int) -> bytes:
    """Send *pieces*, say that this is all, and return what comes back."""
    with Talk(socket.create_connection(("127.0.0.1", port))) as talk:
        with suppress(OSError):  # it may have had enough before the end
            for piece in pieces:
                talk.send(piece)
            talk.half_close()
        try:
            return talk.rest()
        except ConnectionResetError:
            return b""


def looks_like_http(answer: bytes) -> bool:
    """Is *answer* empty, or a response of HTTP/1.1?"""
    return not answer or re.match(rb"HTTP/1\.1 [1-5]\d\d [^\r\n]*\r\n", answer) is not None


def test_arbitrary_bytes(victim: Running, origin: Origin[Routes]) -> None:
    """Bytes that aren't HTTP get an error, or nothing."""

    @_BOUND
    @example([b"\x16\x03\x01"])
    @example([b"GET " + b"/" * 5000])
    @example([b"GET / HTTP/1.1\r\n" + b"a" * 5000])
    @given(st.lists(st.binary(max_size=200), max_size=3))
    def attack(pieces: list[bytes]) -> None:
        for port in (victim.proxy, victim.site):
            assert looks_like_http(throw(victim, pieces, port))

    attack()
    check_well(victim, origin)


def test_mutated_requests(victim: Running, origin: Origin[Routes], models: list[bytes]) -> None:
    """Nearly good requests, in pieces, get an answer each or an error, and do no harm."""

    @_BOUND
    @given(mutated(models), st.lists(st.integers(0, 400), max_size=3))
    def attack(data: bytes, cuts: list[int]) -> None:
        ends = [0, *sorted(cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(ends)]
        assert looks_like_http(throw(victim, [piece for piece in pieces if piece], victim.proxy))

    attack()
    check_well(victim, origin)


def test_clients_that_leave(victim: Running, origin: Origin[Routes], models: list[bytes]) -> None:
    """A client that resets its connection in the middle of anything leaves nothing behind."""

    @_BOUND
    @given(st.sampled_from(models), st.integers(0, 200), st.booleans())
    def attack(data: bytes, end: int, reads: bool) -> None:
        talk = Talk(socket.create_connection(("127.0.0.1", victim.proxy)))
        talk.send(data[:end] or data)
        if reads and data[:end] == data:
            talk.socket.recv(1)
        talk.reset()

    attack()
    check_well(victim, origin)
    victim.wait_for_sockets(most=20)


# --- From the origin's side ---

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw",
    b"HTTP/1.1 204 No Content\r\nConnection: X, close\r\nX: y\r\nVia: 1.1 z\r\n\r\n",
]


def attack_from(victim: Running, origin: Origin[Routes], answer: bytes, method: bytes) -> None:
    """Let *origin* give *answer*, and look at what becomes of it."""
    origin.served.on(b"/", exactly(answer, is_last=True))
    authority = origin.authority.encode("ascii")
    request = b"%b http://%b/ HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
    received = throw(victim, [request % (method, authority, authority)], victim.proxy)
    assert looks_like_http(received)
    assert b"\r\nContent-Length: 5\r\nContent-Length:" not in received


methods = st.sampled_from([b"GET", b"HEAD", b"POST"])


def test_arbitrary_answers(victim: Running, origin: Origin[Routes]) -> None:
    """An origin that doesn't speak HTTP is a 502."""

    @_BOUND
    @example(b"", b"GET")
    @example(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20000, b"GET")
    @given(st.binary(max_size=300), methods)
    def attack(answer: bytes, method: bytes) -> None:
        attack_from(victim, origin, answer, method)

    attack()
    check_well(victim, origin)


def test_mutated_answers(victim: Running, origin: Origin[Routes]) -> None:
    """Nearly good answers are passed on whole, cut off, or replaced by a 502."""

    @_BOUND
    @given(mutated(ANSWERS), methods)
    def attack(answer: bytes, method: bytes) -> None:
        attack_from(victim, origin, answer, method)

    attack()
    check_well(victim, origin)
    wait_for(victim.log.exists, "request log")
