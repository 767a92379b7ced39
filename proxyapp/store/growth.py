"""Bodies that grow on a disk, from their beginning until they are kept or dropped."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.bodies import BodyFile, GrowingBody, read_whole
from proxyapp.store.bodyhead import Damaged
from proxyapp.store.catalogue import Catalogue
from proxyapp.store.changes import Insertion
from proxyapp.store.diskshelf import DiskShelf
from proxyapp.store.entry import Entry, Extents, StoreFull, size_of
from proxyapp.store.folder import BodyFolder, let_go
from proxyapp.store.memory import SHORT
from proxyapp.store.room import Room
from proxyapp.store.writing import InThread

# The writing thread is never that far behind.
_MOST_PENDING = 64


class DiskGrowth:
    """See Keeper: bodies in *folder* that *shelf* gets when they're finished.

    *most* is how long one may be.
    """

    def __init__(
        self,
        folder: BodyFolder,
        shelf: DiskShelf,
        room: Room,
        catalogue: Catalogue,
        in_thread: InThread,
        most: int,
    ) -> None:
        self._folder = folder
        self._shelf = shelf
        self._room = room
        self._catalogue = catalogue
        self._in_thread = in_thread
        self._most = most
        self._growing: set[GrowingBody] = set()
        # Parts that were kept a moment ago, by id: the writing thread may still have their locks.
        self._pending: dict[int, Insertion] = {}

    def __repr__(self) -> str:
        return f"<DiskGrowth of {len(self._growing)}>"

    def begin(
        self, key: bytes, stored: Stored, total: int | None, entry: Entry | None, start: int
    ) -> GrowingBody | None:
        """See CacheStore."""
        size = 0 if total is None else total
        if size > self._most or self._shelf.is_full or not self._room.has(size - start):
            return None
        stored = bodyhead.with_total(stored, total)
        try:
            file = self._create(key, stored, start) if entry is None else self._continue(entry)
        except (BlockingIOError, FileNotFoundError, Damaged):
            return None
        except OSError as error:
            self.failed(error)
            return None
        body = GrowingBody(key, stored, file, start, self)
        self._growing.add(body)
        return body

    def _create(self, key: bytes, stored: Stored, start: int) -> BodyFile:
        number = self._folder.new_id()
        grown = bodyhead.progress(bodyhead.UNFINISHED, ((start, start),))
        head = bodyhead.pack(key, bodyhead.encode(stored), grown)
        descriptor = self._folder.create(number)
        try:
            if os.pwrite(descriptor, head, 0) != len(head):
                raise Damaged("the disk took a part of a head")
        except BaseException:
            self._folder.unlink_growing(number)
            os.close(descriptor)
            raise
        return BodyFile(number, descriptor, len(head), (), self._most, is_new=True)

    def _continue(self, entry: Entry) -> BodyFile:
        known = [each for each in self._catalogue.find(entry.key) if each.id == entry.id]
        if not known:
            raise FileNotFoundError
        pending = self._pending.pop(entry.id, None)
        descriptor = -1 if pending is None else pending.hand_on()
        if descriptor < 0:
            descriptor = self._folder.reopen(entry.id)
        try:
            offset = bodyhead.offset_of(descriptor, known[0].extents)
        except BaseException:
            os.close(descriptor)
            raise
        part = known[0]
        return BodyFile(
            part.id, descriptor, offset, part.extents, self._most, False, part.is_pinned
        )

    def close(self) -> None:
        """See CacheStore."""
        for body in list(self._growing):
            body.suspend()

    # See Keeper.

    def take(self, amount: int) -> bool:
        """See Keeper."""
        return self._room.take(amount)

    def failed(self, error: OSError) -> None:
        """See Keeper."""
        self._room.failed(error)

    def write_out(self, descriptor: int) -> Deferred[None]:
        """See Keeper."""
        return self._in_thread(lambda: _write_out(descriptor))

    def keep(self, body: GrowingBody, file: BodyFile, extents: Extents) -> Entry:
        """See Keeper."""
        entry = Entry(body.key, file.id, body.stored, size_of(extents), extents)
        entry.is_pinned = file.is_pinned
        try:
            if entry.is_complete and entry.size <= SHORT:
                entry.content = read_whole(body.descriptor, entry.size, body.offset)
            descriptor = os.dup(body.descriptor)
        except (OSError, Damaged) as error:
            self.drop(body, file)
            raise StoreFull("the disk doesn't give it back") from error
        self._growing.discard(body)
        self._room.put_back(body.size, is_kept=True)
        self._room.written += body.size
        insertion = Insertion(entry, b"", descriptor, body.offset, file.is_new)
        if not entry.is_complete:
            self._remember(insertion)
        self._shelf.replace(entry, insertion)
        return entry

    def _remember(self, insertion: Insertion) -> None:
        if len(self._pending) >= _MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[insertion.entry.id] = insertion

    def drop(self, body: GrowingBody, file: BodyFile) -> None:
        """See Keeper: to free a long file takes a disk a while."""
        self._growing.discard(body)
        self._room.put_back(body.size, is_kept=False)
        self._room.written += body.size
        folder = self._folder
        try:
            descriptor = os.dup(body.descriptor)
        except OSError:  # none is left, so there is no time to lose
            if file.is_new:
                folder.unlink_growing(file.id)
            return

        def unlink() -> None:
            try:
                if file.is_new:
                    folder.unlink_growing(file.id)
            finally:
                let_go(descriptor)

        self._in_thread(unlink).addErrback(lambda failure: failure.trap(OSError))


def _write_out(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError:
        pass  # whoever reads it hears of it, and the next write
    finally:
        os.close(descriptor)
