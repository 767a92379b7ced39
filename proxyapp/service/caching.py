"""The cache, if there is to be one: what it stores in, by which rules, in front of which origin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from proxyapp.cache.proxying import CachingProxy
from proxyapp.cache.wanted import Means
from proxyapp.config import Config
from proxyapp.config.cacherules import make_cache_rules
from proxyapp.exchange import Forwarder
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching.rules import CacheRules
from proxyapp.store.store import CacheStore, StoreLimits

_T = TypeVar("_T")
_FOLDER = "cache"


class Cache(NamedTuple):
    """The store and the rules of the cache, and what its fetches need."""

    store: CacheStore
    rules: CacheRules
    reactor: IApplianceReactor
    sweep: Sweep
    stall_timeout: float
    is_shared: bool

    def before(self, origin: Forwarder) -> CachingProxy:
        """Return what answers from the cache, or has *origin* answer."""
        means = Means(
            self.store,
            origin,
            self.sweep,
            time.time,
            self.stall_timeout,
            self.reactor,
            self.is_shared,
        )
        return CachingProxy(means, self.rules)


def make_cache(config: Config, reactor: IApplianceReactor, sweep: Sweep) -> Cache | None:
    """Return the cache, None where there is none by the configuration."""
    given = config.cache
    if given.is_off:
        return None

    def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(reactor, reactor.getThreadPool(), job)
        return done

    limits = StoreLimits(given.memory, given.disk, given.max_object)
    folder = config.proxyapp.state_dir / _FOLDER
    store = CacheStore(folder, limits, in_thread, reactor, time.time)
    is_shared = config.proxyapp.workers > 1
    timeout = config.limits.write_timeout
    return Cache(store, make_cache_rules(config), reactor, sweep, timeout, is_shared)
