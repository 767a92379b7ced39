"""Where fetched bodies go: into the store, to a client and into the store, or nowhere."""

from __future__ import annotations

import contextlib

from twisted.internet.address import UNIXAddress

from proxyapp import errors
from proxyapp.cache.growing import Growing, Pausable
from proxyapp.net.transport import Transport
from proxyapp.store.bodies import GrowingBody
from proxyapp.store.entry import StoreFull
from proxyapp.stream import Sink
from proxyapp.wire.headers import Fields


class Inlet:
    """What the source of a body takes for its sink's connection; it never holds back by itself."""

    def __init__(self, growing: Growing | None) -> None:
        self.connected = 1
        self._growing = growing

    def write(self, data: bytes) -> None:
        """See Transport; a sink has the bytes, not its connection."""

    def loseConnection(self) -> None:
        """See Transport."""

    def abortConnection(self) -> None:
        """See Transport."""

    def getHost(self) -> UNIXAddress:
        """See Transport: it is nowhere."""
        return UNIXAddress(None)

    def getPeer(self) -> UNIXAddress:
        """See Transport: nor is anybody else."""
        return UNIXAddress(None)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See Transport."""
        if self._growing is not None and isinstance(producer, Pausable):
            self._growing.pulled_by(producer)

    def unregisterProducer(self) -> None:
        """See Transport."""
        if self._growing is not None:
            self._growing.pulled_by(None)

    def pauseProducing(self) -> None:
        """See Transport."""

    def resumeProducing(self) -> None:
        """See Transport."""


class GrowingSink:
    """Where the source of a body puts it so that it grows; see stream.Sink.

    The first *skip* bytes are there already.
    """

    is_raw = False

    def __init__(self, growing: Growing, stall_timeout: float, skip: int = 0) -> None:
        self.transport: Transport = Inlet(growing)
        # A reader that takes nothing is to go first: it may be the only one.
        self.stall_timeout = 2 * stall_timeout
        self._growing = growing
        self._skip = skip

    def write(self, data: bytes) -> None:
        """See Sink."""
        if self._skip:
            data, self._skip = data[self._skip :], max(0, self._skip - len(data))
        if data:
            self._growing.write(data)

    def flush(self) -> None:
        """See Sink."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink: it waits for the slowest reader, and only where the store is full."""
        return errors.WriteTimeout("a client stopped reading while the store was full")


class DiscardSink:
    """Takes a body that nobody wants."""

    is_raw = False
    stall_timeout = 60.0

    def __init__(self) -> None:
        self.transport: Transport = Inlet(None)

    def write(self, data: bytes) -> None:
        """See Sink."""

    def flush(self) -> None:
        """See Sink."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.InternalError("what takes everything took nothing")


NOWHERE = DiscardSink()


class Tee:
    """Passes a part of a body on to a client, and stores it meanwhile; see stream.Sink."""

    is_raw = False

    def __init__(self, body: GrowingBody, sink: Sink) -> None:
        self.transport = sink.transport
        self.stall_timeout = sink.stall_timeout
        self.stored = body.stored
        self._body: GrowingBody | None = body
        self._sink = sink

    def write(self, data: bytes) -> None:
        """See Sink."""
        if self._body is not None:
            try:
                self._body.write(data)
            except StoreFull:
                self._body = None
        self._sink.write(data)

    def flush(self) -> None:
        """See Sink."""
        self._sink.flush()

    def finish(self, trailers: Fields) -> None:
        """See Sink."""
        self._sink.finish(trailers)

    def passed(self, count: int) -> None:
        """See Sink."""
        self._sink.passed(count)

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return self._sink.stalled()

    def end(self, is_complete: bool, is_kept: bool) -> None:
        """No more comes: keep what there is, if it *is_kept*."""
        body, self._body = self._body, None
        if body is None:
            return
        if not is_kept:
            body.abandon()
        elif not is_complete:
            body.suspend()
        else:
            with contextlib.suppress(StoreFull):
                body.finish()
