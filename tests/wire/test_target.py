"""Targets and Hosts name one origin, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.wire import target
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.target import Form, Origin, Target

BAD_TARGETS = [
    (b"GET", b""),
    (b"GET", b"/#fragment"),
    (b"GET", b"*"),
    (b"options", b"*"),
    (b"GET", b"example.com"),
    (b"GET", b"example.com:80"),
    (b"GET", b"?a=b"),
    (b"GET", b"\\\\host\\share"),
    (b"GET", b"://host/"),
    (b"GET", b"http:/host/"),
    (b"GET", b"http:host"),
    (b"GET", b"http:///path"),
    (b"GET", b"http://?a"),
    (b"GET", b"ftp://host/"),
    (b"GET", b"javascript://host/"),
    (b"GET", b"?u=http://host/"),
    (b"CONNECT", b"/"),
    (b"CONNECT", b"*"),
    (b"CONNECT", b"host"),
    (b"CONNECT", b"host:"),
    (b"CONNECT", b"[::1]"),
    (b"CONNECT", b"[::1]:"),
    (b"CONNECT", b"http://host:443"),
    (b"CONNECT", b"host:443/"),
    (b"CONNECT", b"user@host:443"),
]


@pytest.mark.parametrize(("method", "raw"), BAD_TARGETS)
def test_what_no_target_is(method: bytes, raw: bytes) -> None:
    """RFC 9112 section 3.2 knows four forms, and nothing else is guessed at."""
    with pytest.raises(errors.BadRequest):
        target.parse_target(method, raw)


EXAMPLE = Origin("http", "example.com", 80)
TARGETS = [
    (b"GET", b"/", Target(Form.ORIGIN, None, b"/")),
    (b"GET", b"//host/x", Target(Form.ORIGIN, None, b"//host/x")),
    (b"GET", b"/a?b=http://c/", Target(Form.ORIGIN, None, b"/a?b=http://c/")),
    (b"GET", b'/|{}"<>^`\\', Target(Form.ORIGIN, None, b'/|{}"<>^`\\')),
    (b"OPTIONS", b"*", Target(Form.ASTERISK, None, b"*")),
    (b"GET", b"http://example.com", Target(Form.ABSOLUTE, EXAMPLE, b"/", b"example.com")),
    (b"GET", b"HTTP://Example.COM/A", Target(Form.ABSOLUTE, EXAMPLE, b"/A", b"Example.COM")),
    (b"GET", b"http://example.com?q/r", Target(Form.ABSOLUTE, EXAMPLE, b"/?q/r", b"example.com")),
    (b"GET", b"http://example.com:/", Target(Form.ABSOLUTE, EXAMPLE, b"/", b"example.com:")),
    (
        b"GET",
        b"http://example.com.:080/",
        Target(Form.ABSOLUTE, EXAMPLE, b"/", b"example.com.:080"),
    ),
    (b"OPTIONS", b"http://example.com", Target(Form.ABSOLUTE, EXAMPLE, b"*", b"example.com")),
    (b"OPTIONS", b"http://example.com/", Target(Form.ABSOLUTE, EXAMPLE, b"/", b"example.com")),
    (
        b"GET",
        b"https://[::FFFF:1]:8443/x://y",
        Target(Form.ABSOLUTE, Origin("https", "::ffff:1", 8443), b"/x://y", b"[::FFFF:1]:8443"),
    ),
    (
        b"GET",
        b"http://HTTPS///example.com/",
        Target(Form.ABSOLUTE, Origin("http", "https", 80), b"///example.com/", b"HTTPS"),
    ),
    (
        b"CONNECT",
        b"Example.com:443",
        Target(Form.AUTHORITY, Origin("connect", "example.com", 443), b"", b"Example.com:443"),
    ),
    (
        b"CONNECT",
        b"[::1]:22",
        Target(Form.AUTHORITY, Origin("connect", "::1", 22), b"", b"[::1]:22"),
    ),
]


@pytest.mark.parametrize(("method", "raw", "parsed"), TARGETS)
def test_the_four_forms_are_told_apart(method: bytes, raw: bytes, parsed: Target) -> None:
    """Form, origin and path come out, the path as it was spelled."""
    assert target.parse_target(method, raw) == parsed


@pytest.mark.parametrize("raw", [b"/a", b"http://example.com/a", b"http://example.com/b"])
def test_what_was_asked_before_means_the_same(raw: bytes) -> None:
    """Whatever the method, but for CONNECT, whose target is none of these."""
    first = target.parse_target(b"GET", raw)
    assert target.parse_target(b"GET", raw) == first
    assert target.parse_target(b"brew", raw) == first == target.parse_target(b"GET", raw)
    with pytest.raises(errors.BadRequest):
        target.parse_target(b"CONNECT", raw)


def test_many_origins() -> None:
    """Clients choose them, and what is remembered of them has a bound."""
    many = [b"http://host%d.example/%d" % (number, number) for number in range(3000)]
    for _ in range(2):
        for number, raw in enumerate(many):
            parsed = target.parse_target(b"GET", raw)
            assert (parsed.authority, parsed.path) == (b"host%d.example" % number, b"/%d" % number)
    assert len(target._PREFIXES) <= 1024


BAD_AUTHORITIES = [
    b"",
    b":80",
    b".",
    b"a..b",
    b".a",
    b"a..",
    b"-a",
    b"a b",
    b"a,b",
    b"a%2eb",
    b"caf\xe9",
    b"user@a",
    b"user:password@a",
    b"a:0",
    b"a:65536",
    b"a:123456",
    b"a:+80",
    b"a:80:80",
    b"a:http",
    b"a" * 64,
    b".".join([b"a" * 62] * 5),
    b"::1",
    b"[::1",
    b"[::1]80",
    b"[]",
    b"[1.2.3.4]",
    b"[::1%25lo]",
    b"[fe80::1%eth0]",
    b"[v1.a]",
    b"1.2.3",
    b"127.1",
    b"1.2.3.256",
    b"1.2.3.04",
    b"2130706433",
    b"0x7f.1",
    b"a.0x7f000001",
    b"0x",
]


@pytest.mark.parametrize("authority", BAD_AUTHORITIES)
@pytest.mark.parametrize("port", [b"", b":443"])
def test_what_no_authority_is(authority: bytes, port: bytes) -> None:
    """What two readers could take for two hosts is refused, with a port behind it or without."""
    with pytest.raises(errors.BadRequest):
        target.parse_authority("http", authority)
    with pytest.raises(errors.BadRequest):
        target.parse_authority("connect", authority + port)


@pytest.mark.parametrize(
    ("authority", "origin", "normal"),
    [
        (b"a", Origin("http", "a", 80), b"a"),
        (b"A.b.:81", Origin("http", "a.b", 81), b"a.b:81"),
        (b"_x-.a--b", Origin("http", "_x-.a--b", 80), b"_x-.a--b"),
        (b"xn--caf-dma.example", Origin("http", "xn--caf-dma.example", 80), b"xn--caf-dma.example"),
        (b"1.2.3.4:80", Origin("http", "1.2.3.4", 80), b"1.2.3.4"),
        (b"1.2.3.4.", Origin("http", "1.2.3.4", 80), b"1.2.3.4"),
        (b"3com.com", Origin("http", "3com.com", 80), b"3com.com"),
        (b"[0:0::0001]:443", Origin("http", "::1", 443), b"[::1]:443"),
        (b"[::1]:", Origin("http", "::1", 80), b"[::1]"),
    ],
)
def test_authorities_have_one_spelling(authority: bytes, origin: Origin, normal: bytes) -> None:
    """The origin is the pool's key; its authority goes into Host."""
    assert target.parse_authority("http", authority) == origin
    assert origin.authority == normal
    assert target.parse_authority("http", normal) == origin


