"""Where entries are kept when there is a disk: known at once, written down a moment later."""

from __future__ import annotations

from proxyapp.store import bodyhead
from proxyapp.store.catalogue import Catalogue
from proxyapp.store.changes import Change, Insertion, Invalidation, Removal, Revision
from proxyapp.store.entry import Entry
from proxyapp.store.folder import BodyFolder
from proxyapp.store.room import Room, room_of
from proxyapp.store.writing import Writing


class DiskShelf:
    """See Shelf: *writing* writes the changes down; *most* is how long a body may be."""

    def __init__(
        self,
        folder: BodyFolder,
        writing: Writing,
        room: Room,
        catalogue: Catalogue,
        most: int,
    ) -> None:
        self.new_id = folder.new_id
        self._writing = writing
        self._room = room
        self._catalogue = catalogue
        self._most = most

    def __repr__(self) -> str:
        return f"<DiskShelf {self._writing!r}>"

    @property
    def is_full(self) -> bool:
        """Is so much waiting to be written that nothing more should come?"""
        return self._writing.is_full

    def add(self, entry: Entry) -> None:
        """See Shelf."""
        assert entry.content is not None
        room = room_of(bodyhead.FIXED, entry.size)
        if self.is_full or entry.size > self._most or not self._room.has(room):
            # Where the disk has an older one, that mustn't be found later.
            self.replace(entry, None)
        else:
            self._room.take(room)
            self._room.put_back(room, is_kept=True)
            self.replace(entry, Insertion(entry, entry.content))

    def replace(self, entry: Entry, insertion: Insertion | None) -> None:
        """Keep *entry* in place of older ones, and have *insertion* written; None: in memory."""
        old = self._catalogue.put(entry, is_pending=insertion is not None)
        if insertion is not None:
            self._writing.add(insertion)
        varying = entry.stored.varying
        for each in old:
            if insertion is None or each.stored.varying != varying:
                self._write(Removal(entry.key, each.id))

    def _write(self, change: Change) -> None:
        """Have *change* written; until then the catalogue is right about its key."""
        self._catalogue.change(change.key, self._catalogue.find(change.key), is_pending=True)
        self._writing.add(change)

    def revise(self, entry: Entry) -> None:
        """See Shelf."""
        self._catalogue.revise(entry, is_pending=True)
        self._writing.add(Revision(entry.key, entry.id, entry.stored))

    def invalidate(self, key: bytes) -> None:
        """See Shelf."""
        if self._catalogue.invalidate(key, is_pending=True):
            self._writing.add(Invalidation(key))

    def remove(self, entry: Entry) -> None:
        """See Shelf."""
        self._catalogue.remove(entry, is_pending=True)
        self._writing.add(Removal(entry.key, entry.id))
