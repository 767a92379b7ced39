"""Is this address one of this machine's own?"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

# Any will do: connecting a datagram socket sends nothing.
_PORT = 9


def is_own(address: str) -> bool:
    """Does the kernel deliver packets for *address* to this machine itself?

    Asks the routing table, by connecting a UDP socket: what is local is sent from itself. So the
    answer is right at once when an interface gets a new address.
    """
    wanted = _unmapped(address)
    family = socket.AF_INET6 if wanted.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((str(wanted), _PORT))
            source = ip_address(probe.getsockname()[0])
    except OSError:
        return False
    return source == wanted or source.is_loopback


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    # RFC 4291 section 2.5.5.2: ::ffff:192.0.2.1 reaches the IPv4 address in it.
    literal = ip_address(address)
    return (literal.version == 6 and literal.ipv4_mapped) or literal
