"""local: the kernel knows which addresses are this machine's own."""

from __future__ import annotations

import socket

import pytest

from proxyapp.net import local


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.254",  # RFC 5737, RFC 3849: documentation
        "198.51.100.7",
        "203.0.113.9",
        "2001:db8::1",
        "::ffff:198.51.100.7",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "fe80::1",
    ],
)
def test_foreign(address: str) -> None:
    """An address elsewhere, or one that can't be reached at all, is not ours."""
    assert not local.is_own(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.254",
        "0.0.0.0",
        "::1",
        "::",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
    ],
)
def test_loopback(address: str) -> None:
    """Loopback is ours in each of its spellings, and so is the unspecified address."""
    assert local.is_own(address)


def own_addresses() -> list[str]:
    """Return the addresses that this machine would send from, if it has a way out."""
    found = []
    for family, far in ((socket.AF_INET, "198.51.100.7"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            found.append(str(probe.getsockname()[0]).partition("%")[0])
    return found


def test_interfaces() -> None:
    """The addresses of the interfaces are ours, spelled as IPv4 or as IPv6."""
    for address in own_addresses():
        assert local.is_own(address)
        if ":" not in address:
            packed = socket.inet_aton(address)
            assert local.is_own(f"::ffff:{address}")
            assert local.is_own(f"::ffff:{packed[:2].hex()}:{packed[2:].hex()}")


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("gateway", ("gateway", "gateway.local")),
        ("GateWay.Lab.Example.", ("gateway.lab.example", "gateway", "gateway.local")),
        ("box.local", ("box.local", "box")),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, hostname: str, expected: tuple[str, ...]) -> None:
    """A machine goes by its host name, with and without the domain, and by multicast DNS's."""
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert local.names() == expected
