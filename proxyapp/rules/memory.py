"""What is remembered of decisions has a bound."""

from __future__ import annotations

from typing import TypeVar

# Decisions of one kind, some 300 bytes each. Clients choose what is looked up, so a full memory is
# emptied rather than grown.
REMEMBERED = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")


def room(memory: dict[Key, Value]) -> dict[Key, Value]:
    """Make room in *memory* for one more entry, and return it."""
    if len(memory) >= REMEMBERED:
        memory.clear()
    return memory
