"""The parts of a store, put together: those for a disk, and those for memory alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from proxyapp.rules.caching.stored import Stored
from proxyapp.store.bodies import GrowingBody, OpenBody
from proxyapp.store.catalogue import Catalogue
from proxyapp.store.changes import Change, Insertion, Revision
from proxyapp.store.disk import Disk, Written, is_damage
from proxyapp.store.diskshelf import DiskShelf
from proxyapp.store.entry import Entry
from proxyapp.store.growth import DiskGrowth
from proxyapp.store.kept import KeptBodies
from proxyapp.store.memory import Entries, Memory, weight_of, weight_with_file
from proxyapp.store.memoryshelf import MemoryShelf
from proxyapp.store.opening import Opening
from proxyapp.store.restoring import Restoring
from proxyapp.store.room import Room
from proxyapp.store.sharing import Sharing
from proxyapp.store.sweeper import Sweeper
from proxyapp.store.tending import DiskTending, MemoryTending, Tending
from proxyapp.store.upkeep import Upkeep, Uses
from proxyapp.store.writing import InThread, Writing

_log = Logger()
_FETCHING = "fetching"


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Sizes in bytes: of what is in *memory*, of what is on *disk*, and of one object."""

    memory: int
    disk: int
    max_object: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the store holds (sizes in bytes); of the disk as it was at the last look at it."""

    entries: int
    disk: int
    disk_limit: int
    memory: int
    memory_limit: int
    growing: int
    written_today: int
    is_failing: bool


class Shelf(Protocol):
    """Where entries and their bodies are kept; the catalogue is kept right by it."""

    def new_id(self) -> int:
        """Return an id that nobody has."""

    def add(self, entry: Entry) -> None:
        """Keep *entry*, which has its content, in place of the one with the same *varying*."""

    def revise(self, entry: Entry) -> None:
        """*entry* has another head."""

    def invalidate(self, key: bytes) -> None:
        """All entries of *key* must be validated."""

    def remove(self, entry: Entry) -> None:
        """Forget *entry*."""


class Growth(Protocol):
    """Where bodies grow."""

    def begin(
        self, key: bytes, stored: Stored, total: int | None, entry: Entry | None, start: int
    ) -> GrowingBody | None:
        """See CacheStore."""

    def close(self) -> None:
        """Interrupt what grows."""


class Opens(Protocol):
    """What opens bodies."""

    def open(self, entry: Entry) -> OpenBody:
        """See CacheStore."""

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """See CacheStore."""


class Library(Protocol):
    """What a store consists of."""

    catalogue: Catalogue
    shelf: Shelf
    growth: Growth
    opening: Opens
    tending: Tending
    sharing: Sharing | None

    def used(self, entry: Entry) -> None:
        """See CacheStore.used."""

    def statistics(self) -> Statistics:
        """See CacheStore.statistics."""

    async def close(self) -> None:
        """Write down what isn't yet."""


