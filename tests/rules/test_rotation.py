"""Promises of proxyapp.rules.rotation."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.rotation import NEVER, Rotation, aged_name, surplus

TODAY = date(2026, 1, 7)
YESTERDAY = TODAY - timedelta(days=1)
DAILY = Rotation(is_daily=True)
BY_SIZE = Rotation(size=1000)


@pytest.mark.parametrize(
    ("rotation", "begun", "size", "is_due"),
    [
        (NEVER, YESTERDAY, 10**12, False),
        (DAILY, YESTERDAY, 0, False),  # nothing to put aside
        (DAILY, TODAY, 10**12, False),
        (DAILY, TODAY + timedelta(days=1), 1, False),  # the clock was set back
        (DAILY, YESTERDAY, 1, True),
        (BY_SIZE, YESTERDAY, 999, False),
        (BY_SIZE, TODAY, 1000, True),
        (Rotation(is_daily=True, size=1000), YESTERDAY, 1, True),
        (Rotation(is_daily=True, size=1000), TODAY, 1001, True),
    ],
)
def test_when_a_file_is_due(rotation: Rotation, begun: date, size: int, is_due: bool) -> None:
    """A new day, or enough bytes, put aside what isn't empty."""
    assert rotation.is_due(begun, TODAY, size) is is_due


@pytest.mark.parametrize(
    ("others", "name"),
    [
        ([], "log.2026-01-07"),
        (["log", "log.2026-01-06", "log.1", "log.2026-01-07.txt"], "log.2026-01-07"),
        (["blog.2026-01-07", "log2026-01-07", "log.2026-01-07.5x"], "log.2026-01-07"),
        (["log.2026-01-07"], "log.2026-01-07.2"),
        (["log.2026-01-07.gz"], "log.2026-01-07.2"),
        (["log.2026-01-07.9", "log.2026-01-07.10"], "log.2026-01-07.11"),
        (["log.2026-01-07.3.xz"], "log.2026-01-07.4"),
    ],
)
def test_old_files_have_the_day_and_a_number(others: list[str], name: str) -> None:
    """The day on which it began, and a number from the second of a day on."""
    assert aged_name("log", TODAY, others) == name


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (0, []),
        (9, []),
        (4, ["log.2026-01-06"]),
        (2, ["log.2026-01-06", "log.2026-01-07", "log.2026-01-07.2.gz"]),
    ],
)
def test_what_is_too_old(keep: int, expected: list[str]) -> None:
    """The newest are kept, by day and number; what has another name isn't counted."""
    others = ["log", "log.2026-01-07.10", "log.2026-01-07.2.gz", "log.2026-01-07.9"]
    others += ["log.2026-01-06", "log.2026-01-07", "log.old", "other.2020-01-01"]
    assert surplus("log", others, keep) == expected


@given(st.lists(st.dates(TODAY, TODAY + timedelta(days=3)), max_size=30), st.integers(1, 5))
def test_names_are_new_and_in_order(days: list[date], keep: int) -> None:
    """However many files there are: each name is new, and the newest ones remain."""
    given_names: list[str] = []
    for day in sorted(days):
        name = aged_name("log", day, given_names)
        assert name not in given_names
        given_names.append(name)
    assert surplus("log", reversed(given_names), keep) == given_names[:-keep]
