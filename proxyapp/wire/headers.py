"""Fields of a message: ordered, as they were spelled, and found by name (RFC 9110 section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

RawFields: TypeAlias = list[tuple[bytes, bytes]]

# RFC 9110 section 5.6.2.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 5.5: visible characters, blanks, tabs and obs-text; no other control character.
UNSAFE_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# One element of a list: quoted strings hide commas (RFC 9110 section 5.6.1).
_ELEMENT = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_PARAMETER = re.compile(rb';[ \t]*([^;="]+)(?:=("(?:[^"\\]|\\.)*"|[^;]*))?')

_NONE: frozenset[bytes] = frozenset()


class Fields:
    """The field lines of one head or trailer section.

    *raw* holds (name, value) pairs in order, names as they were spelled. Look-ups take names in
    lower case and give the combined value of RFC 9110 section 5.2. *repeated* holds the names, in
    lower case, that stand on more than one line.
    """

    __slots__ = ("_combined", "raw", "repeated")

    def __init__(self, raw: RawFields) -> None:
        self.raw = raw
        self.repeated = _NONE
        self._combined = {name.lower(): value for name, value in raw}
        if len(self._combined) < len(raw):
            self._combine()

    def _combine(self) -> None:
        lines: dict[bytes, list[bytes]] = {}
        for name, value in self.raw:
            lines.setdefault(name.lower(), []).append(value)
        self.repeated = frozenset(name for name, values in lines.items() if len(values) > 1)
        self._combined = {name: b", ".join(values) for name, values in lines.items()}

    def get(self, name: bytes) -> bytes | None:
        """Return the combined value of *name* (lower case), or None."""
        return self._combined.get(name)

    def __contains__(self, name: bytes) -> bool:
        return name in self._combined

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(tuple(self.raw))

    def __repr__(self) -> str:
        return f"<Fields {self.raw!r}>"

    def values(self, name: bytes) -> list[bytes]:
        """Return the value of each line called *name* (lower case), in order."""
        return [value for spelled, value in self.raw if spelled.lower() == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the elements of the list *name* in lower case; empty if it is absent."""
        value = self._combined.get(name)
        return [] if value is None else split_tokens(value)

    def names(self) -> Iterable[bytes]:
        """Return the names in lower case, each once."""
        return self._combined.keys()


NO_FIELDS = Fields([])


def is_token(value: bytes) -> bool:
    """Is *value* a token (RFC 9110 section 5.6.2)?"""
    return TOKEN.fullmatch(value) is not None


def split_list(value: bytes) -> list[bytes]:
    """Split a comma-separated list; commas inside quoted strings don't count, empty elements go."""
    parts = value.split(b",") if b'"' not in value else _ELEMENT.findall(value)
    return [stripped for part in parts if (stripped := part.strip(b" \t"))]


def split_tokens(value: bytes) -> list[bytes]:
    """Split a list of case-insensitive tokens, such as Connection's, into lower case."""
    if b"," not in value:
        token = value.strip(b" \t").lower()
        return [token] if token else []
    return [part.lower() for part in split_list(value)]


def split_parameters(element: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Split `value;name=x;other="y"` into the value and its parameters, names in lower case."""
    value, semicolon, _ = element.partition(b";")
    if not semicolon:
        return value.strip(b" \t"), {}
    parameters = {}
    for name, given in _PARAMETER.findall(element[len(value) :]):
        text = given.strip(b" \t")
        if text[:1] == b'"':
            text = re.sub(rb"\\(.)", rb"\1", text[1:-1])
        parameters[name.strip(b" \t").lower()] = text
    return value.strip(b" \t"), parameters
