"""Parts of a stored response: whether they belong together, and how the rest is asked for."""

from __future__ import annotations

from typing import NamedTuple

from proxyapp.rules.caching import storing, validation
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire import headers
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead, ResponseHead

# A cache puts its own conditions into a request (RFC 9111 section 4.3.1).
_CONDITIONS = frozenset(
    b"if-match if-none-match if-modified-since if-unmodified-since if-range range".split()
)


class Part(NamedTuple):
    """The bytes from *start* to *end*, half-open, of a whole of *total*."""

    start: int
    end: int
    total: int


def sent_part(response: ResponseHead) -> Part | None:
    """Return which part of its whole a 206 has; None where it isn't one part of a known whole."""
    found = storing.part_of(response) if response.status == 206 else None
    if found is None:
        return None
    start, end, total = found
    return None if total is None else Part(start, end, total)


def is_same(stored: Stored, response: ResponseHead) -> bool:
    """Is *response* of the very content that *stored* has a part of (RFC 9110 section 15.3.7.3)?"""
    validator = validation.strong_validator(stored)
    name = b"etag" if b"etag" in stored.fields else b"last-modified"
    return validator is not None and validator == response.fields.get(name)


def unconditional(request: RequestHead) -> RequestHead:
    """Return *request* for the whole content, whatever the client has of it."""
    fields = request.fields
    if _CONDITIONS.isdisjoint(fields.combined):
        return request
    return _with_lines(request, [])


def validating(request: RequestHead, stored: Stored) -> RequestHead:
    """Return *request* so that the origin says whether *stored* is still right."""
    return _with_lines(request, validation.condition_lines(stored))


def continuing(request: RequestHead, stored: Stored, start: int) -> RequestHead | None:
    """Return *request* for what follows the first *start* bytes; None where nothing tells parts."""
    validator = validation.strong_validator(stored)
    if validator is None:
        return None
    lines = [b"Range: bytes=%d-" % start, b"If-Range: " + validator]
    return _with_lines(request, lines)


def _with_lines(request: RequestHead, lines: list[bytes]) -> RequestHead:
    kept: Fields = headers.of_lines([*request.fields.lines_without(_CONDITIONS), *lines])
    return RequestHead(request.method, request.target, request.minor, kept)
