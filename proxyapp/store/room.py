"""How much more the disk takes: by the limit that was set, and by what it says itself."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable

from twisted.logger import Logger

# A sweep needs a moment, and what grows meanwhile may go beyond the limit by this part of it.
_SLACK = 16
_LEAST_SLACK = 16 * 1024 * 1024
# After the disk was full or failed nothing is tried for so many seconds.
RETRY_DELAY = 60.0
# Of a file, blocks are taken; and an index takes something for each row.
_BLOCK = 4096
_ROW = 1024

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

_log = Logger()


def room_of(offset: int, size: int) -> int:
    """Return what a body of *size* bytes behind *offset* takes of the disk."""
    return -(-(offset + size) // _BLOCK) * _BLOCK + _ROW


class Room:
    """The room on a disk, or in memory, that has *limit* bytes for us; may be used by any thread.

    *on_crowded* is called, in the reactor's thread, when the limit is reached. *seconds* is the
    time of day.
    """

    def __init__(
        self, limit: int, seconds: Callable[[], float], on_crowded: Callable[[], None]
    ) -> None:
        self.limit = limit
        self.used = 0
        self.growing = 0
        self.written = 0  # since the last `take_written`
        self._hard_limit = limit + max(limit // _SLACK, _LEAST_SLACK)
        self._seconds = seconds
        self._on_crowded = on_crowded
        self._retry_at = 0.0
        self._is_failing = False

    def __repr__(self) -> str:
        state = ", failing" if self._is_failing else ""
        return f"<Room {self.used} of {self.limit} bytes{state}>"

    @property
    def is_failing(self) -> bool:
        """Has the disk failed, and not worked since?"""
        return self._is_failing

    @property
    def is_usable(self) -> bool:
        """May something be written now?"""
        return not self._is_failing or self._seconds() >= self._retry_at

    def has(self, amount: int) -> bool:
        """Could *amount* bytes more be stored, once older things have gone?"""
        return amount <= self.limit - self.growing and self.is_usable

    def take(self, amount: int) -> bool:
        """Take *amount* bytes for a growing body; False if that is too much."""
        used = self.used + amount
        if used > self.limit:
            self._on_crowded()
            if used > self._hard_limit:
                return False
        self.used = used
        self.growing += amount
        return True

    def put_back(self, amount: int, is_kept: bool) -> None:
        """A body that has grown by *amount* bytes does so no longer; is it kept?"""
        self.growing -= amount
        if not is_kept:
            self.used = max(0, self.used - amount)

    def measured(self, used: int) -> None:
        """So much is taken, as the disk says."""
        self.used = used

    # What the disk says.

    def failed(self, error: OSError | sqlite3.Error) -> None:
        """The disk is full, or fails: said once, until it has worked again."""
        self._retry_at = self._seconds() + RETRY_DELAY
        if self._is_failing:
            return
        self._is_failing = True
        why = "is full" if _is_full(error) else "fails"
        _log.error(
            "the cache's disk {why}: serving goes on, and nothing new is stored; tried again every"
            " {delay:.0f} s",
            why=why,
            delay=RETRY_DELAY,
        )

    def worked(self, amount: int) -> None:
        """*amount* bytes were written."""
        self.written += amount
        if self._is_failing:
            self._is_failing = False
            _log.info("the cache's disk works again")

    def take_written(self) -> int:
        """Return what was written since the last time."""
        amount, self.written = self.written, 0
        return amount


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
