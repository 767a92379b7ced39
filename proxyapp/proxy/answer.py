"""What an origin sends back for one request: interim heads, the final head, the body."""

from __future__ import annotations

from collections.abc import Callable

from proxyapp import errors
from proxyapp.net.task import Wakeup
from proxyapp.stream import Body, Sink, Source
from proxyapp.wire import bodies, framing, heads
from proxyapp.wire.framing import NO_BODY, UNTIL_CLOSE, Framing, Kind
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.heads import HeadReader
from proxyapp.wire.messages import ResponseHead
from proxyapp.wire.parser import ResponseParser

# An origin that announces more interim responses than this isn't making progress.
MAX_INTERIM = 64

_LENGTH = Kind.LENGTH
# The first digit of a final status; what stands before it is for the parser to judge.
_FINAL = b"2"

OnInterim = Callable[[ResponseHead], None]


class Answer:
    """The answer to a request with *method*, read from *source*.

    *arrived* happens with the final *head* (101 counts as final). By then *framing* is there, and
    the body can be delivered; *whole* is a body of known length that came together with the head.
    *persists* says whether the origin keeps the connection after it (RFC 9112 section 9.3).
    *arrived* fails with BadResponse and with whatever `fail` is given.
    """

    __slots__ = (
        "_body",
        "_has_excess",
        "_interim_left",
        "_method",
        "_on_interim",
        "_parser",
        "_reader",
        "_rest",
        "_source",
        "arrived",
        "framing",
        "has_begun",
        "head",
        "persists",
        "whole",
    )

    def __init__(
        self, source: Source, method: bytes, on_interim: OnInterim, parser: ResponseParser
    ) -> None:
        self.arrived = Wakeup()
        self.head: ResponseHead | None = None
        self._body: Body | None = None
        self.whole: bytes | None = None
        self.framing = NO_BODY
        self.has_begun = False
        self._has_excess = False
        self.persists = False
        self._source = source
        self._method = method
        self._on_interim = on_interim
        self._parser = parser
        self._interim_left = MAX_INTERIM
        self._reader: HeadReader | None = None
        self._rest = b""

    def __repr__(self) -> str:
        return f"<Answer {self.head.status if self.head else 'awaited'} {self._body!r}>"

    @property
    def is_complete(self) -> bool:
        """Has all of it arrived, and nothing behind it?"""
        # Bytes behind it answer nothing we asked (RFC 9112 section 9.2).
        body = self._body
        if body is None:
            return self.whole is not None and not self._has_excess
        return body.is_complete and not body.has_excess and body.error is None

    @property
    def error(self) -> errors.ExchangeError | None:
        """What ended the body early."""
        return self._body.error if self._body is not None else None

    async def deliver(self, sink: Sink) -> None:
        """Hand the body over to *sink*; see Body.deliver."""
        if self._body is not None:
            await self._body.deliver(sink)
            return
        if self.whole:
            sink.write(self.whole)
        sink.finish(NO_FIELDS)

    def received(self, data: bytes) -> None:
        """Take bytes that arrived; raises BadResponse while the head is awaited."""
        self.has_begun = True
        if self.head is not None:
            self._read_body(data)
            return
        try:
            end = heads.whole_head(data, self._parser.limits) if self._reader is None else 0
            if end and data[9:10] >= _FINAL:
                self._take_final(self._parser.parse(data[:end]), data[end:])
            else:
                self._gather(data)
        except errors.ClientFault as fault:
            raise _malformed(fault) from fault

    def _gather(self, data: bytes) -> None:
        """Take heads that come in pieces, or several at once."""
        if self._reader is None:
            self._reader = HeadReader(self._parser.limits)
        self._reader.feed(data)
        while self.head is None and (found := self._reader.next_head()) is not None:
            head = self._parser.parse(found)
            if head.status >= 200 or head.status == 101:
                self._take_final(head, self._reader.take_rest())
            else:
                self._take_interim(head)

    def _take_interim(self, head: ResponseHead) -> None:
        self._interim_left -= 1
        if not self._interim_left:
            raise errors.BadRequest("too many interim responses")
        self._on_interim(head)

    def _take_final(self, head: ResponseHead, rest: bytes) -> None:
        self.framing = how = framing.response_framing(head, self._method)
        self.head = head
        if how is not UNTIL_CLOSE:
            self.persists = framing.persists(head.minor, head.fields)
        if how.kind is _LENGTH and len(rest) == how.length:
            self.whole = rest
        else:
            self._begin_body(head, how, rest)
        if not self.arrived.has_happened:
            self.arrived.happen()

    def _begin_body(self, head: ResponseHead, how: Framing, rest: bytes) -> None:
        self._body = Body(bodies.decoder_for(how), self._source)
        if head.status == 101:
            self.persists = False
            self._rest = rest  # it belongs to the protocol that was switched to
        elif rest:
            self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        if self._body is None:
            self._has_excess = True
            return
        try:
            self._body.push(data)
        except errors.ClientFault as fault:
            self._body.fail(_malformed(fault))

    def input_ended(self, is_clean: bool) -> None:
        """The origin sends no more; *is_clean* tells an orderly end from a broken one."""
        if self.head is None:
            self.fail(errors.ConnectionEnded("the origin closed the connection without an answer"))
        elif not is_clean:
            self.fail(self._source.cut())
        elif self._body is not None:
            self._body.end_input()

    def fail(self, error: errors.ExchangeError) -> None:
        """End it with *error*, unless it is complete."""
        if self._body is not None:
            if not self._body.is_complete:
                self._body.fail(error)
        elif not self.arrived.has_happened:
            self.arrived.happen(error)

    def take_rest(self) -> bytes:
        """Hand over what arrived behind a 101."""
        rest, self._rest = self._rest, b""
        return rest


def _malformed(fault: errors.ClientFault) -> errors.BadResponse:
    return errors.BadResponse(f"the origin's response is malformed: {fault.reason}")
