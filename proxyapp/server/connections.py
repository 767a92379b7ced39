"""The client connections that are open, and how they end once no more are to come.

A connection that waits for its next request is closed; but a client that keeps it open may be
sending one at this moment, which would be lost. So it has GRACE seconds for that. Every answer says
`Connection: close` from then on (RFC 9112 section 9.6), and tunnels go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from proxyapp import errors
from proxyapp.exchange import Request
from proxyapp.net.timers import NEVER, Sweep, Watched
from proxyapp.net.transport import Transport
from proxyapp.rules.record import Record
from proxyapp.stream import Receiver

# Longer than a request is on its way. The sweep adds half a second at most.
GRACE = 0.5


class RunningTurn(Protocol):
    """The exchange that a connection carries now; turn.Turn is it."""

    request: Request

    @property
    def record(self) -> Record:
        """What is known of it so far."""

    def end_early(self, error: errors.ExchangeError) -> None:
        """End it, with *error* as the reason."""


class OpenConnection(Watched, Protocol):
    """One of them; connection.ClientConnection is it."""

    transport: Transport
    sweep: Sweep
    is_in_head: bool

    @property
    def receiver(self) -> Receiver | None:
        """What it delivers to instead, once it has left HTTP."""

    @property
    def turn(self) -> RunningTurn | None:
        """The exchange that it carries, if there is one."""


class Connections:
    """All of those of one process, in the order in which they came."""

    def __init__(self) -> None:
        self._open: dict[OpenConnection, None] = {}
        self._on_left: Callable[[], None] | None = None
        self.is_closing = False

    def __repr__(self) -> str:
        return f"<Connections {len(self._open)} open{', closing' if self.is_closing else ''}>"

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenConnection]:
        return iter(list(self._open))

    def enter(self, connection: OpenConnection) -> None:
        """Note that *connection* was opened."""
        self._open[connection] = None

    def leave(self, connection: OpenConnection) -> None:
        """Note that it is gone."""
        self._open.pop(connection, None)
        if self._on_left is not None:
            self._on_left()

    def idle_timeout(self, seconds: float) -> float:
        """Return how long a connection may wait for a request that could have *seconds*."""
        return min(seconds, GRACE) if self.is_closing else seconds

    def close(self, on_left: Callable[[], None]) -> None:
        """Let none wait for another request; *on_left* is called whenever one is gone."""
        self.is_closing = True
        self._on_left = on_left
        for connection in self:
            # Without a deadline it is busy, or on its way out already.
            if not connection.is_in_head and connection.deadline != NEVER:
                connection.sweep.set(connection, GRACE)

    @property
    def tunnels(self) -> list[OpenConnection]:
        """Those that have left HTTP."""
        return [connection for connection in self if connection.receiver is not None]

    @property
    def others(self) -> list[OpenConnection]:
        """Those that speak HTTP."""
        return [connection for connection in self if connection.receiver is None]
