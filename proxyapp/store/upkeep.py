"""What is written rarely, for the sake of memory cards: when entries were used, and statistics.

Hits are counted in memory, and written down in one go every FLUSH_EVERY seconds and at the stop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.store.disk import STATE, STOPPED, Disk, today
from proxyapp.store.entry import Entry
from proxyapp.store.room import Room
from proxyapp.store.writing import Writing

FLUSH_EVERY = 600.0
# So many are counted; beyond that the oldest counts are forgotten before they are written.
MOST_COUNTED = 50_000
_MIB = 1024 * 1024

_log = Logger()


class Uses:
    """How often entries were used since that was last written down, and when; by id."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.counts: dict[int, int] = {}
        self._times: dict[int, float] = {}
        self._seconds = seconds

    def note(self, entry: Entry) -> None:
        """*entry* was used."""
        number = entry.id
        counts = self.counts
        counts[number] = counts.get(number, 0) + 1
        self._times[number] = self._seconds()
        if len(counts) > MOST_COUNTED:
            oldest = next(iter(counts))
            del counts[oldest], self._times[oldest]

    def __contains__(self, number: object) -> bool:
        return number in self.counts

    def take(self) -> list[tuple[int, int, float]]:
        """Return id, count and last time of all, and begin anew."""
        counts = list(self.counts.items())
        taken = [(number, count, self._times[number]) for number, count in counts]
        self.counts.clear()
        self._times.clear()
        return taken


class Upkeep:
    """Writes down *uses*, and what was written to *room*'s disk, rarely."""

    def __init__(
        self,
        uses: Uses,
        room: Room,
        writing: Writing,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        self.written_today = 0
        self._uses = uses
        self._room = room
        self._writing = writing
        self._clock = clock
        self._seconds = seconds
        self._call: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<Upkeep of {len(self._uses.counts)} used>"

    def start(self) -> None:
        """Begin to write down now and then."""
        self._call = self._clock.callLater(FLUSH_EVERY, self._flush_later)

    async def stop(self) -> None:
        """Write down for the last time, and that all is well."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        await self.flush(is_last=True)

    def _flush_later(self) -> None:
        self._call = self._clock.callLater(FLUSH_EVERY, self._flush_later)
        Deferred.fromCoroutine(self.flush()).addErrback(
            lambda failure: _log.failure("hits can't be written down", failure)
        )

    async def flush(self, is_last: bool = False) -> None:
        """Write down what was counted; what can't be is forgotten."""
        uses, amount, day = self._uses.take(), self._room.take_written(), today(self._seconds())

        def write(disk: Disk) -> list[tuple[str, int]]:
            with disk.index.transaction():
                disk.index.note_uses(uses)
                over = disk.marks.take_days(day)
                if amount:
                    disk.marks.add_written(day, amount)
                if is_last:
                    disk.marks.set(STATE, STOPPED)
            self.written_today = disk.marks.written(day)
            return over

        try:
            over = await self._writing.run(write)
        except sqlite3.Error as error:
            self._room.failed(error)
            return
        for past, written in over:
            _log.info("{day}: the cache wrote {mib} MiB to its disk", day=past, mib=written // _MIB)
