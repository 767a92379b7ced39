"""Values that only the cache has: presets, patterns of URLs, lifetimes, keys, what is ignored."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from proxyapp.config import values
from proxyapp.config.lists import words
from proxyapp.config.values import DAYS, Surroundings, WrongValue, shown
from proxyapp.rules.caching.globs import Globs
from proxyapp.rules.caching.keys import PLAIN, KeyRule
from proxyapp.rules.caching.presets import PRESETS
from proxyapp.rules.caching.urlpatterns import UrlPattern, parse_pattern

T = TypeVar("T")

# What is ignored, as it is written here and as a Policy names it.
_IGNORED: Mapping[str, bytes] = MappingProxyType(
    {
        "cookies": b"set-cookie",
        "vary": b"vary",
        "no-store": b"no-store",
        "private": b"private",
        "no-cache": b"no-cache",
        "must-revalidate": b"must-revalidate",
        "authorization": b"authorization",
    }
)
# What other caches have among these, and where it is said here.
_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "set-cookie": "cookies",
        "query": "key = strip-query",
        "expires": "ttl",
        "max-age": "ttl",
        "s-maxage": "ttl",
    }
)
_LIFETIME_IS = "7d, >=1h, <=7d, validate or off would be right"
_KEY_IS = "strip-query, strip NAME, keep NAME, sort-query or host=NAME would be right"
_BOUNDS: Mapping[str, str] = MappingProxyType({">=": "least", "<=": "most"})
_BLANK_BEHIND_SIGN = re.compile(r"([<>]=)\s+")
_VERB_END = re.compile(r"\s*=\s*|\s+")
_HAS_NAMES: Mapping[str, bool] = MappingProxyType(
    {"strip-query": False, "sort-query": False, "strip": True, "keep": True}
)
# It stands where a host would, behind a mark that no host has.
_KEY_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_QUERY_NAME = re.compile(r"[!-%'-<>-~]+")
_LONGEST = 3650 * DAYS
_duration = values.duration(0, _LONGEST)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a response is fresh, in seconds: *ttl*, or what the origin says within bounds.

    *is_off*: it isn't stored at all.
    """

    ttl: float | None = None
    least: float | None = None
    most: float | None = None
    is_off: bool = False


OFF = Lifetime(is_off=True)


def presets(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read names of presets, in the order in which they are tried."""
    return tuple(dict.fromkeys(_each(words(text.lower()), _preset)))


def match(text: str, _: Surroundings) -> tuple[UrlPattern, ...]:
    """Read patterns of URLs; there must be one."""
    if not text:
        raise WrongValue("is missing; a host, a .domain or host/path would be right")
    return tuple(_each(words(text), _pattern))


def lifetime(text: str, surroundings: Surroundings) -> Lifetime:
    """Read how long something is fresh; the empty text leaves it to the origin."""
    word = text.lower()
    if word in ("off", "no"):
        return OFF
    if word == "validate":
        return Lifetime(ttl=0.0)
    found: dict[str, float] = {}
    for each in words(_BLANK_BEHIND_SIGN.sub(r"\1", text)):
        bound = _BOUNDS.get(each[:2], "ttl")
        if bound in found or (found and "ttl" in (bound, *found)):
            raise WrongValue(f"{shown(text)} says two things; {_LIFETIME_IS}")
        found[bound] = _seconds(each, surroundings)
    if found.get("ttl") == 0:
        return OFF
    if found.get("least", 0.0) > found.get("most", _LONGEST):
        raise WrongValue(f"{shown(text)} leaves nothing between; {_LIFETIME_IS}")
    return Lifetime(found.get("ttl"), found.get("least"), found.get("most"))


def _seconds(word: str, surroundings: Surroundings) -> float:
    text = word[2:] if word[:2] in _BOUNDS else word
    if text == "0":
        return 0.0
    try:
        return _duration(text or "nothing", surroundings)
    except WrongValue as wrong:
        raise WrongValue(f"{shown(word)} is no lifetime; {_LIFETIME_IS}") from wrong


def key(text: str, _: Surroundings) -> KeyRule:
    """Read what of a URL doesn't count; the empty text is nothing."""
    said: dict[str, list[str]] = {}
    for clause in filter(None, (each.strip() for each in re.split(r"[,\n]", text))):
        verb, names = _clause(clause)
        said.setdefault(verb, []).extend(names)
    hosts = said.get("host", [""])
    if len(hosts) > 1:
        raise WrongValue(f"there are several hosts, {', '.join(hosts)}; one would be right")
    if not said:
        return PLAIN
    if "strip" in said and "keep" in said:
        raise WrongValue("both strip and keep are there; one of them would be right")
    if "strip-query" in said and said.keys() & {"strip", "keep", "sort-query"}:
        raise WrongValue("strip-query leaves no query; alone, or with host=NAME, would be right")
    stripped = ["*"] if "strip-query" in said else said.get("strip")
    return KeyRule(
        host=hosts[0],
        strip=_globs(stripped),
        keep=_globs(said.get("keep")),
        is_sorted="sort-query" in said,
    )


def _clause(clause: str) -> tuple[str, list[str]]:
    verb, _, rest = _VERB_END.sub(" ", clause, count=1).partition(" ")
    verb, names = verb.lower(), rest.split()
    if verb == "host":
        if len(names) != 1 or not _KEY_HOST.fullmatch(names[0].lower()):
            raise WrongValue(f"{shown(clause)} names no host; host=NAME would be right")
        return verb, [names[0].lower()]
    if bool(names) is not _HAS_NAMES.get(verb):
        raise WrongValue(f"{shown(clause)} is no part of a key; {_KEY_IS}")
    for name in names:
        if not _QUERY_NAME.fullmatch(name):
            raise WrongValue(f"{shown(name)} is no name in a query; utm_* would be right")
    return verb, names


def _globs(patterns: Iterable[str] | None) -> Globs | None:
    return None if patterns is None else Globs(each.encode("ascii") for each in patterns)


def ignored(text: str, _: Surroundings) -> frozenset[bytes]:
    """Read what of responses is ignored, as a Policy names it."""
    return frozenset(_each(words(text.lower()), _ignored))


def _ignored(word: str) -> bytes:
    if word in _IGNORED:
        return _IGNORED[word]
    right = _ELSEWHERE.get(word) or _nearest(word, _IGNORED)
    raise WrongValue(f"{shown(word)} can't be ignored; {right} would be right")


def _preset(word: str) -> str:
    if word not in PRESETS:
        raise WrongValue(f"{shown(word)} is no preset; {_nearest(word, PRESETS)} would be right")
    return word


def _pattern(word: str) -> UrlPattern:
    try:
        return parse_pattern(word)
    except ValueError as error:
        raise WrongValue(str(error)) from error


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    return (difflib.get_close_matches(word, names, 1) or [", ".join(names)])[0]


def _each(found: Iterable[str], parse: Callable[[str], T]) -> list[T]:
    """Parse every word, and complain about all the wrong ones at once."""
    read: list[T] = []
    reasons: list[str] = []
    for word in found:
        try:
            read.append(parse(word))
        except WrongValue as wrong:
            reasons += wrong.reasons
    if reasons:
        raise WrongValue(*reasons)
    return read
