"""Promises of proxyapp.rules.guard: which addresses may be dialled."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import addresses
from proxyapp.rules.access import Access
from proxyapp.rules.addresses import AddressClass
from proxyapp.rules.guard import DestinationGuard
from proxyapp.rules.question import Decision
from tests.rules.rulestage import AccessOptions, DestinationOptions, networks

_OWN = frozenset(("192.168.7.1", "198.41.0.9", "2606:4700::9"))


def _guard(destinations: DestinationOptions, *prefixes: str) -> DestinationGuard:
    return DestinationGuard(destinations, tuple(map(IPv6Network, prefixes)))


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
    decision = _guard(DestinationOptions()).judge("example.com", address, _OWN)
    assert decision == Decision(
        False,
        "[access] destinations",
        f"{why}, and [access] destinations allows only public ones",
    )


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1", "64:ff9b::5db8:d822"])
def test_public_allows_public_addresses(address: str) -> None:
    """A public address that isn't ours may be dialled."""
    decision = _guard(DestinationOptions()).judge("example.com", address, _OWN)
    assert decision
    assert decision.reason == (
        f"{address} is a public address, and [access] destinations allows those"
    )


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("corp", "10.1.1.1", True),
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
def test_listed_names_andnetworks(host: str, address: str, allowed: bool) -> None:
    """A name is allowed as listed, whatever its address; a network by the address alone."""
    listed = DestinationOptions(
        public=False,
        networks=networks("10.9.0.0/16", "192.168.7.1/32"),
        hosts=("files.lan", ".Corp"),
    )
    decision = _guard(listed).judge(host, address, _OWN)
    assert decision.allowed is allowed
    assert decision.rule == "[access] destinations"


def test_reasons_of_destination_decisions() -> None:
    """Every way to a decision has words of its own."""
    listed = DestinationOptions(networks=networks("10.9.0.0/16"), hosts=("files.lan",))
    guard = _guard(listed)
    option = "[access] destinations"
    assert guard.judge("a", "10.9.0.1", _OWN).reason == (
        f"10.9.0.1 is in 10.9.0.0/16, which {option} lists"
    )
    assert guard.judge("files.lan", "10.1.0.1", _OWN).reason == f"{option} lists files.lan"
    assert guard.judge("a", "10.1.0.1", _OWN).reason == (
        f"10.1.0.1 is a private address, and {option} allows only public ones and those it lists"
    )
    assert guard.judge("a", "/run/x", _OWN).reason == ("what would be dialled is not an IP address")
    closed = _guard(DestinationOptions(public=False))
    assert closed.judge("a", "1.1.1.1", _OWN).reason == (
        f"1.1.1.1 is not an address that {option} lists"
    )


def test_everything_is_everything() -> None:
    """`*` allows any address, ours too."""
    guard = _guard(DestinationOptions(everything=True, public=False))
    for address in ("127.0.0.1", "192.168.7.1", "fe80::1%eth0", "93.184.216.34"):
        assert guard.judge("a", address, _OWN)


def test_own_addresses_may_change() -> None:
    """What is remembered for one set of own addresses isn't used for another."""
    guard = _guard(DestinationOptions())
    assert guard.judge("a", "93.184.216.34", frozenset())
    assert not guard.judge("a", "93.184.216.34", frozenset(("93.184.216.34",)))
    assert guard.judge("a", "93.184.216.34", frozenset())


@given(st.ip_addresses(), st.text(max_size=20))
def test_only_public_addresses_pass_whatever_the_name(address: object, host: str) -> None:
    """No name makes a special-purpose address reachable under `public`."""
    decision = _guard(DestinationOptions()).judge(host, str(address), frozenset())
    assert decision.allowed is (addresses.classify_text(str(address)) is AddressClass.PUBLIC)


def test_memory_is_bounded() -> None:
    """A flood of hosts doesn't grow the memory, and is still judged rightly."""
    guard = _guard(DestinationOptions())
    for number in range(10_000):
        assert guard.judge(f"h{number}", "93.184.216.34", _OWN)
    assert guard.remembered <= 4096


# --- NAT64 of this network ---


@pytest.mark.parametrize(
    ("prefix", "address", "allowed"),
    [
        ("2001:db8::/32", "2001:db8:a00:1::", False),
        ("2001:db8:100::/40", "2001:db8:10a:0:1::", False),
        ("2001:db8:122::/48", "2001:db8:122:a00:0:100::", False),
        ("2001:db8:122:300::/56", "2001:db8:122:30a:0:1::", False),
        ("2001:db8:122:344::/64", "2001:db8:122:344:a:0:100::", False),
        ("2001:db8:122:344::/96", "2001:db8:122:344::10.0.0.1", False),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33", False),
        ("2001:db8:122:344::/96", "2001:db8:122:344::169.254.169.254", False),
        ("2001:db8:122:344::/96", "2001:db8:122:345::8.8.8.8", False),
        ("2001:db8:122::/48", "2001:db8:122:808:8:800::", True),
        ("2001:db8:122:344::/96", "2001:db8:122:344::8.8.8.8", True),
        ("fd00:64::/96", "fd00:64::8.8.8.8", True),
        ("fd00:64::/96", "fd00:64::127.0.0.1", False),
    ],
)
def test_prefixes_of_the_network(prefix: str, address: str, allowed: bool) -> None:
    """RFC 6052 section 2.4: at each length, the address behind the prefix is judged."""
    guard = _guard(DestinationOptions(), prefix)
    assert guard.judge("example.com", address, frozenset()).allowed is allowed


@pytest.mark.parametrize(
    ("address", "ends"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("::ffff:192.0.2.1", ("192.0.2.1",)),
        ("2606:4700:0::9", ("2606:4700::9",)),
        ("fe80::1%eth0", ("fe80::1",)),
        ("64:ff9b::198.41.0.9", ("64:ff9b::c629:9", "198.41.0.9")),
        ("2002:c629:9::1", ("2002:c629:9::1", "198.41.0.9")),
        ("2001:db8:64::198.41.0.9", ("2001:db8:64::c629:9", "198.41.0.9")),
    ],
)
def test_where_packets_end(address: str, ends: tuple[str, ...]) -> None:
    """Whoever asks whether an address is our own has to ask about all that it stands for."""
    assert _guard(DestinationOptions(), "2001:db8:64::/96").ends(address) == ends


def test_what_is_carried_may_be_our_own() -> None:
    """A public address of ours behind NAT64 is still ours."""
    guard = _guard(DestinationOptions())
    decision = guard.judge("example.com", "64:ff9b::198.41.0.9", frozenset(("198.41.0.9",)))
    assert decision.reason.startswith("64:ff9b::c629:9 is an address of this machine")
    assert guard.judge("example.com", "64:ff9b::198.41.0.9", frozenset())


def test_access_passes_questions_on() -> None:
    """The one judge answers about destinations as its guard does."""
    access = Access(AccessOptions(), None, (), (), (IPv6Network("fd00:64::/96"),))
    assert access.destination("example.com", "fd00:64::8.8.8.8", frozenset())
    assert not access.destination("example.com", "fd00:64::10.0.0.1", frozenset())
    assert access.ends("fd00:64::8.8.8.8") == ("fd00:64::808:808", "8.8.8.8")
    assert access.treats_own_apart
