"""Patterns of paths, and the fields that rules with them add."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.sitefields import RESERVED, SiteRule, fields_for, site_rule

CACHE_CONTROL = b"Cache-Control"


@pytest.mark.parametrize(
    "pattern", ["", "x" * 256, "**.js", "/a/**.js", "/a**", "/**a/b", "***", "/a/b**c/d"]
)
def test_what_is_not_a_pattern(pattern: str) -> None:
    """Two stars stand alone between slashes, and the length has a bound."""
    with pytest.raises(ValueError, match=r"\*\*|255"):
        SiteRule(pattern, ())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        # A name.
        ("*.js", b"/app.js/"),
        ("*.js", b"/app.js.map"),
        ("*.js", b"/app.JS"),
        ("*.js", b"/app_js"),
        ("app.js", b"/my-app.js"),
        ("?.js", b"/ab.js"),
        ("?.js", b"/.js"),
        ("[ab].js", b"/a.js"),
        ("a.js", b"/a.js/b"),
        ("*a*b*c", b"/xaxcxb"),
        # A path.
        ("/*.js", b"/a/b.js"),
        ("/assets/*", b"/assets/a/b"),
        ("/assets/*", b"/assets"),
        ("/assets/*", b"/x/assets/a"),
        ("assets/*", b"/x/assets/a"),
        ("/assets/**", b"/assets"),
        ("/assets/**", b"/assets-more/a"),
        ("/assets/**", b"/Assets/a"),
        ("/docs/", b"/docs"),
        ("/docs", b"/docs/"),
        ("/", b"/x"),
        ("/a?c", b"/a/c"),
        ("/**/x/y", b"/x/z/y"),
        ("/**/b", b"/ab"),
        ("/a/**/b", b"/ab"),
        ("/a%20b", b"/a b"),
        ("/a.c", b"/abc"),
    ],
)
def test_what_a_pattern_does_not_match(pattern: str, path: bytes) -> None:
    """Stars don't cross slashes, case counts, and nothing is matched in part."""
    assert not SiteRule(pattern, ()).matches(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.js", b"/app.js"),
        ("*.js", b"/a/b/app.js"),
        ("*.js", b"/.js"),
        ("*.js", b"/a\nb.js"),
        ("*", b"/"),
        ("*", b"/a/b/c/"),
        ("**", b"/"),
        ("**", b"/a/b/c"),
        ("?.js", b"/\xff.js"),
        ("*a*b*c", b"/a/abcabc"),
        ("*aab", b"/aaaab"),
        ("[ab].js", b"/[ab].js"),
        ("/", b"/"),
        ("/*", b"/a"),
        ("/a b+(c).txt", b"/a b+(c).txt"),
        ("/gr\u00fc\u00dfe/*", b"/gr\xc3\xbc\xc3\x9fe/a"),
        ("/a\udcff", b"/a\xff"),
        ("/assets/*", b"/assets/a"),
        ("/assets/*", b"/assets/"),
        ("assets/*", b"/assets/a"),
        ("/assets/**", b"/assets/"),
        ("/assets/**", b"/assets/a/b/c.js"),
        ("/assets/*/x.*", b"/assets/a/x.png"),
        ("/docs/", b"/docs/"),
        ("/**/x", b"/x"),
        ("/**/x", b"/a/b/x"),
        ("**/x", b"/a/x"),
        ("/a/**/b", b"/a/b"),
        ("/a/**/b", b"/a/b/b"),
        ("/a/**/b/**/c", b"/a/x/b/y/z/c"),
        ("/a/**/**/c", b"/a/c"),
        ("/**/a/**", b"/x/a/a/y"),
        ("/**/fonts/*.woff2", b"/theme/fonts/x.woff2"),
        ("/**/a*b/c", b"/a/ab/c"),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: bytes) -> None:
    """A name is matched in any folder, a path as a whole, two stars over any depth."""
    assert SiteRule(pattern, ()).matches(path)


