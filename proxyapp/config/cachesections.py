"""The part of the table of options that is about the cache: [cache] and [cache-rule NAME]."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from proxyapp.config import cachevalues, rulevalues, values
from proxyapp.config.cachevalues import Lifetime
from proxyapp.config.option import heading, option, place
from proxyapp.config.values import DAYS, GIB
from proxyapp.rules.caching.keys import KeyRule
from proxyapp.rules.caching.rules import OnRange
from proxyapp.rules.caching.urlpatterns import UrlPattern

_LARGEST = 1024 * 1024 * GIB


class Offline(enum.Enum):
    """Whether the line counts as down."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache; sizes in bytes, times in seconds, *rules* are names of presets."""

    memory: int = option(
        values.size(0, _LARGEST),
        "64MiB",
        "Room in memory for small responses that are asked for often.",
    )
    disk: int = option(
        values.size(0, _LARGEST),
        "1GiB",
        "Room on disk, under state_dir; 0 keeps all in memory, and with memory = 0, too, there is"
        " no cache.",
    )
    max_object: int = option(values.size(0, _LARGEST), "512MiB", "Largest response that is stored.")
    stale_if_error: float = option(
        values.duration(0, 365 * DAYS),
        "1d",
        "How long past its time a response is served while its origin, or the line, is down.",
    )
    ignore_cookies: bool = option(
        values.boolean,
        "no",
        "Store responses that set cookies, without the cookies.",
    )
    offline: Offline = option(
        values.choice(Offline),
        "auto",
        "Is the line down: auto (find out), on (yes: serve what is stored, and ask nobody), or off"
        " (no, whatever happens).",
    )
    rules: tuple[str, ...] = option(
        cachevalues.presets,
        "",
        "Ready rules, tried behind your own below: apt, pypi, npm, windows-update, steam,"
        " docker-blobs.",
    )

    @property
    def is_off(self) -> bool:
        """Is there no cache at all?"""
        return not (self.memory or self.disk)


@dataclass(frozen=True, slots=True)
class CacheRuleSection:
    """How responses for the URLs that *match* describes are stored.

    *ttl* is their lifetime, None that which the origin gives.
    """

    name: str = heading(rulevalues.rule_name, "NAME")
    place: str = place()
    match: tuple[UrlPattern, ...] = option(
        cachevalues.match,
        "",
        "URLs it is about: hosts, .domains (with all names below), host/path, in which * stands"
        " for any characters; the first rule that matches counts.",
        example="downloads.example.com, .example.org/*.iso",
    )
    ttl: Lifetime = option(
        cachevalues.lifetime,
        "",
        "How long they are fresh: 7d, or at least and at most so long (>=1h, <=7d), validate (ask"
        " the origin each time), or off (never store them); empty is what the origin says.",
        example="7d",
    )
    key: KeyRule = option(
        cachevalues.key,
        "",
        "What doesn't tell them apart: strip-query, strip NAME (of parts of the query), keep NAME"
        " (only these count), sort-query, host=NAME (all hosts of the rule are one).",
        example="strip utm_* session, host=downloads",
    )
    range: OnRange = option(
        values.choice(OnRange, "store"),
        "store",
        "A range of what isn't stored yet: pass (don't store it), store (keep it, and join it with"
        " others), or fill (fetch the whole in the background).",
        example="fill",
    )
    ignore: frozenset[bytes] = option(
        cachevalues.ignored,
        "",
        "What of a response is taken as not said: cookies, vary, no-store, private, no-cache,"
        " must-revalidate, authorization.",
        example="cookies, vary",
    )
