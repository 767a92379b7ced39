"""The answer to what /fetch asks of an origin: changed on its way to the client, or a redirect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

from proxyapp import errors, stream
from proxyapp.exchange import Reply, ReplyAround, TakenOver
from proxyapp.net.sendfile import File
from proxyapp.net.transport import Transport
from proxyapp.proxy.errand import Errand
from proxyapp.rules import fetchfields
from proxyapp.rules.fetchfields import Changes
from proxyapp.rules.ranges import ByteRange
from proxyapp.wire.framing import MAX_CONTENT_LENGTH, Framing, Kind
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.messages import OutgoingResponse

# What is read of a redirect's body, so that its connection may be used again, and how long that
# may take (s). A new connection costs less than more of either.
MOST_DISCARDED = 64 * 1024
DISCARD_SECONDS = 1.0


class FetchReply(ReplyAround):
    """See exchange.Reply: *changes* what goes on to *inner*, and keeps redirects to itself.

    *location* is where a redirect leads. More than *max_size* bytes, unless that is 0, end the
    *errand* that writes them. *seconds* is the time of day.
    """

    def __init__(
        self,
        inner: Reply,
        changes: Changes,
        max_size: int,
        errand: Errand,
        seconds: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.location: bytes | None = None
        self._changes = changes
        self._max_size = max_size
        self._errand = errand
        self._seconds = seconds

    @property
    def has_begun(self) -> bool:
        """See Reply."""
        return self.location is not None or self.inner.has_begun

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply; hints of somebody else's are none of ours (RFC 8297)."""

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        if not self._is_redirect(head):
            self._check(len(body))
            self.inner.answer(self._outgoing(head), body)

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        if not self._is_redirect(head):
            self._check(len(body))
            self.inner.pass_on(self._outgoing(head), body)

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """See Reply."""
        if not self._is_redirect(head):
            sizes = (len(each) if isinstance(each, bytes) else each.size for each in pieces)
            self._check(sum(sizes))
            await self.inner.answer_pieces(self._outgoing(head), file, pieces, is_ours)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        if self._is_redirect(head):
            return Discard(self._errand)
        self._check(body.length)
        sink = self.inner.begin(self._outgoing(head), body, is_last)
        if body.kind in (Kind.LENGTH, Kind.NONE):
            return sink
        return Measured(sink, self._max_size or MAX_CONTENT_LENGTH, self._errand)

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply; no field that offers another protocol is ever sent."""
        raise errors.BadResponse("the origin switched to a protocol that nobody offered")

    def _is_redirect(self, head: OutgoingResponse) -> bool:
        """Keep what *head* says if it is one."""
        self.location = fetchfields.location(head)
        return self.location is not None

    def _check(self, size: int) -> None:
        """Raise BodyTooLarge where a body of *size* bytes may not be fetched."""
        if self._max_size and size > self._max_size:
            raise _too_large()

    def _outgoing(self, head: OutgoingResponse) -> OutgoingResponse:
        return self._changes.outgoing(head, self._seconds())


def _too_large() -> errors.BodyTooLarge:
    return errors.BodyTooLarge("what was fetched is longer than [fetch] max_size allows")


class Measured:
    """A sink for a body of unknown length, which ends it when it grows too long."""

    def __init__(self, sink: stream.Sink, max_size: int, errand: Errand) -> None:
        # Spliced bytes would pass uncounted.
        self.is_raw = False
        self.transport = sink.transport
        self.stall_timeout = sink.stall_timeout
        self._sink = sink
        self._left = max_size
        self._errand = errand

    def write(self, data: bytes) -> None:
        """See Sink."""
        self._left -= len(data)
        if self._left >= 0:
            self._sink.write(data)
        else:
            self._errand.stop(_too_large())

    def flush(self) -> None:
        """See Sink."""
        self._sink.flush()

    def finish(self, trailers: Fields) -> None:
        """See Sink; trailers are fields that nobody has looked at."""
        if self._left >= 0:
            self._sink.finish(NO_FIELDS)

    def passed(self, count: int) -> None:
        """See Sink."""
        self._sink.passed(count)

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return self._sink.stalled()


class Discard:
    """A sink for the body of a redirect, which nobody reads; a long or slow one is cut off."""

    def __init__(self, errand: Errand) -> None:
        self.transport: Transport = Nowhere()
        self.is_raw = False
        self.stall_timeout = DISCARD_SECONDS
        self._errand = errand
        self._left = MOST_DISCARDED

    def write(self, data: bytes) -> None:
        """See Sink."""
        self._left -= len(data)
        if self._left < 0:
            self._errand.stop()

    def flush(self) -> None:
        """See Sink."""
        self._errand.stop(delay=DISCARD_SECONDS)

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.InternalError("what takes everything has stalled")


class Nowhere:
    """A connection that takes everything at once, and leads nowhere."""

    connected = 1

    def write(self, data: bytes) -> None:
        """See ITransport."""

    def loseConnection(self) -> None:
        """See ITransport."""

    def abortConnection(self) -> None:
        """See ITCPTransport."""

    def getHost(self) -> IAddress:
        """See ITransport."""
        return _NO_ADDRESS

    def getPeer(self) -> IAddress:
        """See ITransport."""
        return _NO_ADDRESS

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See IConsumer."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def pauseProducing(self) -> None:
        """See IPushProducer."""

    def resumeProducing(self) -> None:
        """See IPushProducer."""


_NO_ADDRESS = UNIXAddress(None)
