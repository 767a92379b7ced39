"""routes: the kernel's tables, read; and whether anything in them leads out of the LAN."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.net import routes
from proxyapp.net.routes import Ways, ipv4_routes, ipv6_routes, read_ways

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
UP, GATEWAY, REJECT = 1, 2, 0x200


def v4(interface: str, network: str, flags: int) -> str:
    """Return a line of /proc/net/route."""
    parsed = ip_network(network)
    numbers = [_native(str(parsed.network_address)), _native(str(parsed.netmask))]
    return f"{interface}\t{numbers[0]}\t00000000\t{flags:04X}\t0\t0\t0\t{numbers[1]}\t0\t0\t0\n"


def _native(address: str) -> str:
    (number,) = struct.unpack("=I", IPv4Address(address).packed)
    return f"{number:08X}"


def v6(interface: str, network: str, flags: int) -> str:
    """Return a line of /proc/net/ipv6_route."""
    parsed = ip_network(network)
    destination, zeros = parsed.network_address.packed.hex(), "0" * 32
    return (
        f"{destination} {parsed.prefixlen:02x} {zeros} 00 {zeros} 00000100 00000001 00000000"
        f" {flags:08x} {interface:>8}\n"
    )


LAN = v4("eth1", "192.168.7.0/24", UP)
LAN6 = v6("eth1", "fe80::/64", UP) + v6("lo", "::/0", UP | REJECT) + v6("lo", "::1/128", UP)


class Machine:
    """The folders that a machine's kernel would show."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        self.proc.mkdir()

    def has(self, ipv4: str, ipv6: str = LAN6) -> None:
        """Set its routing tables."""
        (self.proc / "route").write_text(HEAD + ipv4)
        (self.proc / "ipv6_route").write_text(ipv6)

    def carrier(self, interface: str, state: str) -> None:
        """Plug a cable in or out."""
        (self.sys / interface).mkdir(parents=True, exist_ok=True)
        (self.sys / interface / "carrier").write_text(f"{state}\n")

    @property
    def lost(self) -> str:
        """Why there is no way out."""
        return read_ways(self.proc, self.sys).lost


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without any table."""
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("ipv4", "ipv6"),
    [
        ("", ""),
        (LAN, LAN6),
        (LAN + v4("eth0", "0.0.0.0/0", GATEWAY), LAN6),
        (LAN + v4("eth0", "0.0.0.0/0", UP | REJECT), LAN6),
        (LAN + v4("eth1", "224.0.0.0/4", UP), LAN6),
        (LAN + v4("tun0", "10.0.0.0/8", UP | GATEWAY), LAN6 + v6("eth1", "ff00::/8", UP)),
    ],
    ids=["no interface", "LAN only", "not up", "rejected", "multicast", "a VPN into an office"],
)
def test_no_way_out(machine: Machine, ipv4: str, ipv6: str) -> None:
    """Without a route to the world there is a reason of its own to believe the line down."""
    machine.has(ipv4, ipv6)
    assert machine.lost == "there is no default route"


@pytest.mark.parametrize(
    ("ipv4", "ipv6"),
    [
        (LAN + v4("eth0", "0.0.0.0/0", UP | GATEWAY), LAN6),
        (LAN + v4("ppp0", "0.0.0.0/0", UP), ""),
        (v4("tun0", "0.0.0.0/1", UP | GATEWAY) + v4("tun0", "128.0.0.0/1", UP | GATEWAY), LAN6),
        (LAN, LAN6 + v6("eth0", "::/0", UP | GATEWAY)),
        (LAN, LAN6 + v6("wg0", "2000::/3", UP)),
    ],
    ids=["gateway", "point to point", "VPN", "IPv6", "IPv6 by VPN"],
)
def test_ways_out(machine: Machine, ipv4: str, ipv6: str) -> None:
    """Any route to most of the world is one."""
    machine.has(ipv4, ipv6)
    assert machine.lost == ""


@pytest.mark.parametrize(
    ("carriers", "lost"),
    [
        ({"eth0": "0"}, ""),
        ({"eth0": "0", "wwan0": "1"}, ""),
        ({"eth0": "0", "wwan0": "0"}, "there is no carrier on eth0 and wwan0"),
        ({}, ""),
    ],
)
def test_carriers(machine: Machine, carriers: dict[str, str], lost: str) -> None:
    """A route by an interface without a cable leads nowhere; what isn't known proves nothing."""
    machine.has(v4("eth0", "0.0.0.0/0", UP | GATEWAY), v6("wwan0", "::/0", UP | GATEWAY))
    for interface, state in carriers.items():
        machine.carrier(interface, state)
    assert machine.lost == lost


def test_an_interface_that_was_taken_down(machine: Machine) -> None:
    """The kernel won't tell the carrier of one, so it has none."""
    machine.has(v4("eth0", "0.0.0.0/0", UP | GATEWAY))
    (machine.sys / "eth0" / "carrier").mkdir(parents=True)  # fails to be read, as EINVAL does
    assert machine.lost == "there is no carrier on eth0"


def test_near(machine: Machine) -> None:
    """What is on the link is near; what is behind a router isn't, nor is half of the world."""
    machine.has(
        LAN + v4("eth1", "11.7.0.0/16", UP) + v4("eth0", "11.8.0.0/16", UP | GATEWAY)
        + v4("wg0", "11.0.0.0/8", UP),
        v6("eth1", "2a00:7::/64", UP) + v6("wg0", "2a00::/16", UP),
    )  # fmt: skip
    near = read_ways(machine.proc, machine.sys).near
    assert [str(network) for network in near] == ["192.168.7.0/24", "11.7.0.0/16", "2a00:7::/64"]


def test_nothing_can_be_read(machine: Machine) -> None:
    """Where there is no table at all, as in some containers, nothing is known."""
    assert read_ways(machine.proc, machine.sys) == Ways("", ())


def test_a_table_too_long_to_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows all the world's routes has one that leads there, even if it isn't read."""
    machine.has(LAN * 10)
    monkeypatch.setattr(routes, "LONGEST_TABLE", 200)
    assert machine.lost == ""


def test_this_machine() -> None:
    """The real tables can be read, whatever they say."""
    assert isinstance(read_ways(), Ways)


@given(st.text() | st.text(alphabet="0123456789abcdefx. \t\n"))
def test_nonsense(text: str) -> None:
    """Lines that make no sense are left out."""
    ipv4_routes(HEAD + text)
    ipv6_routes(text)


@pytest.mark.parametrize(
    "line",
    [
        "eth0\t00000000\t0\t0003\t0\t0\t0\t123456789A\t0\t0\t0\n",
        "eth0\t0100000A\t0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
        "eth0\t00000000\t0\tup\t0\t0\t0\t00000000\t0\t0\t0\n",
        "eth0\n",
    ],
)
def test_lines_that_make_no_sense(line: str) -> None:
    """They don't hide those after them."""
    (route,) = ipv4_routes(HEAD + line + LAN)
    assert (str(route.network), route.interface) == ("192.168.7.0/24", "eth1")
