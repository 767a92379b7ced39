"""The table of RFC 9112 section 6.3: how long is this body?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.wire import framing
from proxyapp.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing, Kind
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import RequestHead, ResponseHead


def request(fields: RawFields, method: bytes = b"POST", minor: int = 1) -> RequestHead:
    """Return the head of a request with *fields*."""
    return RequestHead(method, b"/", minor, Fields(fields))


def response(fields: RawFields, status: int = 200, minor: int = 1) -> ResponseHead:
    """Return the head of a response with *fields*."""
    return ResponseHead(status, b"OK", minor, Fields(fields))


def length(value: bytes) -> tuple[bytes, bytes]:
    """Return a Content-Length line."""
    return b"Content-Length", value


def coding(value: bytes) -> tuple[bytes, bytes]:
    """Return a Transfer-Encoding line."""
    return b"transfer-encoding", value


BAD_LENGTHS = [
    b"",
    b"-1",
    b"+1",
    b"1.0",
    b"0x10",
    b"1 1",
    b"1_000",
    b"1,1",
    b"\xb2",
    b"1" * 20,
    b"0" * 20,
    b"%d" % (1 << 60),
    b"%d" % (1 << 64),
]


@pytest.mark.parametrize("value", BAD_LENGTHS)
def test_a_length_that_is_not_one_plain_number_is_refused(value: bytes) -> None:
    """Requests and responses alike, and long before anybody's integers overflow."""
    with pytest.raises(errors.BadRequest):
        framing.request_framing(request([length(value)]))
    with pytest.raises(errors.BadRequest):
        framing.response_framing(response([length(value)]), b"GET")


def test_two_lengths_are_refused_even_where_they_agree() -> None:
    """RFC 9112 section 6.3 allows that; no honest sender repeats the field."""
    with pytest.raises(errors.BadRequest):
        framing.request_framing(request([length(b"5"), length(b"5")]))


BAD_CODINGS: list[tuple[list[bytes], type[errors.ClientFault]]] = [
    ([b""], errors.BadRequest),
    ([b"gzip"], errors.BadRequest),
    ([b"GZip"], errors.BadRequest),
    ([b"nothing, identity"], errors.BadRequest),
    ([b"nothing", b"identity"], errors.BadRequest),
    ([b"nothing;q=1"], errors.BadRequest),
    ([b"xchunked"], errors.BadRequest),
    ([b"chunked;q=1"], errors.BadRequest),
    ([b'"chunked"'], errors.BadRequest),
    ([b"\x0bchunked"], errors.BadRequest),
    ([b"chunked, gzip"], errors.BadRequest),
    ([b"chunked, chunked"], errors.BadRequest),
    ([b"chunked", b"chunked"], errors.BadRequest),
    ([b"chunked", b"identity"], errors.BadRequest),
    ([b"gzip, chunked"], errors.UnknownTransferCoding),
    ([b"gzip", b"chunked"], errors.UnknownTransferCoding),
    ([b"identity, chunked"], errors.UnknownTransferCoding),
]


@pytest.mark.parametrize(("lines", "error"), BAD_CODINGS)
def test_only_one_final_chunked_is_read(
    lines: list[bytes], error: type[errors.ClientFault]
) -> None:
    """400 where the end can't be known (section 6.3), 501 where it could (section 6.1)."""
    fields = [coding(line) for line in lines]
    with pytest.raises(errors.ClientFault) as raised:
        framing.request_framing(request(fields))
    assert type(raised.value) is error
    with pytest.raises(errors.ClientFault):
        framing.response_framing(response(fields), b"GET")


@pytest.mark.parametrize("name", [b"identity", b"Identity", b"0zO4vd3Uv", b"nothing"])
def test_a_made_up_coding(name: bytes) -> None:
    """A response with it is read until close (section 6.3); where two may differ it is refused."""
    fields = [coding(name)]
    for faulty in (response([*fields, length(b"5")]), response(fields, minor=0)):
        with pytest.raises(errors.BadRequest):
            framing.response_framing(faulty, b"GET")
    with pytest.raises(errors.BadRequest):
        framing.request_framing(request(fields))
    assert framing.response_framing(response(fields), b"GET") is UNTIL_CLOSE
    assert framing.response_framing(response(fields), b"HEAD") is NO_BODY


