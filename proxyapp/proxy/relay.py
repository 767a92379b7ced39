"""Two connections joined both ways, for CONNECT and for what follows a 101.

Each direction begins by copying and goes over to splice after SPLICE_FROM bytes, so a chatty
tunnel never pays for a pipe and a download is never copied. The end of input crosses as a
half-close; the relay is over when both connections are gone.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from proxyapp import stream
from proxyapp.exchange import TakenOver
from proxyapp.net import splice
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import LOOK, NEVER, Drain, Sweep
from proxyapp.net.transport import ImmediateTransport, Transport
from proxyapp.stream import Receiver


@implementer(IPushProducer)
class Direction:
    """From one connection, as stream.Receiver of what it brings, to the other one."""

    __slots__ = ("_copied", "_is_over", "_relay", "_source", "_splice", "_spliced", "_target")

    def __init__(self, relay: Relay) -> None:
        self._relay: Relay | None = relay
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
        self._splice = splice.splice(source, target, None, self._drained)
        if self._splice is not None:
            target.unregisterProducer()

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
        if self._relay is not None:
            self._relay.direction_over(self)

    def end_output(self) -> None:
        """Pass the end of the input on."""
        if self._target is not None:
            net_transport.half_close(self._target)

    def _end_splice(self) -> None:
        moving, self._splice = self._splice, None
        if moving is not None:
            moving.stop()
            self._spliced += moving.moved

    def lost(self, is_clean: bool) -> None:
        """The source is gone."""
        if self._relay is not None:
            self._relay.lost(self, is_clean)

    def stop(self) -> None:
        """Move no more; one of the connections is gone."""
        self._end_splice()
        if not self._is_over and self._target is not None:
            self._target.unregisterProducer()
        self._is_over = True
        self._source = self._target = None

    def part(self) -> None:
        """Let go of the relay, which refers to us: both would be left to the collector."""
        self._relay = None

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


class Relay:
    """Both directions between a client and an origin; *done* fires when both are gone.

    Idle for *idle_timeout* seconds in both directions (and up to LOOK of that longer), or
    *close_timeout* seconds after the end with bytes that nobody takes, it is cut.
    """

    def __init__(self, sweep: Sweep, idle_timeout: float, close_timeout: float) -> None:
        self.up = Direction(self)
        self.down = Direction(self)
        self.done: Deferred[None] = Deferred(lambda _: self.cut())
        self._sweep = sweep
        self._idle_timeout = idle_timeout
        self._close_timeout = close_timeout
        self._transports: dict[Direction, Transport] = {}
        self._watch: Drain | None = None
        self._is_closing = False
        self.deadline = NEVER
        self.slot = 0

    def __repr__(self) -> str:
        return f"<Relay up {self.up!r}, down {self.down!r}>"

    @property
    def client(self) -> Receiver:
        """What the client's connection delivers to."""
        return self.up

    @property
    def origin(self) -> Receiver:
        """What the origin's connection delivers to."""
        return self.down

    def join(self, client: TakenOver, origin: TakenOver) -> None:
        """Begin, with what was read from either side before."""
        self._transports = {self.up: client.transport, self.down: origin.transport}
        self._sweep.set(self, self._idle_timeout * LOOK)
        self.up.begin(client.transport, origin.transport, client.early)
        self.down.begin(origin.transport, client.transport, origin.early)
        for direction, taken in ((self.up, client), (self.down, origin)):
            taken.transport.resumeProducing()
            if taken.has_ended:
                direction.input_ended()

    def expire(self) -> None:
        """See Watched: from the first look on; a tunnel that is over by then never pays for it."""
        self._look_every(self._idle_timeout)

    def _look_every(self, timeout: float) -> None:
        self._look_no_more()
        self._watch = Drain(self._sweep, timeout, self._moved, self.cut)

    def _moved(self) -> int | None:
        """Return what was taken on either side; None while a connection waits for its share."""
        transports = self._transports.values()
        if any(map(net_transport.is_held_back, transports)):
            return None
        return self.up.moved + self.down.moved - sum(map(net_transport.unsent, transports))

    def direction_over(self, direction: Direction) -> None:
        """The input of *direction* has ended, and all of it has been passed on."""
        if self.up.is_over and self.down.is_over:
            self._close_all()  # which tells the target as well
        else:
            direction.end_output()

    def _close_all(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        for transport in list(self._transports.values()):
            transport.loseConnection()
        if any(map(_lingers, self._transports.values())):
            self._look_every(self._close_timeout)

    def cut(self) -> None:
        """Close both connections at once."""
        for transport in list(self._transports.values()):
            transport.abortConnection()

    def lost(self, direction: Direction, is_clean: bool) -> None:
        """The source of *direction* is gone: the other one follows, in the same manner.

        A reset behind the end of its input says only that it takes no more: what it sent arrives.
        """
        is_clean = is_clean or direction.is_over
        self._transports.pop(direction, None)
        self.up.stop()
        self.down.stop()
        if not self._transports:
            self._end()
        elif is_clean:
            self._close_all()
        else:
            self.cut()

    def _look_no_more(self) -> None:
        self._sweep.drop(self)
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _end(self) -> None:
        self._look_no_more()
        if not self.done.called:
            self.up.part()
            self.down.part()
            self.done.callback(None)


def _lingers(closing: Transport) -> bool:
    """May it take a while until it is gone?"""
    # A layer of TLS waits for the other side's farewell.
    return not isinstance(closing, ImmediateTransport) or closing.unsent > 0
