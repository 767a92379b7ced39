"""Ranges: which parts of a file a request is sent."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.conditions import Validators
from proxyapp.rules.ranges import (
    MOST_PARTS,
    ByteRange,
    Extent,
    coalesced,
    content_range_unsatisfied,
    if_range_holds,
    parse_ranges,
    select_ranges,
)
from proxyapp.wire.headers import Fields
from tests.rules.validatorstage import (
    AFTER,
    BEFORE,
    NOTHING_KNOWN,
    SUNDAY_TEXT,
    VALIDATORS,
    WEAK,
    fields,
)

WHOLE, NONE = Extent.WHOLE, Extent.UNSATISFIABLE

Parts: TypeAlias = Extent | list[tuple[int, int]]


def as_listed(parts: Parts) -> Extent | tuple[ByteRange, ...]:
    """Return *parts* as the rules would."""
    return parts if isinstance(parts, Extent) else tuple(ByteRange(*part) for part in parts)


# One range.

ONE_RANGE: list[tuple[bytes, Parts]] = [
    # Malformed, or of another unit: the whole.
    (b"", WHOLE),
    (b"bytes", WHOLE),
    (b"bytes=", WHOLE),
    (b"bytes=-", WHOLE),
    (b"bytes=,", WHOLE),
    (b"bytes= \t", WHOLE),
    (b"bytes=a-b", WHOLE),
    (b"bytes=1", WHOLE),
    (b"bytes=4-2", WHOLE),
    (b"bytes=--2", WHOLE),
    (b"bytes=-2-", WHOLE),
    (b"bytes=+1-2", WHOLE),
    (b"bytes=0x1-2", WHOLE),
    (b"bytes=1 -2", WHOLE),
    (b"bytes=1- 2", WHOLE),
    (b"bytes=- 2", WHOLE),
    (b"bytes=1_0-", WHOLE),
    (b"bytes=1.0-2", WHOLE),
    (b"bytes=0-1/10", WHOLE),
    (b"bytes=\xd9\xa1-", WHOLE),
    (b"bytes=0\xe2\x80\x932", WHOLE),
    (b"bytes:0-1", WHOLE),
    (b"bytes =0-1", WHOLE),
    (b"=0-1", WHOLE),
    (b"0-1", WHOLE),
    (b"items=0-1", WHOLE),
    (b"bytes=bytes=0-1", WHOLE),
    (b"bytes=0-1;x=y", WHOLE),
    (b'bytes="0-1"', WHOLE),
    # Well-formed, and past the end.
    (b"bytes=-0", NONE),
    (b"bytes=-000", NONE),
    (b"bytes=10-", NONE),
    (b"bytes=10-10", NONE),
    (b"bytes=11-99", NONE),
    (b"bytes=99999999999999999999-", NONE),
    # 2**64 and 2**64 + 1: what wraps around elsewhere.
    (b"bytes=18446744073709551616-18446744073709551617", NONE),
    (b"bytes=" + b"9" * 5000 + b"-", NONE),
    # A part.
    (b"bytes=0-0", [(0, 1)]),
    (b"bytes=0-4", [(0, 5)]),
    (b"bytes=2-", [(2, 8)]),
    (b"bytes=9-", [(9, 1)]),
    (b"bytes=9-9", [(9, 1)]),
    (b"bytes=0-", [(0, 10)]),
    (b"bytes=0-9", [(0, 10)]),
    (b"bytes=0-10", [(0, 10)]),
    (b"bytes=5-99999999999999999999999", [(5, 5)]),
    (b"bytes=0-" + b"9" * 5000, [(0, 10)]),
    (b"bytes=" + b"0" * 5000 + b"3-" + b"0" * 5000 + b"4", [(3, 2)]),
    (b"bytes=-1", [(9, 1)]),
    (b"bytes=-01", [(9, 1)]),
    (b"bytes=-10", [(0, 10)]),
    (b"bytes=-30", [(0, 10)]),
    (b"bytes=-9223372036854775808", [(0, 10)]),
    (b"bytes=-" + b"9" * 5000, [(0, 10)]),
    (b"BYTES=0-0", [(0, 1)]),
    (b"bytes= 0-0\t", [(0, 1)]),
    (b"bytes=0-0, ,", [(0, 1)]),
    (b"bytes=,, 0-0", [(0, 1)]),
]


@pytest.mark.parametrize(("value", "parts"), ONE_RANGE)
def test_a_range_of_ten_bytes(value: bytes, parts: Parts) -> None:
    """A range in bytes is followed or unsatisfiable; everything else means the whole."""
    assert parse_ranges(value, 10) == as_listed(parts)


@pytest.mark.parametrize(
    "value", [b"bytes=0-", b"bytes=0-0", b"bytes=5-", b"bytes=-5", b"bytes=-0", b"bytes=0-,5-"]
)
def test_an_empty_file_has_no_ranges(value: bytes) -> None:
    """An empty representation is sent whole, whatever part is asked."""
    assert parse_ranges(value, 0) is WHOLE


# Several ranges.

MANY_SMALL = b",".join(b"%d-%d" % (at, at) for at in range(0, 100_000, 100))

SEVERAL_RANGES: list[tuple[bytes, Parts]] = [
    # One that is wrong spoils the rest.
    (b"bytes=0-1,x", WHOLE),
    (b"bytes=0-1,900-800", WHOLE),
    (b"bytes=0-1,,-", WHOLE),
    (b"bytes=0-1;500-501", WHOLE),
    (b"bytes=0-1, bytes=500-501", WHOLE),
    (b"bytes=200000-, x", WHOLE),
    # Nothing of them exists.
    (b"bytes=100000-,-0", NONE),
    (b"bytes=100000-100001,200000-", NONE),
    # Too many, or more than the file.
    (b"bytes=" + MANY_SMALL, WHOLE),
    (b"bytes=0-49999,50100-", WHOLE),
    (b"bytes=0-99800,99999-", WHOLE),
    # What doesn't exist is left out.
    (b"bytes=0-1,100000-", [(0, 2)]),
    (b"bytes=-0,0-1", [(0, 2)]),
    (b"bytes=500-501,100000-,0-1", [(500, 2), (0, 2)]),
    # Overlaps, neighbours and small gaps are joined.
    (b"bytes=0-9,0-9", [(0, 10)]),
    (b"bytes=" + b"0-9," * 2000, [(0, 10)]),
    (b"bytes=0-9,5-19", [(0, 20)]),
    (b"bytes=5-19,0-9", [(0, 20)]),
    (b"bytes=0-99,10-19", [(0, 100)]),
    (b"bytes=0-9,10-19", [(0, 20)]),
    (b"bytes=0-9,89-90", [(0, 91)]),
    (b"bytes=0-9,90-91", [(0, 10), (90, 2)]),
    (b"bytes=0-,-1,50-", [(0, 100_000)]),
    (b"bytes=0-50000,50001-", [(0, 100_000)]),
    # The order asked for is kept, and what is joined stands where its first part stood.
    (b"bytes=500-501,0-1", [(500, 2), (0, 2)]),
    (b"bytes=-5, 0-4", [(99_995, 5), (0, 5)]),
    (b"bytes=500-509,0-4,510-519", [(500, 20), (0, 5)]),
    (b"bytes=900-901,0-4,5-9,500-501", [(900, 2), (0, 10), (500, 2)]),
    (b"bytes=0-1\t,\t500-501 ,", [(0, 2), (500, 2)]),
]


@pytest.mark.parametrize(("value", "parts"), SEVERAL_RANGES)
def test_ranges_of_a_hundred_thousand_bytes(value: bytes, parts: Parts) -> None:
    """Several ranges are joined where that is cheaper, and never cost more than the whole."""
    assert parse_ranges(value, 100_000) == as_listed(parts)


@pytest.mark.parametrize(("count", "is_whole"), [(MOST_PARTS, False), (MOST_PARTS + 1, True)])
def test_the_number_of_parts_is_bounded(count: int, is_whole: bool) -> None:
    """What is left after joining may be 32 parts; with more, the whole is sent."""
    texts = (b"%d-%d,%d-%d" % (at, at, at + 1, at + 1) for at in range(0, count * 1000, 1000))
    parts = parse_ranges(b"bytes=" + b",".join(texts), 1_000_000)
    assert (parts is WHOLE) is is_whole
    if not isinstance(parts, Extent):
        assert len(parts) == count


range_text = st.one_of(
    st.from_regex(rb"[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.binary(max_size=4)
)


@given(st.lists(range_text, max_size=40).map(b",".join), st.integers(0, 12_000))
def test_parts_never_leave_the_file(texts: bytes, total: int) -> None:
    """Whatever is asked, parts aren't empty, lie inside, and share no byte."""
    parts = parse_ranges(b"bytes=" + texts, total)
    if isinstance(parts, Extent):
        return
    assert 0 < len(parts) <= MOST_PARTS
    seen: set[int] = set()
    for part in parts:
        bytes_of_it = range(part.offset, part.end)
        assert part.size > 0
        assert 0 <= part.offset < part.end <= total
        assert seen.isdisjoint(bytes_of_it)
        seen.update(bytes_of_it)


