"""A knock at a place beyond the LAN: a connection that is closed as soon as it is there."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from proxyapp.net.dial import Judge, Race, allowed
from proxyapp.net.nearby import resolved
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.resolver import Resolver
from proxyapp.rules.uplink import Place

# Over a slow line an answer takes a second or two (s).
PROBE_TIMEOUT = 5.0


class TcpProbe:
    """Knocks where clients wanted to go; what they may not reach isn't knocked at either."""

    def __init__(self, reactor: IApplianceReactor, resolver: Resolver, judge: Judge) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._judge = judge

    def __call__(self, place: Place) -> Deferred[str]:
        """See Probe."""
        return Deferred.fromCoroutine(self._knock(place))

    async def _knock(self, place: Place) -> str:
        if place.address:
            found: tuple[str, ...] = (place.address,)
        else:
            # That it could not be found before is what is being looked into.
            self._resolver.forget_failures()
            found = await resolved(self._reactor, self._resolver, place.host, PROBE_TIMEOUT)
        addresses = allowed(self._judge, found, place.host, place.port)
        race = Race(self._reactor, addresses, place.port, PROBE_TIMEOUT)
        transport = await race.run()
        transport.loseConnection()
        return race.winner
