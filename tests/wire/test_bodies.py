"""Bodies come out of their framing whole, however the bytes arrive, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.wire import bodies, writer
from proxyapp.wire.bodies import ChunkedDecoder, CloseDecoder, Decoder, LengthDecoder
from proxyapp.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing, Kind
from proxyapp.wire.headers import NO_FIELDS, Fields

AFTER = b"GET / HTTP/1.1\r\n"


def feed(decoder: Decoder, data: bytes, step: int) -> tuple[bytes, bytes]:
    """Give *data* to *decoder*, *step* bytes at a time; return the body and what is behind it."""
    body = rest = b""
    for start in range(0, len(data), step):
        piece, behind = decoder.decode(data[start : start + step])
        assert not behind or decoder.complete
        body += piece
        rest += behind
    return body, rest


def decode(framing: Framing, data: bytes, step: int) -> tuple[bytes, Fields, bytes]:
    """Decode *data* to its end; return body, trailers and what is behind."""
    decoder = bodies.decoder_for(framing)
    body, rest = feed(decoder, data, step)
    assert decoder.complete
    assert decoder.end()
    return body, decoder.trailers, rest


CHUNKED_BODIES = [
    (b"0\r\n\r\n", b"", []),
    (b"000\r\n\r\n", b"", []),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b"3\r\na\r\n\r\n1\r\n\n\r\n0\r\n\r\n", b"a\r\n\n", []),
    (b"0A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", []),
    (b"a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", b"0123456789x", []),
    (b"0000000000000000000003\r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b'3;a;b=c;d="e;f"\r\nabc\r\n0;x\r\n\r\n', b"abc", []),
    (b"3 \t; a\xff\r\nabc\r\n0 \r\n\r\n", b"abc", []),
    (b"3;%b\r\nabc\r\n0\r\n\r\n" % (b"x" * 254), b"abc", []),
    (b"0\r\nA: b\r\nA:c \r\n\r\n", b"", [(b"A", b"b"), (b"A", b"c")]),
    (b"1\r\nx\r\n0\r\n%b\r\n" % (b"A: b\r\n" * 64), b"x", [(b"A", b"b")] * 64),
]


@pytest.mark.parametrize(("data", "body", "trailers"), CHUNKED_BODIES)
def test_chunked_bodies(data: bytes, body: bytes, trailers: list[tuple[bytes, bytes]]) -> None:
    """Whole, in pieces of any size, and with the next message behind them."""
    expected = body, Fields(trailers)
    for step in (len(data), 1, 2, 3, 7):
        assert decode(CHUNKED, data, step) == (*expected, b"")
        assert decode(CHUNKED, data + AFTER, step) == (*expected, AFTER)
    assert decode(CHUNKED, data + AFTER, len(data + AFTER)) == (*expected, AFTER)


BAD_CHUNKED = [
    b"\r\n",
    b"x\r\n",
    b" 3\r\nabc\r\n",
    b"-3\r\nabc\r\n",
    b"+3\r\nabc\r\n",
    b"0x3\r\nabc\r\n",
    b"3_0\r\nabc\r\n",
    b"3 3\r\nabc\r\n",
    b"3abcg\r\n",
    b";a\r\n",
    b"3\nabc\r\n",
    b"3\rabc\r\n",
    b"3\r\r\nabc\r\n",
    b"3;a\rb\r\nabc\r\n",
    b"3;a\nb\r\nabc\r\n",
    b"3;\x00\r\nabc\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\rx0\r\n\r\n",
    b"1%b\r\n" % (b"0" * 15),
    b"ffffffffffffffff\r\n",
    b"fffffffffffffffffffff\r\n",
    b"0" * 257 + b"\r\n\r\n",
    b"3;%b\r\nabc\r\n0\r\n\r\n" % (b"x" * 255),
    b"3;" + b"x" * 300,
    b"0\r\nA b\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA: b\n\r\n\r\n",
    b"0\r\nA: b\n\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\n\nA: b\r\n\r\n",
    b"0\r\nContent-Length: 3\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\n%b\r\n" % (b"A: b\r\n" * 65),
    b"0\r\nA: %b\r\n\r\n" % (b"x" * (16 * 1024 - 6)),
    b"0\r\nA: " + b"x" * 16 * 1024,
]


@pytest.mark.parametrize("data", BAD_CHUNKED)
def test_broken_chunked_bodies(data: bytes) -> None:
    """RFC 9112 section 7.1 to the letter: CRLF only, bounded lines, nothing guessed."""
    for sent, step in [(data, len(data)), (data, 1), (data + AFTER, len(data + AFTER))]:
        with pytest.raises(errors.BadRequest):
            feed(ChunkedDecoder(), sent, step)


def test_the_largest_trailer_section_passes() -> None:
    """The limit counts the empty line as well."""
    section = b"A: " + b"x" * (16 * 1024 - 7) + b"\r\n\r\n"
    for step in (1, 1000, 20_000):
        assert len(decode(CHUNKED, b"0\r\n" + section, step)[1]) == 1


def test_fat_extensions_without_end_are_refused() -> None:
    """More framing than data is an attack on whoever counts only data."""
    line = b"1;%b\r\nx\r\n" % (b"x" * 200)
    with pytest.raises(errors.BadRequest, match="framing"):
        feed(ChunkedDecoder(), line * 1000, len(line))


def test_small_chunks_without_extensions_pass() -> None:
    """One byte a chunk is silly, and legal for as long as it likes."""
    body, trailers, _ = decode(CHUNKED, b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n", 4096)
    assert body == b"x" * 100_000
    assert trailers == NO_FIELDS


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", [b"fffffff\r\n", b"0\r\nA: "])
def test_small_pieces_cost_linear_time(data: bytes) -> None:
    """A large chunk byte by byte, and a long trailer likewise; nothing is gathered or rescanned."""
    decoder = ChunkedDecoder()
    decoder.decode(data if data[:1] == b"0" else data + b"x" * (64 << 20))
    for _ in range(16_000):
        decoder.decode(b"x")
    assert not decoder.complete


def test_data_is_handed_on_as_it_comes() -> None:
    """The first byte of a chunk doesn't wait for its last."""
    decoder = ChunkedDecoder()
    assert decoder.decode(b"5\r\nab") == (b"ab", b"")
    assert decoder.decode(b"c") == (b"c", b"")
    assert decoder.decode(b"de\r") == (b"de", b"")
    assert decoder.decode(b"\n2\r\nfg\r\n") == (b"fg", b"")


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r", b"5\r\nabc", b"5\r\nabcde", b"0\r\n", b"0\r\n\r", b"0\r\nA: b\r\n"]
)
def test_a_chunked_body_cut_short_is_not_complete(data: bytes) -> None:
    """Without its last chunk and empty line it has no legal end (RFC 9112 section 8)."""
    decoder = ChunkedDecoder()
    feed(decoder, data, 1)
    assert not decoder.complete
    assert not decoder.end()


