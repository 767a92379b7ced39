"""What the writing thread does: bodies get their names, rows are written, older bodies go.

The order makes a kill harmless at any instant: a file is complete before there is a row of it, and
gone before its row is, unless another row has replaced it. So what is left behind is a file that
is newer than its key's row, and gets one; or one that is older, and goes; or a row without a file.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.entry import Entry, Extents
from proxyapp.store.folder import BodyFolder, let_go, mark
from proxyapp.store.index import Index, Row
from proxyapp.store.room import room_of
from proxyapp.wire.headers import Fields

_TAG_FIELDS = (b"cache-tag", b"surrogate-key", b"xkey")
_MOST_TAGS = 64
# About what a row of the index makes the disk write beside the file's blocks; measured on ext4,
# sixteen to a batch.
ROW_COST = 1024


def tags_of(fields: Fields) -> list[bytes]:
    """Return the tags that the origin gave to a response, in any of the usual fields."""
    values = [fields.combined[name] for name in _TAG_FIELDS if name in fields.combined]
    return b",".join(values).replace(b",", b" ").split()[:_MOST_TAGS] if values else []


def row_of(entry: Entry, offset: int, used: float) -> Row:
    """Return the row of *entry*, whose content begins at *offset* of its file."""
    stored = entry.stored
    span = entry.extents[-1][1] if entry.extents else 0
    whole: Extents = ((0, entry.size),) if entry.size else ()
    extents = b"" if entry.extents == whole else bodyhead.pack_extents(entry.extents)
    return Row(
        id=entry.id,
        key=entry.key,
        varying=bodyhead.encode_varying(stored),
        head=bodyhead.encode(stored),
        size=entry.size,
        room=room_of(offset, span),
        extents=extents,
        invalid=stored.is_invalid,
        pinned=entry.is_pinned,
        used=used,
        hits=0,
    )


@dataclass(slots=True)
class Books:
    """What a batch changes; filled while it does.

    *changed* are keys whose rows others may remember, or that there are none; *superseded* bodies
    that may go after the commit, *written* bytes.
    """

    folder: BodyFolder
    index: Index
    now: float
    changed: list[bytes] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    written: int = 0


class Change(Protocol):
    """One change; all methods run in the thread, each again if a batch is tried again."""

    @property
    def key(self) -> bytes:
        """The key whose entries change."""

    def prepare(self, books: Books) -> None:
        """Do what goes before the rows; raises OSError, and then the change is void."""

    def record(self, books: Books) -> None:
        """Change rows, inside a transaction that may be repeated; raises sqlite3.Error."""

    def end(self, books: Books) -> None:
        """All rows are written; never raises."""

    def undo(self, books: Books) -> None:
        """It couldn't be written; never raises."""


@dataclass(slots=True)
class Insertion:
    """A new entry, or more of a part.

    *descriptor* is that of its growing body, locked and ours to close; without one *content* is
    written. Where it *is_new* its file has no name of its own yet.
    """

    entry: Entry
    content: bytes = b""
    descriptor: int = -1
    offset: int = 0
    is_new: bool = True
    _is_settled: bool = False
    _is_continued: bool = False
    _ending: Lock = field(default_factory=Lock)

    @property
    def key(self) -> bytes:
        """See Change."""
        return self.entry.key

    @property
    def stored(self) -> Stored:
        """The head that is written."""
        return self.entry.stored

    def hand_on(self) -> int:
        """Return a descriptor for whoever goes on with the body at once; -1 if it's over.

        The lock of the file is handed on with it.
        """
        with self._ending:
            if self.descriptor < 0:
                return -1
            self._is_continued = True
            return os.dup(self.descriptor)

    def prepare(self, books: Books) -> None:
        """See Change."""
        if self.descriptor < 0:
            self._write(books)
        if self.is_new and not self._is_settled:
            books.folder.settle(self.entry.id)
            self._is_settled = True

    def _write(self, books: Books) -> None:
        entry, content = self.entry, self.content
        encoded = bodyhead.encode(entry.stored)
        grown = bodyhead.progress(entry.size, entry.extents, zlib.crc32(content), entry.is_pinned)
        head = bodyhead.pack(entry.key, encoded, grown)
        self.offset = len(head)
        self.descriptor = books.folder.create(entry.id)
        size = os.writev(self.descriptor, (head, content))
        if size != len(head) + len(content):  # the disk says why at the next try
            os.pwrite(self.descriptor, (head + content)[size:], size)
        books.written += room_of(self.offset, entry.size)

    def record(self, books: Books) -> None:
        """See Change."""
        entry = self.entry
        row = row_of(entry, self.offset, books.now)
        books.superseded += books.index.insert(row, tags_of(entry.stored.fields))
        books.changed.append(entry.key)
        books.written += ROW_COST

    def end(self, books: Books) -> None:
        """See Change: others may go on with the body, or see that nobody does."""
        with self._ending, contextlib.suppress(OSError):
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0 and self._is_continued:
                os.close(descriptor)
            elif descriptor >= 0:
                let_go(descriptor)

    def undo(self, books: Books) -> None:
        """See Change."""
        if self.is_new:
            with contextlib.suppress(OSError):
                books.folder.unlink_growing(self.entry.id)
                books.folder.unlink(self.entry.id)
        self.end(books)


@dataclass(slots=True)
class Revision:
    """Another head for an entry."""

    key: bytes
    id: int
    stored: Stored

    def prepare(self, books: Books) -> None:
        """See Change."""

    def record(self, books: Books) -> None:
        """See Change."""
        books.index.revise(self.id, bodyhead.encode(self.stored), self.stored.is_invalid)
        books.changed.append(self.key)
        books.written += ROW_COST

    def end(self, books: Books) -> None:
        """See Change."""

    def undo(self, books: Books) -> None:
        """See Change."""


@dataclass(slots=True)
class Invalidation:
    """All entries of *key* must be validated."""

    key: bytes
    _marked: list[int] = field(default_factory=list)

    def prepare(self, books: Books) -> None:
        """See Change."""

    def record(self, books: Books) -> None:
        """See Change."""
        self._marked = books.index.invalidate(self.key)
        if self._marked:
            books.changed.append(self.key)
            books.written += ROW_COST

    def end(self, books: Books) -> None:
        """See Change: the files say it too, should the index be lost."""
        for number in self._marked:
            with contextlib.suppress(OSError):
                mark(books.folder, number, bodyhead.INVALID_AT, b"\x01")

    def undo(self, books: Books) -> None:
        """See Change."""


@dataclass(slots=True)
class Removal:
    """An entry goes."""

    key: bytes
    id: int

    def prepare(self, books: Books) -> None:
        """See Change."""
        books.folder.unlink(self.id)

    def record(self, books: Books) -> None:
        """See Change."""
        books.index.delete([self.id])
        books.changed.append(self.key)
        books.written += ROW_COST

    def end(self, books: Books) -> None:
        """See Change."""

    def undo(self, books: Books) -> None:
        """See Change."""
