"""What an answer says of the cache it went through: Cache-Status and Age."""

from __future__ import annotations

import enum
import functools
import re

# RFC 8941 section 3.3.4; narrower than there, for none of ours needs more.
_TOKEN = re.compile(rb"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_UNSAFE = re.compile(rb"[^\x20-\x7e]")
# RFC 8941 section 3.3.1.
_LARGEST = 999_999_999_999_999


class Fwd(bytes, enum.Enum):
    """Why a request went on to the origin (RFC 9211 section 2.2)."""

    BYPASS = b"bypass"  # the cache is off there
    METHOD = b"method"
    REQUEST = b"request"  # it says itself that what is stored won't do
    MISS = b"miss"
    PARTIAL = b"partial"
    STALE = b"stale"


def cache_status(
    name: bytes,
    *,
    hit: bool = False,
    fwd: bytes = b"",
    fwd_status: int = 0,
    ttl: float | None = None,
    stored: bool = False,
    collapsed: bool = False,
    detail: bytes = b"",
) -> bytes:
    """Return the Cache-Status line of the cache called *name* (RFC 9211 section 2).

    *hit* and *fwd* exclude each other. *fwd* is why it went to the origin: a Fwd, or another word
    of section 2.2; *fwd_status* is what came back, *stored* that it was kept, and *collapsed* that
    it was shared with other requests. *ttl* is for how many seconds more it is fresh, less than 0
    if it isn't. Zero and empty say nothing.
    """
    if hit and ttl is not None and not detail:
        return b"Cache-Status: %b; hit; ttl=%d" % (_item(name), _number(ttl))
    parameters = (
        (hit, b"hit"),
        (fwd and not hit, b"fwd=%b" % fwd),
        (fwd and not hit and fwd_status, b"fwd-status=%d" % fwd_status),
        (ttl is not None, b"ttl=%d" % _number(ttl or 0.0)),
        (stored, b"stored"),
        (collapsed, b"collapsed"),
        (detail, b"detail=" + _item(detail)),
    )
    said = [text for is_said, text in parameters if is_said]
    return b"; ".join([b"Cache-Status: " + _item(name), *said])


def age_line(seconds: float) -> bytes:
    """Return the Age line (RFC 9111 section 5.1)."""
    return b"Age: %d" % max(0.0, seconds)


def _number(seconds: float) -> int:
    # Of a lifetime that has just ended: no more than nothing is left.
    return int(min(max(seconds, -_LARGEST), _LARGEST) // 1)  # infinity has no floor


@functools.lru_cache(maxsize=256)
def _item(text: bytes) -> bytes:
    if _TOKEN.fullmatch(text):
        return text
    text = _UNSAFE.sub(lambda each: b"%%%02X" % each[0][0], text)
    return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
