"""The body of several parts, read back by the MIME parser of the Python library."""

from __future__ import annotations

import email.parser
import email.policy
import mimetypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.multipart import Multipart, plan
from proxyapp.rules.ranges import ByteRange, Extent, parse_ranges
from proxyapp.site.mediatypes import content_type

CONTENT = bytes(range(256)) * 40
TOTAL = len(CONTENT)
BOUNDARY = b"0123456789abcdef0123456789abcdef"
LONGEST_TYPE = max((content_type(suffix.encode()) for suffix in mimetypes.types_map), key=len)


def body_of(planned: Multipart) -> bytes:
    """Return the body that *planned* makes of CONTENT."""
    return b"".join(
        CONTENT[piece.offset : piece.end] if isinstance(piece, ByteRange) else piece
        for piece in planned.pieces
    )


def parts_in(planned: Multipart) -> list[tuple[str, str]]:
    """Return type and Content-Range of each part, as the MIME parser sees them."""
    text = b"Content-Type: %b\r\n\r\n%b" % (planned.content_type, body_of(planned))
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text)
    assert message.get_content_type() == "multipart/byteranges"
    assert message.preamble in (None, "")
    assert not message.defects
    return [(part["Content-Type"], part["Content-Range"]) for part in message.iter_parts()]


@pytest.mark.parametrize(
    "boundary", [b"", b"a b", b'a"b', b"a,b", b"a:b", b"a=b", b"a\r\nb", b"\xe4", b"a" * 71]
)
def test_a_boundary_needs_no_quotes(boundary: bytes) -> None:
    """What would have to be quoted, or is too long, is refused."""
    with pytest.raises(ValueError, match="boundary"):
        plan([ByteRange(0, 1)], 10, b"text/plain", boundary)


def test_the_exact_bytes() -> None:
    """The body begins with the boundary, and each line of it ends in CRLF."""
    planned = plan((ByteRange(0, 2), ByteRange(7, 1)), 10, b"text/plain", b"x")
    assert planned.pieces == (
        b"--x\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n",
        ByteRange(0, 2),
        b"\r\n--x\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-7/10\r\n\r\n",
        ByteRange(7, 1),
        b"\r\n--x--\r\n",
    )
    assert planned.content_type == b"multipart/byteranges; boundary=x"


def test_a_file_without_a_type_has_parts_without_one() -> None:
    """No Content-Type is made up (RFC 9110 section 15.3.7.2)."""
    planned = plan((ByteRange(0, 2), ByteRange(7, 1)), 10, b"", b"x")
    assert planned.pieces[0] == b"--x\r\nContent-Range: bytes 0-1/10\r\n\r\n"


part_in_file = st.tuples(st.integers(0, TOTAL - 1), st.integers(1, 300)).map(
    lambda pair: ByteRange(pair[0], min(pair[1], TOTAL - pair[0]))
)


@given(st.lists(part_in_file, min_size=1, max_size=6))
def test_a_mime_parser_finds_the_parts(ranges: list[ByteRange]) -> None:
    """Each part comes back with its type and place; the length is that of the body."""
    planned = plan(ranges, TOTAL, b"application/octet-stream", BOUNDARY)
    assert planned.size == len(body_of(planned))
    assert parts_in(planned) == [
        ("application/octet-stream", part.content_range(TOTAL).decode()) for part in ranges
    ]
    body, at = body_of(planned), 0
    for piece in planned.pieces:
        size = piece.size if isinstance(piece, ByteRange) else len(piece)
        if isinstance(piece, ByteRange):
            assert body[at : at + size] == CONTENT[piece.offset : piece.end]
        at += size


@given(
    st.lists(st.from_regex(rb"[0-9]{0,5}-[0-9]{0,5}", fullmatch=True), max_size=40),
    st.integers(1, 99_999),
)
def test_no_answer_is_longer_than_the_file(texts: list[bytes], total: int) -> None:
    """With the longest media type, too, several parts never take more than the whole."""
    parts = parse_ranges(b"bytes=" + b",".join(texts), total)
    if not isinstance(parts, Extent) and len(parts) > 1:
        assert plan(parts, total, LONGEST_TYPE, BOUNDARY).size <= total


def test_no_answer_is_longer_than_the_file_at_the_edge() -> None:
    """The most that parts may cost covers what they do cost, up to 100 terabytes."""
    total = 99 * 10**12
    parts = parse_ranges(b"bytes=0-1,500-%d" % (total - 1001), total)
    assert not isinstance(parts, Extent)
    assert plan(parts, total, LONGEST_TYPE, BOUNDARY).size <= total
