"""Promises of proxyapp.rules.access."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import addresses
from proxyapp.rules.access import Access, Decision
from proxyapp.rules.addresses import AddressClass, Network

_OWN = frozenset(("192.168.7.1", "198.41.0.9", "2606:4700::9"))


@dataclass(frozen=True)
class Destinations:
    everything: bool = False
    public: bool = True
    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    clients: tuple[Network, ...] = ()
    site_clients: tuple[Network, ...] = ()
    destinations: Destinations = field(default_factory=Destinations)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def _for_clients(*texts: str) -> Access:
    section = Section(clients=_networks(*texts), site_clients=_networks("0.0.0.0/0", "::/0"))
    return Access(section, frozenset((443,)), _networks("127.0.0.0/8", "::1", "10.0.0.0/8"))


def _for_destinations(destinations: Destinations) -> Access:
    return Access(Section(destinations=destinations), frozenset((443,)), ())


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("2606:4700::1", False),
        ("::1", False),
        ("not an address", False),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("127.0.0.1", True),
        ("", True),
    ],
)
def test_clients_are_those_in_the_networks(host: str, allowed: bool) -> None:
    """Only clients of the listed networks use proxy and tunnel, however their address is spelt."""
    access = _for_clients("127.0.0.0/8", "10.0.0.0/8", "fe80::/10")
    for service in ("proxy", "tunnel"):
        assert access.client(host, service).allowed is allowed
        assert access.client(host, service).rule == "[access] clients"


def test_site_clients_are_a_list_of_their_own() -> None:
    """The site asks site_clients, and neither memory disturbs the other."""
    access = _for_clients("10.0.0.0/8")
    assert not access.client("93.184.216.34", "proxy")
    assert access.client("93.184.216.34", "site")
    assert access.client("93.184.216.34", "site").rule == "[access] site_clients"
    assert not access.client("93.184.216.34", "proxy")


def test_a_unix_peer_needs_loopback() -> None:
    """The peer of a Unix socket is refused where loopback isn't listed."""
    assert not _for_clients("10.0.0.0/8").client("", "proxy")
    assert _for_clients("::1/128").client("", "proxy")


def test_no_networks_means_nobody() -> None:
    """The default is to deny."""
    assert not _for_clients().client("127.0.0.1", "proxy")


def test_reasons_of_client_decisions() -> None:
    """An admin can tell from the reason what to edit."""
    access = _for_clients("10.0.0.0/8")
    assert access.client("11.0.0.1", "proxy").reason == (
        "the client 11.0.0.1 is in no network that [access] clients lists"
    )
    assert access.client("10.0.0.1", "proxy").reason == (
        "the client 10.0.0.1 is in 10.0.0.0/8, which [access] clients lists"
    )
    assert access.client("x", "proxy").reason == (
        "the client x has no IP address that could be judged"
    )


@pytest.mark.parametrize(
    ("ports", "port", "allowed"),
    [
        (frozenset((443, 563)), 25, False),
        (frozenset[int](), 443, False),
        (frozenset((443, 563)), 443, True),
        (None, 25, True),
    ],
)
def test_tunnel_ports(ports: frozenset[int] | None, port: int, allowed: bool) -> None:
    """CONNECT reaches the listed ports; None lists all."""
    assert Access(Section(), ports, ()).tunnel_port(port).allowed is allowed


