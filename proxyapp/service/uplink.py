"""Makes the uplink: what it probes with, what it looks at, and who hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from proxyapp.net.dial import Judge
from proxyapp.net.probe import TcpProbe
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.resolver import Resolver
from proxyapp.net.routes import Ways, read_ways
from proxyapp.net.uplink import Uplink


def make_uplink(
    offline: str,
    reactor: IApplianceReactor,
    resolver: Resolver,
    judge: Judge,
    went_down: Callable[[], None],
) -> Uplink:
    """Return the uplink of *resolver* and *judge*; *offline* is `auto`, `on` or `off`."""

    def look() -> Deferred[Ways]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), read_ways)

    probe = TcpProbe(reactor, resolver, judge)
    return Uplink(reactor, offline, probe, look, time.time, went_down, resolver.forget_failures)
