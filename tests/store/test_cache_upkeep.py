"""Hits are written rarely, and what was written is said once a day."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store.entry import Entry
from proxyapp.store.upkeep import FLUSH_EVERY, MOST_COUNTED, Uses
from tests.store.stores import KEY, START, Bench, bench, listening, stored


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path) as started:
        yield started


def uses(folder: Path) -> list[tuple[int, float]]:
    """Return hits and last use of each row."""
    with sqlite3.connect(folder / "index.1.sqlite3") as connection:
        rows = connection.execute("SELECT hits, used FROM entry").fetchall()
    connection.close()
    return rows


def written_at(folder: Path) -> tuple[int, int]:
    """Return what changes when something is written to the index."""
    status = (folder / "index.1.sqlite3-wal").stat()
    return status.st_size, status.st_mtime_ns


def test_hits_are_written_rarely(running: Bench, tmp_path: Path) -> None:
    """A thousand hits write nothing for ten minutes, then one row."""
    entry = running.store.put(KEY, stored(), b"x")
    running.settle()
    before = written_at(tmp_path)
    for _ in range(1000):
        running.store.used(entry)
        running.store.variants(KEY)
    running.clock.advance(FLUSH_EVERY - 100)
    assert written_at(tmp_path) == before
    assert uses(tmp_path)[0][0] == 0
    running.clock.advance(100)
    ((hits, used),) = uses(tmp_path)
    assert hits == 1000
    assert START < used < running.clock.seconds() - FLUSH_EVERY / 2


def test_hits_are_written_at_the_stop(tmp_path: Path) -> None:
    """A restart doesn't forget them."""
    with bench(tmp_path) as running:
        entry = running.store.put(KEY, stored(), b"x")
        running.settle()
        running.store.used(entry)
    assert uses(tmp_path)[0][0] == 1


def test_an_idle_cache_writes_nothing(running: Bench, tmp_path: Path) -> None:
    """Hours without a request leave the card in peace, once the day before was reported."""
    running.store.put(KEY, stored(), b"x")
    for _ in range(150):  # past midnight, when the day before is reported
        running.clock.advance(FLUSH_EVERY)
    before = written_at(tmp_path)
    for _ in range(50):
        running.clock.advance(FLUSH_EVERY)
    assert written_at(tmp_path) == before


def test_counts_are_bounded() -> None:
    """The oldest counts are forgotten."""
    counted = Uses(lambda: START)
    for number in range(MOST_COUNTED + 10):
        counted.note(Entry(KEY, number, stored(), 0, ()))
    assert len(counted.counts) == MOST_COUNTED
    assert 5 not in counted
    assert MOST_COUNTED in counted
    assert len(counted.take()) == MOST_COUNTED
    assert not counted.take()


def test_a_day_is_reported_once(tmp_path: Path) -> None:
    """One line says what all workers have written on a day; a restart doesn't forget it."""
    with bench(tmp_path) as running, listening() as said:
        running.fill(KEY, bytes(3_000_000))
        running.settle()
        running.restart()
        running.fill(KEY + b"/2", bytes(2_000_000))
        other = running.another()
        running.clock.advance(FLUSH_EVERY)
        assert running.store.statistics().written_today > 5_000_000
        for _ in range(200):
            running.clock.advance(FLUSH_EVERY)
            other.clock.advance(FLUSH_EVERY)
        other.stop()
        assert running.store.statistics().written_today == 0
    days = [event["mib"] for event in said.events if "mib" in event]
    assert len(days) == 1
    assert days[0] in (4, 5)
