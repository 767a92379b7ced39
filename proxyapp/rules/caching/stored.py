"""A stored response without its content (RFC 9111 section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from proxyapp.wire.headers import Fields

# Each request field that Vary names, and its normalised value, None where it has none.
Varying: TypeAlias = tuple[tuple[bytes, bytes | None], ...]


class Memo:
    """Room for what is worked out of a stored response once, and read at each of its uses."""

    __slots__ = ("hit", "initial_age", "terms")

    def __init__(self) -> None:
        self.initial_age: float | None = None
        self.terms: object = None
        self.hit: object = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A response as it was stored, and when it was asked for and arrived.

    *fields* are those that may be stored: the end-to-end ones, Content-Length among them, but not
    Age. *asked_at* is when it was asked for, less the Age that it came with: the latest moment at
    which it may have been made. It and *arrived_at* are seconds since the epoch. *varying* is what
    tells it from other variants. *ttl* is for how many seconds from its arrival it is fresh,
    whatever the origin and the policy say. *is_invalid* wants it validated before it is used.
    *total* is the size of the complete content in bytes, None if unknown.
    """

    status: int
    reason: bytes
    fields: Fields
    asked_at: float
    arrived_at: float
    varying: Varying = ()
    ttl: float | None = None
    is_invalid: bool = False
    total: int | None = None
    memo: Memo = field(default_factory=Memo, init=False, compare=False, repr=False)
