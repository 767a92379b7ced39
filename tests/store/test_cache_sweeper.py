"""What is on the disk stays below its limit, and what goes is what is missed least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxyapp.store.entry import StoreFull
from proxyapp.store.index import Candidate
from proxyapp.store.sweeper import LOW, victims
from tests.store.stores import KEY, LIMITS, MIB, Bench, bench, flood, stored

SMALL = replace(LIMITS, disk=MIB)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """Yield a store with little room."""
    with bench(tmp_path, SMALL) as started:
        yield started


def key(number: int) -> bytes:
    """Return one of many keys."""
    return KEY + b"/%d" % number


def room(folder: Path) -> int:
    """Return how many bytes the bodies take."""
    return sum(path.stat().st_blocks * 512 for path in (folder / "bodies").glob("*/*"))


@pytest.mark.parametrize(
    ("sizes", "excess", "expected"),
    [
        ({}, 100, []),
        ({1: (50, 0)}, 0, []),
        ({1: (50, 0)}, 100, [1]),
        ({1: (50, 0), 2: (60, 0)}, 100, [2]),  # never more than half
        ({1: (50, 0), 2: (60, 0), 3: (10, 0), 4: (5, 0)}, 100, [2, 1]),
        ({1: (50, 0), 2: (60, 0), 3: (10, 0), 4: (5, 0)}, 60, [2]),
        ({1: (50, 0), 2: (60, 9), 3: (10, 0), 4: (5, 0)}, 100, [1, 3]),  # hits count
        ({7: (50, 0), 8: (60, 0)}, 100, [7]),  # 8 was used lately
        ({8: (60, 0)}, 100, []),
    ],
)
def test_victims(sizes: dict[int, tuple[int, int]], excess: int, expected: list[int]) -> None:
    """Of the window, the largest for their hits go, at most half of it."""
    window = [Candidate(number, b"", size, hits) for number, (size, hits) in sizes.items()]
    assert [each.id for each in victims(window, {8}, excess)] == expected


def test_it_stays_below_the_limit(running: Bench, tmp_path: Path) -> None:
    """However much is stored, what is there fits, and a part of the limit is free after a sweep."""
    for number in range(300):
        running.store.put(key(number), stored(), bytes(20_000))
        running.settle(0.3)
    running.settle(6)
    assert room(tmp_path) <= SMALL.disk
    assert running.store.statistics().disk <= SMALL.disk
    assert running.store.statistics().disk > SMALL.disk * LOW / 2
    assert 20 < len(list(running.store.entries())) < 60


def test_what_was_stored_last_stays(running: Bench) -> None:
    """Among equals the least recently used go."""
    for number in range(100):
        running.store.put(key(number), stored(), bytes(30_000))
        running.settle(0.3)
    running.settle(6)
    left = {entry.key for entry in running.store.entries()}
    assert key(99) in left
    assert key(0) not in left


def test_what_is_used_stays(running: Bench) -> None:
    """What is asked for again and again isn't evicted by a scan through new things."""
    hot = running.store.put(key(0), stored(), bytes(5_000))
    for number in range(1, 100):
        running.store.used(hot)
        running.store.put(key(number), stored(), bytes(30_000))
        running.settle(0.3)
    running.settle(6)
    assert key(0) in {entry.key for entry in running.store.entries()}


def test_pinned_ones_stay(running: Bench) -> None:
    """What is pinned is never evicted, and no longer so when the pin is gone."""
    running.fill(key(0), bytes(200_000))
    running.store.pin(key(0))
    for number in range(1, 60):
        running.store.put(key(number), stored(), bytes(30_000))
        running.settle(0.3)
    running.settle(6)
    assert running.read_key(key(0)) == [bytes(200_000)]
    running.store.pin(key(0), False)
    for number in range(60, 120):
        running.store.put(key(number), stored(), bytes(30_000))
        running.settle(0.3)
    running.settle(6)
    assert not running.store.variants(key(0))


def test_growing_bodies_count(running: Bench, tmp_path: Path) -> None:
    """What grows has others evicted before it's finished."""
    for number in range(30):
        running.store.put(key(number), stored(), bytes(30_000))
    running.settle(6)
    body = running.store.begin(KEY, stored(), None)
    assert body is not None
    for _ in range(8):
        body.write(bytes(100_000))
        running.settle(0.5)
    running.settle(6)
    assert room(tmp_path) <= SMALL.disk - 800_000
    body.finish()
    running.settle(6)
    assert [len(content) for content in running.read_key(KEY)] == [800_000]


def test_a_body_beyond_the_disk_is_refused(running: Bench) -> None:
    """What could never fit isn't begun, and nothing is evicted for it."""
    running.store.put(key(1), stored(), bytes(30_000))
    running.settle()
    assert running.store.begin(KEY, stored(), SMALL.disk + 1) is None
    body = running.store.begin(KEY, stored(), None)
    assert body is not None
    with pytest.raises(StoreFull):
        flood(body, 2 * MIB)
    running.settle(6)
    assert running.read_key(key(1)) == [bytes(30_000)]


def test_pinned_full_it_takes_nothing(running: Bench) -> None:
    """The limit holds, whatever is pinned; serving goes on, and the sweeper doesn't spin."""
    for number in range(30):
        running.store.put(key(number), stored(), bytes(30_000))
        running.settle(0.3)
        running.store.pin(key(number))
    running.settle(6)
    for number in range(30, 60):
        running.fill(key(number), bytes(100_000))
        running.settle(0.5)
    running.settle(6)
    assert running.store.statistics().disk <= SMALL.disk
    assert all(running.store.variants(key(number)) for number in range(30))


def test_stop_amid_a_sweep(tmp_path: Path) -> None:
    """A sweep that is stopped leaves nothing behind."""
    with bench(tmp_path, LIMITS) as running:
        for number in range(300):
            running.store.put(key(number), stored(), bytes(30_000))
        running.settle()
    with bench(tmp_path, SMALL) as running:
        running.clock.advance(0)
    with bench(tmp_path, SMALL) as running:
        running.settle(6)
        assert running.store.statistics().disk <= SMALL.disk
