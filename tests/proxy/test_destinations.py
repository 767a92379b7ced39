"""Promises of proxyapp.proxy.destinations."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

import pytest

from proxyapp import errors
from proxyapp.proxy.destinations import Destinations
from proxyapp.rules.access import Access
from tests.support import AccessOptions, DestinationsSection

OWN = frozenset(("192.0.2.254", "127.0.0.1", "8.8.4.4"))
PORTS = [3128, 3129]


def judge(
    networks: tuple[str, ...] = (), hosts: tuple[str, ...] = (), everything: bool = False
) -> Destinations:
    """Return the judge for these [access] destinations, on a machine with the addresses OWN."""
    listed = tuple(ip_network(network) for network in networks)
    section = DestinationsSection(everything=everything, networks=listed, hosts=hosts)
    prefixes = (IPv6Network("fd00:64::/96"),)
    access = Access(AccessOptions(section), None, (), (), prefixes)
    return Destinations(access, lambda address: address in OWN, PORTS)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1", "8.8.4.4"],
)
def test_what_is_not_public(address: str) -> None:
    """By default only public addresses are reached, and our own is none, whatever its class."""
    with pytest.raises(errors.DestinationDenied) as raised:
        judge()("name.example", address, 80)
    assert raised.value.status == 403
    assert "[access] destinations" in raised.value.reason


def test_what_is_public() -> None:
    """Public addresses are reached, on every port."""
    for port in (80, *PORTS):
        judge()("name.example", "93.184.215.14", port)


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("port", PORTS)
def test_loops(everything: bool, port: int) -> None:
    """Our own proxy ports are never dialled, whatever is allowed."""
    with pytest.raises(errors.LoopDetected) as raised:
        judge(everything=everything)("name.example", "192.0.2.254", port)
    assert raised.value.status == 508


def test_other_ports_of_ours() -> None:
    """What else this machine offers may be reached where the list says so."""
    judge(everything=True)("localhost", "127.0.0.1", 8080)
    judge(networks=("127.0.0.0/8",))("localhost", "127.0.0.1", 8080)
    judge(hosts=("files.corp",))("files.corp", "192.0.2.254", 8080)


def test_the_address_counts_not_the_name() -> None:
    """A name that leads into the inside is judged by where it leads."""
    with pytest.raises(errors.DestinationDenied):
        judge()("rebinding.example", "10.0.0.1", 80)
    judge(networks=("10.0.0.0/8",))("rebinding.example", "10.0.0.1", 80)


def test_ports_that_open_later_count() -> None:
    """The ports are those that are open when it is asked."""
    ports: list[int] = []
    access = Access(AccessOptions(DestinationsSection(everything=True)), None, ())
    asked = Destinations(access, lambda address: True, ports)
    asked("localhost", "127.0.0.1", 4000)
    ports.append(4000)
    with pytest.raises(errors.LoopDetected):
        asked("localhost", "127.0.0.1", 4000)


CARRIERS = ["::ffff:8.8.4.4", "64:ff9b::8.8.4.4", "2002:808:404::1", "fd00:64::8.8.4.4"]


@pytest.mark.parametrize("address", CARRIERS)
def test_our_own_address_in_another(address: str) -> None:
    """A public address of ours is ours in every dress, for the list and against loops."""
    with pytest.raises(errors.DestinationDenied, match="an address of this machine") as raised:
        judge()("name.example", address, 80)
    assert raised.value.rule == "[access] destinations"
    with pytest.raises(errors.LoopDetected):
        judge(everything=True)("name.example", address, PORTS[0])


@pytest.mark.parametrize("address", ["64:ff9b::8.8.8.8", "fd00:64::8.8.8.8", "2002:808:808::1"])
def test_others_in_another_dress(address: str) -> None:
    """Where the network has only IPv6, public IPv4 addresses are reached by their carriers."""
    judge()("name.example", address, PORTS[0])


def test_link_local_addresses_keep_their_zone() -> None:
    """Whether a link-local address is ours, only its zone tells."""
    asked: list[str] = []
    section = DestinationsSection(everything=True)

    def is_own(address: str) -> bool:
        asked.append(address)
        return address == "fe80::1%eth0"

    with pytest.raises(errors.LoopDetected):
        Destinations(Access(AccessOptions(section), None, ()), is_own, PORTS)(
            "name.example", "fe80::1%eth0", PORTS[0]
        )
    assert "fe80::1%eth0" in asked


def test_the_kernel_is_asked_where_it_matters() -> None:
    """Where everything may be reached, only our own ports are a reason to ask."""
    asked: list[str] = []

    def is_own(address: str) -> bool:
        asked.append(address)
        return False

    access = Access(AccessOptions(DestinationsSection(everything=True)), None, ())
    guard = Destinations(access, is_own, PORTS)
    guard("name.example", "8.8.8.8", 80)
    assert not asked
    guard("name.example", "8.8.8.8", PORTS[0])
    assert asked == ["8.8.8.8"]
