"""buckets: never more than the rate allows, and periods that end when the calendar says so."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.buckets import Bucket, retry_after, size_text, span_of
from proxyapp.rules.question import Period

# --- Buckets ---


def test_full_at_first() -> None:
    """A new bucket holds its capacity, and no more however long nobody comes."""
    bucket = Bucket(rate=10, capacity=5, now=100.0)
    assert bucket.level(100.0) == 5
    assert bucket.level(1e6) == 5


@pytest.mark.parametrize(
    ("taken", "seconds", "level"),
    [(5, 0.0, 0), (5, 0.25, 2.5), (5, 60.0, 5), (15, 0.0, -10), (15, 1.0, 0), (15, 1.5, 5)],
)
def test_level(taken: float, seconds: float, level: float) -> None:
    """What is taken comes back with time, debts too."""
    bucket = Bucket(rate=10, capacity=5, now=0.0)
    bucket.take(taken, 0.0)
    assert bucket.level(seconds) == level


def test_time_that_goes_back() -> None:
    """A clock that is set back neither gives nor takes."""
    bucket = Bucket(rate=10, capacity=5, now=100.0)
    bucket.take(5, 100.0)
    assert bucket.level(50.0) == 0
    assert bucket.level(100.1) == pytest.approx(1)


@pytest.mark.parametrize(("amount", "seconds"), [(1, 0.0), (5, 0.0), (6, 0.1), (25, 2.0)])
def test_wait(amount: float, seconds: float) -> None:
    """It says how long to wait, and then it is there."""
    bucket = Bucket(rate=10, capacity=30, now=0.0)
    bucket.take(25, 0.0)
    assert bucket.wait(amount, 0.0) == pytest.approx(seconds)
    assert bucket.level(seconds) >= amount - 1e-9


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e5)), max_size=50),
)
def test_never_beyond_rate_and_capacity(
    rate: float, capacity: float, steps: list[tuple[float, float]]
) -> None:
    """Whoever only takes while something is there gets rate and capacity, and one step more."""
    bucket = Bucket(rate, capacity, 0.0)
    now = taken = largest = 0.0
    for pause, amount in steps:
        now += pause
        if bucket.level(now) > 0:
            bucket.take(amount, now)
            taken += amount
            largest = max(largest, amount)
    assert taken <= (capacity + rate * now) * (1 + 1e-9) + largest


def test_bucket_repr() -> None:
    """A bucket tells its state."""
    assert repr(Bucket(10, 5, 0.0)) == "<Bucket 5.0 of 5.0, 10.0 a second>"


# --- Periods ---

# Period, a time in it, its first day, and the day on which the next one begins.
SPANS: list[tuple[Period, str, str, str]] = [
    ("day", "2026-01-05 00:00:00", "2026-01-05", "2026-01-06"),
    ("day", "2026-01-05 23:59:59", "2026-01-05", "2026-01-06"),
    ("day", "2026-12-31 12:00:00", "2026-12-31", "2027-01-01"),
    ("day", "2028-02-28 12:00:00", "2028-02-28", "2028-02-29"),
    ("week", "2026-01-05 00:00:00", "2026-01-05", "2026-01-12"),
    ("week", "2026-01-11 23:59:59", "2026-01-05", "2026-01-12"),
    ("week", "2026-01-01 10:00:00", "2025-12-29", "2026-01-05"),
    ("month", "2026-01-31 23:59:59", "2026-01-01", "2026-02-01"),
    ("month", "2026-02-01 00:00:00", "2026-02-01", "2026-03-01"),
    ("month", "2026-04-30 10:00:00", "2026-04-01", "2026-05-01"),
    ("month", "2026-12-15 10:00:00", "2026-12-01", "2027-01-01"),
]


@pytest.mark.parametrize(("period", "now", "begins", "ends"), SPANS)
def test_spans(period: Period, now: str, begins: str, ends: str) -> None:
    """A day, a week from Monday and a month end at midnight, local time."""
    span = span_of(period, datetime.fromisoformat(now))
    assert span.begins == date.fromisoformat(begins)
    assert span.ends == datetime.fromisoformat(ends)


@given(
    st.sampled_from(("day", "week", "month")),
    st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1)),
)
def test_spans_follow_each_other(period: Period, now: datetime) -> None:
    """Every moment is in one period, and the next one begins where that ends."""
    span = span_of(period, now)
    assert datetime.combine(span.begins, datetime.min.time()) <= now < span.ends
    assert span_of(period, span.ends).begins == span.ends.date()
    assert span_of(period, span.ends - timedelta(microseconds=1)) == span


# --- Texts ---


@pytest.mark.parametrize(
    ("seconds", "value"),
    [(0.0, b"1"), (0.02, b"1"), (1.0, b"1"), (1.01, b"2"), (86400.0, b"86400")],
)
def test_retry_after(seconds: float, value: bytes) -> None:
    """Whole seconds, never too few, and never none."""
    assert retry_after(seconds) == value


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (5 << 30, "5 GiB"),
        (3 << 29, "1.5 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_size_text(size: int, text: str) -> None:
    """Sizes are said in the unit that suits them."""
    assert size_text(size) == text
