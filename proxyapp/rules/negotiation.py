"""Which of several media types a client would rather have (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from typing import NamedTuple

from proxyapp.wire.headers import split_list, split_parameters

_QUALITY = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_MOST = 1000


class MediaRange(NamedTuple):
    """One element of Accept; *quality* in thousandths (section 12.4.2)."""

    type: bytes
    subtype: bytes
    quality: int

    @property
    def precision(self) -> int:
        """How narrow the range is: the narrowest one that covers a type decides."""
        return (self.type != b"*") + (self.subtype != b"*")

    def covers(self, media_type: bytes) -> bool:
        """Is *media_type*, in lower case, in this range?"""
        kind, _, subtype = media_type.partition(b"/")
        return self.type in (b"*", kind) and self.subtype in (b"*", subtype)


def parse_accept(value: bytes) -> list[MediaRange]:
    """Return the ranges of an Accept field; elements that aren't media ranges are left out.

    So are those with parameters other than charset, which none of the types offered here has.
    """
    ranges = []
    for element in split_list(value):
        name, parameters = split_parameters(element.lower())
        kind, slash, subtype = name.partition(b"/")
        quality = _quality(parameters.pop(b"q", b"1"))
        if not (kind and slash and subtype) or quality is None or parameters.keys() - {b"charset"}:
            continue
        if kind != b"*" or subtype == b"*":
            ranges.append(MediaRange(kind, subtype, quality))
    return ranges


def quality_of(media_type: bytes, ranges: list[MediaRange]) -> int:
    """Return how welcome *media_type* is, in thousandths; 0 is not at all."""
    covering = [each for each in ranges if each.covers(media_type)]
    return max(covering, key=lambda each: each.precision).quality if covering else 0


def preferred(accept: bytes | None, offers: tuple[bytes, ...]) -> bytes:
    """Return the most welcome of *offers* (lower case); the first one wins a tie.

    No Accept, or one that allows none of them, gives the first: an answer in the wrong type says
    more than a 406 (section 12.5.1 leaves that open).
    """
    if accept is None:
        return offers[0]
    ranges = parse_accept(accept)
    return max(offers, key=lambda offer: quality_of(offer, ranges))


def _quality(value: bytes) -> int | None:
    if not _QUALITY.fullmatch(value):
        return None
    whole, _, decimals = value.partition(b".")
    return _MOST if whole == b"1" else int(decimals.ljust(3, b"0") or b"0")
