"""Parts of stored responses: which belong together, and how the rest is asked for."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching import parts
from proxyapp.rules.caching.parts import Part
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire import headers
from proxyapp.wire.messages import RequestHead, ResponseHead

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
LONG_AGO = b"Last-Modified: Sat, 05 Nov 1994 08:49:37 GMT"
JUST_NOW = b"Last-Modified: Sun, 06 Nov 1994 08:49:36 GMT"


def stored(*lines: bytes) -> Stored:
    """Return a stored response with these fields."""
    return Stored(200, b"OK", headers.of_lines([DATE, *lines]), 0.0, 0.0)


def response(status: int, *lines: bytes) -> ResponseHead:
    """Return a response with these fields."""
    return ResponseHead(status, b"", 1, headers.of_lines(list(lines)))


def request(*lines: bytes) -> RequestHead:
    """Return a GET with these fields."""
    return RequestHead(b"GET", b"http://h/", 1, headers.of_lines([b"Host: h", *lines]))


SENT = [
    (200, b"bytes 0-4/10", None),
    (206, b"", None),
    (206, b"bytes */10", None),
    (206, b"bytes 0-4/*", None),
    (206, b"bytes 5-4/10", None),
    (206, b"bytes 5-10/10", None),
    (206, b"lines 0-4/10", None),
    (206, b"bytes 0-4/10", Part(0, 5, 10)),
    (206, b"bytes 9-9/10", Part(9, 10, 10)),
]


@pytest.mark.parametrize(("status", "content_range", "expected"), SENT)
def test_sent_part(status: int, content_range: bytes, expected: Part | None) -> None:
    """Only one range of a whole of known size is a part."""
    lines = [b"Content-Range: " + content_range] if content_range else []
    assert parts.sent_part(response(status, *lines)) == expected


SAME = [
    ([], [], False),
    ([b'ETag: "a"'], [], False),
    ([b'ETag: "a"'], [b'ETag: "b"'], False),
    ([b'ETag: W/"a"'], [b'ETag: W/"a"'], False),
    ([b'ETag: "a"', LONG_AGO], [LONG_AGO], False),
    ([JUST_NOW], [JUST_NOW], False),
    ([b'ETag: "a"'], [b'ETag: "a"'], True),
    ([LONG_AGO], [LONG_AGO], True),
]


@pytest.mark.parametrize(("ours", "theirs", "expected"), SAME)
def test_is_same(ours: list[bytes], theirs: list[bytes], expected: bool) -> None:
    """Parts are of the same content only if a strong validator says so."""
    assert parts.is_same(stored(*ours), response(206, *theirs)) is expected


def test_unconditional_keeps_what_it_can() -> None:
    """A request without conditions stays the very object: what is remembered with it counts."""
    plain = request(b"Accept: a/b")
    assert parts.unconditional(plain) is plain
    asked = request(b"If-None-Match: x", b"Accept: a/b", b"Range: bytes=0-", b"If-Range: y")
    assert parts.unconditional(asked).fields.lines == [b"Host: h", b"Accept: a/b"]


def test_validating() -> None:
    """The client's conditions give way to those of what is stored."""
    asked = parts.validating(request(b'If-None-Match: "client"'), stored(b'ETag: "ours"'))
    assert asked.fields.lines == [b"Host: h", b'If-None-Match: "ours"']


def test_continuing() -> None:
    """The rest is asked for by a range that holds for the same content only."""
    asked = parts.continuing(request(b"Range: bytes=0-9"), stored(b'ETag: "ours"'), 700)
    assert asked is not None
    assert asked.fields.lines == [b"Host: h", b"Range: bytes=700-", b'If-Range: "ours"']
    assert parts.continuing(request(), stored(b'ETag: W/"weak"'), 700) is None
