"""Processes that fill a store until they are killed; run as a module, which forks and kills them.

It reads lines of a folder, a seed, and how many *steps* so many *workers* take together before the
kill, as JSON, and answers each by a line. What is stored says by its entity tag what its content
has to be. A new interpreter for each kill would take ten times as long.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from hashlib import shake_128
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from proxyapp.store.entry import Entry, StoreFull
from proxyapp.store.store import CacheStore, StoreLimits
from tests.store.stores import stored

_T = TypeVar("_T")

STEPS = 100
KEYS = 30
LONGEST = 300_000
# So many bodies grow at the same time.
AT_ONCE = 3
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
    """Does what traffic does, at random, and writes a dot to *told* after each step."""

    def __init__(self, store: CacheStore, seed: int, told: int, clock: IReactorTime) -> None:
        self._store = store
        self._random = random.Random(seed)
        self._told = told
        self._clock = clock

    async def run(self) -> None:
        """Go on with it until the end."""
        while True:
            await self._step()
            os.write(self._told, b".")
            await self._rest()

    async def _rest(self) -> None:
        await deferLater(self._clock, self._random.choice((0, 0, 0.003)), lambda: None)

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
            await self._grow(key, tag, None)
        elif action == 6:
            part = next((each for each in known if not each.is_complete), None)
            await self._grow(key, part.stored.fields.combined[b"etag"] if part else tag, part)
        elif action == 7:
            self._store.remove(known[0])
        elif action == 8:
            self._store.update(known[0], known[0].stored)
            self._store.invalidate(key)
        else:
            await self._store.purge(key=key)

    async def _grow(self, key: bytes, tag: bytes, part: Entry | None) -> None:
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
                await self._rest()
            if end < total:
                body.suspend()
            else:
                body.finish()


def fill(folder: str, seed: int, told: int) -> None:
    """Fill until killed."""
    # Its own: processes that are forked would share the epoll of one that is installed.
    reactor = EPollReactor()
    clock = IReactorTime(reactor)

    def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(reactor, reactor.getThreadPool(), job)
        return done

    store = CacheStore(Path(folder), LIMITS, in_thread, clock, time.time)

    def begin() -> None:
        store.start()
        for number in range(AT_ONCE):
            filling = Filling(store, AT_ONCE * seed + number, told, clock)
            Deferred.fromCoroutine(filling.run()).addErrback(fail)

    def fail(failure: object) -> None:
        os.write(2, str(failure).encode())
        os._exit(1)

    reactor.callWhenRunning(begin)
    reactor.run()


def forked(folder: str, seed: int, told: int) -> int:
    """Begin to fill in a process; return its id."""
    pid = os.fork()
    if not pid:
        try:
            fill(folder, seed, told)
        finally:
            os._exit(1)
    return pid


def fill_and_kill(folder: str, seed: int, steps: int, workers: int) -> None:
    """Let *workers* fill; kill them when they have taken *steps*, and see that nobody had ended."""
    dots, told = os.pipe()
    pids = [forked(folder, seed + number, told) for number in range(workers)]
    os.close(told)
    taken = 0
    while taken < steps and (more := os.read(dots, steps - taken)):
        taken += len(more)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    ended = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
    os.close(dots)
    assert (taken, ended) == (steps, {-signal.SIGKILL})


if __name__ == "__main__":
    for line in sys.stdin:
        fill_and_kill(*json.loads(line))
        print("killed", flush=True)
