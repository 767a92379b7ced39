"""Promises of proxyapp.rules.fetchquery: what /fetch is asked for, or why that can't be read."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules import fetchquery
from proxyapp.wire.target import Origin


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (b"", "url is missing"),
        (b"url", "url is missing"),
        (b"url=", "url is missing"),
        (b"cache=5", "url is missing"),
        (b"url=http://a/&url=http://b/", "url is there twice"),
        (b"url=http://a/?x=1&y=2", "'y' is no parameter"),
        (b"URL=http://a/", "'URL' is no parameter"),
        (b"http://u:secret@a/", "'http://***@a/' is no parameter"),
        (b"url=http://a/%zz", "url has a % that two hexadecimal digits don't follow"),
        (b"url=http://a/%", "url has a %"),
        (b"url=a.example/x", "http://host/path"),
        (b"url=//a/x", "http://host/path"),
        (b"url=/x", "http://host/path"),
        (b"url=*", "http://host/path"),
        (b"url=ftp://a/", "only http and https"),
        (b"url=file:///etc/passwd", "only http and https"),
        (b"url=javascript:alert(1)", "http://host/path"),
        (b"url=http:///x", "isn't a host name"),
        (b"url=http://u:p@a/", "holds a user name"),
        (b"url=http%3A%2F%2Fu%3Ap%40a%2F", "holds a user name"),
        (b"url=http://a:0/", "port"),
        (b"url=http://a:99999/", "port"),
        (b"url=http://127.1/", "isn't an IPv4 address"),
        (b"url=http://0x7f000001/", "isn't an IPv4 address"),
        (b"url=http://2130706433/", "isn't an IPv4 address"),
        (b"url=http://[::1/", "isn't closed"),
        (b"url=http://[fe80::1%251]/", "zone"),
        (b"url=http://a%0d%0aX:%20y/", "control characters"),
        (b"url=http://a/%00", "control characters"),
        (b"url=http://a/x%0Ay", "control characters"),
        (b"url=http:%5C%5Ca/", "http://host/path"),
        (b"url=http://a%5C@b/", "user name"),
        (b"url=http://%FF/", "isn't a host name"),
        (b"url=http://a/&cache=", "whole number of minutes"),
        (b"url=http://a/&cache=-1", "whole number of minutes"),
        (b"url=http://a/&cache=1.5", "whole number of minutes"),
        (b"url=http://a/&cache=" + b"9" * 13, "whole number of minutes"),
        (b"url=http://a/&cache=%D9%A3", "whole number of minutes"),
        (b"url=http://a/&expires=soon", "seconds since 1970"),
        (b"url=http://a/&type=", "media type"),
        (b"url=http://a/&type=text", "media type"),
        (b"url=http://a/&type=text/", "media type"),
        (b"url=http://a/&type=text/pl%20ain", "media type"),
        (b"url=http://a/&type=text/plain%0d%0aX:y", "media type"),
        (b"url=http://a/&type=text/plain;x=y", "media type"),
        (b"url=http://a/&type=text/plain;charset=%22a%20b%22", "media type"),
    ],
)
def test_what_cannot_be_read_is_told(query: bytes, reason: str) -> None:
    """Each mistake is a 400 that says what it is."""
    with pytest.raises(errors.BadRequest) as told:
        fetchquery.parse_query(query)
    assert reason in told.value.reason
    assert "secret" not in told.value.reason


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        (b"http://a", Origin("http", "a", 80), b"/"),
        (b"HTTP://A.Example:80/X?y#z", Origin("http", "a.example", 80), b"/X?y"),
        (b"https://a:8443?q", Origin("https", "a", 8443), b"/?q"),
        (b"%20http://a/b+c%20d%20", Origin("http", "a", 80), b"/b%20c%20d"),
        (b"http%3A%2F%2Fa%2F%3Fx%3D1%26y%3D%2B", Origin("http", "a", 80), b"/?x=1&y=+"),
        (b"http://a/%25C3%25A4", Origin("http", "a", 80), b"/%C3%A4"),
        (b"http://a/%C3%A4", Origin("http", "a", 80), b"/%C3%A4"),
        (b"http://b%C3%BCcher.example:81/", Origin("http", "xn--bcher-kva.example", 81), b"/"),
        (b"http://[::FFFF]:81/", Origin("http", "::ffff", 81), b"/"),
        (b"http://a/../b", Origin("http", "a", 80), b"/../b"),
    ],
)
def test_urls(url: bytes, origin: Origin, path: bytes) -> None:
    """A URL is decoded once, and what may not be sent is encoded again."""
    target = fetchquery.parse_query(b"url=" + url).target
    assert (target.origin, target.path) == (origin, path)


def test_everything_at_once() -> None:
    """All parameters are read, in any order, and the URL that is signed is the one given."""
    query = fetchquery.parse_query(
        b"type=Text/CSV;%20Charset=UTF-8&cache=90&&signature=ab&url=http://A/%23x&expires=17"
    )
    assert (query.url, query.target.path) == (b"http://A/#x", b"/")
    assert (query.ttl, query.content_type) == (5400.0, b"text/csv; charset=UTF-8")
    assert (query.expires, query.signature) == (17, b"ab")


def test_nothing_but_a_url() -> None:
    """What isn't given isn't there; and cache=0 is something else than none."""
    query = fetchquery.parse_query(b"url=http://a/")
    assert (query.ttl, query.content_type, query.expires) == (None, b"", None)
    assert fetchquery.parse_query(b"url=http://a/&cache=0").ttl == 0.0


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40))
def test_any_path_comes_through(path: str) -> None:
    """Whatever a script encodes as it should arrives as it would from a browser."""
    path = path.rstrip(" \t")
    encoded = quote("http://a/" + path, safe="").encode("ascii")
    target = fetchquery.parse_query(b"url=" + encoded).target
    kept = path.partition("#")[0].rstrip(" \t") if "#" not in path else path.partition("#")[0]
    safe = "".join(map(chr, range(0x21, 0x7F)))
    assert target.path == b"/" + quote(kept, safe=safe).encode("ascii")


# --- Redirects ---


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"/x", b"http://a.example:81/x"),
        (b"x?y", b"http://a.example:81/b/x?y"),
        (b"../x", b"http://a.example:81/x"),
        (b"?z", b"http://a.example:81/b/c?z"),
        (b"//c.example/x", b"http://c.example/x"),
        (b"https://c.example", b"https://c.example/"),
        (b"HTTPS://c.example:444/#frag", b"https://c.example:444/"),
        (b"/\xc3\xa4 b", b"http://a.example:81/%C3%A4%20b"),
        (b"#", b"http://a.example:81/b/c"),
    ],
)
def test_redirects(location: bytes, url: bytes) -> None:
    """A reference is resolved against what was fetched."""
    target = fetchquery.target_of(b"http://a.example:81/b/c")
    assert fetchquery.redirected(target, location).url == url


@pytest.mark.parametrize(
    "location", [b"ftp://a/", b"http://u:p@a/", b"javascript:x", b"http://[::1/", b"http://1.2.3/"]
)
def test_redirects_that_lead_nowhere(location: bytes) -> None:
    """What can't be fetched is the origin's fault."""
    target = fetchquery.target_of(b"http://a/")
    with pytest.raises(errors.BadResponse):
        fetchquery.redirected(target, location)
