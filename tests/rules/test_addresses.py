"""Promises of proxyapp.rules.addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import addresses
from proxyapp.rules.addresses import AddressClass

_IPV4 = [
    ("0.0.0.0", "UNSPECIFIED"),
    ("0.1.2.3", "UNSPECIFIED"),
    ("10.0.0.0", "PRIVATE"),
    ("10.255.255.255", "PRIVATE"),
    ("100.63.255.255", "PUBLIC"),
    ("100.64.0.0", "CGNAT"),
    ("100.127.255.255", "CGNAT"),
    ("100.128.0.0", "PUBLIC"),
    ("127.0.0.1", "LOOPBACK"),
    ("127.255.255.254", "LOOPBACK"),
    ("169.254.169.254", "LINK_LOCAL"),
    ("172.15.255.255", "PUBLIC"),
    ("172.16.0.1", "PRIVATE"),
    ("172.31.255.255", "PRIVATE"),
    ("172.32.0.0", "PUBLIC"),
    ("192.0.0.9", "RESERVED"),
    ("192.0.0.170", "RESERVED"),
    ("192.0.2.1", "DOCUMENTATION"),
    ("192.31.196.1", "PUBLIC"),
    ("192.88.99.1", "RESERVED"),
    ("192.168.255.1", "PRIVATE"),
    ("198.17.255.255", "PUBLIC"),
    ("198.19.255.255", "BENCHMARKING"),
    ("198.51.100.7", "DOCUMENTATION"),
    ("203.0.113.7", "DOCUMENTATION"),
    ("223.255.255.255", "PUBLIC"),
    ("224.0.0.251", "MULTICAST"),
    ("239.255.255.255", "MULTICAST"),
    ("240.0.0.1", "RESERVED"),
    ("255.255.255.254", "RESERVED"),
    ("255.255.255.255", "BROADCAST"),
    ("1.1.1.1", "PUBLIC"),
    ("93.184.216.34", "PUBLIC"),
]

_IPV6 = [
    ("::", "UNSPECIFIED"),
    ("::1", "LOOPBACK"),
    ("::2", "RESERVED"),
    ("::127.0.0.1", "RESERVED"),
    ("::ffff:0:7f00:1", "RESERVED"),
    ("100::1", "RESERVED"),
    ("100:0:0:1::1", "RESERVED"),
    ("2001:1::1", "RESERVED"),
    ("2001:2::1", "BENCHMARKING"),
    ("2001:3::1", "PUBLIC"),
    ("2001:4:112::1", "PUBLIC"),
    ("2001:10::1", "RESERVED"),
    ("2001:20::1", "RESERVED"),
    ("2001:db8::1", "DOCUMENTATION"),
    ("3fff:fff::1", "DOCUMENTATION"),
    ("3fff:1000::1", "PUBLIC"),
    ("4000::1", "RESERVED"),
    ("5f00::1", "RESERVED"),
    ("fc00::1", "PRIVATE"),
    ("fd00:ec2::254", "PRIVATE"),
    ("fe80::1", "LINK_LOCAL"),
    ("febf::1", "LINK_LOCAL"),
    ("fec0::1", "PRIVATE"),
    ("ff02::fb", "MULTICAST"),
    ("2606:4700:4700::1111", "PUBLIC"),
    ("2620:4f:8000::1", "PUBLIC"),
]

_CARRIERS = [
    ("::ffff:10.1.2.3", "PRIVATE"),
    ("::ffff:127.0.0.1", "LOOPBACK"),
    ("::ffff:1.1.1.1", "PUBLIC"),
    ("2002:7f00:1::", "LOOPBACK"),
    ("2002:c0a8:101::1", "PRIVATE"),
    ("2002:101:101::1", "PUBLIC"),
    # Teredo: server 65.54.227.120; clients 192.0.2.45, 10.0.0.1 and 1.1.1.1, inverted
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "DOCUMENTATION"),
    ("2001:0:4136:e378:0:0:f5ff:fffe", "PRIVATE"),
    ("2001:0:4136:e378:0:0:fefe:fefe", "PUBLIC"),
    ("2001:0:a00:1:0:0:fefe:fefe", "PRIVATE"),
    ("64:ff9b::10.0.0.1", "PRIVATE"),
    ("64:ff9b::169.254.169.254", "LINK_LOCAL"),
    ("64:ff9b::1.1.1.1", "PUBLIC"),
    ("64:ff9b::1:0:0", "RESERVED"),
]

# 64:ff9b:1::/48 with the IPv4 address at each place RFC 6052 section 2.2 allows
_LOCAL_NAT64 = [
    ("64:ff9b:1::", "UNSPECIFIED"),
    ("64:ff9b:1::10.0.0.1", "PRIVATE"),
    ("64:ff9b:1:fffe::127.0.0.1", "LOOPBACK"),
    ("64:ff9b:1::240.0.0.1", "RESERVED"),
    ("64:ff9b:1:a00:0:100::", "PRIVATE"),
    ("64:ff9b:1:a00:0:100:808:808", "PRIVATE"),
    ("64:ff9b:1:a:0:1::", "PRIVATE"),
    ("64:ff9b:1:0:a:0:100:0", "PRIVATE"),
    ("64:ff9b:1::8.8.8.8", "PUBLIC"),
    ("64:ff9b:1:fffe::8.8.8.8", "PUBLIC"),
    ("64:ff9b:1:808:8:800::", "PUBLIC"),
    ("64:ff9b:1:8:8:808::", "PUBLIC"),
    ("64:ff9b:1:0:8:808:800:0", "PUBLIC"),
]


# ISATAP (RFC 5214): behind any prefix, with and without the bit for "universal"
_ISATAP = [
    ("2606:4700::5efe:10.0.0.1", "PRIVATE"),
    ("2606:4700::200:5efe:127.0.0.1", "LOOPBACK"),
    ("2606:4700::5efe:8.8.8.8", "PUBLIC"),
    ("fe80::5efe:8.8.8.8", "LINK_LOCAL"),
    ("fd00::200:5efe:8.8.8.8", "PRIVATE"),
    ("2002:808:808::5efe:10.0.0.1", "PRIVATE"),
    ("2606:4700::100:5efe:10.0.0.1", "PUBLIC"),
    ("2606:4700::5eff:10.0.0.1", "PUBLIC"),
]


@pytest.mark.parametrize(("text", "expected"), _IPV4 + _IPV6 + _CARRIERS + _LOCAL_NAT64 + _ISATAP)
def test_classes_follow_the_registries(text: str, expected: str) -> None:
    """Each special-purpose block is what IANA says, at its first and last address."""
    assert addresses.classify(ipaddress.ip_address(text)) is AddressClass[expected]
    assert addresses.classify_text(text) is AddressClass[expected]


@pytest.mark.parametrize("text", ["", "%", "local", "1.2.3", "010.0.0.1", "[::1]", "1.1.1.1:80"])
def test_what_is_no_address_has_no_class(text: str) -> None:
    """A name, a port or an ambiguous spelling raises ValueError."""
    with pytest.raises(ValueError, match="not appear to be"):
        addresses.classify_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:102:304%1", "1.2.3.4"),
        ("2001:DB8::0001", "2001:db8::1"),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_parse_gives_the_plain_address(text: str, expected: str) -> None:
    """Zone ids and IPv4 mapping are spelling, not address."""
    assert str(addresses.parse(text)) == expected


def _behind(prefix: ipaddress.IPv6Network, address: ipaddress.IPv4Address) -> str:
    """Write *address* behind *prefix* as RFC 6052 section 2.2 does, bit by bit."""
    bits = f"{int(prefix.network_address):0128b}"[: prefix.prefixlen] + f"{int(address):032b}"
    if prefix.prefixlen < 96:
        bits = bits[:64] + "00000000" + bits[64:]
    return str(ipaddress.IPv6Address(int(bits.ljust(128, "0"), 2)))


@given(st.ip_addresses(v=4), st.sampled_from(addresses.NAT64_LENGTHS))
def test_local_prefixes_are_unwrapped(address: ipaddress.IPv4Address, length: int) -> None:
    """Behind a prefix of this network, an address is what it is without; and only there."""
    prefix = ipaddress.IPv6Network(f"2606:4700::/{length}")
    carrier = ipaddress.IPv6Address(_behind(prefix, address))
    assert addresses.carried(carrier, (prefix,)) == (address,)
    assert addresses.classify(carrier, (prefix,)) is addresses.classify(address)
    assert addresses.carried(carrier) == ()


def test_the_longest_prefix_comes_first() -> None:
    """Who hands in prefixes orders them; the first that fits counts."""
    long, short = ipaddress.IPv6Network("2606:4700::/96"), ipaddress.IPv6Network("2606:4700::/32")
    address = ipaddress.IPv6Address("2606:4700::8.8.8.8")
    assert str(addresses.carried(address, (long, short))[0]) == "8.8.8.8"
    assert str(addresses.carried(address, (short, long))[0]) == "0.0.0.0"


@given(st.ip_addresses(v=4))
def test_public_is_never_wider_than_the_standard_library(address: ipaddress.IPv4Address) -> None:
    """Whatever Python's own tables call not global isn't PUBLIC here either."""
    if addresses.classify(address) is AddressClass.PUBLIC:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_has_a_class(address: ipaddress.IPv6Address) -> None:
    """No IPv6 address is without a class, and PUBLIC ones are unicast."""
    if addresses.classify(address) is AddressClass.PUBLIC:
        assert not any((address.is_multicast, address.is_loopback, address.is_link_local))


@given(st.ip_addresses(v=4))
def test_carried_addresses_are_judged_like_plain_ones(address: ipaddress.IPv4Address) -> None:
    """Mapping, 6to4 and NAT64 neither widen nor narrow what an IPv4 address is."""
    expected = addresses.classify(address)
    number = int(address)
    for carrier in (0xFFFF << 32 | number, 0x2002 << 112 | number << 80, 0x64FF9B << 96 | number):
        assert addresses.classify(ipaddress.IPv6Address(carrier)) is expected


@given(st.ip_addresses(v=4, network="10.0.0.0/8"), st.sampled_from([48, 56, 64, 96]))
def test_local_nat64_leads_nowhere_inside(address: ipaddress.IPv4Address, length: int) -> None:
    """At no prefix length does a private address pass as public."""
    bits = f"{0x0064FF9B0001:048b}".ljust(length, "0") + f"{int(address):032b}"
    if length < 96:
        bits = bits[:64] + "00000000" + bits[64:]
    inner = ipaddress.IPv6Address(int(bits.ljust(128, "0"), 2))
    assert addresses.classify(inner) is not AddressClass.PUBLIC


def test_every_class_reads_as_words() -> None:
    """Each value goes on after "10.1.2.3 is"."""
    for kind in AddressClass:
        assert kind.value.startswith(("a ", "an "))
        assert kind.value.endswith(" address")
