"""One connection to an origin: carries one exchange at a time, and many in its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
from proxyapp.proxy.answer import Answer, OnInterim
from proxyapp.rules import hops
from proxyapp.stream import Receiver
from proxyapp.wire import writer
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.parser import ResponseParser
from proxyapp.wire.target import Origin

# How long the other end may take to agree to the end of an idle connection, in seconds.
CLOSE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
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
    """A connection to *origin*; the source of its responses' bodies.

    An exchange is `ask`, the request's body through a `RequestSink`, and the Answer that `ask`
    returned; after that `is_reusable` tells whether there can be another one.
    """

    transport: Transport  # type: ignore[assignment]  # ITransport lacks what TCP's has

    def __init__(
        self, origin: Origin, keeper: Keeper, sweep: Sweep, timeouts: Timeouts, limits: HeadLimits
    ) -> None:
        self.origin = origin
        self.is_tls = origin.scheme == "https"
        self.sweep = sweep
        self.silence_timeout = timeouts.read
        self.dialled = Dialled("", "")
        self.served = 0
        self.deadline = NEVER
        self.slot = 0
        self._keeper = keeper
        self._timeouts = timeouts
        self._parser = ResponseParser(limits)
        self._answer: Answer | None = None
        self._receiver: Receiver | None = None
        self.upload: Deferred[None] | None = None  # the body of the request, on its way
        self._is_sending = False
        self.is_broken = False  # closed, or as good as that

    def __repr__(self) -> str:
        state = "idle" if self._answer is None else "busy"
        if self.is_broken:
            state = "broken"
        return f"<Upstream {self.origin.host}:{self.origin.port} {state}, {self.served} served>"

    # What the exchange calls.

    def ask(self, head: bytes, method: bytes, has_body: bool, on_interim: OnInterim) -> Answer:
        """Send the bytes of a request *head*; returns the answer to wait for.

        1xx heads go to *on_interim*. The answer fails with ConnectionEnded or ResponseTimeout.
        """
        self._answer = answer = Answer(self, method, on_interim, self._parser)
        self._is_sending = has_body
        if self.is_broken:
            answer.input_ended(is_clean=False)
            return answer
        self.sweep.set(self, self._timeouts.response)
        self.transport.write(head)
        return answer

    def sent(self) -> None:
        """The request's body has left; from now on the origin has to answer."""
        self._is_sending = False
        if self._answer is not None and self._answer.head is None:
            self.sweep.set(self, self._timeouts.response)

    @property
    def is_untouched(self) -> bool:
        """Did this exchange end on a used connection, before a single byte of the answer?"""
        return self.served > 0 and self._answer is not None and not self._answer.has_begun

    @property
    def persists(self) -> bool:
        """Does the origin keep the connection after this answer?"""
        return not self.is_broken and self._answer is not None and self._answer.persists

    @property
    def is_reusable(self) -> bool:
        """Has the exchange ended in a way that lets another one follow (RFC 9112 section 9.3)?"""
        answer = self._answer
        if answer is None or self.is_broken or self._is_sending:
            return False
        return answer.persists and answer.is_complete

    def end_exchange(self, at_most: float) -> None:
        """The exchange is over; the connection is idle now, and that for *at_most* seconds."""
        self.served += 1
        self._answer = None
        self.upload = None
        self.sweep.set(self, min(at_most, self._timeouts.idle))

    def take_over(self, receiver: Receiver) -> bytes:
        """Give the connection to *receiver* (101); returns what has arrived behind the head."""
        self._receiver = receiver
        self.sweep.drop(self)
        return self._answer.take_rest() if self._answer is not None else b""

    def close(self) -> None:
        """Close the idle connection."""
        self.is_broken = True
        self.sweep.set(self, CLOSE_TIMEOUT)
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once, whatever it is doing."""
        self.is_broken = True
        self.sweep.drop(self)
        # Twisted's TLS can't be aborted when it is gone: that would be a mistake in the event log.
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()

    def fail(self, error: errors.ExchangeError) -> None:
        """End the exchange with *error*."""
        if self._answer is not None:
            self._answer.fail(error)
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
        """Hand *data* to the answer that is awaited."""
        if self._receiver is not None:
            self._receiver.received(data)
            return
        answer = self._answer
        if answer is None:
            self.abort()  # RFC 9112 section 9.3: an idle connection has nothing to say
            return
        try:
            answer.received(data)
        except errors.BadResponse as error:
            self.fail(error)

    def readConnectionLost(self) -> None:
        """The origin will send no more."""
        if self._receiver is not None:
            self._receiver.input_ended()
            return
        self._end_input(is_clean=True)
        self.close()

    def writeConnectionLost(self) -> None:
        """Our half-close has left."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection is gone: whoever waits is told."""
        self.is_broken = True
        is_clean = isinstance(reason.value, ConnectionDone)
        if self._receiver is not None:
            self._receiver.lost(is_clean)
        else:
            self._end_input(is_clean)
        self.sweep.drop(self)
        self._keeper.lost(self)

    def _end_input(self, is_clean: bool) -> None:
        self.is_broken = True
        if self._answer is not None:
            self._answer.input_ended(is_clean)
        if self.upload is not None:
            self.upload.cancel()  # nobody reads the rest of the request any more

    # Watched.

    def expire(self) -> None:
        """See Watched: no response head in time, or idle for long enough."""
        if self.is_broken:
            self.abort()  # it was closed, and TLS waits for the other end to agree
        elif self._answer is None:
            self.close()
        elif self._answer.head is not None or self._is_sending:
            return  # bodies have time-outs of their own, and `sent` sets this one anew
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