@pytest.mark.parametrize(
    ("fields", "minor"),
    [
        ([coding(b"chunked"), length(b"5")], 1),
        ([length(b"0"), coding(b"chunked")], 1),
        ([coding(b"chunked")], 0),
    ],
)
def test_framing_that_two_readers_may_see_differently_is_refused(
    fields: RawFields, minor: int
) -> None:
    """Both fields, or chunked in HTTP/1.0: the ground request smuggling grows on."""
    with pytest.raises(errors.BadRequest):
        framing.request_framing(request(fields, minor=minor))
    with pytest.raises(errors.BadRequest):
        framing.response_framing(response(fields, minor=minor), b"GET")


@pytest.mark.parametrize("field", [length(b"5"), coding(b"chunked")])
def test_connect_with_a_body_is_refused(field: tuple[bytes, bytes]) -> None:
    """What follows CONNECT belongs to the tunnel (RFC 9110 section 9.3.6)."""
    with pytest.raises(errors.BadRequest):
        framing.request_framing(request([field], method=b"CONNECT"))


@pytest.mark.parametrize(
    ("fields", "minor", "expected"),
    [
        ([], 1, NO_BODY),
        ([], 0, NO_BODY),
        ([length(b"0")], 1, Framing(Kind.LENGTH, 0)),
        ([length(b"007")], 1, Framing(Kind.LENGTH, 7)),
        ([length(b"5")], 0, Framing(Kind.LENGTH, 5)),
        ([length(b"%d" % ((1 << 60) - 1))], 1, Framing(Kind.LENGTH, (1 << 60) - 1)),
        ([coding(b"chunked")], 1, CHUNKED),
        ([coding(b" Chunked\t")], 1, CHUNKED),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"custom"])
def test_requests(method: bytes, fields: RawFields, minor: int, expected: Framing) -> None:
    """The method says nothing about whether there is a body (section 6)."""
    assert framing.request_framing(request(fields, method, minor)) == expected


@pytest.mark.parametrize("fields", [[], [length(b"0")]])
def test_connect_may_say_that_it_has_no_body(fields: RawFields) -> None:
    """Some clients send Content-Length: 0 with everything."""
    assert framing.request_framing(request(fields, method=b"CONNECT")).length == 0


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (b"HEAD", 200),
        (b"HEAD", 404),
        (b"GET", 100),
        (b"GET", 101),
        (b"GET", 103),
        (b"GET", 204),
        (b"GET", 304),
        (b"CONNECT", 200),
        (b"CONNECT", 299),
    ],
)
@pytest.mark.parametrize("fields", [[], [length(b"5")], [coding(b"chunked")]])
def test_responses_without_a_body(method: bytes, status: int, fields: RawFields) -> None:
    """Whatever their fields say (section 6.3, cases 1 and 2)."""
    assert framing.response_framing(response(fields, status), method) == NO_BODY


@pytest.mark.parametrize(
    ("method", "status", "fields", "expected"),
    [
        (b"GET", 200, [length(b"5")], Framing(Kind.LENGTH, 5)),
        (b"GET", 206, [length(b"0")], Framing(Kind.LENGTH, 0)),
        (b"GET", 205, [length(b"5")], Framing(Kind.LENGTH, 5)),
        (b"GET", 200, [coding(b"chunked")], CHUNKED),
        (b"GET", 200, [], UNTIL_CLOSE),
        (b"head", 200, [], UNTIL_CLOSE),
        (b"CONNECT", 407, [length(b"5")], Framing(Kind.LENGTH, 5)),
        (b"CONNECT", 502, [], UNTIL_CLOSE),
    ],
)
def test_responses_with_a_body(
    method: bytes, status: int, fields: RawFields, expected: Framing
) -> None:
    """A refused CONNECT has a body like anything else; methods are case-sensitive."""
    assert framing.response_framing(response(fields, status), method) == expected


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"content-length"]),
        st.one_of(st.sampled_from([b"chunked", b"5", b"gzip", b"a, chunked"]), st.binary()),
    ),
    max_size=3,
)


@given(FIELDS, st.sampled_from([0, 1]))
def test_whatever_is_accepted_was_said_by_one_line(fields: RawFields, minor: int) -> None:
    """No two framing lines ever make one body."""
    try:
        body = framing.request_framing(request(fields, minor=minor))
    except errors.ClientFault:
        return
    assert len(fields) == (0 if body.kind is Kind.NONE else 1)
