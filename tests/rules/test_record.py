"""Promises of proxyapp.rules.record: request ids are short, plain, and never there twice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.record import Record, RequestIds

_MILLION = 32**4


def test_nobody_has_an_id_until_it_is_needed() -> None:
    """A record begins without an id: most exchanges never show one."""
    assert Record().request_id == ""


@given(st.integers(0, 1 << 64))
def test_an_id_can_be_read_out(chance: int) -> None:
    """Ten characters, no letter that looks like a digit, whatever number stands for the process."""
    ids = RequestIds(chance)
    assert re.fullmatch("[0-9a-hjkmnp-tv-z]{10}", ids.next())


@pytest.mark.parametrize(("chance", "first"), [(0, "0000000001"), (1, "0000010001")])
def test_an_id_is_the_process_and_a_count(chance: int, first: str) -> None:
    """The first six characters stay, the rest counts."""
    ids = RequestIds(chance)
    assert ids.next() == first
    assert ids.next() == first[:-1] + "2"


def test_no_id_is_there_twice() -> None:
    """Past the million that four characters can count, ids grow instead of beginning again."""
    ids = RequestIds((1 << 30) - 1)
    seen = {ids.next() for _ in range(_MILLION + 1)}
    assert len(seen) == _MILLION + 1
    assert {len(each) for each in seen} == {10, 11}
    assert all(each.startswith("zzzzzz") for each in seen)


def test_two_processes_share_no_id() -> None:
    """Another random number, other ids."""
    first, second = RequestIds(1 << 29), RequestIds((1 << 29) + 1)
    assert not {first.next() for _ in range(99)} & {second.next() for _ in range(99)}
