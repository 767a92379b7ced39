"""Which of several processes one is, and what they know of each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Among:
    """One of *count* worker processes; the first one has what there can be only one of."""

    number: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Is it the first one?"""
        return self.number == 0


ALONE = Among()
