"""Tells the processes that share an index which keys another one has changed.

What a process remembers of a key, be it that there is nothing, is right as long as the token of the
key's slot is the same; whoever changes or adds rows gives the slot another one. It's a page of
shared memory, and who remembers the slot too looks at it in 30 ns, where SQLite would have to be
asked.
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


def slot_of(key: bytes) -> int:
    """Return the number of the slot of *key*."""
    return crc32(key) & _MASK


def shared_slots(path: str) -> mmap.mmap:
    """Return the memory behind the file at *path*, a word for each slot; raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, SLOTS * _WIDTH)
        return mmap.mmap(descriptor, SLOTS * _WIDTH)
    finally:
        os.close(descriptor)


class Tokens:
    """The tokens by *slots*, in the file at *path*; raises OSError."""

    def __init__(self, path: str) -> None:
        self._map = shared_slots(path)
        self.slots = memoryview(self._map).cast("Q")

    def renew(self, keys: Iterable[bytes]) -> None:
        """The rows of *keys* are others now; call it when everybody can see that."""
        for slot in set(map(slot_of, keys)):
            # At random: two processes that count could come to the same number.
            self.slots[slot] = secrets.randbits(64)

    def renew_all(self) -> None:
        """All rows may be others now."""
        self._map[:] = secrets.token_bytes(SLOTS * _WIDTH)

    def close(self) -> None:
        """Let go of the memory."""
        self.slots.release()
        self._map.close()
