"""Promises of proxyapp.rules.wayback: each side reads URLs that it can follow, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.domains import Domains
from proxyapp.rules.upgrade import Spellings
from proxyapp.rules.wayback import Cookies, Keeping, WayBack
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import parse_target

FIELD = (b"X-Real-Protocol", b"https")
SPELLINGS = Spellings(b"x-real-protocol", Domains([b".l.example"]))
URL = b"https://l.example/d/"
PREFIX = b"http://HTTPS///a.example:8443/d/"
LISTED = b"http://l.example/d/"
ASKED = b"http://a.example/d/"
KEEP = Keeping(Cookies.KEEP, hsts=False)


def way(url: bytes, keeping: Keeping = KEEP) -> WayBack:
    """Return the way back of a GET of *url* that has the field."""
    fields = Fields([FIELD])
    target = SPELLINGS.canonical(parse_target(b"GET", url), fields)
    return WayBack(SPELLINGS, keeping, RequestHead(b"GET", url, 1, fields), target)


# --- To the client ---


@pytest.mark.parametrize(
    ("asked", "url", "expected"),
    [
        # What the client can't ask for in its spelling stays, and so does what isn't https.
        (ASKED, b"https://b.example/x", b"https://b.example/x"),
        (ASKED, b"https://a.example:80/x", b"https://a.example:80/x"),
        (ASKED, b"https://www.a.example/", b"https://www.a.example/"),
        (ASKED, b"https://a.example@b.example/", b"https://a.example@b.example/"),
        (ASKED, b"https://a.example%40/", b"https://a.example%40/"),
        (ASKED, b"https:a", b"https:a"),
        (ASKED, b"https:/a", b"https:/a"),
        (ASKED, b"http://a.example/x", b"http://a.example/x"),
        (ASKED, b"ftp://a.example/x", b"ftp://a.example/x"),
        (ASKED, b"mailto:a@a.example", b"mailto:a@a.example"),
        (ASKED, b"", b""),
        (ASKED, b"/x?y", b"/x?y"),
        (ASKED, b"x", b"x"),
        (LISTED, b"https://a.example/", b"https://a.example/"),
        # Without a scheme it would be read as http.
        (ASKED, b"//b.example/x", b"https://b.example/x"),
        (LISTED, b"//b.example", b"https://b.example"),
        # The field goes along to the same host.
        (ASKED, b"https://a.example/x#y", b"http://a.example/x#y"),
        (ASKED, b"HTTPS://A.Example:443?x", b"http://a.example?x"),
        (ASKED, b"https://a.example", b"http://a.example"),
        (ASKED, b"https://a.example:8443/", b"http://a.example:8443/"),
        (ASKED, b"//a.example/x", b"http://a.example/x"),
        (b"http://a.example:443/", b"https://a.example/", b"http://a.example:443/"),
        (b"http://a.example:80/", b"https://a.example/", b"http://a.example:80/"),
        # A listed host needs no field.
        (ASKED, b"https://www.l.example/x", b"http://www.l.example/x"),
        (LISTED, b"https://l.example/x", b"http://l.example/x"),
        (LISTED, b"https://www.l.example:444/x", b"http://www.l.example:444/x"),
        # The prefix is good for every host; what isn't absolute would be taken for the prefix's.
        (PREFIX, b"https://b.example/x", b"http://HTTPS///b.example/x"),
        (PREFIX, b"https://b.example:80?x", b"http://HTTPS///b.example:80?x"),
        (PREFIX, b"//b.example/x", b"http://HTTPS///b.example/x"),
        (PREFIX, b"/x?y", b"http://HTTPS///a.example:8443/x?y"),
        (PREFIX, b"http://b.example/x", b"http://b.example/x"),
        (PREFIX, b"x", b"x"),
        (b"http://https://a.example/", b"https://b.example/", b"http://https://b.example/"),
        (PREFIX.replace(b"///", b"//", 1), b"https://b.example/", b"http://HTTPS//b.example/"),
    ],
)
def test_urls(asked: bytes, url: bytes, expected: bytes) -> None:
    """A URL of an answer comes in the client's spelling, where there is one for it."""
    assert way(asked).url(url) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"Location: https://l.example/x", b"Location: http://l.example/x"),
        (b"LOCATION:https://l.example/x", b"LOCATION: http://l.example/x"),
        (b"Content-Location: https://l.example/x", b"Content-Location: http://l.example/x"),
        (b"Refresh: 5", b"Refresh: 5"),
        (b"Refresh: 5; url=https://l.example/", b"Refresh: 5; url=http://l.example/"),
        (b"refresh: 0,URL='https://l.example/x'", b"refresh: 0,URL='http://l.example/x'"),
        (
            b'Link: <https://l.example/2>; rel="next", <https://a.example/>; rel=x',
            b'Link: <http://l.example/2>; rel="next", <https://a.example/>; rel=x',
        ),
        (
            b"Access-Control-Allow-Origin: https://www.l.example",
            b"Access-Control-Allow-Origin: http://www.l.example",
        ),
        (b"Access-Control-Allow-Origin: *", b"Access-Control-Allow-Origin: *"),
        (b"Access-Control-Allow-Origin: null", b"Access-Control-Allow-Origin: null"),
        (b"Content-Type: https://l.example/x", b"Content-Type: https://l.example/x"),
        (b"X-Location: https://l.example/x", b"X-Location: https://l.example/x"),
        (b"Vary: X-Real-Protocol", b"Vary: X-Real-Protocol"),
        (b'Alt-Svc: h3=":443"; ma=86400', None),
        (b"strict-transport-security: max-age=31536000", None),
    ],
)
def test_lines(line: bytes, expected: bytes | None) -> None:
    """The lines that hold URLs are rewritten, and those that would bind the client to TLS go."""
    rest = [b"Date: now", b"Server: x"]
    found = way(LISTED).answer_lines([rest[0], line, rest[1]])
    assert list(found) == [rest[0], *([] if expected is None else [expected]), rest[1]]
    assert list(way(URL).answer_lines([line])) == [line]


