"""The ini file as one frozen value per section; every mistake in it is found before anything runs.

`sections` is the table of options, `load` the way in. The parts take their own section and
nothing else.
"""

from proxyapp.config.lists import Destinations, Network, Networks
from proxyapp.config.loading import ConfigError, Override, load
from proxyapp.config.sections import (
    OPTIONS,
    Access,
    Config,
    Dns,
    Limits,
    Log,
    Pool,
    Proxy,
    Proxyapp,
    Site,
    Tunnel,
)

__all__ = [
    "OPTIONS",
    "Access",
    "Config",
    "ConfigError",
    "Destinations",
    "Dns",
    "Limits",
    "Log",
    "Network",
    "Networks",
    "Override",
    "Pool",
    "Proxy",
    "Proxyapp",
    "Site",
    "Tunnel",
    "load",
]
