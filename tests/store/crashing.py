"""A process that fills a store until somebody kills it; run as a module, with folder and seed.

Each step is told by a dot. What is stored says by its entity tag what its content has to be.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from hashlib import shake_128
from pathlib import Path
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorThreads, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from proxyapp.store.entry import Entry, StoreFull
from proxyapp.store.store import CacheStore, StoreLimits
from tests.store.stores import stored

_T = TypeVar("_T")

STEPS = 100
KEYS = 30
LONGEST = 300_000
# Less than a third of what one run stores.
LIMITS = StoreLimits(memory=1 << 20, disk=2 << 20, max_object=1 << 20)


def content_of(tag: bytes, total: int) -> bytes:
    """Return the content that *tag* stands for."""
    return shake_128(tag).digest(total)


def is_right(entry: Entry, served: bytes) -> bool:
    """Is *served*, of the extents of *entry*, what its origin has?"""
    tag = entry.stored.fields.combined[b"etag"]
    assert entry.stored.total is not None
    content = content_of(tag, entry.stored.total)
    return b"".join(content[start:end] for start, end in entry.extents) == served


class Filling:
    """Does what traffic does, at random."""

    def __init__(self, store: CacheStore, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)

    async def run(self, clock: IReactorTime) -> None:
        """Take STEPS steps, and go on with it until the end."""
        step = 0
        while True:
            step += 1
            await self._step()
            os.write(1, b".")
            await deferLater(clock, self._random.choice((0, 0, 0.003)), lambda: None)

    async def _step(self) -> None:
        chance = self._random
        key = b"http://example.com/%d" % chance.randrange(KEYS)
        tag = b'"%d"' % chance.randrange(1 << 60)
        total = chance.choice((0, 100, 5000, 70_000, LONGEST))
        head = stored(tag, total, arrived_at=time.time())
        known = self._store.variants(key)
        action = chance.randrange(10)
        if action < 3:
            self._store.put(key, head, content_of(tag, total))
        elif action < 6 or not known:
            self._grow(key, tag, None)
        elif action == 6:
            part = next((each for each in known if not each.is_complete), None)
            self._grow(key, part.stored.fields.combined[b"etag"] if part else tag, part)
        elif action == 7:
            self._store.remove(known[0])
        elif action == 8:
            self._store.update(known[0], known[0].stored)
            self._store.invalidate(key)
        else:
            await self._store.purge(key=key)

    def _grow(self, key: bytes, tag: bytes, part: Entry | None) -> None:
        total = LONGEST if part is None or part.stored.total is None else part.stored.total
        start = 0 if part is None else part.extents[0][1]
        head = stored(tag, total, arrived_at=time.time())
        body = self._store.begin(key, head, total, part, start)
        if body is None:
            return
        end = self._random.choice((total, total, start + (total - start) // 2))
        content = content_of(tag, total)
        with contextlib.suppress(StoreFull):  # eviction hasn't come so far
            for place in range(start, end, 50_000):
                body.write(content[place : min(place + 50_000, end)])
            if end < total:
                body.suspend()
            else:
                body.finish()


def main(folder: str, seed: str) -> None:
    """Fill until killed."""
    assert IReactorThreads.providedBy(reactor)
    assert IReactorCore.providedBy(reactor)
    threads, clock = reactor, IReactorTime(reactor)

    def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(threads, threads.getThreadPool(), job)
        return done

    store = CacheStore(Path(folder), LIMITS, in_thread, clock, time.time)

    def begin() -> None:
        store.start()
        Deferred.fromCoroutine(Filling(store, int(seed)).run(clock)).addErrback(fail)

    def fail(failure: object) -> None:
        os.write(2, str(failure).encode())
        os._exit(1)

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
