"""rules.contentrange: which bytes of a whole a request brings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules.contentrange import SentRange, parse_content_range


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"bytes",
        b"bytes ",
        b"bytes 0-9",
        b"bytes 0-9/",
        b"bytes 0-9/*",
        b"bytes */*",
        b"bytes=0-9/10",
        b"bytes 0-10/10",
        b"bytes 5-4/10",
        b"bytes -5/10",
        b"bytes 5-/10",
        b"bytes 0-9/10, 10-19/20",
        b"bytes 0 - 9/10",
        b"bytes +0-9/10",
        b"bytes 0-9/-10",
        b"bytes 0-0/0",
        b"items 0-9/10",
        b"bytes 0-9/10 x",
        b"bytes 0-9/10\n",
        b"bytes 0-9/99999999999999999999",
        "bytes 0-\u0669/10".encode(),
    ],
)
def test_refused(value: bytes | None) -> None:
    """What doesn't name bytes of a whole of known length is a bad request."""
    with pytest.raises(errors.BadRequest):
        parse_content_range(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"bytes 0-0/1", SentRange(0, 1, 1)),
        (b"bytes 5-9/10", SentRange(5, 5, 10)),
        (b"BYTES  5-9/11 ", SentRange(5, 5, 11)),
        (b"bytes 007-9/10", SentRange(7, 3, 10)),
        (b"bytes */10", SentRange(None, 0, 10)),
        (b"bytes */0", SentRange(None, 0, 0)),
    ],
)
def test_read(value: bytes, found: SentRange) -> None:
    """Offset, size and total; a question has no offset."""
    assert parse_content_range(value) == found


@given(st.binary(max_size=40))
def test_anything(value: bytes) -> None:
    """Whatever is sent, it is a range inside its whole or a bad request."""
    try:
        found = parse_content_range(b"bytes " + value)
    except errors.BadRequest:
        return
    assert (found.offset or 0) + found.size <= found.total
