"""Where bodies are kept when there is no disk: in memory, as files that have no name."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed

from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.bodies import BodyFile, GrowingBody, OpenBody, in_memory, read_whole
from proxyapp.store.catalogue import Catalogue
from proxyapp.store.entry import Entry, EntryGone, Extents, StoreFull, size_of
from proxyapp.store.memory import SHORT, Entries
from proxyapp.store.room import Room


class MemoryShelf:
    """See Shelf: what is long is in a file of the kernel's memory, which sendfile(2) can read.

    *room* is for bodies that grow; the catalogue's memory bounds those that are kept.
    """

    def __init__(self, catalogue: Catalogue, room: Room, max_object: int) -> None:
        self._catalogue = catalogue
        self._room = room
        self._max_object = max_object
        self._files: dict[int, int] = {}
        self._continued: set[int] = set()
        self._growing: set[GrowingBody] = set()
        self._last = 0

    def __repr__(self) -> str:
        return f"<MemoryShelf {len(self._files)} files>"

    def new_id(self) -> int:
        """See Shelf."""
        self._last += 1
        return self._last

    # See Shelf: changes.

    def add(self, entry: Entry) -> None:
        """See Shelf."""
        if entry.size <= self._max_object:
            self.forget(self._catalogue.put(entry, is_pending=False))
        else:
            for each in self._catalogue.find(entry.key):
                if each.stored.varying == entry.stored.varying:
                    self.remove(each)

    def forget(self, entries: Entries) -> None:
        """Close the files of *entries*."""
        for entry in entries:
            descriptor = self._files.pop(entry.id, -1)
            if descriptor >= 0:
                os.close(descriptor)

    def revise(self, entry: Entry) -> None:
        """See Shelf."""
        self._catalogue.revise(entry, is_pending=False)

    def invalidate(self, key: bytes) -> None:
        """See Shelf."""
        self._catalogue.invalidate(key, is_pending=False)

    def remove(self, entry: Entry) -> None:
        """See Shelf."""
        self._catalogue.remove(entry, is_pending=False)
        self.forget((entry,))

    # See Shelf: bodies.

    def begin(
        self, key: bytes, stored: Stored, total: int | None, entry: Entry | None, start: int
    ) -> GrowingBody | None:
        """See Shelf."""
        if total is not None and (total > self._max_object or not self._room.has(total - start)):
            return None
        extents: Extents = ()
        try:
            if entry is None:
                number, descriptor = self.new_id(), os.memfd_create("body")
            elif entry.id in self._files and entry.id not in self._continued:
                number, descriptor = entry.id, os.dup(self._files[entry.id])
                self._continued.add(number)
                extents = entry.extents
            else:
                return None
        except OSError:
            return None
        file = BodyFile(number, descriptor, 0, extents, self._max_object, entry is None)
        body = GrowingBody(key, bodyhead.with_total(stored, total), file, start, self)
        self._growing.add(body)
        return body

    def open(self, entry: Entry) -> OpenBody:
        """See Shelf."""
        if entry.content is not None:
            return in_memory(entry.content)
        try:
            return OpenBody(os.dup(self._files[entry.id]), 0)
        except (KeyError, OSError) as error:
            raise EntryGone from error

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """See Shelf."""
        return succeed(None).addCallback(lambda _: self.open(entry))

    def close(self) -> None:
        """See Shelf."""
        for body in list(self._growing):
            body.abandon()

    # See Keeper.

    def take(self, amount: int) -> bool:
        """See Keeper."""
        return self._room.used + amount <= self._room.limit and self._room.take(amount)

    def failed(self, error: OSError) -> None:
        """See Keeper: the kernel has no memory left."""

    def write_out(self, descriptor: int) -> Deferred[None]:
        """See Keeper: there is nowhere to write it to."""
        os.close(descriptor)
        return succeed(None)

    def keep(self, body: GrowingBody, file: BodyFile, extents: Extents) -> Entry:
        """See Keeper."""
        self.drop(body, file)
        entry = Entry(body.key, file.id, body.stored, size_of(extents), extents)
        try:
            if entry.is_complete and entry.size <= SHORT:
                entry.content = read_whole(body.descriptor, entry.size, 0)
            elif file.is_new:
                self._files[file.id] = os.dup(body.descriptor)
        except OSError as error:
            raise StoreFull("the kernel has no memory left") from error
        self.forget(self._catalogue.put(entry, is_pending=False))
        if not any(each.id == entry.id for each in self._catalogue.find(body.key)):
            self.forget((entry,))  # too long for its memory
        return entry

    def drop(self, body: GrowingBody, file: BodyFile) -> None:
        """See Keeper."""
        self._growing.discard(body)
        self._room.put_back(body.size, is_kept=False)
        self._continued.discard(file.id)
