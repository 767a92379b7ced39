"""Open tunnels as they are told to whoever judges them by new rules, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proxyapp.rules.question import Question
from proxyapp.rules.stages import Case, Stages, decisive
from proxyapp.server.connections import OpenConnection
from proxyapp.workers.messages import BadMessage, Json


class Tunnel(NamedTuple):
    """One of them; *number* tells it from the others of its process.

    *address* is the one that was dialled, empty where it isn't known.
    """

    number: int
    question: Question
    address: str

    def to_json(self) -> Json:
        """Return it as it is sent."""
        service, client, user, method, host, port = self.question
        return [
            self.number,
            [service, client, user, method.decode("latin-1"), host, port],
            self.address,
        ]


class Refusal(NamedTuple):
    """Why the tunnel with this *number* may not go on: what *rule* says."""

    number: int
    rule: str
    reason: str

    def to_json(self) -> Json:
        """Return it as it is sent."""
        return list(self)


def tunnel_from(found: Json) -> Tunnel:
    """Read what Tunnel.to_json made; raises BadMessage."""
    try:
        number, (service, client, user, method, host, port), address = found  # type: ignore[misc,union-attr]  # or it raises
        question = Question(
            str(service),
            str(client),
            None if user is None else str(user),
            str(method).encode("latin-1"),
            str(host),
            int(str(port)),
        )
        return Tunnel(int(str(number)), question, str(address))
    except (TypeError, ValueError) as error:
        raise BadMessage("it isn't a tunnel") from error


def refusal_from(found: Json) -> Refusal:
    """Read what Refusal.to_json made; raises BadMessage."""
    try:
        number, rule, reason = found  # type: ignore[misc,union-attr]  # or it raises
        return Refusal(int(str(number)), str(rule), str(reason))
    except (TypeError, ValueError) as error:
        raise BadMessage("it isn't a refusal") from error


def tunnel_of(number: int, connection: OpenConnection) -> Tunnel | None:
    """Return what *connection* is as a tunnel; None if it carries none any more."""
    turn = connection.turn
    if turn is None or turn.request.target.origin is None:
        return None
    record, request = turn.record, turn.request
    host, port = request.target.origin.host, request.target.origin.port
    question = Question(
        record.service, record.client_host, record.user or None, request.head.method, host, port
    )
    # RFC 3986 section 3.2.2: brackets are around what has colons of its own.
    return Tunnel(number, question, record.upstream.rpartition(":")[0].strip("[]"))


def refusals(stages: Stages, tunnels: Iterable[Tunnel], minute: int) -> list[Refusal]:
    """Return those of *tunnels* that *stages* would refuse in this *minute* of the week."""
    found = []
    for tunnel in tunnels:
        case = Case(tunnel.question, address=tunnel.address)
        decision = decisive(stages.judge_until_refused(case, minute))
        if not decision.allowed:
            found.append(Refusal(tunnel.number, decision.rule, decision.reason))
    return found
