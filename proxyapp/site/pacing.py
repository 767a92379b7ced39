"""A body that is made in threads, on its way to a client at the pace at which that takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import Drain, Sweep
from proxyapp.site.places import detached
from proxyapp.site.threads import InThread
from proxyapp.stream import Sink
from proxyapp.wire.headers import NO_FIELDS

# The longest chunk that may come out of an iterator; below it are headers and small files.
CHUNK = 32 * 1024
# Chunks are gathered up to here before they cross over from the thread: a crossing costs 60 us.
# So one piece is shorter than PIECE + CHUNK. A second one is made while the first is sent, and the
# transport asks for a pause from 64 KiB on: altogether less than 256 KiB are on their way.
PIECE = 64 * 1024
_GONE = "the client closed the connection"

_log = Logger()


@implementer(IPushProducer)
class Pace:
    """Hands *chunks* over to *sink*, each made in a thread, and no more than the client takes.

    *halt* is set when no more are wanted: the iterator looks at it where it may be busy for long.
    *on_end* is called once the thread has let go, and the iterator, if it is a generator, is
    closed.
    """

    def __init__(
        self,
        sink: Sink,
        sweep: Sweep,
        in_thread: InThread,
        chunks: Iterator[bytes],
        halt: threading.Event,
        on_end: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._sweep = sweep
        self._in_thread = in_thread
        self._chunks = chunks
        self._halt = halt
        self._on_end = on_end
        self._is_making = False
        self._is_over = False
        self._is_paused = False
        self._room: Deferred[None] | None = None

    def __repr__(self) -> str:
        state = "making" if self._is_making else "waiting" if self._room else "at rest"
        return f"<Pace {state}>"

    async def run(self) -> None:
        """Send everything, then finish the sink.

        Raises ClientGone, WriteTimeout, and what the iterator raises; then the body isn't whole,
        and the connection has to be cut.
        """
        sink = self._sink
        sink.flush()
        sink.transport.registerProducer(self, True)
        try:
            while piece := await self._next_piece():
                if self._is_paused:
                    await self._wait_for_room()
                self._check()
                sink.write(piece)
            self._check()
        finally:
            sink.transport.unregisterProducer()
            self._is_over = True
            self._halt.set()
            if not self._is_making:
                self._close()
        sink.finish(NO_FIELDS)

    def _check(self) -> None:
        if self._halt.is_set():
            raise errors.ClientGone(_GONE)

    def _next_piece(self) -> Deferred[bytes]:
        self._is_making = True
        return detached(self._in_thread(self._gather), self._made)

    def _gather(self) -> bytes:
        """In a thread: return the next piece, empty at the end."""
        chunks: list[bytes] = []
        size = 0
        while size < PIECE and not self._halt.is_set():
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)

    def _made(self) -> None:
        self._is_making = False
        if self._is_over:
            self._close()

    def _close(self) -> None:
        closing = self._in_thread(self._close_chunks)
        closing.addErrback(lambda failure: _log.failure("a body was not closed", failure))
        closing.addBoth(lambda _: self._on_end())

    def _close_chunks(self) -> None:
        if isinstance(self._chunks, Generator):
            self._chunks.close()

    async def _wait_for_room(self) -> None:
        sink = self._sink
        room: Deferred[None] = Deferred()
        self._room = room
        watch = Drain(
            self._sweep,
            sink.stall_timeout,
            lambda: net_transport.owed(sink.transport),
            lambda: room.errback(sink.stalled()),
        )
        try:
            await room
        finally:
            self._room = None
            watch.stop()

    # IPushProducer, for the sink's connection.

    def pauseProducing(self) -> None:
        """The sink has more than it can send."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The sink has sent what it had."""
        self._is_paused = False
        if self._room is not None:
            self._room.callback(None)

    def stopProducing(self) -> None:
        """The sink's connection is gone."""
        self._halt.set()
        if self._room is not None:
            self._room.errback(errors.ClientGone(_GONE))
