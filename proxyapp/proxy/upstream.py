"""One connection to an origin: carries one exchange at a time, and many in its life."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import transport as net_transport
from proxyapp.net.dial import Dialled
from proxyapp.net.timers import NEVER, Sweep
from proxyapp.net.transport import Transport
from proxyapp.rules import hops
from proxyapp.stream import Body, Receiver
from proxyapp.wire import bodies, framing, parser, writer
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import ResponseHead
from proxyapp.wire.parser import HeadLimits, HeadReader
from proxyapp.wire.target import Origin

# An origin that announces more interim responses than this isn't making progress.
MAX_INTERIM = 64


class Timeouts(NamedTuple):
    """In seconds: until the response head; silence inside a body; idle in the pool."""

    response: float
    read: float
    idle: float


class Keeper(Protocol):
    """Who owns a connection between its exchanges."""

    def lost(self, upstream: Upstream) -> None:
        """The connection is gone, whatever it was doing."""


@implementer(IHalfCloseableProtocol)
class Upstream(protocol.Protocol):
    """A connection to *origin*.

    An exchange is `send_head`, the request's body through a `RequestSink`, `response_head`, then
    the response's body from `body`; after that `is_reusable` tells whether there can be another.
    """

    transport: Transport

    def __init__(
        self, origin: Origin, keeper: Keeper, sweep: Sweep, timeouts: Timeouts, limits: HeadLimits
    ) -> None:
        self.origin = origin
        self.sweep = sweep
        self.silence_timeout = timeouts.read
        self.dialled = Dialled("", "")
        self.served = 0
        self.body: Body | None = None
        self.framing = framing.NO_BODY
        self.deadline = NEVER
        self.slot = 0
        self._keeper = keeper
        self._timeouts = timeouts
        self._limits = limits
        self._reader = HeadReader(limits)
        self._method = b""
        self._waiting: Deferred[ResponseHead] | None = None
        self._head: ResponseHead | None = None
        self._on_interim: Callable[[ResponseHead], None] | None = None
        self._interim_count = 0
        self._receiver: Receiver | None = None
        self._is_sending = False
        self._has_received = False
        self._is_broken = False

    def __repr__(self) -> str:
        state = "busy" if self._method else "idle"
        if self._is_broken:
            state = "broken"
        return f"<Upstream {self.origin.host}:{self.origin.port} {state}, {self.served} served>"

    # What the exchange calls.

    def send_head(self, head: bytes, method: bytes, has_body: bool) -> None:
        """Begin an exchange with the bytes of a request *head*."""
        self._method = method
        self._is_sending = has_body
        self._has_received = False
        self._interim_count = 0
        self._head = self.body = None
        self.transport.write(head)

    def sent(self) -> None:
        """The request's body has left; from now on the origin has to answer."""
        self._is_sending = False
        if self._head is None:
            self.sweep.set(self, self._timeouts.response)

    def response_head(self, on_interim: Callable[[ResponseHead], None]) -> Deferred[ResponseHead]:
        """Return the final response head, when it comes; 1xx heads go to *on_interim*.

        Fails with ConnectionEnded, ResponseTimeout or BadResponse. 101 counts as final.
        """
        self._on_interim = on_interim
        self._waiting = Deferred(lambda _: self.abort())
        if self._is_broken:
            self._fail(errors.ConnectionEnded("the origin closed the connection"))
            return self._waiting or Deferred()
        self.sweep.set(self, self._timeouts.response)
        return self._waiting

    @property
    def is_untouched(self) -> bool:
        """Did this exchange end on a used connection, before a single byte of the answer?"""
        return self.served > 0 and not self._has_received

    @property
    def is_reusable(self) -> bool:
        """Has the exchange ended in a way that lets another one follow (RFC 9112 section 9.3)?"""
        head, body = self._head, self.body
        if self._is_broken or self._is_sending or head is None or body is None:
            return False
        return body.is_complete and self.persists and self._reader.is_empty

    @property
    def persists(self) -> bool:
        """Does the origin keep the connection after this response (RFC 9112 section 9.3)?"""
        head = self._head
        if head is None or self._is_broken:
            return False
        return persists(head.minor, head.fields) and self.framing.kind is not Kind.CLOSE

    @property
    def is_tls(self) -> bool:
        """Is the connection secured?"""
        return self.origin.scheme == "https"

    def end_exchange(self) -> None:
        """The exchange is over, and the connection is idle from now on."""
        self.served += 1
        self._method = b""
        self._head = self.body = None
        self.sweep.set(self, self._timeouts.idle)

    def take_over(self, receiver: Receiver) -> bytes:
        """Give the connection to *receiver* (101); returns what has arrived behind the head."""
        self._receiver = receiver
        self.sweep.drop(self)
        return self._reader.take_rest()

    def close(self) -> None:
        """Close the idle connection."""
        self._is_broken = True
        self.sweep.drop(self)
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once, whatever it is doing."""
        self._is_broken = True
        self.sweep.drop(self)
        if self.transport is not None:
            self.transport.abortConnection()

    def fail(self, error: errors.ExchangeError) -> None:
        """End the exchange with *error*: its request could not be sent."""
        self._fail(error)
        self.abort()

    # Source, for the response's body.

    def silent(self) -> errors.ExchangeError:
        """See Source."""
        return errors.ReadTimeout("the origin fell silent inside the response")

    def cut(self) -> errors.ExchangeError:
        """See Source."""
        return errors.ResponseIncomplete("the origin closed the connection inside the response")

    # Protocol.

    def connectionMade(self) -> None:
        """A request is often one small segment: it must not wait for an acknowledgement."""
        net_transport.set_options(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Read heads, then a body; anything else from an origin ends the connection."""
        self._has_received = True
        if self._receiver is not None:
            self._receiver.received(data)
        elif self.body is not None:
            self._read_body(self.body, data)
        elif self._waiting is not None:
            self._reader.feed(data)
            self._read_heads()
        else:
            self.abort()  # RFC 9112 section 9.3: an idle connection has nothing to say

    def _read_body(self, body: Body, data: bytes) -> None:
        try:
            rest = body.push(data)
        except errors.ClientFault as fault:
            self._is_broken = True
            body.fail(errors.BadResponse(f"the origin's response is malformed: {fault.reason}"))
            return
        if rest:
            # Bytes behind the response answer nothing we asked (RFC 9112 section 9.2).
            self._is_broken = True

    def _read_heads(self) -> None:
        try:
            while self._waiting is not None and (head := self._reader.next_head()) is not None:
                self._take_head(parser.parse_response(head, self._limits))
        except errors.ClientFault as fault:
            self.fail(errors.BadResponse(f"the origin's response is malformed: {fault.reason}"))

    def _take_head(self, head: ResponseHead) -> None:
        if head.status < 200 and head.status != 101:
            self._interim_count += 1
            if self._interim_count > MAX_INTERIM:
                raise errors.BadRequest("too many interim responses")
            if self._on_interim is not None:
                self._on_interim(head)
            self.sweep.set(self, self._timeouts.response)
            return
        self.framing = how = framing.response_framing(head, self._method)
        self.deadline = NEVER
        self._head = head
        self.body = body = Body(bodies.decoder_for(how), self)
        if head.status != 101:
            rest = self._reader.take_rest()
            if rest:
                self._read_body(body, rest)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(head)

    def readConnectionLost(self) -> None:
        """The origin will send no more."""
        if self._receiver is not None:
            self._receiver.input_ended()
            return
        self._end_input(is_clean=True)
        if self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half-close has left."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection is gone: whoever waits is told."""
        self._end_input(is_clean=reason.check(ConnectionDone) is not None)
        self.sweep.drop(self)
        if self._receiver is not None:
            self._receiver.lost(reason.check(ConnectionDone) is not None)
        self._keeper.lost(self)

    def _end_input(self, is_clean: bool) -> None:
        self._is_broken = True
        self._fail(errors.ConnectionEnded("the origin closed the connection without an answer"))
        if self.body is not None and self._receiver is None:
            if is_clean:
                self.body.end_input()
            elif not self.body.is_complete:
                self.body.fail(self.cut())

    def _fail(self, error: errors.ExchangeError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)
        elif self.body is not None and not self.body.is_complete:
            self.body.fail(error)

    # Watched.

    def expire(self) -> None:
        """See Watched: no response head in time, or idle for long enough."""
        if self._waiting is None:
            self.close()
        elif self._is_sending:
            self.sweep.set(self, self._timeouts.response)  # the upload has a time-out of its own
        else:
            self.fail(errors.ResponseTimeout("the origin did not answer in time"))


class RequestSink:
    """Frames a request's body onto an upstream connection; see stream.Sink."""

    def __init__(self, upstream: Upstream, how: Framing, stall_timeout: float) -> None:
        self.transport = upstream.transport
        self.is_raw = how.kind is Kind.LENGTH
        self.stall_timeout = stall_timeout
        self._upstream = upstream

    def write(self, data: bytes) -> None:
        """See Sink."""
        self.transport.write(data if self.is_raw else writer.chunk(data))

    def flush(self) -> None:
        """See Sink; nothing is ever held back."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""
        if not self.is_raw:
            self.transport.write(writer.last_chunk(hops.trailer_fields(trailers)))
        self._upstream.sent()

    def passed(self, count: int) -> None:
        """See Sink."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.ReadTimeout("the origin stopped reading the request")


def persists(minor: int, fields: Fields) -> bool:
    """Does the connection of a message with these *fields* stay open (RFC 9112 section 9.3)?"""
    options = fields.get(b"connection")
    if options is None:
        return minor > 0
    tokens = fields.tokens(b"connection")
    return b"close" not in tokens and (minor > 0 or b"keep-alive" in tokens)
