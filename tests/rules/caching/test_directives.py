"""Cache-Control, well-formed and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching.directives import LONGEST, NOTHING, delta_seconds, of
from proxyapp.wire.headers import Fields
from tests.rules.caching.heads import fields


def control(*values: bytes) -> Fields:
    """Return fields with a Cache-Control line for each of *values*."""
    return Fields([(b"Cache-Control", value) for value in values])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        # What can't be read is stale.
        (b"max-age", 0),
        (b"max-age=", 0),
        (b'max-age=""', 0),
        (b"max-age=-3600", 0),
        (b"max-age='3600'", 0),
        (b"max-age=3600.0", 0),
        (b"max-age=3600.5", 0),
        (b"max-age=a3600", 0),
        (b"max-age=3600a", 0),
        (b"max-age =3600", 3600),
        (b"max-age= 3600", 0),
        (b'max-age="3600', 0),
        (b"max-age=0x10", 0),
        (b"max-age=\xb2", 0),
        # Of two the smaller.
        (b"max-age=1800, max-age=1", 1),
        (b"max-age=1, max-age=1800", 1),
        (b"max-age=3600, max-age=x", 0),
        # A quoted string isn't a directive.
        (b'extension="max-age=3600", max-age=1', 1),
        (b'max-age=1, extension="max-age=3600"', 1),
        (b'extension="a, max-age=1", max-age=3600', 3600),
        # Well-formed ones.
        (b"max-age=0", 0),
        (b"max-age=3600", 3600),
        (b"MaX-aGe=3600", 3600),
        (b'max-age="3600"', 3600),
        (b"max-age=003600", 3600),
        (b"foobar, max-age=3600", 3600),
        (b" ,, max-age=3600 ,", 3600),
        (b"max-age=2147483647", LONGEST - 1),
        (b"max-age=2147483648", LONGEST),
        (b"max-age=2147483649", LONGEST),
        (b"max-age=99999999999", LONGEST),
        (b"max-age=" + b"9" * 4000, LONGEST),
    ],
)
def test_numbers(value: bytes, seconds: float) -> None:
    """A number is read as the grammar has it, and what isn't one means stale."""
    assert of(control(value)).seconds == {b"max-age": seconds}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"stale-while-revalidate=x", {}),
        (b"stale-if-error", {}),
        (b"max-stale=x", {}),
        (b"max-stale", {b"max-stale": LONGEST}),
        (b"max-stale=10, max-stale", {b"max-stale": 10}),
        (b"min-fresh", {b"min-fresh": LONGEST}),
        (b"min-fresh=1, min-fresh=5", {b"min-fresh": 5}),
        (b"s-maxage=x, max-age=5", {b"s-maxage": 0, b"max-age": 5}),
        (b"stale-if-error=5, stale-if-error=3", {b"stale-if-error": 3}),
    ],
)
def test_broken_numbers_have_less_reused(value: bytes, seconds: dict[bytes, float]) -> None:
    """Whatever a directive is for, its broken or doubled form never has more reused."""
    assert of(control(value)).seconds == seconds


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (b"", set()),
        (b"nothing-to-see-here", set()),
        (b'extension="no-store"', set()),
        (b"no-store-at-all", set()),
        (b"No-StOrE", {b"no-store"}),
        (b"no-store=1", {b"no-store"}),
        (b'x="y, no-store', {b"no-store"}),
        (b'x="\\", no-store', {b"no-store"}),
        (b"private, PUBLIC\t,must-revalidate", {b"private", b"public", b"must-revalidate"}),
        (b"no-cache=", {b"no-cache"}),
        (b'no-cache=""', {b"no-cache"}),
        (b'no-cache="a b"', {b"no-cache"}),
        (b'private="a", private', {b"private"}),
    ],
)
def test_flags(value: bytes, flags: set[bytes]) -> None:
    """Directives are found in any case, and a broken quotation hides none."""
    assert of(control(value)).flags == flags


def test_fields_that_are_named() -> None:
    """no-cache and private with a list are about those fields alone."""
    said = of(control(b'no-cache="A, b", private=c', b'no-cache="d"'))
    assert said.listed == {b"no-cache": {b"a", b"b", b"d"}, b"private": {b"c"}}
    assert said.listed_fields == {b"a", b"b", b"c", b"d"}
    assert not said.flags


def test_lines_are_one_list() -> None:
    """Several lines count as one."""
    said = of(control(b"max-age=5", b"no-store, max-age=1"))
    assert (said.flags, said.seconds) == ({b"no-store"}, {b"max-age": 1})


def test_ignored_directives() -> None:
    """What a rule ignores isn't there; the rest is."""
    ignored = frozenset((b"no-store", b"max-age", b"private"))
    said = of(control(b'no-store, max-age=1, private="a", public'), ignored)
    assert (said.flags, said.seconds, said.listed) == ({b"public"}, {}, {})


def test_without_cache_control() -> None:
    """Neither absence nor targeted fields say anything to us."""
    assert of(fields()) is NOTHING
    assert of(fields(b"CDN-Cache-Control: no-store", b"Surrogate-Control: max-age=5")) is NOTHING
    assert not NOTHING.listed_fields


@given(st.text("0123456789", min_size=1, max_size=30))
def test_delta_seconds(digits: str) -> None:
    """Any digits are a number, up to the longest time there is."""
    assert delta_seconds(digits.encode()) == min(int(digits), LONGEST)


@given(st.binary(max_size=600))
def test_anything_can_be_read(value: bytes) -> None:
    """No value breaks the reader, and what it finds is in range."""
    said = of(Fields([(b"Cache-Control", value)]))
    assert all(0 <= seconds <= LONGEST for seconds in said.seconds.values())
