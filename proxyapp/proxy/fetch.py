"""Answers /fetch?url=: passes on what an origin has, while it arrives, to whoever can't ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from twisted.internet.interfaces import IReactorTime

from proxyapp import errors, stream
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.proxy.errand import Errand
from proxyapp.proxy.fetchreply import FetchReply
from proxyapp.rules import fetchfields, fetchquery
from proxyapp.rules.fetch import FetchRules
from proxyapp.rules.fetchfields import Changes, CrossOrigin
from proxyapp.rules.fetchquery import FetchQuery
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import Origin, Target

MAX_REDIRECTS = 5
_ALLOW = (b"Allow", fetchfields.METHODS)


class Permit(Protocol):
    """What may be taken under a rule's limits."""

    def finish(self, record: Record) -> None:
        """The exchange is over, and *record* says what it moved."""


# Asks the one judge, at this minute.
Judge = Callable[[Question], Decision]
# Returns what an allowed exchange has to keep to, if anything; raises Refused.
Admit = Callable[[Question, Decision], Permit | None]


class Guards(NamedTuple):
    """Who is asked about each destination."""

    judge: Judge
    admit: Admit


class Terms(NamedTuple):
    """What the ini says: *max_size* in bytes, 0 for none."""

    rules: FetchRules
    pages: CrossOrigin
    max_size: int


class FetchProxy:
    """Hands what is to be fetched to *chain*, and what comes back, changed, to the client.

    Its requests are judged as `canonical` makes them. Redirects are followed here, each judged like
    a request of its own. *seconds* is the time of day.
    """

    def __init__(
        self,
        chain: Responder,
        terms: Terms,
        guards: Guards,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        self._chain = chain
        self._terms = terms
        self._guards = guards
        self._clock = clock
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<FetchProxy before {self._chain!r}>"

    def canonical(self, request: Request) -> Request:
        """Return *request* with what it is about as its target; raises BadRequest."""
        return replace(request, target=self._terms.rules.meant(_query(request).target))

    def error_fields(self, head: RequestHead) -> RawFields:
        """Return what lets a page of another site read why it got nothing."""
        return self._terms.pages.fields(head)

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder. The request is canonical.

        Raises BadRequest, MethodNotAllowed, Refused, BodyTooLarge and what the chain raises.
        """
        judging = _Judging(self._guards, request, reply.record)
        try:
            _check_request(request.head)
            query = _query(request)
            self._terms.rules.check_query(query, self._seconds())
            fields = [*fetchfields.SAFETY, *self._terms.pages.fields(request.head)]
            changes = Changes(fields, query.ttl, query.content_type)
            await self._follow(request, reply, request.target, changes, judging)
        finally:
            judging.finish()

    async def _follow(
        self,
        request: Request,
        reply: Reply,
        target: Target,
        changes: Changes,
        judging: _Judging,
    ) -> None:
        """Ask for *target*, and for what it redirects to, until there is an answer."""
        for _ in range(MAX_REDIRECTS + 1):
            origin = target.origin
            assert origin is not None
            judging.check(origin)
            self._terms.rules.check_destination(origin)
            reply.record.url = target.url
            location = await self._ask(_inner(request, target, changes.ttl), reply, changes)
            if location is None:
                return
            target = self._terms.rules.meant(fetchquery.redirected(target, location))
        raise errors.BadResponse(f"the origin redirects more than {MAX_REDIRECTS} times")

    async def _ask(self, inner: Request, reply: Reply, changes: Changes) -> bytes | None:
        """Let the chain answer *inner*; return where it redirects to, None if it is answered."""
        errand = Errand(self._clock)
        held = FetchReply(reply, changes, self._terms.max_size, errand, self._seconds)
        await errand.run(self._chain.respond(inner, held))
        return held.location


def _query(request: Request) -> FetchQuery:
    """Return what *request* asks for; raises BadRequest."""
    return fetchquery.parse_query(request.head.target.partition(b"?")[2])


def _inner(request: Request, target: Target, ttl: float | None) -> Request:
    """Return the request for *target* that goes to the chain, with nothing that tells who asks."""
    fields = fetchfields.sent_fields(request.head, ttl)
    head = RequestHead(request.head.method, target.url, request.head.minor, fields)
    return Request(head, target, request.client, NO_BODY, stream.EMPTY, ttl or None)


def _check_request(head: RequestHead) -> None:
    """Raise MethodNotAllowed, or AccessDenied for a script that would stay in the browser."""
    if head.method not in (b"GET", b"HEAD"):
        raise errors.MethodNotAllowed("what is fetched can only be read", (_ALLOW,))
    # A service worker would answer for all that is below our path from then on.
    if b"service-worker" in head.fields:
        reason = "a service worker has to come from the gateway itself"
        raise errors.AccessDenied(reason, rule="[fetch] path")


class _Judging:
    """Judges the destinations of one fetch, and lets go of what their rules limit."""

    def __init__(self, guards: Guards, request: Request, record: Record) -> None:
        self._guards = guards
        self._request = request
        self._record = record
        self._limited: set[str] = set()
        self._permits: list[Permit] = []
        self._is_first = True

    def check(self, origin: Origin) -> None:
        """Raise Refused where *origin* may not be asked."""
        record, method = self._record, self._request.head.method
        client = self._request.client.host
        question = Question("fetch", client, record.user, method, origin.host, origin.port)
        decision = self._guards.judge(question)
        record.reported = record.reported or decision.reported
        if not decision.allowed:
            raise errors.AccessDenied(decision.reason, (), decision.rule, decision.message)
        limits = decision.limits
        if limits is not None and limits.name not in self._limited:
            self._limited.add(limits.name)
            self._take(question, decision)
        self._is_first = False

    def _take(self, question: Question, decision: Decision) -> None:
        """Keep to the limits of *decision*; the server does that for the first destination."""
        permit = None if self._is_first else self._guards.admit(question, decision)
        if permit is not None:
            self._permits.append(permit)

    def finish(self) -> None:
        """The fetch is over."""
        for permit in self._permits:
            permit.finish(self._record)


class FetchOptions:
    """Answers OPTIONS for /fetch: a browser asks it for *pages* of other sites, without a user."""

    def __init__(self, pages: CrossOrigin) -> None:
        self._pages = pages

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        fields: RawFields = [_ALLOW, *self._pages.preflight(request.head)]
        reply.answer(OutgoingResponse(204, b"No Content", fields), b"")