def matches_slowly(pattern: list[str], path: list[str]) -> bool:
    """Match segment by segment, trying every way: what the fast way must agree with."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(matches_slowly(pattern[1:], path[skip:]) for skip in range(len(path)))
    if not path:
        return False
    texts = {"*": "[^/]*", "?": "[^/]"}
    expression = "".join(texts.get(each, each) for each in pattern[0])
    return bool(re.fullmatch(expression, path[0])) and matches_slowly(pattern[1:], path[1:])


segment_pattern = st.one_of(st.just("**"), st.text("aab*?", min_size=1, max_size=6))
usable_pattern = segment_pattern.filter(lambda text: text == "**" or "**" not in text)
names = st.text("ab", min_size=1, max_size=5)


@given(st.lists(usable_pattern, min_size=1, max_size=5), st.lists(names, min_size=1, max_size=7))
def test_the_fast_way_finds_what_the_slow_one_does(pattern: list[str], path: list[str]) -> None:
    """That a wildcard never changes its mind loses no match and makes none."""
    rule = SiteRule("/" + "/".join(pattern), ())
    assert rule.matches(b"/" + "/".join(path).encode()) is matches_slowly(pattern, path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/" + "*a" * 127, b"/" + b"a" * 60_000 + b"b"),
        ("/**/" + "*a*a" * 60 + "b", b"/" + b"a" * 60_000),
        ("/" + "**/a*/" * 42 + "b", b"/" + b"a/" * 30_000),
        ("/**/" + "a/" * 120 + "b", b"/" + b"a/" * 30_000),
        ("*" + "?" * 250, b"/" + b"a" * 60_000 + b"/"),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: bytes) -> None:
    """Patterns that make a backtracking matcher run for years answer at once."""
    assert not SiteRule(pattern, ()).matches(path)


# Fields.


def test_no_rule_no_field() -> None:
    """Without rules that match there is nothing to add."""
    assert fields_for(b"/a", ()) == ()
    assert fields_for(b"/a", [SiteRule("/b", ((b"A", b"1"),))]) == ()


def test_a_later_rule_replaces_fields_of_the_same_name() -> None:
    """Names are compared without case; what the later rule doesn't name stays."""
    rules = [
        SiteRule("**", ((b"X-A", b"1"), (b"X-B", b"1"), (CACHE_CONTROL, b"no-cache"))),
        SiteRule("/a/**", ((b"x-a", b"2"),)),
        SiteRule("*.js", ((b"cache-control", b"max-age=60"),)),
        SiteRule("/b/**", ((b"X-B", b"3"),)),
    ]
    assert set(fields_for(b"/a/x.js", rules)) == {
        (b"x-a", b"2"),
        (b"X-B", b"1"),
        (b"cache-control", b"max-age=60"),
    }
    assert fields_for(b"/c", rules) == rules[0].fields


def test_a_rule_may_name_a_field_twice() -> None:
    """Lines of one name in one rule stay together, and are replaced together."""
    links = ((b"Link", b"</a>"), (b"link", b"</b>"))
    rules = [SiteRule("**", links), SiteRule("/x", ((b"LINK", b"</c>"),))]
    assert fields_for(b"/y", rules) == links
    assert fields_for(b"/x", rules) == ((b"LINK", b"</c>"),)


def test_cache_control_goes_before_a_field_of_that_name() -> None:
    """The option of its own counts; without it the fields are as given."""
    given_fields = ((b"cache-control", b"no-store"), (b"X-A", b"1"))
    assert site_rule("*.js", given_fields).fields == given_fields
    assert site_rule("*.js", given_fields, b"max-age=9").fields == (
        (b"X-A", b"1"),
        (CACHE_CONTROL, b"max-age=9"),
    )


def test_a_rule_is_a_value() -> None:
    """Two rules with the same words are equal, and show nothing of how they match."""
    assert SiteRule("*.js", ()) == site_rule("*.js", [])
    assert repr(SiteRule("*.js", ())) == "SiteRule(pattern='*.js', fields=())"


def test_what_frames_a_response_is_reserved() -> None:
    """No rule may say how long a body is, or how it is coded."""
    assert {b"content-length", b"transfer-encoding", b"connection"} <= RESERVED
    assert all(name == name.lower() for name in RESERVED)
    assert not {b"cache-control", b"content-type", b"content-disposition"} & RESERVED
