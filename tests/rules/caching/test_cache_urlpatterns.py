"""Promises of proxyapp.rules.caching.urlpatterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching.urlpatterns import PathPatterns, UrlPattern, parse_pattern
from proxyapp.wire.target import Origin, parse_target


def matches(pattern: str, url: str) -> bool:
    """Does *pattern* match *url*, as a rule would have it?"""
    parsed = parse_pattern(pattern)
    target = parse_target(b"GET", url.encode())
    assert target.origin is not None
    if not parsed.is_about(target.origin):
        return False
    return parsed.is_any_path or PathPatterns([parsed]).match(target.path)


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("ftp://host/", "'ftp://host/' is fetched by no proxy; http or https would be right"),
        ("host:0", "'host:0' is no pattern; host:port/path would be right"),
        ("host:99999/", "'host:99999/' is no pattern"),
        ("host:http/", "'host:http/' is no pattern"),
        ("host:80:80", "'host:80:80' is no pattern"),
        ("a..b/x", "'a..b' is not a host"),
        (".", "'.' is not a host"),
        ("http://", "'http://' is not a host"),
        ("127.1/x", "'127.1' is not a host"),
        ("ho$t*/x", "'ho$t*/x' is no pattern of hosts; *.example would be right"),
        ("host/a#b", "'host/a#b' has what no URL is sent with; percent-encode it (%20)"),
        ("host/ä", "'host/ä' has what no URL is sent with"),
        ("*.deb", "'*.deb' is about hosts; */*.deb would be right for files"),
        ("*.TGZ", "'*.TGZ' is about hosts; */*.TGZ would be right for files"),
        ("x" * 80 + "..", "'" + "x" * 57 + "...'"),
    ],
)
def test_wrong_patterns(word: str, complaint: str) -> None:
    """What can't be meant is said, with what would be right."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is compared below
        parse_pattern(word)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        # Hosts.
        ("example.org", "http://www.example.org/", False),
        ("example.org", "http://badexample.org/", False),
        ("example.org", "http://example.org/a?b", True),
        ("Example.ORG.", "https://EXAMPLE.org:8443/", True),
        (".example.org", "http://badexample.org/", False),
        (".example.org", "http://example.org/", True),
        (".example.org", "http://a.b.example.org/", True),
        ("*.example.org", "http://example.org/", False),
        ("*.example.org", "http://a.b.example.org/", True),
        ("cdn*.example.org", "http://cdn12.example.org/", True),
        ("cdn*.example.org", "http://www.example.org/", False),
        ("bücher.example", "http://xn--bcher-kva.example/", True),
        ("192.0.2.7", "http://192.0.2.7/", True),
        ("[2001:db8::7]:8080/a", "http://[2001:DB8::7]:8080/a", True),
        ("[2001:db8::7]/a", "http://[2001:db8::8]/a", False),
        ("*", "https://anything.example/at?all", True),
        # Ports and schemes.
        ("example.org:8080", "http://example.org/", False),
        ("example.org:80", "http://example.org/", True),
        ("example.org:443", "https://example.org/", True),
        ("*:8080", "http://any.example:8080/", True),
        ("https://example.org", "http://example.org/", False),
        ("HTTPS://example.org", "https://example.org/", True),
        ("*://example.org", "https://example.org/", True),
        # Paths.
        ("example.org/", "http://example.org/a", False),
        ("example.org/", "http://example.org/", True),
        ("example.org/a", "http://example.org/a/b", False),
        ("example.org/a", "http://example.org/A", False),
        ("example.org/a", "http://example.org/a?b=c", True),
        ("example.org/a*", "http://example.org/a/b/c", True),
        ("example.org/a/*", "http://example.org/a", False),
        ("/a/*.deb", "http://any.example/a/b/c.deb?d", True),
        ("/*.deb", "http://any.example/?x.deb", False),
        ("*/*.iso", "http://any.example/a/b.iso", True),
        ("/**/dists/*", "http://any.example/dists/x", True),
        ("/**/dists/*", "http://any.example/debian/dists/x", True),
        ("/**/dists/*", "http://any.example/debian/mydists/x", False),
        ("/a/**/b/**/c", "http://any.example/a/b/c", True),
        ("/a/**/b/**/c", "http://any.example/a/1/b/2/3/c", True),
        ("/a/**", "http://any.example/a/1/b", True),
        ("host/a%20b", "http://host/a%20b", True),
        # Queries.
        ("/a?page=*", "http://any.example/a", False),
        ("/a?page=*", "http://any.example/a?size=1", False),
        ("/a?page=*", "http://any.example/b?page=1", False),
        ("/a?page=*", "http://any.example/a?page=1/2?3", True),
        ("/a?", "http://any.example/a?", True),
        ("/a?", "http://any.example/a?b", False),
        ("host?x=*", "http://host/any/path?x=1", True),
    ],
)
def test_what_a_pattern_matches(pattern: str, url: str, expected: bool) -> None:
    """Host, port, scheme, path and query are each as wide as they are written."""
    assert matches(pattern, url) is expected


def test_pattern_s_own_text_is_no_part_of_it() -> None:
    """Two spellings of a pattern are the same pattern."""
    assert parse_pattern("EXAMPLE.org/**") == parse_pattern("*://example.org/*")
    assert str(parse_pattern("EXAMPLE.org/**")) == "EXAMPLE.org/**"


@pytest.mark.parametrize(
    ("word", "is_everything", "is_any_path"),
    [
        ("*", True, True),
        ("http://*", False, True),
        ("*:80", False, True),
        ("host", False, True),
        ("/*", False, False),
        ("*?a", False, False),
    ],
)
def test_what_is_everything(word: str, is_everything: bool, is_any_path: bool) -> None:
    """Only one pattern matches every URL; `/*` has a path that is looked at."""
    pattern = parse_pattern(word)
    assert (pattern.is_everything, pattern.is_any_path) == (is_everything, is_any_path)


@given(st.text(max_size=30))
def test_anything_is_a_pattern_or_a_mistake(word: str) -> None:
    """Whatever is written is read, or refused in words; nothing else happens."""
    try:
        pattern = parse_pattern(word)
    except ValueError:
        return
    pattern.is_about(Origin("http", "example.org", 80))
    PathPatterns([pattern]).match(b"/a/b?c")


def test_patterns_of_one_rule_are_tried_together() -> None:
    """One of them is enough, whether it asks for a query or not."""
    patterns: list[UrlPattern] = [parse_pattern(word) for word in ("/a", "/b?c=*", "/d/*")]
    together = PathPatterns(patterns)
    for path, expected in [(b"/a?x", True), (b"/b?c=1", True), (b"/d/e", True), (b"/b", False)]:
        assert together.match(path) is expected
