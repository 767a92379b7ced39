"""Preconditions, and the dates and tags in them."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.conditions import (
    AnyTag,
    EntityTag,
    Outcome,
    Validators,
    evaluate,
    http_date,
    parse_entity_tag,
    parse_entity_tags,
    parse_http_date,
)
from proxyapp.wire.headers import Fields
from tests.rules.validatorstage import (
    AFTER,
    BEFORE,
    NOTHING_KNOWN,
    SUNDAY,
    SUNDAY_TEXT,
    VALIDATORS,
    WEAK,
    fields,
)

FAIL, SAME, SEND = Outcome.PRECONDITION_FAILED, Outcome.NOT_MODIFIED, Outcome.SEND


# Entity tags.


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a",
        b'"a',
        b'a"',
        b"'a'",
        b'w/"a"',
        b'W/ "a"',
        b'W/a"',
        b'"a" "b"',
        b'"a", "b"',
        b'"a b"',
        b'"a\x7f"',
        b'"a\tb"',
        b'"a"b"',
        b"*",
        b'W/W/"a"',
        b'"a"-gzip',
        b'""a""',
    ],
)
def test_what_is_not_one_entity_tag_is_none(value: bytes) -> None:
    """Only quotes around visible characters, with or without W/, make a tag."""
    assert parse_entity_tag(value) is None


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'""', EntityTag(b"")),
        (b'"a"', EntityTag(b"a")),
        (b' "a"\t', EntityTag(b"a")),
        (b'W/"a"', EntityTag(b"a", is_weak=True)),
        (b'"a,b"', EntityTag(b"a,b")),
        (b'"a\\"', EntityTag(b"a\\")),
        (b'"\xc3\xa4"', EntityTag(b"\xc3\xa4")),
    ],
)
def test_an_entity_tag_is_what_stands_between_the_quotes(value: bytes, tag: EntityTag) -> None:
    """Commas, backslashes and bytes past ASCII are characters of the tag like any other."""
    assert parse_entity_tag(value) == tag
    assert bytes(tag) == value.strip(b" \t")


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b"", ()),
        (b"a", ()),
        (b'"a", b', ()),
        (b'a, "b"', ()),
        (b'"a" "b"', ()),
        (b'"a""b"', ()),
        (b'"a", *', ()),
        (b'*, "a"', ()),
        (b"**", ()),
        (b'"a", "b', ()),
        (b" * ", AnyTag.ANY),
        (b'"a"', (EntityTag(b"a"),)),
        (b'W/"a" ,"b"', (EntityTag(b"a", is_weak=True), EntityTag(b"b"))),
        (b', ,"a",, "b",', (EntityTag(b"a"), EntityTag(b"b"))),
        (b'"a,\\", "b"', (EntityTag(b"a,\\"), EntityTag(b"b"))),
    ],
)
def test_a_list_of_tags_is_read_whole_or_not_at_all(
    value: bytes, tags: tuple[EntityTag, ...]
) -> None:
    """Empty elements are skipped; one bad element spoils the list."""
    assert parse_entity_tags(value) == tags


@given(
    st.lists(
        st.builds(
            EntityTag,
            st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E)).map(str.encode),
            st.booleans(),
        )
    )
)
def test_tags_survive_the_way_through_a_list(tags: list[EntityTag]) -> None:
    """What is written as a list is read as the same tags."""
    assert parse_entity_tags(b", ".join(map(bytes, tags))) == tuple(tags)


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [  # The table of RFC 9110 section 8.8.3.2.
        (b'W/"1"', b'W/"1"', False, True),
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'W/"1"', False, True),
        (b'"1"', b'"1"', True, True),
    ],
)
def test_two_ways_to_compare_tags(one: bytes, other: bytes, strongly: bool, weakly: bool) -> None:
    """The strong comparison takes no weak tag, the weak one looks at the characters alone."""
    first, second = parse_entity_tag(one), parse_entity_tag(other)
    assert first is not None
    assert second is not None
    assert first.is_same_bytes(second) is strongly
    assert first.is_equivalent(second) is weakly


# Dates.


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"784111777",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 09:49:37 +0100",
        b"sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun,  06 Nov 1994 08:49:37 GMT",
        b"Sun 06 Nov 1994 08:49:37 GMT",
        b"06 Nov 1994 08:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b"Sun, 06 Nov 1994 08:49:37 GMT; length=1234",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun Nov 06 08:49:37 1994 GMT",
        b"Sun Nov 6 08:49:37 1994",
        b"Sunday, 06 Nov 1994 08:49:37 GMT",
        b"Sun, \xd9\xa0\xd9\xa6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT" * 1000,
    ],
)
def test_a_broken_date_is_none(value: bytes) -> None:
    """Nothing but the three forms of RFC 9110 section 5.6.7 is a date."""
    assert parse_http_date(value) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (SUNDAY_TEXT, SUNDAY),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", SUNDAY),
        (b"Sun Nov  6 08:49:37 1994", SUNDAY),
        (b"Wed Nov 16 08:49:37 1994", SUNDAY + 10 * 86400),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
        (b"Friday, 01-Jan-70 00:00:00 GMT", 0),
        (b"Tuesday, 01-Jan-30 00:00:00 GMT", 1893456000),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        (b"Tue, 29 Feb 2000 12:00:00 GMT", 951825600),
        # A wrong day of the week is the sender's slip; the date is clear without it.
        (b"Mon, 06 Nov 1994 08:49:37 GMT", SUNDAY),
    ],
)
def test_the_three_forms_of_a_date(value: bytes, seconds: int) -> None:
    """IMF-fixdate, RFC 850 and asctime dates say the same second."""
    assert parse_http_date(value) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-(1 << 62), b"Mon, 01 Jan 0001 00:00:00 GMT"),
        (1 << 62, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        (-1, b"Wed, 31 Dec 1969 23:59:59 GMT"),
        (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (SUNDAY, SUNDAY_TEXT),
    ],
)
def test_a_date_is_written_as_imf_fixdate(seconds: int, text: bytes) -> None:
    """Every second has a text, also those that a file system makes up."""
    assert http_date(seconds) == text


@given(st.integers(min_value=0, max_value=253402300799))
def test_dates_are_those_of_the_standard_library(seconds: int) -> None:
    """What is written is what email.utils writes, and is read back as the same second."""
    text = http_date(seconds)
    assert text == formatdate(seconds, usegmt=True).encode("ascii")
    assert parse_http_date(text) == seconds


# Preconditions.

CONDITION_CASES = [
    # Broken conditions.
    (fields(If_Match=b"a"), FAIL),
    (fields(If_Match=b""), FAIL),
    (fields(If_None_Match=b"a"), SEND),
    (fields(If_None_Match=b'"a", x'), SEND),
    (fields(If_Modified_Since=b"yesterday"), SEND),
    (fields(If_Unmodified_Since=b"yesterday"), SEND),
    (fields(If_Modified_Since=SUNDAY_TEXT + b", " + SUNDAY_TEXT), SEND),
    # Nothing asked.
    (fields(), SEND),
    (fields(Accept=b"*/*"), SEND),
    # If-Match.
    (fields(If_Match=b'"b"'), FAIL),
    (fields(If_Match=b'W/"a"'), FAIL),
    (fields(If_Match=b'"b", "a"'), SEND),
    (fields(If_Match=b"*"), SEND),
    # If-Unmodified-Since, and what goes before it.
    (fields(If_Unmodified_Since=BEFORE), FAIL),
    (fields(If_Unmodified_Since=SUNDAY_TEXT), SEND),
    (fields(If_Unmodified_Since=AFTER), SEND),
    (fields(If_Match=b'"a"', If_Unmodified_Since=BEFORE), SEND),
    (fields(If_Match=b'"b"', If_Unmodified_Since=AFTER), FAIL),
    # If-None-Match.
    (fields(If_None_Match=b'"a"'), SAME),
    (fields(If_None_Match=b'W/"a"'), SAME),
    (fields(If_None_Match=b'"b", W/"a"'), SAME),
    (fields(If_None_Match=b"*"), SAME),
    (fields(If_None_Match=b'"b"'), SEND),
    # If-Modified-Since, and what goes before it.
    (fields(If_Modified_Since=SUNDAY_TEXT), SAME),
    (fields(If_Modified_Since=AFTER), SAME),
    (fields(If_Modified_Since=BEFORE), SEND),
    (fields(If_None_Match=b'"b"', If_Modified_Since=AFTER), SEND),
    (fields(If_None_Match=b"junk", If_Modified_Since=AFTER), SEND),
    (fields(If_None_Match=b'"a"', If_Modified_Since=BEFORE), SAME),
    # A failed expectation goes before news.
    (fields(If_Match=b'"b"', If_None_Match=b'"a"'), FAIL),
    (fields(If_Match=b'"a"', If_None_Match=b'"a"'), SAME),
    (fields(If_Unmodified_Since=BEFORE, If_Modified_Since=AFTER), FAIL),
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(("asked", "outcome"), CONDITION_CASES)
def test_conditions_of_reading(method: bytes, asked: Fields, outcome: Outcome) -> None:
    """The four conditions are judged in the order of RFC 9110 section 13.2.2."""
    assert evaluate(method, asked, VALIDATORS) is outcome


@pytest.mark.parametrize(
    ("method", "asked", "outcome"),
    [
        # What can't be read must not let anybody overwrite.
        (b"PUT", fields(If_None_Match=b""), FAIL),
        (b"PUT", fields(If_None_Match=b'*, "a"'), FAIL),
        (b"PUT", fields(If_None_Match=b"a"), FAIL),
        (b"PUT", fields(If_Match=b"a"), FAIL),
        (b"PUT", fields(If_None_Match=b"*"), FAIL),
        (b"PUT", fields(If_None_Match=b'"a"'), FAIL),
        (b"PUT", fields(If_None_Match=b'W/"a"'), FAIL),
        (b"PUT", fields(If_None_Match=b'"b"'), SEND),
        (b"PUT", fields(If_Match=b'W/"a"'), FAIL),
        (b"PUT", fields(If_Match=b"*"), SEND),
        (b"PUT", fields(If_Match=b"*", If_None_Match=b"*"), FAIL),
        (b"PUT", fields(If_Unmodified_Since=BEFORE), FAIL),
        (b"PUT", fields(If_Unmodified_Since=AFTER), SEND),
        (b"DELETE", fields(If_Match=b'"b"'), FAIL),
        (b"DELETE", fields(If_Match=b'"a"'), SEND),
        (b"PUT", fields(If_Modified_Since=AFTER), SEND),
        (b"get", fields(If_Modified_Since=AFTER), SEND),
        (b"OPTIONS", fields(If_Match=b'"b"'), SEND),
        (b"TRACE", fields(If_None_Match=b"*"), SEND),
        (b"CONNECT", fields(If_None_Match=b"*"), SEND),
    ],
)
def test_conditions_of_other_methods(method: bytes, asked: Fields, outcome: Outcome) -> None:
    """Only reading is told 304; If-Modified-Since is for reading alone; some are never judged."""
    assert evaluate(method, asked, VALIDATORS) is outcome


@pytest.mark.parametrize(
    ("validators", "asked", "outcome"),
    [
        (NOTHING_KNOWN, fields(If_Match=b'"a"'), FAIL),
        (NOTHING_KNOWN, fields(If_Match=b"*"), SEND),
        (NOTHING_KNOWN, fields(If_None_Match=b'"a"'), SEND),
        (NOTHING_KNOWN, fields(If_None_Match=b"*"), SAME),
        (NOTHING_KNOWN, fields(If_Modified_Since=AFTER), SEND),
        (NOTHING_KNOWN, fields(If_Unmodified_Since=BEFORE), SEND),
        (WEAK, fields(If_Match=b'W/"a"'), FAIL),
        (WEAK, fields(If_Match=b'"a"'), FAIL),
        (WEAK, fields(If_None_Match=b'"a"'), SAME),
    ],
)
def test_conditions_on_poor_validators(
    validators: Validators, asked: Fields, outcome: Outcome
) -> None:
    """A representation without a date or a strong tag can't meet a condition that needs it."""
    assert evaluate(b"GET", asked, validators) is outcome


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (fields(If_Match=b"*"), FAIL),
        (fields(If_Match=b'"a"'), FAIL),
        (fields(If_Match=b"a"), FAIL),
        (fields(If_Match=b"*", If_None_Match=b"*"), FAIL),
        (fields(If_None_Match=b"a"), FAIL),
        (fields(), SEND),
        (fields(If_None_Match=b"*"), SEND),
        (fields(If_None_Match=b'"a"'), SEND),
        (fields(If_Unmodified_Since=BEFORE), SEND),
        (fields(If_Modified_Since=AFTER), SEND),
        (fields(If_None_Match=b"*", If_Unmodified_Since=BEFORE), SEND),
    ],
)
@pytest.mark.parametrize("method", [b"PUT", b"PATCH"])
def test_conditions_on_what_is_not_there(method: bytes, asked: Fields, outcome: Outcome) -> None:
    """Nothing matches what doesn't exist, not even `*`: only a first PUT may ask for that."""
    assert evaluate(method, asked, None) is outcome


def test_repeated_lines_are_one_list() -> None:
    """If-None-Match over several lines is one list."""
    asked = Fields([(b"If-None-Match", b'"x"'), (b"if-none-match", b'"a"')])
    assert evaluate(b"GET", asked, VALIDATORS) is Outcome.NOT_MODIFIED


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_condition_breaks_the_judge(tags: bytes, date: bytes) -> None:
    """Whatever stands in the fields, there is an outcome."""
    asked = fields(If_Match=tags, If_None_Match=tags, If_Modified_Since=date)
    for validators in (VALIDATORS, NOTHING_KNOWN, None):
        for method in (b"GET", b"PUT"):
            assert evaluate(method, asked, validators) in Outcome
