"""What an admin pastes into DHCP and DNS servers, so that devices find their proxy settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

# Where clients look that find the proxy by DNS; they can be told of no other port.
WPAD_PORT = 80
_PATH = "/wpad.dat"
_NO_ADDRESS = "ADDRESS-OF-THIS-GATEWAY"
_NO_DOMAIN = "lan"


class Served(NamedTuple):
    """What this machine serves to clients, and as whom.

    *addresses* are those on the LAN, the most likely one first; *listed* is [autoconfig] proxy.
    """

    name: str
    addresses: tuple[str, ...]
    proxy_ports: tuple[int, ...]
    site_ports: tuple[int, ...]
    is_enabled: bool
    listed: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The host for URLs: the name if it has a domain, else the address, which always works."""
        if "." in self.name or not self.addresses:
            return self.name
        first = self.addresses[0]
        return f"[{first}]" if ":" in first else first

    @property
    def domain(self) -> str:
        """The domain of the LAN, as far as the name tells."""
        return self.name.partition(".")[2] or _NO_DOMAIN

    @property
    def url(self) -> str:
        """Where the settings are, preferably on the site's port; empty where nothing listens."""
        ports = (*self.site_ports, *self.proxy_ports)
        if not ports:
            return ""
        if WPAD_PORT in ports:
            return f"http://{self.host}{_PATH}"
        return f"http://{self.host}:{ports[0]}{_PATH}"


def help_text(served: Served) -> str:
    """Return all of it: what is served, what is missing, and the text for each server."""
    parts = [_introduction(served), *map("WARNING: {}".format, warnings(served))]
    if served.url:
        parts += [
            "DHCP option 252 tells clients where their settings are.",
            _snippet("dnsmasq, in dnsmasq.conf", dnsmasq_option(served.url)),
            _snippet("ISC dhcpd, in dhcpd.conf", dhcpd_option(served.url)),
            _snippet("Kea, in kea-dhcp4.conf", kea_option(served.url)),
        ]
    addresses, name = served.addresses or (_NO_ADDRESS,), f"wpad.{served.domain}"
    parts += [
        "Clients without that option ask the DNS for the name wpad in their own domain:\n"
        f"{name}, and then http://{name}{_PATH}",
        _snippet("dnsmasq, in dnsmasq.conf", dnsmasq_record(name, addresses)),
        _snippet("unbound, below server: in unbound.conf", unbound_records(name, addresses)),
        _snippet(f"BIND, in the zone {served.domain}", bind_records(addresses)),
        "Windows DNS servers hide the name wpad until it is taken off their block list:",
        "    dnscmd /config /globalqueryblocklist isatap",
    ]
    return "\n\n".join(parts) + "\n"


def warnings(served: Served) -> list[str]:
    """Return what keeps clients from finding their settings, each as a sentence or two."""
    found = []
    if not served.is_enabled:
        found.append("[autoconfig] enabled is off, so no settings are served.")
    if not served.proxy_ports and not served.listed:
        found.append("no proxy listens on a known TCP port, so there is nothing to set up.")
    if WPAD_PORT not in (*served.site_ports, *served.proxy_ports):
        found.append(
            "port 80 is not served, and clients that find the proxy by DNS ask no other.\n"
            "Add a line tcp:80 to [site] listen."
        )
    return found


def _introduction(served: Served) -> str:
    proxy_ports, site_ports = map(_shown, (served.proxy_ports, served.site_ports))
    lines = [
        f"Automatic proxy settings of {served.name}",
        f"    addresses:   {_shown(served.addresses)}",
        f"    proxy ports: {proxy_ports}",
        f"    site ports:  {site_ports}",
        f"    clients use: {_shown(served.listed) if served.listed else 'the name they ask by'}",
    ]
    if served.url:
        lines.append(f"    settings:    {served.url}")
    return "\n".join(lines)


def _shown(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or "none"


def _snippet(where: str, text: str) -> str:
    return f"{where}:\n\n" + "\n".join(f"    {line}" for line in text.splitlines())


# DHCP.


def dnsmasq_option(url: str) -> str:
    """Return the line for dnsmasq's DHCP."""
    return f'dhcp-option=252,"{url}"'


def dhcpd_option(url: str) -> str:
    """Return the lines for ISC dhcpd, which doesn't know the option by itself."""
    return f'option wpad code 252 = text;\noption wpad "{url}";'


def kea_option(url: str) -> str:
    """Return the part of Kea's configuration, which is JSON."""
    definition = {"name": "wpad", "code": 252, "type": "string", "space": "dhcp4"}
    # A comma would part two values.
    option = {"name": "wpad", "space": "dhcp4", "csv-format": True, "data": url.replace(",", "\\,")}
    return json.dumps({"Dhcp4": {"option-def": [definition], "option-data": [option]}}, indent=2)


# DNS.


def _record_type(address: str) -> str:
    return "AAAA" if ":" in address else "A"


def bind_records(addresses: Sequence[str]) -> str:
    """Return the records of wpad for a zone file."""
    return "\n".join(f"wpad  IN  {_record_type(each):<4}  {each}" for each in addresses)


def unbound_records(name: str, addresses: Sequence[str]) -> str:
    """Return the lines of *name* for unbound."""
    lines = [f'local-data: "{name}. IN {_record_type(each)} {each}"' for each in addresses]
    return "\n".join(lines)


def dnsmasq_record(name: str, addresses: Sequence[str]) -> str:
    """Return the line of *name* for dnsmasq."""
    return "\n".join(f"host-record={name},{each}" for each in addresses)