part_in_file = st.builds(ByteRange, st.integers(0, 2000), st.integers(1, 300))


@given(st.lists(part_in_file, min_size=1, max_size=12))
def test_joining_loses_no_byte(asked: list[ByteRange]) -> None:
    """All that was asked is in what is joined, and nothing is joined again."""
    parts = coalesced(asked)
    covered = {at for part in parts for at in range(part.offset, part.end)}
    assert covered.issuperset(at for part in asked for at in range(part.offset, part.end))
    assert coalesced(parts) == parts


# The fields.


def test_content_range_names_first_last_and_total() -> None:
    """Content-Range counts from 0 and includes the last byte."""
    assert ByteRange(2, 3).content_range(10) == b"bytes 2-4/10"
    assert content_range_unsatisfied(10) == b"bytes */10"


@pytest.mark.parametrize(
    ("validators", "value", "holds"),
    [
        (VALIDATORS, b"", False),
        (VALIDATORS, b"a", False),
        (VALIDATORS, b"*", False),
        (VALIDATORS, b'"b"', False),
        (VALIDATORS, b'W/"a"', False),
        (VALIDATORS, b'"a", "b"', False),
        (VALIDATORS, BEFORE, False),
        (VALIDATORS, AFTER, False),
        (VALIDATORS, SUNDAY_TEXT.replace(b"GMT", b"UTC"), False),
        (WEAK, b'"a"', False),
        (WEAK, b'W/"a"', False),
        (NOTHING_KNOWN, b'"a"', False),
        (NOTHING_KNOWN, SUNDAY_TEXT, False),
        (VALIDATORS, b'"a"', True),
        (VALIDATORS, SUNDAY_TEXT, True),
        (VALIDATORS, b"Sunday, 06-Nov-94 08:49:37 GMT", True),
        (VALIDATORS, b"Sun Nov  6 08:49:37 1994", True),
    ],
)
def test_if_range_wants_the_very_same_file(
    validators: Validators, value: bytes, holds: bool
) -> None:
    """A part is sent only where tag (strongly) or date (exactly) are the same."""
    asked = fields(Range=b"bytes=0-0", If_Range=value)
    assert if_range_holds(asked, validators) is holds
    expected = (ByteRange(0, 1),) if holds else WHOLE
    assert select_ranges(b"GET", asked, validators, 10) == expected


