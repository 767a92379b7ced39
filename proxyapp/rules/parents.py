"""Which requests go to a parent proxy, to which one first, and what is judged before they go.

A parent looks names up itself, so that devices are served where nobody else could. What is known
of a name here is only the name, and `judge_name` in `guard` says what follows from that. An address
that stands in the request is known, and judged as if it were dialled from here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from proxyapp.rules.addresses import Address, AddressClass, Network, classify, parse
from proxyapp.rules.caching.globs import Globs
from proxyapp.rules.domains import Domains
from proxyapp.rules.memory import room
from proxyapp.rules.networks import NetworkTable
from proxyapp.rules.uplink import is_local_name
from proxyapp.wire.target import Origin

# The scheme of the Origin that stands for a parent, where others stand for where requests go.
PARENT = "parent"
# In a list of what goes direct: what only the LAN can know or reach.
PRIVATE = "private"
_NEAR = (
    AddressClass.LOOPBACK,
    AddressClass.PRIVATE,
    AddressClass.LINK_LOCAL,
    AddressClass.CGNAT,
)
# Seconds until a parent that failed is looked at again: twice as long after each failure, up to
# the longest. It is a neighbour, and one small request.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent proxy; *scheme* https is for one that wants TLS.

    *credentials* are a value of Proxy-Authorization, empty where it wants none.
    """

    scheme: str
    host: str
    port: int
    credentials: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """host:port, for people."""
        return self.where("connect").authority.decode("ascii")

    @property
    def lines(self) -> tuple[bytes, ...]:
        """The field line that is for this parent alone, if there is one."""
        return (b"Proxy-Authorization: " + self.credentials,) if self.credentials else ()

    def where(self, scheme: str) -> Origin:
        """Return host and port of the parent under another scheme."""
        return Origin(scheme, self.host, self.port)


class Roster:
    """The parents in the order in which they are asked: those that failed come last."""

    def __init__(self, parents: tuple[Parent, ...]) -> None:
        self._parents = parents
        self._failures: dict[Parent, int] = {}
        self.order = parents

    def __repr__(self) -> str:
        return f"<Roster of {len(self._parents)}, {len(self._failures)} passed over>"

    def is_passed_over(self, parent: Parent) -> bool:
        """Has *parent* failed, and not answered since?"""
        return parent in self._failures

    def failed(self, parent: Parent) -> float:
        """Pass *parent* over; return for how long it is left alone (s)."""
        failures = self._failures.get(parent, 0)
        self._failures[parent] = failures + 1
        self._arrange()
        return min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)

    def answered(self, parent: Parent) -> None:
        """Ask *parent* in its turn again."""
        self._failures.pop(parent, None)
        self._arrange()

    def _arrange(self) -> None:
        well = [parent for parent in self._parents if parent not in self._failures]
        # Who has failed may be back before anybody has looked: better than to give up.
        self.order = (*well, *(each for each in self._parents if each in self._failures))


class DirectHosts:
    """What doesn't go to a parent: names, `.domains`, names with `*`, networks, and `private`."""

    def __init__(self, entries: Iterable[str]) -> None:
        networks: list[Network] = []
        names: list[bytes] = []
        patterns: list[bytes] = []
        self._has_private = False
        for entry in entries:
            network = _network(entry)
            if entry == PRIVATE:
                self._has_private = True
            elif network is not None:
                networks.append(network)
            elif "*" in entry:
                patterns.append(entry.encode("ascii"))
            else:
                names.append(entry.encode("ascii"))
        self._networks = NetworkTable(networks)
        self._names = Domains(names)
        self._patterns = Globs(patterns)
        self._memory: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<DirectHosts {self._names!r}, {self._networks!r}>"

    def has(self, host: str) -> bool:
        """Is *host*, as in Origin, not to be asked of a parent?"""
        known = self._memory.get(host)
        if known is None:
            known = room(self._memory)[host] = self._has(host)
        return known

    def _has(self, host: str) -> bool:
        address = _address(host)
        if address is not None:
            is_near = self._has_private and classify(address) in _NEAR
            return is_near or self._networks.find(address) is not None
        if self._has_private and is_local_name(host):
            return True
        name = host.rstrip(".").encode("ascii", "replace")
        return bool(self._names.find(host)) or self._patterns.match(name)


@dataclass(frozen=True, slots=True)
class Ways:
    """By which way requests go: those for *direct* hosts to the origin, others to *parents*."""

    parents: tuple[Parent, ...]
    direct: DirectHosts

    def are_direct(self, host: str) -> bool:
        """Do requests for *host* go to the origin itself?"""
        return not self.parents or self.direct.has(host)

    def reason(self, host: str) -> str:
        """Say in a sentence, without the full stop, which way is taken to *host*."""
        if self.are_direct(host):
            return "[upstream] direct lists it, so no parent proxy is asked"
        first, *others = [parent.name for parent in self.parents]
        others_too = f", and if that fails to {', '.join(others)}" if others else ""
        return f"it goes to the parent proxy {first}{others_too}"


def literal_of(host: str) -> str:
    """Return the address that *host* stands for wherever it is looked up; empty for other names.

    RFC 6761 section 6.3: localhost is loopback, and a parent's is not what anybody wants here.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    return "" if _address(host) is None else host


# Asked for each request, and most are for names.
@functools.lru_cache(maxsize=4096)
def _address(host: str) -> Address | None:
    try:
        return parse(host)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
