"""The guard of destinations: may the address that is about to be dialled be reached?

A name proves nothing, since its owner decides where it points; so destinations are judged by the
address that is about to be dialled. Only names that the admin listed are trusted as names.
"""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import Protocol

from proxyapp.rules import addresses
from proxyapp.rules.addresses import Address, AddressClass, Network
from proxyapp.rules.domains import Domains
from proxyapp.rules.memory import room
from proxyapp.rules.networks import NetworkTable
from proxyapp.rules.question import Decision

_RULE = "[access] destinations"


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
        """Host names it lists; `.corp` stands for corp and all names below it."""


class DestinationGuard:
    """Judges addresses by [access] destinations; *nat64_prefixes* are this network's own."""

    def __init__(
        self, section: DestinationSection, nat64_prefixes: tuple[IPv6Network, ...]
    ) -> None:
        self._section = section
        self._nat64_prefixes = nat64_prefixes
        self._names = Domains(host.lower().encode("ascii") for host in section.hosts)
        self._networks = NetworkTable(section.networks)
        self._memory: dict[tuple[str, str, frozenset[str]], Decision] = {}
        self._name_memory: dict[str, Decision] = {}

    def __repr__(self) -> str:
        return f"<DestinationGuard {self.remembered} decisions remembered>"

    @property
    def remembered(self) -> int:
        """How many decisions it remembers."""
        return len(self._memory) + len(self._name_memory)

    @property
    def treats_own_apart(self) -> bool:
        """Does it matter which addresses are this machine's own?"""
        return self._section.public and not self._section.everything

    def ends(self, address: str) -> tuple[str, ...]:
        """Return *address* and the IPv4 addresses it carries as text; raises ValueError."""
        literal = addresses.parse(address)
        return tuple(map(str, (literal, *addresses.carried(literal, self._nat64_prefixes))))

    def judge(self, host: str, address: str, own: frozenset[str]) -> Decision:
        """May *host* be reached at *address*? *own* are those of its ends that are ours."""
        key = (host, address, own)
        decision = self._memory.get(key)
        if decision is None:
            decision = self._judge(host, address, own)
            room(self._memory)[key] = decision
        return decision

    def judge_name(self, host: str) -> Decision:
        """May a parent proxy be asked for *host*, a name that it looks up itself?

        Whether its address is public is for the parent to judge, so `public` lets every name pass.
        """
        decision = self._name_memory.get(host)
        if decision is None:
            decision = self._judge_name(host)
            room(self._name_memory)[host] = decision
        return decision

    def _judge_name(self, host: str) -> Decision:
        if self._section.everything or self._names.find(host):
            return self._judge(host, "", frozenset())
        if self._section.public:
            reason = f"{_RULE} allows public addresses, and the parent proxy finds that of {host}"
            return Decision(True, _RULE, reason)
        reason = f"{host} is not a name that {_RULE} lists, and a parent proxy would look it up"
        return Decision(False, _RULE, reason)

    def _judge(self, host: str, address: str, own: frozenset[str]) -> Decision:
        if self._section.everything:
            return Decision(True, _RULE, f"{_RULE} allows everything")
        if self._names.find(host):
            return Decision(True, _RULE, f"{_RULE} lists {host}")
        try:
            literal = addresses.parse(address)
        except ValueError:
            return Decision(False, _RULE, "what would be dialled is not an IP address")
        network = self._networks.find(literal)
        if network is not None:
            return Decision(True, _RULE, f"{literal} is in {network}, which {_RULE} lists")
        if not self._section.public:
            return Decision(False, _RULE, f"{literal} is not an address that {_RULE} lists")
        is_own = address in own or not own.isdisjoint(self.ends(address))
        return self._judge_public(literal, is_own)

    def _judge_public(self, literal: Address, is_own: bool) -> Decision:
        kind = addresses.classify(literal, self._nat64_prefixes)
        if is_own:
            what = "an address of this machine"
        elif kind is AddressClass.PUBLIC:
            return Decision(True, _RULE, f"{literal} is {kind.value}, and {_RULE} allows those")
        else:
            what = kind.value
        listed = self._section.networks or self._section.hosts
        extent = "only public ones and those it lists" if listed else "only public ones"
        return Decision(False, _RULE, f"{literal} is {what}, and {_RULE} allows {extent}")
