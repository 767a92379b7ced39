"""The twistd subcommand: its options, and the service that they ask for."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import cast

from twisted.application.service import IService
from twisted.python import usage

from proxyapp.config import Config, ConfigError, Override, load
from proxyapp.rules import autoconfighelp

# A plain TCP endpoint, the port first or by its name; a backslash hides the character behind it.
_TCP = re.compile(r"tcp6?:(?:(?:[^:\\]|\\.)*:)*?(?:port=)?0*([1-9][0-9]*)(?::.*|\Z)")


class Options(usage.Options):
    """The command line of `twistd proxyapp`; *config* is what it and the ini say together.

    It is read before anything listens, and before twistd leaves the folder it was started in.
    """

    synopsis = "[options]"
    longdesc = (
        "Runs the forward proxy, its CONNECT tunnels and the static site. Without --config the"
        " defaults apply: proxy on tcp:3128, site on tcp:8080."
    )
    optFlags = [
        ("check", None, "Say whether the configuration is right, and exit."),
        ("autoconfig-help", None, "Print text to paste into DHCP and DNS servers, and exit."),
    ]

    config: Config

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._path: Path | None = None
        self._listeners: list[str] = []
        self._overrides: list[Override] = []

    def opt_config(self, path: str) -> None:
        """The ini file."""
        self._path = Path(path)

    def opt_listen(self, endpoint: str) -> None:
        """Where the proxy listens, such as tcp:3128; may be given several times."""
        self._listeners.append(endpoint)

    def opt_max_idle_per_host(self, number: str) -> None:
        """How many idle connections are kept per origin."""
        self._override("pool.max_idle_per_host", number, "--max-idle-per-host")

    def opt_tls_upgrade_header(self, name: str) -> None:
        """The request field that has an http:// URL fetched over TLS; empty turns it off."""
        self._override("proxy.tls_upgrade_header", name, "--tls-upgrade-header")

    def opt_set(self, assignment: str) -> None:
        """SECTION.OPTION=VALUE, for any option of the ini; may be given several times."""
        self._overrides.append(Override(assignment))

    opt_c = opt_config

    def _override(self, name: str, text: str, flag: str) -> None:
        self._overrides.append(Override(f"{name}={text}", flag))

    def postOptions(self) -> None:
        """Load the configuration; raises UsageError with every mistake, one a line."""
        if self._listeners:
            self._override("proxy.listen", "\n".join(self._listeners), "--listen")
        try:
            self.config = load(self._path, self._overrides, os.environ)
        except ConfigError as error:
            lines = ("the configuration is wrong", *error.mistakes)
            raise usage.UsageError("\n".join(lines)) from error
        if self["check"]:
            print(_summary(self.config))
            sys.exit(0)
        if self["autoconfig-help"]:
            print(_autoconfig_help(self.config), end="")
            sys.exit(0)


def _summary(config: Config) -> str:
    source = "the defaults" if config.path is None else str(config.path)
    listeners = {"proxy": config.proxy.listen, "site": config.site.listen}
    lines = [f"proxyapp: the configuration is right ({source})"]
    lines += [f"  {name}: {' '.join(given) or 'off'}" for name, given in listeners.items()]
    return "\n".join(lines)


def _autoconfig_help(config: Config) -> str:
    """Return the text for this machine; net is imported here as below, for this alone."""
    from proxyapp.net import interfaces

    served = autoconfighelp.Served(
        name=socket.gethostname(),
        addresses=interfaces.lan_addresses(),
        proxy_ports=_ports(config.proxy.listen),
        site_ports=_ports(config.site.listen),
        is_enabled=config.autoconfig.enabled,
        listed=config.autoconfig.proxy,
    )
    return autoconfighelp.help_text(served)


def _ports(listeners: tuple[str, ...]) -> tuple[int, ...]:
    """Return the ports that *listeners* name; the kernel's choice and sockets have none yet."""
    found = map(_TCP.fullmatch, listeners)
    return tuple(dict.fromkeys(int(match[1]) for match in found if match is not None))


def makeService(options: Options) -> IService:
    """Build the service that *options* ask for, on our reactor unless there is one already.

    The rest of the product is imported here and not above: --help, --check and a mistake in the
    ini need none of it, and the reactor may only be imported once it is chosen.
    """
    from proxyapp import service
    from proxyapp.net import reactor as appliance

    if "twisted.internet.reactor" not in sys.modules:
        appliance.install()
    from twisted.internet import reactor

    return service.build(options.config, cast(appliance.IApplianceReactor, reactor))
