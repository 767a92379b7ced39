"""What forwards to the origin takes for its client's reply while it fetches for the cache."""

from __future__ import annotations

from typing import Protocol

from proxyapp import errors, stream
from proxyapp.exchange import Reply, TakenOver
from proxyapp.rules.record import Record
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import OutgoingResponse


class Taker(Protocol):
    """Who fetches."""

    def take(self, head: OutgoingResponse, framing: Framing, whole: bytes | None) -> stream.Sink:
        """Say where the body goes that follows *head*; *whole* is all of it, if it's there."""


class Taking:
    """See ForwardReply: it hands what comes to *taker*; *leader* is who it is fetched for."""

    def __init__(self, taker: Taker, leader: Reply | None) -> None:
        self.record = leader.record if leader is not None else Record()
        self.has_begun = False
        self._taker = taker
        self._leader = leader

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply."""
        if self._leader is not None:
            self._leader.interim(head)

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply: it is taken as if it had come from the origin."""
        lines = [*head.lines, *(b"%b: %b" % field for field in head.fields)]
        lines.append(b"Content-Length: %d" % len(body))
        self.pass_on(OutgoingResponse(head.status, head.reason, [], lines), body)

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.has_begun = True
        sink = self._taker.take(head, Framing(Kind.LENGTH, len(body)), body)
        if body:
            sink.write(body)
        sink.finish(NO_FIELDS)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        self.has_begun = True
        return self._taker.take(head, body, None)

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply; requests that offer another protocol never come here."""
        raise errors.BadResponse("the origin switched to a protocol that nobody offered")
