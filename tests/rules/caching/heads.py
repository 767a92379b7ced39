"""Requests, responses and what is stored of them, for tests of the rules of caching."""

from __future__ import annotations

from proxyapp.rules.caching import storing
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import http_date
from proxyapp.wire.headers import Fields, of_lines
from proxyapp.wire.messages import RequestHead, ResponseHead

NOW = 1_800_000_000
URL = b"http://origin.test/thing"
DAY = 86400


def date(offset: int = 0) -> bytes:
    """Return the date *offset* seconds from NOW."""
    return http_date(NOW + offset)


def dated(name: bytes, offset: int) -> bytes:
    """Return the line of field *name* with the date *offset* seconds from NOW."""
    return name + b": " + date(offset)


DATE = dated(b"Date", 0)
ETAG = b'ETag: "abc"'
AN_HOUR = b"Cache-Control: max-age=3600"
CHANGED_YESTERDAY = dated(b"Last-Modified", -DAY)


def fields(*lines: bytes) -> Fields:
    """Return the fields on *lines*."""
    return of_lines(list(lines))


def request(*lines: bytes, method: bytes = b"GET", target: bytes = URL) -> RequestHead:
    """Return a request with the field *lines*."""
    return RequestHead(method, target, 1, fields(*lines))


def response(*lines: bytes, status: int = 200, is_dated: bool = True) -> ResponseHead:
    """Return a response with the field *lines*, and Date unless they have it."""
    has_date = any(line.lower().startswith(b"date:") for line in lines)
    added = [DATE] if is_dated and not has_date else []
    return ResponseHead(status, b"Reason", 1, fields(*lines, *added))


def stored(
    *lines: bytes,
    status: int = 200,
    asked: RequestHead | None = None,
    policy: Policy = DEFAULT,
    ttl: float | None = None,
    is_dated: bool = True,
) -> Stored:
    """Return what is stored of a response with the field *lines*, asked for and there at NOW."""
    head = response(*lines, status=status, is_dated=is_dated)
    return storing.stored(asked or request(), head, policy, NOW, NOW, ttl)
