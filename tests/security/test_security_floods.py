"""Too much, too long, too slow: every such client is turned away in time, in bounded memory.

Each case names the section that decides it, or who got it wrong, by CVE. The time-outs are short.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit, shout
from tests.security.attacks import NEXT, filled, is_well, named, rest_of, talk_to
from tests.talk import Talk

GET = b"GET http://{origin}/a HTTP/1.1\r\nHost: {origin}\r\n"
POST = b"POST http://{origin}/a HTTP/1.1\r\nHost: {origin}\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024
_INI = """\
[limits]
head_timeout = 500ms
idle_timeout = 1s
write_timeout = 1s
per_client = 60
[pool]
read_timeout = 500ms
response_timeout = 2s
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with short time-outs, and the sizes that it has by default."""
    with start(tmp_path_factory.mktemp("floods"), _INI) as started:
        yield started


# --- Bombs ---

BOMBS: list[tuple[str, bytes, int]] = [
    ("RFC 6585 5", GET + b"X: " + b"a" * 66_000 + b"\r\n\r\n", 431),
    ("CVE-2021-40346", GET + b"a" * 66_000 + b": x\r\n\r\n", 431),
    ("RFC 6585 5", GET + b"Cookie: " + b"a=b; " * 14_000 + b"\r\n\r\n", 431),
    ("CVE-2012-3505", GET + b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + b"\r\n", 431),
    ("CVE-2024-25617", GET + b"X: y\r\n" * 128 + b"\r\n", 431),
    ("CVE-2018-12121", GET + b"X: y\r\n" * 100_000, 431),
    ("RFC 9112 3", b"GET http://{origin}/" + b"a" * 66_000 + b" HTTP/1.1\r\n\r\n", 414),
    ("RFC 9112 3", b"A" * 66_000, 414),
    ("CVE-2001-0129", b"CONNECT " + b"a" * 66_000 + b":443 HTTP/1.1\r\n\r\n", 414),
    ("RFC 9112 2.2", b"\r\n" * 50_000, 400),
    ("CVE-2023-50269", GET + b"X-Forwarded-For: " + b"1.1.1.1, " * 7_000 + b"\r\n\r\n", 200),
    ("RFC 9110 7.6.1", GET + b"Connection: " + b"x, " * 20_000 + b"\r\n\r\n", 200),
    ("RFC 9110 7.6.3", GET + b"Via: " + b"1.1 x (y), " * 5_000 + b"\r\n\r\n", 200),
    ("RFC 9110 5.6.1", GET + b"Accept: " + b"," * 60_000 + b"\r\n\r\n", 200),
    # Chunks.
    ("CVE-2023-39326", CHUNKED + (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 1_000, 400),
    ("CVE-2024-22019", CHUNKED + b"5;" + b"a" * 100_000, 400),
    ("CVE-2024-21647", CHUNKED + b"5" + b";a" * 50_000 + b"\r\nhello\r\n0\r\n\r\n", 400),
    ("RFC 9112 7.1", CHUNKED + b"0" * 100_000, 400),
    ("CVE-2023-46589", CHUNKED + b"0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 400),
    ("RFC 9112 7.1.2", CHUNKED + b"0\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 400),
]


@pytest.mark.parametrize(("source", "bomb", "status"), BOMBS, ids=named)
def test_bombs(
    strict: Running, origin: Origin[Routes], source: str, bomb: bytes, status: int
) -> None:
    """A head or a framing past the limits is refused before its end, and costs next to nothing."""
    before = strict.memory()
    began = time.monotonic()
    with talk_to(strict.proxy) as talk:
        with suppress(ConnectionError):
            talk.send(filled(bomb, origin))
        assert talk.response().status == status, source
    assert time.monotonic() - began < 8
    assert strict.grown(before) < 4 * MIB
    assert is_well(strict.proxy, origin)


# --- Slow clients ---

SLOW: list[tuple[str, bytes, bytes]] = [
    ("CVE-2007-6750", GET, b"X: y\r\n"),
    ("CVE-2018-12122", b"G", b"E"),
    ("CVE-2018-12122", GET + b"X: ", b"y"),
    ("RFC 9110 15.5.9", POST + b"Content-Length: 100\r\n\r\n", b""),
    ("RFC 9110 15.5.9", CHUNKED + b"5\r\nhel", b""),
]


@pytest.mark.parametrize(("source", "begin", "more"), SLOW, ids=named)
def test_slow_requests(
    strict: Running, origin: Origin[Routes], source: str, begin: bytes, more: bytes
) -> None:
    """A head that trickles, and a body that stops, are answered 408; trickling buys no time."""
    began = time.monotonic()
    with talk_to(strict.proxy) as talk:
        talk.send(filled(begin, origin))
        talk.socket.settimeout(0.05)
        while time.monotonic() - began < 15:
            with suppress(TimeoutError):
                assert talk.response().status == 408, source
                break
            with suppress(ConnectionError):
                talk.send(more)
    assert 0.3 < time.monotonic() - began < 12


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n\r\n"])
def test_idle_connections(strict: Running, sent: bytes) -> None:
    """RFC 9112 section 9.5: who asks nothing is disconnected."""
    with talk_to(strict.proxy) as talk:
        talk.send(sent)
        assert rest_of(talk)[:12] in (b"", b"HTTP/1.1 408")


def endless(visit: Visit) -> None:
    """Send a body without end, as fast as it is taken."""
    visit.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    visit.is_last = True
    while True:
        visit.answer(b"x" * 65536)


@pytest.mark.parametrize("requests", [1, 50])
def test_slow_readers(strict: Running, origin: Origin[Routes], requests: int) -> None:
    """RFC 9112 section 9.5: who takes nothing is given up, and nothing piles up here."""
    origin.served.on(b"/a", endless)
    before = strict.memory()
    with talk_to(strict.proxy) as talk:
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.send(filled(GET + b"\r\n", origin) * requests)
        wait_for(lambda: origin.connections, "request")
        wait_for(lambda: not origin.open, "end of it")
        assert strict.grown(before) < 8 * MIB
    assert is_well(strict.proxy, origin)


def test_requests_without_reading(strict: Running, origin: Origin[Routes]) -> None:
    """RFC 9112 section 9.3.2: pipelined requests wait their turn in the kernel, not in memory."""
    before = strict.memory()
    with talk_to(strict.proxy) as talk:
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.socket.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError):
            talk.send(filled(NEXT, origin) * 100_000)
        assert strict.grown(before) < 8 * MIB
    assert is_well(strict.proxy, origin)


# --- Many at once ---


def test_connections_of_one_client(
    strict: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """RFC 9110 section 15.6.4: beyond [limits] per_client it is 503, and then all is as before."""
    strict.wait_for_sockets(10)
    talks = [connect(strict.proxy) for _ in range(80)]
    refused = [talk for talk in talks[60:] if talk.response().status == 503]
    assert len(refused) == 20
    for talk in talks:
        talk.close()
    strict.wait_for_sockets(10)
    assert is_well(strict.proxy, origin)


def test_tunnels_of_one_client(start_appliance: StartAppliance, connect: Connect) -> None:
    """RFC 9110 section 15.6.4: [tunnel] max_per_client and max_total bound tunnels."""
    ini = "[tunnel]\nmax_per_client = 3\nidle_timeout = 30s\n"
    with start_appliance(ini) as small, Origin(shout) as far:
        place = far.authority.encode("ascii")
        tunnel = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (place, place)
        statuses = []
        for _ in range(5):
            talk = connect(small.proxy)
            talk.send(tunnel)
            statuses.append(talk.response(b"CONNECT").status)
        assert statuses == [200, 200, 200, 503, 503]


def test_tunnels_that_nobody_reads(strict: Running, connect: Connect) -> None:
    """RFC 9110 section 9.3.6: a tunnel holds back whoever is faster than the other end."""

    def pour(talk: Talk) -> None:
        while True:
            talk.send(b"x" * 65536)

    before = strict.memory()
    with Origin(pour) as far:
        place = far.authority.encode("ascii")
        talk = connect(strict.proxy)
        talk.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (place, place))
        talk.skip(16 * MIB)
        time.sleep(0.3)
        assert strict.grown(before) < 8 * MIB


def test_what_follows_a_refusal_is_thrown_away(strict: Running) -> None:
    """RFC 9112 section 9.6: it is read on for a while, lest the answer be lost; not for ever."""
    with talk_to(strict.proxy) as talk:
        talk.send(b"GET http://127.0.0.1:9/ HTTP/1.1\r\n: x\r\n\r\n")
        assert talk.response().status == 400
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * MIB:
                talk.send(b"GET /smuggled HTTP/1.1\r\n\r\n" + b"a" * 65536)
                sent += 65536
        assert sent < 64 * MIB
        assert rest_of(talk) == b""
