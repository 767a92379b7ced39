"""Classifies an IP address: public, or which kind of special-purpose.

The tables follow the IANA registries "IPv4 Special-Purpose Address Space", "IPv6 Special-Purpose
Address Space" (both RFC 6890), "IPv4 Multicast Address Space" and "IPv6 Address Space". Where a
registry calls an address globally reachable and it is yet no single host elsewhere (PCP and TURN
anycast, ORCHIDv2, DRIP), it is RESERVED here: no origin server lives there.

IPv6 addresses that carry an IPv4 one are judged by it, because that is where packets end.
"""

from __future__ import annotations

import enum
import functools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# One entry a distinct address text. A text has at most 45 characters, so this is below 1 MiB.
_REMEMBERED = 4096


class AddressClass(enum.Enum):
    """What an address is for; the value reads on after "10.1.2.3 is"."""

    PUBLIC = "a public address"
    LOOPBACK = "a loopback address"
    PRIVATE = "a private address"
    LINK_LOCAL = "a link-local address"
    CGNAT = "a carrier-grade NAT address"
    MULTICAST = "a multicast address"
    BROADCAST = "a broadcast address"
    UNSPECIFIED = "an unspecified address"
    DOCUMENTATION = "a documentation address"
    BENCHMARKING = "a benchmarking address"
    RESERVED = "a reserved address"


# The first match wins; what matches nothing is public.
_IPV4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", AddressClass.UNSPECIFIED),  # RFC 791; hosts dial themselves by it
        ("10.0.0.0/8", AddressClass.PRIVATE),  # RFC 1918
        ("100.64.0.0/10", AddressClass.CGNAT),  # RFC 6598
        ("127.0.0.0/8", AddressClass.LOOPBACK),  # RFC 1122 section 3.2.1.3
        ("169.254.0.0/16", AddressClass.LINK_LOCAL),  # RFC 3927
        ("172.16.0.0/12", AddressClass.PRIVATE),  # RFC 1918
        ("192.0.0.0/24", AddressClass.RESERVED),  # RFC 6890; DS-Lite, PCP, TURN, NAT64 discovery
        ("192.0.2.0/24", AddressClass.DOCUMENTATION),  # RFC 5737
        ("192.88.99.0/24", AddressClass.RESERVED),  # RFC 7526, former 6to4 relays
        ("192.168.0.0/16", AddressClass.PRIVATE),  # RFC 1918
        ("198.18.0.0/15", AddressClass.BENCHMARKING),  # RFC 2544
        ("198.51.100.0/24", AddressClass.DOCUMENTATION),  # RFC 5737
        ("203.0.113.0/24", AddressClass.DOCUMENTATION),  # RFC 5737
        ("224.0.0.0/4", AddressClass.MULTICAST),  # RFC 5771
        ("255.255.255.255/32", AddressClass.BROADCAST),  # RFC 919
        ("240.0.0.0/4", AddressClass.RESERVED),  # RFC 1112 section 4
    )
)

_IPV6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", AddressClass.UNSPECIFIED),  # RFC 4291 section 2.5.2
        ("::1/128", AddressClass.LOOPBACK),  # RFC 4291 section 2.5.3
        ("2001:2::/48", AddressClass.BENCHMARKING),  # RFC 5180
        ("2001:3::/32", AddressClass.PUBLIC),  # RFC 7450, AMT
        ("2001:4:112::/48", AddressClass.PUBLIC),  # RFC 7535, AS112
        ("2001::/23", AddressClass.RESERVED),  # RFC 2928; anycast, ORCHID, DRIP
        ("2001:db8::/32", AddressClass.DOCUMENTATION),  # RFC 3849
        ("3fff::/20", AddressClass.DOCUMENTATION),  # RFC 9637
        ("2000::/3", AddressClass.PUBLIC),  # RFC 4291 section 2.4, the only unicast given out
        ("fc00::/7", AddressClass.PRIVATE),  # RFC 4193
        ("fe80::/10", AddressClass.LINK_LOCAL),  # RFC 4291 section 2.5.6
        ("fec0::/10", AddressClass.PRIVATE),  # RFC 3879, former site-local
        ("ff00::/8", AddressClass.MULTICAST),  # RFC 4291 section 2.7
        # RFC 4291 section 2.4: 100::/64 discard-only (RFC 6666), 5f00::/16 segment routing
        # (RFC 9602), ::/96 IPv4-compatible, ::ffff:0:0:0/96 IPv4-translated (RFC 2765) and the rest
        ("::/0", AddressClass.RESERVED),
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215
# RFC 6052 section 2.2.
NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
# RFC 5214 section 6.1: the bits before the IPv4 address, but for the one that says "universal".
_ISATAP = 0x5EFE
_UNIVERSAL = 1 << 25
_INSIDE = frozenset(
    (AddressClass.LOOPBACK, AddressClass.PRIVATE, AddressClass.LINK_LOCAL, AddressClass.CGNAT)
)


