"""Where one head ends: cuts heads out of the bytes of a connection, within limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.wire import headers

_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
# RFC 9112 section 2.2 asks for at least one; ten is what Apache takes.
MAX_EMPTY_LINES = 10
_LAST_LINE_END = 0x0D
# What a client sends that speaks TLS to a plain port: a handshake record.
_TLS_HANDSHAKE = 0x16


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """The largest head: *size* in bytes with both line ends, *fields* in field lines."""

    size: int = 64 * 1024
    fields: int = 128


def whole_head(data: bytes, limits: HeadLimits) -> int:
    """Return where the head ends that *data* begins with, if all of it is there; else 0.

    That is how nearly all heads come: in one piece, with nothing before it. The rest is for a
    HeadReader.
    """
    end = data.find(_END) + 4
    return end if 4 <= end <= limits.size and data[0] > _LAST_LINE_END else 0


class HeadReader:
    """Cuts heads out of the bytes of one connection; holds at most one head and one read."""

    __slots__ = ("_buffer", "_empty_lines", "_has_start_line", "_limits", "_scanned")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        # Nearly every head comes in one piece and is never copied; one that doesn't is gathered
        # in a bytearray, so that a head sent byte by byte costs linear time.
        self._buffer: bytes | bytearray = b""
        self._scanned = 0
        self._has_start_line = False
        self._empty_lines = 0

    def __repr__(self) -> str:
        return f"<HeadReader holding {len(self._buffer)} bytes>"

    @property
    def is_empty(self) -> bool:
        """Is there no byte of a head or of anything after it?"""
        return not self._buffer

    @property
    def is_full(self) -> bool:
        """Are more bytes held than one head may have, so that reading should pause?"""
        return len(self._buffer) >= self._limits.size

    def feed(self, data: bytes) -> None:
        """Add *data* that arrived."""
        if not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytearray):
            self._buffer += data
        else:
            self._buffer = bytearray(self._buffer) + data

    def take_rest(self) -> bytes:
        """Hand over every byte held: the start of a body, or of a tunnel."""
        rest = self._buffer
        self._forget(b"")
        return bytes(rest)

    def next_head(self) -> bytes | None:
        """Return the next whole head with its final empty line, or None until it has arrived.

        Raises HeadTooLarge or TargetTooLong past the limit, and BadRequest as soon as what is
        there can't become a head.
        """
        buffer = self._buffer
        if not self._scanned and buffer.__class__ is bytes:
            end = whole_head(buffer, self._limits)
            if end:
                self._buffer = buffer[end:]
                self._empty_lines = 0
                return buffer[:end]
        return self._next_gathered_head()

    def _next_gathered_head(self) -> bytes | None:
        buffer = self._buffer
        if buffer[:1] in (b"\r", b"\n"):
            buffer = self._skip_empty_lines()
        end = buffer.find(_END, self._scanned)
        if end < 0:
            self._check_unfinished(buffer)
            self._scanned = max(0, len(buffer) - len(_END) + 1)
            return None
        end += len(_END)
        if end > self._limits.size:
            raise self._too_large(buffer)
        self._forget(bytes(buffer[end:]))
        return bytes(buffer[:end])

    def _forget(self, rest: bytes) -> None:
        """Begin anew with *rest*."""
        self._buffer = rest
        self._scanned = 0
        self._has_start_line = False
        self._empty_lines = 0

    def _skip_empty_lines(self) -> bytes | bytearray:
        # RFC 9112 section 2.2: empty lines before a start line are skipped.
        empty = _EMPTY_LINES.match(self._buffer)
        length = empty.end() if empty else 0
        self._empty_lines += length // 2
        if self._empty_lines > MAX_EMPTY_LINES:
            raise errors.BadRequest("empty lines without end before the message")
        buffer = self._buffer = self._buffer[length:]
        self._scanned = 0
        if buffer[:1] == b"\n" or (buffer[:1] == b"\r" and len(buffer) > 1):
            raise errors.BadRequest("a bare line end before the message")
        return buffer

    def _check_unfinished(self, buffer: bytes | bytearray) -> None:
        if len(buffer) >= self._limits.size:
            raise self._too_large(buffer)
        if not buffer or buffer == b"\r":
            return
        if buffer[0] == _TLS_HANDSHAKE:
            raise errors.BadRequest("a TLS handshake came where plain HTTP is spoken")
        if not headers.TOKEN.match(buffer, 0, 1):
            raise errors.BadRequest("the message doesn't begin with an HTTP start line")
        if has_bare_lf(buffer, self._scanned):
            raise errors.BadRequest("a line ends in a bare LF")
        if not self._has_start_line and (end := buffer.find(b"\n", self._scanned)) >= 0:
            if buffer.find(b"HTTP/", 0, end) < 0:
                raise errors.BadRequest("the message doesn't begin with an HTTP start line")
            self._has_start_line = True

    def _too_large(self, buffer: bytes | bytearray) -> errors.ClientFault:
        size = self._limits.size
        if buffer.find(b"\r\n", 0, size) < 0:
            return errors.TargetTooLong("the start line is longer than a whole head may be")
        return errors.HeadTooLarge(f"the head is longer than {size} bytes")


def has_bare_lf(data: bytes | bytearray, start: int) -> bool:
    """Does a line in *data*, from *start* on, end in LF without CR (RFC 9112 section 2.2)?"""
    newline = data.find(b"\n", start)
    while newline >= 0:
        if data[newline - 1 : newline] != b"\r":
            return True
        newline = data.find(b"\n", newline + 1)
    return False
