"""Which parts of a representation a request is sent (RFC 9110 section 14)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from proxyapp.rules.conditions import Validators, parse_entity_tag, parse_http_date
from proxyapp.wire.headers import Fields

# An int-range or a suffix-range (section 14.1.2). No blanks inside: the grammar has none.
_RANGE = re.compile(rb"([0-9]+)-([0-9]*)|-([0-9]+)")
# More digits than any size has; int() of thousands of them would fail.
_MAX_DIGITS = 19
_BEYOND = 10**_MAX_DIGITS

# Whoever asks for more asks for trouble (section 17.15); real clients ask for a few.
MOST_PARTS = 32
# What a part costs beside its bytes: about 80 (section 15.3.7.2) is worth filling a gap for. The
# second number is for the longest media type, a boundary of 32 characters, and 12 digits of size.
_TYPICAL_COST = 80
_HIGHEST_COST = 192


class ByteRange(NamedTuple):
    """A part of a representation, in bytes; *size* is never 0."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The position behind its last byte."""
        return self.offset + self.size

    def content_range(self, total: int) -> bytes:
        """Return the value of Content-Range (section 14.4)."""
        return b"bytes %d-%d/%d" % (self.offset, self.offset + self.size - 1, total)


class Extent(enum.Enum):
    """How much to send where the answer isn't ranges; UNSATISFIABLE means 416."""

    WHOLE = "whole"
    UNSATISFIABLE = "unsatisfiable"


def select_ranges(
    method: bytes, fields: Fields, validators: Validators, total: int
) -> Extent | tuple[ByteRange, ...]:
    """Say which parts of a representation of *total* bytes to send (section 14.2).

    Asked after `conditions.evaluate` said SEND. Only GET has ranges: HEAD is told of the whole.
    """
    value = fields.get(b"range")
    if value is None or method != b"GET" or not if_range_holds(fields, validators):
        return Extent.WHOLE
    return parse_ranges(value, total)


def if_range_holds(fields: Fields, validators: Validators) -> bool:
    """May Range be followed, as far as If-Range has a say (section 13.1.5)?

    A date must be the very Last-Modified, and a tag strong: what is half-loaded goes on only with
    bytes of the same file.
    """
    given = fields.get(b"if-range")
    if given is None:
        return True
    tag = parse_entity_tag(given)
    if tag is not None:
        return validators.etag is not None and validators.etag.is_same_bytes(tag)
    date = parse_http_date(given)
    return date is not None and date == validators.last_modified


def parse_ranges(value: bytes, total: int) -> Extent | tuple[ByteRange, ...]:
    """Read the Range *value* against a representation of *total* bytes (section 14.1.2).

    One wrong range spoils them all, and the whole is sent (section 14.2). Those that are past the
    end are left out; if nothing else was asked, that is unsatisfiable. A suffix longer than the
    representation is all of it, still as a part: the client learns from Content-Range where its
    bytes belong (Go and nginx do the same).

    An empty representation is sent whole: no part of it could be named in Content-Range, and
    clients that put a Range on every request would take a 416 for a failure (so does Go).
    """
    unit, equals, texts = value.partition(b"=")
    if unit.lower() != b"bytes" or not equals:
        return Extent.WHOLE
    asked, is_past_end = [], False
    for text in texts.split(b","):
        if not (text := text.strip(b" \t")):
            continue
        part = _read(text, total)
        if part is Extent.WHOLE:
            return Extent.WHOLE
        if isinstance(part, ByteRange):
            asked.append(part)
        else:
            is_past_end = True
    if not total or not (asked or is_past_end):
        return Extent.WHOLE
    return _thrifty(coalesced(asked), total) if asked else Extent.UNSATISFIABLE


def _read(text: bytes, total: int) -> ByteRange | Extent:
    """Read one range; WHOLE stands for one that is invalid."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return Extent.WHOLE
    first_digits, last_digits, suffix_digits = match.groups()
    if suffix_digits is not None:
        size = min(_number(suffix_digits), total)
        return ByteRange(total - size, size) if size else Extent.UNSATISFIABLE
    first = _number(first_digits)
    last = _number(last_digits) if last_digits else _BEYOND
    if last < first:
        return Extent.WHOLE
    if first >= total:
        return Extent.UNSATISFIABLE
    return ByteRange(first, min(last, total - 1) - first + 1)


def _number(digits: bytes) -> int:
    significant = digits.lstrip(b"0")
    return int(significant or b"0") if len(significant) <= _MAX_DIGITS else _BEYOND


def coalesced(asked: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Join ranges that overlap, touch, or have a gap that costs less than another part.

    The rest keeps the order it was asked in; what is joined stands where its first part stood
    (section 15.3.7.2).
    """
    joined: list[tuple[int, ByteRange]] = []
    for rank, part in sorted(enumerate(asked), key=lambda ranked: ranked[1]):
        if joined and part.offset - joined[-1][1].end < _TYPICAL_COST:
            first, before = joined[-1]
            end = max(before.end, part.end)
            joined[-1] = min(first, rank), ByteRange(before.offset, end - before.offset)
        else:
            joined.append((rank, part))
    return tuple(part for _, part in sorted(joined))


def _thrifty(parts: tuple[ByteRange, ...], total: int) -> Extent | tuple[ByteRange, ...]:
    """Return *parts*, or WHOLE where they are too many or cost more than the whole."""
    if len(parts) == 1:
        return parts
    cost = sum(part.size for part in parts) + _HIGHEST_COST * (len(parts) + 1)
    return Extent.WHOLE if len(parts) > MOST_PARTS or cost > total else parts


def content_range_unsatisfied(total: int) -> bytes:
    """Return the Content-Range of a 416 (section 15.5.17)."""
    return b"bytes */%d" % total
