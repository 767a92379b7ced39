"""Which addresses does this machine have on its LAN?"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from ipaddress import IPv4Address
from typing import NamedTuple

# linux/sockios.h: the IPv4 address of an interface, and where struct ifreq holds it.
_SIOCGIFADDR = 0x8915
_REQUEST = struct.Struct("15sx24x")
_ADDRESS = slice(20, 24)
# Elsewhere (RFC 5737), so the route there is the way out; connecting a datagram socket sends
# nothing.
_OUTSIDE = ("192.0.2.1", 9)
# What container and machine managers call the networks inside this machine.
_WITHIN = re.compile(r"(docker|virbr|veth|lxc|lxd|cni|podman)[\w.-]*|br-[0-9a-f]{12}")


class Interface(NamedTuple):
    """A network interface with an IPv4 address."""

    name: str
    address: IPv4Address


def lan_addresses() -> tuple[str, ...]:
    """Return the IPv4 addresses of this machine but loopback, the likeliest on the LAN first."""
    return ranked(_interfaces(), _way_out())


def ranked(interfaces: list[Interface], way_out: IPv4Address | None) -> tuple[str, ...]:
    """Order the addresses of *interfaces*: LANs, the *way_out*, networks within this machine.

    Private addresses go before others.
    """
    outside = [each for each in interfaces if not each.address.is_loopback]
    outside.sort(
        key=lambda each: (
            _WITHIN.fullmatch(each.name) is not None,
            not each.address.is_private,
            each.address == way_out,
        )
    )
    return tuple(dict.fromkeys(str(each.address) for each in outside))


def _interfaces() -> list[Interface]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, _REQUEST.pack(name.encode()))
            except OSError:  # it has none
                continue
            found.append(Interface(name, IPv4Address(answer[_ADDRESS])))
    return found


def _way_out() -> IPv4Address | None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_OUTSIDE)
            return IPv4Address(probe.getsockname()[0])
    except OSError:
        return None
