"""Where bodies are kept when there is a disk: files by id, with rows written behind them."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyapp.cache import bodyhead
from proxyapp.cache.bodies import BodyFile, GrowingBody, OpenBody, in_memory, read_whole
from proxyapp.cache.bodyhead import Damaged
from proxyapp.cache.catalogue import Catalogue
from proxyapp.cache.changes import Change, Insertion, Invalidation, Removal, Revision
from proxyapp.cache.entry import Entry, EntryGone, Extents, StoreFull, size_of
from proxyapp.cache.folder import BodyFolder
from proxyapp.cache.memory import SHORT
from proxyapp.cache.room import Room, room_of
from proxyapp.cache.writing import InThread, Writing
from proxyapp.rules.caching.stored import Stored

# What is read ahead of a body that is about to be sent.
_AHEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A body that was opened in a thread, and its content if it is short."""

    body: OpenBody
    content: bytes | None


class DiskShelf:
    """See Shelf: files in *folder*, whose changes *writing* writes down."""

    def __init__(
        self,
        folder: BodyFolder,
        writing: Writing,
        room: Room,
        catalogue: Catalogue,
        in_thread: InThread,
        max_object: int,
    ) -> None:
        self._folder = folder
        self._writing = writing
        self._room = room
        self._catalogue = catalogue
        self._in_thread = in_thread
        self._max_object = max_object

    def __repr__(self) -> str:
        return f"<DiskShelf {self._folder!r}>"

    def new_id(self) -> int:
        """See Shelf."""
        return self._folder.new_id()

    # See Shelf: changes.

    def add(self, entry: Entry) -> None:
        """See Shelf."""
        assert entry.content is not None
        room = room_of(bodyhead.FIXED, entry.size)
        if self._writing.is_full or entry.size > self._max_object or not self._room.has(room):
            # Where the disk has an older one, that mustn't be found later.
            self._replace(entry, None)
        else:
            self._room.take(room)
            self._room.put_back(room, is_kept=True)
            self._replace(entry, Insertion(entry, entry.content))

    def _replace(self, entry: Entry, insertion: Insertion | None) -> None:
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

    def invalidate(self, key: bytes, entries: tuple[Entry, ...]) -> None:
        """See Shelf."""
        self._catalogue.change(key, entries, is_pending=True)
        self._writing.add(Invalidation(key))

    def remove(self, entry: Entry) -> None:
        """See Shelf."""
        self._catalogue.remove(entry, is_pending=True)
        self._writing.add(Removal(entry.key, entry.id))

    # See Shelf: bodies.

    def begin(
        self, key: bytes, stored: Stored, total: int | None, entry: Entry | None, start: int
    ) -> GrowingBody | None:
        """See Shelf."""
        size = 0 if total is None else total
        if size > self._max_object or self._writing.is_full or not self._room.has(size - start):
            return None
        stored = bodyhead.with_total(stored, total)
        try:
            if entry is None:
                file = self._create(key, stored, start)
            else:
                file = self._continue(entry)
        except (BlockingIOError, FileNotFoundError, Damaged):
            return None
        except OSError as error:
            self.failed(error)
            return None
        return GrowingBody(key, stored, file, start, self)

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
        return BodyFile(number, descriptor, len(head), (), self._max_object, is_new=True)

    def _continue(self, entry: Entry) -> BodyFile:
        known = [each for each in self._catalogue.find(entry.key) if each.id == entry.id]
        if not known:
            raise FileNotFoundError
        descriptor = self._folder.reopen(entry.id)
        try:
            offset = bodyhead.offset_of(descriptor, known[0].extents)
        except BaseException:
            os.close(descriptor)
            raise
        most = self._max_object
        return BodyFile(entry.id, descriptor, offset, known[0].extents, most, is_new=False)

    def open(self, entry: Entry) -> OpenBody:
        """See Shelf."""
        if entry.content is not None:
            return in_memory(entry.content)
        try:
            return self._open(entry)
        except (Damaged, FileNotFoundError) as error:
            self.remove(entry)
            raise EntryGone from error
        except OSError as error:
            raise EntryGone from error

    def _open(self, entry: Entry) -> OpenBody:
        descriptor = self._folder.open(entry.id)
        try:
            return OpenBody(descriptor, bodyhead.offset_of(descriptor, entry.extents))
        except BaseException:
            os.close(descriptor)
            raise

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """See Shelf."""
        outcome: Deferred[OpenBody] = Deferred()

        def deliver(found: Found) -> None:
            if outcome.called:  # nobody waits for it any more
                found.body.close()
                return
            if found.content is not None:
                self._catalogue.load(entry, found.content)
            outcome.callback(found.body)

        def fail(failure: Failure) -> None:
            if failure.check(Damaged, FileNotFoundError):
                self.remove(entry)
            if not outcome.called:
                known = failure.check(Damaged, OSError) is not None
                outcome.errback(Failure(EntryGone()) if known else failure)

        self._in_thread(lambda: self._find(entry)).addCallback(deliver).addErrback(fail)
        return outcome

    def _find(self, entry: Entry) -> Found:
        """Open the body of *entry*, with what is needed of it first; in a thread."""
        if entry.content is not None:
            return Found(in_memory(entry.content), None)
        body = self._open(entry)
        try:
            if entry.size > SHORT or not entry.is_complete:
                os.posix_fadvise(body.descriptor, body.offset, _AHEAD, os.POSIX_FADV_WILLNEED)
                return Found(body, None)
            content = read_whole(body.descriptor, entry.size, body.offset)
            checksum = bodyhead.read(body.descriptor).checksum
            if checksum and checksum != zlib.crc32(content):
                raise Damaged("a content is damaged")
        except BaseException:
            body.close()
            raise
        return Found(body, content)

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
        try:
            if entry.is_complete and entry.size <= SHORT:
                entry.content = read_whole(body.descriptor, entry.size, body.offset)
            descriptor = os.dup(body.descriptor)
        except (OSError, Damaged) as error:
            self.drop(body, file)
            raise StoreFull("the disk doesn't give it back") from error
        self._room.put_back(body.size, is_kept=True)
        self._room.written += body.size
        self._replace(
            entry,
            Insertion(entry, b"", descriptor, body.offset, file.is_new),
        )
        return entry

    def drop(self, body: GrowingBody, file: BodyFile) -> None:
        """See Keeper: to free a long file takes a disk a while."""
        self._room.put_back(body.size, is_kept=False)
        self._room.written += body.size
        descriptor, folder = os.dup(body.descriptor), self._folder

        def unlink() -> None:
            try:
                if file.is_new:
                    folder.unlink_growing(file.id)
            finally:
                folder.let_go(descriptor)

        self._in_thread(unlink).addErrback(lambda failure: failure.trap(OSError))


def _write_out(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError:
        pass  # whoever reads it hears of it, and the next write
    finally:
        os.close(descriptor)
