"""Makes the rules of the cache that a configuration describes."""

from __future__ import annotations

import math
from dataclasses import replace

from proxyapp.config.cachesections import CacheRuleSection
from proxyapp.config.sections import Config
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.presets import PRESETS
from proxyapp.rules.caching.rules import CacheRule, CacheRules

_CREDENTIALS = b"authorization"


def make_cache_rules(config: Config) -> CacheRules:
    """Return the rules of *config*: its own first, then those of the presets that it names."""
    base = replace(
        DEFAULT,
        stale_if_error=config.cache.stale_if_error,
        ignore_cookies=config.cache.ignore_cookies,
    )
    own = [_rule(section, base) for section in config.cache_rules]
    ready = [_based(rule, base) for name in config.cache.rules for rule in PRESETS[name]]
    return CacheRules(own + ready, CacheRule(policy=base))


def _rule(section: CacheRuleSection, base: Policy) -> CacheRule:
    ttl = section.ttl
    policy = replace(
        base,
        ttl=ttl.ttl,
        ttl_least=0.0 if ttl.least is None else ttl.least,
        ttl_most=math.inf if ttl.most is None else ttl.most,
        ignore=section.ignore,
        is_off=ttl.is_off,
    )
    rule = CacheRule(section.name, section.match, policy, section.key, section.range)
    return _based(rule, base)


def _based(rule: CacheRule, base: Policy) -> CacheRule:
    """Return *rule* with what [cache] says of all responses, as far as it leaves that to it."""
    is_judged = _CREDENTIALS in rule.policy.ignore
    # Whoever may not have it must not get it only because the line is down.
    stale = 0.0 if is_judged else base.stale_if_error
    policy = replace(rule.policy, stale_if_error=stale, ignore_cookies=base.ignore_cookies)
    return replace(rule, policy=policy)
