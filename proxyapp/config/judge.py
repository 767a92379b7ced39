"""Makes the judge that a configuration describes: one for the running proxy and for questions."""

from __future__ import annotations

from proxyapp.config.sections import Config
from proxyapp.rules.access import Access
from proxyapp.rules.parents import DirectHosts, Ways
from proxyapp.rules.upgrade import Spellings


def make_access(config: Config) -> Access:
    """Return the judge of what *config* allows."""
    return Access(
        config.access,
        config.tunnel.ports,
        config.proxy.tls_upgrade_clients,
        config.rules,
        config.dns.nat64_prefixes,
    )


def make_spellings(config: Config) -> Spellings:
    """Return what reads the ways to ask for the TLS upgrade: the judge is asked what they mean."""
    return Spellings(config.proxy.tls_upgrade_header, config.proxy.tls_upgrade_hosts)


def make_ways(config: Config) -> Ways:
    """Return what says which requests go to a parent proxy, and to which."""
    return Ways(config.upstream.proxy, DirectHosts(config.upstream.direct))
