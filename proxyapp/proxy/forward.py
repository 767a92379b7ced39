"""Answers absolute-form requests: passes them to the origin, and the answer back."""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import ForwardReply, Request, TakenOver
from proxyapp.net.timers import Sweep
from proxyapp.proxy.answer import Answer
from proxyapp.proxy.relay import Relay
from proxyapp.proxy.tunnel import TunnelLimits
from proxyapp.proxy.upstream import RequestSink, Upstream
from proxyapp.rules import hops
from proxyapp.rules.hops import Hop
from proxyapp.wire import writer
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.messages import OutgoingResponse, ResponseHead
from proxyapp.wire.target import Origin

_log = Logger()
# RFC 9110 section 9.2.2: doing these twice is as doing them once.
_IDEMPOTENT = frozenset(b"GET HEAD OPTIONS TRACE PUT DELETE".split())
_ALLOW = (b"Allow", b"CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE")


class _Passage(NamedTuple):
    """What becomes of a request, for as long as a client sends the same fields to an origin.

    The server gives us the same Fields then, so it's remembered with them. *key* is all that it
    follows from.
    """

    key: tuple[object, ...]
    origin: Origin
    section: bytes


class _WayBack(NamedTuple):
    """What becomes of a response, for as long as its origin sends the same; see _Passage."""

    key: tuple[object, ...]
    head: OutgoingResponse


class Connections(Protocol):
    """Where connections for requests come from, and go back to; see HTTPConnectionPool."""

    def take_idle(self, origin: Origin) -> Upstream | None:
        """Return an idle one for requests to *origin*, or None."""

    async def getConnection(self, origin: Origin) -> Upstream:
        """Return one for requests to *origin*, idle or new."""

    def drop_idle(self, origin: Origin) -> None:
        """Close the idle ones for requests to *origin*."""

    def release(self, upstream: Upstream) -> None:
        """Take *upstream* back after an exchange."""


