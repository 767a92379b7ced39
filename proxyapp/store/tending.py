"""What the admin does to what is stored: look at it, purge it, pin it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Protocol

from proxyapp.store import bodyhead
from proxyapp.store.catalogue import Catalogue
from proxyapp.store.changes import tags_of
from proxyapp.store.disk import Disk
from proxyapp.store.entry import Entry
from proxyapp.store.folder import mark
from proxyapp.store.writing import Writing

# Bodies that are removed in one job of the writing thread.
_CHUNK = 64


class Tending(Protocol):
    """What the tools need of a store; see CacheStore."""

    def entries(self, prefix: bytes, tag: bytes) -> Iterator[Entry]:
        """Yield what has *prefix* and *tag*."""

    async def purge(self, key: bytes, prefix: bytes, tag: bytes) -> int:
        """Forget what has *key*, or *prefix*, or *tag*; return how many entries that were."""

    async def pin(self, key: bytes, is_pinned: bool) -> int:
        """Pin the entries of *key*, or no longer; return how many."""


def _is_meant(entry: Entry, key: bytes, prefix: bytes, tag: bytes) -> bool:
    if key:
        return entry.key == key
    return entry.key.startswith(prefix) and (not tag or tag in tags_of(entry.stored.fields))


class MemoryTending:
    """See Tending: everything is in the catalogue's memory, and *shelf* takes it out."""

    def __init__(self, catalogue: Catalogue, shelf: Shelf) -> None:
        self._catalogue = catalogue
        self._shelf = shelf

    def entries(self, prefix: bytes, tag: bytes) -> Iterator[Entry]:
        """See Tending."""
        for entry in self._catalogue.memory.entries():
            if _is_meant(entry, b"", prefix, tag):
                yield entry

    async def purge(self, key: bytes, prefix: bytes, tag: bytes) -> int:
        """See Tending."""
        every = list(self._catalogue.memory.entries())
        gone = [entry for entry in every if _is_meant(entry, key, prefix, tag)]
        for entry in gone:
            self._shelf.remove(entry)
        return len(gone)

    async def pin(self, key: bytes, is_pinned: bool) -> int:
        """See Tending."""
        entries = self._catalogue.find(key)
        pinned = tuple(replace(entry, is_pinned=is_pinned) for entry in entries)
        self._catalogue.change(key, pinned, is_pending=False)
        return len(pinned)


class Shelf(Protocol):
    """Where entries are taken out."""

    def remove(self, entry: Entry) -> None:
        """Remove *entry*."""


class DiskTending:
    """See Tending: what is in the index, once *writing* has written what waits."""

    def __init__(self, catalogue: Catalogue, writing: Writing) -> None:
        self._catalogue = catalogue
        self._writing = writing

    def entries(self, prefix: bytes, tag: bytes) -> Iterator[Entry]:
        """See Tending."""
        lookup = self._catalogue.lookup
        return iter(()) if lookup is None else lookup.all_of(prefix, tag)

    async def purge(self, key: bytes, prefix: bytes, tag: bytes) -> int:
        """See Tending."""
        await self._writing.flush()
        self._catalogue.forget(lambda entry: _is_meant(entry, key, prefix, tag))
        count = 0
        while found := await self._writing.run(
            partial(_purge_some, key=key, prefix=prefix, tag=tag)
        ):
            count += found
        return count

    async def pin(self, key: bytes, is_pinned: bool) -> int:
        """See Tending."""
        await self._writing.flush()
        return await self._writing.run(partial(_pin, key=key, is_pinned=is_pinned))


def _purge_some(disk: Disk, key: bytes, prefix: bytes, tag: bytes) -> int:
    lookup = disk.own_lookup()
    found = iter(lookup.find(key)) if key else lookup.all_of(prefix, tag)
    gone = [(entry.id, entry.key) for entry in islice(found, _CHUNK)]
    disk.remove(gone, is_said=True)
    return len(gone)


def _pin(disk: Disk, key: bytes, is_pinned: bool) -> int:
    with disk.folder.shared():
        with disk.index.transaction():
            numbers = disk.index.pin(key, is_pinned)
        for number in numbers:
            with contextlib.suppress(OSError):
                mark(disk.folder, number, bodyhead.PINNED_AT, bytes([is_pinned]))
    disk.tokens.renew([key])
    return len(numbers)
