"""May a request go on, and which user is it from? The judge is asked once a minute for each kind.

Who asks matters where users have passwords and [auth] required or a rule wants to know. Then the
proxy takes the word of Proxy-Authorization, and the site that of Authorization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxyapp import errors
from proxyapp.exchange import Request, claim_of
from proxyapp.rules.challenges import Claim, Finding
from proxyapp.rules.memory import room
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.wire.target import Origin

_MINUTE = 60
_SITE = "site"
# What the client speaks to as its proxy (RFC 9110 section 11.7.1).
_AS_PROXY = ("proxy", "tunnel")
# A method may have as many bytes as a head. What is longer than this no rule names, and it shall
# fill no memory.
LONGEST_METHOD = 64


class Judge(Protocol):
    """Who may do what."""

    def judge(self, question: Question, minute: int) -> Decision:
        """May it be, in this *minute* of the local week?"""


class Users(Protocol):
    """Who has a password; credentials.Credentials is it."""

    def at_once(self, claim: Claim) -> Finding | None:
        """Return whom *claim* proves to be from; None where that takes time, and `check` tells."""

    async def check(self, claim: Claim) -> Finding:
        """Return whom *claim* proves to be from; raises ExchangeError."""

    def unauthorized(self, rule: str, is_stale: bool) -> errors.Refused:
        """Return what the site asks for a password with, because *rule* wants one."""

    def proxy_authentication_required(self, rule: str, is_stale: bool) -> errors.Refused:
        """Return what the proxy asks for a password with, because *rule* wants one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was asked about a request, and what the rules say; *is_plain*: yes, and no more."""

    question: Question
    decision: Decision
    is_plain: bool


# Service, client, user, method and origin, as they are at hand.
_Kind = tuple[str, str, str | None, bytes, Origin | None]


class Admission:
    """Admits requests; *users* are None where nobody has a password.

    *is_required* says that everybody has to be a user, but for the site. *minute_of* returns the
    minute of the local week, as rules.schedule has it, for seconds since the epoch.
    """

    def __init__(
        self,
        judge: Judge,
        users: Users | None,
        is_required: bool,
        minute_of: Callable[[float], int],
    ) -> None:
        self._judge = judge
        self._users = users
        self._is_required = is_required
        self._minute_of = minute_of
        self._minute = 0
        # The minute lasts from here to there, in seconds since the epoch.
        self._begin = self._end = 0.0
        self._memory: dict[_Kind, Verdict] = {}

    def __repr__(self) -> str:
        return f"<Admission by {self._users!r}, {len(self._memory)} verdicts remembered>"

    def at_once(self, request: Request, record: Record) -> Verdict | None:
        """Return what the rules say of *request*; None where that takes time, and `later` tells.

        Raises Refused where they say no. Notes in *record* who asks, and what a rule reports.
        """
        verdict = self._ask(request, record, None)
        users = self._users
        if users is None and verdict.is_plain:
            return verdict
        if users is None or not _matters(verdict.decision, record.service):
            return _admitted(verdict, record)
        claim = _claim(request, record)
        found = users.at_once(claim)
        return None if found is None else self._settled(request, record, claim, found)

    async def later(self, request: Request, record: Record) -> Verdict:
        """See `at_once`; raises what Users.check raises, too."""
        assert self._users is not None
        claim = _claim(request, record)
        return self._settled(request, record, claim, await self._users.check(claim))

    def _settled(self, request: Request, record: Record, claim: Claim, found: Finding) -> Verdict:
        """Return the verdict on a request by whoever was *found*; raises Refused."""
        if found.user is not None:
            record.user = found.user
            return _admitted(self._ask(request, record, found.user), record)
        verdict = self._ask(request, record, None)
        decision = verdict.decision
        if not decision.allowed:
            wanted = decision.rule if decision.wants_user else ""
        else:
            # Who says to be a user and isn't one is told so, even where nobody had to be one.
            is_asked = self._is_required or claim.authorization is not None
            wanted = "[auth] required" if is_asked and record.service != _SITE else ""
        if wanted:
            raise self._challenge(record.service, wanted, found.is_stale)
        return _admitted(verdict, record)

    def _challenge(self, service: str, rule: str, is_stale: bool) -> errors.Refused:
        assert self._users is not None
        if service in _AS_PROXY:
            return self._users.proxy_authentication_required(rule, is_stale)
        return self._users.unauthorized(rule, is_stale)

    def _ask(self, request: Request, record: Record, user: str | None) -> Verdict:
        if not self._begin <= record.started < self._end:
            self._turn_over(record.started)
        service, method = record.service, request.head.method
        kind = (service, request.client.host, user, method, request.target.origin)
        return self._memory.get(kind) or self._ask_anew(kind)

    def _turn_over(self, now: float) -> None:
        """Begin the minute in which *now* is."""
        self._begin = now - now % _MINUTE
        self._end = self._begin + _MINUTE
        self._minute = self._minute_of(now)
        self._memory.clear()

    def _ask_anew(self, kind: _Kind) -> Verdict:
        service, client, user, method, origin = kind
        host, port = "", 0
        if origin is not None and service != _SITE:
            host, port = origin.host, origin.port
        question = Question(service, client, user, method[:LONGEST_METHOD], host, port)
        decision = self._judge.judge(question, self._minute)
        verdict = Verdict(question, decision, decision.allowed and not decision.reported)
        if len(method) <= LONGEST_METHOD:
            room(self._memory)[kind] = verdict
        return verdict


def _matters(decision: Decision, service: str) -> bool:
    """Does it matter who asks? Where a user can't change a refusal, nobody is asked.

    A part of the site may have users of its own, whose credentials aren't for us.
    """
    return decision.wants_user or (decision.allowed and service != _SITE)


def _claim(request: Request, record: Record) -> Claim:
    is_for_proxy = record.service in _AS_PROXY
    return claim_of(request, b"proxy-authorization" if is_for_proxy else b"authorization")


def _admitted(verdict: Verdict, record: Record) -> Verdict:
    """Return *verdict* where it allows; raises AccessDenied."""
    decision = verdict.decision
    if decision.reported:
        record.reported = decision.reported
    if not decision.allowed:
        raise errors.AccessDenied(decision.reason, rule=decision.rule, message=decision.message)
    return verdict
