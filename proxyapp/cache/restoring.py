"""After a start: files without a row get one or go, rows without a file go, a broken index is left.

It runs beside everything else, a few files at a time. What a process that was killed had not yet
written to the index is found by its file, and what it had begun to load is a part to go on with.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from proxyapp.cache import bodyhead, index
from proxyapp.cache.bodyhead import BodyHead, Damaged
from proxyapp.cache.changes import row_of, tags_of
from proxyapp.cache.disk import Disk
from proxyapp.cache.entry import Entry, Extents, size_of
from proxyapp.cache.folder import made_at
from proxyapp.cache.writing import InThread, Writing
from proxyapp.rules.caching import validation

_T = TypeVar("_T")

# Files that are looked at in one job: other changes wait for as long as that takes.
_CHUNK = 64
# A part that a killed process has left is kept from this size on.
_LEAST_PART = 64 * 1024
# What was written so many seconds before a power cut may not have reached the disk: the kernel
# writes after 30, and a slow card may be far behind.
_UNSURE = 300
_BOOT = Path("/proc/sys/kernel/random/boot_id")

_log = Logger()


@dataclass(slots=True)
class Restored:
    """What was done: files that got rows, files and rows that went."""

    found: int = 0
    removed: int = 0
    lost: int = 0


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


class Restoring:
    """Compares files and index; *renewed* is told when the index is another one."""

    def __init__(
        self, writing: Writing, in_thread: InThread, renewed: Callable[[], None]
    ) -> None:
        self._writing = writing
        self._in_thread = in_thread
        self._renewed = renewed
        self._is_stopped = False
        self._is_wanted = False
        self._done: Deferred[None] | None = None

    def start(self) -> None:
        """Begin; or once more, if it is at work."""
        self._is_wanted = True
        if self._done is None and not self._is_stopped:
            self._done = Deferred()
            Deferred.fromCoroutine(self._work())

    def stop(self) -> Deferred[None]:
        """Give it up until the next start; fires when it has ended."""
        self._is_stopped = True
        return self.ended()

    def ended(self) -> Deferred[None]:
        """Return what fires when nothing is compared any more."""
        if self._done is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._done.addCallback(ended.callback)
        return ended

    async def _work(self) -> None:
        try:
            while self._is_wanted and not self._is_stopped:
                self._is_wanted = False
                await self._restore()
        except BlockingIOError:
            pass  # another process does it
        except (OSError, sqlite3.Error):
            _log.error("the cache's files can't be compared with its index: the disk fails")
        except Exception:
            _log.failure("the cache's files can't be compared with its index")
        done, self._done = self._done, None
        assert done is not None
        done.callback(None)

    async def _restore(self) -> None:
        with (await self._writing.run(_lock)) as folder:
            if await self._writing.run(_check):
                self._renewed()
            done = Restored()
            await self._in_chunks(folder.growing(), partial(adopt, done=done))
            files = await self._in_thread(lambda: set(folder.bodies()))
            rows = await self._writing.run(lambda disk: disk.index.ids())
            await self._in_chunks(files - rows, partial(restore, done=done))
            await self._in_chunks(rows - files, partial(forget, done=done))
            await self._writing.run(lambda disk: disk.marks.forget_tags())
        if done.found or done.removed or done.lost:
            _log.info(
                "the cache was put in order: {found} bodies found again, {removed} removed, {lost}"
                " missing",
                found=done.found,
                removed=done.removed,
                lost=done.lost,
            )

    async def _in_chunks(
        self, numbers: Iterable[int], job: Callable[[Disk, list[int]], None]
    ) -> None:
        for chunk in _chunks(sorted(numbers)):
            if self._is_stopped:
                return
            await self._writing.run(lambda disk, chunk=chunk: job(disk, chunk))
