"""Makes the judge that a configuration describes: one for the running proxy and for questions."""

from __future__ import annotations

from proxyapp.config.sections import Config
from proxyapp.rules.access import Access


def make_access(config: Config) -> Access:
    """Return the judge of what *config* allows."""
    return Access(
        config.access,
        config.tunnel.ports,
        config.proxy.tls_upgrade_clients,
        config.rules,
        config.dns.nat64_prefixes,
    )