@pytest.mark.parametrize(
    ("method", "asked", "parts"),
    [
        (b"HEAD", fields(Range=b"bytes=0-0"), WHOLE),
        (b"HEAD", fields(Range=b"bytes=20-"), WHOLE),
        (b"POST", fields(Range=b"bytes=0-0"), WHOLE),
        (b"GET", fields(), WHOLE),
        (b"GET", fields(If_Range=b'"a"'), WHOLE),
        (b"GET", Fields([(b"Range", b"bytes=0-0"), (b"Range", b"bytes=1-1")]), WHOLE),
        (b"GET", fields(Range=b"bytes=20-", If_Range=b'"b"'), WHOLE),
        (b"GET", fields(Range=b"bytes=20-", If_Range=b'"a"'), NONE),
        (b"GET", fields(Range=b"bytes=1-2"), [(1, 2)]),
    ],
)
def test_ranges_are_for_get(method: bytes, asked: Fields, parts: Parts) -> None:
    """GET alone has ranges (section 14.2), and a false If-Range also hides an unsatisfiable one."""
    assert select_ranges(method, asked, VALIDATORS, 10) == as_listed(parts)


@given(st.binary(max_size=60))
def test_no_if_range_breaks_the_judge(value: bytes) -> None:
    """Whatever stands in If-Range, there is an answer."""
    assert if_range_holds(fields(If_Range=value), VALIDATORS) in (True, False)
