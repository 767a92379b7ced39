"""Looks at answers that pass by the cache, and learns from them what isn't right any more."""

from __future__ import annotations

from collections.abc import Callable

from proxyapp import stream
from proxyapp.cache import serving
from proxyapp.cache.sinks import Tee
from proxyapp.cache.wanted import Means, Place
from proxyapp.exchange import ForwardReplyAround, Reply, Request
from proxyapp.rules.caching import invalidation, storing, validation, varying
from proxyapp.rules.caching.cachestatus import Fwd
from proxyapp.store.bodies import GrowingBody
from proxyapp.wire import headers
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.messages import OutgoingResponse, ResponseHead
from proxyapp.wire.target import Origin


class Witness(ForwardReplyAround):
    """See exchange.Reply; *fwd* is why it isn't answered from the cache.

    *outdate* is told of keys whose fetches may bring what is old.
    """

    def __init__(
        self,
        request: Request,
        reply: Reply,
        means: Means,
        place_of: Callable[[Origin, bytes], Place],
        outdate: Callable[[bytes], None],
        fwd: Fwd,
    ) -> None:
        super().__init__(reply)
        self._request = request
        self._means = means
        self._place_of = place_of
        self._outdate = outdate
        self._fwd = fwd
        self._asked_at = means.seconds()
        self._tee: Tee | None = None

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self._learn(head)
        self.inner.pass_on(serving.forwarded(head, fwd=self._fwd), body)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        self._learn(head)
        sink = self.inner.begin(serving.forwarded(head, fwd=self._fwd), body, is_last)
        if self._request.head.method != b"POST":
            return sink
        growing = self._growing(head, body)
        if growing is None:
            return sink
        self._tee = Tee(growing, sink)
        return self._tee

    def end(self, is_complete: bool) -> None:
        """The answer is over."""
        if self._tee is not None:
            self._tee.end(is_complete, is_kept=is_complete)

    def _growing(self, head: OutgoingResponse, body: Framing) -> GrowingBody | None:
        """Begin to store an answer to POST that is one to GET, too (RFC 9110 section 9.3.3)."""
        request, target = self._request, self._request.target
        if target.origin is None:
            return None
        place = self._place_of(target.origin, target.path)
        response, policy = _response(head), place.rule.policy
        if storing.refusal(request.head, response, policy, request.ttl):
            return None
        now = self._means.seconds()
        stored = storing.stored(request.head, response, policy, self._asked_at, now, request.ttl)
        total = body.length if body.kind is Kind.LENGTH else None
        return self._means.store.begin(place.key, stored, total)

    def _learn(self, head: OutgoingResponse) -> None:
        request, origin = self._request.head, self._request.target.origin
        if request.method == b"GET" or origin is None:
            return
        path = self._request.target.path
        response = _response(head)
        if request.method == b"HEAD":
            self._freshen(self._place_of(origin, path), response)
            return
        for changed in invalidation.invalidated(request, origin, path, response):
            place = self._place_of(*changed)
            # In this order: what others store meanwhile is seen by us, or they see that it is old.
            self._outdate(place.key)
            self._means.store.invalidate(place.key)

    def _freshen(self, place: Place, response: ResponseHead) -> None:
        """Update what is stored by the answer to a HEAD (RFC 9111 section 4.3.5)."""
        store = self._means.store
        variants = store.variants(place.key)
        entry = varying.select(self._request.head, variants, lambda each: each.stored)
        if entry is None:
            return
        now, policy = self._means.seconds(), place.rule.policy
        found = validation.freshened_by_head(entry.stored, response, self._asked_at, now, policy)
        if found is None:
            store.invalidate(place.key)
        elif found is not entry.stored:
            store.update(entry, found)


def _response(head: OutgoingResponse) -> ResponseHead:
    return ResponseHead(head.status, head.reason, 1, headers.of_lines(list(head.lines)))