def test_reasons_of_port_decisions() -> None:
    """A refused port is told which ones there are."""
    access = Access(Section(), frozenset((8443, 443)), ())
    assert access.tunnel_port(25) == Decision(
        False, "[tunnel] ports", "port 25 is not one that [tunnel] ports allows (443, 8443)"
    )
    assert Access(Section(), frozenset(), ()).tunnel_port(1).reason.endswith("(none)")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.1.2.3", "10.1.2.3 is a private address"),
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("::ffff:127.0.0.1", "127.0.0.1 is a loopback address"),
        ("::1", "::1 is a loopback address"),
        ("169.254.169.254", "169.254.169.254 is a link-local address"),
        ("fe80::1%eth0", "fe80::1 is a link-local address"),
        ("0.0.0.0", "0.0.0.0 is an unspecified address"),
        ("64:ff9b::7f00:1", "64:ff9b::7f00:1 is a loopback address"),
        ("198.41.0.9", "198.41.0.9 is an address of this machine"),
        ("::ffff:198.41.0.9", "198.41.0.9 is an address of this machine"),
        ("2606:4700:0::9", "2606:4700::9 is an address of this machine"),
        ("2002:c629:9::1", "2002:c629:9::1 is an address of this machine"),
    ],
)
def test_public_refuses_everything_else(address: str, why: str) -> None:
    """`public` stops at special-purpose addresses and at our own, and says which it was."""
    decision = _for_destinations(Destinations()).destination("example.com", address, _OWN)
    assert decision == Decision(
        False,
        "[access] destinations",
        f"{why}, and [access] destinations allows only public ones",
    )


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1", "64:ff9b::5db8:d822"])
def test_public_allows_public_addresses(address: str) -> None:
    """A public address that isn't ours may be dialled."""
    decision = _for_destinations(Destinations()).destination("example.com", address, _OWN)
    assert decision
    assert decision.reason == (
        f"{address} is a public address, and [access] destinations allows those"
    )


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("corp", "10.1.1.1", False),
        ("evilcorp", "10.1.1.1", False),
        ("files.corp.example", "10.1.1.1", False),
        ("xfiles.lan", "10.1.1.1", False),
        ("a.files.lan", "10.1.1.1", False),
        ("", "10.1.1.1", False),
        ("a", "10.10.0.1", False),
        ("a", "93.184.216.34", False),
        ("a", "64:ff9b::10.9.0.1", False),
        ("a.corp", "10.1.1.1", True),
        ("A.B.Corp.", "127.0.0.1", True),
        ("files.lan", "10.1.1.1", True),
        ("FILES.lan.", "not even an address", True),
        ("a", "10.9.255.255", True),
        ("a", "::ffff:10.9.0.1", True),
        ("a", "192.168.7.1", True),
    ],
)
def test_listed_names_and_networks(host: str, address: str, allowed: bool) -> None:
    """A name is allowed as listed, whatever its address; a network by the address alone."""
    listed = Destinations(
        public=False,
        networks=_networks("10.9.0.0/16", "192.168.7.1/32"),
        hosts=("files.lan", ".Corp"),
    )
    decision = _for_destinations(listed).destination(host, address, _OWN)
    assert decision.allowed is allowed
    assert decision.rule == "[access] destinations"


def test_reasons_of_destination_decisions() -> None:
    """Every way to a decision has words of its own."""
    listed = Destinations(networks=_networks("10.9.0.0/16"), hosts=("files.lan",))
    access = _for_destinations(listed)
    option = "[access] destinations"
    assert access.destination("a", "10.9.0.1", _OWN).reason == (
        f"10.9.0.1 is in 10.9.0.0/16, which {option} lists"
    )
    assert access.destination("files.lan", "10.1.0.1", _OWN).reason == f"{option} lists files.lan"
    assert access.destination("a", "10.1.0.1", _OWN).reason == (
        f"10.1.0.1 is a private address, and {option} allows only public ones and those it lists"
    )
    assert access.destination("a", "/run/x", _OWN).reason == (
        "what would be dialled is not an IP address"
    )
    closed = _for_destinations(Destinations(public=False))
    assert closed.destination("a", "1.1.1.1", _OWN).reason == (
        f"1.1.1.1 is not an address that {option} lists"
    )


def test_everything_is_everything() -> None:
    """`*` allows any address, ours too."""
    access = _for_destinations(Destinations(everything=True, public=False))
    for address in ("127.0.0.1", "192.168.7.1", "fe80::1%eth0", "93.184.216.34"):
        assert access.destination("a", address, _OWN)


def test_own_addresses_may_change() -> None:
    """What is remembered for one set of own addresses isn't used for another."""
    access = _for_destinations(Destinations())
    assert access.destination("a", "93.184.216.34", frozenset())
    assert not access.destination("a", "93.184.216.34", frozenset(("93.184.216.34",)))
    assert access.destination("a", "93.184.216.34", frozenset())


@pytest.mark.parametrize(
    ("client", "allowed"),
    [("11.0.0.1", False), ("x", False), ("10.1.1.1", True), ("::ffff:10.1.1.1", True), ("", True)],
)
def test_who_may_upgrade(client: str, allowed: bool) -> None:
    """TLS upgrade is for its own list of clients, the first time and from memory."""
    access = _for_clients()
    assert access.may_upgrade_tls(client) is allowed
    assert access.may_upgrade_tls(client) is allowed


def test_memory_is_bounded() -> None:
    """A flood of hosts doesn't grow the memory, and is still judged rightly."""
    access = _for_destinations(Destinations())
    for number in range(10_000):
        assert access.destination(f"h{number}", "93.184.216.34", _OWN)
        assert not access.client(f"11.0.{number >> 8}.{number & 255}", "proxy")
    assert int(repr(access).split()[1]) <= 8192


def test_a_decision_is_as_true_as_it_allows() -> None:
    """A caller that forgets `.allowed` isn't let through."""
    assert not Decision(False, "rule", "reason")
    assert Decision(True, "rule", "reason")


@given(st.ip_addresses(), st.text(max_size=20))
def test_only_public_addresses_pass_whatever_the_name(address: object, host: str) -> None:
    """No name makes a special-purpose address reachable under `public`."""
    decision = _for_destinations(Destinations()).destination(host, str(address), frozenset())
    assert decision.allowed is (addresses.classify_text(str(address)) is AddressClass.PUBLIC)
