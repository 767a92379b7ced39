"""Those who were relieved: they accept nobody any more, and keep the tunnels that may go on."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.workers.member import Member, Patience
from proxyapp.workers.process import NotStarted, WorkerProcess

# A tunnel that was being opened at the first look is open by the second one (seconds).
_LOOKS = (0.0, 15.0)

_log = Logger()


class Leaving:
    """The members that only finish what they have begun."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._members: list[Member] = []
        self._calls: list[IDelayedCall] = []

    def __repr__(self) -> str:
        return f"<Leaving {self._members}>"

    def add(self, member: Member) -> None:
        """*member* is one of them from now on."""
        self._members.append(member)

    def discard(self, member: Member) -> None:
        """*member* is gone."""
        if member in self._members:
            self._members.remove(member)

    def relieved_by(self, judge: WorkerProcess, patience: Patience) -> None:
        """Let them end within *patience*, and before that all tunnels that *judge* denies."""
        self.stop()
        for member in self._members:
            member.drain(patience)
        self._calls = [self._clock.callLater(after, self._look, judge) for after in _LOOKS]

    def _look(self, judge: WorkerProcess) -> None:
        self._calls = [call for call in self._calls if call.active()]
        for member in self._members:
            Deferred.fromCoroutine(_cut_denied(member, judge))

    def stop(self) -> None:
        """Look no more."""
        for call in self._calls:
            call.cancel()
        self._calls = []


async def _cut_denied(member: Member, judge: WorkerProcess) -> None:
    try:
        tunnels: Sequence[object] = (found := await member.tunnels())
        refused = await judge.judge(found) if tunnels else ()
    except NotStarted:
        return  # one of the two is gone
    if refused:
        member.cut(refused)
        _log.info("{count} tunnels cut, which the new configuration denies", count=len(refused))
