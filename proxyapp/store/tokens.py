"""Tells the processes that share an index which keys another one has changed.

What a process remembers of a key is as good as the token of the key's slot is the same; whoever
changes rows that others may remember gives the slot another one. It's a page of shared memory: a
look at it costs a tenth of a microsecond, where SQLite would have to be asked.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterable
from zlib import crc32

# Keys that share a slot forget each other's rows at worst, not their contents.
SLOTS = 4096
_WIDTH = 8
_MASK = SLOTS - 1


class Tokens:
    """The slots, in the file at *path*; raises OSError."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * _WIDTH)
            self._map = mmap.mmap(descriptor, SLOTS * _WIDTH)
        finally:
            os.close(descriptor)
        self._slots = memoryview(self._map).cast("Q")

    def of(self, key: bytes) -> int:
        """Return the token of *key*."""
        return self._slots[crc32(key) & _MASK]

    def renew(self, keys: Iterable[bytes]) -> None:
        """The rows of *keys* are others now; call it when everybody can see that."""
        for slot in {crc32(key) & _MASK for key in keys}:
            # At random: two processes that count could come to the same number.
            self._slots[slot] = secrets.randbits(64)

    def renew_all(self) -> None:
        """All rows may be others now."""
        for slot in range(SLOTS):
            self._slots[slot] = secrets.randbits(64)

    def close(self) -> None:
        """Let go of the memory."""
        self._slots.release()
        self._map.close()
