"""Bodies are opened at once or in a thread; what is damaged or gone is a miss, and is removed."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from proxyapp.store.bodies import OpenBody
from proxyapp.store.entry import Entry, EntryGone
from proxyapp.store.kept import ROUND, KeptBodies
from proxyapp.store.opening import Opening
from tests.store.stores import KEY, Bench, bench, result, stored

_T = TypeVar("_T")
LONG = b"x" * 100_000


class Scene:
    """What opens bodies of a store, in a thread that runs when it's told to."""

    def __init__(self, running: Bench) -> None:
        self.removed: list[int] = []
        self.loaded: list[bytes] = []
        self.jobs: list[Callable[[], None]] = []
        folder = running.store._library._disk.folder  # type: ignore[attr-defined]
        self.kept = KeptBodies(self._in_thread, running.clock)
        self.opening = Opening(folder, self._in_thread, self._remove, self._load, self.kept)

    def _in_thread(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = Deferred()

        def run() -> None:
            maybeDeferred(job).chainDeferred(done)

        self.jobs.append(run)
        return done

    def _remove(self, entry: Entry) -> None:
        self.removed.append(entry.id)

    def _load(self, entry: Entry, content: bytes) -> None:
        self.loaded.append(content)

    def opened(self, entry: Entry) -> object:
        """Open *entry* in a thread; return what that gave."""
        found: list[object] = []
        self.opening.opened(entry).addBoth(found.append)
        assert not found
        self.jobs.pop()()
        return getattr(found[0], "value", found[0])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """Yield a store with a short content and a long one, none of them in memory."""
    with bench(tmp_path) as started:
        started.store.put(KEY, stored(), b"hello")
        started.fill(KEY + b"/long", LONG)
        started.restart()
        yield started


@pytest.fixture
def scene(running: Bench) -> Iterator[Scene]:
    """Yield a scene."""
    found = Scene(running)
    yield found
    found.opening.close()


def entries(running: Bench) -> tuple[Entry, Entry]:
    """Return the short one and the long one."""
    (short,), (long,) = running.store.variants(KEY), running.store.variants(KEY + b"/long")
    return short, long


def path_of(running: Bench, entry: Entry) -> Path:
    """Return the file of *entry*."""
    (path,) = running.folder.glob(f"bodies/*/{entry.id:016x}")
    return path


def test_a_short_content_is_read(running: Bench, scene: Scene) -> None:
    """It's given on, and the body is open all the same; a long one is only opened."""
    for entry, content in zip(entries(running), (b"hello", LONG), strict=True):
        body = scene.opened(entry)
        assert isinstance(body, OpenBody)
        assert os.pread(body.descriptor, len(content) + 1, body.offset) == content
        assert os.fstat(body.descriptor).st_size == body.offset + len(content)
        body.close()
    assert scene.loaded == [b"hello"]


@pytest.mark.parametrize("damage", ["gone", "cut", "emptied", "overwritten"])
@pytest.mark.parametrize("is_short", [True, False])
def test_what_is_damaged_is_gone(running: Bench, scene: Scene, damage: str, is_short: bool) -> None:
    """A miss, and it's removed; at once and in a thread."""
    entry = entries(running)[not is_short]
    path = path_of(running, entry)
    if damage == "gone":
        path.unlink()
    elif damage == "overwritten":
        path.write_bytes(b"y" * path.stat().st_size)
    else:
        os.truncate(path, path.stat().st_size - 1 if damage == "cut" else 0)
    with pytest.raises(EntryGone):
        scene.opening.open(entry)
    assert isinstance(scene.opened(entry), EntryGone)
    assert scene.removed == [entry.id] * 2
    assert not scene.loaded


def test_a_rotten_content_is_noticed(running: Bench, scene: Scene) -> None:
    """A memory card may forget a bit; of what is short there's a check sum."""
    (entry, _) = entries(running)
    path = path_of(running, entry)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"0")
    assert isinstance(scene.opened(entry), EntryGone)
    assert scene.removed == [entry.id]
    assert not scene.loaded


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no file be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_short_of_descriptors_it_is_a_miss(running: Bench, scene: Scene) -> None:
    """Nothing is removed for that: the body is sound."""
    (entry, _) = entries(running)
    with no_descriptors():
        with pytest.raises(EntryGone) as caught:
            scene.opening.open(entry)
        assert isinstance(scene.opened(entry), EntryGone)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EMFILE
    assert not scene.removed
    assert running.read(entry) == b"hello"


def test_short_of_descriptors_nothing_is_begun(running: Bench) -> None:
    """Nor does it fail."""
    with no_descriptors():
        assert running.store.begin(KEY, stored(), None) is None


def test_a_long_body_is_soon_opened_again(running: Bench, scene: Scene) -> None:
    """Nobody waits for a thread then, until it wasn't asked for during a round."""
    _, long = entries(running)
    first = scene.opened(long)
    assert isinstance(first, OpenBody)
    first.close()
    path_of(running, long).unlink()
    again = result(scene.opening.opened(long))
    assert os.pread(again.descriptor, len(LONG), again.offset) == LONG
    again.close()
    running.clock.pump([ROUND, ROUND])
    scene.jobs.pop()()  # closes it
    assert isinstance(scene.opened(long), EntryGone)


def test_who_does_not_wait_leaves_nothing_open(running: Bench, scene: Scene) -> None:
    """A client that left meanwhile costs no descriptor."""
    (entry, _) = entries(running)
    before = len(os.listdir("/proc/self/fd"))
    failures: list[object] = []
    waiting = scene.opening.opened(entry)
    waiting.addErrback(lambda failure: failures.append(failure.check(CancelledError)))
    waiting.cancel()
    scene.jobs.pop()()
    assert failures == [CancelledError]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_in_memory_can_be_opened(scene: Scene) -> None:
    """Whoever wants a file gets one."""
    entry = Entry(KEY, 1, stored(total=5), 5, ((0, 5),), b"hello")
    for body in (scene.opening.open(entry), scene.opened(entry)):
        assert isinstance(body, OpenBody)
        assert os.pread(body.descriptor, 9, body.offset) == b"hello"
        body.close()


def test_a_mistake_of_ours_is_told(running: Bench, scene: Scene) -> None:
    """It's no miss."""
    broken = Entry(KEY, "x", stored(), 5, ((0, 5),))  # type: ignore[arg-type]
    assert not isinstance(scene.opened(broken), EntryGone | OpenBody)
    assert not scene.removed
