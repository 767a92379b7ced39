"""Memory that the master and its workers share: counts, and small values that are soon forgotten.

Nobody takes a lock. Each process has rows of counts that it alone writes, and reads the others'; a
value that two processes write at the same moment is what one of them wrote. Keys are known by their
hashes only: two that have the same one count together, which is rare and makes a limit stricter.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Protocol
from zlib import crc32

# Processes that may count at a time; one more counts by itself.
ROWS = 256
# Counts in a row, one for all keys together first. Pages that nobody writes to take no memory.
_COLUMNS = 16384
_COUNT_SIZE = 4
_ROW_SIZE = _COLUMNS * _COUNT_SIZE
# A value: the hash of its key, two numbers, and until when it counts.
_CELL = struct.Struct("=Qddd")
_CELLS = 16384
# How many places a key may have.
_PROBES = 8

_TABLES = 2
_HEADER_SIZE = mmap.PAGESIZE
_CELLS_BEGIN = _HEADER_SIZE + _TABLES * ROWS * _ROW_SIZE
_SIZE = _CELLS_BEGIN + _CELLS * _CELL.size


class Elsewhere(Protocol):
    """What other processes count, as far as we know."""

    def add(self, key: str, change: int) -> None:
        """Count *key*, once more or, with -1, once less."""

    def of(self, key: str) -> int:
        """Return how often the others have counted *key*."""

    def total(self) -> int:
        """Return how often the others have counted anything."""


class Nowhere:
    """See Elsewhere: there are no others."""

    def add(self, key: str, change: int) -> None:
        """See Elsewhere."""

    def of(self, key: str) -> int:
        """See Elsewhere."""
        return 0

    def total(self) -> int:
        """See Elsewhere."""
        return 0


NOWHERE = Nowhere()


class SharedMemory:
    """The memory behind *descriptor*, which stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._counts = memoryview(self._memory)[:_CELLS_BEGIN].cast("I")
        self._first = _HEADER_SIZE // _COUNT_SIZE

    def __repr__(self) -> str:
        return f"<SharedMemory of {self.rows} rows>"

    @property
    def rows(self) -> int:
        """How many rows are looked at."""
        return self._counts[0]

    def counts(self, table: int, row: int) -> SharedCounts:
        """Return the counts of one *row* of a *table*; row ROWS is nobody's, and not looked at."""
        return SharedCounts(self._counts, self._first + table * ROWS * _COLUMNS, row)

    def cells(self) -> SharedCells:
        """Return the small values."""
        return SharedCells(self._memory)

    def begin_row(self, row: int) -> None:
        """Let *row* be looked at, with nothing in it."""
        for table in range(_TABLES):
            begin = _HEADER_SIZE + (table * ROWS + row) * _ROW_SIZE
            self._memory[begin : begin + _ROW_SIZE] = bytes(_ROW_SIZE)
        self._counts[0] = max(self.rows, row + 1)

    def close(self) -> None:
        """Let go of the memory, of which nobody may have a part any more."""
        self._counts.release()
        self._memory.close()


def make_memory() -> SharedMemory:
    """Return new memory; its descriptor is for the caller to close."""
    descriptor = os.memfd_create("proxyapp", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _SIZE)
    return SharedMemory(descriptor)


class Rows:
    """Which rows of *memory* are whose; for the master, who alone gives them out."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._taken: set[int] = set()

    def __repr__(self) -> str:
        return f"<Rows {sorted(self._taken)}>"

    def take(self) -> int:
        """Return an empty row; ROWS if there is none."""
        row = next((each for each in range(ROWS) if each not in self._taken), ROWS)
        if row < ROWS:
            self._taken.add(row)
            self._memory.begin_row(row)
        return row

    def give_back(self, row: int) -> None:
        """Whoever had *row* is gone, and counts no more."""
        if row in self._taken:
            self._taken.discard(row)
            self._memory.begin_row(row)


class SharedCounts:
    """How often each key was counted, by us in our *row* and by all other processes in theirs."""

    def __init__(self, counts: memoryview[int], begin: int, row: int) -> None:
        self._counts = counts
        self._begin = begin
        self._row = row
        self._own = begin + row * _COLUMNS if row < ROWS else None

    def __repr__(self) -> str:
        return f"<SharedCounts row {self._row}, {self.total()} elsewhere>"

    def add(self, key: str, change: int) -> None:
        """Count *key*, once more or, with -1, once less."""
        if self._own is not None:
            self._counts[self._own] += change
            self._counts[self._own + _column(key)] += change

    def of(self, key: str) -> int:
        """Return how often the others have counted *key*."""
        return self._others(_column(key)) if self._counts[0] > 1 else 0

    def total(self) -> int:
        """Return how often the others have counted anything."""
        return self._others(0) if self._counts[0] > 1 else 0

    def _others(self, column: int) -> int:
        return sum(self._counts[begin + column] for begin in self._rows())

    def _rows(self) -> Iterator[int]:
        for row in range(self._counts[0]):
            if row != self._row:
                yield self._begin + row * _COLUMNS


def _column(key: str) -> int:
    return 1 + crc32(key.encode("utf-8", "surrogatepass")) % (_COLUMNS - 1)


class SharedCells:
    """Pairs of numbers by key, each until a time of a clock that all processes share."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def get(self, key: str, now: float) -> tuple[float, float] | None:
        """Return what *key* stands for *now*; None if for nothing, or for nothing any more."""
        tag = _tag(key)
        for place in _places(tag):
            found, first, second, until = _CELL.unpack_from(self._memory, place)
            if found == tag:
                return (first, second) if until > now else None
        return None

    def put(self, key: str, first: float, second: float, until: float, now: float) -> bool:
        """Let *key* stand for two numbers; False where there is no room."""
        tag = _tag(key)
        free = None
        for place in _places(tag):
            found, _, _, ends = _CELL.unpack_from(self._memory, place)
            if found == tag:
                free = place
                break
            if free is None and ends <= now:
                free = place
        if free is None:
            return False
        _CELL.pack_into(self._memory, free, tag, first, second, until)
        return True


def _tag(key: str) -> int:
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1  # 0 is nobody's


def _places(tag: int) -> Iterator[int]:
    for step in range(_PROBES):
        yield _CELLS_BEGIN + (tag + step) % _CELLS * _CELL.size
