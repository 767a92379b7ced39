"""How much each client may have: the limits of the rules, with the files and threads they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from proxyapp.config import Config
from proxyapp.limits import Limits, build_limits
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.service.among import ALONE, Among

_T = TypeVar("_T")


def make_limits(config: Config, reactor: IApplianceReactor, among: Among = ALONE) -> Limits:
    """Return the limits; they keep a file in the state folder only where a rule has a quota."""

    def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(reactor, reactor.getThreadPool(), job)
        return done

    has_quotas = any(rule.quota_bytes for rule in config.rules)
    state_dir = config.proxyapp.state_dir if has_quotas else None
    return build_limits(state_dir, reactor, in_thread, time.time, among.make_bucket)
