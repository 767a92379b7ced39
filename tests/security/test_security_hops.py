"""What must not cross from one hop to the next: framing, upgrades, secrets, and circles.

Each case names the section that decides it, or who got it wrong, by CVE.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.appliance import Running, start
from tests.conftest import Connect
from tests.origin import Origin, Routes, Visit, exactly
from tests.security.attacks import NEXT, ask, filled, is_well, named, seen
from tests.talk import Response

GET = b"GET http://{origin}/a HTTP/1.1\r\nHost: {origin}\r\n"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product under a name that everybody knows."""
    with start(tmp_path_factory.mktemp("hops"), "[proxy]\nvia = on gate\n") as started:
        yield started


def visit_with(port: int, origin: Origin[Routes], connect: Connect, lines: bytes) -> Visit:
    """Ask the origin with *lines*, and then again without; return the first visit.

    Neither connection is closed, and nothing but those two requests arrives.
    """
    talk = connect(port)
    talk.send(filled(GET + lines + b"\r\n\r\n" + NEXT, origin))
    assert [talk.response().body for _ in range(2)] == [b"hello", b"hello"]
    assert seen(origin) == [b"/a", b"/next"]
    return origin.served.visits[0]


# --- Fields that don't go on ---

STRIPPED: list[tuple[str, bytes, list[bytes]]] = [
    ("RFC 9110 7.6.1", b"Connection: X-A\r\nX-A: 1", [b"X-A"]),
    ("RFC 9110 7.6.1", b"Connection: keep-alive, x-a\t,,X-B\r\nX-A: 1\r\nX-B: 2", [b"X-A", b"X-B"]),
    ("RFC 9110 7.6.1", b"X-A: 1\r\nConnection: keep-alive\r\nConnection: X-A", [b"X-A"]),
    ("CVE-2021-33197", b"Connection:\r\nConnection: X-A\r\nX-A: 1", [b"X-A"]),
    ("CVE-2023-49606", b"Connection: Connection, Proxy-Connection, Keep-Alive", []),
    ("CVE-2023-49606", b"Proxy-Connection: Proxy-Connection\r\nConnection: connection", []),
    ("RFC 9110 7.6.1", b"Connection: Cookie\r\nCookie: a=b", [b"Cookie"]),
    ("RFC 9110 7.6.1", b"Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive", []),
    ("RFC 9110 10.1.4", b"TE: trailers\r\nConnection: TE", []),
    ("RFC 9110 11.7.1", b"Proxy-Authorization: Basic c2VjcmV0", [b"Proxy-Authorization"]),
    (
        "RFC 9110 11.7.1",
        b"proxy-authorization: Bearer a\r\nProxy-Authorization: Basic c2VjcmV0",
        [b"Proxy-Authorization"],
    ),
    # Upgrades past the checks of this hop.
    (
        "RFC 9113 3.1",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        [b"HTTP2-Settings"],
    ),
    ("RFC 9113 3.1", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: A", []),
    ("RFC 9113 3.1", b"Connection: upgrade\r\nUpgrade: H2C", []),
    ("RFC 9113 3.1", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk", []),
    ("RFC 9110 7.8", b"Connection: Upgrade\r\nUpgrade: HTTP/2.0, HTTP/3", []),
    ("RFC 2817 3.1", b"Connection: Upgrade\r\nUpgrade: TLS/1.0", []),
    ("RFC 9110 7.8", b"Upgrade: websocket", []),
    # What tells origins of the client is ours to say.
    ("RFC 7239 8.1", b"Forwarded: for=127.0.0.1", [b"Forwarded"]),
    ("RFC 7239 8.1", b"X-Forwarded-For: 127.0.0.1", [b"X-Forwarded-For"]),
    ("RFC 7239 8.1", b"x-forwarded-for: a\r\nX-FORWARDED-FOR: b", [b"X-Forwarded-For"]),
]
NEVER = [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"HTTP2-Settings"]


@pytest.mark.parametrize(("source", "lines", "absent"), STRIPPED, ids=named)
def test_fields_of_one_hop(
    gate: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    lines: bytes,
    absent: list[bytes],
) -> None:
    """They end here, whatever else is asked for."""
    visit = visit_with(gate.proxy, origin, connect, lines)
    for name in [*NEVER, *absent]:
        assert not visit.head.all(name), source
    assert b"c2VjcmV0" not in visit.head.raw


# --- Fields that can't be taken away ---

KEPT: list[tuple[str, bytes, dict[bytes, bytes]]] = [
    ("RFC 9110 7.6.1", b"Connection: Host", {b"Host": b"{origin}"}),
    ("RFC 9110 7.6.1", b"Connection: Via", {b"Via": b"1.1 gate"}),
    ("RFC 9110 7.6.1", b"Connection: via\r\nVia: 1.0 far", {b"Via": b"1.0 far"}),
    ("RFC 9110 7.6.1", b"Connection: Cache-Control\r\nCache-Control: a", {b"Cache-Control": b"a"}),
    (
        "CVE-2022-31813",
        b"Connection: Authorization\r\nAuthorization: Basic x",
        {b"Authorization": b"Basic x"},
    ),
]


@pytest.mark.parametrize(("source", "lines", "present"), KEPT, ids=named)
def test_connection_takes_nothing_vital_away(
    gate: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    lines: bytes,
    present: dict[bytes, bytes],
) -> None:
    """A client can't have dropped on the way what the origin, or a cache, relies on."""
    visit = visit_with(gate.proxy, origin, connect, lines)
    for name, value in present.items():
        assert visit.head.all(name)[0] == filled(value, origin), source


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Connection: Content-Length\r\nContent-Length: 5", b"hello"),
        (b"Content-Length: 5\r\nConnection: close, content-length", b"hello"),
        (
            b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            b"Transfer-Encoding: chunked\r\nConnection: TE, transfer-encoding",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
    ],
)
def test_connection_does_not_unframe_a_body(
    gate: Running, origin: Origin[Routes], connect: Connect, lines: bytes, body: bytes
) -> None:
    """RFC 9112 section 6.3: a body keeps its framing, or it would be the next request."""
    talk = connect(gate.proxy)
    talk.send(filled(GET.replace(b"GET", b"POST") + lines + b"\r\n\r\n" + body, origin))
    assert talk.response().status == 200
    (visit,) = origin.served.visits
    assert visit.body == b"hello"
    framing = visit.head.all(b"Content-Length") + visit.head.all(b"Transfer-Encoding")
    assert framing in ([b"5"], [b"chunked"])


def test_an_upgrade_with_a_body(gate: Running, origin: Origin[Routes], connect: Connect) -> None:
    """RFC 9110 section 7.8: an origin can't leave HTTP while it is owed the rest of the request."""

    def switch_early(visit: Visit) -> None:
        visit.answer(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        visit.is_last = True
        visit.talk.rest()

    origin.served.on(b"/a", switch_early)
    talk = connect(gate.proxy)
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 100\r\n\r\n"
    talk.send(filled(GET + lines, origin), b"half")
    assert talk.response().status == 502
    assert talk.rest() == b""


def test_an_upgrade_that_is_declined(
    gate: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """RFC 9110 section 7.8: without a 101 it is HTTP as before, and each request is looked at."""
    origin.served.on(b"/a", exactly(b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"))
    talk = connect(gate.proxy)
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 0\r\n\r\n"
    hidden = NEXT[:-2] + b"Via: 1.1 gate\r\n\r\n"
    talk.send(filled(GET + lines + hidden + NEXT, origin))
    assert [talk.response().status for _ in range(3)] == [426, 508, 200]
    assert seen(origin) == [b"/a", b"/next"]


# --- Fields that others believe in ---

UNKEYED = [
    b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Port: 1",
    b"X-Forwarded-Scheme: nothttps",
    b"X-Forwarded-Server: evil.example",
    b"X-Host: evil.example",
    b"X-Original-URL: /admin",
    b"X-Rewrite-URL: /admin",
    b"X-HTTP-Method-Override: DELETE",
    b"X-Real-IP: 127.0.0.1",
    b"True-Client-IP: 127.0.0.1",
    b"Front-End-Https: on",
]


@pytest.mark.parametrize("line", UNKEYED, ids=named)
def test_fields_that_are_not_trusted_here(
    gate: Running, origin: Origin[Routes], connect: Connect, line: bytes
) -> None:
    """CVE-2018-14773: they pass as they are, and change neither method nor target nor Host.

    A cache that comes to stand here has to take them for what an origin may answer by.
    """
    visit = visit_with(gate.proxy, origin, connect, line)
    assert visit.head.start == b"GET /a HTTP/1.1"
    assert visit.head.one(b"Host") == origin.authority.encode("ascii")
    name, _, value = line.partition(b": ")
    assert visit.head.one(name) == value


# --- Circles ---

LOOPS: list[tuple[str, bytes, bool]] = [
    ("RFC 9110 7.6.3", b"Via: 1.1 gate", True),
    ("RFC 9110 7.6.3", b"Via: 1.0 gate (proxyapp)", True),
    ("RFC 9110 7.6.3", b"Via: HTTP/1.1 gate", True),
    ("RFC 9110 7.6.3", b"Via: 1.0 far, 1.1\tgate , 1.1 farther", True),
    ("RFC 9110 7.6.3", b"Via: 1.0 far\r\nX: y\r\nVIA: 1.1 gate", True),
    ("RFC 9110 7.6.3", b"Via: 1.0 far\r\nConnection: Via\r\nVia: 1.1 gate", True),
    ("RFC 9110 7.6.3", b"Via: 1.1 gateway, 1.1 a.gate, 1.1 far (gate)", False),
    ("RFC 9110 7.6.3", b"Via: gate", False),
    ("RFC 9110 7.6.3", b"Via: ,, ,", False),
]


@pytest.mark.parametrize(("source", "lines", "is_loop"), LOOPS, ids=named)
def test_loops(
    gate: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    lines: bytes,
    is_loop: bool,
) -> None:
    """A request that has been here is told so; one that only looks like it goes on."""
    talk = connect(gate.proxy)
    talk.send(filled(GET + lines + b"\r\n\r\n", origin))
    assert talk.response().status == (508 if is_loop else 200), source
    assert len(seen(origin)) == (not is_loop)


FORWARDS: list[tuple[str, bytes]] = [
    ("RFC 9110 7.6.2", b"-1"),
    ("RFC 9110 7.6.2", b"+1"),
    ("RFC 9110 7.6.2", b""),
    ("RFC 9110 7.6.2", b"x"),
    ("RFC 9110 7.6.2", b"0x1"),
    ("RFC 9110 7.6.2", b"1, 1"),
    ("RFC 9110 7.6.2", b"1\r\nMax-Forwards: 0"),
    ("RFC 9110 7.6.2", b"99999999999999999999999"),
    ("RFC 9110 7.6.2", b"\xef\xbc\x91"),
]


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
@pytest.mark.parametrize(("source", "value"), FORWARDS, ids=named)
def test_forwards_that_are_no_number(
    gate: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    value: bytes,
    method: bytes,
) -> None:
    """A count that can't be counted down ends here."""
    talk = connect(gate.proxy)
    lines = GET.replace(b"GET", method) + b"Max-Forwards: " + value + b"\r\n\r\n"
    talk.send(filled(lines, origin))
    assert talk.response().status == 400, source
    assert origin.connections == 0


# --- Secrets ---

SECRETS = b"""\
Cookie: a=c2VjcmV0\r
cookie: b=c2VjcmV0\r
Authorization: Basic c2VjcmV0\r
PROXY-AUTHORIZATION: Basic c2VjcmV0\r
Referer: http://user:c2VjcmV0@a.example/\r
"""


def answer_to(port: int, connect: Connect, data: bytes) -> Response:
    """Send *data* on a new connection and return the first answer."""
    talk = connect(port)
    talk.send(data)
    return talk.response()


def test_trace_shows_no_secret(gate: Running, origin: Origin[Routes], connect: Connect) -> None:
    """RFC 9110 section 9.3.8, VU#867593: a script can't read by TRACE what the browser hides."""
    lines = SECRETS.replace(b"Referer: http://user:c2VjcmV0@a.example/\r\n", b"X-Seen: yes\r\n")
    trace = filled(GET.replace(b"GET", b"TRACE"), origin) + lines + b"Max-Forwards: 0\r\n\r\n"
    answer = answer_to(gate.proxy, connect, trace)
    assert (answer.status, answer.head.one(b"Content-Type")) == (200, b"message/http")
    assert b"X-Seen: yes" in answer.body
    assert b"c2VjcmV0" not in answer.body
    assert origin.connections == 0


@pytest.mark.parametrize("accept", [b"text/html", b"text/plain"])
@pytest.mark.parametrize(
    ("source", "start", "status"),
    [
        ("CVE-2025-62168", b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", 502),
        ("CVE-2025-62168", b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", 502),
        ("CVE-2012-0053", b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n", 400),
        ("CVE-2012-0053", b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\nX\r\n", 400),
        ("CVE-2012-0053", b"GET /none HTTP/1.1\r\nHost: x\r\nX: %b\r\n" % (b"x" * 70_000), 431),
        ("CVE-2012-0053", b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n", 404),
    ],
    ids=named,
)
def test_error_pages_show_no_secret(
    gate: Running, connect: Connect, source: str, start: bytes, status: int, accept: bytes
) -> None:
    """Whatever goes wrong, no field of the request stands on the page, in HTML or in text."""
    lines = SECRETS + b"X-Seen: yes\r\nAccept: " + accept + b"\r\n\r\n"
    answer = answer_to(gate.proxy, connect, start + lines)
    assert answer.status == status, source
    assert answer.head.one(b"Content-Type").startswith(accept) or status == 431
    assert b"c2VjcmV0" not in answer.head.raw + answer.body
    assert b"yes" not in answer.body


def test_credentials_for_us_reach_nobody(running: Running, origin: Origin[Routes]) -> None:
    """RFC 9110 section 11.7.1: the proxy's password is spent here, by CONNECT too."""
    lines = b"Proxy-Authorization: Basic c2VjcmV0\r\nConnection: close\r\n\r\n"
    assert ask(running.proxy, filled(GET + lines, origin)).status == 200
    assert is_well(running.proxy, origin)
    assert not [visit for visit in origin.served.visits if b"c2VjcmV0" in visit.head.raw]
