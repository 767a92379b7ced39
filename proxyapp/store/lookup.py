"""Looks into the index, by a connection that can't write: never waits, and never for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from proxyapp.store import bodyhead
from proxyapp.store.bodyhead import Damaged
from proxyapp.store.entry import Entry

# Rows that are read at once when many are asked for: less than a millisecond.
PAGE = 100
_COLUMNS = "id, key, head, size, extents, invalid, pinned"
_OF_KEY = f"SELECT {_COLUMNS} FROM entry WHERE key = ? ORDER BY id LIMIT 64"
_BY_KEY = (
    f"SELECT {_COLUMNS} FROM entry WHERE key >= ?1 AND key < ?2 AND (key, id) > (?3, ?4)"
    f" ORDER BY key, id LIMIT {PAGE}"
)
_BY_TAG = (
    f"SELECT {_COLUMNS} FROM entry JOIN tag USING (id) WHERE tag = ?1 AND tag.id > ?2"
    f" ORDER BY tag.id LIMIT {PAGE}"
)
# Behind every key that is a URL.
_LAST = b"\xff"


def open_to_read(path: str) -> sqlite3.Connection:
    """Open the index at *path*, which is there; raises sqlite3.Error."""
    return sqlite3.connect(
        f"file:{path}?mode=ro", uri=True, timeout=0, check_same_thread=False, isolation_level=None
    )


class Lookup:
    """Reads by *connection*; raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.close = connection.close

    def find(self, key: bytes) -> tuple[Entry, ...]:
        """Return the entries of *key*; a damaged row isn't one."""
        rows = self._execute(_OF_KEY, (key,)).fetchall()
        return tuple(_entries(rows)) if rows else ()

    def all_of(self, prefix: bytes, tag: bytes) -> Iterator[Entry]:
        """Yield the entries whose keys begin with *prefix*, of *tag* if that isn't empty."""
        for page in self._by_tag(tag) if tag else self._by_key(prefix):
            for entry in page:
                if entry.key.startswith(prefix):
                    yield entry

    def _by_key(self, prefix: bytes) -> Iterator[list[Entry]]:
        key, number = b"", 0
        while rows := self._execute(_BY_KEY, (prefix, prefix + _LAST, key, number)).fetchall():
            number, key = rows[-1][:2]
            yield list(_entries(rows))

    def _by_tag(self, tag: bytes) -> Iterator[list[Entry]]:
        number = 0
        while rows := self._execute(_BY_TAG, (tag, number)).fetchall():
            number = rows[-1][0]
            yield list(_entries(rows))


def _entries(rows: list[tuple[int, bytes, bytes, int, bytes, int, int]]) -> Iterator[Entry]:
    for number, key, head, size, extents, invalid, pinned in rows:
        try:
            stored = bodyhead.decode(head, bool(invalid))
            ranges = bodyhead.unpack_extents(extents) if extents else ((0, size),) if size else ()
        except Damaged:
            continue
        yield Entry(key, number, stored, size, ranges, None, bool(pinned))
