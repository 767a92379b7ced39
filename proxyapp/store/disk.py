"""The store's folder as the writing thread has it: files and index, changed together."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twisted.logger import Logger

from proxyapp.store import index, lookup
from proxyapp.store.changes import Books, Change
from proxyapp.store.folder import BodyFolder
from proxyapp.store.index import Index, Marks
from proxyapp.store.lookup import Lookup
from proxyapp.store.tokens import Tokens

_TOKENS = "tokens"
# A mark: did the last process that wrote stop in an orderly way?
STATE = "state"
OPEN = "open"
STOPPED = "stopped"
_INDEX = re.compile(r"index\.([0-9]+)\.sqlite3")
_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))

_log = Logger()


def is_damage(error: sqlite3.Error) -> bool:
    """Does *error* say that the index is broken?"""
    return _code(error) in _DAMAGED or type(error) is sqlite3.DatabaseError


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@dataclass(slots=True)
class Written:
    """What became of a batch: *is_busy* where another process writes, and it has to come again.

    Where *is_renewed* the index is another one, and those who read it have to open that.
    """

    failed: list[Change] = field(default_factory=list)
    error: OSError | sqlite3.Error | None = None
    is_busy: bool = False
    is_renewed: bool = False
    amount: int = 0


class Disk:
    """Files and index below *root*; one thread at a time uses it. *seconds* is the time of day.

    A broken index is never renamed, as other processes may have it open: a new one has the next
    number, and everybody goes over to that.
    """

    def __init__(self, root: Path, seconds: Callable[[], float]) -> None:
        """Open it; the index is made where there is none, or none that can be read.

        Raises OSError and sqlite3.Error.
        """
        self.folder = BodyFolder(root, seconds)
        self.folder.prepare()
        self.seconds = seconds
        self.tokens = Tokens(self.folder.path(_TOKENS))
        try:
            with self.folder.alone():
                self._open(self._number() or 1)
        except BaseException:
            self.tokens.close()
            raise
        # Whoever was killed may have changed rows, and not said so any more.
        self.tokens.renew_all()

    def __repr__(self) -> str:
        return f"<Disk {self.path}>"

    @property
    def path(self) -> str:
        """Where the index is."""
        return self.folder.path(f"index.{self.number}.sqlite3")

    def _number(self) -> int:
        """Return the number of the index in use, 0 where there is none."""
        names = map(_INDEX.fullmatch, os.listdir(self.folder.path("")))
        return max((int(found[1]) for found in names if found is not None), default=0)

    def _open(self, number: int) -> None:
        """Open the index with this *number*, or make the next; the lock is held."""
        for self.number in (number, number + 1):
            is_new = not os.path.exists(self.path)
            if is_new:
                for rest in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path + rest)
            try:
                self._connection = index.make(self.path)
                break
            except sqlite3.Error as error:
                if not is_damage(error) or self.number > number:
                    raise
                _log.error("{path} is damaged; it's made anew from the files", path=self.path)
        self.is_made_anew = is_new
        self.index = Index(self._connection)
        self.marks = Marks(self._connection)

    def renew(self) -> None:
        """The index turned out to be broken: make another, or take the one that others made."""
        with self.folder.alone():
            self._connection.close()
            number = self._number()
            if number == self.number:
                _log.error("{path} is damaged; it's made anew from the files", path=self.path)
                number += 1
            self._open(number)

    def reader(self) -> Lookup:
        """Return what looks into the index."""
        return Lookup(lookup.open_to_read(self.path))

    def own_lookup(self) -> Lookup:
        """Return what looks into it in this thread; not to be closed."""
        return Lookup(self._connection)

    def is_replaced(self) -> bool:
        """Has another process made a new index?"""
        return os.path.exists(self.folder.path(f"index.{self.number + 1}.sqlite3"))

    def is_renewed(self) -> bool:
        """Make another index where this one is inconsistent: all of it is read."""
        is_sound = not self.is_replaced() and index.is_sound(self.path)
        if not is_sound:
            self.renew()
        return not is_sound

    def close(self) -> None:
        """Close it."""
        self._connection.close()
        self.tokens.close()

    # Changes.

    def write(self, changes: Sequence[Change], is_last_try: bool = True) -> Written:
        """Carry out *changes*: rows all or none, files as far as the disk takes them."""
        written = Written()
        if self.is_replaced():
            self.renew()
            written.is_renewed = True
        try:
            self._write(changes, written)
        except sqlite3.Error as error:
            if _code(error) in _BUSY and not is_last_try:
                written.is_busy = True
            elif is_damage(error) and not is_last_try:
                self.renew()
                written.is_renewed = written.is_busy = True
            else:
                written.error, written.failed = written.error or error, list(changes)
        if written.failed:
            books = self.books()
            for change in written.failed:
                change.undo(books)
        return written

    def books(self) -> Books:
        """Return what changes are written in."""
        return Books(self.folder, self.index, self.seconds())

    def _write(self, changes: Sequence[Change], written: Written) -> None:
        books = self.books()
        with self.folder.shared():
            ready = [change for change in changes if _prepare(change, books, written)]
            files = books.written
            if not ready:
                return
            with self.index.transaction():
                for change in ready:
                    change.record(books)
                self.marks.set(STATE, OPEN)
            # First: who remembers other rows would look for bodies that go now.
            self.tokens.renew(books.changed)
            for change in ready:
                change.end(books)
            for number in books.superseded:
                with contextlib.suppress(OSError):
                    self.folder.unlink(number)
        written.amount = max(files, books.written)

    def remove(self, entries: Sequence[tuple[int, bytes]], is_said: bool) -> None:
        """Remove bodies and rows, given by id and key; *is_said* to those who remember them."""
        with self.folder.shared():
            for number, _ in entries:
                self.folder.unlink(number)
            with self.index.transaction():
                self.index.delete([number for number, _ in entries])
        if is_said:
            self.tokens.renew(key for _, key in entries)


def _prepare(change: Change, books: Books, written: Written) -> bool:
    try:
        change.prepare(books)
    except OSError as error:
        written.error = error
        written.failed.append(change)
        return False
    return True


def today(seconds: float) -> str:
    """Return the local day of *seconds* since the epoch."""
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
