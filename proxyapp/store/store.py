"""What is stored, in memory and on disk, for all workers that share a folder.

Each process has its own CacheStore. What is asked for again and again is in memory, heads and short
contents, and found there without a system call. The rest is a row in the index and a file. Files
are written as their contents come; rows, names and short contents are written behind, in a thread,
by batches. Nothing of all that is flushed to the disk while somebody waits for it.

Short contents are files as well, not rows of SQLite: what is written to a memory card was measured
(ext4, flushed every 20 batches of 16). For each object of 1 KB it's 5.7 KB as a file and 5.1 KB as
a row, and for one of 8 KB it's 12.9 KB and 19.8 KB, since a row is written twice. And a file is
found again when the index is lost.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.bodies import GrowingBody, OpenBody
from proxyapp.store.entry import Entry, StoreFull
from proxyapp.store.library import (
    DiskLibrary,
    Growth,
    Library,
    MemoryLibrary,
    Statistics,
    StoreLimits,
)
from proxyapp.store.memory import SHORT
from proxyapp.store.writing import InThread

__all__ = ["CacheStore", "InThread", "Statistics", "StoreLimits"]

_NOTHING = StoreLimits(memory=0, disk=0, max_object=0)

_log = Logger()


class CacheStore:
    """Stored responses by key, below *folder*; several processes may share it.

    With a disk limit of 0 they are in memory only. *clock* runs the periodic work, *seconds* is
    the time of day. By *sharing* processes know of each other's fetches; None where there's nothing
    to share.
    """

    def __init__(
        self,
        folder: Path,
        limits: StoreLimits,
        in_thread: InThread,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._in_thread = in_thread
        self._clock = clock
        self._seconds = seconds
        self._library: Library = MemoryLibrary(_NOTHING, seconds)
        self._catalogue = self._library.catalogue
        self.sharing = self._library.sharing

    def __repr__(self) -> str:
        return f"<CacheStore {self._catalogue!r}>"

    def start(self) -> None:
        """Open the index; a broken or missing one is made anew, from the files, in a thread.

        Where the folder can't be used that is said, and what is stored is in memory only.
        """
        limits = self._limits
        if limits.disk:
            try:
                self._library = DiskLibrary(
                    self._folder, limits, self._in_thread, self._clock, self._seconds
                )
            except (OSError, sqlite3.Error):
                _log.error("{folder} can't be used: the cache is in memory", folder=self._folder)
                self._library = MemoryLibrary(limits, self._seconds)
        else:
            self._library = MemoryLibrary(limits, self._seconds)
        self._catalogue = self._library.catalogue
        self.sharing = self._library.sharing

    def stop(self) -> Deferred[None]:
        """Interrupt what grows, write down what isn't yet; fires when all is closed.

        Nothing is stored and found any more.
        """
        library, self._library = self._library, MemoryLibrary(_NOTHING, self._seconds)
        self._catalogue = self._library.catalogue
        return Deferred.fromCoroutine(library.close())

    def variants(self, key: bytes) -> Sequence[Entry]:
        """Return all that is stored under *key*: in a microsecond, or some if not in use."""
        return self._catalogue.find(key)

    def put(self, key: bytes, stored: Stored, content: bytes) -> Entry:
        """Store a whole *content*, in place of the variant with the same *varying*.

        Where it can't be stored, who asks for it next doesn't find it; the entry has it anyway.
        """
        size = len(content)
        if stored.total != size:
            stored = replace(stored, total=size)
        if size > SHORT:
            return _put_long(self._library.growth, key, stored, content)
        extents = ((0, size),) if size else ()
        entry = Entry(key, self._library.shelf.new_id(), stored, size, extents, content)
        self._library.shelf.add(entry)
        return entry

    def begin(
        self,
        key: bytes,
        stored: Stored,
        total: int | None,
        entry: Entry | None = None,
        start: int = 0,
    ) -> GrowingBody | None:
        """Begin to store a body of *total* bytes, as far as that is known; None where it can't be.

        With *entry*, a partial one, content from *start* is added to it; None where somebody does
        that already, also in another process. Without it, *start* is that of a first part.
        """
        return self._library.growth.begin(key, stored, total, entry, start)

    def update(self, entry: Entry, stored: Stored) -> Entry:
        """Give *entry* another head, as a 304 has it."""
        known = [each for each in self._catalogue.find(entry.key) if each.id == entry.id]
        latest = known[0] if known else entry
        head = bodyhead.with_total(stored, latest.stored.total)
        revised = replace(latest, stored=head, content=latest.content or entry.content)
        self._library.shelf.revise(revised)
        return revised

    def invalidate(self, key: bytes) -> None:
        """All variants of *key* must be validated before their next use (RFC 9111 section 4.4)."""
        self._library.shelf.invalidate(key)

    def remove(self, entry: Entry) -> None:
        """Forget *entry*."""
        self._library.shelf.remove(entry)

    def used(self, entry: Entry) -> None:
        """Note a hit; written down rarely."""
        self._library.used(entry)

    def open(self, entry: Entry) -> OpenBody:
        """Open the body of *entry*, at once; raises EntryGone."""
        return self._library.opening.open(entry)

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """Open the body of *entry* in a thread, as a disk may be slow; fails with EntryGone.

        The next `variants` has its content if it is short enough for memory.
        """
        return self._library.opening.opened(entry)

    # For the tools.

    def entries(self, prefix: bytes = b"", tag: bytes = b"") -> Iterator[Entry]:
        """Yield what is stored under keys that begin with *prefix*, and has *tag* if one is given.

        A hundred rows are read at a time: give the reactor a turn now and then. What was stored
        less than a second ago may be missing.
        """
        return self._library.tending.entries(prefix, tag)

    def purge(self, key: bytes = b"", prefix: bytes = b"", tag: bytes = b"") -> Deferred[int]:
        """Forget what has exactly *key*, or begins with *prefix*, or has *tag*.

        Exactly one of them is given. Fires with how many entries that were.
        """
        return Deferred.fromCoroutine(self._library.tending.purge(key, prefix, tag))

    def pin(self, key: bytes, is_pinned: bool = True) -> Deferred[int]:
        """Keep all variants of *key*, and what replaces them, from eviction; or no longer.

        Fires with how many entries that are.
        """
        return Deferred.fromCoroutine(self._library.tending.pin(key, is_pinned))

    def statistics(self) -> Statistics:
        """Return what it holds."""
        return self._library.statistics()


def _put_long(growth: Growth, key: bytes, stored: Stored, content: bytes) -> Entry:
    body = growth.begin(key, stored, len(content), None, 0)
    if body is not None:
        with contextlib.suppress(StoreFull):
            body.write(content)
            return body.finish()
    return Entry(key, 0, stored, len(content), ((0, len(content)),), content)
