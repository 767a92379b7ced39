"""Names to addresses while the line is down: the LAN's own are still found, the others are not.

A name doesn't tell where it leads. What the LAN knows, from a hosts file or a server of its own, is
told in milliseconds; so a name that nobody has heard of is asked for, but not waited for.
"""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from proxyapp import errors
from proxyapp.net.resolver import THREADS, Resolver
from proxyapp.net.uplink import Uplink
from proxyapp.rules.uplink import is_local_name

# So long (s) a name server of the LAN has.
PATIENCE = 0.5
# A name that was not told in that time is asked for again after so long (s).
SILENT = 30.0
_SILENT_NAMES = 1024
# Look-ups that nobody answers keep their threads; the LAN's names need some too.
MOST_ASKED = THREADS // 2


class NearbyNames:
    """Finds what can be found without the line; *timeout* (s) holds for names of the LAN."""

    def __init__(
        self, clock: IReactorTime, resolver: Resolver, uplink: Uplink, timeout: float
    ) -> None:
        self._clock = clock
        self._resolver = resolver
        self._uplink = uplink
        self._timeout = timeout
        self._silent: OrderedDict[str, float] = OrderedDict()

    async def find(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of *host*, maybe old ones.

        Raises LineDown where they can't be found, and for the LAN's own names what `resolve` does.
        """
        if is_local_name(host):
            return await resolved(self._clock, self._resolver, host, self._timeout)
        old = self._resolver.remembered(host)
        if any(map(self._uplink.is_beyond, old)):
            return old
        try:
            found = self._resolver.known(host) or await self._ask(host)
        except (errors.NameUnknown, errors.NameTimeout):
            found = ()  # which of both it is, nobody can tell now
        if not (found or old):
            self._uplink.near(host, port, ())
        return found or old

    async def _ask(self, host: str) -> tuple[str, ...]:
        now = self._clock.seconds()
        if self._resolver.asked >= MOST_ASKED or self._silent.get(host, now) > now:
            return ()
        try:
            return await resolved(self._clock, self._resolver, host, PATIENCE)
        except errors.NameTimeout:
            self._silent[host] = now + SILENT
            self._silent.move_to_end(host)
            if len(self._silent) > _SILENT_NAMES:
                self._silent.popitem(last=False)
            return ()


async def resolved(
    clock: IReactorTime, resolver: Resolver, host: str, seconds: float
) -> tuple[str, ...]:
    """Resolve *host* in *seconds*; raises NameTimeout, and what `Resolver.resolve` does."""
    resolving = Deferred.fromCoroutine(resolver.resolve(host))
    resolving.addTimeout(seconds, clock)
    try:
        return await resolving
    except DeferredTimeout:
        raise errors.NameTimeout("no name server answered in time") from None
