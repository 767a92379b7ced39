"""The stages at which a request is judged: by the rules, then by what each part asks on its way.

The parts of the running product ask the judge one after the other, each when it needs to know.
Here the same is asked at once, of the same judge, about a request that nobody sends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from proxyapp.rules import addresses
from proxyapp.rules.access import Access
from proxyapp.rules.parents import Ways, literal_of
from proxyapp.rules.question import Decision, Question

ASKS_EVERYBODY = "[auth] required"


class Case(NamedTuple):
    """A request to judge as a whole.

    *upgrades* says that it is fetched over TLS without being a tunnel. *address* is the one that is
    dialled; where it is empty, a *host* of the question that is an address stands for itself.
    """

    question: Question
    upgrades: bool = False
    address: str = ""


class Stage(NamedTuple):
    """What is said at one stage; None where that depends on the address, and none is known."""

    name: str
    decision: Decision | None


def decisive(stages: Sequence[Stage]) -> Decision:
    """Return the first refusal, or else what the rules said."""
    decisions = [stage.decision for stage in stages if stage.decision is not None]
    return next((decision for decision in decisions if not decision.allowed), decisions[0])


def is_settled(stages: Sequence[Stage]) -> bool:
    """Is it refused, or allowed whatever the address?"""
    return not decisive(stages).allowed or all(stage.decision for stage in stages)


class Stages:
    """Judges whole requests.

    *asks_everybody* says that proxy and tunnels are for users alone. *is_own* says whether an
    address is this machine's, *proxy_ports* are those our proxy is on. *ways* say what goes to a
    parent proxy; without, nothing does.
    """

    def __init__(
        self,
        access: Access,
        asks_everybody: bool,
        is_own: Callable[[str], bool],
        proxy_ports: Collection[int],
        ways: Ways | None = None,
    ) -> None:
        self._access = access
        self._asks_everybody = asks_everybody
        self._is_own = is_own
        self._proxy_ports = proxy_ports
        self._ways = ways

    def judge(self, case: Case, minute: int) -> tuple[Stage, ...]:
        """Return all stages of *case* in order, the rules first; *minute* is of the local week."""
        return tuple(self._stages(case, minute))

    def judge_until_refused(self, case: Case, minute: int) -> tuple[Stage, ...]:
        """Return the stages of *case* up to the first that refuses."""
        stages = []
        for stage in self._stages(case, minute):
            stages.append(stage)
            if stage.decision is not None and not stage.decision.allowed:
                break
        return tuple(stages)

    def _stages(self, case: Case, minute: int) -> Iterator[Stage]:
        question = case.question
        yield Stage("rules", self._access.judge(question, minute))
        if question.service == "site":
            return
        if self._asks_everybody:
            yield Stage("password", _password(question.user))
        if case.upgrades:
            yield Stage("TLS upgrade", self._upgrade(question.client))
        if self._ways is None or not self._ways.parents:
            yield Stage("destination", self._destination(case))
            return
        yield Stage("way", Decision(True, "[upstream] proxy", self._ways.reason(question.host)))
        if self._ways.are_direct(question.host):
            yield Stage("destination", self._destination(case))
        else:
            yield Stage("destination", self._name(case))

    def _upgrade(self, client: str) -> Decision:
        rule = "[proxy] tls_upgrade_clients"
        if self._access.may_upgrade_tls(client):
            return Decision(True, rule, f"the client is in a network that {rule} lists")
        reason = f"this client is not in {rule}, so https needs CONNECT"
        return Decision(False, rule, reason)

    def _name(self, case: Case) -> Decision | None:
        """Judge what a parent is asked for; the address that a log names is the parent's."""
        question = case.question
        address = literal_of(question.host)
        if address:
            return self._destination(Case(question, case.upgrades, address))
        return self._access.destination_name(question.host)

    def _destination(self, case: Case) -> Decision | None:
        host, port = case.question.host, case.question.port
        address = case.address or (host if is_address(host) else "")
        if not address:
            # What is said of no address at all is said of the name.
            decision = self._access.destination(host, "", frozenset())
            return decision if decision.allowed else None
        matters = port in self._proxy_ports or self._access.treats_own_apart
        ends = (address, *self._access.ends(address)) if matters else ()
        own = frozenset(filter(self._is_own, ends))
        if own and port in self._proxy_ports:
            return Decision(False, "", "this address is the proxy itself")
        return self._access.destination(host, address, own)


def _password(user: str | None) -> Decision:
    rule = ASKS_EVERYBODY
    if user is None:
        return Decision(False, rule, f"{rule} lets only users in, and the client gave no password")
    return Decision(True, rule, f"{rule} lets only users in, and {user} is one")


# Of some 100 bytes each; a log names the same clients over and over.
@functools.lru_cache(maxsize=16384)
def is_address(host: str) -> bool:
    """Is *host* an address rather than a name?"""
    try:
        addresses.parse(host)
    except ValueError:
        return False
    return True
