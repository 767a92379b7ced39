"""Promises of proxyapp.rules.hops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules import hops
from proxyapp.rules.hops import Forwarding, Hop
from proxyapp.wire.framing import CHUNKED, NO_BODY, Framing, Kind
from proxyapp.wire.headers import Fields, of_lines
from proxyapp.wire.messages import RequestHead, ResponseHead

HOST = b"a.example"
PLAIN = hops.hop(b"px", Forwarding.OFF, b"")


def fields(*lines: bytes) -> Fields:
    """Return field lines as Fields."""
    return of_lines(list(lines))


def asked(*lines: bytes, method: bytes = b"GET", minor: int = 1) -> RequestHead:
    """Return a request head with these field lines."""
    return RequestHead(method, b"http://a.example/", minor, fields(*lines))


def sent(head: RequestHead, at: Hop = PLAIN, body: Framing = NO_BODY) -> list[bytes]:
    """Return the lines that go to the origin, without Host and Via."""
    first, *others = hops.request_lines(head, HOST, "192.0.2.1", body, at)
    assert first == b"Host: a.example"
    return [line for line in others if line != b"Via: 1.%d px" % head.minor]


def returned(*lines: bytes, status: int = 200, pseudonym: bytes = b"") -> list[bytes]:
    """Return the lines that go to the client."""
    at = hops.hop(pseudonym, Forwarding.OFF, b"")
    return hops.response_lines(ResponseHead(status, b"", 1, fields(*lines)), at)


NOT_PASSED_ON = [
    b"Connection: keep-alive",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"TE: trailers",
    b"Transfer-Encoding: chunked",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABk",
]


@pytest.mark.parametrize(
    "line",
    [
        *NOT_PASSED_ON,
        b"Proxy-Authorization: Basic eDp5",
        b"proxy-authorization: Basic eDp5",
        b"Host: other.example",
        b"Content-Length: 7",
        b"X-Forwarded-For: 192.0.2.66",
        b"Forwarded: for=192.0.2.66",
    ],
)
def test_request_fields_that_stay_here(line: bytes) -> None:
    """What is for this hop, for us, or written anew, doesn't go to the origin."""
    assert sent(asked(line, b"X-Kept: 1", line.upper())) == [b"X-Kept: 1"]


@pytest.mark.parametrize(
    "line", [*NOT_PASSED_ON, b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x"]
)
def test_response_fields_that_stay_here(line: bytes) -> None:
    """What is for this hop, or for us, doesn't go to the client."""
    assert returned(line, b"X-Kept: 1", line.lower()) == [b"X-Kept: 1"]


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        (b"Connection: close", [b"X-A: 1", b"X-B: 2"]),
        (b"Connection: x-a", [b"X-B: 2"]),
        (b"connection: close, X-B , X-A", []),
        (b"Connection: , X-B,,", [b"X-A: 1"]),
        (b'Connection: "x-a"', [b"X-A: 1", b"X-B: 2"]),
    ],
)
def test_fields_that_connection_names(connection: bytes, kept: list[bytes]) -> None:
    """Either side takes away the fields that Connection names (RFC 9110 section 7.6.1)."""
    lines = [b"X-A: 1", connection, b"X-B: 2"]
    assert sent(asked(*lines)) == kept
    assert returned(*lines) == kept


@pytest.mark.parametrize(
    "kept", [b"Authorization: x", b"Cache-Control: no-store", b"Content-Type: text/plain"]
)
def test_fields_that_connection_cannot_name(kept: bytes) -> None:
    """What everybody relies on can't be stripped by a clever client."""
    name = kept.partition(b":")[0]
    assert sent(asked(b"Connection: " + name, kept)) == [kept]


def test_order_case_and_repetition_are_kept() -> None:
    """Fields go on as they were spelled, in their order, as often as they stood there."""
    lines = [b"x-B:2", b"X-a:  1 ", b"X-B: 3", b"Cookie: a=b", b"x-b:"]
    assert sent(asked(*lines)) == lines
    assert returned(*lines) == lines


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (NO_BODY, []),
        (Framing(Kind.LENGTH, 0), [b"Content-Length: 0"]),
        (Framing(Kind.LENGTH, 7), [b"Content-Length: 7"]),
        (CHUNKED, [b"Transfer-Encoding: chunked"]),
    ],
)
def test_framing_is_written_anew(body: Framing, line: list[bytes]) -> None:
    """The origin reads the framing that we use, once."""
    head = asked(b"Content-Length: 9", b"Transfer-Encoding: x, chunked")
    assert sent(head, body=body) == line


