"""interfaces: which of several addresses a LAN most likely knows this machine by."""

from __future__ import annotations

import ipaddress

import pytest

from proxyapp.net import local
from proxyapp.net.interfaces import Interface, lan_addresses, ranked


@pytest.mark.parametrize(
    ("interfaces", "way_out", "expected"),
    [
        ("", None, ""),
        ("lo=127.0.0.1", None, ""),
        # Two cables: the one to the internet comes last, private or not.
        ("lo=127.0.0.1 eth0=10.0.0.5 eth1=192.168.7.1", "10.0.0.5", "192.168.7.1 10.0.0.5"),
        ("eth0=8.8.4.4 eth1=192.168.7.1", "8.8.4.4", "192.168.7.1 8.8.4.4"),
        ("eth0=192.168.7.1 ppp0=100.64.3.4", "100.64.3.4", "192.168.7.1 100.64.3.4"),
        ("eth0=10.0.0.5 br0=192.168.7.1", "10.0.0.5", "192.168.7.1 10.0.0.5"),
        # One cable: what containers use is nobody's LAN.
        ("eth0=192.168.7.1 docker0=172.17.0.1", "192.168.7.1", "192.168.7.1 172.17.0.1"),
        ("br-0123456789ab=172.18.0.1 wlan0=8.8.4.4", None, "8.8.4.4 172.18.0.1"),
        ("virbr0=192.168.122.1 eth0=192.168.7.1", "192.168.7.1", "192.168.7.1 192.168.122.1"),
        ("eth0=10.0.0.1 eth1=10.0.0.1", None, "10.0.0.1"),
        ("eth0=10.0.1.1 eth1=10.0.0.1", None, "10.0.1.1 10.0.0.1"),
    ],
)
def test_the_lan_comes_first(interfaces: str, way_out: str | None, expected: str) -> None:
    """Then the way out, then networks inside this machine; loopback is no address for others."""
    given = [
        Interface(name, ipaddress.IPv4Address(address))
        for name, _, address in (each.partition("=") for each in interfaces.split())
    ]
    known = ipaddress.IPv4Address(way_out) if way_out else None
    assert ranked(given, known) == tuple(expected.split())


def test_the_addresses_are_this_machines() -> None:
    """What the kernel lists, it also delivers to this machine."""
    for address in lan_addresses():
        assert local.is_own(address)
        assert not ipaddress.IPv4Address(address).is_loopback
