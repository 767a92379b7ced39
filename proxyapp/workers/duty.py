"""An appliance on duty, in whichever process: what its tunnels are, and how it comes to its end."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from proxyapp import errors
from proxyapp.rules.parents import Ways
from proxyapp.server.connections import Connections, OpenConnection
from proxyapp.service import Appliance
from proxyapp.workers.member import Counts, Patience
from proxyapp.workers.tunnels import Refusal, Tunnel, tunnel_of

# What is told that it is over has so long to say so to its client (seconds).
_FAREWELL = 2.0


class Duty:
    """The duty of *appliance*, which listens and has started; *ways* are those of its tunnels."""

    def __init__(self, appliance: Appliance, ways: Ways, clock: IReactorTime) -> None:
        self._appliance = appliance
        self._ways = ways
        self._clock = clock
        self._calls: list[IDelayedCall] = []
        self._empty: Deferred[None] | None = None
        self._told: dict[int, OpenConnection] = {}

    def __repr__(self) -> str:
        return f"<Duty with {self._connections!r}>"

    @property
    def _connections(self) -> Connections:
        return self._appliance.connections

    @property
    def counts(self) -> Counts:
        """What is going on."""
        return Counts(len(self._connections), len(self._connections.tunnels))

    def tunnels(self) -> list[Tunnel]:
        """Return those that are open; `cut` knows their numbers until the next call."""
        self._told = dict(enumerate(self._connections.tunnels))
        found = [tunnel_of(number, each, self._ways) for number, each in self._told.items()]
        return [tunnel for tunnel in found if tunnel is not None]

    def cut(self, refused: Sequence[Refusal]) -> None:
        """End these tunnels, and say in the log why."""
        for number, rule, reason in refused:
            connection = self._told.get(number)
            if connection is not None and connection.turn is not None:
                why = f"a new configuration denies this tunnel: {reason}"
                connection.turn.end_early(errors.AccessDenied(why, rule=rule))

    async def drain(self, patience: Patience) -> None:
        """Accept no more, and return when what runs is over, or *patience* is."""
        if self._empty is not None:
            self._set_deadlines(patience)
            return
        empty: Deferred[None] = Deferred()
        self._empty = empty
        self._set_deadlines(patience)
        await self._appliance.stop_listening()
        self._connections.close(self._left)
        self._left()
        await empty
        self._clear()
        await self._appliance.stopService()

    def end(self) -> None:
        """End everything now."""
        for connection in self._connections:
            connection.transport.abortConnection()

    def _left(self) -> None:
        if not len(self._connections) and self._empty is not None and not self._empty.called:
            self._empty.callback(None)

    def _set_deadlines(self, patience: Patience) -> None:
        self._clear()
        later = self._clock.callLater
        self._calls = [
            later(patience.requests, self._end_requests),
            later(patience.tunnels, self._end_tunnels),
            later(patience.longest + _FAREWELL, self.end),
        ]

    def _clear(self) -> None:
        for call in self._calls:
            if call.active():
                call.cancel()
        self._calls = []

    def _end_requests(self) -> None:
        _end(self._connections.others, "this request was still running")

    def _end_tunnels(self) -> None:
        _end(self._connections.tunnels, "this tunnel was still open")


def _end(connections: Sequence[OpenConnection], what: str) -> None:
    for connection in connections:
        if connection.turn is None:
            connection.transport.abortConnection()
        else:
            why = f"{what} when the service had waited for it long enough to stop or reload"
            connection.turn.end_early(errors.Overloaded(why))