@pytest.mark.parametrize(("minor", "line"), [(0, b"Via: 1.0 px"), (1, b"Via: 1.1 px")])
def test_via(minor: int, line: bytes) -> None:
    """Via says which version was received, behind what others said; no name, no Via."""
    head = asked(b"Via: 1.1 other", minor=minor)
    lines = hops.request_lines(head, HOST, "192.0.2.1", NO_BODY, PLAIN)
    assert lines[-2:] == [b"Via: 1.1 other", line]
    nameless = hops.hop(b"", Forwarding.OFF, b"")
    assert sent(head, nameless) == [b"Via: 1.1 other"]
    answer = ResponseHead(200, b"OK", minor, fields(b"Via: 1.1 other"))
    assert hops.response_lines(answer, PLAIN) == [b"Via: 1.1 other", line]


@pytest.mark.parametrize(
    ("forwarding", "client", "lines"),
    [
        (Forwarding.OFF, "192.0.2.1", []),
        (Forwarding.TRANSPARENT, "192.0.2.1", [b"X-Forwarded-For: 9", b"Forwarded: for=9"]),
        (
            Forwarding.X_FORWARDED_FOR,
            "192.0.2.1",
            [b"X-Forwarded-For: 9", b"Forwarded: for=9", b"X-Forwarded-For: 192.0.2.1"],
        ),
        (
            Forwarding.FORWARDED,
            "2001:db8::1",
            [
                b"X-Forwarded-For: 9",
                b"Forwarded: for=9",
                b'Forwarded: for="[2001:db8::1]";host="a.example";proto=http',
            ],
        ),
    ],
)
def test_forwarding(forwarding: Forwarding, client: str, lines: list[bytes]) -> None:
    """[proxy] forwarded decides whether the origin learns the client's address, and how."""
    head = asked(b"X-Forwarded-For: 9", b"Forwarded: for=9")
    at = hops.hop(b"", forwarding, b"")
    assert hops.request_lines(head, HOST, client, NO_BODY, at) == [b"Host: a.example", *lines]


def test_the_upgrade_field_stays_here() -> None:
    """The field that asks for https is for us."""
    at = hops.hop(b"px", Forwarding.OFF, b"x-real-protocol")
    assert sent(asked(b"X-Real-Protocol: https"), at) == []


@pytest.mark.parametrize(("minor", "lines"), [(0, []), (1, [b"Expect: 100-continue"])])
def test_expect(minor: int, lines: list[bytes]) -> None:
    """Expect goes on, but not from an HTTP/1.0 client, which couldn't read a 100."""
    assert sent(asked(b"Expect: 100-continue", minor=minor)) == lines


@pytest.mark.parametrize(
    ("method", "value", "line"),
    [
        (b"TRACE", b"3", b"Max-Forwards: 2"),
        (b"OPTIONS", b"1", b"Max-Forwards: 0"),
        (b"GET", b"3", b"Max-Forwards: 3"),
        (b"GET", b"many", b"Max-Forwards: many"),
    ],
)
def test_max_forwards(method: bytes, value: bytes, line: bytes) -> None:
    """Max-Forwards counts hops for TRACE and OPTIONS, and means nothing elsewhere."""
    assert sent(asked(b"max-forwards: " + value, method=method)) == [line]


@pytest.mark.parametrize("value", [b"-1", b"x", b"", b"1, 2", b"9" * 11])
def test_wrong_max_forwards(value: bytes) -> None:
    """Max-Forwards that isn't a number is refused where it counts."""
    head = asked(b"Max-Forwards: " + value, method=b"TRACE")
    with pytest.raises(errors.BadRequest):
        hops.answers_here(head)


@pytest.mark.parametrize(
    ("method", "lines", "here"),
    [
        (b"GET", [b"Max-Forwards: 0"], False),
        (b"TRACE", [b"Max-Forwards: 1"], False),
        (b"TRACE", [], False),
        (b"TRACE", [b"Max-Forwards: 0"], True),
        (b"OPTIONS", [b"Max-Forwards: 00"], True),
    ],
)
def test_answers_here(method: bytes, lines: list[bytes], here: bool) -> None:
    """TRACE and OPTIONS end here at 0 (RFC 9110 section 7.6.2)."""
    assert hops.answers_here(asked(*lines, method=method)) is here


@pytest.mark.parametrize(
    "via", [b"1.1 px", b"1.0 a, 1.1 px", b"HTTP/1.1 px (comment)", b"1.1 a,1.1 px,1.1 b"]
)
def test_loop(via: bytes) -> None:
    """Our name in Via means that we have seen this request."""
    with pytest.raises(errors.LoopDetected):
        hops.check_loop(fields(b"Via: " + via), b"px")


