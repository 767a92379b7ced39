"""Whatever arrives, the parsers answer with a message or with one of our errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.wire import bodies, framing, parser, target, writer
from proxyapp.wire.headers import Fields
from proxyapp.wire.heads import HeadLimits, HeadReader
from proxyapp.wire.messages import OutgoingResponse, RequestHead, ResponseHead

LIMITS = HeadLimits(size=2048, fields=16)

SEEDS = [
    b"GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n\x16\x03\x01",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
    b"HTTP/1.0 404\r\n\r\nuntil close",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
]
# What a byte has to be to mean something, and what is cut and pasted between messages.
PIECES = [
    *(bytes([byte]) for byte in b'\x00\t\n\r ",:;/?#@[]%0=\\\x7f\x80\xff'),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Host: b\r\n",
    b"HTTP/1.1 ",
    b"://",
    b"x" * 3000,
    b"A:\r\n" * 20,
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return messages in a row, with some places cut out, overwritten, or pasted into."""
    data = b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 8))
        data = data[:start] + draw(st.sampled_from([b"", *PIECES])) + data[end:]
    return data


ANYTHING = st.one_of(st.binary(max_size=200), mutated())
STEPS = st.sampled_from([1, 2, 5, 64, 1 << 20])
# One letter or digit, and one octet past ASCII, stands for those that are treated like it.
_ALIKE = b"bcdeghijklmnopqrstuvwxyBCDEGHIJKLMNOPQRSTUVWXY234678" + bytes(range(0x81, 0xFF))
TELLING = [octet for octet in range(256) if octet not in _ALIKE]


def take_request(head: bytes) -> framing.Framing:
    """Read *head* as server.py does; return how its body is framed."""
    request = parser.parse_request(head, LIMITS)
    asked = target.parse_target(request.method, request.target)
    target.check_host(asked, request.fields)
    body = framing.request_framing(request)
    check_request(request, asked)
    return body


def take_response(head: bytes) -> framing.Framing:
    """Read *head* as upstream.py does; return how its body is framed."""
    response = parser.parse_response(head, LIMITS)
    body = framing.response_framing(response, b"GET")
    check_response(response)
    return body


def check_request(request: RequestHead, asked: target.Target) -> None:
    """What we took and wrote again is read as the same head, for the same origin."""
    written = writer.request_head(
        request.method, request.target, writer.section(request.fields.lines)
    )
    if request.minor:
        assert parser.parse_request(written, HeadLimits(1 << 20, 16)) == request
    if asked.origin is not None:
        again = target.parse_authority(asked.origin.scheme, asked.origin.authority)
        assert again == asked.origin
    assert b" " not in asked.path
    check_fields(request.fields)


def check_response(response: ResponseHead) -> None:
    """What we took and wrote again is read as the same head."""
    fields = response.fields
    written = writer.response_head(OutgoingResponse(response.status, response.reason, fields.raw))
    again = parser.parse_response(written, HeadLimits(1 << 20, 16))
    assert again == replace(response, minor=1)
    check_fields(fields)


def check_fields(fields: Fields) -> None:
    """Every line is one clean line."""
    for name, value in fields:
        assert name
        assert value == value.strip(b" \t")
        assert not set(name + value) & set(b"\r\n\x00")
        assert b":" not in name


def converse(data: bytes, step: int, take: Callable[[bytes], framing.Framing]) -> list[object]:
    """Read message after message from *data*, *step* bytes at a time; return what came of it.

    The last entry is the class of the error that ended it, or what was being read.
    """
    reader = HeadReader(LIMITS)
    decoder: bodies.Decoder | None = None
    told: list[object] = []
    body = b""
    try:
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            while not reader.is_empty:
                if decoder is None:
                    head = reader.next_head()
                    if head is None:
                        break
                    decoder = bodies.decoder_for(take(head))
                    told.append(head)
                piece, rest = decoder.decode(reader.take_rest())
                body += piece
                if decoder.complete:
                    told += [body, decoder.trailers]
                    decoder, body = None, b""
                reader.feed(rest)
    except errors.ExchangeError as error:
        return [*told, isinstance(error, errors.ClientFault)]
    return [*told, body, reader.take_rest()]


@settings(max_examples=600, deadline=None)
@given(ANYTHING, STEPS)
def test_requests(data: bytes, step: int) -> None:
    """Any bytes are requests or the client's fault, and the same however they arrive."""
    whole = converse(data, 1 << 20, take_request)
    assert whole[-1] is not False
    assert converse(data, step, take_request) == whole


@settings(max_examples=600, deadline=None)
@given(ANYTHING, STEPS)
def test_responses(data: bytes, step: int) -> None:
    """Any bytes are responses or a fault of who sent them, and the same however they arrive."""
    whole = converse(data, 1 << 20, take_response)
    assert whole[-1] is not False
    assert converse(data, step, take_response) == whole


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=100), mutated()), st.lists(STEPS, min_size=1, max_size=8))
def test_chunked_bodies(data: bytes, steps: list[int]) -> None:
    """A body comes out or a BadRequest, in pieces of any size, and never more than went in."""
    decoder = bodies.ChunkedDecoder()
    came, position = 0, 0
    try:
        for step in steps:
            piece, rest = decoder.decode(data[position : position + step])
            position += step
            came += len(piece) + len(rest)
    except errors.BadRequest:
        return
    assert came <= len(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100))
def test_fields_and_trailers(section: bytes) -> None:
    """Any section of lines is fields, or a fault; what passes reads the same when written."""
    try:
        fields = parser.parse_trailers(section.replace(b"\r\n\r\n", b"") + b"\r\n\r\n", LIMITS)
    except errors.BadRequest:
        return
    check_fields(fields)
    if len(fields):
        assert parser.parse_trailers(writer.section(fields.lines), LIMITS) == fields


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"GET", b"CONNECT", b"OPTIONS"]),
    st.one_of(
        st.binary(max_size=60),
        st.text("htps:/[].@%?#*a1-_\\", max_size=30).map(str.encode),
        st.text("0123456789.:x[]a", max_size=20).map(lambda text: b"http://" + text.encode()),
    ),
    st.binary(max_size=20),
)
def test_targets_and_hosts(method: bytes, raw: bytes, host: bytes) -> None:
    """Any bytes are a target or a BadRequest, and so is any Host beside it."""
    try:
        asked = target.parse_target(method, raw)
        target.check_host(asked, Fields([(b"Host", host)]))
    except errors.BadRequest:
        return
    if asked.origin is not None:
        assert 0 < asked.origin.port < 65536
        assert asked.origin.host.isascii()
        assert target.parse_authority(asked.origin.scheme, host or raw)


def test_one_wrong_byte_anywhere() -> None:
    """Any byte at every place of every seed: a message or a fault, whole or in pieces."""
    for seed in SEEDS:
        take = take_response if seed.startswith(b"HTTP") else take_request
        for position in range(len(seed)):
            for byte in TELLING:
                data = seed[:position] + bytes([byte]) + seed[position + 1 :]
                whole = converse(data, 1 << 20, take)
                assert whole[-1] is not False
                assert converse(data, 7, take) == whole, data
