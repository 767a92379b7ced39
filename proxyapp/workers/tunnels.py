"""Open tunnels as they are told to whoever judges them by new rules, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proxyapp.rules.parents import Ways
from proxyapp.rules.question import Question
from proxyapp.rules.stages import Case, Stages, decisive
from proxyapp.server.connections import OpenConnection
from proxyapp.workers.messages import Json, Message


class Tunnel(NamedTuple):
    """One of them; *number* tells it from the others of its process.

    *address* is the one that was dialled, empty where it isn't known, as behind a parent proxy.
    """

    number: int
    question: Question
    address: str

    def to_json(self) -> Json:
        """Return it as it is sent."""
        service, client, user, method, host, port = self.question
        return {
            "number": self.number,
            "service": service,
            "client": client,
            "user": user,
            "method": method.decode("latin-1"),
            "host": host,
            "port": port,
            "address": self.address,
        }


class Refusal(NamedTuple):
    """Why the tunnel with this *number* may not go on: what *rule* says."""

    number: int
    rule: str
    reason: str

    def to_json(self) -> Json:
        """Return it as it is sent."""
        return {"number": self.number, "rule": self.rule, "reason": self.reason}


def tunnels_from(message: Message) -> list[Tunnel]:
    """Read the `tunnels` of *message*; raises BadMessage."""
    return [_tunnel_from(each) for each in message.each("tunnels")]


def _tunnel_from(found: Message) -> Tunnel:
    user = found.text("user") if found.fields.get("user") is not None else None
    question = Question(
        found.text("service"),
        found.text("client"),
        user,
        found.text("method").encode("latin-1"),
        found.text("host"),
        found.count("port"),
    )
    return Tunnel(found.count("number"), question, found.text("address"))


def refusals_from(message: Message) -> list[Refusal]:
    """Read the `refused` of *message*; raises BadMessage."""
    return [
        Refusal(each.count("number"), each.text("rule"), each.text("reason"))
        for each in message.each("refused")
    ]


def tunnel_of(number: int, connection: OpenConnection, ways: Ways) -> Tunnel | None:
    """Return what *connection* is as a tunnel; None if it carries none any more.

    *ways* say whether it went to a parent proxy, whose address is not the tunnel's.
    """
    turn = connection.turn
    origin = None if turn is None else turn.request.target.origin
    if turn is None or origin is None:
        return None
    record, method = turn.record, turn.request.head.method
    question = Question(
        record.service, record.client_host, record.user, method, origin.host, origin.port
    )
    # RFC 3986 section 3.2.2: brackets are around what has colons of its own.
    dialled = record.upstream.rpartition(":")[0].strip("[]")
    return Tunnel(number, question, dialled if ways.are_direct(origin.host) else "")


def refusals(stages: Stages, tunnels: Iterable[Tunnel], minute: int) -> list[Refusal]:
    """Return those of *tunnels* that *stages* would refuse in this *minute* of the week."""
    found = []
    for tunnel in tunnels:
        case = Case(tunnel.question, address=tunnel.address)
        decision = decisive(stages.judge_until_refused(case, minute))
        if not decision.allowed:
            found.append(Refusal(tunnel.number, decision.rule, decision.reason))
    return found
