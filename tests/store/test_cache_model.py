"""Whatever is done to it, in whatever order, the store holds what a dictionary would."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxyapp.store.entry import Entry, Extents, merged
from proxyapp.store.store import StoreLimits
from tests.store.crashing import content_of
from tests.store.stores import DISK_ONLY, LIMITS, MEMORY_ONLY, Bench, stored

KEYS = st.sampled_from([b"http://a.example/%d" % number for number in range(3)])
VARIANTS = st.sampled_from([b"", b"de", b"fr"])
SIZES = st.sampled_from([0, 1, 1000, 70_000, 150_000])
WORKERS = st.integers(0, 1)


@dataclass(frozen=True)
class Known:
    """What should be stored of a variant."""

    etag: bytes
    total: int
    extents: Extents
    is_invalid: bool = False
    is_pinned: bool = False


class Model(RuleBasedStateMachine):
    """Two workers on one folder, and what they should hold; on a disk only, there is one."""

    limits: StoreLimits = LIMITS

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        count = 2 if self.limits.disk else 1
        self.workers = [Bench(self.folder, self.limits) for _ in range(count)]
        self.known: dict[tuple[bytes, bytes], Known] = {}
        self.count = 0

    def teardown(self) -> None:
        """Stop, and see that no file is left that nobody knows of."""
        for worker in self.workers:
            worker.stop()
        if self.limits.disk:
            assert len(list(self.folder.glob("bodies/*/*"))) == len(self.known)
            assert not list((self.folder / "growing").iterdir())
        shutil.rmtree(self.folder)

    def _worker(self, number: int) -> Bench:
        return self.workers[number % len(self.workers)]

    def _settle(self) -> None:
        for worker in self.workers:
            worker.settle(0.5)

    def _entry(self, worker: Bench, key: bytes, variant: bytes) -> Entry | None:
        varying = ((b"accept-language", variant),)
        found = [each for each in worker.store.variants(key) if each.stored.varying == varying]
        return found[0] if found else None

    def _store(self, key: bytes, variant: bytes, known: Known) -> None:
        old = self.known.get((key, variant))
        is_pinned = old is not None and old.is_pinned
        self.known[key, variant] = replace(known, is_pinned=is_pinned)

    def _new(self) -> bytes:
        self.count += 1
        return b'"%d"' % self.count

    @rule(number=WORKERS, key=KEYS, variant=VARIANTS, size=SIZES)
    def put(self, number: int, key: bytes, variant: bytes, size: int) -> None:
        """Store a whole content."""
        etag = self._new()
        head = stored(etag, varying=((b"accept-language", variant),))
        self._worker(number).store.put(key, head, content_of(etag, size))
        self._store(key, variant, Known(etag, size, ((0, size),) if size else ()))
        self._settle()

    @rule(number=WORKERS, key=KEYS, variant=VARIANTS, start=SIZES, length=SIZES)
    def grow(self, number: int, key: bytes, variant: bytes, start: int, length: int) -> None:
        """Store a part, and go on with one that is there."""
        worker = self._worker(number)
        old, part = self.known.get((key, variant)), self._entry(worker, key, variant)
        total = 200_000
        if old is None or part is None or part.is_complete or not old.extents:
            etag, part, extents = self._new(), None, merged((), start, start + length)
        else:
            etag, total = old.etag, old.total
            extents = merged(old.extents, start, min(start + length, total))
        head = stored(etag, total, varying=((b"accept-language", variant),))
        body = worker.store.begin(key, head, total, part, start)
        assert body is not None
        if (part is None and start + length > total) or not length:
            body.abandon()
            return
        body.write(content_of(etag, total)[start : start + length])
        body.suspend()
        self._store(key, variant, Known(etag, total, extents))
        self._settle()

    @rule(number=WORKERS, key=KEYS)
    def invalidate(self, number: int, key: bytes) -> None:
        """All variants become invalid."""
        self._worker(number).store.invalidate(key)
        for place, known in self.known.items():
            if place[0] == key:
                self.known[place] = replace(known, is_invalid=True)
        self._settle()

    @rule(number=WORKERS, key=KEYS, variant=VARIANTS)
    def update(self, number: int, key: bytes, variant: bytes) -> None:
        """A variant is valid again."""
        worker = self._worker(number)
        entry = self._entry(worker, key, variant)
        if entry is not None:
            worker.store.update(entry, replace(entry.stored, is_invalid=False))
            self.known[key, variant] = replace(self.known[key, variant], is_invalid=False)
            self._settle()

    @rule(number=WORKERS, key=KEYS, variant=VARIANTS)
    def remove(self, number: int, key: bytes, variant: bytes) -> None:
        """A variant goes."""
        worker = self._worker(number)
        entry = self._entry(worker, key, variant)
        if entry is not None:
            worker.store.remove(entry)
            del self.known[key, variant]
            self._settle()

    @rule(number=WORKERS, key=KEYS, is_pinned=st.booleans())
    def pin(self, number: int, key: bytes, is_pinned: bool) -> None:
        """All variants are pinned, or no longer."""
        self._worker(number).store.pin(key, is_pinned)
        for place, known in self.known.items():
            if place[0] == key:
                self.known[place] = replace(known, is_pinned=is_pinned)

    @rule(number=WORKERS, key=KEYS)
    def purge(self, number: int, key: bytes) -> None:
        """All variants go."""
        self._worker(number).store.purge(key=key)
        self.known = {place: known for place, known in self.known.items() if place[0] != key}

    @precondition(lambda self: self.limits.disk)
    @rule(number=WORKERS)
    def restart(self, number: int) -> None:
        """One of the workers starts anew."""
        self._worker(number).restart()

    @precondition(lambda self: self.limits.disk)
    @rule()
    def lose_index(self) -> None:
        """All stop, the index is deleted, and all start again."""
        for worker in self.workers:
            worker.stop()
        for path in self.folder.glob("index.*"):
            path.unlink()
        # What the files don't say: an update that made an entry valid again.
        self.workers = [Bench(self.folder, self.limits) for _ in self.workers]
        self._settle()
        for (key, variant), known in self.known.items():
            entry = self._entry(self.workers[0], key, variant)
            assert entry is not None
            self.known[key, variant] = replace(known, is_invalid=entry.stored.is_invalid)

    @invariant()
    def everybody_finds_it(self) -> None:
        """Each worker has all variants, with heads, marks and contents as they should be."""
        for worker in self.workers:
            found = {}
            for key in {place[0] for place in self.known} | {b"http://a.example/0"}:
                for entry in worker.store.variants(key):
                    head = entry.stored
                    etag, total = head.fields.combined[b"etag"], head.total
                    assert total is not None
                    content = content_of(etag, total)
                    expected = b"".join(content[start:end] for start, end in entry.extents)
                    assert worker.read(entry) == expected
                    variant = head.varying[0][1] or b""
                    found[key, variant] = Known(
                        etag, total, entry.extents, head.is_invalid, entry.is_pinned
                    )
            assert found == self.known


class DiskModel(Model):
    """Nothing is in memory."""

    limits = DISK_ONLY


class MemoryModel(Model):
    """Nothing is on a disk."""

    limits = MEMORY_ONLY


@pytest.mark.parametrize("model", [Model, DiskModel, MemoryModel])
def test_it_is_what_it_should_be(model: type[Model]) -> None:
    """Any sequence of what can be done leaves what should be there, and nothing else."""
    test = model.TestCase
    test.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
    test().runTest()
