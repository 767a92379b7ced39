"""Content-Range of a request: which bytes of a whole its body is (RFC 9110 section 14.4)."""

from __future__ import annotations

import re
from typing import NamedTuple

from proxyapp import errors

_CONTENT_RANGE = re.compile(
    rb"bytes[ \t]+(?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)", re.I
)


class SentRange(NamedTuple):
    """*size* bytes from *offset* of a whole of *total*; with no *offset* it is only asked about."""

    offset: int | None
    size: int
    total: int

    def __str__(self) -> str:
        return "nothing" if self.offset is None else f"{self.size} bytes from {self.offset}"


def parse_content_range(value: bytes | None) -> SentRange:
    """Return what a request's Content-Range says; `bytes */TOTAL` asks. Raises BadRequest.

    The total has to be known: without it nobody could tell when the whole is there.
    """
    if value is None:
        raise errors.BadRequest("PATCH adds a part to a file, and Content-Range has to say which")
    match = _CONTENT_RANGE.fullmatch(value.strip(b" \t"))
    if match is None:
        raise errors.BadRequest("Content-Range isn't bytes FIRST-LAST/TOTAL nor bytes */TOTAL")
    if match[3] == b"*":
        raise errors.BadRequest("Content-Range has to say how long the whole file is")
    total = int(match[3])
    if match[1] is None:
        return SentRange(None, 0, total)
    first, last = int(match[1]), int(match[2])
    if not first <= last < total:
        raise errors.BadRequest("Content-Range names bytes that its whole doesn't have")
    return SentRange(first, last - first + 1, total)
