"""The cache in the ini: [cache], [cache-rule NAME], and what can't be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import config
from proxyapp.config import Cache, CacheRuleSection, Config, ConfigError, Offline, cachevalues
from proxyapp.config.cachevalues import OFF, Lifetime
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules.caching.globs import Globs
from proxyapp.rules.caching.keys import PLAIN, KeyRule
from proxyapp.rules.caching.rules import OnRange

NOWHERE = Surroundings(None, {})
MIB, GIB, DAYS = 1024**2, 1024**3, 86400.0


def load(folder: Path, text: str) -> Config:
    """Load an ini with *text* in *folder*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return config.load(file, (), {})


def mistakes(folder: Path, text: str) -> list[str]:
    """Return the mistakes in an ini with *text*, without the name of its folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def rule(folder: Path, *lines: str) -> CacheRuleSection:
    """Load one rule with *lines*."""
    text = "\n".join(("[cache-rule x]", "match = a.example", *lines))
    (section,) = load(folder, text).cache_rules
    return section


# --- [cache] ---


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("memory = lots", "memory: 'lots' is not a number with a unit; a size such as 4096"),
        ("disk = -1", "disk: '-1' is not a number with a unit"),
        ("max_object = 1XB", "max_object: '1XB' has an unknown unit"),
        ("stale_if_error = 1", "stale_if_error: '1' has no unit; 1s or another duration is right"),
        ("stale_if_error = 10000d", "stale_if_error: '10000d' is out of range"),
        ("ignore_cookies = some", "ignore_cookies: 'some' is neither on nor off"),
        ("offline = maybe", "offline: 'maybe' is not known; one of auto, on, off would be right"),
        ("rules = apt, pypy", "rules: 'pypy' is no preset; pypi would be right"),
        ("rules = xyz", "rules: 'xyz' is no preset; apt, pypi, npm, windows-update, steam, docker"),
        ("rule = apt", "rule: unknown option; rules would be right"),
        ("match = a", "match: unknown option; it belongs to [cache-rule NAME]"),
    ],
)
def test_wrong_options(tmp_path: Path, line: str, complaint: str) -> None:
    """Each mistake has its line, and says what would be right."""
    (mistake,) = mistakes(tmp_path, f"[cache]\n{line}\n")
    assert mistake.startswith(f"proxyapp.ini:2: [cache] {complaint}")


def test_defaults() -> None:
    """Without a word the cache is on, as the contract of the ini promises."""
    given = config.load(None, (), {})
    assert given.cache == Cache(
        memory=64 * MIB,
        disk=GIB,
        max_object=512 * MIB,
        stale_if_error=DAYS,
        ignore_cookies=False,
        offline=Offline.AUTO,
        rules=(),
    )
    assert given.cache_rules == ()


@pytest.mark.parametrize(
    ("text", "is_off"),
    [
        ("memory = 0\ndisk = 0", True),
        ("memory =\ndisk =", True),
        ("memory = 0", False),
        ("disk = 0", False),
    ],
)
def test_no_cache_at_all(tmp_path: Path, text: str, is_off: bool) -> None:
    """Without room anywhere there is no cache; with some anywhere there is one."""
    assert load(tmp_path, f"[cache]\n{text}\n").cache.is_off is is_off


def test_presets_keep_their_order(tmp_path: Path) -> None:
    """They are tried as they are named, each once, however they are spelled."""
    text = "[cache]\nrules = Steam\n  apt, steam\n"
    assert load(tmp_path, text).cache.rules == ("steam", "apt")


# --- [cache-rule NAME] ---


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ttl = 7", "ttl: '7' is no lifetime; 7d, >=1h, <=7d, validate or off would be right"),
        ("ttl = >1h", "ttl: '>1h' is no lifetime"),
        ("ttl = never", "ttl: 'never' is no lifetime"),
        ("ttl = >=", "ttl: '>=' is no lifetime"),
        ("ttl = 1h, 2h", "ttl: '1h, 2h' says two things"),
        ("ttl = >=1h, >=2h", "ttl: '>=1h, >=2h' says two things"),
        ("ttl = 1h <=2h", "ttl: '1h <=2h' says two things"),
        ("ttl = <=2h, 1h", "ttl: '<=2h, 1h' says two things"),
        ("ttl = off, 1h", "ttl: 'off' is no lifetime"),
        ("ttl = >=2h, <=1h", "ttl: '>=2h, <=1h' leaves nothing between"),
        ("key = strip", "key: 'strip' is no part of a key; strip-query, strip NAME, keep NAME"),
        ("key = strip-query a", "key: 'strip-query a' is no part of a key"),
        ("key = utm_*", "key: 'utm_*' is no part of a key"),
        ("key = strip a&b", "key: 'a&b' is no name in a query; utm_* would be right"),
        ("key = strip a, keep b", "key: both strip and keep are there; one of them would be"),
        ("key = strip-query, keep b", "key: strip-query leaves no query; alone, or with host=NAME"),
        ("key = host", "key: 'host' names no host; host=NAME would be right"),
        ("key = host=a b", "key: 'host=a b' names no host"),
        ("key = host=a/b", "key: 'host=a/b' names no host"),
        ("key = host=+a", "key: 'host=+a' names no host"),
        ("key = host=a, host=b", "key: there are several hosts, a, b; one would be right"),
        ("range = all", "range: 'all' is not known; one of pass, store, fill would be right"),
        ("ignore = cookie", "ignore: 'cookie' can't be ignored; cookies would be right"),
        ("ignore = query", "ignore: 'query' can't be ignored; key = strip-query would be right"),
        ("ignore = max-age", "ignore: 'max-age' can't be ignored; ttl would be right"),
        ("ignore = zzz", "ignore: 'zzz' can't be ignored; cookies, vary, no-store, private"),
        ("ttls = 1h", "ttls: unknown option; ttl would be right"),
        ("action = deny", "action: unknown option; it belongs to [rule NAME]"),
    ],
)
def test_wrong_values(tmp_path: Path, line: str, complaint: str) -> None:
    """A rule says what it can, and each mistake in it what would be right."""
    (mistake,) = mistakes(tmp_path, f"[cache-rule x]\nmatch = a.example\n{line}\n")
    assert mistake.startswith(f"proxyapp.ini:3: [cache-rule x] {complaint}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cache-rule x]\nttl = 1h", [":1: [cache-rule x] match: is missing; a host, a .domain"]),
        ("[cache-rule x]\nmatch =", [":2: [cache-rule x] match: is missing"]),
        (
            "[cache-rule x]\nmatch = ftp://a, b..c, good.example, *.deb",
            [
                ":2: [cache-rule x] match: 'ftp://a' is fetched by no proxy",
                ":2: [cache-rule x] match: 'b..c' is not a host",
                ":2: [cache-rule x] match: '*.deb' is about hosts; */*.deb would be right",
            ],
        ),
        ("[cache-rule]\nmatch = a", [":1: [cache-rule]: there is no name behind cache-rule; ["]),
        ("[cache-rule a b]\nmatch = a", [":1: [cache-rule a b]: 'a b' is no name; letters"]),
        ("[cache-rules a]\nmatch = a", [":1: [cache-rules a]: unknown section; [cache-rule a] w"]),
    ],
)
def test_wrong_sections(tmp_path: Path, text: str, expected: list[str]) -> None:
    """A rule has a name and something that it is about."""
    found = mistakes(tmp_path, text)
    assert len(found) == len(expected), found
    for mistake, start in zip(found, expected, strict=True):
        assert mistake.startswith("proxyapp.ini" + start)


def test_a_rule_changes_nothing_by_itself(tmp_path: Path) -> None:
    """What a rule doesn't say stays as it is without it."""
    section = rule(tmp_path)
    assert (section.name, section.place) == ("x", f"{tmp_path}/proxyapp.ini:1")
    assert [str(pattern) for pattern in section.match] == ["a.example"]
    assert section.ttl == Lifetime()
    assert section.key is PLAIN
    assert section.range is OnRange.STORE
    assert section.ignore == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Lifetime()),
        ("off", OFF),
        ("No", OFF),
        ("0", OFF),
        ("0s", OFF),
        ("validate", Lifetime(ttl=0.0)),
        ("7d", Lifetime(ttl=7 * DAYS)),
        (">=1h", Lifetime(least=3600.0)),
        ("<= 7d", Lifetime(most=7 * DAYS)),
        ("<=0", Lifetime(most=0.0)),
        (">= 1h, <= 7d", Lifetime(least=3600.0, most=7 * DAYS)),
        ("<=7d\n>=1h", Lifetime(least=3600.0, most=7 * DAYS)),
    ],
)
def test_lifetimes(text: str, expected: Lifetime) -> None:
    """A lifetime is a time, bounds for what the origin says, or a word."""
    assert cachevalues.lifetime(text, NOWHERE) == expected


