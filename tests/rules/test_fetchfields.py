"""Promises of proxyapp.rules.fetchfields: which fields cross the content proxy, and what joins."""

from __future__ import annotations

import pytest

from proxyapp.rules import fetchfields
from proxyapp.rules.fetchfields import SAFETY, Changes, CrossOrigin
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import OutgoingResponse, RequestHead

NOW = 1_000_000.0  # Mon, 12 Jan 1970 13:46:40 GMT


def asking(*fields: tuple[bytes, bytes]) -> RequestHead:
    """Return the head of a request with *fields*."""
    return RequestHead(b"GET", b"/fetch?url=http://a/", 1, Fields(list(fields)))


def answering(*lines: bytes, status: int = 200) -> OutgoingResponse:
    """Return the head of an origin's answer."""
    return OutgoingResponse(status, b"", [], lines)


def changed(
    head: OutgoingResponse, ttl: float | None = None, content_type: bytes = b""
) -> list[bytes]:
    """Return the lines of *head* as the client gets them, in order."""
    outgoing = Changes([], ttl, content_type).outgoing(head, NOW)
    assert outgoing.status == head.status
    return [*outgoing.lines, *(b"%b: %b" % field for field in outgoing.fields)]


# --- There ---


@pytest.mark.parametrize(
    "name",
    [
        b"Cookie", b"Authorization", b"Proxy-Authorization", b"Referer", b"Origin", b"X-Api-Key",
        b"X-Real-Protocol", b"X-Forwarded-For", b"Forwarded", b"Host", b"Connection", b"Upgrade",
        b"Content-Length", b"Transfer-Encoding", b"Expect", b"TE", b"Max-Forwards",
        b"Sec-Fetch-Site", b"Cache-Control", b"Service-Worker",
    ],
)  # fmt: skip
def test_what_stays_here(name: bytes) -> None:
    """Nothing that says who asks, or is between the client and us, reaches an origin."""
    sent = fetchfields.sent_fields(
        asking((name, b"1"), (name.lower(), b"2"), (b"Accept", b"x")), 60
    )
    assert list(sent) == [(b"Accept", b"x")]


def test_what_is_sent() -> None:
    """What says which representation, and which part of it, is passed on as it is."""
    fields: RawFields = [
        (b"accept", b"a/b"),
        (b"ACCEPT", b"c/d"),
        (b"Accept-Encoding", b"gzip"),
        (b"Accept-Language", b"de"),
        (b"Range", b"bytes=1-"),
        (b"If-Range", b'"x"'),
        (b"If-Match", b'"x"'),
        (b"If-None-Match", b'"x"'),
        (b"If-Modified-Since", b"x"),
        (b"If-Unmodified-Since", b"x"),
        (b"User-Agent", b"x"),
        (b"Via", b"1.1 other"),
    ]
    assert list(fetchfields.sent_fields(asking(*fields), None)) == fields


def test_what_connection_names_stays_here() -> None:
    """A field that is for one hop is for us."""
    head = asking((b"Connection", b"close, Range"), (b"Range", b"bytes=1-"), (b"Accept", b"x"))
    assert list(fetchfields.sent_fields(head, None)) == [(b"Accept", b"x")]


def test_no_minutes_at_all() -> None:
    """cache=0 asks caches on the way not to answer, and not to store."""
    assert list(fetchfields.sent_fields(asking(), 0.0)) == [
        (b"Cache-Control", b"no-cache, no-store")
    ]


# --- Back ---


@pytest.mark.parametrize(
    "line",
    [
        b"Set-Cookie: a=b", b"set-cookie2: a=b", b"WWW-Authenticate: Basic realm=x",
        b"Clear-Site-Data: *", b"Strict-Transport-Security: max-age=9", b"Location: /x",
        b"Refresh: 0; url=/x", b"Link: </x>; rel=preload", b"Service-Worker-Allowed: /",
        b"Content-Security-Policy: default-src *", b"X-Content-Type-Options: sniff",
        b"Access-Control-Allow-Origin: null", b"Access-Control-Allow-Credentials: true",
        b"Content-Location: /x", b"Alt-Svc: h3", b"X-Accel-Redirect: /etc", b"SourceMap: /x",
        b"Report-To: {}", b"Server: x", b"Trailer: x", b"X-Tomorrow: 1",
    ],
)  # fmt: skip
def test_what_is_kept_from_the_client(line: bytes) -> None:
    """No field acts in the name of the gateway, today's or tomorrow's."""
    assert changed(answering(line, b"ETag: 1")) == [b"ETag: 1"]
    name, _, value = line.partition(b": ")
    assert changed(OutgoingResponse(200, b"", [(name, value)])) == []


def test_what_comes_back() -> None:
    """Type, coding, length, validators and lifetimes are the origin's."""
    lines = [
        b"content-type: text/html",
        b"Content-Encoding: gzip",
        b"Content-Length: 5",
        b"Content-Range: bytes 0-4/9",
        b'ETag: "x"',
        b"Last-Modified: x",
        b"Vary: Accept-Encoding",
        b"Vary: User-Agent",
        b"Cache-Control: no-store",
        b"Expires: 0",
        b"Age: 5",
        b"Via: 1.1 px",
    ]
    assert changed(answering(*lines)) == lines


