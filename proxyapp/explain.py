"""Answers `--explain`: what would become of a request, by which rule, and why no other applies.

A question is written as `METHOD TARGET`, then who asks and when: `GET http://host/ --client
10.0.0.7 --user ann --at 2026-01-05T09:00`. Nothing is sent and no name is looked up; the judge is
the one that the running proxy asks.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from proxyapp import errors
from proxyapp.config.ini import Ini
from proxyapp.config.loading import Override
from proxyapp.rules import addresses
from proxyapp.rules.access import Access
from proxyapp.rules.question import Decision, Question, RuleLimits, Step
from proxyapp.rules.schedule import minute_of_week
from proxyapp.rules.stages import (
    ASKS_EVERYBODY,
    Case,
    Stage,
    Stages,
    decisive,
    is_address,
    is_settled,
)
from proxyapp.rules.upgrade import Spellings
from proxyapp.wire.headers import NO_FIELDS, is_token
from proxyapp.wire.target import Form, Target, parse_target

ALLOWED, DENIED, BAD_QUESTION = 0, 1, 2

_SERVICES = {Form.ABSOLUTE: "proxy", Form.AUTHORITY: "tunnel", Form.ORIGIN: "site"}
_OPTIONS = ("--client", "--user", "--at", "--address")
_RIGHT = "'GET http://host/ --client 10.0.0.7 --user ann --at 2026-01-05T09:00' would be right"
_THIS_MACHINE = "127.0.0.1"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class BadQuestion(Exception):
    """The question can't be understood; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, read; *at* is local time."""

    request: str
    case: Case
    at: datetime

    @property
    def minute(self) -> int:
        """The minute of the week it is about."""
        return minute_of_week(self.at.weekday(), self.at.hour, self.at.minute)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to a question.

    *places* says where options and rules are written, *has_users* whether anybody has a password.
    """

    asked: Asked
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...]
    places: Mapping[str, str]
    has_users: bool

    @property
    def decision(self) -> Decision:
        """What becomes of the request."""
        return decisive(self.stages)

    @property
    def rules(self) -> Decision:
        """What the rules say, whatever the destination."""
        return self.stages[0].decision or self.decision

    @property
    def exit_status(self) -> int:
        """What a script gets to know."""
        return ALLOWED if self.decision.allowed else DENIED

    def __str__(self) -> str:
        parts = [_aligned(_facts(self), " "), _rules(self), _stages(self)]
        return "\n\n".join(part for part in parts if part)


def explain(
    asked: Asked, access: Access, stages: Stages, places: Mapping[str, str], has_users: bool
) -> Explanation:
    """Answer the question *asked*; *access* is the judge that *stages* ask."""
    steps = access.explain(asked.case.question, asked.minute)
    judged = stages.judge(asked.case, asked.minute)
    return Explanation(asked, judged, steps, places, has_users)


def option_places(path: Path | None, overrides: Iterable[Override]) -> dict[str, str]:
    """Return where each option, as `[section] option`, is given: FILE:LINE, or by which flag."""
    entries = [] if path is None else Ini(str(path), path.read_text("utf-8-sig")).entries
    places = {entry.about: str(entry.place) for entry in entries}
    for assignment, flag in overrides:
        section, _, option = assignment.partition("=")[0].strip().partition(".")
        places[f"[{section}] {option}"] = flag
    return places


# --- Reading ---


def read_question(text: str, now: datetime, spellings: Spellings) -> Asked:
    """Read *text*; *now* is the local time it is about if it names none. Raises BadQuestion.

    *spellings* tells which URLs mean https, though they say http.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise BadQuestion(f"its quotes aren't closed; {_RIGHT}") from None
    if len(words) < 2 or any(word.startswith("--") for word in words[:2]):
        raise BadQuestion(f"it begins with a method and a target; {_RIGHT}")
    method, spelled, *rest = words
    options = _options(rest)
    target = _target(method, spelled, spellings)
    address = _address(options.get("--address"), target)
    origin = target.origin
    question = Question(
        service=_SERVICES[target.form],
        client=_client(options.get("--client", _THIS_MACHINE)),
        user=options.get("--user"),
        method=method.encode("ascii"),
        host="" if origin is None else origin.host,
        port=0 if origin is None else origin.port,
    )
    upgrades = origin is not None and origin.scheme == "https"
    case = Case(question, upgrades, address)
    return Asked(f"{method} {spelled}", case, _time(options.get("--at"), now))


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in _OPTIONS:
            raise BadQuestion(f"{word!r} is none of {', '.join(_OPTIONS)}; {_RIGHT}")
        if name in options:
            raise BadQuestion(f"{name} is there twice")
        given = value if equals else next(rest, None)
        if given is None:
            raise BadQuestion(f"there is nothing behind {name}; {_RIGHT}")
        options[name] = given
    return options


