"""When a log goes on in a new file, what the old one is called from then on, and which are kept.

Old files have the day on which they began in their name, `requests.log.2026-01-07`, and further
ones of that day a number, `requests.log.2026-01-07.2`. A file never gets another name again, so
processes that share a log needn't agree on more than who renames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

# An admin may compress what is old; it is counted like the others.
_AGED = re.compile(r"\.([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.([0-9]{1,9}))?(?:\.(?:gz|xz|bz2|zst))?")


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is put aside: at midnight if it *is_daily*, and past *size* bytes if not 0."""

    is_daily: bool = False
    size: int = 0

    def is_due(self, begun: date, today: date, size: int) -> bool:
        """Is a file of *size* bytes, which was *begun* that day, to be put aside?"""
        if size == 0:
            return False
        return (self.is_daily and begun < today) or 0 < self.size <= size


NEVER = Rotation()


class _Aged(NamedTuple):
    """An old file; its order is that of time."""

    day: str
    number: int
    name: str


def _aged(name: str, others: Iterable[str]) -> list[_Aged]:
    """Return those of *others* that were once called *name*, the oldest first."""
    found = []
    for other in others:
        match = _AGED.fullmatch(other, len(name)) if other.startswith(name) else None
        if match is not None:
            found.append(_Aged(match[1], int(match[2] or 1), other))
    return sorted(found)


def aged_name(name: str, begun: date, others: Iterable[str]) -> str:
    """Return what the file *name* that was *begun* that day is called among *others*."""
    day = begun.isoformat()
    numbers = [aged.number for aged in _aged(name, others) if aged.day == day]
    return f"{name}.{day}.{max(numbers) + 1}" if numbers else f"{name}.{day}"


def surplus(name: str, others: Iterable[str], keep: int) -> list[str]:
    """Return those of *others*, once called *name*, that are too old to *keep*; 0 keeps all."""
    return [aged.name for aged in _aged(name, others)[:-keep]] if keep else []
