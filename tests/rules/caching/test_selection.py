"""Which stored responses the words of an admin select, and under which keys and rules."""

from __future__ import annotations

import pytest

from proxyapp import errors
from proxyapp.rules.caching.keys import KeyRule
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.rules import CacheRule, CacheRules
from proxyapp.rules.caching.selection import (
    LONGEST,
    Selection,
    key_of,
    parse_pattern,
    parse_selection,
    parse_url,
    rule_of,
)

PLAIN = CacheRules((), CacheRule())
STEAM = CacheRule("games", key=KeyRule(host="steam"), policy=Policy(ttl=5.0))
JOINING = CacheRules((STEAM,), CacheRule())


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (b"", "isn't a complete URL"),
        (b"/path", "isn't a complete URL"),
        (b"/path?of=http://a.example/", "isn't a complete URL"),
        (b"*", "isn't a complete URL"),
        (b"a.example/", "isn't a complete URL, such as http://host/path"),
        (b"ftp://a.example/", "only http and https"),
        (b"http://a.example/a b", "percent-encoded"),
        (b"http://a.example/\r\nX: y", "percent-encoded"),
        ("http://a.example/ü".encode(), "percent-encoded"),
        (b"http://a.example/#top", "percent-encoded"),
        (b"http://ann:secret@a.example/", "user name"),
        (b"http://a.example/" + b"x" * LONGEST, "more than"),
    ],
)
def test_no_urls(url: bytes, complaint: str) -> None:
    """What no client could ask for is refused, with a word on what would be right."""
    with pytest.raises(errors.BadRequest, match=complaint):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        (b"http://a.example", b"http://a.example/"),
        (b"HTTP://A.Example:80/x?B", b"http://a.example/x?B"),
        (b"https://a.example:443/", b"https://a.example/"),
        (b"http://a.example:8080/", b"http://a.example:8080/"),
        (b"http://+steam/depot/1", b"http://+steam/depot/1"),
        (b"https://+steam:8443/x", b"https://+steam:8443/x"),
    ],
)
def test_keys(url: bytes, key: bytes) -> None:
    """A URL is found under its key however it is spelled, and a key from a list is one already."""
    assert key_of(url, PLAIN) == key


@pytest.mark.parametrize(
    ("key", "policy"),
    [
        (b"http://+steam/depot/1", STEAM.policy),
        (b"http://+steam:8080/depot/1", STEAM.policy),
        (b"http://+other/depot/1", DEFAULT),
        (b"http://a.example/", DEFAULT),
        (b"no key at all", DEFAULT),
    ],
)
def test_rule_of_a_key(key: bytes, policy: Policy) -> None:
    """The rule is found by the key alone, also where it has joined hosts."""
    assert rule_of(key, JOINING).policy == policy


@pytest.mark.parametrize(
    ("what", "selection"),
    [
        (b"", Selection()),
        (b"*", Selection()),
        (b"tag:news", Selection(tag=b"news")),
        (b"tag: a b ", Selection(tag=b"a b")),
        (b"http://A.example/x", Selection(key=b"http://a.example/x")),
        (b"http://a.example/x*y", Selection(key=b"http://a.example/x*y")),
        (b"http://A.Example:80/X*", Selection(prefix=b"http://a.example/X")),
        (b"https://a.example:8443/*", Selection(prefix=b"https://a.example:8443/")),
        (b"http://A.exa*", Selection(prefix=b"http://a.exa")),
        (b"HTTP://*", Selection(prefix=b"http://")),
        (b"http*", Selection(prefix=b"http")),
        (b"http://+steam/d*", Selection(prefix=b"http://+steam/d")),
    ],
)
def test_selections(what: bytes, selection: Selection) -> None:
    """Words become a key, a prefix in the spelling of keys, or a tag."""
    assert parse_selection(what, PLAIN) == selection


@pytest.mark.parametrize("what", [b"tag:", b"tag:  ", b"x.deb", b"http://a b/*", b"h" * 20000])
def test_no_selections(what: bytes) -> None:
    """What selects nothing that could be is refused."""
    with pytest.raises(errors.BadRequest):
        parse_selection(what, PLAIN)


@pytest.mark.parametrize(
    ("what", "prefix", "matched", "others"),
    [
        (b"*.deb", b"", [b"http://a/x.deb", b".deb"], [b"http://a/x.deb?y", b"http://a/xdeb"]),
        (b"http://a/*.deb", b"http://a/", [b"http://a/p/x.deb"], [b"http://b/x.deb"]),
        (b"http://a/*x*y", b"http://a/", [b"http://a/1x2y", b"http://a/xy"], [b"http://a/yx"]),
        (b"http://a/?q*1", b"http://a/?q", [b"http://a/?q=1"], [b"http://a/xq=1"]),
        (b"http://a/[x]*1*", b"http://a/[x]", [b"http://a/[x]12"], [b"http://a/x1"]),
        (b"*", b"", [b"http://a/"], []),
        (b"http://a/x*", b"http://a/x", [b"http://a/xy"], []),
    ],
)
def test_patterns(what: bytes, prefix: bytes, matched: list[bytes], others: list[bytes]) -> None:
    """A star stands for anything, and nothing else is special."""
    selection = parse_pattern(what, PLAIN)
    assert selection.prefix == prefix
    assert all(map(selection.has, matched))
    assert not any(map(selection.has, others))


def test_many_stars_take_no_time() -> None:
    """A pattern that looks for the same again and again gives up at the first miss."""
    selection = parse_pattern(b"a*" * 40 + b"b", PLAIN)
    assert not selection.has(b"a" * 5000)


@pytest.mark.parametrize("what", [b"tag:a*b*c", b"tag:a"])
def test_tags_have_no_stars(what: bytes) -> None:
    """A star in a tag is a part of it."""
    assert parse_pattern(what, PLAIN) == Selection(tag=what[4:])