@given(
    st.sampled_from(["http", "https"]),
    st.one_of(
        st.from_regex(r"[a-z_][a-z0-9_-]{0,20}(\.[a-z_][a-z0-9_-]{0,20}){0,3}", fullmatch=True),
        st.ip_addresses().map(str),
    ),
    st.integers(1, 65535),
)
def test_an_origin_survives_its_spelling(scheme: str, host: str, port: int) -> None:
    """Origin to authority and back is the same origin."""
    origin = Origin(scheme, host, port)
    back = target.parse_authority(scheme, origin.authority)
    assert (back.scheme, back.port) == (scheme, port)
    assert back.authority == origin.authority or ":" in host


BAD_HOSTS = [
    (b"GET", b"/", b"a b"),
    (b"GET", b"/", b"a,b"),
    (b"GET", b"/", b"a/b"),
    (b"GET", b"/", b"http://a"),
    (b"GET", b"/", b"user@a"),
    (b"GET", b"/", b"a:99999"),
    (b"GET", b"/", b":80"),
    (b"OPTIONS", b"*", b"a\\b"),
    (b"GET", b"http://a/", b""),
    (b"GET", b"http://a/", b"b"),
    (b"GET", b"http://a/", b"a:81"),
    (b"GET", b"http://a:81/", b"a"),
    (b"GET", b"https://a/", b"a:80"),
    (b"GET", b"http://a/", b"a:443"),
    (b"GET", b"http://a/", b"a, a"),
    (b"GET", b"http://[::1]/", b"::1"),
    (b"GET", b"http://a/", b"a.evil.example"),
    (b"CONNECT", b"a:443", b""),
    (b"CONNECT", b"a:443", b"b"),
    (b"CONNECT", b"a:443", b"b:443"),
    (b"CONNECT", b"a:443", b"a:80"),
    (b"CONNECT", b"a:443", b"a:443:443"),
    (b"CONNECT", b"[::1]:443", b"[::2]"),
]


