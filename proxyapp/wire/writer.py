"""Heads and chunks to bytes (RFC 9112 sections 2 to 4 and 7.1)."""

from __future__ import annotations

import functools
import http
from collections.abc import Sequence

from proxyapp import errors
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse

_NO_MORE = (b"", b"")
LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}
# As RFC 9110 section 15.5 calls them; http's names are older in some versions of Python.
_REASONS |= {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
_REASONS[508] = b"Loop Detected"


def reason_for(status: int) -> bytes:
    """Return the standard reason phrase of *status*; empty where it has none."""
    return _REASONS.get(status, b"")


def request_head(method: bytes, target: bytes, section: bytes) -> bytes:
    """Return a request head as bytes, always as HTTP/1.1: the version is the sender's own.

    *section* is its field lines, made by `section`. Raises InternalError where the rest would begin
    a line of its own.
    """
    return _checked(b"%b %b HTTP/1.1\r\n" % (method, target), 1) + section


def response_head(head: OutgoingResponse) -> bytes:
    """Return *head* as bytes, always as HTTP/1.1 (RFC 9110 section 6.2).

    Raises InternalError where a part of it would begin a line of its own.
    """
    if head.written:
        return head.written
    lines = [_status_line(head.status, head.reason), *head.lines]
    if head.fields:
        lines += map(_line, head.fields)
    lines += _NO_MORE
    head.written = _checked(b"\r\n".join(lines), len(lines) - 1)
    return head.written


@functools.lru_cache(maxsize=128)
def _status_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b" % (status, reason)


def section(lines: Sequence[bytes]) -> bytes:
    """Return field *lines* with their ends, and the empty line behind them.

    Raises InternalError where one would begin another line.
    """
    return _joined(lines) if lines else b"\r\n"


def _joined(lines: Sequence[bytes]) -> bytes:
    return _checked(b"\r\n".join([*lines, *_NO_MORE]), len(lines) + 1)


def _line(field: tuple[bytes, bytes]) -> bytes:
    return b"%b: %b" % field


def _checked(lines: bytes, count: int) -> bytes:
    # The last door before the wire: whatever slipped through on the way here, no message is split
    # in two by a line end inside a field (RFC 9110 section 5.5).
    if lines.count(b"\n") != count or lines.count(b"\r") != count:
        raise errors.InternalError("a line end inside a field")
    return lines


def chunk(data: bytes) -> bytes:
    """Return *data*, which isn't empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """Return the end of a chunked body with its *trailers*; raises InternalError like the heads."""
    if not len(trailers):
        return LAST_CHUNK
    return _joined([b"0", *trailers.lines])
