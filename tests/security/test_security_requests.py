"""Requests made to be read in two ways: refused, or passed on in the one canonical way.

Each case names the section that decides it, or a server that got it wrong: by CVE, or owner#number.
Behind every request stands another one, for a reader who takes the end of the body to be earlier.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.appliance import Running
from tests.conftest import Connect
from tests.origin import Origin, Routes, Visit
from tests.security.attacks import (
    NEXT,
    SMUGGLED,
    ask,
    filled,
    is_well,
    named,
    rest_of,
    seen,
    talk_to,
)

POST = b"POST http://{origin}/a HTTP/1.1\r\nHost: {origin}\r\n"
# Five bytes and a chunk of five bytes, whichever the reader believes in.
BODY = b"5\r\nhello\r\n0\r\n\r\n"

# --- Content-Length ---

LENGTHS: list[tuple[str, bytes]] = [
    ("CVE-2026-54387", b"Content-Length: 15\r\nTransfer-Encoding: chunked"),
    ("CVE-2020-10109", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("CVE-2005-2088", b"Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("CVE-2023-47641", b"Content-Length: 15\r\nTransfer-Encoding: chunked123"),
    ("CVE-2020-10108", b"Content-Length: 15\r\nContent-Length: 5"),
    ("CVE-2026-54388", b"Content-Length: 0\r\nX: y\r\ncontent-length: 15"),
    ("RFC 9112 6.3", b"Content-Length: 15\r\nContent-Length: 15"),
    ("RFC 9112 6.3", b"Content-Length: 15, 15"),
    ("RFC 9112 6.3", b"Content-Length: 15, 5"),
    ("RFC 9110 8.6", b"Content-Length: ,15"),
    ("CVE-2022-24801", b"Content-Length: +15"),
    ("CVE-2020-15049", b"Content-Length: -15"),
    ("CVE-2026-32239", b"Content-Length: -1"),
    ("CVE-2020-15049", b"Content-Length: \x0b15"),
    ("CVE-2018-7159", b"Content-Length: 1 5"),
    ("CVE-2023-40225", b"Content-Length:"),
    ("CVE-2023-40225", b"Content-Length:\r\nContent-Length: 15"),
    ("RFC 9110 8.6", b"Content-Length: 0xf"),
    ("RFC 9110 8.6", b"Content-Length: 15.0"),
    ("RFC 9110 8.6", b'Content-Length: "15"'),
    ("RFC 9110 8.6", b"Content-Length: 1_5"),
    ("RFC 9110 8.6", b"Content-Length: 15;q=1"),
    ("CVE-2025-69224", b"Content-Length: \xef\xbc\x91\xef\xbc\x95"),
    ("CVE-2014-0099", b"Content-Length: 18446744073709551631"),
    ("CVE-2014-0099", b"Content-Length: 4294967311111111111"),
    ("CVE-2019-16276", b"Content-Length : 15"),
    ("tinyproxy/tinyproxy#623", b"Content-Length: 15\r\nContent-Length\t: 5"),
    ("CVE-2024-27982", b"X: y\r\n Content-Length: 15"),
    ("CVE-2019-20444", b"Content-Length 15"),
    ("CVE-2020-8201", b"Content\rLength: 15"),
]

# --- Transfer-Encoding ---

CODINGS: list[tuple[str, bytes, int]] = [
    ("CVE-2019-16869", b"Transfer-Encoding : chunked", 400),
    ("CVE-2019-18678", b"Transfer-Encoding\t: chunked\r\nContent-Length: 15", 400),
    ("CVE-2019-18277", b"Transfer-Encoding: \x0bchunked", 400),
    ("CVE-2019-18277", b"Content-Length: 15\r\nTransfer-Encoding: \x0cchunked", 400),
    ("CVE-2019-15605", b"Transfer-Encoding: xchunked", 400),
    ("CVE-2022-32213", b"Transfer-Encoding: chunkedchunked", 400),
    ("CVE-2020-8287", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: eee", 400),
    ("CVE-2024-1135", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
    ("CVE-2024-6827", b"Transfer-Encoding: nothing", 400),
    ("CVE-2020-15811", b"Transfer-Encoding: chunked, identity", 400),
    ("tinyproxy/tinyproxy#616", b"Transfer-Encoding: chunked, gzip", 400),
    ("tinyproxy/tinyproxy#616", b"Transfer-Encoding: chunked\x00", 400),
    ("tinyproxy/tinyproxy#616", b"Transfer-Encoding: chunked\t", 400),
    ("tinyproxy/tinyproxy#616", b"Transfer-Encoding: chunked,", 400),
    ("RFC 9112 6.1", b"Transfer-Encoding: chunked, chunked", 400),
    ("RFC 9112 6.1", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
    ("RFC 9112 6.1", b"Transfer-Encoding: gzip, chunked", 501),
    ("RFC 9112 6.3", b"Transfer-Encoding: gzip", 400),
    ("RFC 9112 7", b"Transfer-Encoding: identity", 400),
    ("RFC 9112 7", b"Transfer-Encoding:", 400),
    ("RFC 9112 7", b"Transfer-Encoding: chunked;q=1", 400),
    ("RFC 9112 7", b'Transfer-Encoding: "chunked"', 400),
    ("RFC 9112 7", b"Transfer-Encoding: ch\tunked", 400),
    ("RFC 9112 7", b"Transfer-Encoding: chun\xc5\xbfed", 400),
    ("CVE-2022-32215", b"Transfer-Encoding: chunked\r\n , identity", 400),
    ("CVE-2022-32215", b"Transfer-Encoding:\r\n chunked", 400),
]

# --- Other lines, and the ends of lines ---

LINES: list[tuple[str, bytes]] = [
    ("CVE-2023-25725", b": x\r\nContent-Length: 15"),
    ("CVE-2023-25725", b":\r\nContent-Length: 15"),
    ("CVE-2022-32214", b"X: y\nTransfer-Encoding: chunked"),
    ("CVE-2022-32214", b"X: y\n\nGET http://{origin}/smuggled HTTP/1.1\nHost: {origin}\n"),
    ("CVE-2023-30589", b"X: \rTransfer-Encoding: chunked"),
    ("CVE-2025-23167", b"X: y\r\n\rZ: 1"),
    ("CVE-2022-35256", b"X: y\nContent-Length: 15\r"),
    ("CVE-2025-32094", b"Expect:\r\n 100-continue\r\nContent-Length: 15"),
    ("RFC 9112 5.2", b"X: y\r\n\tz\r\nContent-Length: 15"),
    ("RFC 9110 5.5", b"X: a\x00b\r\nContent-Length: 15"),
    ("RFC 9110 5.5", b"X: a\x1b[2Jb\r\nContent-Length: 15"),
    ("RFC 9110 5.1", b"X\x00: y\r\nContent-Length: 15"),
    ("RFC 9110 5.1", b"X(y): z\r\nContent-Length: 15"),
    ("RFC 9110 5.1", b"Tr\xc3\xa4nsfer-Encoding: chunked"),
]


@pytest.mark.parametrize(
    ("source", "lines", "status"),
    [
        *((source, lines, 400) for source, lines in LENGTHS),
        *CODINGS,
        *((source, lines, 400) for source, lines in LINES),
    ],
    ids=named,
)
def test_framing_that_two_readers_may_understand_differently(
    running: Running, origin: Origin[Routes], source: str, lines: bytes, status: int
) -> None:
    """It is refused before anybody is asked, and nothing behind it is read."""
    attack = filled(POST + lines + b"\r\n\r\n" + BODY + SMUGGLED, origin)
    assert ask(running.proxy, attack).status == status, source
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/well"], source


# --- Chunks ---

CHUNKS: list[tuple[str, bytes]] = [
    ("CVE-2025-22871", b"5\nhello\r\n0\r\n\r\n"),
    ("CVE-2025-22871", b"5\r\nhello\n0\r\n\r\n"),
    ("CVE-2025-22871", b"5\r\nhello\r\n0\n\n"),
    ("CVE-2025-55315", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2021-22960", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2025-43859", b"5\r\nhelloXX0\r\n\r\n"),
    ("CVE-2025-43859", b"5\r\nhello!\r\n0\r\n\r\n"),
    ("CVE-2022-24761", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2022-24761", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"5h\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b";a=b\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    ("RFC 9112 7.1", b"5;a=\x00\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2013-2028", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2026-32240", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("CVE-2026-3945", b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    # Trailers.
    ("RFC 9110 6.5.1", b"0\r\nContent-Length: 5\r\n\r\n"),
    ("RFC 9110 6.5.1", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("RFC 9110 6.5.1", b"0\r\nHost: evil.example\r\n\r\n"),
    ("CVE-2025-53643", b"0\r\nX: y\n\r\n"),
    ("RFC 9112 5.1", b"0\r\nX : y\r\n\r\n"),
    ("RFC 9112 5.2", b"0\r\n X: y\r\n\r\n"),
    ("RFC 9112 7.1.2", b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    ("CVE-2025-23167", b"0\r\n\rX: y\r\n\r\n"),
]


@pytest.mark.parametrize(("source", "chunks"), CHUNKS, ids=named)
def test_chunks_that_two_readers_may_understand_differently(
    running: Running, origin: Origin[Routes], source: str, chunks: bytes
) -> None:
    """The origin never gets the end of such a body, nor what stands behind it."""
    fields = b"Transfer-Encoding: chunked\r\n\r\n"
    assert ask(running.proxy, filled(POST + fields + chunks + SMUGGLED, origin)).status == 400
    assert is_well(running.proxy, origin)
    assert seen(origin) in ([b"/a", b"/well"], [b"/well"]), source
    assert all(visit.body == b"" for visit in origin.served.visits), "it came to an end"


# --- Odd, and harmless once it is written anew ---

LENGTH, CHUNKED = (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")
CANONICAL: list[tuple[str, bytes, bytes, tuple[bytes, bytes]]] = [
    ("RFC 9110 8.6", b"Content-Length: 00005", b"hello", LENGTH),
    ("RFC 9110 5.5", b"Content-Length: \t5 \t", b"hello", LENGTH),
    ("RFC 9110 8.6", b"X-Content-Length: 99\r\nContent-Length: 5", b"hello", LENGTH),
    ("CVE-2024-45614", b"Content-Length: 5\r\nTransfer_Encoding: chunked", b"hello", LENGTH),
    ("CVE-2021-40346", b"Content-Length0%b:\r\nContent-Length: 5" % (b"a" * 270), b"hello", LENGTH),
    ("CVE-2026-31842", b"Transfer-Encoding: ChUnKeD", BODY, CHUNKED),
    ("RFC 9110 5.5", b"Transfer-Encoding: \tchunked ", BODY, CHUNKED),
    ("RFC 9112 7.1", CHUNKED[0] + b": chunked", b"0005\r\nhello\r\n000\r\n\r\n", CHUNKED),
    ("RFC 9112 7.1.1", CHUNKED[0] + b": chunked", b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n", CHUNKED),
    ("CVE-2026-2332", CHUNKED[0] + b": chunked", b'5;a="\r\nhello\r\n0;"\r\n\r\n', CHUNKED),
    ("CVE-2023-46846", CHUNKED[0] + b": chunked", b"5 \t;a\r\nhello\r\n0  \r\n\r\n", CHUNKED),
    ("RFC 9112 7.1.2", CHUNKED[0] + b": chunked", BODY[:-2] + b"Cookie: a=b\r\n\r\n", CHUNKED),
]


@pytest.mark.parametrize(("source", "lines", "body", "framing"), CANONICAL, ids=named)
def test_odd_framing_is_written_anew(
    running: Running,
    origin: Origin[Routes],
    connect: Connect,
    source: str,
    lines: bytes,
    body: bytes,
    framing: tuple[bytes, bytes],
) -> None:
    """The origin reads one framing, in its plain spelling, and the connection goes on."""
    talk = connect(running.proxy)
    talk.send(filled(POST + lines + b"\r\n\r\n" + body + NEXT, origin))
    assert [talk.response().body for _ in range(2)] == [b"hello", b"hello"]
    first, second = origin.served.visits
    said = [
        line for name in (b"content-length", b"transfer-encoding") for line in told(first, name)
    ]
    assert said == [framing], source
    assert (first.body, first.trailers, second.target) == (b"hello", [], b"/next")


def told(visit: Visit, name: bytes) -> list[tuple[bytes, bytes]]:
    """Return the lines of *visit* called *name*, in any case."""
    return [field for field in visit.head.fields if field[0].lower() == name]


WITH_BODY = [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"SEARCH", b"get"]


@pytest.mark.parametrize("method", WITH_BODY)
def test_a_body_where_none_is_expected(
    running: Running, origin: Origin[Routes], connect: Connect, method: bytes
) -> None:
    """RFC 9110 section 9.3.1: it is still a body, and not the next request."""
    talk = connect(running.proxy)
    body = filled(SMUGGLED, origin)
    head = filled(POST.replace(b"POST", method), origin) + b"Content-Length: %d\r\n\r\n" % len(body)
    talk.send(head, body, filled(NEXT, origin))
    assert talk.response(method).status == 200
    assert talk.response().body == b"hello"
    assert seen(origin) == [b"/a", b"/next"]
    assert origin.served.visits[0].body == body


# --- Start lines ---

STARTS: list[tuple[str, bytes, int]] = [
    ("RFC 9112 3", b"GET http://{origin}/a", 400),
    ("CVE-2017-7656", b"GET http://{origin}/a HTTP/0.9", 505),
    ("RFC 9113 3.4", b"PRI * HTTP/2.0", 505),
    ("RFC 9112 2.3", b"GET http://{origin}/a HTTP/1.10", 400),
    ("RFC 9112 2.3", b"GET http://{origin}/a HTTP/1,1", 400),
    ("RFC 9112 2.3", b"GET http://{origin}/a http/1.1", 400),
    ("RFC 9112 2.3", b"GET http://{origin}/a HTTP/1.1 HTTP/1.1", 400),
    ("CVE-2020-25097", b"GET http://{origin}/a b HTTP/1.1", 400),
    ("CVE-2016-8743", b" GET http://{origin}/a HTTP/1.1", 400),
    ("CVE-2016-8743", b"GET\x0bhttp://{origin}/a HTTP/1.1", 400),
    ("RFC 9112 3", b"GET  http://{origin}/a HTTP/1.1", 400),
    ("RFC 9112 3", b"GET\thttp://{origin}/a HTTP/1.1", 400),
    ("RFC 9112 3", b"GET http://{origin}/a HTTP/1.1 ", 400),
    ("RFC 9112 3", b"GET http://{origin}/a HTTP/1.1\r", 400),
    ("RFC 9110 9.1", b"G\x00ET http://{origin}/a HTTP/1.1", 400),
    ("RFC 9110 9.1", b"G@T http://{origin}/a HTTP/1.1", 400),
    ("CVE-2020-26116", b"GET http://{origin}/a HTTP/1.1\rX: y", 400),
    ("RFC 9112 2.2", b"\nGET http://{origin}/a HTTP/1.1", 400),
    ("RFC 9112 2.2", b"\r\rGET http://{origin}/a HTTP/1.1", 400),
    ("RFC 9112 2.2", b"\r\n" * 1000 + b"GET http://{origin}/a HTTP/1.1", 400),
    ("RFC 8446 4", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("RFC 9112 3", b"HTTP/1.1 200 OK", 400),
]


@pytest.mark.parametrize(("source", "start", "status"), STARTS, ids=named)
def test_start_lines_that_are_none(
    running: Running, origin: Origin[Routes], source: str, start: bytes, status: int
) -> None:
    """Nothing is guessed, nothing is repaired, and nothing behind it is read."""
    attack = filled(start + b"\r\nHost: {origin}\r\n\r\n" + SMUGGLED, origin)
    assert ask(running.proxy, attack).status == status, source
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/well"]


# --- Host ---

HOSTS: list[tuple[str, bytes]] = [
    ("RFC 9112 3.2", b"X: y"),
    ("RFC 9112 3.2", b"Host: {origin}\r\nHost: {origin}"),
    ("RFC 9112 3.2", b"Host: {origin}\r\nhost: evil.example"),
    ("RFC 9112 3.2.2", b"Host: evil.example"),
    ("RFC 9112 3.2.2", b"Host: 127.0.0.1"),
    ("RFC 9112 3.2.2", b"Host:"),
    ("RFC 9112 3.2", b"Host: {origin}, {origin}"),
    ("RFC 9110 7.2", b"Host: user@{origin}"),
    ("RFC 9110 7.2", b"Host: {origin}/x"),
    ("RFC 9110 7.2", b"Host: http://{origin}"),
    ("RFC 9110 7.2", b"Host: {origin}#x"),
    ("RFC 9110 7.2", b"Host: {origin}?x"),
    ("RFC 9110 7.2", b"Host: {origin}\\@evil.example"),
    ("CVE-2016-4554", b"Host: {origin}\x00"),
    ("CVE-2016-4554", b"Host : {origin}"),
    ("CVE-2016-4554", b" Host: {origin}"),
    ("CVE-2016-4554", b"Host: {origin}\r\n evil.example"),
    ("CVE-2023-29406", b"Host: {origin} X: y"),
    ("RFC 3986 3.2.3", b"Host: {origin}00000"),
]


@pytest.mark.parametrize(("source", "lines"), HOSTS, ids=named)
def test_hosts_that_say_something_else(
    running: Running, origin: Origin[Routes], source: str, lines: bytes
) -> None:
    """One Host that agrees with the target, or none at all in HTTP/1.0."""
    attack = filled(b"GET http://{origin}/a HTTP/1.1\r\n" + lines + b"\r\n\r\n" + SMUGGLED, origin)
    assert ask(running.proxy, attack).status == 400, source
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/well"]


# --- Bodies that nobody waits for ---


def refusing_at_once(visit: Visit) -> None:
    """Answer before the body was read, and read it then."""
    visit.answer(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
    visit.read_body()


@pytest.mark.parametrize(
    "expect", [b"", b"Expect: 100-continue\r\n", b"Expect: 100-Continue, x\r\n"]
)
def test_an_unread_body_is_no_request(
    running: Running, origin: Origin[Routes], connect: Connect, expect: bytes
) -> None:
    """CVE-2025-55702, CVE-2025-31699: whoever is owed a body gets it, after an early answer too."""
    origin.served.on(b"/a", refusing_at_once)
    body = filled(SMUGGLED, origin)
    talk = connect(running.proxy)
    talk.send(filled(POST, origin), expect, b"Content-Length: %d\r\n\r\n" % len(body))
    assert talk.response().status == 417
    talk.send(body, filled(NEXT, origin))
    assert talk.response().body == b"hello"
    assert seen(origin) == [b"/a", b"/next"]
    assert origin.served.visits[0].body == body


def test_a_connection_that_is_owed_a_body_is_not_shared(
    running: Running, origin: Origin[Routes]
) -> None:
    """CVE-2025-31699: a client that leaves inside its body takes the origin's connection along."""
    origin.served.on(b"/a", refusing_at_once)
    with talk_to(running.proxy) as talk:
        talk.send(
            filled(POST, origin), b"Content-Length: 100\r\n\r\n", filled(SMUGGLED, origin)[:20]
        )
        assert talk.response().status == 417
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/a", b"/well"]
    assert origin.connections == 2


@pytest.mark.parametrize("early", [0, 10, None])
def test_the_body_of_what_is_answered_here_is_no_request(
    running: Running, origin: Origin[Routes], connect: Connect, early: int | None
) -> None:
    """CVE-2019-20372: read to its end if it came with its head, or the connection is given up."""
    body = filled(SMUGGLED, origin)
    head = filled(POST.replace(b"POST", b"OPTIONS"), origin) + b"Max-Forwards: 0\r\n"
    talk = connect(running.proxy)
    talk.send(head, b"Content-Length: %d\r\n\r\n" % len(body), body[:early])
    assert talk.response().status == 204
    with suppress(ConnectionError):
        talk.send(body[len(body[:early]) :], filled(NEXT, origin))
    answers = rest_of(talk) if early is not None else talk.response().head.raw
    assert answers.count(b"HTTP/1.1 200 OK") == (early is None)
    assert is_well(running.proxy, origin)
    assert seen(origin) == ([b"/next"] if early is None else []) + [b"/well"]
