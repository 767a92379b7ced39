"""What clients have used of their quotas, on disk: SQLite in [proxyapp] state_dir.

Everything here blocks, and runs in a thread once the reactor does. Amounts are added to what is
there, so several processes may keep one ledger.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

FILE = "usage.sqlite3"
# How long another process may hold the file, in seconds.
_PATIENCE = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    rule TEXT NOT NULL,
    who TEXT NOT NULL,
    period TEXT NOT NULL,
    begins TEXT NOT NULL,
    ends REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (rule, who, period, begins)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET used = used + excluded.used RETURNING used
"""
# The greatest first: if not all can be kept in mind, those matter most.
_CURRENT = """
SELECT rule, who, period, begins, ends, used FROM usage WHERE ends > ?
ORDER BY used DESC LIMIT ?
"""

_FORGET = "DELETE FROM usage WHERE ends <= ?"

_log = Logger()


class LedgerError(Exception):
    """The ledger can't be kept; the message is for the admin."""


class Key(NamedTuple):
    """What an amount is of: a rule, a client, and the period; *ends* is in seconds since 1970."""

    rule: str
    who: str
    period: str
    begins: str
    ends: float


class Ledger:
    """The file, open."""

    def __init__(self, folder: Path) -> None:
        """Open the file in *folder*, or make it; a broken one is put aside. Raises LedgerError."""
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Who visits what, and how much, is nobody else's business.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._connection = _open_or_renew(path)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(
                f"{path} can't be written; quotas need it, so give us a [proxyapp] state_dir"
            ) from error

    def load(self, now: float, most: int) -> list[tuple[Key, int]]:
        """Forget the periods that were over at *now*; return what was used in the current ones.

        The *most* that were used the most. Raises LedgerError.
        """
        try:
            with self._connection:
                self._connection.execute(_FORGET, (now,))
            rows = self._connection.execute(_CURRENT, (now, most)).fetchall()
        except sqlite3.Error as error:
            raise LedgerError("what was used of quotas can't be read") from error
        return [(Key(*row[:5]), row[5]) for row in rows]

    def add(self, amounts: Sequence[tuple[Key, int]], now: float) -> list[int]:
        """Add all *amounts*, or none; return what each has come to. Raises sqlite3.Error."""
        connection = self._connection
        with connection:
            connection.execute(_FORGET, (now,))
            # All rows are fetched: a statement that isn't at its end would hold up the commit.
            return [
                int(connection.execute(_ADD, (*key, amount)).fetchall()[0][0])
                for key, amount in amounts
            ]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _open_or_renew(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise  # the file may be sound
    except sqlite3.DatabaseError:
        aside = path.with_suffix(".broken")
        os.replace(path, aside)
        for rest in (f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(rest)
        _log.error("what was used of quotas can't be read; begun anew, {aside} kept", aside=aside)
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    # One thread at a time uses it, and not always the same one.
    connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last seconds, never the file (sqlite.org/pragma.html).
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute(_SCHEMA)
        connection.execute("SELECT count(*) FROM usage").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