def _target(method: str, spelled: str, spellings: Spellings) -> Target:
    octets = spelled.encode("ascii", "replace")
    if not method.isascii() or not is_token(method.encode("ascii")):
        raise BadQuestion(f"{method!r} is no method; {_RIGHT}")
    if not spelled.isascii() or not spelled.isprintable() or " " in spelled:
        raise BadQuestion(f"{spelled!r} can't be sent; names are written as xn--..., bytes as %xx")
    try:
        target = spellings.canonical(parse_target(method.encode("ascii"), octets), NO_FIELDS)
    except errors.BadRequest as error:
        raise BadQuestion(f"{spelled!r} is refused before any rule: {error.reason}") from error
    if target.form not in _SERVICES:
        raise BadQuestion(f"{spelled!r} is about the server itself, which no rule is about")
    return target


def _address(given: str | None, target: Target) -> str:
    if given is None:
        return ""
    if target.origin is None or is_address(target.origin.host):
        raise BadQuestion("--address is the one that a name has; there is no name in the target")
    if not is_address(given):
        raise BadQuestion(f"--address {given!r} is no IP address")
    return str(addresses.parse(given))


def _client(given: str) -> str:
    if given and not is_address(given):
        raise BadQuestion(
            f"--client {given!r} is no IP address; an empty one is the peer of a Unix socket"
        )
    return given


def _time(given: str | None, now: datetime) -> datetime:
    if given is None:
        return now
    try:
        at = datetime.fromisoformat(given)
        return at if at.tzinfo is None else at.astimezone().replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise BadQuestion(f"--at {given!r} is no time; 2026-01-05T09:00 would be right") from None


# --- Writing ---


def _facts(explanation: Explanation) -> Iterator[tuple[str, ...]]:
    asked, decision, rules = explanation.asked, explanation.decision, explanation.rules
    question = asked.case.question
    yield "question:", asked.request
    yield "service:", question.service
    yield "client:", question.client or "the peer of a Unix socket"
    yield "user:", "-" if question.user is None else question.user
    yield "at:", f"{_DAYS[asked.at.weekday()]} {asked.at:%Y-%m-%d %H:%M}"
    yield "decision:", "allowed" if decision.allowed else "denied"
    yield "rule:", decision.rule or "-"
    yield "place:", _place(explanation, decision.rule) or "-"
    yield "reason:", decision.reason
    if decision.message:
        yield "message:", " ".join(decision.message.split())
    if decision.limits is not None:
        yield "limits:", _limits(decision.limits)
    if rules.reported:
        yield "reported:", f"{rules.reported} would deny it, and only reports"
    yield from (("note:", note) for note in _notes(explanation))


def _notes(explanation: Explanation) -> Iterator[str]:
    decision, user = explanation.decision, explanation.asked.case.question.user
    if user is not None and not explanation.has_users:
        yield "[auth] users is empty here, so no request has a user"
    elif user is None and not decision.allowed and (decision.wants_user or _asks_all(decision)):
        yield "the client is asked for a password; --user NAME says who it is then"
    if not is_settled(explanation.stages):
        yield "the address it is found at is judged as well; --address A asks about one"


def _asks_all(decision: Decision) -> bool:
    return decision.rule == ASKS_EVERYBODY


def _place(explanation: Explanation, rule: str) -> str:
    steps = [step.place for step in explanation.steps if step.rule == rule and step.place]
    return steps[0] if steps else explanation.places.get(rule, "the default" if rule else "")


def _limits(limits: RuleLimits) -> str:
    parts = []
    if limits.requests_per_second:
        parts.append(f"{limits.requests_per_second:g} requests/s")
    if limits.bytes_per_second:
        parts.append(f"{limits.bytes_per_second} bytes/s")
    if limits.quota_bytes:
        parts.append(f"{limits.quota_bytes} bytes/{limits.quota_period}")
    return f"{', '.join(parts)} for each client"


def _rules(explanation: Explanation) -> str:
    rows = [
        (_verdict(step), step.rule, _place(explanation, step.rule), step.reason)
        for step in explanation.steps
    ]
    return "the rules, in order:\n" + _aligned(rows, "  ", "  ")


def _verdict(step: Step) -> str:
    # What isn't a rule has no place; it was not left out, but fulfilled.
    return "passed" if step.verdict == "passed over" and not step.place else step.verdict


def _stages(explanation: Explanation) -> str:
    rows = []
    for name, decision in explanation.stages[1:]:
        if decision is None:
            reason = "the name would be looked up, and each address it has be judged"
            rows.append((name, "open", "[access] destinations", reason))
        else:
            word = "allowed" if decision.allowed else "denied"
            rows.append((name, word, decision.rule, decision.reason))
    return "beside the rules:\n" + _aligned(rows, "  ", "  ") if rows else ""


def _aligned(rows: Iterable[tuple[str, ...]], gap: str, indent: str = "") -> str:
    """Return *rows* as lines whose columns begin below each other."""
    listed = list(rows)
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    lines = [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in listed
    ]
    return "\n".join(indent + line.rstrip() for line in lines)
