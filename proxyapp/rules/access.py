"""The only judge: who may use what, and which address may be dialled.

A name proves nothing, since its owner decides where it points; so destinations are judged by the
address that is about to be dialled. Only names that the admin listed are trusted as names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from proxyapp.rules import addresses
from proxyapp.rules.addresses import Address, AddressClass, Network

# Decisions remembered of each kind, some 300 bytes each. Clients choose what is looked up, so a
# full memory is emptied rather than grown.
_REMEMBERED = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")

_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say; it is true where they allow. *reason* is a sentence for the admin."""

    allowed: bool
    rule: str
    reason: str

    def __bool__(self) -> bool:
        return self.allowed


class DestinationSection(Protocol):
    """[access] destinations: what may be reached."""

    @property
    def everything(self) -> bool:
        """Is it `*`?"""

    @property
    def public(self) -> bool:
        """Is the word `public` in it?"""

    @property
    def networks(self) -> tuple[Network, ...]:
        """Networks it lists."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names it lists; one that begins with a dot stands for all names below it."""


class AccessSection(Protocol):
    """[access], as far as it is judged here."""

    @property
    def clients(self) -> tuple[Network, ...]:
        """Who may use the proxy and the tunnels."""

    @property
    def site_clients(self) -> tuple[Network, ...]:
        """Who may read the site."""

    @property
    def destinations(self) -> DestinationSection:
        """What may be reached."""


class Access:
    """Judges clients, CONNECT ports and destinations by one configuration."""

    def __init__(
        self,
        section: AccessSection,
        tunnel_ports: frozenset[int] | None,
        upgrade_clients: tuple[Network, ...],
    ) -> None:
        """Take [access], [tunnel] ports (None: all) and [proxy] tls_upgrade_clients."""
        self._section = section
        self._tunnel_ports = tunnel_ports
        self._upgrade_clients = upgrade_clients
        names = [_plain_name(host) for host in section.destinations.hosts]
        self._names = frozenset(name for name in names if not name.startswith("."))
        self._suffixes = tuple(name for name in names if name.startswith("."))
        self._client_memory: dict[tuple[str, str], Decision] = {}
        self._destination_memory: dict[tuple[str, str, frozenset[str]], Decision] = {}
        self._upgrade_memory: dict[str, bool] = {}

    def __repr__(self) -> str:
        remembered = len(self._client_memory) + len(self._destination_memory)
        return f"<Access {remembered} decisions remembered>"

    def client(self, host: str, service: str) -> Decision:
        """May the client at *host* use *service* ("proxy", "tunnel" or "site")?

        An empty *host* is the peer of a Unix socket and counts as this machine.
        """
        key = (host, service)
        decision = self._client_memory.get(key)
        if decision is None:
            decision = self._judge_client(host, service)
            _room(self._client_memory)[key] = decision
        return decision

    def tunnel_port(self, port: int) -> Decision:
        """May CONNECT reach *port*?"""
        rule = "[tunnel] ports"
        if self._tunnel_ports is None or port in self._tunnel_ports:
            return Decision(True, rule, f"{rule} allows port {port}")
        listed = ", ".join(str(known) for known in sorted(self._tunnel_ports)) or "none"
        return Decision(False, rule, f"port {port} is not one that {rule} allows ({listed})")

    @property
    def treats_own_apart(self) -> bool:
        """Does it matter to `destination` which addresses are this machine's own?"""
        return self._section.destinations.public and not self._section.destinations.everything

    def destination(self, host: str, address: str, own: frozenset[str]) -> Decision:
        """May *host* be reached at *address*, the literal one that is about to be dialled?

        *own* are this machine's addresses in canonical text; `public` never includes them.
        """
        key = (host, address, own)
        decision = self._destination_memory.get(key)
        if decision is None:
            decision = self._judge_destination(host, address, own)
            _room(self._destination_memory)[key] = decision
        return decision

    def may_upgrade_tls(self, client: str) -> bool:
        """May the client at this address have its http:// requests fetched over TLS?"""
        allowed = self._upgrade_memory.get(client)
        if allowed is None:
            try:
                allowed = _first_match(client, self._upgrade_clients) is not None
            except ValueError:
                allowed = False
            _room(self._upgrade_memory)[client] = allowed
        return allowed

    def _judge_client(self, host: str, service: str) -> Decision:
        option = "site_clients" if service == "site" else "clients"
        networks = self._section.site_clients if service == "site" else self._section.clients
        rule = f"[access] {option}"
        who = host or "this machine"
        try:
            network = _first_match(host, networks)
        except ValueError:
            return Decision(False, rule, f"the client {who} has no IP address that could be judged")
        if network is None:
            return Decision(False, rule, f"the client {who} is in no network that {rule} lists")
        return Decision(True, rule, f"the client {who} is in {network}, which {rule} lists")

    def _judge_destination(self, host: str, address: str, own: frozenset[str]) -> Decision:
        rule = "[access] destinations"
        destinations = self._section.destinations
        if destinations.everything:
            return Decision(True, rule, f"{rule} allows everything")
        if self._lists_name(host):
            return Decision(True, rule, f"{rule} lists {host}")
        try:
            literal = addresses.parse(address)
        except ValueError:
            return Decision(False, rule, "what would be dialled is not an IP address")
        for network in destinations.networks:
            if literal in network:
                return Decision(True, rule, f"{literal} is in {network}, which {rule} lists")
        if not destinations.public:
            return Decision(False, rule, f"{literal} is not an address that {rule} lists")
        is_own = any(
            text in own for text in (address, *map(str, (literal, *addresses.carried(literal))))
        )
        return self._judge_public(literal, is_own)

    def _judge_public(self, literal: Address, is_own: bool) -> Decision:
        rule = "[access] destinations"
        kind = addresses.classify(literal)
        if is_own:
            what = "an address of this machine"
        elif kind is AddressClass.PUBLIC:
            return Decision(True, rule, f"{literal} is {kind.value}, and {rule} allows those")
        else:
            what = kind.value
        listed = self._section.destinations.networks or self._section.destinations.hosts
        extent = "only public ones and those it lists" if listed else "only public ones"
        return Decision(False, rule, f"{literal} is {what}, and {rule} allows {extent}")

    def _lists_name(self, host: str) -> bool:
        name = _plain_name(host)
        return name in self._names or name.endswith(self._suffixes)


def _plain_name(host: str) -> str:
    """A host name as it is compared: case and the final dot (RFC 1034 section 3.1) don't count."""
    return host.lower().removesuffix(".")


def _first_match(host: str, networks: tuple[Network, ...]) -> Network | None:
    """The first of *networks* that has the client *host* in it; raises ValueError."""
    literals = [addresses.parse(text) for text in ((host,) if host else _LOOPBACK)]
    for network in networks:
        if any(literal in network for literal in literals):
            return network
    return None


def _room(memory: dict[Key, Value]) -> dict[Key, Value]:
    """Make room for one more entry."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    return memory
