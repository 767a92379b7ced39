"""One [rule NAME]: which requests it is about, and what it says of them."""

from __future__ import annotations

from typing import Protocol

from proxyapp.rules.addresses import Address, Network
from proxyapp.rules.domains import Domains
from proxyapp.rules.networks import NetworkTable
from proxyapp.rules.question import Action, Decision, Period, Question, RuleLimits
from proxyapp.rules.schedule import Schedule

ANY_USER = "*"


class RuleSection(Protocol):
    """[rule NAME]; what is None is no condition."""

    @property
    def name(self) -> str:
        """The NAME."""

    @property
    def place(self) -> str:
        """FILE:LINE of its heading."""

    @property
    def action(self) -> Action:
        """What it does."""

    @property
    def clients(self) -> tuple[Network, ...] | None:
        """Networks of clients."""

    @property
    def users(self) -> frozenset[str] | None:
        """Names of users; `*` is all who have proved to be one."""

    @property
    def domains(self) -> Domains | None:
        """Hosts that are asked for."""

    @property
    def ports(self) -> frozenset[int] | None:
        """Ports that are asked for."""

    @property
    def methods(self) -> frozenset[bytes] | None:
        """Methods."""

    @property
    def services(self) -> frozenset[str] | None:
        """Services."""

    @property
    def when(self) -> Schedule | None:
        """Times of the week."""

    @property
    def requests_per_second(self) -> float:
        """Requests of each client; 0 is no limit."""

    @property
    def bytes_per_second(self) -> int:
        """Bytes of each client; 0 is no limit."""

    @property
    def quota_bytes(self) -> int:
        """Bytes of each client in *quota_period*; 0 is no limit."""

    @property
    def quota_period(self) -> Period:
        """What the quota is for."""

    @property
    def message(self) -> str:
        """Words for who is refused."""


# Users come last: whoever lacks only them is told that a password might help.
CONDITIONS = ("services", "ports", "methods", "when", "clients", "domains", "users")


def conditions(section: RuleSection) -> tuple[str, ...]:
    """Return the names of the conditions that *section* has."""
    return tuple(name for name in CONDITIONS if getattr(section, name) is not None)


class Rule:
    """A rule that can be asked. Clients are looked at by their addresses, mostly one."""

    __slots__ = ("_clients", "_section", "action", "decision", "name", "when")

    def __init__(self, section: RuleSection) -> None:
        self._section = section
        self._clients = None if section.clients is None else NetworkTable(section.clients)
        self.name = f"[rule {section.name}]"
        self.action = section.action
        self.when = section.when
        self.decision = Decision(
            allowed=section.action is not Action.DENY,
            rule=self.name,
            reason=_summary(section),
            message=section.message,
            limits=_limits(section),
        )

    def __repr__(self) -> str:
        return f"<Rule {self._section.name}: {self.action.value} by {conditions(self._section)}>"

    @property
    def place(self) -> str:
        """FILE:LINE of its heading."""
        return self._section.place

    def lacking(self, question: Question, literals: tuple[Address, ...], minute: int) -> str:
        """Return the first condition that isn't met at the *minute* of the week, or nothing."""
        section = self._section
        if section.services is not None and question.service not in section.services:
            return "services"
        if section.ports is not None and question.port not in section.ports:
            return "ports"
        if section.methods is not None and question.method not in section.methods:
            return "methods"
        if section.when is not None and minute not in section.when:
            return "when"
        if self._clients is not None and self._clients.find(*literals) is None:
            return "clients"
        if section.domains is not None and not section.domains.find(question.host):
            return "domains"
        if section.users is not None and not _is_one_of(question.user, section.users):
            return "users"
        return ""

    def would_change(self, decision: Decision) -> bool:
        """Would it be another *decision* if this rule had matched?"""
        if self.action is Action.REPORT:
            return False
        mine = self.decision
        return mine.allowed != decision.allowed or (mine.allowed and mine.limits != decision.limits)

    def why(self, question: Question, literals: tuple[Address, ...]) -> str:
        """Say by what *question* matches, as it does."""
        met = [self._met(name, question, literals) for name in conditions(self._section)]
        return ", ".join(met) or "it matches everything"

    def _met(self, condition: str, question: Question, literals: tuple[Address, ...]) -> str:
        domains = self._section.domains
        if condition == "clients" and self._clients is not None:
            return f"the client {_who(question)} is in {self._clients.find(*literals)}"
        if condition == "domains" and domains is not None:
            entry = domains.find(question.host)
            return f"{question.host} is in its domains" + _by(entry, question.host)
        if condition == "when":
            return f"it is the time, {self.when}"
        return f"{_fact(condition, question)} is one of its {condition}"

    def why_not(self, condition: str, question: Question) -> str:
        """Say why *question* lacks *condition*."""
        if condition == "users" and question.user is None:
            return "it is about users, and the client did not say who it is"
        if condition == "when":
            return f"it is not the time, {self.when}"
        if condition == "clients":
            return f"the client {_who(question)} is in none of its networks"
        if not _fact(condition, question):
            return f"it is about {condition}, and the site has none"
        return f"{_fact(condition, question)} is none of its {condition}"


def _is_one_of(user: str | None, users: frozenset[str]) -> bool:
    return user is not None and (user in users or ANY_USER in users)


def _limits(section: RuleSection) -> RuleLimits | None:
    limits = RuleLimits(
        section.name,
        section.requests_per_second,
        section.bytes_per_second,
        section.quota_bytes,
        section.quota_period,
    )
    return None if limits == RuleLimits(section.name) else limits


def _summary(section: RuleSection) -> str:
    verb = "allows" if section.action is Action.ALLOW else "denies"
    names = ["times" if name == "when" else name for name in conditions(section)]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"[rule {section.name}] {verb} " + (f"what matches its {listed}" if listed else "all")


def _who(question: Question) -> str:
    return question.client or "this machine"


def _by(entry: str, host: str) -> str:
    return "" if entry == host else f", by {entry}"


def _fact(condition: str, question: Question) -> str:
    """Return what *question* has where *condition* looks; nothing where it has nothing."""
    return {
        "services": question.service,
        "ports": f"port {question.port}" if question.port else "",
        "methods": question.method.decode("ascii", "replace"),
        "domains": question.host,
        "users": question.user or "",
    }[condition]