def test_safety_comes_last() -> None:
    """What every answer gets is there once."""
    head = answering(b"x-content-type-options: no", b"ETag: 1")
    outgoing = Changes([*SAFETY], None, b"").outgoing(head, NOW)
    assert (list(outgoing.lines), outgoing.fields) == ([b"ETag: 1"], SAFETY)
    policy = dict(SAFETY)[b"Content-Security-Policy"]
    assert b"sandbox" in policy.split(b"; ")
    assert b"allow-scripts" not in policy


@pytest.mark.parametrize(
    ("cache_status", "left"),
    [
        (b"", 600),
        (b"Cache-Status: px; fwd=uri-miss; stored", 600),
        (b"Cache-Status: px; fwd=uri-miss; stored; ttl=599", 600),
        (b"Cache-Status: px; fwd=stale; fwd-status=304; ttl=599", 600),
        (b"Cache-Status: px; hit; ttl=250", 250),
        (b"Cache-Status: other; hit; ttl=9, px; hit;ttl=250", 250),
        (b"Cache-Status: px; hit; ttl=-5", 600),
        (b"Cache-Status: px; hit; ttl=99999", 600),
    ],
)
def test_minutes_for_the_browser(cache_status: bytes, left: int) -> None:
    """The browser keeps it as long as we do, whatever the origin said of it."""
    head = answering(b"Cache-Control: no-store", b"Pragma: no-cache", b"Expires: 0", b"Age: 7")
    lines = [*head.lines, cache_status] if cache_status else head.lines
    got = changed(answering(*lines), ttl=600.0)
    assert got[-2] == b"Cache-Control: public, max-age=%d" % left
    minutes, seconds = divmod(46 * 60 + 40 + left, 60)
    assert got[-1] == b"Expires: Mon, 12 Jan 1970 13:%02d:%02d GMT" % (minutes, seconds)
    assert got[:-2] == ([cache_status] if cache_status else [])


@pytest.mark.parametrize("status", [204, 301, 404, 416, 500, 503])
def test_failures_are_not_kept(status: int) -> None:
    """What isn't what was asked for keeps the lifetime and the type that the origin gave it."""
    head = answering(b"Cache-Control: max-age=1", b"Content-Type: a/b", status=status)
    assert changed(head, 600.0, b"text/plain") == list(head.lines)


def test_no_minutes_for_the_browser() -> None:
    """cache=0 is for the browser too."""
    assert changed(answering(b"Expires: 0"), ttl=0.0) == [b"Cache-Control: no-store"]


def test_another_type() -> None:
    """type= replaces the origin's, but for that of several ranges, which says how to read them."""
    head = answering(b"Content-Type: text/html", b"CONTENT-TYPE: x/y", b"ETag: 1")
    wanted = [b"ETag: 1", b"Content-Type: text/plain"]
    assert changed(head, content_type=b"text/plain") == wanted
    parts = b"Content-Type: Multipart/ByteRanges; boundary=x"
    assert changed(answering(parts, status=206), content_type=b"text/plain") == [parts]


@pytest.mark.parametrize(
    ("head", "location"),
    [
        (answering(b"location: /x", status=302), b"/x"),
        (OutgoingResponse(307, b"", [(b"Location", b"/y")]), b"/y"),
        (answering(b"Location: /x", status=200), None),
        (answering(b"Location: /x", status=304), None),
        (answering(b"Location: /x", status=300), None),
        (answering(b"Location:", status=301), None),
        (answering(status=303), None),
    ],
)
def test_redirects(head: OutgoingResponse, location: bytes | None) -> None:
    """Five statuses lead elsewhere, if they say where."""
    assert fetchfields.location(head) == location


# --- Pages of other origins ---

EVERYBODY = CrossOrigin(frozenset((b"*",)))
ONE = CrossOrigin(frozenset((b"https://app.example",)))
NOBODY = CrossOrigin(frozenset())
ALLOW = b"Access-Control-Allow-Origin"


@pytest.mark.parametrize(
    ("pages", "origin", "allowed"),
    [
        (NOBODY, b"https://app.example", None),
        (ONE, b"https://app.example.evil", None),
        (ONE, b"http://app.example", None),
        (ONE, b"null", None),
        (ONE, None, None),
        (ONE, b"https://App.example", b"https://App.example"),
        (EVERYBODY, b"null", b"*"),
        (EVERYBODY, None, b"*"),
    ],
)
def test_who_may_read(pages: CrossOrigin, origin: bytes | None, allowed: bytes | None) -> None:
    """Only pages of the listed origins may; caches are told that the answer depends on it."""
    head = asking((b"Origin", origin)) if origin else asking()
    fields = dict(pages.fields(head))
    assert fields.get(ALLOW) == allowed
    assert (fields.get(b"Vary") == b"Origin") is (pages is ONE)
    assert b"Access-Control-Allow-Credentials" not in fields
    asked = dict(pages.preflight(head))
    assert (b"Access-Control-Allow-Methods" in asked) is (allowed is not None)
