"""What may be stored, and what is."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching import storing
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.wire.messages import RequestHead
from tests.rules.caching.heads import (
    AN_HOUR,
    CHANGED_YESTERDAY,
    DATE,
    ETAG,
    NOW,
    date,
    dated,
    fields,
    request,
    response,
    stored,
)

CREDENTIALS = request(b"Authorization: Basic eDp5")
POST = request(method=b"POST")
COOKIE = b"Set-Cookie: a=b"


@pytest.mark.parametrize(
    "lines",
    [
        (b"Cache-Control: no-store",),
        (b"Cache-Control: No-StOrE, max-age=3600",),
        (b"Cache-Control: max-age=10000, no-store", dated(b"Expires", 10000)),
        (b"Cache-Control: private, max-age=3600",),
        (b"Cache-Control: max-age=3600", b"Cache-Control: private"),
        # Nothing to use it by.
        (),
        (b"Cache-Control: max-age=0",),
        (b"Cache-Control: public",),
        (b"Cache-Control: no-cache, max-age=3600",),
        (b"Expires: 0",),
        (dated(b"Expires", -1),),
        (b"Last-Modified: yesterday",),
        (b"CDN-Cache-Control: max-age=3600",),
        # No request could match.
        (AN_HOUR, b"Vary: *"),
        (AN_HOUR, b"Vary: *, *"),
        (AN_HOUR, b"Vary: , *"),
        (AN_HOUR, b"Vary: ", b"Vary: *"),
        (AN_HOUR, b"Vary: *, Foo"),
        (AN_HOUR, b"Vary: Foo, *"),
        (AN_HOUR, b"Vary: " + b", ".join(b"x%d" % number for number in range(40))),
        # Cookies that nobody said may be shared.
        (COOKIE, CHANGED_YESTERDAY),
        (COOKIE, ETAG, b"Cache-Control: no-cache"),
        (COOKIE, ETAG, b"Cache-Control: max-age=0"),
        (COOKIE, ETAG, b"Expires: 0"),
        (b"Set-Cookie2: a=b", ETAG),
    ],
)
def test_not_stored(lines: tuple[bytes, ...]) -> None:
    """What forbids it, or leaves no use for it, keeps a 200 out of the cache."""
    assert storing.refusal(request(), response(*lines), DEFAULT)


@pytest.mark.parametrize(
    "lines",
    [
        (AN_HOUR,),
        (b"Cache-Control: s-maxage=3600",),
        (b"Cache-Control: max-age=0, s-maxage=5",),
        (b"Cache-Control: max-age=0, stale-while-revalidate=5",),
        (b"Cache-Control: max-age=99999999999",),
        (dated(b"Expires", 3600),),
        (b"Cache-Control: no-cache", ETAG),
        (b"Cache-Control: max-age=0", CHANGED_YESTERDAY),
        (CHANGED_YESTERDAY,),
        (ETAG,),
        (b'Cache-Control: private="a", max-age=5',),
        (AN_HOUR, b"Vary: Foo, Bar"),
        (AN_HOUR, b"Pragma: no-cache"),
        (AN_HOUR, b"CDN-Cache-Control: no-store"),
        (AN_HOUR, b"Content-Disposition: attachment"),
        (AN_HOUR, COOKIE),
        (b"Cache-Control: public", ETAG, COOKIE),
        (b'Cache-Control: no-cache="set-cookie"', CHANGED_YESTERDAY, COOKIE),
        (dated(b"Expires", 60), COOKIE),
    ],
)
def test_stored(lines: tuple[bytes, ...]) -> None:
    """A 200 that is good for something is stored."""
    assert storing.refusal(request(), response(*lines), DEFAULT) == ""


def test_expires_without_date() -> None:
    """A date in Expires is a lifetime also where Date is missing or broken."""
    head = response(dated(b"Expires", 10), is_dated=False)
    assert not storing.refusal(request(), head, DEFAULT)
    assert not storing.refusal(request(), response(dated(b"Expires", 10), b"Date: foo"), DEFAULT)
    cookie = response(dated(b"Expires", -10), ETAG, COOKIE, is_dated=False)
    assert storing.refusal(request(), cookie, DEFAULT)


@pytest.mark.parametrize(
    ("status", "is_stored"),
    [(status, False) for status in (100, 103, 199, 206, 304, 401, 407, 412, 416, 421, 429, 511)]
    + [
        (status, True)
        for status in (200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499)
    ]
    + [(status, True) for status in (500, 502, 503, 504, 599)],
)
def test_statuses_with_a_lifetime(status: int, is_stored: bool) -> None:
    """Any final status may be stored with a lifetime, but for those about one request."""
    assert (not storing.refusal(request(), response(AN_HOUR, status=status), DEFAULT)) is is_stored


@pytest.mark.parametrize("status", [201, 302, 307, 400, 403, 500, 503, 599])
def test_statuses_without_a_lifetime(status: int) -> None:
    """A validator alone lets only what may have a heuristic lifetime be stored."""
    for control in (b"no-cache", b"must-revalidate", b"must-understand"):
        head = response(ETAG, CHANGED_YESTERDAY, b"Cache-Control: " + control, status=status)
        assert storing.refusal(request(), head, DEFAULT)
    for line in (b"Cache-Control: public", b"Cache-Control: max-age=0", b"Expires: 0"):
        assert not storing.refusal(request(), response(ETAG, line, status=status), DEFAULT)


@pytest.mark.parametrize(
    ("status", "control", "is_stored"),
    [
        (599, b"max-age=3600, no-store, must-understand", False),
        (599, b"max-age=3600, must-understand", False),
        (200, b"max-age=3600, no-store, must-understand", True),
        (404, b"max-age=3600, must-understand", True),
    ],
)
def test_must_understand(status: int, control: bytes, is_stored: bool) -> None:
    """must-understand is for caches that know the status, and no-store for the others."""
    head = response(b"Cache-Control: " + control, status=status)
    assert (not storing.refusal(request(), head, DEFAULT)) is is_stored


@pytest.mark.parametrize(
    ("asked", "control", "is_stored"),
    [
        (request(b"Cache-Control: no-store"), b"max-age=3600", False),
        (request(b"Cache-Control: x, No-Store"), b"max-age=3600", False),
        (request(method=b"HEAD"), b"max-age=3600", False),
        (request(method=b"PUT"), b"max-age=3600", False),
        (request(method=b"get"), b"max-age=3600", False),
        (POST, b"max-age=3600", False),
        (request(b"Connection: upgrade", b"Upgrade: websocket"), b"max-age=3600", False),
        (CREDENTIALS, b"max-age=3600", False),
        (CREDENTIALS, b"max-age=3600, proxy-revalidate", False),
        (CREDENTIALS, b"max-age=3600, public, private", False),
        (CREDENTIALS, b"max-age=3600, public", True),
        (CREDENTIALS, b"max-age=3600, must-revalidate", True),
        (CREDENTIALS, b"s-maxage=3600", True),
        (request(b"Cookie: a=b"), b"max-age=3600", True),
        (request(b"Cache-Control: no-cache"), b"max-age=3600", True),
        (request(b"Connection: upgrade", b"Upgrade: h2c"), b"max-age=3600", True),
    ],
)
def test_requests(asked: RequestHead, control: bytes, is_stored: bool) -> None:
    """The request has a say: its method, its credentials, its no-store."""
    head = response(b"Cache-Control: " + control)
    assert (not storing.refusal(asked, head, DEFAULT)) is is_stored


@pytest.mark.parametrize(
    ("target", "lines", "is_stored"),
    [
        (b"http://a/x", (AN_HOUR,), False),
        (b"http://a/x", (AN_HOUR, b"Content-Location: /y"), False),
        (b"http://a/x", (AN_HOUR, b"Content-Location: http://b/x"), False),
        (b"http://a/x", (AN_HOUR, b"Content-Location: ftp://a/x"), False),
        (b"http://a/x", (ETAG, b"Content-Location: /x"), False),
        (b"http://a/x", (b"Cache-Control: public", b"Content-Location: /x"), False),
        (b"a", (AN_HOUR, b"Content-Location: /x"), False),
        (b"http://a/x", (AN_HOUR, b"Content-Location: /x"), True),
        (b"http://a:80/x", (AN_HOUR, b"Content-Location: http://a/x"), True),
        (b"/x", (AN_HOUR, b"Content-Location: /x"), True),
    ],
)
def test_post(target: bytes, lines: tuple[bytes, ...], is_stored: bool) -> None:
    """An answer to POST serves GET where it says that it is of this URL, and for how long."""
    asked = request(b"Content-Length: 5", method=b"POST", target=target)
    assert (not storing.refusal(asked, response(*lines), DEFAULT)) is is_stored


@pytest.mark.parametrize(
    ("policy", "ttl", "lines", "is_stored"),
    [
        (Policy(is_off=True), 60, (AN_HOUR,), False),
        (Policy(ttl=60), None, (), True),
        (Policy(ttl=0), None, (), False),
        (Policy(ttl=60), 0, (), False),
        (DEFAULT, 60, (), True),
        (DEFAULT, 60, (b"Cache-Control: no-cache",), True),
        (DEFAULT, 60, (b"Cache-Control: no-store",), False),
        (DEFAULT, 60, (b"Cache-Control: private",), False),
        (DEFAULT, 60, (COOKIE,), False),
        (Policy(ignore=frozenset((b"no-store",))), 60, (b"Cache-Control: no-store",), True),
        (Policy(ignore=frozenset((b"private",))), 60, (b"Cache-Control: private",), True),
        (Policy(ignore=frozenset((b"vary",))), None, (AN_HOUR, b"Vary: *"), True),
        (Policy(ignore=frozenset((b"set-cookie",))), None, (ETAG, COOKIE), True),
        (Policy(ignore_cookies=True), None, (ETAG, COOKIE), True),
    ],
)
def test_policies(
    policy: Policy, ttl: float | None, lines: tuple[bytes, ...], is_stored: bool
) -> None:
    """A rule may allow more than the origin does, by name; a ttl alone is no permission."""
    assert (not storing.refusal(request(), response(*lines), policy, ttl)) is is_stored


def test_ttl_is_not_for_failures() -> None:
    """A lifetime given by a rule says nothing of errors or of temporary redirections."""
    policy = Policy(ttl=60)
    heads = {status: response(status=status) for status in (200, 301, 404, 302, 403, 500, 503)}
    refused = {status for status, head in heads.items() if storing.refusal(request(), head, policy)}
    assert refused == {302, 403, 500, 503}


# What is stored.


def test_fields_of_the_hop_are_not_stored() -> None:
    """Hop-by-hop fields go, and those that Connection names; the rest stays as it was spelled."""
    entry = stored(
        b"Connection: a, B, cache-control, date, close",
        b"A: 1",
        b"b: 2",
        b"c: 3",
        AN_HOUR,
        b"Keep-Alive: x",
        b"Proxy-Authenticate: x",
        b"Proxy-Authentication-Info: x",
        b"Proxy-Authorization: x",
        b"Proxy-Connection: x",
        b"TE: x",
        b"Trailer: x",
        b"Transfer-Encoding: chunked",
        b"Upgrade: x",
        b"Age: 5",
        b"Content-Length: 3",
    )
    assert entry.fields.lines == [b"c: 3", AN_HOUR, b"Content-Length: 3", DATE]
    assert (entry.status, entry.reason, entry.total) == (200, b"Reason", 3)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Encoding: gzip",
        b"Content-Range: x",
        b"Content-MD5: x",
        b"Clear-Site-Data: cache",
        b"Set-Cookie: a=c",
        b"Set-Cookie2: a=c",
        b"X-Frame-Options: sameorigin",
        b"Proxy-Status: x",
        b"Via: 1.1 x",
    ],
)
def test_other_fields_are_stored(line: bytes) -> None:
    """All end-to-end fields are stored."""
    assert line in stored(AN_HOUR, line).fields.lines


def test_named_fields_are_not_stored() -> None:
    """What no-cache or private name is left out; nothing can name what a response is read by."""
    entry = stored(b'Cache-Control: no-cache="a, date", private="B"', b"A: 1", b"b: 2", b"c: 3")
    assert list(entry.fields.names()) == [b"cache-control", b"c", b"date"]


def test_ignored_cookies_are_not_stored() -> None:
    """Where cookies are ignored they are handed to nobody else."""
    for policy in (Policy(ignore_cookies=True), Policy(ignore=frozenset((b"set-cookie",)))):
        assert b"set-cookie" not in stored(AN_HOUR, COOKIE, policy=policy).fields


def test_times() -> None:
    """Age moves back when it was asked for, and Date is added where there is none."""
    head = response(AN_HOUR, b"Age: 30", is_dated=False)
    entry = storing.stored(request(), head, DEFAULT, NOW - 2, NOW, 9.0)
    assert (entry.asked_at, entry.arrived_at, entry.ttl) == (NOW - 32, NOW, 9.0)
    assert entry.fields.get(b"date") == date()


def test_what_vary_names() -> None:
    """What the request said in the fields that Vary names is stored, normalised."""
    asked = request(b"Foo: 1,2", b"Accept-Encoding: GZIP", b"Other: x")
    entry = stored(AN_HOUR, b"Vary: foo, Bar,accept-encoding", b"vary: FOO", asked=asked)
    assert entry.varying == ((b"accept-encoding", b"gzip"), (b"bar", None), (b"foo", b"1, 2"))
    ignoring = Policy(ignore=frozenset((b"vary",)))
    assert stored(AN_HOUR, b"Vary: foo", asked=asked, policy=ignoring).varying == ()


# Parts.


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ((), None),
        ((b"Content-Range: bytes */10",), None),
        ((b"Content-Range: bytes 5-4/10",), None),
        ((b"Content-Range: bytes 5-10/10",), None),
        ((b"Content-Range: bytes 5-9/10, bytes 5-9/10",), None),
        ((b"Content-Range: lines 5-9/10",), None),
        ((b"Content-Range: bytes 4-9/10", b"Content-Length: 5"), None),
        ((b"Content-Type: multipart/byteranges; boundary=x",), None),
        ((b"Content-Range: bytes 5-9/10",), (5, 10, 10)),
        ((b"Content-Range: BYTES 0-0/1", b"Content-Length: 1"), (0, 1, 1)),
        ((b"Content-Range: bytes 5-9/*",), (5, 10, None)),
    ],
)
def test_parts(lines: tuple[bytes, ...], part: tuple[int, int, int | None] | None) -> None:
    """A 206 is one range of bytes, whose length is right, or it is of no use."""
    head = response(AN_HOUR, *lines, status=206)
    assert storing.part_of(head) == part
    asked = request(b"Range: bytes=5-9")
    assert (not storing.refusal(asked, head, DEFAULT)) is (part is not None)
    assert storing.refusal(request(), head, DEFAULT)


def test_a_part_is_stored_as_its_whole() -> None:
    """What is stored of a 206 is the head that the whole would have."""
    part = (b"Content-Range: bytes 5-9/10", b"Content-Length: 5", b"A: 1")
    entry = stored(AN_HOUR, *part, status=206)
    assert (entry.status, entry.reason, entry.total) == (200, b"OK", 10)
    assert entry.fields.lines == [AN_HOUR, b"A: 1", DATE, b"Content-Length: 10"]
    unknown = stored(AN_HOUR, b"Content-Range: bytes 5-9/*", b"Content-Length: 5", status=206)
    assert unknown.total is None
    assert unknown.fields == fields(AN_HOUR, DATE)


@pytest.mark.parametrize("length", [b"x", b"-1", b"1, 1", b"", b"9" * 30])
def test_a_size_that_is_no_number(length: bytes) -> None:
    """A Content-Length that can't be read says nothing of the total."""
    assert stored(AN_HOUR, b"Content-Length: " + length).total is None
