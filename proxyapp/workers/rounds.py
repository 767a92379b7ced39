"""The master's rounds: is every worker there, what is going on, and does systemd know it?"""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.net.notify import Notifier
from proxyapp.workers.member import Counts, Member
from proxyapp.workers.process import WorkerProcess

# Seconds from one to the next, and after how many of silence a worker is taken for hung. Rounds are
# counted, not the time: while the master itself can't run there are none, and nobody is hung.
INTERVAL = 5.0
HUNG_AFTER = 30.0
# systemd asks for a sign of life twice in its time (sd_watchdog_enabled(3)).
_PART = 2

_log = Logger()


class Rounds:
    """Looks after *everybody*, who come and go, and tells *notifier*."""

    def __init__(
        self, clock: IReactorTime, notifier: Notifier, everybody: Collection[Member]
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._everybody = everybody
        self._call: IDelayedCall | None = None
        self._note = ""
        watchdog = notifier.watchdog
        self._interval = min(INTERVAL, watchdog / _PART) if watchdog else INTERVAL

    def __repr__(self) -> str:
        return f"<Rounds every {self._interval} s>"

    def start(self) -> None:
        """Make the first one now."""
        if self._call is None:
            self._go()

    def stop(self) -> None:
        """Make no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def say(self, note: str) -> None:
        """Have the status say *note*, from now on, beside what is going on."""
        self._note = note
        self._tell()

    def _go(self) -> None:
        self._call = self._clock.callLater(self._interval, self._go)
        if self._notifier.watchdog:
            self._notifier.alive()
        for member in self._everybody:
            if isinstance(member, WorkerProcess):
                self._look_after(member)
        self._tell()

    def _look_after(self, worker: WorkerProcess) -> None:
        if not worker.startup.is_over:
            return  # that has a deadline of its own
        silence = worker.unanswered * self._interval
        if silence > HUNG_AFTER:
            _log.error(
                "{name} has said nothing for {silence:.0f} s: it is ended",
                name=worker.name,
                silence=silence,
            )
            worker.kill()
        else:
            worker.ask_counts()

    def _tell(self) -> None:
        counts = [member.counts for member in self._everybody]
        clients, tunnels = (
            sum(each.clients for each in counts),
            sum(each.tunnels for each in counts),
        )
        processes = "1 process" if len(counts) == 1 else f"{len(counts)} processes"
        text = f"{Counts(clients, tunnels)}; {processes}"
        self._notifier.status(f"{self._note}; {text}" if self._note else text)
