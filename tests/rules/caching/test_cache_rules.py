"""Promises of proxyapp.rules.caching.rules."""

from __future__ import annotations

import pytest

from proxyapp.rules import memory
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.rules import CacheRule, CacheRules, OnRange
from proxyapp.rules.caching.urlpatterns import parse_pattern
from proxyapp.wire.target import Origin, parse_target


def rule(name: str, match: str) -> CacheRule:
    """Return a rule that matches the patterns in *match*."""
    return CacheRule(name, tuple(map(parse_pattern, match.split())))


def found(rules: CacheRules, url: str) -> str:
    """Return the name of the rule for *url*."""
    target = parse_target(b"GET", url.encode())
    assert target.origin is not None
    return rules.find(target.origin, target.path).name


RULES = CacheRules(
    (
        rule("images", "*/*.png */*.jpg"),
        rule("private", "shop.example/cart/* shop.example/*?session=*"),
        rule("shop", "shop.example"),
        rule("never", "shop.example/late"),
        rule("secure", "https://.bank.example"),
        rule("port", "*:8080/x"),
    ),
    CacheRule("default"),
)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://www.example/", "default"),
        ("http://www.example/a.gif", "default"),
        ("http://bank.example/", "default"),
        ("http://any.example:8080/y", "default"),
        ("http://shop.example/late", "shop"),
        ("http://shop.example/?id=1", "shop"),
        ("http://shop.example:9000/", "shop"),
        ("http://shop.example/cart/1", "private"),
        ("http://shop.example/?session=1", "private"),
        ("http://shop.example/cart/1.png", "images"),
        ("http://www.example/a.jpg?size=1", "images"),
        ("https://my.bank.example/", "secure"),
        ("http://any.example:8080/x", "port"),
    ],
)
def test_first_that_matches_counts(url: str, name: str) -> None:
    """Rules are tried in their order; what none of them matches has the default."""
    assert found(RULES, url) == name


def test_no_rules_at_all() -> None:
    """There is always one."""
    rules = CacheRules((), CacheRule())
    assert found(rules, "http://www.example/a") == ""
    assert rules.find(Origin("http", "www.example", 80), b"/a") == CacheRule()
    assert CacheRule().range is OnRange.STORE


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose hosts, so what is remembered of them is little."""
    monkeypatch.setattr(memory, "REMEMBERED", 8)
    rules = CacheRules((rule("a", "/a/*"),), CacheRule())
    for number in range(100):
        assert found(rules, f"http://host{number}/a/{number}") == "a"
        assert len(rules._by_origin) <= 8


def test_whether_the_origin_judges_each_client() -> None:
    """A rule that stores what is asked for with credentials shares no fetch."""
    assert not CacheRule().is_judged_by_origin
    assert CacheRule(policy=Policy(ignore=frozenset((b"authorization",)))).is_judged_by_origin


def test_rules_show_their_names() -> None:
    """The repr says in which order they are tried."""
    assert repr(RULES) == "<CacheRules images private shop never secure port>"
