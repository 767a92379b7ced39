"""Remembers what is worked out of octets that come again and again."""

from __future__ import annotations

from array import array
from typing import Generic, TypeVar

_Value = TypeVar("_Value")

MOST_KNOWN = 1024
LONGEST_KNOWN = 256


class Repeated(Generic[_Value]):
    """Values by octets that came twice: where all are different, to keep them costs more than it
    gains.

    What is long isn't kept; a full memory, less than a MB, is emptied rather than managed.
    """

    __slots__ = ("_seen", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, _Value] = {}
        # Hashes of octets that came once.
        self._seen = array("q", bytes(8 * MOST_KNOWN))

    def __repr__(self) -> str:
        return f"<Repeated {len(self.known)}>"

    def note(self, octets: bytes, value: _Value) -> _Value:
        """Return *value*, which is always that of *octets*; the next time it may be known."""
        if len(octets) <= LONGEST_KNOWN:
            number = hash(octets)
            slot = number % MOST_KNOWN
            if self._seen[slot] == number:
                if len(self.known) >= MOST_KNOWN:
                    self.known.clear()
                self.known[octets] = value
            else:
                self._seen[slot] = number
        return value
