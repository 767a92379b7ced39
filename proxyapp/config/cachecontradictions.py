"""What is wrong in [cache-rule NAME] sections only because of what stands elsewhere in the ini."""

from __future__ import annotations

from collections.abc import Iterator

from proxyapp.config.cachesections import CacheRuleSection
from proxyapp.config.sections import Config
from proxyapp.rules.caching.keys import PLAIN
from proxyapp.rules.caching.rules import OnRange
from proxyapp.rules.caching.urlpatterns import UrlPattern

_VALIDATE = 0.0


def cache_contradictions(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield section, option and reason of each."""
    above: dict[UrlPattern, CacheRuleSection] = {}
    everything: CacheRuleSection | None = None
    for rule in config.cache_rules:
        section = f"cache-rule {rule.name}"
        if everything is not None:
            yield section, "", _never_asked(everything)
            continue
        yield from ((section, option, reason) for option, reason in _alone(rule))
        for pattern in rule.match:
            first = above.setdefault(pattern, rule)
            if first is not rule:
                reason = f"{pattern} is in [cache-rule {first.name}] above, which counts"
                yield section, "match", f"{reason}; in one of them would be right"
            if pattern.is_everything:
                everything = rule
    if everything is not None and config.cache.rules:
        names = ", ".join(config.cache.rules)
        yield "cache", "rules", f"{names}: {_never_asked(everything)}"


def _never_asked(rule: CacheRuleSection) -> str:
    above = f"[cache-rule {rule.name}] at {rule.place}"
    return f"is never asked, because {above} matches everything; leave * to [cache]"


def _alone(rule: CacheRuleSection) -> Iterator[tuple[str, str]]:
    """Find what one rule says against itself."""
    if rule.ttl.is_off:
        idle = {
            "key": rule.key != PLAIN,
            "range": rule.range is not OnRange.STORE,
            "ignore": bool(rule.ignore),
        }
        for option in (name for name, is_given in idle.items() if is_given):
            yield option, "nothing of it is ever stored, by ttl = off; leave one of them out"
    elif b"authorization" in rule.ignore and rule.ttl.ttl != _VALIDATE:
        reason = "authorization: those without a password would be served what others got by one"
        yield "ignore", f"{reason}; with ttl = validate, the origin judges each"
    if rule.key.host and any(not pattern.host for pattern in rule.match):
        reason = f"any host could speak for all as {rule.key.host}"
        yield "key", f"{reason}; host/path instead of */path in match would be right"
