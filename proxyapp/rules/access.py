"""The only judge: who may use what, and which address may be dialled.

A request is judged in this order: [access] clients (or site_clients), [tunnel] ports for CONNECT,
each [rule NAME] in the order of the file, and [access] default. What denies first, or allows first
from the rules on, decides. The address that is then dialled is judged by `guard`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv6Network
from typing import Protocol

from proxyapp.rules import addresses, memory
from proxyapp.rules.addresses import Address, Network
from proxyapp.rules.guard import DestinationGuard, DestinationSection
from proxyapp.rules.networks import NetworkTable
from proxyapp.rules.question import Action, Decision, Default, Question, RuleLimits, Step, Verdict
from proxyapp.rules.rule import Rule, RuleSection

__all__ = ["Access", "AccessSection", "Decision", "Question", "RuleLimits", "Step"]

_LOOPBACK = (addresses.parse("127.0.0.1"), addresses.parse("::1"))


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

    @property
    def default(self) -> Default:
        """What happens to requests that no rule matches."""


class Access:
    """Judges clients, requests and destinations by one configuration."""

    def __init__(
        self,
        section: AccessSection,
        tunnel_ports: frozenset[int] | None,
        upgrade_clients: tuple[Network, ...],
        rules: Iterable[RuleSection] = (),
        nat64_prefixes: tuple[IPv6Network, ...] = (),
    ) -> None:
        """Take [access], [tunnel] ports (None: all), [proxy] tls_upgrade_clients, and the rules.

        *nat64_prefixes* are those that this network has beside the well-known ones.
        """
        self._tunnel_ports = tunnel_ports
        self._guard = DestinationGuard(section.destinations, nat64_prefixes)
        self._clients = NetworkTable(section.clients)
        self._site_clients = NetworkTable(section.site_clients)
        self._upgrade_clients = NetworkTable(upgrade_clients)
        self._rules = tuple(map(Rule, rules))
        self._default = _default(section.default)
        self._is_timed = any(rule.when is not None for rule in self._rules)
        self._minute = -1
        self._memory: dict[Question, Decision] = {}
        self._client_memory: dict[tuple[str, str], Decision] = {}
        self._upgrade_memory: dict[str, bool] = {}

    def __repr__(self) -> str:
        remembered = len(self._memory) + len(self._client_memory) + self._guard.remembered
        return f"<Access {len(self._rules)} rules, {remembered} decisions remembered>"

    def judge(self, question: Question, minute: int) -> Decision:
        """May it be? *minute* is that of the local week, as `schedule.minute_of_week` has it."""
        if self._is_timed and minute != self._minute:
            self._memory.clear()
            self._minute = minute
        decision = self._memory.get(question)
        if decision is None:
            decision = self._judge(question, minute)
            memory.room(self._memory)[question] = decision
        return decision

    def explain(self, question: Question, minute: int) -> tuple[Step, ...]:
        """Return the stops on the way to what `judge` says; the last one decides."""
        return tuple(self._steps(question, minute))

    def client(self, host: str, service: str) -> Decision:
        """May the client at *host* use *service*, before any rule is looked at?

        An empty *host* is the peer of a Unix socket and counts as this machine.
        """
        key = (host, service)
        decision = self._client_memory.get(key)
        if decision is None:
            decision = self._judge_client(host, service)
            memory.room(self._client_memory)[key] = decision
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
        return self._guard.treats_own_apart

    def ends(self, address: str) -> tuple[str, ...]:
        """Return, in canonical text, where packets to *address* may end: it, and what it carries.

        Raises ValueError.
        """
        return self._guard.ends(address)

    def destination(self, host: str, address: str, own: frozenset[str]) -> Decision:
        """May *host* be reached at *address*, the literal one that is about to be dialled?

        *own* are those of its `ends` that are this machine's; `public` never includes them.
        """
        return self._guard.judge(host, address, own)

    def destination_name(self, host: str) -> Decision:
        """May a parent proxy be asked for *host*, whose address only the parent knows?"""
        return self._guard.judge_name(host)

    def may_upgrade_tls(self, client: str) -> bool:
        """May the client at this address have its http:// requests fetched over TLS?"""
        allowed = self._upgrade_memory.get(client)
        if allowed is None:
            try:
                allowed = self._upgrade_clients.find(*_literals(client)) is not None
            except ValueError:
                allowed = False
            memory.room(self._upgrade_memory)[client] = allowed
        return allowed

    def _judge(self, question: Question, minute: int) -> Decision:
        for gate in self._gates(question):
            if not gate.allowed:
                return gate
        literals = _literals(question.client)
        reported = ""
        unasked = []
        for rule in self._rules:
            lacking = rule.lacking(question, literals, minute)
            if lacking:
                if lacking == "users" and question.user is None:
                    unasked.append(rule)
            elif rule.action is Action.REPORT:
                reported = reported or rule.name
            else:
                return _finished(rule.decision, reported, unasked)
        return _finished(self._default, reported, unasked)

    def _steps(self, question: Question, minute: int) -> Iterator[Step]:
        for gate in self._gates(question):
            yield Step(gate.rule, "", "passed over" if gate.allowed else "matched", gate.reason)
            if not gate.allowed:
                return
        literals = _literals(question.client)
        for rule in self._rules:
            lacking = rule.lacking(question, literals, minute)
            if lacking:
                yield Step(rule.name, rule.place, "passed over", rule.why_not(lacking, question))
                continue
            is_last = rule.action is not Action.REPORT
            verdict: Verdict = "matched" if is_last else "reported"
            yield Step(rule.name, rule.place, verdict, rule.why(question, literals))
            if is_last:
                return
        yield Step(self._default.rule, "", "matched", self._default.reason)

    def _gates(self, question: Question) -> Iterator[Decision]:
        """Yield what has to allow *question* before any rule is looked at."""
        yield self.client(question.client, question.service)
        if question.service == "tunnel":
            yield self.tunnel_port(question.port)

    def _judge_client(self, host: str, service: str) -> Decision:
        option = "site_clients" if service == "site" else "clients"
        networks = self._site_clients if service == "site" else self._clients
        rule = f"[access] {option}"
        who = host or "this machine"
        try:
            network = networks.find(*_literals(host))
        except ValueError:
            return Decision(False, rule, f"the client {who} has no IP address that could be judged")
        if network is None:
            return Decision(False, rule, f"the client {who} is in no network that {rule} lists")
        return Decision(True, rule, f"the client {who} is in {network}, which {rule} lists")


@functools.lru_cache(maxsize=memory.REMEMBERED)
def _literals(client: str) -> tuple[Address, ...]:
    """Return the addresses of a client; raises ValueError."""
    return (addresses.parse(client),) if client else _LOOPBACK


def _default(default: Default) -> Decision:
    rule = "[access] default"
    is_allowed = default is Default.ALLOW
    verb = "allows" if is_allowed else "denies"
    return Decision(is_allowed, rule, f"no rule decides it, and {rule} {verb} it then")


def _finished(decision: Decision, reported: str, unasked: list[Rule]) -> Decision:
    """Return *decision* with what was found on the way; *unasked* were about users alone."""
    wants_user = any(rule.would_change(decision) for rule in unasked)
    if not reported and not wants_user:
        return decision
    return replace(decision, reported=reported, wants_user=wants_user)
