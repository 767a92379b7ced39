"""Answers absolute-form requests: passes them to the origin, and the answer back."""

from __future__ import annotations

import functools
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Reply, Request, TakenOver
from proxyapp.net.timers import Sweep
from proxyapp.proxy.answer import Answer
from proxyapp.proxy.pool import HTTPConnectionPool
from proxyapp.proxy.relay import Relay
from proxyapp.proxy.tunnel import TunnelLimits
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.proxy.upstream import RequestSink, Upstream
from proxyapp.rules import hops
from proxyapp.rules.hops import Hop
from proxyapp.wire import writer
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.messages import OutgoingRequest, OutgoingResponse, ResponseHead
from proxyapp.wire.target import Origin

_log = Logger()
# RFC 9110 section 9.2.2: doing these twice is as doing them once.
_IDEMPOTENT = frozenset(b"GET HEAD OPTIONS TRACE PUT DELETE".split())
_ALLOW = (b"Allow", b"CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE")


# A request that an origin answers: by which connection, with what, and the upload's end.
_Asked: TypeAlias = tuple[Upstream, Answer, Deferred[None] | None]


class ForwardProxyResource:
    """Forwards requests through the pool. *retries* is how often a lost one is sent again."""

    def __init__(
        self,
        pool: HTTPConnectionPool,
        upgrade: TlsUpgrade,
        hop: Hop,
        retries: int,
        sweep: Sweep,
        tunnels: TunnelLimits,
    ) -> None:
        self._pool = pool
        self._upgrade = upgrade
        self._hop = hop
        self._retries = retries
        self._sweep = sweep
        self._tunnels = tunnels

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        head = request.head
        # Is it for this hop, or has it been here?
        hops.check_loop(head.fields, self._hop.pseudonym)
        if b"max-forwards" in head.fields.combined and hops.answers_here(head):
            _answer_here(request, reply)
            return
        # Which origin, and what does it get to read?
        origin = self._upgrade.origin_for(request)
        if origin is not request.target.origin:
            reply.record.url = b"https://" + authority(origin) + request.target.path
        section = hops.request_section(
            head, authority(origin), request.client.host, request.framing, self._hop
        )
        asking = writer.request_head(OutgoingRequest(head.method, request.target.path, section))
        # Ask, and pass the answer on.
        upstream, answer, upload = await self._ask(request, origin, asking, reply)
        try:
            response, body = answer.head, answer.body
            assert response is not None
            assert body is not None
            if response.status == 101:
                _check_switch(request, upload)
                await self._switch(upstream, response, reply)
                return
            if body.error is not None:
                raise body.error
            reply.record.content_type = response.fields.combined.get(b"content-type", b"")
            # An early answer of an origin that then closes: the rest of the upload goes nowhere.
            is_last = upload is not None and not upload.called and not upstream.persists
            sink = reply.begin(self._outgoing(response), answer.framing, is_last)
            if not body.hand_over(sink):
                await body.deliver(sink)
            if upload is not None and upstream.persists:
                # An early answer: an origin that keeps the connection reads the whole request.
                await upload
        finally:
            if upload is not None:
                upload.cancel()
            self._pool.release(upstream)

    async def _ask(self, request: Request, origin: Origin, asking: bytes, reply: Reply) -> _Asked:
        """Send the request; again, if it may be, when a used connection died under it."""
        method = request.head.method
        has_body = request.framing is not NO_BODY
        attempts = 0 if has_body or method not in _IDEMPOTENT else self._retries
        while True:
            upstream = self._pool.take_idle(origin) or await self._pool.getConnection(origin)
            _note(upstream, reply)
            upload = None
            try:
                answer = upstream.ask(
                    asking, method, has_body, lambda head: reply.interim(self._outgoing(head))
                )
                if has_body:
                    upload = self._upload(request, upstream)
                await answer.arrived
                return upstream, answer, upload
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                is_lost = isinstance(error, errors.ConnectionEnded) and upstream.is_untouched
                self._pool.release(upstream)
                if not is_lost or attempts <= 0:
                    raise
                attempts -= 1

    def _upload(self, request: Request, upstream: Upstream) -> Deferred[None]:
        """Send the request's body while the answer is awaited; its failure ends the exchange."""
        sink = RequestSink(upstream, request.framing, upstream.silence_timeout)
        upload = Deferred.fromCoroutine(request.body.deliver(sink))
        upload.addErrback(_upload_failed, upstream)
        upstream.upload = upload
        return upload

    async def _switch(self, upstream: Upstream, head: ResponseHead, reply: Reply) -> None:
        """Pass a 101 on, and become a tunnel (RFC 9110 section 7.8)."""
        relay = Relay(self._sweep, self._tunnels.idle_timeout, self._tunnels.close_timeout)
        early = upstream.take_over(relay.origin)
        lines = hops.switching_lines(head, self._hop.pseudonym)
        switching = OutgoingResponse(101, head.reason, [], lines)
        taken = reply.take_over(switching, relay.client)
        relay.join(taken, TakenOver(upstream.transport, early, has_ended=False))
        try:
            await relay.done
        finally:
            reply.record.sent, reply.record.received = relay.down.moved, relay.up.moved

    def _outgoing(self, head: ResponseHead) -> OutgoingResponse:
        lines = hops.response_lines(head, self._hop.pseudonym)
        return OutgoingResponse(head.status, head.reason, [], lines)


@functools.lru_cache(maxsize=4096)
def authority(origin: Origin) -> bytes:
    """Return what stands in Host for *origin*."""
    return origin.authority


def _note(upstream: Upstream, reply: Reply) -> None:
    record = reply.record
    record.upstream = upstream.dialled.address
    record.reuse = "reused" if upstream.served else "new"
    record.tls = ("warm" if upstream.served else upstream.dialled.tls) if upstream.is_tls else ""


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


def _answer_here(request: Request, reply: Reply) -> None:
    """Answer TRACE or OPTIONS that may go no further (RFC 9110 section 7.6.2)."""
    if request.head.method == b"TRACE":
        head = OutgoingResponse(200, b"OK", [(b"Content-Type", b"message/http")])
        reply.answer(head, hops.traced(request.head))
    else:
        reply.answer(OutgoingResponse(204, b"No Content", [_ALLOW]), b"")
