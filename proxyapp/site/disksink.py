"""A request body's way to a disk: written in a thread, at the disk's pace, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.transport import Transport
from proxyapp.site.threads import Strand
from proxyapp.wire.headers import Fields

# Bytes that may wait for the disk: the client is paused from here on, so that one upload holds
# about as much, and a disk that is busy for a moment doesn't stop the line.
HOLD = 1 << 20
# How long the disk may take for them before the upload is given up, in seconds.
STALL_TIMEOUT = 60.0


class DiskSink:
    """See stream.Sink: gives what comes to *write*, in threads, one call after the other.

    A body of more than *limit* bytes is too long, unless that is 0. *on_failure* is told once,
    with the error, when no more can be taken: it has to end the delivery.
    """

    is_raw = False
    stall_timeout = STALL_TIMEOUT

    def __init__(
        self,
        strand: Strand,
        write: Callable[[Sequence[bytes]], None],
        limit: int,
        on_failure: Callable[[errors.ExchangeError], None],
    ) -> None:
        self._strand = strand
        self._write = write
        self._limit = limit
        self._on_failure = on_failure
        self._waiting: list[bytes] = []
        self._held = 0
        self._is_writing = False
        self._is_paused = False
        self._producer: IPushProducer | None = None
        self._settled: Deferred[None] | None = None
        self._error: errors.ExchangeError | None = None
        self.size = 0
        # There is no connection; of a sink that isn't raw, only the consumer's half is asked for.
        self.transport = cast(Transport, self)

    def __repr__(self) -> str:
        return f"<DiskSink {self.size} bytes, {self._held} of them unwritten>"

    # Consumer, in place of a connection.

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """See IConsumer."""
        self._producer = producer
        if self._is_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None

    # Sink.

    def write(self, data: bytes) -> None:
        """See Sink."""
        if self._error is not None:
            return
        self.size += len(data)
        if self._limit and self.size > self._limit:
            self._fail(errors.BodyTooLarge(f"the body is longer than {self._limit} bytes"))
            return
        self._waiting.append(data)
        self._held += len(data)
        if self._held >= HOLD and not self._is_paused:
            self._is_paused = True
            if self._producer is not None:
                self._producer.pauseProducing()
        if not self._is_writing:
            self._write_waiting()

    def flush(self) -> None:
        """See Sink; nothing is ever held back."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink; nothing can be spliced to here."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.InternalError("the site's disk took nothing for too long")

    # Writing.

    def _write_waiting(self) -> None:
        pieces, self._waiting = self._waiting, []
        self._is_writing = True
        size = sum(map(len, pieces))
        writing = self._strand.run(partial(self._write, pieces))
        writing.addCallbacks(lambda _: self._wrote(size), self._could_not_write)

    def _wrote(self, size: int) -> None:
        self._held -= size
        self._is_writing = False
        if self._error is None and self._waiting:
            self._write_waiting()
        if self._is_paused and self._held < HOLD:
            self._is_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        self._settle()

    def _could_not_write(self, failure: Failure) -> None:
        self._is_writing = False
        error = failure.value
        if not isinstance(error, errors.ExchangeError):
            error = errors.InternalError("the file can't be written")
        self._fail(error)
        self._settle()

    def _fail(self, error: errors.ExchangeError) -> None:
        self._error = error
        self._waiting = []
        self._on_failure(error)

    def _settle(self) -> None:
        if self._settled is not None and not self._is_writing:
            settled, self._settled = self._settled, None
            settled.callback(None)

    async def settle(self) -> None:
        """Wait until all that came is written; raises the ExchangeError that stopped it."""
        if self._is_writing:
            self._settled = Deferred()
            await self._settled
        if self._error is not None:
            raise self._error
