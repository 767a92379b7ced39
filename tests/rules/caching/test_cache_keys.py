"""Promises of proxyapp.rules.caching.keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching.globs import Globs
from proxyapp.rules.caching.keys import PLAIN, KeyRule, key
from proxyapp.rules.caching.rules import CacheRule
from proxyapp.wire.target import parse_target


def keyed(url: str, counts: KeyRule = PLAIN) -> str:
    """Return the key of *url* under a rule with *counts*."""
    target = parse_target(b"GET", url.encode())
    assert target.origin is not None
    return key(target.origin, target.path, CacheRule(key=counts)).decode()


def globs(*patterns: str) -> Globs:
    """Return *patterns* of names."""
    return Globs(each.encode() for each in patterns)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://host/", "https://host/"),
        ("http://host/", "http://host:8080/"),
        ("http://host:443/", "https://host/"),
        ("http://host/a", "http://host/A"),
        ("http://host/a", "http://host/a/"),
        ("http://host/a", "http://host/a?"),
        ("http://host/?a&b", "http://host/?b&a"),
        ("http://host/a/../b", "http://host/b"),
        ("http://host/%61", "http://host/a"),
        ("http://host/a%2fb", "http://host/a/b"),
        ("http://host//a", "http://host/a"),
    ],
)
def test_different_urls_have_different_keys(one: str, other: str) -> None:
    """What an origin may tell apart, the cache does too: nobody plants one under the other."""
    assert keyed(one) != keyed(other)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://HOST/a?b", "http://host/a?b"),
        ("http://host:80/", "http://host/"),
        ("https://host:443/", "https://host/"),
        ("http://host.", "http://host/"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
        ("http://host?a", "http://host/?a"),
    ],
)
def test_key_is_the_url(url: str, expected: str) -> None:
    """Spellings that RFC 9110 section 4.2.3 has as the same origin are the same key."""
    assert keyed(url) == expected


@pytest.mark.parametrize(
    ("counts", "url", "expected"),
    [
        (KeyRule(strip=globs("*")), "http://host/a", "http://host/a"),
        (KeyRule(strip=globs("*")), "http://host/a?b=c&d", "http://host/a"),
        (KeyRule(strip=globs("*")), "http://host/a?", "http://host/a"),
        (KeyRule(strip=globs("utm_*")), "http://host/?a&utm_x=1&b=utm_y", "http://host/?a&b=utm_y"),
        (KeyRule(strip=globs("a")), "http://host/?A=1&a=2&a=3&ab", "http://host/?A=1&ab"),
        (KeyRule(strip=globs("a")), "http://host/?a", "http://host/"),
        (KeyRule(strip=globs("a")), "http://host/?x=1?a=2&a=3", "http://host/?x=1?a=2"),
        (KeyRule(keep=globs("id")), "http://host/?t=9&id=1&id=2", "http://host/?id=1&id=2"),
        (KeyRule(keep=globs("id")), "http://host/?t=9", "http://host/"),
        (KeyRule(is_sorted=True), "http://host/?b=1&a=2", "http://host/?a=2&b=1"),
        (KeyRule(is_sorted=True), "http://host/?b=1&a=2&b=0", "http://host/?a=2&b=1&b=0"),
        (KeyRule(host="cdn"), "http://one.example/a?b", "http://+cdn/a?b"),
        (KeyRule(host="cdn"), "https://one.example/a", "https://+cdn/a"),
        (KeyRule(host="cdn"), "http://one.example:8080/a", "http://+cdn:8080/a"),
        (KeyRule(host="cdn", strip=globs("*")), "http://two.example/a?t=1", "http://+cdn/a"),
    ],
)
def test_what_doesn_t_count(counts: KeyRule, url: str, expected: str) -> None:
    """A rule takes from the key what it says, and nothing else."""
    assert keyed(url, counts) == expected


def test_no_host_is_a_joined_one() -> None:
    """What stands for many hosts can't be asked for as a host of its own."""
    joined = keyed("http://one.example/", KeyRule(host="cdn"))
    with pytest.raises(Exception, match="isn't a host name"):
        parse_target(b"GET", joined.encode())


_parts = st.lists(st.sampled_from(["a=1", "b=2", "a", "=", "", "c=a"]), max_size=5)


@given(_parts, st.permutations(range(5)))
def test_order_goes_only_between_names(parts: list[str], order: list[int]) -> None:
    """Sorted, parts of different names may change places, and those of one name may not."""
    moved = [parts[index] for index in order if index < len(parts)]

    def values(given: list[str], name: str) -> list[str]:
        return [part for part in given if part.partition("=")[0] == name]

    is_same = all(values(moved, name) == values(parts, name) for name in ("a", "b", "c", ""))
    counts = KeyRule(is_sorted=True)
    urls = ["http://host/?" + "&".join(each) for each in (parts, moved)]
    assert (keyed(urls[0], counts) == keyed(urls[1], counts)) is is_same
