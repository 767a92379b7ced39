"""The ini file as one frozen value per section; every mistake in it is found before anything runs.

`sections` is the table of options, `load` the way in. The parts take their own section and
nothing else.
"""

from proxyapp.config.cachesections import Cache, CacheRuleSection, Offline
from proxyapp.config.fetchsections import Fetch
from proxyapp.config.lists import Destinations, Network, Networks
from proxyapp.config.loading import ConfigError, Override, load, state_folder
from proxyapp.config.rulesections import RuleSection
from proxyapp.config.sections import (
    FAMILIES,
    OPTIONS,
    Access,
    Config,
    Dns,
    Pool,
    Proxy,
    Tunnel,
)
from proxyapp.config.servicesections import Limits, Log, Proxyapp
from proxyapp.config.sitesections import Auth, Autoconfig, Mount, Site, SiteRuleSection
from proxyapp.config.upstreamsection import Upstream

__all__ = [
    "FAMILIES",
    "OPTIONS",
    "Access",
    "Auth",
    "Autoconfig",
    "Cache",
    "CacheRuleSection",
    "Config",
    "ConfigError",
    "Destinations",
    "Dns",
    "Fetch",
    "Limits",
    "Log",
    "Mount",
    "Network",
    "Networks",
    "Offline",
    "Override",
    "Pool",
    "Proxy",
    "Proxyapp",
    "RuleSection",
    "Site",
    "SiteRuleSection",
    "Tunnel",
    "Upstream",
    "load",
    "state_folder",
]
