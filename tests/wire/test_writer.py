"""What leaves is one message, line for line as it was asked for."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.wire import parser, writer
from proxyapp.wire.headers import NO_FIELDS, Fields, RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import OutgoingResponse, RequestHead, ResponseHead

SPLITS = [b"\n", b"\r", b"\r\n", b"x\r\nEvil: 1", b"\r\n\r\nHTTP/1.1 200 OK", b"\r\n "]


@pytest.mark.parametrize("text", SPLITS)
def test_no_field_splits_a_message(text: bytes) -> None:
    """A line end in a name or value never reaches the wire, whoever let it in."""
    for field in [(b"A", text), (b"A" + text, b"b")]:
        with pytest.raises(errors.InternalError):
            writer.request_head(b"GET", b"/", writer.section([b"%b: %b" % field]))
        with pytest.raises(errors.InternalError):
            writer.response_head(OutgoingResponse(200, b"OK", [(b"B", b"c"), field]))
        with pytest.raises(errors.InternalError):
            writer.last_chunk(Fields([field]))


@pytest.mark.parametrize("text", SPLITS)
def test_no_start_line_splits_a_message(text: bytes) -> None:
    """Nor does one in the method, the target or the reason."""
    for method, target in [(b"GET", b"/" + text), (b"G" + text, b"/")]:
        with pytest.raises(errors.InternalError):
            writer.request_head(method, target, b"")
    with pytest.raises(errors.InternalError):
        writer.response_head(OutgoingResponse(200, text, []))


def test_a_head_that_is_repeated_is_written_once() -> None:
    """The same head is the same bytes, and one that is made of it is written anew."""
    head = OutgoingResponse(200, b"OK", [(b"A", b"b")], [b"C: d"])
    first = writer.response_head(head)
    assert writer.response_head(head) is first
    assert head == OutgoingResponse(200, b"OK", [(b"A", b"b")], [b"C: d"])
    other = dataclasses.replace(head, fields=[])
    assert writer.response_head(other) == b"HTTP/1.1 200 OK\r\nC: d\r\n\r\n"


def test_a_request_head() -> None:
    """Fields in order, in their spelling, and our own version (RFC 9110 section 6.2)."""
    fields = [(b"hOST", b"a"), (b"X", b""), (b"X", b"\xe9 ")]
    section = writer.section([b"%b: %b" % field for field in fields])
    assert writer.request_head(b"get", b"http://a/", section) == (
        b"get http://a/ HTTP/1.1\r\nhOST: a\r\nX: \r\nX: \xe9 \r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"OK", b"HTTP/1.1 200 OK\r\n\r\n"),
        (299, b"", b"HTTP/1.1 299 \r\n\r\n"),
        (404, b"Nicht gef\xfcnden", b"HTTP/1.1 404 Nicht gef\xfcnden\r\n\r\n"),
    ],
)
def test_a_status_line(status: int, reason: bytes, line: bytes) -> None:
    """The space before an empty reason is there (RFC 9112 section 4)."""
    assert writer.response_head(OutgoingResponse(status, reason, [])) == line


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, b"OK"), (407, b"Proxy Authentication Required"), (508, b"Loop Detected"), (799, b"")],
)
def test_reasons(status: int, reason: bytes) -> None:
    """Standard phrases, and none for a status without one."""
    assert writer.reason_for(status) == reason


def test_chunks() -> None:
    """Sizes in hexadecimal; trailers between the last chunk and the empty line."""
    assert writer.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert writer.last_chunk(NO_FIELDS) == b"0\r\n\r\n"
    assert writer.last_chunk(Fields([(b"A", b"b")])) == b"0\r\nA: b\r\n\r\n"


NAMES = st.from_regex(rb"X-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
RAW = st.lists(st.tuples(NAMES, VALUES), max_size=8)
METHODS = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)
TARGETS = st.from_regex(rb"[!-~]{1,40}", fullmatch=True)
REASONS = st.from_regex(rb"[\t -~\x80-\xff]{0,20}", fullmatch=True)


@given(METHODS, TARGETS, RAW)
def test_a_request_written_is_the_request_read(
    method: bytes, target: bytes, raw: RawFields
) -> None:
    """Method, target, and every field in order survive the wire."""
    fields = [(b"Host", b"a"), *raw]
    written = writer.request_head(
        method, target, writer.section([b"%b: %b" % field for field in fields])
    )
    read = parser.parse_request(written, HeadLimits())
    assert read == RequestHead(method, target, 1, Fields(fields))


@given(st.integers(100, 999), REASONS, RAW)
def test_a_response_written_is_the_response_read(
    status: int, reason: bytes, raw: RawFields
) -> None:
    """Status, reason, and every field in order survive the wire."""
    written = writer.response_head(OutgoingResponse(status, reason, raw))
    read = parser.parse_response(written, HeadLimits())
    assert read == ResponseHead(status, reason, 1, Fields(raw))