@pytest.mark.parametrize("cookie", [b"a=b", b"a=secure", b"a=b; Path=/secure", b"secure=1; x=y"])
@pytest.mark.parametrize("cookies", list(Cookies))
def test_cookies_that_are_not_secure(cookie: bytes, cookies: Cookies) -> None:
    """A cookie that may travel in clear text stays as it is."""
    line = b"Set-Cookie: " + cookie
    assert way(LISTED, Keeping(cookies, hsts=False)).answer_lines([line]) == [line]


@pytest.mark.parametrize(
    ("cookie", "plain"),
    [
        (b"a=b;secure", b"a=b"),
        (b"a=b; Secure; HttpOnly", b"a=b; HttpOnly"),
        (b"a=b; Path=/; SECURE ", b"a=b; Path=/"),
        (b"a=b; SameSite=None; Secure; Partitioned; Path=/", b"a=b; Path=/"),
        (b"a=b; SameSite=Lax; Secure", b"a=b; SameSite=Lax"),
    ],
)
def test_secure_cookies(cookie: bytes, plain: bytes) -> None:
    """They are kept, or freed of what needs TLS, or dropped."""
    line = b"Set-Cookie: " + cookie
    found = {
        cookies: way(ASKED, Keeping(cookies, hsts=False)).answer_lines([line])
        for cookies in Cookies
    }
    kept, freed = [line], [b"Set-Cookie: " + plain]
    assert found == {Cookies.KEEP: kept, Cookies.PLAIN: freed, Cookies.DROP: []}


@pytest.mark.parametrize(("cookies", "is_kept"), [("keep", True), ("plain", False)])
def test_cookies_behind_the_prefix(cookies: str, is_kept: bool) -> None:
    """The client takes all hosts for one there, and would show each the cookies of the others."""
    line = b"Set-Cookie: a=b"
    found = way(PREFIX, Keeping(Cookies(cookies), hsts=False)).answer_lines([line])
    assert list(found) == ([line] if is_kept else [])


