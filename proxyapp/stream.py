"""A message body on its way from the connection that reads it to the one place that takes it.

Nothing holds a body whole: what arrives before there is a sink, or faster than the sink's
connection takes it, pauses the source's connection. A long body of known length between two plain
TCP connections doesn't pass through this process at all, but is spliced by the kernel.
"""

from __future__ import annotations

from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import sendfile, splice
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import LOOK, NEVER, Drain, Sweep
from proxyapp.net.transport import Transport
from proxyapp.rules.ranges import ByteRange
from proxyapp.wire.bodies import Decoder, LengthDecoder
from proxyapp.wire.headers import Fields

# A body shorter than this is copied: below it the pipe costs more than the copy.
SPLICE_FROM = 64 * 1024
# What may arrive of a body before anybody takes it; the next read may double it.
HOLD = 64 * 1024


class Receiver(Protocol):
    """Takes over a connection that has left HTTP."""

    def received(self, data: bytes) -> None:
        """Bytes arrived."""

    def input_ended(self) -> None:
        """The other end will send no more (half-close)."""

    def lost(self, is_clean: bool) -> None:
        """The connection is gone, in an orderly way or not."""


class Sink(Protocol):
    """Where a body goes: it frames the bytes and writes them to its connection.

    *transport* is that connection, for back-pressure and splice; *is_raw* says that body bytes
    leave exactly as they are; *stall_timeout* is how long it may take nothing, in seconds.
    """

    transport: Transport
    is_raw: bool
    stall_timeout: float

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body, which are not empty."""

    def flush(self) -> None:
        """Send what was held back to leave in one piece: there is a pause ahead."""

    def finish(self, trailers: Fields) -> None:
        """The body is complete."""

    def passed(self, count: int) -> None:
        """Note that *count* bytes of the body were spliced past `write`."""

    def stalled(self) -> errors.ExchangeError:
        """Return the error that says that the sink took nothing for too long."""


class Source(Protocol):
    """The connection that a body is read from.

    *silence_timeout* is how long it may send nothing, in seconds.
    """

    transport: Transport
    sweep: Sweep
    silence_timeout: float

    def silent(self) -> errors.ExchangeError:
        """Return the error that says that nothing came for too long."""

    def cut(self) -> errors.ExchangeError:
        """Return the error that says that the connection ended inside the body."""


class Body:
    """One body: its source's connection calls `push` and `end_input`, who answers `deliver`."""

    __slots__ = (
        "_decoder",
        "_delivery",
        "_limit",
        "_pending",
        "_source",
        "error",
        "has_excess",
        "is_taken",
        "size",
    )

    def __init__(self, decoder: Decoder, source: Source, limit: int = 0) -> None:
        """Take the framing off with *decoder*; *limit* bytes are too many, unless it is 0."""
        self._decoder = decoder
        self._source = source
        self._limit = limit
        self._pending = b""
        self._delivery: _Delivery | None = None
        self.error: errors.ExchangeError | None = None  # what ended it early
        self.has_excess = False  # did bytes come behind its end?
        self.is_taken = False  # does anybody read it?
        self.size = 0

    def __repr__(self) -> str:
        state = "complete" if self._decoder.complete else "arriving"
        return f"<Body {state}, {self.size} bytes>"

    @property
    def is_complete(self) -> bool:
        """Has the whole body arrived?"""
        return self._decoder.complete

    # What the source's connection calls.

    def push(self, data: bytes) -> bytes:
        """Take bytes that arrived; return what lies behind the body's end.

        Raises BadRequest where the framing is broken, and BodyTooLarge.
        """
        piece, rest = self._decoder.decode(data)
        self.size += len(piece)
        if rest:
            self.has_excess = True  # known before whoever waits for the end goes on
        if self._limit and self.size > self._limit:
            raise errors.BodyTooLarge("the request body is longer than [limits] body allows")
        if self._delivery is not None:
            self._delivery.pass_on(piece)
            return rest
        self._pending = self._pending + piece if self._pending else piece
        if len(self._pending) >= HOLD:
            self._hold()
        return rest

    def _hold(self) -> None:
        if self._decoder.complete:
            # TLS may have brought the end after the pause; the next message must not wait for ever.
            self._source.transport.resumeProducing()
        else:
            self._source.transport.pauseProducing()

    def end_input(self) -> None:
        """The source's connection will bring no more bytes."""
        if self._decoder.complete:
            return
        if not self._decoder.end():
            self.fail(self._source.cut())
        elif self._delivery is not None:
            self._delivery.end(None)

    def fail(self, error: errors.ExchangeError) -> None:
        """End the body with *error*; the delivery raises it."""
        if self.error is None:
            self.error = error
            if self._delivery is not None:
                self._delivery.end(error)

    # What the answering side calls.

    def hand_over(self, sink: Sink) -> bool:
        """Hand everything over to *sink* if it has all arrived; False if it hasn't."""
        if self.error is not None or not self._decoder.complete:
            return False
        self.is_taken = True
        pending, self._pending = self._pending, b""
        if pending:
            sink.write(pending)
        sink.finish(self._decoder.trailers)
        return True

    async def deliver(self, sink: Sink) -> None:
        """Hand everything over to *sink*, at the pace of its connection, to the end.

        Raises the ExchangeError that ended the body early, on either side.
        """
        if self.hand_over(sink):
            return
        self.is_taken = True
        if self._pending:
            pending, self._pending = self._pending, b""
            sink.write(pending)
        if self.error is None and not self._decoder.complete:
            sink.flush()
            self._delivery = delivery = _Delivery(self._source, sink, self._decoder)
            try:
                await delivery.run()
            finally:
                self._delivery = None
                self.size += delivery.stop()
        if self.error is not None:
            raise self.error
        sink.finish(self._decoder.trailers)