@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_bodies_of_known_length(length: int, step: int) -> None:
    """Exactly so many bytes, and the rest is the next message's."""
    data = b"0123456789"[:length]
    expected = data, NO_FIELDS
    assert decode(Framing(Kind.LENGTH, length), data, step) == (*expected, b"")
    assert decode(Framing(Kind.LENGTH, length), data + AFTER, step) == (*expected, AFTER)


@pytest.mark.parametrize("framing", [NO_BODY, Framing(Kind.LENGTH, 0)])
def test_no_body_is_complete_at_once(framing: Framing) -> None:
    """Its decoder waits for nothing and takes nothing."""
    decoder = bodies.decoder_for(framing)
    assert decoder.complete
    assert decoder.end()
    assert decoder.decode(AFTER) == (b"", AFTER)


def test_a_body_of_known_length_cut_short_is_not_complete() -> None:
    """What is missing is told apart from what ended."""
    decoder = LengthDecoder(5)
    assert decoder.decode(b"abc") == (b"abc", b"")
    assert not decoder.end()
    assert decoder.remaining == 2


def test_spliced_bytes_count() -> None:
    """What went through the kernel is body as well."""
    decoder = LengthDecoder(1 << 40)
    decoder.decode(b"abc")
    decoder.skip((1 << 40) - 4)
    assert not decoder.complete
    decoder.skip(1)
    assert decoder.complete


def test_a_body_until_close_takes_everything() -> None:
    """Only the end of the connection ends it."""
    decoder = bodies.decoder_for(UNTIL_CLOSE)
    assert isinstance(decoder, CloseDecoder)
    assert feed(decoder, AFTER, 1) == (AFTER, b"")
    assert not decoder.complete
    assert decoder.end()
    assert decoder.complete
    assert decoder.trailers == NO_FIELDS


TRAILERS = st.lists(
    st.tuples(
        st.from_regex(rb"X-[A-Za-z0-9]{1,8}", fullmatch=True),
        st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,10}[!-~])?)?", fullmatch=True),
    ),
    max_size=4,
)


@given(st.lists(st.binary(min_size=1), max_size=5), TRAILERS, st.integers(1, 50), st.binary())
def test_what_the_writer_chunks_the_decoder_joins(
    pieces: list[bytes], trailers: list[tuple[bytes, bytes]], step: int, after: bytes
) -> None:
    """A round trip keeps the body, the trailers, and the bytes behind them."""
    data = b"".join(map(writer.chunk, pieces)) + writer.last_chunk(Fields(trailers))
    expected = b"".join(pieces), Fields(trailers), after
    assert decode(CHUNKED, data + after, step) == expected
