"""Preconditions: whether a request does what it asks for (RFC 9110 section 13).

Nothing here knows a file from a cached response: what is asked about comes as Validators, and
what comes back says what to do next.
"""

from __future__ import annotations

import enum
import functools
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from proxyapp.wire.headers import Fields

# Entity tags (RFC 9110 section 8.8.3). They look like quoted strings and aren't: a backslash is a
# character like any other, and a comma may stand inside.
_ETAG = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR = re.compile(rb"[ \t]*(?:,[ \t]*)+|[ \t]*\Z")


class EntityTag(NamedTuple):
    """An entity tag: the characters between the quotes, and whether it is weak."""

    opaque: bytes
    is_weak: bool = False

    def __bytes__(self) -> bytes:
        return b'%b"%b"' % (b"W/" if self.is_weak else b"", self.opaque)

    def is_same_bytes(self, other: EntityTag) -> bool:
        """Is *other* the same, byte for byte (strong comparison, section 8.8.3.2)?"""
        return self.opaque == other.opaque and not (self.is_weak or other.is_weak)

    def is_equivalent(self, other: EntityTag) -> bool:
        """Is *other* as good as the same (weak comparison, section 8.8.3.2)?"""
        return self.opaque == other.opaque


class AnyTag(enum.Enum):
    """The `*` of If-Match and If-None-Match: whatever the representation is."""

    ANY = "*"


TagList: TypeAlias = AnyTag | tuple[EntityTag, ...]


def parse_entity_tag(value: bytes) -> EntityTag | None:
    """Return the one entity tag in *value*, or None where it isn't exactly that."""
    match = _ETAG.fullmatch(value.strip(b" \t"))
    return None if match is None else EntityTag(match[2], match[1] is not None)


def parse_entity_tags(value: bytes) -> TagList:
    """Return the list of If-Match or If-None-Match (sections 13.1.1 and 13.1.2).

    A list with anything else in it is empty, which no well-formed one is.
    """
    if value.strip(b" \t") == b"*":
        return AnyTag.ANY
    tags = []
    position = len(value) - len(value.lstrip(b" \t,"))
    while position < len(value):
        tag = _ETAG.match(value, position)
        after = _SEPARATOR.match(value, tag.end()) if tag else None
        if tag is None or after is None:
            return ()
        tags.append(EntityTag(tag[2], tag[1] is not None))
        position = after.end()
    return tuple(tags)


# Dates (RFC 9110 section 5.6.7).

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = [
    re.compile(pattern.encode("ascii"))
    for pattern in (
        # IMF-fixdate, the obsolete form of RFC 850, and that of C's asctime.
        f"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) (?P<month>{'|'.join(_MONTHS)}) "
        f"(?P<year>[0-9]{{4}}) {_TIME} GMT",
        f"(?:{_LONG_DAYS}), (?P<day>[0-9]{{2}})-(?P<month>{'|'.join(_MONTHS)})-"
        f"(?P<year>[0-9]{{2}}) {_TIME} GMT",
        f"(?:{'|'.join(_DAYS)}) (?P<month>{'|'.join(_MONTHS)}) "
        f"(?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
]
_LONGEST_DATE = len("Wednesday, 06-Nov-94 08:49:37 GMT")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
# What a four-digit year can say; file systems can store more.
_FIRST_SECOND = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _SECOND
_LAST_SECOND = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // _SECOND


@functools.lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """Return *seconds* since 1970 as IMF-fixdate; times past the years 1 to 9999 are clamped."""
    when = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST_SECOND), _LAST_SECOND))
    # strftime would follow the locale.
    return (
        f"{_DAYS[when.weekday()]}, {when.day:02} {_MONTHS[when.month - 1]} {when.year:04} "
        f"{when.hour:02}:{when.minute:02}:{when.second:02} GMT"
    ).encode("ascii")


