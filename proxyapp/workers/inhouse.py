"""The master itself as one who serves: the only one there is, until the first reload."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from proxyapp.rules.parents import Ways
from proxyapp.service import Appliance
from proxyapp.workers.duty import Duty
from proxyapp.workers.member import Counts, Patience
from proxyapp.workers.tunnels import Refusal, Tunnel

_log = Logger()


class InHouse:
    """See Member."""

    def __init__(self, appliance: Appliance, ways: Ways, clock: IReactorTime) -> None:
        self.gone: Deferred[None] = Deferred()
        self._appliance = appliance
        self._duty = Duty(appliance, ways, clock)
        self._is_draining = False

    def __repr__(self) -> str:
        return f"<InHouse {self._duty!r}>"

    @property
    def counts(self) -> Counts:
        """See Member."""
        return self._duty.counts

    async def tunnels(self) -> Sequence[Tunnel]:
        """See Member."""
        return self._duty.tunnels()

    def cut(self, refused: Sequence[Refusal]) -> None:
        """See Member."""
        self._duty.cut(refused)

    def drain(self, patience: Patience) -> None:
        """See Member."""
        if self._is_draining:
            Deferred.fromCoroutine(self._duty.drain(patience))  # it has less patience now
            return
        self._is_draining = True
        Deferred.fromCoroutine(self._drain(patience))

    async def _drain(self, patience: Patience) -> None:
        try:
            await self._duty.drain(patience)
        except Exception:
            _log.failure("the end of the service went wrong")
        self._appliance.log.close()
        self.gone.callback(None)

    def reopen_log(self) -> None:
        """See Member."""
        self._appliance.log.reopen()

    def end(self) -> None:
        """See Member."""
        self._duty.end()
