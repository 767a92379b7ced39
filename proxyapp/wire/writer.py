"""Heads and chunks to bytes (RFC 9112 sections 2 to 4 and 7.1)."""

from __future__ import annotations

import http
from collections.abc import Sequence

from proxyapp import errors
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import OutgoingRequest, OutgoingResponse

LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}
_REASONS[508] = b"Loop Detected"


def reason_for(status: int) -> bytes:
    """Return the standard reason phrase of *status*; empty where it has none."""
    return _REASONS.get(status, b"")


def request_head(head: OutgoingRequest) -> bytes:
    """Return *head* as bytes, always as HTTP/1.1: the version is the sender's own.

    Raises InternalError where a part of it would begin a line of its own.
    """
    start = b"%b %b HTTP/1.1" % (head.method, head.target)
    return _head(start, head.lines, head.fields)


def response_head(head: OutgoingResponse) -> bytes:
    """Return *head* as bytes, always as HTTP/1.1 (RFC 9110 section 6.2).

    Raises InternalError where a part of it would begin a line of its own.
    """
    start = b"HTTP/1.1 %d %b" % (head.status, head.reason)
    return _head(start, head.lines, head.fields)


def _head(start: bytes, lines: Sequence[bytes], fields: RawFields) -> bytes:
    if not fields:
        whole = b"\r\n".join([start, *lines, b"", b""])
        return _checked(whole, len(lines) + 2)
    whole = b"\r\n".join((start, *lines, field_lines(fields) + b"\r\n"))
    return _checked(whole, len(lines) + len(fields) + 2)


def field_lines(fields: RawFields) -> bytes:
    """Return *fields* in order, each line with its end."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


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
    return _checked(b"0\r\n%b\r\n" % field_lines(trailers.raw), len(trailers) + 2)
