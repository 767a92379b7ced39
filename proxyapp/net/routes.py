"""Does any route lead out of the LAN, and which public networks is this machine in itself?

The kernel's tables are text under /proc/net, those of the main routing table; whether a cable is
in is under /sys/class/net. Everything here blocks, if only for a moment.
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import NamedTuple

from proxyapp.rules.addresses import Network

PROC, SYS = Path("/proc/net"), Path("/sys/class/net")
# Who has routes to all the world has a way out of the LAN; so much (characters) is looked at.
LONGEST_TABLE = 256 * 1024
# linux/route.h and linux/ipv6_route.h.
_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200
# VPNs put 0.0.0.0/1 and 128.0.0.0/1, or 2000::/3, before the default route. 224.0.0.0/4 is none.
_LONGEST_DEFAULT = 3
# A LAN with public addresses has no more than so many of them; a larger one is a way out.
_SHORTEST_NEAR = {4: 16, 6: 48}


class Ways(NamedTuple):
    """*lost* says why no route leads out of the LAN, empty if one does; *near* is on the link."""

    lost: str
    near: tuple[Network, ...]


class Route(NamedTuple):
    """One line of a routing table that may be used."""

    network: Network
    interface: str
    has_gateway: bool

    @property
    def is_default(self) -> bool:
        """Does it lead anywhere at all?"""
        return self.network.prefixlen <= _LONGEST_DEFAULT

    @property
    def is_near(self) -> bool:
        """Is what it leads to on the link, and not behind a router?"""
        network = self.network
        return not self.has_gateway and network.prefixlen >= _SHORTEST_NEAR[network.version]


def read_ways(proc: Path = PROC, sys_net: Path = SYS) -> Ways:
    """Read the routing tables, and the carriers of the interfaces that lead out of the LAN."""
    texts = _read(proc / "route"), _read(proc / "ipv6_route")
    routes = [*ipv4_routes(texts[0]), *ipv6_routes(texts[1])]
    near = tuple(route.network for route in routes if route.is_near)
    if not texts[0] or any(len(text) >= LONGEST_TABLE for text in texts):
        return Ways("", near)  # not all of it is known
    outward = sorted({route.interface for route in routes if route.is_default})
    if not outward:
        return Ways("there is no default route", near)
    if any(_has_carrier(sys_net / interface) for interface in outward):
        return Ways("", near)
    return Ways(f"there is no carrier on {' and '.join(outward)}", near)


def ipv4_routes(table: str) -> list[Route]:
    """Read what /proc/net/route holds; lines that make no sense are left out."""
    routes = []
    for line in table.splitlines()[1:]:
        try:
            interface, destination, _, flags, *_, mask, _, _, _ = line.split()
            address = IPv4Address(_packed(destination))
            network = IPv4Network((address, int.from_bytes(_packed(mask)).bit_count()))
            routes += _usable(network, interface, int(flags, 16))
        except (ValueError, OverflowError):
            continue
    return routes


def ipv6_routes(table: str) -> list[Route]:
    """Read what /proc/net/ipv6_route holds; lines that make no sense are left out."""
    routes = []
    for line in table.splitlines():
        try:
            destination, length, _, _, _, _, _, _, flags, interface = line.split()
            network = IPv6Network((IPv6Address(bytes.fromhex(destination)), int(length, 16)))
            routes += _usable(network, interface, int(flags, 16))
        except (ValueError, OverflowError):
            continue
    return routes


def _usable(network: Network, interface: str, flags: int) -> list[Route]:
    # The loopback interface holds the addresses of this machine, and the routes that refuse.
    if interface == "lo" or not flags & _UP or flags & _REJECT:
        return []
    return [Route(network, interface, bool(flags & _GATEWAY))]


def _packed(number: str) -> bytes:
    """Return an address or a mask of /proc/net/route, which is printed as a number of the CPU's."""
    return int(number, 16).to_bytes(4, sys.byteorder)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(LONGEST_TABLE)
    except OSError:  # such as without IPv6
        return ""


def _has_carrier(interface: Path) -> bool:
    try:
        return (interface / "carrier").read_text(encoding="ascii").strip() != "0"
    except OSError as error:
        # EINVAL: it was taken down. What isn't there is no proof.
        return isinstance(error, FileNotFoundError)
