"""Two connections joined both ways, for CONNECT and for what follows a 101.

Each direction begins by copying and goes over to splice after SPLICE_FROM bytes, so a chatty
tunnel never pays for a pipe and a download is never copied. The end of input crosses as a
half-close; the relay is over when both connections are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from proxyapp import stream
from proxyapp.exchange import TakenOver
from proxyapp.net import splice
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import Drain, Sweep
from proxyapp.net.transport import Transport


@implementer(IPushProducer)
class Direction:
    """From one connection to the other; the receiver of the first one's bytes."""

    __slots__ = ("_copied", "_is_over", "_on_over", "_source", "_splice", "_spliced", "_target")

    def __init__(self, on_over: Callable[[], None]) -> None:
        self._on_over = on_over
        self._source: Transport | None = None
        self._target: Transport | None = None
        self._splice: splice.Splice | None = None
        self._copied = 0
        self._spliced = 0
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Direction {'over' if self._is_over else 'open'}, {self.moved} bytes>"

    @property
    def moved(self) -> int:
        """Bytes that went this way."""
        running = self._splice.moved if self._splice is not None else 0
        return self._copied + self._spliced + running

    def begin(self, source: Transport, target: Transport, early: bytes) -> None:
        """Move what *source* brings to *target*, the *early* bytes first."""
        self._source, self._target = source, target
        target.registerProducer(self, True)
        if early:
            self.received(early)

    def received(self, data: bytes) -> None:
        """Copy *data* to the target, and go over to splice once this direction is a long one."""
        target, source = self._target, self._source
        if target is None or source is None or self._is_over:
            return
        before = self._copied
        self._copied += len(data)
        target.write(data)
        if before < stream.SPLICE_FROM <= self._copied:
            self._start_splice(source, target)

    def _start_splice(self, source: Transport, target: Transport) -> None:
        target.unregisterProducer()
        self._splice = splice.splice(source, target, None, self._drained)
        if self._splice is None:
            target.registerProducer(self, True)

    def _drained(self) -> None:
        self._end_splice()
        self._end()

    def input_ended(self) -> None:
        """The source sends no more; what a splice still holds goes first."""
        if self._splice is None or not self._splice.is_blocked:
            self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._target is not None:
            self._target.unregisterProducer()
            net_transport.half_close(self._target)
        self._on_over()

    def _end_splice(self) -> None:
        moving, self._splice = self._splice, None
        if moving is not None:
            moving.stop()
            self._spliced += moving.moved

    def stop(self) -> None:
        """Move no more; one of the connections is gone."""
        self._end_splice()
        if not self._is_over and self._target is not None:
            self._target.unregisterProducer()
        self._is_over = True

    @property
    def is_over(self) -> bool:
        """Has the end of this direction's input crossed?"""
        return self._is_over

    # IPushProducer, for the target's connection.

    def pauseProducing(self) -> None:
        """The target has more than it can send."""
        if self._source is not None:
            self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """The target has sent what it had."""
        if self._source is not None:
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """The target is gone; its own protocol tells the relay."""


class _End:
    """One of the two connections, as stream.Receiver."""

    __slots__ = ("_outward", "_relay")

    def __init__(self, relay: Relay, outward: Direction) -> None:
        self._relay = relay
        self._outward = outward

    def received(self, data: bytes) -> None:
        self._outward.received(data)

    def input_ended(self) -> None:
        self._outward.input_ended()

    def lost(self, is_clean: bool) -> None:
        self._relay.lost(self, is_clean)


class Relay:
    """Both directions between a client and an origin; *done* fires when both are gone.

    Idle for *idle_timeout* seconds in both directions, or *close_timeout* seconds after the end
    with bytes that nobody takes, it is cut.
    """

    def __init__(self, sweep: Sweep, idle_timeout: float, close_timeout: float) -> None:
        self.up = Direction(self._direction_over)
        self.down = Direction(self._direction_over)
        self.client = _End(self, self.up)
        self.origin = _End(self, self.down)
        self.done: Deferred[None] = Deferred(lambda _: self.cut())
        self._sweep = sweep
        self._idle_timeout = idle_timeout
        self._close_timeout = close_timeout
        self._transports: dict[_End, Transport] = {}
        self._watch: Drain | None = None

    def __repr__(self) -> str:
        return f"<Relay up {self.up!r}, down {self.down!r}>"

    def join(self, client: TakenOver, origin: TakenOver) -> None:
        """Begin, with what was read from either side before."""
        self._transports = {self.client: client.transport, self.origin: origin.transport}
        self._look_every(self._idle_timeout)
        self.up.begin(client.transport, origin.transport, client.early)
        self.down.begin(origin.transport, client.transport, origin.early)
        for end, taken in ((self.client, client), (self.origin, origin)):
            taken.transport.resumeProducing()
            if taken.has_ended:
                end.input_ended()

    def _look_every(self, timeout: float) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._watch = Drain(self._sweep, timeout, lambda: self.up.moved + self.down.moved, self.cut)

    def _direction_over(self) -> None:
        if self.up.is_over and self.down.is_over:
            self._close_all()

    def _close_all(self) -> None:
        self._look_every(self._close_timeout)
        for transport in list(self._transports.values()):
            transport.loseConnection()

    def cut(self) -> None:
        """Close both connections at once."""
        for transport in list(self._transports.values()):
            transport.abortConnection()

    def lost(self, end: _End, is_clean: bool) -> None:
        """One connection is gone: the other one follows, in the same manner."""
        self._transports.pop(end, None)
        self.up.stop()
        self.down.stop()
        if self._transports:
            if is_clean:
                self._close_all()
            else:
                self.cut()
            return
        if self._watch is not None:
            self._watch.stop()
        if not self.done.called:
            self.done.callback(None)
