"""Fields keep what arrived, and lists are split where RFC 9110 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.wire import headers
from proxyapp.wire.headers import NO_FIELDS, Fields

COOKIES = [
    (b"Set-Cookie", b"a=1"),
    (b"X-Odd-CASE", b"x"),
    (b"set-cookie", b"b=2"),
    (b"Vary", b"*"),
    (b"SET-COOKIE", b"c=3"),
]


def test_order_case_and_repetition_are_kept() -> None:
    """What is forwarded is exactly what arrived."""
    fields = Fields(COOKIES)
    assert list(fields) == COOKIES
    assert fields.raw == COOKIES
    assert len(fields) == 5


def test_a_field_is_found_under_its_name_in_lower_case() -> None:
    """Look-ups ignore how a name was spelled."""
    fields = Fields(COOKIES)
    assert fields.get(b"x-odd-case") == b"x"
    assert b"vary" in fields
    assert fields.get(b"via") is None
    assert b"via" not in fields


def test_repeated_lines_are_combined_in_order() -> None:
    """RFC 9110 section 5.2: the combined value is the lines, joined by commas."""
    fields = Fields(COOKIES)
    assert fields.get(b"set-cookie") == b"a=1, b=2, c=3"
    assert fields.values(b"set-cookie") == [b"a=1", b"b=2", b"c=3"]
    assert list(fields.names()) == [b"set-cookie", b"x-odd-case", b"vary"]


def test_repeated_names_are_told() -> None:
    """A field that may stand only once can be seen to stand twice."""
    assert Fields(COOKIES).repeated == {b"set-cookie"}
    assert not Fields(COOKIES[:2]).repeated
    assert not NO_FIELDS.repeated


def test_many_repetitions_cost_linear_time() -> None:
    """A head full of one name is combined once, not line by line."""
    fields = Fields([(b"a", b"x" * 100)] * 100_000)
    assert len(fields.get(b"a") or b"") == 100_000 * 102 - 2


def test_fields_are_values() -> None:
    """Equal lines make equal fields; the repr shows them."""
    fields = Fields([(b"A", b"1")])
    assert fields == Fields([(b"A", b"1")])
    assert fields != Fields([(b"a", b"1")])
    assert fields != [(b"A", b"1")]
    assert hash(fields) == hash(Fields([(b"A", b"1")]))
    assert repr(fields) == "<Fields [(b'A', b'1')]>"


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ([], []),
        ([b""], []),
        ([b" ,, ,"], []),
        ([b"close"], [b"close"]),
        ([b"Keep-Alive,TE"], [b"keep-alive", b"te"]),
        ([b"\tTE , ", b"Close"], [b"te", b"close"]),
        ([b'"a, b", C'], [b'"a, b"', b"c"]),
    ],
)
def test_tokens_are_the_elements_in_lower_case(lines: list[bytes], tokens: list[bytes]) -> None:
    """Connection and its like are read over all lines, empty elements dropped."""
    assert Fields([(b"Connection", line) for line in lines]).tokens(b"connection") == tokens


@pytest.mark.parametrize(
    "value", [b"", b" ", b"a b", b"a:", b"a\r", b"a\n", b"\x00", b"\x7f", b"\xe9", b'"a"', b"(a)"]
)
def test_what_no_token_is(value: bytes) -> None:
    """RFC 9110 section 5.6.2: separators, blanks and control characters are out."""
    assert not headers.is_token(value)


def test_every_token_character_is_one() -> None:
    """RFC 9110 section 5.6.2 lists 77 characters."""
    accepted = [byte for byte in range(256) if headers.is_token(bytes([byte]))]
    assert len(accepted) == 77
    assert headers.is_token(bytes(accepted))


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b"", []),
        (b",", []),
        (b"a", [b"a"]),
        (b" a ,b\t,, c", [b"a", b"b", b"c"]),
        (b'"a,b", c', [b'"a,b"', b"c"]),
        (b'W/"a", "b\\",c", d', [b'W/"a"', b'"b\\",c"', b"d"]),
        (b'a="x, y', [b'a="x, y']),
        (b'"\\', [b'"\\']),
    ],
)
def test_commas_inside_quotes_do_not_split(value: bytes, elements: list[bytes]) -> None:
    """RFC 9110 section 5.6.1, and no exception where a quote isn't closed."""
    assert headers.split_list(value) == elements


@pytest.mark.parametrize(
    ("element", "value", "parameters"),
    [
        (b"", b"", {}),
        (b"gzip", b"gzip", {}),
        (b" gzip ; Q=0.5", b"gzip", {b"q": b"0.5"}),
        (b"a;x", b"a", {b"x": b""}),
        (b'a;x="b;c=d";y=1', b"a", {b"x": b"b;c=d", b"y": b"1"}),
        (b'a;x="b\\"c\\\\"', b"a", {b"x": b'b"c\\'}),
        (b";;=;", b"", {}),
    ],
)
def test_parameters_are_taken_apart(
    element: bytes, value: bytes, parameters: dict[bytes, bytes]
) -> None:
    """Names in lower case, quoted strings without quotes (RFC 9110 section 5.6.6)."""
    assert headers.split_parameters(element) == (value, parameters)


WORDS = st.from_regex(rb"[a-z0-9]{1,8}", fullmatch=True)
QUOTED = st.binary(max_size=12).map(
    lambda text: b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
)


@given(st.lists(st.one_of(WORDS, QUOTED), max_size=6))
def test_a_joined_list_is_split_again(elements: list[bytes]) -> None:
    """split_list undoes joining by commas, whatever the quoted strings hold."""
    assert headers.split_list(b" , ".join(elements)) == elements


@given(st.binary(max_size=200))
def test_no_value_breaks_the_splitters(value: bytes) -> None:
    """Any bytes can be taken apart; what comes out was in them."""
    for element in headers.split_list(value):
        assert element in value
        headers.split_parameters(element)
    headers.split_tokens(value)
