"""Sends a growing body to one client, at that client's pace."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from proxyapp import errors
from proxyapp.cache.followed import Followed
from proxyapp.net import transport as net_transport
from proxyapp.net.task import Wakeup
from proxyapp.net.timers import Drain, Sweep
from proxyapp.rules.ranges import ByteRange
from proxyapp.stream import Sink, send_range
from proxyapp.wire.headers import NO_FIELDS

# From here on sendfile costs less than a copy.
_SENDFILE_FROM = 64 * 1024
_STEP = 64 * 1024


async def follow(
    growing: Followed, sink: Sink, sweep: Sweep, start: int, end: int | None = None
) -> None:
    """Send *growing* from *start* up to *end*, or all of it, to *sink*.

    Raises ClientGone, WriteTimeout, and the error that ended the body early.
    """
    reader = _Reader(growing, sink, sweep, start, end)
    growing.enter(reader, start)
    try:
        if sink.is_raw:
            await reader.send_from_file()
        await reader.copy()
    finally:
        growing.leave(reader)
    if end is None or reader.position < end:
        if growing.error is not None:
            raise growing.error
        if end is not None:
            raise errors.ResponseIncomplete("the response ended before its promised length")
    sink.finish(NO_FIELDS)


@implementer(IPushProducer)
class _Reader:
    """One client's place in a growing body."""

    def __init__(
        self, growing: Followed, sink: Sink, sweep: Sweep, start: int, end: int | None
    ) -> None:
        self._growing = growing
        self._sink = sink
        self._sweep = sweep
        self.position = start
        self._end = end
        self._go_on: Wakeup | None = None
        self._awaited: Wakeup | None = None

    async def send_from_file(self) -> None:
        """Let the kernel send what the store has, until the end or the store takes no more."""
        growing, sink = self._growing, self._sink
        while not self._is_done():
            there = self._limit(growing.kept) - self.position
            if there >= _SENDFILE_FROM or (there > 0 and net_transport.unsent(sink.transport)):
                sink.flush()
                piece = ByteRange(growing.place(self.position), there)
                await send_range(sink, self._sweep, growing, piece)
                self._moved(there)
            elif there > 0:
                self._write(there)
            elif growing.kept < growing.end:
                return
            else:
                await self._more()

    async def copy(self) -> None:
        """Pass on piece by piece, as fast as the client takes them."""
        if self._is_done():
            return
        sink = self._sink
        watch = Drain(self._sweep, sink.stall_timeout, self._owed, self._stalled)
        sink.transport.registerProducer(self, True)
        try:
            while not self._is_done():
                if self._go_on is not None:
                    await self._wait(self._go_on)
                elif (there := self._limit(self._growing.end) - self.position) > 0:
                    self._write(min(there, _STEP))
                else:
                    await self._more()
        finally:
            watch.stop()
            sink.transport.unregisterProducer()

    def _write(self, size: int) -> None:
        try:
            piece = self._growing.read(self.position, size)
        except OSError as error:
            raise errors.InternalError("a stored body can't be read any more") from error
        if not piece:
            raise errors.InternalError("a stored body is shorter than it was")
        self._sink.write(piece)
        self._moved(len(piece))

    async def _more(self) -> None:
        if not self._growing.is_over:
            self._sink.flush()
            await self._wait(self._growing.more(self.position))

    async def _wait(self, wakeup: Wakeup) -> None:
        self._awaited = wakeup
        try:
            await wakeup
        finally:
            self._awaited = None

    def _moved(self, size: int) -> None:
        self.position += size
        self._growing.moved(self, self.position)

    def _limit(self, there: int) -> int:
        return there if self._end is None else min(there, self._end)

    def _is_done(self) -> bool:
        if self._end is not None and self.position >= self._end:
            return True
        return self._growing.is_over and self.position >= self._growing.end

    def _owed(self) -> int | None:
        # With nothing to take, it isn't the client that everything waits for.
        return net_transport.owed(self._sink.transport) or None

    def _stalled(self) -> None:
        # Whatever it waits for: the client has had the time to take what there was before.
        if self._awaited is not None:
            self._awaited.happen(self._sink.stalled())

    # IPushProducer, for the client's connection.

    def pauseProducing(self) -> None:
        """The client has more than it can take."""
        if self._go_on is None:
            self._go_on = Wakeup()

    def resumeProducing(self) -> None:
        """The client has taken what it had."""
        go_on, self._go_on = self._go_on, None
        if go_on is not None:
            go_on.happen()

    def stopProducing(self) -> None:
        """The client is gone; its connection says so to whoever waits."""