def classify(address: Address, nat64_prefixes: tuple[IPv6Network, ...] = ()) -> AddressClass:
    """Say what *address* is for; one that carries another is what the carried one is.

    *nat64_prefixes* are those of the local network, besides the ones that everybody has.
    """
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4 if address in network), AddressClass.PUBLIC)
    kinds = [classify(end) for end in carried(address, nat64_prefixes)]
    if not kinds or _is_isatap(address):
        # An ISATAP address is routed as an IPv6 address before it is looked into.
        kinds.insert(0, next(kind for network, kind in _IPV6 if address in network))
    return _worst(kinds)


@functools.lru_cache(maxsize=_REMEMBERED)
def classify_text(host: str) -> AddressClass:
    """Classify the address written as *host*; a zone id (RFC 4007) doesn't matter.

    Raises ValueError where *host* is no IP address.
    """
    return classify(parse(host))


def parse(host: str) -> Address:
    """Read an address, without its zone id and without the IPv6 mapping of an IPv4 address.

    Raises ValueError.
    """
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def carried(
    address: Address, nat64_prefixes: tuple[IPv6Network, ...] = ()
) -> tuple[IPv4Address, ...]:
    """Give the IPv4 addresses inside *address* that its packets may end at, mostly none."""
    if isinstance(address, IPv4Address):
        return ()
    found = _translated(address, nat64_prefixes)
    return (*found, _embedded(address, 96)) if _is_isatap(address) else found


def _translated(
    address: IPv6Address, nat64_prefixes: tuple[IPv6Network, ...]
) -> tuple[IPv4Address, ...]:
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    for prefix in nat64_prefixes:
        if address in prefix:
            return (_embedded(address, prefix.prefixlen),)
    if address.sixtofour is not None:  # RFC 3056
        return (address.sixtofour,)
    if address.teredo is not None:  # RFC 4380 section 4: server, client
        return address.teredo
    if address in _NAT64:
        return (_embedded(address, 96),)
    if address in _LOCAL_NAT64:
        return _carried_by_local_nat64(address)
    return ()


def _embedded(address: IPv6Address, length: int) -> IPv4Address:
    """Return the IPv4 address behind a prefix of *length* bits (RFC 6052 section 2.2)."""
    number = int(address)
    if length == 96:
        return IPv4Address(number & 0xFFFFFFFF)
    # Octet 8 (bits 64 to 71) is skipped by the IPv4 address, wherever that begins.
    rest = (number >> 64 << 56) | (number & ((1 << 56) - 1))
    return IPv4Address((rest >> (88 - length)) & 0xFFFFFFFF)


def _is_isatap(address: IPv6Address) -> bool:
    return (int(address) >> 32 & ~_UNIVERSAL) & 0xFFFFFFFF == _ISATAP


def _carried_by_local_nat64(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The readings of *address* at each prefix length of RFC 6052 section 2.2.

    Nobody but the translator knows its prefix length. Nearly all use 96, so that reading counts
    unless it is empty; a shorter one counts where it leads to the inside of some network.
    """
    shorter = [_embedded(address, length) for length in (48, 56, 64)]
    usual = _embedded(address, 96)
    if not int(usual):
        return (next((inner for inner in shorter if _is_public(inner)), usual), *_inside(shorter))
    return (usual, *_inside(shorter))


def _inside(candidates: list[IPv4Address]) -> list[IPv4Address]:
    return [address for address in candidates if classify(address) in _INSIDE]


def _is_public(address: IPv4Address) -> bool:
    return classify(address) is AddressClass.PUBLIC


def _worst(kinds: list[AddressClass]) -> AddressClass:
    """PUBLIC only where all are; else the most telling of the others."""
    inside = [kind for kind in kinds if kind in _INSIDE]
    special = [kind for kind in kinds if kind is not AddressClass.PUBLIC]
    return (inside or special or kinds)[0]
