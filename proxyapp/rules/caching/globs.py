"""Texts that one of several patterns matches, in which `*` stands for any characters.

The texts come from clients, so there are no regular expressions here: no text, however it is made,
takes longer than its length times that of the patterns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class _Group(NamedTuple):
    """Patterns with the same beginning and the same pieces between, and each its own end."""

    head: bytes
    middle: tuple[bytes, ...]
    tails: tuple[bytes, ...]


class Globs:
    """Patterns, sorted by how they are looked at: most ask for one beginning or one end."""

    __slots__ = ("_exact", "_groups", "_prefixes", "_suffixes", "patterns")

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        grouped: dict[tuple[bytes, tuple[bytes, ...]], list[bytes]] = {}
        for head, *middle, tail in (each.split(b"*") for each in self.patterns if b"*" in each):
            grouped.setdefault((head, tuple(filter(None, middle))), []).append(tail)
        self._exact = frozenset(each for each in self.patterns if b"*" not in each)
        self._suffixes = tuple(grouped.pop((b"", ()), ()))
        self._prefixes = tuple(
            head for (head, middle), tails in grouped.items() if not middle and b"" in tails
        )
        self._groups = tuple(_Group(*each, tuple(tails)) for each, tails in grouped.items())

    def __repr__(self) -> str:
        return f"<Globs {b' '.join(self.patterns).decode('ascii', 'replace')}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Globs) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def match(self, text: bytes) -> bool:
        """Does one of the patterns match all of *text*?"""
        if text in self._exact or text.endswith(self._suffixes) or text.startswith(self._prefixes):
            return True
        for group in self._groups:
            if text.endswith(group.tails) and text.startswith(group.head) and _fits(group, text):
                return True
        return False


def _fits(group: _Group, text: bytes) -> bool:
    start = len(group.head)
    for piece in group.middle:
        # The first place will do: whatever follows has the more room.
        found = text.find(piece, start)
        if found < 0:
            return False
        start = found + len(piece)
    room = len(text) - start
    return any(len(tail) <= room and text.endswith(tail) for tail in group.tails)
