"""Eviction: what has been of no use for longest goes, large things first, a little at a time.

The policy is least recently used, with a second chance by size and use. Of the WINDOW bodies that
weren't used for longest, those go first that are large for how often they were used, and never
more than half of the window in one step: what stays is looked at again in the next one. What was
used since then counts as used now, and has its hits halved. So one large download goes before a
hundred small things that cost as many round trips to fetch again; what was popular a month ago
goes as well; and a scan through many small things can't clear what is in use. A strict order by
hits per byte (GDSF) would throw out the large download that was just prefetched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from functools import partial
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.store.disk import Disk
from proxyapp.store.folder import growing_room
from proxyapp.store.index import Candidate
from proxyapp.store.room import Room
from proxyapp.store.writing import Writing

# Seconds between looks at how much there is; at the limit there is one at once.
LOOK_EVERY = 5.0
# Down to this part of the limit.
LOW = 0.95
WINDOW = 64
# Between two steps the disk and the interpreter are others', for so many seconds.
_PAUSE = 0.02
# What can't be made less, as it's pinned or still grows, isn't looked at again for so long.
_IDLE = 1.0

_log = Logger()


class Usage(NamedTuple):
    """What a look at the disk found: how many entries, and how many bytes they and others take."""

    entries: int
    room: int


def victims(window: list[Candidate], used: Container[int], excess: int) -> list[Candidate]:
    """Return which of *window* go, to free *excess* bytes; those *used* lately don't."""
    worth = sorted(
        (each for each in window if each.id not in used),
        key=lambda each: each.room / (1 + each.hits),
        reverse=True,
    )
    chosen: list[Candidate] = []
    for each in worth[: (len(window) + 1) // 2]:
        if excess <= 0:
            break
        chosen.append(each)
        excess -= each.room
    return chosen


def look(disk: Disk) -> Usage:
    """Say what there is, growing bodies included; in the writing thread."""
    count, room = disk.index.totals()
    return Usage(count, room + growing_room(disk.folder))


class Step(NamedTuple):
    """What a step of eviction has *freed*, in bytes; *is_last* where nothing is left to evict."""

    freed: int
    is_last: bool


def evict(disk: Disk, used: Container[int], excess: int) -> Step:
    """Evict a few bodies, of *excess* bytes; in the writing thread."""
    window = disk.index.oldest(WINDOW)
    gone = victims(window, used, excess)
    disk.remove([(each.id, each.key) for each in gone], is_said=False)
    numbers = {each.id for each in gone}
    spared = [
        each.id for each in window if each.id not in numbers and (each.hits or each.id in used)
    ]
    with disk.index.transaction():
        disk.index.second_chance(spared, disk.seconds())
    return Step(sum(each.room for each in gone), not window)


class Sweeper:
    """Keeps what is on the disk below the limit of *room*; *used* holds the ids used lately.

    *entries* is how many there were at the last look.
    """

    def __init__(
        self, writing: Writing, room: Room, clock: IReactorTime, used: Container[int]
    ) -> None:
        self.entries = 0
        self._writing = writing
        self._room = room
        self._clock = clock
        self._used = used
        self._call: IDelayedCall | None = None
        self._resting: Deferred[None] | None = None
        self._done: Deferred[None] | None = None
        self._is_stopped = True
        self._idle_until = 0.0

    def __repr__(self) -> str:
        return f"<Sweeper of {self._room!r}{', at work' if self._done is not None else ''}>"

    def start(self) -> None:
        """Begin to look."""
        self._is_stopped = False
        self.look()

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what runs has ended."""
        self._is_stopped = True
        self._wake()
        ended: Deferred[None] = Deferred()
        if self._done is None:
            return succeed(None)
        self._done.addCallback(ended.callback)
        return ended

    def _wake(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.callback(None)

    def crowd(self) -> None:
        """The limit is reached: look at once, unless that was of no use a moment ago."""
        if self._clock.seconds() >= self._idle_until:
            self.look()

    def look(self) -> None:
        """Look now, and evict what is too much."""
        if self._done is None and not self._is_stopped:
            self._wake()
            self._done = Deferred()
            Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        try:
            await self._sweep()
        except (sqlite3.Error, OSError) as error:
            self._room.failed(error)
        except Exception:
            _log.failure("the cache can't be swept")
        done, self._done = self._done, None
        if not self._is_stopped:
            self._call = self._clock.callLater(LOOK_EVERY, self.look)
        assert done is not None
        done.callback(None)

    async def _sweep(self) -> None:
        if await self._look() <= self._room.limit:
            return
        await self._writing.flush()  # what has no row yet can't be evicted
        excess = self._room.used - int(self._room.limit * LOW)
        used = self._used
        while excess > 0 and not self._is_stopped:
            step = await self._writing.run(partial(evict, used=used, excess=excess))
            if step.is_last:
                break
            excess -= step.freed
            # Where everything was used lately, that's no reason any more.
            used = self._used if step.freed else ()
            await self._rest()
        if await self._look() > self._room.limit:
            self._idle_until = self._clock.seconds() + _IDLE

    async def _look(self) -> int:
        usage = await self._writing.run(look)
        self.entries = usage.entries
        self._room.measured(usage.room)
        return usage.room

    async def _rest(self) -> None:
        if not self._is_stopped:
            self._resting = Deferred()
            self._call = self._clock.callLater(_PAUSE, self._wake)
            await self._resting