class MemoryLibrary:
    """See Library: nothing is on a disk."""

    def __init__(self, limits: StoreLimits, seconds: Callable[[], float]) -> None:
        self._memory = Memory(limits.memory, weight_with_file, self._forget, keeps_pinned=True)
        self.catalogue = Catalogue(self._memory, _ignore)
        self._room = Room(limits.memory // 2, seconds, _nothing)
        most = min(limits.max_object, self._memory.longest)
        self._shelf = MemoryShelf(self.catalogue, self._room, most)
        self.shelf: Shelf = self._shelf
        self.growth: Growth = self._shelf
        self.opening: Opens = self._shelf
        self.tending: Tending = MemoryTending(self.catalogue, self._shelf)
        self.sharing: Sharing | None = None

    def _forget(self, entries: Entries) -> None:
        self._shelf.forget(entries)

    def used(self, entry: Entry) -> None:
        """See Library: memory knows what was asked for."""

    def statistics(self) -> Statistics:
        """See Library."""
        memory = self._memory
        count = sum(1 for _ in memory.entries())
        return Statistics(count, 0, 0, memory.weight, memory.capacity, self._room.growing, 0, False)

    async def close(self) -> None:
        """See Library."""
        self._shelf.close()
        self._memory.clear()


def _ignore(error: sqlite3.Error) -> None:
    """There is no index."""


def _nothing() -> None:
    """There is nothing to sweep."""


class DiskLibrary:
    """See Library: files and an index in *folder*. Raises OSError and sqlite3.Error."""

    def __init__(
        self,
        folder: Path,
        limits: StoreLimits,
        in_thread: InThread,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        self._disk = disk = Disk(folder, seconds)
        self._memory = Memory(limits.memory, weight_of, _forget_nothing, keeps_pinned=False)
        self.catalogue = Catalogue(self._memory, self._read_failed)
        self._room = Room(limits.disk, seconds, self._crowd)
        self._writing = Writing(disk, in_thread, clock, self._settled)
        most = min(limits.max_object, limits.disk)
        shelf = DiskShelf(disk.folder, self._writing, self._room, self.catalogue, most)
        self.shelf: Shelf = shelf
        self.growth: Growth = DiskGrowth(
            disk.folder, shelf, self._room, self.catalogue, in_thread, most
        )
        self._opening = Opening(
            disk.folder,
            in_thread,
            shelf.remove,
            self.catalogue.load,
            KeptBodies(in_thread, clock),
        )
        self.opening: Opens = self._opening
        self.tending: Tending = DiskTending(self.catalogue, self._writing)
        self.sharing: Sharing | None = Sharing(folder / _FETCHING, disk.folder, self._writing.flush)
        self._uses = Uses(seconds)
        self.used = self._uses.note
        self._sweeper = Sweeper(self._writing, self._room, clock, self._uses)
        self._upkeep = Upkeep(self._uses, self._room, self._writing, clock, seconds)
        self._restoring = Restoring(disk.folder, self._writing, in_thread, self._renewed)
        self._is_checking = False
        self._attach()
        self._restoring.start()
        self._sweeper.start()
        self._upkeep.start()

    def _attach(self) -> None:
        self.catalogue.attach(self._disk.reader(), self._disk.tokens)

    def _crowd(self) -> None:
        self._sweeper.crowd()

    def _settled(self, changes: Sequence[Change], written: Written) -> None:
        self.catalogue.settle(changes)
        if written.error is not None:
            self._room.failed(written.error)
        elif changes and not written.failed:
            self._room.worked(written.amount)
        if written.is_renewed:
            self._renewed()
        self._outdate(changes)

    def _outdate(self, changes: Sequence[Change]) -> None:
        """Invalidate what was changed at its origin since it arrived, but before others saw it.

        Who saw to that change, in another process, found nothing that was to be invalidated.
        """
        assert self.sharing is not None
        outdated, now = self.sharing.outdated, self._disk.seconds()
        for change in changes:
            if isinstance(change, Insertion | Revision) and outdated.is_since(
                change.key, change.stored.arrived_at, now
            ):
                self.shelf.invalidate(change.key)

    def _renewed(self) -> None:
        """The index is another one."""
        self._attach()
        self._restoring.start()

    def _read_failed(self, error: sqlite3.Error) -> None:
        if is_damage(error) and not self._is_checking:
            self._is_checking = True
            Deferred.fromCoroutine(self._check()).addErrback(
                lambda failure: _log.failure("the cache's index can't be renewed", failure)
            )

    async def _check(self) -> None:
        try:
            if await self._writing.run(lambda disk: disk.is_renewed()):
                self._renewed()
        finally:
            self._is_checking = False

    async def restored(self) -> None:
        """Wait until files and index were compared."""
        await self._restoring.ended()

    def statistics(self) -> Statistics:
        """See Library."""
        memory, room = self._memory, self._room
        return Statistics(
            self._sweeper.entries,
            room.used,
            room.limit,
            memory.weight,
            memory.capacity,
            room.growing,
            self._upkeep.written_today + room.written,
            room.is_failing,
        )

    async def close(self) -> None:
        """See Library."""
        self.growth.close()
        self._opening.close()
        await self._restoring.stop()
        await self._sweeper.stop()
        await self._writing.flush()
        await self._upkeep.stop()
        self.catalogue.attach(None, None)
        await self._writing.run(lambda disk: disk.close())
        if self.sharing is not None:
            self.sharing.outdated.close()
        self._memory.clear()


def _forget_nothing(entries: Entries) -> None:
    """What goes from memory is on the disk."""