def parse_http_date(value: bytes) -> int | None:
    """Return the seconds since 1970 that *value* says in any of the three forms, or None."""
    # The bound keeps long nonsense out of the memory of the cache.
    return _parse_http_date(value) if len(value) <= _LONGEST_DATE else None


@functools.lru_cache(maxsize=4096)
def _parse_http_date(value: bytes) -> int | None:
    match = next((found for date in _DATES if (found := date.fullmatch(value))), None)
    if match is None:
        return None
    year, second = int(match["year"]), int(match["second"])
    if len(match["year"]) == 2:
        # Section 5.6.7 wants the century guessed from today's date. A fixed pivot differs only
        # for dates decades ahead, which no validator holds, and needs no clock.
        year += 1900 if year >= 70 else 2000
    if second > 60:
        return None
    month = _MONTHS.index(match["month"].decode("ascii")) + 1
    try:
        start = datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), tzinfo=UTC
        )
    except ValueError:
        return None
    return (start - _EPOCH) // _SECOND + second


# Preconditions (RFC 9110 section 13).


class Validators(NamedTuple):
    """What tells one state of a representation from another; None where it has no such thing.

    *last_modified* is in seconds since 1970.
    """

    etag: EntityTag | None
    last_modified: int | None


class Outcome(enum.Enum):
    """What the preconditions want done next; the value is the status, for SEND if all goes well."""

    SEND = 200
    NOT_MODIFIED = 304
    PRECONDITION_FAILED = 412


_READING = frozenset({b"GET", b"HEAD"})
# Methods that neither select nor change a representation (section 13.2.1).
_UNCONDITIONAL = frozenset({b"CONNECT", b"OPTIONS", b"TRACE"})
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since")


def evaluate(method: bytes, fields: Fields, validators: Validators | None) -> Outcome:
    """Say what *fields* want done with a representation, in section 13.2.2's order.

    *validators* are None where there is none yet, as for the PUT of a new file. Asked only if the
    answer would be 2xx without conditions: a missing page is 404 (section 13.2.1).
    """
    if method in _UNCONDITIONAL or not any(name in fields for name in _CONDITIONS):
        return Outcome.SEND
    if not _is_as_expected(fields, validators):
        return Outcome.PRECONDITION_FAILED
    if not _is_news(method, fields, validators):
        return Outcome.NOT_MODIFIED if method in _READING else Outcome.PRECONDITION_FAILED
    return Outcome.SEND


def _is_as_expected(fields: Fields, validators: Validators | None) -> bool:
    """Steps 1 and 2: If-Match, and If-Unmodified-Since only where that is absent."""
    given = fields.get(b"if-match")
    if given is not None:
        tags = parse_entity_tags(given)
        if validators is None or isinstance(tags, AnyTag):
            return validators is not None
        etag = validators.etag
        return etag is not None and any(etag.is_same_bytes(tag) for tag in tags)
    since = _date_in(fields, b"if-unmodified-since")
    if since is None or validators is None or validators.last_modified is None:
        return True
    return validators.last_modified <= since


def _is_news(method: bytes, fields: Fields, validators: Validators | None) -> bool:
    """Steps 3 and 4: If-None-Match, and If-Modified-Since only where that is absent."""
    given = fields.get(b"if-none-match")
    if given is not None:
        return _matches_none(parse_entity_tags(given), method, validators)
    since = _date_in(fields, b"if-modified-since")
    if since is None or method not in _READING:
        return True
    if validators is None or validators.last_modified is None:
        return True
    return validators.last_modified > since


def _matches_none(tags: TagList, method: bytes, validators: Validators | None) -> bool:
    if not tags:
        # It can't be read. Whoever reads gets the bytes, and nobody overwrites by mistake.
        return method in _READING
    if validators is None or isinstance(tags, AnyTag):
        return validators is None
    etag = validators.etag
    return etag is None or not any(etag.is_equivalent(tag) for tag in tags)


def _date_in(fields: Fields, name: bytes) -> int | None:
    value = fields.get(name)
    return None if value is None else parse_http_date(value)
