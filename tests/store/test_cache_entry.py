"""Extents of a content, and when an entry is complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.store.entry import MOST_EXTENTS, Entry, Extents, merged, size_of
from tests.store.stores import KEY, stored


@pytest.mark.parametrize(
    ("extents", "start", "end", "expected"),
    [
        ((), 3, 3, ()),
        ((), 0, 5, ((0, 5),)),
        (((0, 5),), 7, 9, ((0, 5), (7, 9))),
        (((0, 5),), 5, 9, ((0, 9),)),
        (((5, 9),), 0, 5, ((0, 9),)),
        (((0, 5), (7, 9)), 5, 7, ((0, 9),)),
        (((0, 5), (7, 9)), 4, 8, ((0, 9),)),
        (((0, 9),), 2, 3, ((0, 9),)),
        (((2, 3),), 0, 9, ((0, 9),)),
        (((0, 5), (7, 9)), 5, 5, ((0, 5), (7, 9))),
    ],
)
def test_merged(extents: Extents, start: int, end: int, expected: Extents) -> None:
    """Ranges that touch or overlap become one, empty ones none."""
    assert merged(extents, start, end) == expected


_RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=12)


@given(_RANGES)
def test_merged_holds_what_was_added(ranges: list[tuple[int, int]]) -> None:
    """Whatever the order, the extents are the bytes that were added, in order and apart."""
    extents: Extents = ()
    held: set[int] = set()
    for start, length in ranges:
        extents = merged(extents, start, start + length)
        held.update(range(start, start + length))
    assert {place for start, end in extents for place in range(start, end)} == held
    assert size_of(extents) == len(held)
    ends = [bound for extent in extents for bound in extent]
    assert ends == sorted(set(ends))


def test_extents_are_bounded() -> None:
    """The shortest go where there are too many."""
    extents: Extents = ()
    for number in range(MOST_EXTENTS):
        extents = merged(extents, 100 * number, 100 * number + 10 + number)
    extents = merged(extents, 5000, 5050)
    assert len(extents) == MOST_EXTENTS
    assert (5000, 5050) in extents
    assert (0, 10) not in extents


@pytest.mark.parametrize(
    ("size", "total", "is_complete"), [(5, None, False), (4, 5, False), (5, 5, True), (0, 0, True)]
)
def test_is_complete(size: int, total: int | None, is_complete: bool) -> None:
    """It is complete when all of its total is there."""
    assert Entry(KEY, 1, stored(total=total), size, ()).is_complete is is_complete