def _globs(*names: str) -> Globs:
    return Globs(name.encode() for name in names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", PLAIN),
        ("strip-query", KeyRule(strip=_globs("*"))),
        ("Strip utm_* Session", KeyRule(strip=_globs("utm_*", "Session"))),
        ("strip=a", KeyRule(strip=_globs("a"))),
        ("strip a, strip b", KeyRule(strip=_globs("a", "b"))),
        ("keep id", KeyRule(keep=_globs("id"))),
        ("sort-query", KeyRule(is_sorted=True)),
        ("host=Steam", KeyRule(host="steam")),
        ("host = steam", KeyRule(host="steam")),
        ("host steam\nstrip a, sort-query", KeyRule("steam", _globs("a"), None, True)),
    ],
)
def test_keys(text: str, expected: KeyRule) -> None:
    """Clauses of a key are joined, whatever stands between a word and its name."""
    assert cachevalues.key(text, NOWHERE) == expected


def test_ignored_words(tmp_path: Path) -> None:
    """Each word is the field or the directive that it is about."""
    section = rule(tmp_path, "ignore = Cookies, no-store\n  must-revalidate")
    assert section.ignore == {b"set-cookie", b"no-store", b"must-revalidate"}


@given(st.text(max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    """No text breaks a parser."""
    for parse in (cachevalues.lifetime, cachevalues.key, cachevalues.ignored, cachevalues.match):
        try:
            parse(text, NOWHERE)
        except WrongValue as wrong:
            assert all("would be right" in reason or "%20" in reason for reason in wrong.reasons)


# --- Contradictions ---

ALL = "[cache-rule x]\nmatch = *\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            ALL + "[cache-rule y]\nmatch = a.example\n",
            ":3: [cache-rule y]: is never asked, because [cache-rule x] at proxyapp.ini:1 matches"
            " everything; leave * to [cache]",
        ),
        ("[cache]\nrules = apt, npm\n" + ALL, ":2: [cache] rules: apt, npm: is never asked, be"),
        (
            "[cache-rule x]\nmatch = a.example\n[cache-rule y]\nmatch = b.example, A.example/**\n"
            "[cache-rule z]\nmatch = http://b.example, a.example/*\n",
            ":6: [cache-rule z] match: a.example/* is in [cache-rule y] above, which counts",
        ),
        (
            "[cache-rule x]\nmatch = a\nttl = off\nkey = strip-query\n",
            ":4: [cache-rule x] key: nothing of it is ever stored, by ttl = off; leave one of them",
        ),
        ("[cache-rule x]\nmatch = a\nttl = 0\nrange = fill\n", ":4: [cache-rule x] range: nothing"),
        ("[cache-rule x]\nmatch = a\nttl = 0\nignore = vary\n", ":4: [cache-rule x] ignore: noth"),
        (
            "[cache-rule x]\nmatch = a\nignore = authorization\n",
            ":3: [cache-rule x] ignore: authorization: those without a password would be served"
            " what others got by one; with ttl = validate, the origin judges each",
        ),
        (
            "[cache-rule x]\nmatch = a\nignore = authorization\nttl = 7d\n",
            ":3: [cache-rule x] ignore: authorization: those without",
        ),
        (
            "[cache-rule x]\nmatch = a.example, */*.iso\nkey = host=a\n",
            ":3: [cache-rule x] key: any host could speak for all as a; host/path instead of",
        ),
    ],
)
def test_contradictions(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that can never do what it says, or would do harm, is a mistake where it says so."""
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith("proxyapp.ini" + expected)


@pytest.mark.parametrize(
    "text",
    [
        "[cache-rule x]\nmatch = a.example\n" + ALL.replace("x", "last"),
        "[cache-rule x]\nmatch = a\nignore = authorization\nttl = validate\n",
        "[cache-rule x]\nmatch = .a.example, cdn*.b.example/x/*\nkey = host=a\n",
        "[cache-rule x]\nmatch = http://*\n[cache-rule y]\nmatch = https://*\n",
    ],
)
def test_what_is_no_contradiction(tmp_path: Path, text: str) -> None:
    """Much looks alike and is well meant."""
    assert load(tmp_path, text).cache_rules
