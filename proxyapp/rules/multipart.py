"""How several parts of a representation travel in one body: multipart/byteranges.

RFC 9110 section 14.6. The bytes of the parts stay where they are: a plan names them as ranges,
between the lines that part them, and its size is exact before any of it is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from proxyapp.rules.ranges import ByteRange

# RFC 2046 section 5.1.1, narrowed to what needs no quotes as a parameter (RFC 9110 section 5.6.6).
_BOUNDARY = re.compile(rb"[0-9A-Za-z'+_.-]{1,70}")


class Multipart(NamedTuple):
    """A planned body: its pieces in order, its Content-Length, and its Content-Type."""

    pieces: tuple[bytes | ByteRange, ...]
    size: int
    content_type: bytes


def plan(
    ranges: Sequence[ByteRange], total: int, content_type: bytes, boundary: bytes
) -> Multipart:
    """Return the body that carries *ranges* of a representation of *total* bytes.

    *content_type* is the representation's, repeated in each part; empty where it has none. The
    caller makes a *boundary* that nobody can foresee, so that no file holds it. Content-Range
    stands in the parts alone (section 15.3.7.2). Raises ValueError for a boundary that would have
    to be quoted.
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise ValueError("a boundary has 1 to 70 letters, digits and marks of tokens")
    described = b"Content-Type: %b\r\n" % content_type if content_type else b""
    pieces: list[bytes | ByteRange] = []
    # Nothing needs to stand before the first boundary, and some readers stumble over a CRLF there.
    start = b""
    for part in ranges:
        content_range = part.content_range(total)
        pieces.append(
            b"%b--%b\r\n%bContent-Range: %b\r\n\r\n" % (start, boundary, described, content_range)
        )
        pieces.append(part)
        start = b"\r\n"
    pieces.append(b"%b--%b--\r\n" % (start, boundary))
    size = sum(piece.size if isinstance(piece, ByteRange) else len(piece) for piece in pieces)
    return Multipart(tuple(pieces), size, b"multipart/byteranges; boundary=" + boundary)