@pytest.mark.parametrize(
    "via", [b"1.1 pxx", b"1.1 apx, 1.1 b", b"1.1 a (px)", b"px 1.1", b"1.1 a (1.1 px"]
)
def test_no_loop(via: bytes) -> None:
    """Names that only look like ours, or stand elsewhere, are others'."""
    hops.check_loop(fields(b"Via: " + via), b"px")
    hops.check_loop(fields(b"Via: 1.1 "), b"")
    hops.check_loop(fields(), b"px")


def test_traced() -> None:
    """TRACE shows the request as it arrived, but none of its secrets."""
    secrets = [b"Cookie: a", b"Authorization: b", b"proxy-authorization: c"]
    shown = hops.traced(asked(b"Host: a.example", *secrets, b"x-B:1", method=b"TRACE", minor=0))
    assert shown == b"TRACE http://a.example/ HTTP/1.0\r\nHost: a.example\r\nx-B:1\r\n\r\n"


@pytest.mark.parametrize(
    ("offer", "passed_on"),
    [
        (b"h2c", b""),
        (b"H2C, h2", b""),
        (b"HTTP/2.0", b""),
        (b"TLS/1.0, TLS/1.3", b""),
        (b"", b""),
        (b"websocket", b"websocket"),
        (b"h2c, WebSocket, other/2", b"WebSocket, other/2"),
    ],
)
def test_upgrade_offers(offer: bytes, passed_on: bytes) -> None:
    """Offers to switch go on, except to another HTTP and to TLS."""
    head = asked(b"Connection: keep-alive, upgrade", b"Upgrade: " + offer)
    lines = [b"Connection: Upgrade", b"Upgrade: " + passed_on] if passed_on else []
    assert sent(head) == lines
    assert hops.offers_upgrade(head) is bool(passed_on)


def test_no_upgrade_offers() -> None:
    """Without Connection, and in HTTP/1.0, Upgrade offers nothing (RFC 9110 section 7.8)."""
    for head in (
        asked(b"Upgrade: websocket"),
        asked(b"Connection: upgrade", b"Upgrade: websocket", minor=0),
        asked(b"Connection: upgrade"),
    ):
        assert not hops.offers_upgrade(head)
        assert sent(head) == []


def test_switching() -> None:
    """A 101 keeps Upgrade, names it in Connection, and loses what is for one hop."""
    lines = [b"upgrade: websocket", b"connection: upgrade, x-hop", b"X-Hop: 1", b"Sec-X: y"]
    head = ResponseHead(101, b"", 1, fields(*lines, b"Content-Length: 5"))
    expected = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-X: y", b"Via: 1.1 px"]
    assert hops.switching_lines(head, PLAIN) == expected


@pytest.mark.parametrize(
    ("status", "kept"), [(100, False), (103, False), (204, False), (200, True), (304, True)]
)
def test_content_length_of_responses(status: int, kept: bool) -> None:
    """Content-Length stays where it may stand (RFC 9110 section 8.6)."""
    assert bool(returned(b"Content-Length: 5", status=status)) is kept


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        b"Host: x",
        b"Authorization: x",
        b"Set-Cookie: a=b",
        b"Content-Type: text/html",
        b"Connection: close",
        b"Trailer: x",
        b"Via: 1.1 x",
    ],
)
def test_trailers_that_stay_here(line: bytes) -> None:
    """Trailers that would frame, route or authenticate are dropped (RFC 9110 section 6.5.1)."""
    passed = hops.trailer_fields(fields(line, b"X-Sum: 1", line.lower()))
    assert passed.lines == [b"X-Sum: 1"]


def test_no_trailers() -> None:
    """Nothing becomes nothing."""
    assert len(hops.trailer_fields(fields())) == 0


NAMES = st.sampled_from(
    b"Connection Keep-Alive TE X-A X-B Via Cookie Upgrade Max-Forwards Expect Forwarded "
    b"Proxy-Authorization Content-Length Transfer-Encoding Host".split()
)
VALUES = st.sampled_from([b"1", b"x-a", b"x-a, x-b", b"close", b"upgrade", b"websocket", b"0", b""])
LINES = st.lists(st.builds(lambda name, value: name + b": " + value, NAMES, VALUES), max_size=8)


@given(LINES)
def test_nothing_secret_ever_leaves(lines: list[bytes]) -> None:
    """However fields are mixed: one Host, one Via of ours, no credentials, no foreign framing."""
    passed = hops.request_lines(asked(*lines), HOST, "192.0.2.1", NO_BODY, PLAIN)
    names = [line.partition(b":")[0].lower() for line in passed]
    assert names.count(b"host") == 1
    assert passed[-1] == b"Via: 1.1 px"
    forbidden = {b"proxy-authorization", b"content-length", b"transfer-encoding", b"te"}
    assert forbidden.isdisjoint(names)
