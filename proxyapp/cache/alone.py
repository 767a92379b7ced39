"""Passes an answer on that is most likely for one client only, and stores it if it isn't."""

from __future__ import annotations

from collections.abc import Callable

from proxyapp import errors, stream
from proxyapp.cache import serving
from proxyapp.cache.sinks import Tee
from proxyapp.cache.wanted import Means, Place, is_worth_keeping
from proxyapp.exchange import ForwardReplyAround, Reply, Request
from proxyapp.rules.caching import storing
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire import headers
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.messages import OutgoingResponse, ResponseHead


def is_for_one(request: Request, head: OutgoingResponse, place: Place) -> bool:
    """Is *head*, which answers *request*, certainly not to be stored?

    It's asked of the fields as they came, so that those that go on needn't be read for it.
    """
    came, policy = head.came, place.rule.policy
    return came is not None and bool(storing.refusal(request.head, came, policy, request.ttl))


def response_of(head: OutgoingResponse) -> ResponseHead:
    """Return *head* as what arrived, without what concerned the way to us only."""
    return ResponseHead(head.status, head.reason, 1, headers.of_lines(list(head.lines)))


class Alone(ForwardReplyAround):
    """See exchange.Reply. *on_stored* is told of *place* if the answer is for others too."""

    def __init__(
        self,
        request: Request,
        reply: Reply,
        place: Place,
        means: Means,
        on_stored: Callable[[Place], None],
    ) -> None:
        super().__init__(reply)
        self._request = request
        self._place = place
        self._means = means
        self._on_stored = on_stored
        self.asked_at = means.seconds()
        self._tee: Tee | None = None

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        stored = self._stored(head)
        if stored is not None:
            self._means.store.put(self._place.key, stored, body)
        self.inner.pass_on(serving.forwarded(head, stored is not None), body)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        stored, growing = self._stored(head), None
        if stored is not None:
            total = body.length if body.kind is Kind.LENGTH else None
            growing = self._means.store.begin(self._place.key, stored, total)
        try:
            sink = self.inner.begin(serving.forwarded(head, growing is not None), body, is_last)
        except errors.ExchangeError:
            if growing is not None:
                growing.abandon()
            raise
        if growing is None:
            return sink
        self._tee = Tee(growing, sink)
        return self._tee

    def end(self, is_complete: bool) -> None:
        """The answer is over."""
        tee = self._tee
        if tee is not None:
            is_kept = is_worth_keeping(self._means, self._place, tee.stored, is_complete)
            tee.end(is_complete, is_kept)

    def _stored(self, head: OutgoingResponse) -> Stored | None:
        """Return what is stored of *head*, None where it may not be."""
        request, policy = self._request, self._place.rule.policy
        if is_for_one(request, head, self._place):
            return None
        response = response_of(head)
        if storing.refusal(request.head, response, policy, request.ttl):
            return None
        self._on_stored(self._place)
        now = self._means.seconds()
        return storing.stored(request.head, response, policy, self.asked_at, now, request.ttl)