class ForwardProxyResource:
    """Forwards requests through the pool. *retries* is how often a lost one is sent again."""

    def __init__(
        self,
        pool: Connections,
        hop: Hop,
        retries: int,
        sweep: Sweep,
        tunnels: TunnelLimits,
    ) -> None:
        self._pool = pool
        self._hop = hop
        self._retries = retries
        self._sweep = sweep
        self._tunnels = tunnels

    async def respond(self, request: Request, reply: ForwardReply) -> None:
        """See Responder."""
        head, target = request.head, request.target
        passage = self._passage(request)
        if passage is None:
            _answer_here(request, reply)
            return
        _, origin, section = passage
        asking = writer.request_head(head.method, target.path, section)
        attempts = self._retries
        while True:
            upstream = self._pool.take_idle(origin) or await self._pool.getConnection(origin)
            try:
                answer = self._ask(request, asking, upstream, reply)
                await answer.arrived
                if answer.whole is None or upstream.upload is not None:
                    await self._stream(request, upstream, answer, reply)
                else:
                    reply.pass_on(self._outgoing(answer, reply), answer.whole)
                return
            except errors.ConnectionEnded:
                # A used connection died under the request: again, if it may be, and not on one
                # that has been idle for even longer and may have died of the same.
                if not upstream.is_untouched or not attempts or not may_repeat(request):
                    raise
                attempts -= 1
                self._pool.drop_idle(origin)
            finally:
                if upstream.upload is not None:
                    upstream.upload.cancel()
                self._pool.release(upstream)

    def _passage(self, request: Request) -> _Passage | None:
        """Say which origin gets to read what; None if the request is for this hop."""
        head, asked = request.head, request.target.origin
        fields = head.fields
        key = (self, head.method, head.minor, asked, request.client.host, request.framing)
        passage = fields.memo
        if isinstance(passage, _Passage) and passage.key == key:
            return passage
        hops.check_loop(fields, self._hop.pseudonym)
        if hops.answers_here(head):
            return None
        assert asked is not None
        lines = hops.request_lines(
            head,
            authority(asked),
            request.client.host,
            request.framing,
            self._hop,
            asked.scheme,
        )
        fields.memo = passage = _Passage(key, asked, writer.section(lines))
        return passage

    def _ask(
        self, request: Request, asking: bytes, upstream: Upstream, reply: ForwardReply
    ) -> Answer:
        """Send the request, its body while the answer is awaited; note who is asked."""
        record = reply.record
        record.upstream = upstream.dialled.address
        record.reuse = "reused" if upstream.served else "new"
        if upstream.is_tls:
            record.tls = "warm" if upstream.served else upstream.dialled.tls
        has_body = request.framing is not NO_BODY

        def pass_interim(head: ResponseHead) -> None:
            lines = hops.response_lines(head, self._hop)
            reply.interim(OutgoingResponse(head.status, head.reason, [], lines))

        answer = upstream.ask(asking, request.head.method, has_body, pass_interim)
        if has_body:
            self._upload(request, upstream)
        return answer

    def _outgoing(self, answer: Answer, reply: ForwardReply) -> OutgoingResponse:
        """Return the head that goes on to the client."""
        head = answer.head
        assert head is not None
        fields = head.fields
        reply.record.content_type = fields.combined.get(b"content-type", b"")
        key = (self, head.status, head.reason, head.minor)
        way_back = fields.memo
        if isinstance(way_back, _WayBack) and way_back.key == key:
            return way_back.head
        lines = hops.response_lines(head, self._hop)
        outgoing = OutgoingResponse(head.status, head.reason, [], lines, head)
        fields.memo = _WayBack(key, outgoing)
        return outgoing

    async def _stream(
        self, request: Request, upstream: Upstream, answer: Answer, reply: ForwardReply
    ) -> None:
        """Pass on an answer that may still be arriving, or came before the request was sent."""
        head, upload = answer.head, upstream.upload
        assert head is not None
        if head.status == 101:
            _check_switch(request, upload)
            await self._switch(upstream, head, reply)
            return
        if answer.error is not None:
            raise answer.error
        # An early answer of an origin that then closes: the rest of the upload goes nowhere.
        is_last = upload is not None and not upload.called and not upstream.persists
        sink = reply.begin(self._outgoing(answer, reply), answer.framing, is_last)
        await answer.deliver(sink)
        if upload is not None and upstream.persists:
            # An early answer: an origin that keeps the connection reads the whole request.
            await upload

    def _upload(self, request: Request, upstream: Upstream) -> None:
        """Send the request's body; its failure ends the exchange."""
        sink = RequestSink(upstream, request.framing, upstream.silence_timeout)
        upload = Deferred.fromCoroutine(request.body.deliver(sink))
        upload.addErrback(_upload_failed, upstream)
        upstream.upload = upload

    async def _switch(self, upstream: Upstream, head: ResponseHead, reply: ForwardReply) -> None:
        """Pass a 101 on, and become a tunnel (RFC 9110 section 7.8)."""
        relay = Relay(self._sweep, self._tunnels.idle_timeout, self._tunnels.close_timeout)
        early = upstream.take_over(relay.origin)
        lines = hops.switching_lines(head, self._hop)
        switching = OutgoingResponse(101, head.reason, [], lines)
        taken = reply.take_over(switching, relay.client)
        relay.join(taken, TakenOver(upstream.transport, early, has_ended=False))
        try:
            await relay.done
        finally:
            reply.record.sent, reply.record.received = relay.down.moved, relay.up.moved


@functools.lru_cache(maxsize=4096)
def authority(origin: Origin) -> bytes:
    """Return what stands in Host for *origin*."""
    return origin.authority


def may_repeat(request: Request) -> bool:
    """May *request* be sent again when it isn't known what became of it (RFC 9110 9.2.2)?"""
    return request.framing is NO_BODY and request.head.method in _IDEMPOTENT


def _check_switch(request: Request, upload: Deferred[None] | None) -> None:
    """Raise BadResponse where the origin may not leave HTTP (RFC 9110 section 7.8)."""
    if not hops.offers_upgrade(request.head):
        raise errors.BadResponse("the origin switched to a protocol that nobody offered")
    if upload is not None and not upload.called:
        raise errors.BadResponse("the origin switched protocols before it had the whole request")


def _upload_failed(failure: Failure, upstream: Upstream) -> None:
    error = failure.value
    if isinstance(error, errors.ExchangeError):
        upstream.fail(error)
    elif not isinstance(error, CancelledError):
        _log.failure("a mistake of ours ended an upload", failure)
        upstream.fail(errors.InternalError("an error in the proxy itself; see its event log"))


def _answer_here(request: Request, reply: ForwardReply) -> None:
    """Answer TRACE or OPTIONS that may go no further (RFC 9110 section 7.6.2)."""
    if request.head.method == b"TRACE":
        head = OutgoingResponse(200, b"OK", [(b"Content-Type", b"message/http")])
        reply.answer(head, hops.traced(request.head))
    else:
        reply.answer(OutgoingResponse(204, b"No Content", [_ALLOW]), b"")
