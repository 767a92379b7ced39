"""Is this address one of this machine's own?"""

from __future__ import annotations

import socket

# Any will do: connecting a datagram socket sends nothing.
_PORT = 9


def is_own(address: str) -> bool:
    """Does the kernel deliver packets for *address* to this machine itself?

    Asks the routing table, by connecting a UDP socket: what is local is sent from itself. So the
    answer is right at once when an interface gets a new address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((address, _PORT))
            source: str = probe.getsockname()[0]
    except OSError:
        return False
    return source == address or source in ("127.0.0.1", "::1")
