"""Everything that is needed to reach origins: names, dialling, the pool, and parent proxies."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import replace

from twisted.names import client as names_client

from proxyapp.config import Config
from proxyapp.config.judge import make_ways
from proxyapp.exchange import Forwarder, Responder
from proxyapp.net import local
from proxyapp.net.byparent import Diallers, ParentDialler, Patience
from proxyapp.net.dial import Dialler
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.resolver import Resolver, ServerLookup, SystemLookup, name_server
from proxyapp.net.timers import Sweep
from proxyapp.net.tls import TlsClient
from proxyapp.proxy.byparent import LoopCheck, ParentConnections, ParentForward
from proxyapp.proxy.destinations import Destinations
from proxyapp.proxy.forward import Connections, ForwardProxyResource
from proxyapp.proxy.pool import HTTPConnectionPool, PoolLimits
from proxyapp.proxy.tunnel import ConnectTunnel, TunnelLimits
from proxyapp.proxy.upstream import Timeouts, Upstream
from proxyapp.rules import hops
from proxyapp.rules.access import Access
from proxyapp.rules.hops import Hop
from proxyapp.service.among import Among
from proxyapp.service.uplink import make_uplink
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.target import Origin


class Origins:
    """The way to origins, straight or by parent proxies; *proxy_ports* fill as they open."""

    def __init__(
        self,
        config: Config,
        reactor: IApplianceReactor,
        sweep: Sweep,
        access: Access,
        proxy_ports: Sequence[int],
        among: Among,
    ) -> None:
        self._config = config
        self._among = among
        self._reactor = reactor
        self._sweep = sweep
        self._ways = make_ways(config)
        self._hop = _make_hop(config, among)
        self._tunnels = _tunnel_limits(config)
        self._lookup = _make_lookup(config, reactor)
        dns, proxy = config.dns, config.proxy
        self._resolver = Resolver(self._lookup, sweep, dns.cache_ttl_max, dns.negative_ttl)
        self._judge = Destinations(access, local.is_own, proxy_ports)
        self.uplink = make_uplink(
            config.cache.offline.value, reactor, self._resolver, self._judge, self._line_went_down
        )
        self._tls = TlsClient(reactor, proxy.tls_verify, proxy.tls_ca_file)
        timeout = config.pool.connect_timeout
        self._dialler = Dialler(
            reactor, self._resolver, self._judge, self._tls, timeout, self.uplink
        )
        self._by_parent = self._make_by_parent() if self._ways.parents else None
        self.pool = self._make_pool()

    def stop(self) -> None:
        """Close the idle connections, and let go of what runs by itself."""
        self.pool.closeCachedConnections()
        if self._by_parent is not None:
            self._by_parent.parents.stop()
        self.uplink.stop()
        self._lookup.stop()

    def forward(self) -> Forwarder:
        """Return what forwards requests, to origins or to parents."""
        straight = self._forward(self.pool, self._hop)
        if self._by_parent is None:
            return straight
        forwards = {
            parent: self._forward(
                ParentConnections(self.pool, parent), replace(self._hop, credentials=parent.lines)
            )
            for parent in self._ways.parents
        }
        parents, judge = self._by_parent.parents, self._judge.by_parent
        return ParentForward(straight, self._ways, parents, forwards, judge)

    def checked(self, chain: Responder) -> Responder:
        """Return *chain*, behind a look for loops if there can be any that come back to it."""
        return chain if self._by_parent is None else LoopCheck(chain, self._hop.pseudonym)

    def tunnel(self) -> ConnectTunnel:
        """Return what answers CONNECT."""
        return ConnectTunnel(
            self._dialler, self._sweep, self._tunnels, self._by_parent, self._among.tunnels
        )

    # The parts.

    def _line_went_down(self) -> None:
        self.pool.closeIdleConnections()

    def _forward(self, connections: Connections, hop: Hop) -> ForwardProxyResource:
        retries = self._config.pool.retries
        return ForwardProxyResource(connections, hop, retries, self._sweep, self._tunnels)

    def _make_by_parent(self) -> ParentDialler:
        given = self._config.pool
        # They have the time of one connection together; and nobody watches the line by them.
        share = given.connect_timeout / len(self._ways.parents)
        judge = self._judge.parent
        unwatched = make_uplink("off", self._reactor, self._resolver, judge, lambda: None)
        to_parents = Dialler(self._reactor, self._resolver, judge, self._tls, share, unwatched)
        return ParentDialler(
            self._reactor,
            Diallers(self._dialler, to_parents),
            self._tls,
            self._ways,
            self._hop,
            self._judge.by_parent,
            self.uplink,
            Patience(given.response_timeout, given.connect_timeout),
        )

    def _make_pool(self) -> HTTPConnectionPool:
        given = self._config.pool
        timeouts = Timeouts(given.response_timeout, given.read_timeout, given.idle_timeout)
        limits = PoolLimits(
            given.max_idle_per_host, given.max_per_host, given.max_total, given.queue_timeout
        )

        def make_upstream(pool: HTTPConnectionPool, origin: Origin) -> Upstream:
            return Upstream(origin, pool, self._sweep, timeouts, HeadLimits())

        dialler = self._by_parent or self._dialler
        return HTTPConnectionPool(dialler, self._sweep, limits, make_upstream)


def _make_lookup(config: Config, reactor: IApplianceReactor) -> SystemLookup | ServerLookup:
    if not config.dns.servers:
        return SystemLookup(reactor)
    servers = [name_server(given) for given in config.dns.servers]
    return ServerLookup(names_client.Resolver(servers=servers, reactor=reactor))


def _make_hop(config: Config, among: Among) -> Hop:
    proxy = config.proxy
    pseudonym = (proxy.pseudonym or _made_up(among)).encode("ascii") if proxy.via else b""
    return hops.hop(pseudonym, proxy.forwarded, proxy.tls_upgrade_header)


def _made_up(among: Among) -> str:
    """Return a name for Via that no other gateway has: two in a row must not be taken for one."""
    # A request that comes back may come to another worker, so they share it.
    unique = among.secret or secrets.token_bytes()
    return f"proxyapp-{hmac.digest(unique, b'via', 'sha256').hex()[:8]}"


def _tunnel_limits(config: Config) -> TunnelLimits:
    given = config.tunnel
    return TunnelLimits(
        given.max_per_client, given.max_total, given.idle_timeout, config.limits.write_timeout
    )
