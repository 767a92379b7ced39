"""Is this address one of this machine's own, and what does it call itself?"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from proxyapp import errors

# Ours are used up, or the whole system's.
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
# Any will do: connecting a datagram socket sends nothing.
_PORT = 9


def is_own(address: str) -> bool:
    """Does the kernel deliver packets for *address* to this machine itself?

    Asks the routing table, by connecting a UDP socket: what is local is sent from itself. So the
    answer is right at once when an interface gets a new address. Raises Overloaded.
    """
    wanted = _unmapped(address)
    family = socket.AF_INET6 if wanted.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((str(wanted), _PORT))
            source = ip_address(probe.getsockname()[0])
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            # Nobody gets through because we couldn't look.
            raise errors.Overloaded("no descriptor is free to look at an address") from error
        return False
    return source == wanted or source.is_loopback


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    # RFC 4291 section 2.5.5.2: ::ffff:192.0.2.1 reaches the IPv4 address in it.
    literal = ip_address(address)
    return (literal.version == 6 and literal.ipv4_mapped) or literal


def names() -> tuple[str, ...]:
    """Return the names of this machine, as far as it knows them without asking the network.

    The main one comes first; the last one is what multicast DNS calls it (RFC 6762).
    """
    full = socket.gethostname().lower().removesuffix(".")
    first, _, _ = full.partition(".")
    return tuple(dict.fromkeys((full, first, f"{first}.local")))
