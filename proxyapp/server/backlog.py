"""Holds up a client that asks on and on, and doesn't take the answers."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from proxyapp.net import transport as net_transport
from proxyapp.net.timers import Drain, Sweep
from proxyapp.net.transport import Transport

# Bytes of whole answers that may wait for a client. What is streamed is held up far earlier.
MAX_UNSENT = 256 * 1024


@implementer(IPullProducer)
class Backlog:
    """The answers that a client hasn't taken yet.

    While there are too many, its next request has to wait; *on_room* is called when it has taken
    them all. One that takes nothing for *stall_timeout* seconds is cut off.
    """

    __slots__ = ("_below", "_drain", "_on_room", "_stall_timeout", "_sweep")

    def __init__(
        self,
        transport: Transport,
        sweep: Sweep,
        stall_timeout: float,
        on_room: Callable[[], None],
    ) -> None:
        self._below = net_transport.carrier(transport)
        self._sweep = sweep
        self._stall_timeout = stall_timeout
        self._on_room = on_room
        self._drain: Drain | None = None

    def __repr__(self) -> str:
        state = "open" if self._drain is None else "too long"
        return f"<Backlog {state}>"

    def holds_up(self) -> bool:
        """Does the next request have to wait?"""
        if self._drain is not None:
            return True
        below = self._below
        if below is None or below.unsent < MAX_UNSENT:
            return False
        self._drain = Drain(
            self._sweep,
            self._stall_timeout,
            lambda: net_transport.owed(below),
            below.abortConnection,
        )
        net_transport.call_when_sent(below, self)
        return True

    def stop(self) -> None:
        """Hold up nothing any more."""
        if self._drain is not None:
            self._drain.stop()
            self._drain = None

    # IPullProducer, for the connection: it is asked for more when everything has been sent.

    def resumeProducing(self) -> None:
        """See IPullProducer; asked at the registration, too."""
        below = self._below
        if below is None or below.unsent:
            return
        net_transport.call_when_sent(below, None)
        self.stop()
        self._on_room()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()
