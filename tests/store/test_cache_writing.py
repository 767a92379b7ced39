"""Changes are written in batches, in a thread, in order, and again when somebody else writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from proxyapp.store import disk as disk_module
from proxyapp.store import index
from proxyapp.store.changes import Change, Insertion
from proxyapp.store.disk import Disk, Written
from proxyapp.store.entry import Entry
from proxyapp.store.writing import BATCH, DELAY, MOST_BYTES, Writing
from tests.store.stores import KEY, START, stored

_T = TypeVar("_T")


class Scene:
    """A writing whose thread runs jobs when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.jobs: list[Callable[[], None]] = []
        self.batches: list[tuple[int, Written]] = []
        self.disk = Disk(folder, lambda: START + self.clock.seconds())
        self.writing = Writing(self.disk, self._in_thread, self.clock, self._settled)

    def _in_thread(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = Deferred()

        def run() -> None:
            maybeDeferred(job).chainDeferred(done)

        self.jobs.append(run)
        return done

    def _settled(self, changes: object, written: Written) -> None:
        assert isinstance(changes, list | tuple)
        self.batches.append((len(changes), written))

    def add(self, number: int, content: bytes = b"x") -> Change:
        """Add a new entry."""
        size = len(content)
        head = stored(total=size)
        key = KEY + b"/%d" % number
        entry = Entry(key, self.disk.folder.new_id(), head, size, ((0, size),), content)
        change = Insertion(entry, content)
        self.writing.add(change)
        return change

    def run(self) -> int:
        """Run the jobs that wait; return how many."""
        count = 0
        while self.jobs:
            self.jobs.pop(0)()
            count += 1
        return count


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene."""
    opened = Scene(tmp_path)
    yield opened
    opened.disk.close()


def test_a_batch(scene: Scene) -> None:
    """What comes within a moment is one transaction."""
    for number in range(5):
        scene.add(number)
    scene.clock.advance(DELAY - 0.01)
    assert scene.run() == 0
    scene.clock.advance(0.01)
    assert scene.run() == 1
    assert [count for count, _ in scene.batches] == [5]
    assert scene.disk.index.totals()[0] == 5
    scene.clock.advance(10)
    assert scene.run() == 0


def test_a_full_batch_does_not_wait(scene: Scene) -> None:
    """Many changes are written at once, one batch after the other."""
    for number in range(2 * BATCH + 5):
        scene.add(number)
    assert len(scene.jobs) == 1
    scene.run()
    assert [count for count, _ in scene.batches] == [BATCH, BATCH, 5]


def test_flush(scene: Scene) -> None:
    """It fires when everything is written."""
    flushed: list[None] = []
    scene.writing.flush().addCallback(flushed.append)
    assert flushed == [None]
    scene.add(1)
    scene.writing.flush().addCallback(flushed.append)
    scene.add(2)
    assert len(flushed) == 1
    scene.run()
    assert len(flushed) == 2
    assert scene.disk.index.totals()[0] == 2


def test_jobs_take_turns(scene: Scene) -> None:
    """Never two of them at a time."""
    found: list[int] = []
    scene.writing.run(lambda disk: disk.index.totals()[0]).addCallback(found.append)
    scene.add(1)
    scene.writing.flush()
    scene.writing.run(lambda disk: disk.index.totals()[0]).addCallback(found.append)
    assert len(scene.jobs) == 1
    scene.run()
    assert found == [0, 1]


def test_too_much_waits(scene: Scene) -> None:
    """Memory for what waits is bounded, and free again when it's written."""
    assert not scene.writing.is_full
    scene.add(1, bytes(MOST_BYTES))
    assert scene.writing.is_full
    scene.writing.flush()
    scene.run()
    assert not scene.writing.is_full


def test_while_another_process_writes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch comes again until the other one is done."""
    scene.disk._connection.execute("PRAGMA busy_timeout = 1").fetchall()
    other = index.make(scene.disk.path)
    other.execute("BEGIN IMMEDIATE")
    scene.add(1)
    scene.writing.flush()
    scene.run()
    assert scene.batches[0][1].is_busy
    for _ in range(3):
        scene.clock.advance(1)
        scene.run()
    assert scene.disk.index.totals()[0] == 0
    other.execute("COMMIT")
    other.close()
    scene.clock.advance(1)
    scene.run()
    assert scene.disk.index.totals()[0] == 1


def test_it_is_given_up_in_the_end(scene: Scene, tmp_path: Path) -> None:
    """Whoever never lets go costs what waits, and no more."""
    scene.disk._connection.execute("PRAGMA busy_timeout = 1").fetchall()
    other = index.make(scene.disk.path)
    other.execute("BEGIN IMMEDIATE")
    scene.add(1)
    flushed: list[None] = []
    scene.writing.flush().addCallback(flushed.append)
    for _ in range(100):
        scene.run()
        scene.clock.advance(1)
    other.execute("COMMIT")
    other.close()
    assert flushed == [None]
    assert len(scene.batches[-1][1].failed) == 1
    assert not list(tmp_path.glob("bodies/*/*"))


def test_a_mistake_of_ours_does_not_stop_it(scene: Scene, logged_errors: object) -> None:
    """What can't be written because of a bug is given up, and the rest goes on."""

    class Broken:
        key = KEY

        def prepare(self, books: object) -> None:
            raise ZeroDivisionError

        record = end = undo = prepare

    scene.writing.add(Broken())
    scene.writing.flush()
    scene.run()
    assert len(scene.batches[0][1].failed) == 1
    logged_errors.flush(ZeroDivisionError)  # type: ignore[attr-defined]
    scene.add(1)
    scene.clock.advance(10)
    scene.run()
    assert scene.disk.index.totals()[0] == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.DatabaseError("file is not a database"), True),
        (sqlite3.OperationalError("disk I/O error"), False),
        (sqlite3.IntegrityError("constraint"), False),
    ],
)
def test_is_damage(error: sqlite3.Error, expected: bool) -> None:
    """Only what says that the index is broken makes it anew."""
    assert disk_module.is_damage(error) is expected
