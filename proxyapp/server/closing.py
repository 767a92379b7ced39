"""How a client connection ends, so that the last answer arrives and nobody holds it for ever."""

from __future__ import annotations

from proxyapp.net import transport as net_transport
from proxyapp.net.timers import NEVER, Drain, Sweep
from proxyapp.net.transport import Transport

# How long a client may go on sending what nobody reads any more, so that it gets to read our
# answer before the connection is reset under it (RFC 9112 section 9.6), in seconds.
LINGER = 5.0
HURRIED_LINGER = 0.5
# Bytes of that; a client that sends more is made to wait, for many look at the answer only then.
MAX_LINGER = 4 << 20


class Closing:
    """Closes *transport*; *stall_timeout* is how long the client may take nothing, in seconds."""

    __slots__ = (
        "_drain",
        "_stall_timeout",
        "_sweep",
        "_thrown_away",
        "_transport",
        "deadline",
        "slot",
    )

    def __init__(self, transport: Transport, sweep: Sweep, stall_timeout: float) -> None:
        self._transport = transport
        self._sweep = sweep
        self._stall_timeout = stall_timeout
        self._thrown_away = 0
        self._drain: Drain | None = None
        self.deadline = NEVER
        self.slot = 0

    def close(self) -> None:
        """Close when everything has been sent."""
        self._sweep.drop(self)
        self._transport.loseConnection()
        self._watch()

    def linger(self) -> None:
        """Say that no more will come, and read on for a while without looking."""
        if net_transport.half_close(self._transport):
            self._transport.resumeProducing()
            self._sweep.set(self, LINGER)
        self._watch()

    def hurry(self) -> None:
        """Don't linger for long: the descriptor is needed."""
        if self.deadline != NEVER:
            self._sweep.set(self, HURRIED_LINGER)

    def _watch(self) -> None:
        transport = self._transport
        if self._drain is None and net_transport.unsent(transport):
            self._drain = Drain(
                self._sweep,
                self._stall_timeout,
                lambda: net_transport.owed(transport),
                transport.abortConnection,
            )

    def throw_away(self, data: bytes) -> None:
        """Count what still arrives, and stop reading where that is too much."""
        self._thrown_away += len(data)
        if self._thrown_away > MAX_LINGER:
            self._transport.pauseProducing()

    def stop(self) -> None:
        """The connection is gone."""
        self._sweep.drop(self)
        if self._drain is not None:
            self._drain.stop()

    def expire(self) -> None:
        """See Watched: lingered long enough; an answer that is still being read may go on."""
        if net_transport.unsent(self._transport):
            self._sweep.set(self, LINGER)
        else:
            self._transport.abortConnection()
