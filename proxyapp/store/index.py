"""The index of the bodies in a folder: SQLite, written by a thread of each process.

In WAL mode a process that is killed costs nothing that was committed, and readers never wait for a
writer. With synchronous = NORMAL a power cut may cost the last rows, but not the file; nothing is
flushed but at a checkpoint, once in a thousand pages, and that in the writing thread too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

# How long the writing thread waits for that of another process, in seconds.
_PATIENCE = 2.0
VERSION = 1
_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    varying BLOB NOT NULL,
    head BLOB NOT NULL,
    size INTEGER NOT NULL,
    room INTEGER NOT NULL,
    extents BLOB NOT NULL,
    invalid INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    used REAL NOT NULL,
    hits INTEGER NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS entry_key ON entry (key)",
    # These two have all that sizes are added up from: the rows themselves aren't read for it.
    "CREATE INDEX IF NOT EXISTS entry_used ON entry (used, room, pinned) WHERE NOT pinned",
    "CREATE INDEX IF NOT EXISTS entry_pinned ON entry (room, pinned) WHERE pinned",
    "CREATE TABLE IF NOT EXISTS tag (tag BLOB, id INTEGER, PRIMARY KEY (tag, id)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS day (day TEXT PRIMARY KEY, written INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


class Row(NamedTuple):
    """A row as it is written; *varying* and *head* as bodyhead encodes them.

    *room* is what its file takes of the disk; *used* is when it was used last, and *hits* how
    often, as far as that was written down.
    """

    id: int
    key: bytes
    varying: bytes
    head: bytes
    size: int
    room: int
    extents: bytes
    invalid: bool
    pinned: bool
    used: float
    hits: int


class Candidate(NamedTuple):
    """What eviction has to know of a row."""

    id: int
    key: bytes
    room: int
    hits: int


def make(path: str) -> sqlite3.Connection:
    """Open the index at *path* for the writing thread, or make it; raises sqlite3.Error, OSError.

    One that is of another version is a sqlite3.DatabaseError, as a broken one is.
    """
    # What people read is nobody else's business.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=_PATIENCE, check_same_thread=False, isolation_level=None
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError("an index of another version")
        if not version:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("SELECT id FROM entry LIMIT 1").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_sound(path: str) -> bool:
    """Read the whole index at *path*: is it consistent? It takes as long as the disk needs."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
        except sqlite3.OperationalError:
            return True  # busy, or the disk fails: that's not what is asked
        except sqlite3.DatabaseError:
            return False