@implementer(IPushProducer)
class _Delivery:
    """The rest of a body on its way to *sink*, which takes longer than one turn of the loop."""

    def __init__(self, source: Source, sink: Sink, decoder: Decoder) -> None:
        self._source = source
        self._sink = sink
        self._decoder = decoder
        self._ended: Deferred[None] = Deferred()
        self._is_paused = False
        self._moved_at = source.sweep.now
        self._progress = (0, 0)
        self._splice: splice.Splice | None = None
        self.deadline = NEVER
        self.slot = 0

    def run(self) -> Deferred[None]:
        """Begin; fires at the end of the body, or with the error that ended it."""
        source, sink = self._source, self._sink
        source.sweep.set(self, min(sink.stall_timeout, source.silence_timeout) * LOOK)
        if not self._start_splice():
            sink.transport.registerProducer(self, True)
            self.resumeProducing()
        return self._ended

    def _start_splice(self) -> bool:
        decoder, sink = self._decoder, self._sink
        if not (isinstance(decoder, LengthDecoder) and sink.is_raw):
            return False
        if decoder.remaining < SPLICE_FROM:
            return False
        self._splice = splice.splice(
            self._source.transport, sink.transport, decoder.remaining, self._drained
        )
        return self._splice is not None

    def pass_on(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._moved_at = self._source.sweep.now
        if piece:
            self._sink.write(piece)
        if self._decoder.complete:
            self.end(None)

    def _drained(self) -> None:
        moving, decoder = self._splice, self._decoder
        assert moving is not None
        assert isinstance(decoder, LengthDecoder)
        decoder.skip(moving.moved)
        if decoder.complete:
            self._source.transport.resumeProducing()
            self.end(None)

    def end(self, error: errors.ExchangeError | None) -> None:
        """Wake whoever waits; with *error*, by raising it."""
        if self._ended.called:
            return
        if error is None:
            self._ended.callback(None)
        else:
            self._ended.errback(error)

    def stop(self) -> int:
        """Let go of both connections; return how many bytes were spliced."""
        self._source.sweep.drop(self)
        if self._splice is None:
            self._sink.transport.unregisterProducer()
            if self._is_paused:
                self.resumeProducing()  # the last bytes may have filled the sink's buffer
            return 0
        self._splice.stop()
        self._sink.passed(self._splice.moved)
        return self._splice.moved

    # IPushProducer, for the sink's connection.

    def pauseProducing(self) -> None:
        """The sink has more than it can send."""
        self._is_paused = True
        self._source.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The sink has sent what it had."""
        self._is_paused = False
        self._moved_at = self._source.sweep.now
        self._source.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The sink's connection is gone; its own protocol says so to whoever waits."""
        self.pauseProducing()

    # Watched, for the sweep.

    def expire(self) -> None:
        """See Watched: fail if nothing moved since the last look, else look again later."""
        sink, source = self._sink, self._source
        moved = self._splice.moved if self._splice is not None else 0
        progress = (moved, net_transport.unsent(sink.transport))
        if progress != self._progress or self._is_held_back():
            self._progress = progress
            self._moved_at = source.sweep.now
        is_blocked = self._is_paused or (self._splice is not None and self._splice.is_blocked)
        limit = sink.stall_timeout if is_blocked else source.silence_timeout
        left = self._moved_at + limit - source.sweep.now
        if left <= 0:
            self.end(sink.stalled() if is_blocked else source.silent())
        else:
            source.sweep.set(self, min(left, limit * LOOK))

    def _is_held_back(self) -> bool:
        """Does it wait for its share of a throttled bandwidth, on either side?"""
        sides = (self._source.transport, self._sink.transport)
        return any(net_transport.is_held_back(side) for side in sides)


async def send_range(sink: Sink, sweep: Sweep, file: sendfile.File, piece: ByteRange) -> None:
    """Send *piece* of *file* to *sink*, which holds nothing back, past this process.

    Raises ClientGone, what the sink says when it is stalled, and InternalError where the file isn't
    any more what its status says.
    """
    job = sendfile.send_file(sink.transport, file, piece.offset, piece.size)
    watch = Drain(
        sweep,
        sink.stall_timeout,
        lambda: net_transport.owed(sink.transport, job.remaining),
        lambda: job.done.errback(sink.stalled()),
    )
    try:
        await job.done
    except sendfile.FileChanged as error:
        raise errors.InternalError("the file changed while it was sent") from error
    except ConnectionError:
        raise errors.ClientGone("the client closed the connection") from None
    finally:
        watch.stop()
        job.stop()
        sink.passed(piece.size - job.remaining)


# The body of a request that has none: complete from the start, so it never asks its source.
EMPTY = Body(LengthDecoder(0), cast(Source, None))
