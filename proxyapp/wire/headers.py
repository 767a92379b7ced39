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

    *lines* holds them in order and as they were spelled, without their ends. *combined* maps each
    name, in lower case, to its combined value (RFC 9110 section 5.2). *repeated* holds the names,
    in lower case, that stand on more than one line.
    """

    __slots__ = ("_entries", "combined", "lines", "memo", "repeated")

    def __init__(self, raw: RawFields, lines: list[bytes] | None = None) -> None:
        """Take name and value pairs; or those read from *lines*, with names in lower case."""
        # For whoever derives something costly from the fields, which never change.
        self.memo: object = None
        self.repeated = _NONE
        if lines is None:
            lines = [b"%b: %b" % field for field in raw]
            raw = [(name.lower(), value) for name, value in raw]
        self.lines = lines
        self._entries = raw
        self.combined = combined = dict(raw)
        if len(combined) < len(lines):
            self._combine()

    def _combine(self) -> None:
        lines: dict[bytes, list[bytes]] = {}
        for name, value in self._entries:
            lines.setdefault(name, []).append(value)
        self.repeated = frozenset(name for name, values in lines.items() if len(values) > 1)
        self.combined = {name: b", ".join(values) for name, values in lines.items()}

    @property
    def raw(self) -> RawFields:
        """Name, as it was spelled, and value of each line."""
        pairs = zip(self.lines, self._entries, strict=True)
        return [(line[: len(name)], value) for line, (name, value) in pairs]

    def lines_without(self, removed: frozenset[bytes]) -> list[bytes]:
        """Return the lines whose names, in lower case, are not among *removed*."""
        dropped = removed.intersection(self.combined)
        if len(dropped) > 1 or self.repeated:
            pairs = zip(self.lines, self._entries, strict=True)
            return [line for line, (name, _) in pairs if name not in dropped]
        lines = self.lines.copy()
        for name in dropped:
            del lines[list(self.combined).index(name)]
        return lines

    def get(self, name: bytes) -> bytes | None:
        """Return the combined value of *name* (lower case), or None."""
        return self.combined.get(name)

    def __contains__(self, name: bytes) -> bool:
        return name in self.combined

    def __len__(self) -> int:
        return len(self.lines)

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
        return [value for known, value in self._entries if known == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the elements of the list *name* in lower case; empty if it is absent."""
        value = self.combined.get(name)
        return [] if value is None else split_tokens(value)

    def names(self) -> Iterable[bytes]:
        """Return the names in lower case, each once."""
        return self.combined.keys()


def take_apart(line: bytes) -> tuple[bytes, bytes]:
    """Return the name, in lower case, and the value of a field *line*."""
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def of_lines(lines: list[bytes]) -> Fields:
    """Return the fields that stand on *lines*, each known to be name, colon and value."""
    return Fields([take_apart(line) for line in lines], lines)


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