class Index:
    """Writes to the index by *connection*, in one thread at a time; raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self.close = connection.close

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all of it or nothing."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._execute("ROLLBACK")
            raise
        try:
            self._execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._execute("ROLLBACK")
            raise

    def insert(self, row: Row, tags: Iterable[bytes]) -> list[int]:
        """Write *row* in place of those with the same key and *varying*; a pin goes over to it.

        Returns the ids of those that it replaced.
        """
        old = self._execute(
            "SELECT id, pinned FROM entry WHERE key = ? AND varying = ?", (row.key, row.varying)
        ).fetchall()
        pinned = row.pinned or any(pinned for _, pinned in old)
        replaced = [number for number, _ in old if number != row.id]
        self.delete(replaced)
        marks = ", ".join("?" * len(row))
        self._execute(f"INSERT OR REPLACE INTO entry VALUES ({marks})", row._replace(pinned=pinned))
        self._connection.executemany(
            "INSERT OR IGNORE INTO tag VALUES (?, ?)", [(tag, row.id) for tag in tags]
        )
        return replaced

    def revise(self, number: int, head: bytes, is_invalid: bool) -> None:
        """Give a row another head."""
        self._execute(
            "UPDATE entry SET head = ?, invalid = ? WHERE id = ?", (head, is_invalid, number)
        )

    def invalidate(self, key: bytes) -> list[int]:
        """Mark the rows of *key*; return their ids."""
        found = self._execute("UPDATE entry SET invalid = 1 WHERE key = ? RETURNING id", (key,))
        return [number for (number,) in found.fetchall()]

    def pin(self, key: bytes, is_pinned: bool) -> list[int]:
        """Mark the rows of *key*, or take the mark off; return their ids."""
        found = self._execute(
            "UPDATE entry SET pinned = ? WHERE key = ? RETURNING id", (is_pinned, key)
        )
        return [number for (number,) in found.fetchall()]

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows; their tags go later."""
        self._connection.executemany(
            "DELETE FROM entry WHERE id = ?", [(number,) for number in numbers]
        )

    def note_uses(self, uses: Iterable[tuple[int, int, float]]) -> None:
        """Add hits to rows: id, how many, when last."""
        self._connection.executemany(
            "UPDATE entry SET hits = hits + ?2, used = max(used, ?3) WHERE id = ?1", uses
        )

    def second_chance(self, numbers: Iterable[int], now: float) -> None:
        """Half the hits of rows count as one now."""
        self._connection.executemany(
            "UPDATE entry SET hits = hits / 2, used = ?2 WHERE id = ?1",
            [(number, now) for number in numbers],
        )

    # Looking, in the same thread.

    def totals(self) -> tuple[int, int]:
        """Return how many rows there are, and how much room they take."""
        count = room = 0
        for which in ("NOT pinned", "pinned"):
            statement = f"SELECT count(*), total(room) FROM entry WHERE {which}"
            more, taken = self._execute(statement).fetchone()
            count, room = count + more, room + int(taken)
        return count, room

    def oldest(self, most: int) -> list[Candidate]:
        """Return the rows that weren't used for longest, pinned ones apart."""
        rows = self._execute(
            "SELECT id, key, room, hits FROM entry WHERE NOT pinned ORDER BY used LIMIT ?", (most,)
        )
        return [Candidate(*row) for row in rows.fetchall()]

    def ids(self) -> set[int]:
        """Return the ids of all rows."""
        return {number for (number,) in self._execute("SELECT id FROM entry")}

    def has(self, number: int) -> bool:
        """Is there a row with this id?"""
        found = self._execute("SELECT 1 FROM entry WHERE id = ?", (number,))
        return bool(found.fetchall())

    def heads(self, key: bytes, varying: bytes) -> list[bytes]:
        """Return the heads of the rows of *key* and *varying*."""
        found = self._execute(
            "SELECT head FROM entry WHERE key = ? AND varying = ?", (key, varying)
        )
        return [head for (head,) in found.fetchall()]


class Marks:
    """What the index knows of itself: the bytes of each day, and words by name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def get(self, name: str) -> str:
        """Return the word called *name*, empty if there is none."""
        found = self._execute("SELECT value FROM mark WHERE name = ?", (name,)).fetchall()
        return str(found[0][0]) if found else ""

    def set(self, name: str, value: str) -> None:
        """Write the word called *name*, unless it's there."""
        self._execute(
            "INSERT INTO mark VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2"
            " WHERE value <> ?2",
            (name, value),
        )

    def add_written(self, day: str, amount: int) -> None:
        """Add what was written on *day*."""
        self._execute(
            "INSERT INTO day VALUES (?1, ?2) ON CONFLICT DO UPDATE SET written = written + ?2",
            (day, amount),
        )

    def take_days(self, day: str) -> list[tuple[str, int]]:
        """Return what was written on the days before *day*; only one process hears of each."""
        over = self._execute("DELETE FROM day WHERE day < ? RETURNING day, written", (day,))
        return [(str(past), int(written)) for past, written in over.fetchall()]

    def written(self, day: str) -> int:
        """Return what all processes have written on *day*."""
        found = self._execute("SELECT written FROM day WHERE day = ?", (day,)).fetchall()
        return int(found[0][0]) if found else 0

    def forget_tags(self) -> None:
        """Delete the tags of rows that are gone."""
        self._execute("DELETE FROM tag WHERE id NOT IN (SELECT id FROM entry)")
