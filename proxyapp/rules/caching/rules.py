"""Which cache rule a URL falls under: the first that matches."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from proxyapp.rules.caching.keys import PLAIN, KeyRule
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.urlpatterns import PathPatterns, UrlPattern
from proxyapp.rules.memory import room
from proxyapp.wire.target import Origin


class OnRange(enum.StrEnum):
    """What is done with a request for a range of something that isn't stored."""

    PASS = "pass"  # the range passes by, and nothing of it is stored
    STORE = "store"  # the range is stored, and joined with others of the same version
    FILL = "fill"  # the whole of it is fetched in the background


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How responses for the URLs that one of *match* describes are stored.

    *name* is that of its section or preset, empty for the rule that is left when none matches.
    """

    name: str = ""
    match: tuple[UrlPattern, ...] = ()
    policy: Policy = DEFAULT
    key: KeyRule = PLAIN
    range: OnRange = OnRange.STORE

    @property
    def is_judged_by_origin(self) -> bool:
        """Must the origin be asked for each client, because it alone knows who may have it?

        A fetch for one client is then not shared with others that asked meanwhile.
        """
        return b"authorization" in self.policy.ignore


class _Choice(NamedTuple):
    """A rule for hosts that it has matched already; without *paths* it matches all there is."""

    paths: PathPatterns | None
    rule: CacheRule


class CacheRules:
    """All rules, in the order in which they are tried; *default* is left when none matches."""

    def __init__(self, rules: Iterable[CacheRule], default: CacheRule) -> None:
        self.rules = tuple(rules)
        self.default = default
        self._by_origin: dict[Origin, tuple[_Choice, ...]] = {}

    def __repr__(self) -> str:
        return f"<CacheRules {' '.join(rule.name for rule in self.rules)}>"

    def find(self, origin: Origin, path: bytes) -> CacheRule:
        """Return the rule for *path*, with its query, of *origin*."""
        choices = self._by_origin.get(origin)
        if choices is None:
            choices = room(self._by_origin)[origin] = tuple(self._choices(origin))
        for paths, rule in choices:
            if paths is None or paths.match(path):
                return rule
        return self.default

    def _choices(self, origin: Origin) -> Iterator[_Choice]:
        """Yield the rules that are about *origin*, up to the first that takes all of it."""
        for rule in self.rules:
            here = [pattern for pattern in rule.match if pattern.is_about(origin)]
            if any(pattern.is_any_path for pattern in here):
                yield _Choice(None, rule)
                return
            if here:
                yield _Choice(PathPatterns(here), rule)
