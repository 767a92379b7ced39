"""Which of several media types or content codings a client would rather have (RFC 9110 12.5)."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
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


# Content codings (RFC 9110 section 12.5.3).

_IDENTITY = b"identity"
_ANY = b"*"
# `gzip;q=0.5`: there are no other parameters than the weight (section 12.4.2).
_CODING = re.compile(
    rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
# Other names of a coding (section 8.4.1).
_ALIASES = {b"x-gzip": b"gzip", b"x-compress": b"compress"}
# Browsers send some 30 bytes. The bound keeps long nonsense out of the memory of the cache.
_LONGEST_KEPT = 128


def choose_coding(accept_encoding: bytes | None, offers: Sequence[bytes]) -> bytes | None:
    """Return which of *offers* (registered names, lower case) to send, or None for identity.

    The highest quality wins, and the first offer a tie. Identity, where it isn't named, comes
    last. It is also what is left where nothing else may be sent, even with `identity;q=0`: bytes
    that can be read anyway say more than a 406 (section 12.5.3 says SHOULD). So it is for a field
    that can't be read.
    """
    if accept_encoding is None or not offers:
        return None
    is_short = len(accept_encoding) <= _LONGEST_KEPT
    qualities = (_known_codings if is_short else _codings)(accept_encoding)
    others = qualities.get(_ANY, 0)
    best = max(offers, key=lambda offer: qualities.get(offer, others))
    quality = qualities.get(best, others)
    return best if quality and quality >= qualities.get(_IDENTITY, others) else None


def _codings(value: bytes) -> dict[bytes, int]:
    """Return the quality of each coding in *value*, in thousandths; nothing if it's malformed."""
    qualities: dict[bytes, int] = {}
    for element in split_list(value.lower()):
        match = _CODING.fullmatch(element)
        quality = _quality(match[2] or b"1") if match else None
        if match is None or quality is None:
            return {}
        name = _ALIASES.get(match[1], match[1])
        # Where a coding is named twice, the client means at least the lower of the two.
        qualities[name] = min(quality, qualities.get(name, _MOST))
    return qualities


_known_codings = functools.lru_cache(maxsize=1024)(_codings)
