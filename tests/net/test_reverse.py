"""Promises of proxyapp.net.reverse."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.names import client as names_client
from twisted.names import dns
from twisted.names.error import DNSNameError

from proxyapp.net import reverse
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.reverse import THREADS, ServerNames, SystemNames, plausible

awaiting = pytest_twisted.ensureDeferred

ADDRESS = "10.0.0.7"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ""),
        (".", ""),
        ("10.0.0.1", ""),
        ("10.0.0.1.", ""),
        ("::1", ""),
        ("a..b", ""),
        ("-a.lan", ""),
        ("a-.lan", ""),
        ("a b.lan", ""),
        ('a"b.lan', ""),
        ("a.lan\n", ""),
        ("b\xfccher.lan", ""),
        ("x" * 64 + ".lan", ""),
        (".".join(["x" * 60] * 5), ""),
        ("lan.7", ""),
        ("Panel.LAN.", "panel.lan"),
        ("x" * 63, "x" * 63),
        ("my_printer", "my_printer"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("7.lan", "7.lan"),
    ],
)
def test_what_can_be_a_name(name: str, expected: str) -> None:
    """Only what a host can be called, and never what reads like an address."""
    assert plausible(name) == expected


# --- The system ---


class System:
    """getnameinfo and getaddrinfo of a machine that knows what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, str] = {}
        self.addresses: dict[str, list[str]] = {}
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        monkeypatch.setattr(reverse.socket, "getnameinfo", self.getnameinfo)
        monkeypatch.setattr(reverse.socket, "getaddrinfo", self.getaddrinfo)

    def getnameinfo(self, address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        assert self.may_go_on.wait(10)
        if address[0] not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return self.names[address[0]], "0"

    def getaddrinfo(self, name: str, _: object) -> list[tuple[object, ...]]:
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [(0, 0, 0, "", (address, 0)) for address in self.addresses[name]]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """Give a system that knows nobody."""
    return System(monkeypatch)


@pytest.mark.parametrize(
    ("name", "addresses", "expected"),
    [
        (None, [], ""),
        ("panel.lan", None, ""),
        ("panel.lan", ["10.0.0.8", "fe80::1%lan"], ""),  # its name is somebody else's
        ("10.0.0.1", ["10.0.0.7"], ""),
        ("Panel.lan", ["10.0.0.8", "10.0.0.7"], "panel.lan"),
    ],
)
@awaiting
async def test_the_system_is_asked_both_ways(
    reactor: ApplianceReactor,
    system: System,
    name: str | None,
    addresses: list[str] | None,
    expected: str,
) -> None:
    """A name counts if it leads back to the address."""
    if name is not None:
        system.names[ADDRESS] = name
        if addresses is not None:
            system.addresses[name] = addresses
    names = SystemNames(reactor)
    assert await names(ADDRESS) == expected
    names.stop()


@awaiting
async def test_spellings_of_an_address_are_one(reactor: ApplianceReactor, system: System) -> None:
    """IPv6 can be written in many ways, and a link-local address with its link."""
    system.names = {"fe80::1%eth0": "a.lan", "2001:db8::7": "b.lan"}
    system.addresses = {"a.lan": ["fe80::1%3"], "b.lan": ["2001:DB8:0:0::7"]}
    names = SystemNames(reactor)
    assert [await names(address) for address in system.names] == ["a.lan", "b.lan"]
    names.stop()


@awaiting
async def test_threads_are_few(reactor: ApplianceReactor, system: System) -> None:
    """However many are asked for, only so many threads wait, and stopping waits for none."""
    system.names = {f"10.0.0.{n}": f"n{n}.lan" for n in range(20)}
    system.addresses = {f"n{n}.lan": [f"10.0.0.{n}"] for n in range(20)}
    system.may_go_on.clear()
    before = threading.active_count()
    names = SystemNames(reactor)
    answers = [names(address) for address in system.names]
    assert threading.active_count() == before + THREADS
    names.stop()
    system.may_go_on.set()
    assert await gatherResults(answers) == [f"n{n}.lan" for n in range(20)]


# --- Name servers ---

Answer = tuple[list[dns.RRHeader], list[object], list[object]]
Table = Mapping[str, Sequence[dns.Record_A | dns.Record_AAAA | dns.Record_PTR | dns.Record_TXT]]


class Servers:
    """A resolver of twisted.names with a table of answers."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _find(self, name: str) -> Deferred[Answer]:
        if name not in self._table:
            return fail(DNSNameError(name))
        payloads = self._table[name]
        answers = [dns.RRHeader(name, each.TYPE, ttl=9, payload=each) for each in payloads]
        return succeed((answers, [], []))

    def lookupPointer(self, name: str) -> Deferred[Answer]:
        return self._find(name)

    def lookupAddress(self, name: str) -> Deferred[Answer]:
        return self._find(f"A {name}")

    def lookupIPV6Address(self, name: str) -> Deferred[Answer]:
        return self._find(f"AAAA {name}")


def server_names(table: Table) -> Callable[[str], Deferred[str]]:
    """Return what asks servers that know *table*."""
    return ServerNames(cast(names_client.Resolver, Servers(table)))


POINTER = "7.0.0.10.in-addr.arpa"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({POINTER: []}, ""),
        ({POINTER: [dns.Record_TXT(b"panel.lan")]}, ""),
        ({POINTER: [dns.Record_PTR("10.0.0.1")]}, ""),
        (
            {
                POINTER: [dns.Record_PTR("panel.lan")],
                "A panel.lan": [dns.Record_A("10.0.0.8")],
            },
            "",
        ),
        (
            {
                POINTER: [dns.Record_PTR("Panel.LAN")],
                "A panel.lan": [dns.Record_A("10.0.0.8"), dns.Record_A("10.0.0.7")],
            },
            "panel.lan",
        ),
    ],
)
@awaiting
async def test_servers_are_asked_both_ways(table: Table, expected: str) -> None:
    """A pointer counts if its name leads back to the address."""
    assert await server_names(table)(ADDRESS) == expected


@awaiting
async def test_servers_know_ipv6() -> None:
    """The name of an IPv6 address is below ip6.arpa, whatever link it's on."""
    pointer = "1." + "0." * 23 + "0.0.0.0.0.8.e.f.ip6.arpa"
    table: Table = {
        pointer: [dns.Record_PTR("a.lan")],
        "AAAA a.lan": [dns.Record_AAAA("fe80::1")],
    }
    assert await server_names(table)("fe80::1%eth0") == "a.lan"


@pytest.mark.parametrize("table", [{}, {POINTER: [dns.Record_PTR("panel.lan")]}])
@awaiting
async def test_servers_that_know_nothing(table: Table) -> None:
    """An error is for who asks: to him there is no name."""
    with pytest.raises(Exception, match=r".*"):
        await server_names(table)(ADDRESS)
    names = ServerNames(cast(names_client.Resolver, Servers(table)))
    names.stop()
