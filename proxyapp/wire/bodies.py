"""Bytes to body: one decoder for each way a body can be framed (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import enum
import re
from typing import Protocol

from proxyapp import errors
from proxyapp.wire import heads, parser
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import NO_FIELDS, Fields

# A chunk-size line, without its end, holds a size and extensions, which are dropped; nobody needs
# long ones, and floods of them are an attack (CVE-2023-39326 of Go's net/http).
MAX_CHUNK_LINE = 256
# 2^60 bytes: fifteen hexadecimal digits, leading zeros not counted.
_MAX_SIZE_DIGITS = 15
# Old servers pad the size with blanks; the chunk leaves us framed anew, so that does no harm.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
# This many bytes of extensions are tolerated beyond what the data itself earns.
MAX_OVERHEAD = 64 * 1024
MAX_TRAILERS = heads.HeadLimits(size=16 * 1024, fields=64)


class Decoder(Protocol):
    """Takes the framing off one body.

    *complete* turns true with the last byte of the body; *trailers* are valid from then on.
    """

    complete: bool
    trailers: Fields

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the body bytes in *data*, and what lies behind the body's end.

        Raises BadRequest where the framing is broken.
        """

    def end(self) -> bool:
        """The connection ended: was that a legal end of this body?"""


class LengthDecoder:
    """A body of *length* bytes; a length of 0 is complete at once."""

    __slots__ = ("complete", "remaining", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0
        self.trailers = NO_FIELDS

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """See Decoder."""
        remaining = self.remaining
        if len(data) < remaining:
            self.remaining = remaining - len(data)
            return data, b""
        self.remaining = 0
        self.complete = True
        if len(data) == remaining:
            return data, b""
        return data[:remaining], data[remaining:]

    def end(self) -> bool:
        """See Decoder."""
        return self.complete

    def skip(self, count: int) -> None:
        """Note that *count* bytes of the body went another way (splice)."""
        self.remaining -= count
        self.complete = self.remaining == 0


class CloseDecoder:
    """A body that ends with its connection."""

    __slots__ = ("complete", "trailers")

    def __init__(self) -> None:
        self.complete = False
        self.trailers = NO_FIELDS

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """See Decoder."""
        return data, b""

    def end(self) -> bool:
        """See Decoder."""
        self.complete = True
        return True


class _Part(enum.Enum):
    """Where in the chunked coding the next byte belongs."""

    SIZE = "size"
    DATA = "data"
    DATA_END = "data end"
    TRAILERS = "trailers"


class ChunkedDecoder:
    """The chunked coding, read strictly: CRLF only, bounded lines, bounded trailers.

    Only an unfinished line or trailer section is kept from one call to the next.
    """

    __slots__ = ("_buffer", "_left", "_overhead", "_part", "_scanned", "complete", "trailers")

    def __init__(self) -> None:
        self._buffer = b""
        self._part = _Part.SIZE
        self._left = 0
        self._overhead = 0
        self._scanned = 0
        self.complete = False
        self.trailers = NO_FIELDS

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """See Decoder."""
        data = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        position = 0
        while not self.complete:
            before = position
            position = self._step(data, position, pieces)
            if position == before:
                break
        self._buffer = b"" if self.complete else data[position:]
        return b"".join(pieces), data[position:] if self.complete else b""

    def end(self) -> bool:
        """See Decoder."""
        return self.complete

    def _step(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Read one part at *position*; return the position behind it, or the same if it's short."""
        if self._part is _Part.SIZE:
            return self._size_line(data, position)
        if self._part is _Part.DATA:
            piece = data[position : position + self._left]
            pieces.append(piece)
            self._left -= len(piece)
            if not self._left:
                self._part = _Part.DATA_END
            return position + len(piece)
        if self._part is _Part.DATA_END:
            return self._data_end(data, position)
        return self._trailer_section(data, position)

    def _size_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\r\n", position, position + MAX_CHUNK_LINE + 2)
        if end < 0:
            if len(data) - position >= MAX_CHUNK_LINE + 2 or data.find(b"\n", position) >= 0:
                raise errors.BadRequest("a chunk-size line is too long or ends in a bare LF")
            return position
        line = _CHUNK_LINE.fullmatch(data, position, end)
        if line is None or len(line[1].lstrip(b"0")) > _MAX_SIZE_DIGITS:
            raise errors.BadRequest("a chunk size isn't a hexadecimal number of sane length")
        self._left = int(line[1], 16)
        self._part = _Part.DATA if self._left else _Part.TRAILERS
        self._count_overhead(end - position)
        return end + 2

    def _count_overhead(self, line_length: int) -> None:
        # Tiny chunks are legal; tiny chunks with fat extensions for ever are not work, but attack.
        # A plain line of 16 bytes is free, and so is a byte of framing for each byte of data.
        self._overhead = max(0, self._overhead + line_length - 16 - self._left)
        if self._overhead > MAX_OVERHEAD:
            raise errors.BadRequest("more chunk framing than data")

    def _data_end(self, data: bytes, position: int) -> int:
        found = data[position : position + 2]
        if found == b"\r\n":
            self._part = _Part.SIZE
            return position + 2
        if not b"\r\n".startswith(found):
            raise errors.BadRequest("a chunk is longer than its size")
        return position

    def _trailer_section(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.complete = True
            return position + 2
        start = position + max(0, self._scanned - 3)
        end = data.find(b"\r\n\r\n", start, position + MAX_TRAILERS.size)
        if end < 0:
            if len(data) - position >= MAX_TRAILERS.size:
                raise errors.BadRequest("the trailer section is too long")
            if heads.has_bare_lf(data, position + self._scanned):
                raise errors.BadRequest("a line ends in a bare LF")
            self._scanned = len(data) - position
            return position
        self.trailers = parser.parse_trailers(data[position : end + 4], MAX_TRAILERS)
        self.complete = True
        return end + 4


def decoder_for(body: Framing) -> Decoder:
    """Return the decoder for a body framed like *body*."""
    if body.kind is Kind.CHUNKED:
        return ChunkedDecoder()
    if body.kind is Kind.CLOSE:
        return CloseDecoder()
    return LengthDecoder(body.length)
