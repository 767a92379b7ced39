"""What the appliance says when it starts: which addresses to use, and where things are."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort

from proxyapp.config import Config


def introduction(config: Config, ports: Mapping[str, list[IListeningPort]], name: str) -> list[str]:
    """Return the lines for the admin; *ports* are those that listen, by the part they are for.

    *name* is that of this machine.
    """
    lines = []
    for part, listen in (("proxy", config.proxy.listen), ("site", config.site.listen)):
        opened = zip(ports[part], listen, strict=False)
        addresses = [_address(port, name, _scheme(endpoint)) for port, endpoint in opened]
        lines.append(f"{part}: {', '.join(addresses) or 'off'}")
    requests = {"-": "standard output", "": "off"}.get(config.log.requests, config.log.requests)
    lines.append(f"request log: {requests} ({config.log.format})")
    lines.append(f"state: {config.proxyapp.state_dir}")
    ini = config.path or "none, the defaults apply; --config FILE reads one (etc/proxyapp.ini)"
    lines.append(f"configuration: {ini}")
    return lines


def _scheme(endpoint: str) -> str:
    return "https" if endpoint.startswith(("ssl:", "tls:")) else "http"


def _address(port: IListeningPort, name: str, scheme: str) -> str:
    host = port.getHost()
    if not isinstance(host, IPv4Address | IPv6Address):
        return str(getattr(host, "name", host))
    here = host.host if host.host not in ("0.0.0.0", "::") else name
    return f"{scheme}://{f'[{here}]' if ':' in here else here}:{host.port}"
