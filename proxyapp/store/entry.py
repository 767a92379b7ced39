"""One stored response: its head, and what is there of its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from proxyapp.rules.caching.stored import Stored

# Half-open ranges of a content, in order, that don't touch each other.
Extents: TypeAlias = tuple[tuple[int, int], ...]

# Of one content; a client that asks for single blocks all over a file can't make more of them.
MOST_EXTENTS = 16


class StoreFull(Exception):
    """There is no room for this body: the disk is full or fails, or the body is too long."""


class EntryGone(Exception):
    """The entry was evicted, purged or damaged since it was looked up: treat it as a miss."""


@dataclass(slots=True)
class Entry:
    """A stored response under *key*; *id* names its body, and never means another content.

    *size* is how many bytes of content are there, *extents* which ones. *content* is all of it,
    where it is in memory. The store makes a new entry where something changes; nobody else writes
    to one.
    """

    key: bytes
    id: int
    stored: Stored
    size: int
    extents: Extents
    content: bytes | None = None
    is_pinned: bool = False

    @property
    def is_complete(self) -> bool:
        """Is all of the content there?"""
        return self.size == self.stored.total


def merged(extents: Extents, start: int, end: int) -> Extents:
    """Return *extents* with the range from *start* to *end*; too many lose the shortest."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((*extents, (start, end))):
        if first == last:
            continue
        if ranges and first <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    while len(ranges) > MOST_EXTENTS:
        ranges.remove(min(ranges, key=lambda each: each[1] - each[0]))
    return tuple(ranges)


def size_of(extents: Extents) -> int:
    """Return how many bytes *extents* hold."""
    return sum(end - start for start, end in extents)