@pytest.mark.parametrize(("method", "raw", "host"), BAD_HOSTS)
def test_a_host_that_says_something_else_is_refused(method: bytes, raw: bytes, host: bytes) -> None:
    """RFC 9112 section 3.2: 400 for an invalid Host; two origins in one request are as bad."""
    parsed = target.parse_target(method, raw)
    with pytest.raises(errors.BadRequest, match="Host"):
        target.check_host(parsed, Fields([(b"Host", host)]))


@pytest.mark.parametrize(
    ("method", "raw", "host"),
    [
        (b"GET", b"/", b""),
        (b"GET", b"/", b"gateway.lan:8080"),
        (b"GET", b"/", b"[::1]:8080"),
        (b"OPTIONS", b"*", b""),
        (b"OPTIONS", b"*", b"a"),
        (b"GET", b"http://a/", b"a"),
        (b"GET", b"http://a/", b"A"),
        (b"GET", b"http://a/", b"a:80"),
        (b"GET", b"http://a:80/", b"a"),
        (b"GET", b"http://a:/", b"a"),
        (b"GET", b"http://a./", b"a"),
        (b"GET", b"https://a/", b"a:443"),
        (b"GET", b"http://[0::1]:8080/", b"[::1]:8080"),
        (b"CONNECT", b"a:443", b"a:443"),
        (b"CONNECT", b"a:443", b"A"),
        (b"CONNECT", b"a:443", b"a:"),
        (b"CONNECT", b"a:8443", b"a"),
        (b"CONNECT", b"[::1]:443", b"[0::1]"),
    ],
)
def test_a_host_that_agrees_passes(method: bytes, raw: bytes, host: bytes) -> None:
    """Case, the default port and the spelling of an address don't matter."""
    target.check_host(target.parse_target(method, raw), Fields([(b"Host", host)]))


@pytest.mark.parametrize("raw", [b"/", b"http://a/"])
def test_no_host_at_all_is_not_judged_here(raw: bytes) -> None:
    """HTTP/1.0 requests have none, and parse_request has seen to those of HTTP/1.1."""
    target.check_host(target.parse_target(b"GET", raw), NO_FIELDS)


def test_a_target_made_without_its_spelling_is_compared_by_origin() -> None:
    """The raw authority is a short cut, not a condition."""
    parsed = Target(Form.ABSOLUTE, EXAMPLE, b"/")
    target.check_host(parsed, Fields([(b"Host", b"example.com:80")]))
    with pytest.raises(errors.BadRequest):
        target.check_host(parsed, Fields([(b"Host", b"example.org")]))
