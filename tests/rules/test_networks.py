"""Promises of proxyapp.rules.networks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.networks import NetworkTable
from tests.rules.rulestage import networks

TABLE = NetworkTable(
    networks("10.0.0.0/8", "10.9.0.0/16", "192.0.2.1", "2001:db8::/32", "::/0", "fd00::1")
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("11.0.0.1", None),
        ("192.0.2.0", None),
        ("0.0.0.1", None),
        ("10.255.255.255", "10.0.0.0/8"),
        ("10.9.0.0", "10.9.0.0/16"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::1", "2001:db8::/32"),
        ("fd00::1", "fd00::1/128"),
        ("fd00::2", "::/0"),
    ],
)
def test_the_smallest_network_is_found(address: str, expected: str | None) -> None:
    """Of the networks that an address is in, the one that says most is named."""
    found = TABLE.find(ip_address(address))
    assert (None if found is None else str(found)) == expected


def test_any_of_several_addresses() -> None:
    """Whoever has several addresses is in a network by one of them."""
    assert TABLE.find(ip_address("11.0.0.1"), ip_address("10.0.0.1")) == ip_network("10.0.0.0/8")
    assert TABLE.find() is None
    assert NetworkTable(()).find(ip_address("10.0.0.1")) is None


def test_repr_tells_the_size() -> None:
    """An admin who reads a traceback sees how long the list is."""
    assert repr(TABLE) == "<NetworkTable 6 networks>"


PREFIXES = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
    lambda pair: ip_network(f"{pair[0]}/{min(pair[1], pair[0].max_prefixlen)}", strict=False)
)


@given(st.lists(PREFIXES, max_size=12), st.ip_addresses())
def test_as_one_by_one(listed: list[object], address: object) -> None:
    """The table finds a network exactly where looking through the list would."""
    literal = ip_address(str(address))
    there = networks(*map(str, listed))
    found = NetworkTable(there).find(literal)
    holding = [network.prefixlen for network in there if literal in network]
    assert (None if found is None else found.prefixlen) == max(holding, default=None)
