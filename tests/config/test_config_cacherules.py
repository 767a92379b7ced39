"""Promises of proxyapp.config.cacherules: what the ini says is what the cache goes by."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config.cacherules import make_cache_rules
from proxyapp.rules.caching.policy import DEFAULT
from proxyapp.rules.caching.rules import CacheRule, CacheRules, OnRange
from proxyapp.wire.target import Origin


def rules(folder: Path, text: str) -> CacheRules:
    """Return the rules of an ini with *text*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return make_cache_rules(config.load(file, (), {}))


def find(made: CacheRules, host: str, path: bytes = b"/") -> CacheRule:
    """Return the rule for *path* at *host*."""
    return made.find(Origin("http", host, 80), path)


def test_without_a_word() -> None:
    """There is the rule for everything, which changes nothing."""
    made = make_cache_rules(config.load(None, (), {}))
    assert made.rules == ()
    assert find(made, "www.example") == CacheRule(policy=DEFAULT)


def test_own_rules_come_before_presets(tmp_path: Path) -> None:
    """Both in the order in which they are written."""
    made = rules(
        tmp_path,
        "[cache]\nrules = npm, apt\n[cache-rule b]\nmatch = registry.npmjs.org/x\n"
        "[cache-rule a]\nmatch = a.example\n",
    )
    names = ["b", "a", "npm", "npm-indexes", "apt", "apt-indexes"]
    assert [rule.name for rule in made.rules] == names
    assert find(made, "registry.npmjs.org", b"/x").name == "b"
    assert find(made, "registry.npmjs.org", b"/y").name == "npm-indexes"


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        ("", (None, 0.0, math.inf, False)),
        ("off", (None, 0.0, math.inf, True)),
        ("validate", (0.0, 0.0, math.inf, False)),
        ("1h", (3600.0, 0.0, math.inf, False)),
        (">=1h", (None, 3600.0, math.inf, False)),
        (">=1h, <=1d", (None, 3600.0, 86400.0, False)),
    ],
)
def test_lifetimes(
    tmp_path: Path, ttl: str, expected: tuple[float | None, float, float, bool]
) -> None:
    """Each way to say it is its own policy."""
    policy = find(rules(tmp_path, f"[cache-rule x]\nmatch = a\nttl = {ttl}\n"), "a").policy
    assert (policy.ttl, policy.ttl_least, policy.ttl_most, policy.is_off) == expected


def test_the_rest_of_a_rule(tmp_path: Path) -> None:
    """Key, range and what is ignored are handed on."""
    made = rules(
        tmp_path,
        "[cache-rule x]\nmatch = a\nkey = host=b, sort-query\nrange = fill\nignore = vary\n",
    )
    rule = find(made, "a")
    assert (rule.key.host, rule.key.is_sorted, rule.range) == ("b", True, OnRange.FILL)
    assert rule.policy.ignore == {b"vary"}


def test_what_is_said_of_all(tmp_path: Path) -> None:
    """[cache] speaks for the default, for rules, and for presets."""
    made = rules(
        tmp_path,
        "[cache]\nstale_if_error = 1h\nignore_cookies = yes\nrules = pypi\n"
        "[cache-rule x]\nmatch = a\n",
    )
    for host in ("www.example", "a", "pypi.org"):
        policy = find(made, host, b"/simple/").policy
        assert (policy.stale_if_error, policy.ignore_cookies) == (3600.0, True)


def test_what_needs_a_password_is_never_stale(tmp_path: Path) -> None:
    """When the line is down nobody can say who may have it, so nobody gets it."""
    made = rules(
        tmp_path,
        "[cache]\nrules = docker-blobs\n"
        "[cache-rule x]\nmatch = a\nttl = validate\nignore = authorization\n",
    )
    assert find(made, "a").policy.stale_if_error == 0.0
    assert find(made, "registry.lan", b"/v2/app/blobs/sha256:1").policy.stale_if_error == 0.0
    assert find(made, "www.example").policy.stale_if_error == 86400.0
