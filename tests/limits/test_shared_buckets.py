"""limits.shared: buckets from which several processes take."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxyapp.limits.shared import SharedBucket, own_bucket
from proxyapp.net.shared import SharedCells, make_memory
from proxyapp.rules.buckets import Bucket


class NoRoom:
    """Cells of which none is free."""

    def get(self, key: str, now: float) -> tuple[float, float] | None:
        """See Cells."""
        return None

    def put(self, key: str, first: float, second: float, until: float, now: float) -> bool:
        """See Cells."""
        return False


class Dictionary:
    """Cells in a dictionary."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[float, float, float]] = {}

    def get(self, key: str, now: float) -> tuple[float, float] | None:
        """See Cells."""
        first, second, until = self.known.get(key, (0.0, 0.0, 0.0))
        return (first, second) if until > now else None

    def put(self, key: str, first: float, second: float, until: float, now: float) -> bool:
        """See Cells."""
        self.known[key] = (first, second, until)
        return True


@pytest.fixture
def cells() -> Iterator[SharedCells]:
    """Yield cells in shared memory."""
    memory = make_memory()
    yield memory.cells()
    os.close(memory.descriptor)
    memory.close()


def test_two_take_from_one(cells: SharedCells) -> None:
    """What one process takes the other one misses."""
    ours, theirs = (SharedBucket(cells, "k", 10.0, 20.0, 0.0) for _ in range(2))
    ours.take(15.0, 0.0)
    assert theirs.level(0.0) == 5.0
    theirs.take(10.0, 0.0)
    assert ours.level(0.0) == -5.0
    assert ours.wait(5.0, 0.0) == 1.0
    assert ours.level(1.0) == 5.0


def test_others_have_their_own(cells: SharedCells) -> None:
    """Another key is another bucket."""
    SharedBucket(cells, "a", 10.0, 20.0, 0.0).take(20.0, 0.0)
    assert SharedBucket(cells, "b", 10.0, 20.0, 0.0).level(0.0) == 20.0


def test_full_again(cells: SharedCells) -> None:
    """A bucket that has filled up takes no room."""
    bucket = SharedBucket(cells, "a", 10.0, 20.0, 0.0)
    bucket.take(10.0, 0.0)
    assert cells.get("a", 0.9) is not None
    assert cells.get("a", 1.1) is None
    assert bucket.level(1.1) == 20.0


@given(
    some.sampled_from([Dictionary, NoRoom]),
    some.lists(some.tuples(some.floats(0, 5), some.floats(0, 30)), max_size=12),
)
def test_as_a_bucket(
    make: type[Dictionary] | type[NoRoom], steps: list[tuple[float, float]]
) -> None:
    """Alone it is like any bucket, also where there is no room."""
    shared = SharedBucket(make(), "k", 4.0, 12.0, 0.0)
    plain: Bucket = Bucket(4.0, 12.0, 0.0)
    now = 0.0
    for pause, amount in steps:
        now += pause
        assert shared.wait(3.0, now) == pytest.approx(plain.wait(3.0, now), abs=1e-6)
        shared.take(amount, now)
        plain.take(amount, now)
        assert shared.level(now) == pytest.approx(plain.level(now), abs=1e-6)


def test_own_bucket() -> None:
    """The other kind is nobody else's."""
    own_bucket("k", 1.0, 2.0, 0.0).take(2.0, 0.0)
    assert own_bucket("k", 1.0, 2.0, 0.0).level(0.0) == 2.0