def test_hsts_is_kept_on_demand() -> None:
    """Who wants it gets it."""
    line = b"Strict-Transport-Security: max-age=1"
    assert way(ASKED, Keeping(Cookies.KEEP, hsts=True)).answer_lines([line]) == [line]


# --- To the origin ---


@pytest.mark.parametrize(
    ("asked", "field", "expected"),
    [
        (ASKED, (b"Referer", b"http://b.example/"), b"Referer: http://b.example/"),
        (ASKED, (b"Referer", b"about:blank"), b"Referer: about:blank"),
        (ASKED, (b"Referer", b"/x"), b"Referer: /x"),
        (ASKED, (b"Referer", b"https://a.example/x"), b"Referer: https://a.example/x"),
        (ASKED, (b"Referer", b"http://a.example@b/"), b"Referer: http://a.example@b/"),
        (ASKED, (b"Referer", b"http://a.example/x"), b"Referer: https://a.example/x"),
        (ASKED, (b"referer", b"HTTP://A.example:80/"), b"referer: https://a.example/"),
        (ASKED, (b"Referer", b"http://l.example/x"), b"Referer: https://l.example/x"),
        (LISTED, (b"Referer", b"http://a.example/x"), b"Referer: http://a.example/x"),
        (LISTED, (b"Origin", b"http://www.l.example"), b"Origin: https://www.l.example"),
        (LISTED, (b"Origin", b"http://evil.example"), b"Origin: http://evil.example"),
        (LISTED, (b"Origin", b"null"), b"Origin: null"),
        (PREFIX, (b"Origin", b"http://HTTPS"), b"Origin: null"),
        (PREFIX, (b"Referer", b"http://HTTPS///b.example/x"), b"Referer: https://b.example/x"),
        (ASKED, (b"Destination", b"http://a.example/y"), b"Destination: https://a.example/y"),
        (ASKED, (b"X-Other", b"http://a.example/y"), b"X-Other: http://a.example/y"),
    ],
)
def test_sent_fields(asked: bytes, field: tuple[bytes, bytes], expected: bytes) -> None:
    """What names the client's own URLs names those of https, and the field is gone."""
    fields: RawFields = [(b"A", b"b"), FIELD, field, (b"x-real-protocol", b"https")]
    given = Fields(fields)
    sent = way(asked).sent_fields(given)
    assert list(sent.lines) == [b"A: b", expected]
    assert sent.combined[field[0].lower()] == expected.partition(b": ")[2]
    assert len(given) == 4


_urls = st.builds(
    lambda host, port, path: f"https://{host}{port}{path}".encode(),
    st.sampled_from(["a.example", "l.example", "www.l.example", "b.example", "[2001:db8::1]"]),
    st.sampled_from(["", ":443", ":80", ":8443"]),
    st.sampled_from(["/", "/x?y", "/a//b", "/?//"]),
)


@given(asked=st.sampled_from([PREFIX, LISTED, ASKED]), url=_urls)
def test_there_and_back(asked: bytes, url: bytes) -> None:
    """A rewritten URL, asked for in the same way, means what the origin has said."""
    spelled = way(asked).url(url)
    fields = Fields([FIELD] if asked is ASKED else [])
    found, said = SPELLINGS.canonical(parse_target(b"GET", spelled), fields), parse_target(b"", url)
    assert (found.origin, found.path) == (said.origin, said.path)


@given(line=st.binary(max_size=60).filter(lambda line: b"\n" not in line and b"\r" not in line))
def test_no_line_becomes_two(line: bytes) -> None:
    """Whatever an origin sends, nothing is added that begins another line."""
    for asked in (PREFIX, LISTED, ASKED):
        for name in (b"Location", b"Refresh", b"Link", b"Set-Cookie"):
            keeping = Keeping(Cookies.PLAIN, hsts=False)
            for found in way(asked, keeping).answer_lines([name + b": " + line]):
                assert b"\n" not in found
                assert b"\r" not in found
