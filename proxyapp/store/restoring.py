"""After a start: files without a row get one or go, rows without a file go, a broken index is left.

It runs beside everything else, a few files at a time. What a process that was killed had not yet
written to the index is found by its file, and what it had begun to load is a part to go on with.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from proxyapp.rules.caching import validation
from proxyapp.store import bodyhead, folder, index
from proxyapp.store.bodyhead import BodyHead, Damaged
from proxyapp.store.changes import row_of, tags_of
from proxyapp.store.disk import OPEN, STATE, STOPPED, Disk
from proxyapp.store.entry import Entry, size_of
from proxyapp.store.folder import BodyFolder, let_go
from proxyapp.store.writing import InThread, Writing

_T = TypeVar("_T")

# Files that are looked at in one job: other changes wait for as long as that takes.
_CHUNK = 64
# A part that a killed process has left is kept from this size on.
_LEAST_PART = 64 * 1024
# What was written so many seconds before a power cut may not have reached the disk: the kernel
# writes after 30, and a slow card may be far behind.
_UNSURE = 300
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BOOT_FILE = "boot"
# Held by the one process that compares.
_LOCK = "restoring"

_log = Logger()


@dataclass(slots=True)
class Restored:
    """What was done: files that got rows, files and rows that went."""

    found: int = 0
    removed: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.found} bodies found again, {self.removed} removed, {self.lost} missing"


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


class Restoring:
    """Compares files and index; *renewed* is told when the index is another one."""

    def __init__(
        self,
        body_folder: BodyFolder,
        writing: Writing,
        in_thread: InThread,
        renewed: Callable[[], None],
    ) -> None:
        self._folder = body_folder
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
        done = Restored()
        with self._folder.lock(_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            left = await self._writing.run(look)
            await self._check(left)
            if left.is_rebooted and left.state != STOPPED:
                await self._distrust(left.unsure, done)
            await self._in_chunks(folder.growing(self._folder), partial(adopt, done=done))
            files = await self._in_thread(lambda: set(folder.bodies(self._folder)))
            rows = await self._writing.run(lambda disk: disk.index.ids())
            await self._in_chunks(files - rows, partial(restore, done=done))
            await self._in_chunks(rows - files, partial(forget, done=done))
            await self._writing.run(lambda disk: disk.marks.forget_tags())
            if left.is_rebooted and not self._is_stopped:
                await self._in_thread(lambda: note_boot(self._folder))
        if done.found or done.removed or done.lost:
            _log.info("the cache was put in order: {done}", done=done)

    async def _check(self, left: Left) -> None:
        """Read the index if somebody was killed who wrote it; a broken one is left."""
        if left.state == OPEN and not await self._in_thread(lambda: index.is_sound(left.path)):
            await self._writing.run(lambda disk: disk.renew())
            self._renewed()

    async def _distrust(self, unsure: list[int], done: Restored) -> None:
        """Remove what was written so late that a power cut may have kept it from the disk."""
        await self._in_chunks(unsure, partial(remove, done=done))
        await self._in_chunks(folder.growing(self._folder), partial(remove_growing, done=done))

    async def _in_chunks(
        self, numbers: Iterable[int], job: Callable[[Disk, list[int]], None]
    ) -> None:
        for chunk in _chunks(sorted(numbers)):
            if self._is_stopped:
                return
            await self._writing.run(_bound(job, chunk))


def _bound(job: Callable[[Disk, list[int]], None], chunk: list[int]) -> Callable[[Disk], None]:
    return lambda disk: job(disk, chunk)


# --- In the writing thread ---


class Left(NamedTuple):
    """What was left to us: index and its mark, and bodies that a power cut may have damaged."""

    path: str
    state: str
    is_rebooted: bool
    unsure: list[int]


def look(disk: Disk) -> Left:
    """Look at what is there, before anything of ours is: that would be the latest, and trusted."""
    state, rebooted = disk.marks.get(STATE), is_rebooted(disk.folder)
    times: dict[int, float] = {}
    if rebooted and state != STOPPED:
        with disk.folder.alone():
            times = folder.times(disk.folder)
    since = max(times.values(), default=0.0) - _UNSURE
    unsure = [number for number, time in times.items() if time > since]
    return Left(disk.path, state, rebooted, unsure)


def adopt(disk: Disk, numbers: list[int], done: Restored) -> None:
    """Take over growing bodies that nobody writes any more, as far as they're of use."""
    for number in numbers:
        try:
            descriptor = disk.folder.adopt(number)
        except (BlockingIOError, FileNotFoundError):
            continue
        try:
            with disk.folder.shared():
                head = _left_behind(descriptor, bodyhead.read(descriptor))
                disk.folder.settle(number)
                _insert(disk, number, head, done)
        except Damaged:
            disk.folder.unlink_growing(number)
        finally:
            let_go(descriptor)


def _left_behind(descriptor: int, head: BodyHead) -> BodyHead:
    """Return *head* as what its writer left makes it; raises Damaged where that's no use."""
    if head.size is not None:
        bodyhead.offset_of(descriptor, head.extents)
        return head
    start = head.extents[0][0] if head.extents else 0
    end = os.fstat(descriptor).st_size - head.offset
    is_whole = not start and end == head.stored.total
    is_part = end - start >= _LEAST_PART and validation.strong_validator(head.stored) is not None
    if not is_whole and not is_part:
        raise Damaged("too little was written")
    extents = ((start, end),)
    os.pwrite(descriptor, bodyhead.progress(end - start, extents), bodyhead.PROGRESS_AT)
    return replace(head, size=end - start, extents=extents)


def restore(disk: Disk, numbers: list[int], done: Restored) -> None:
    """Give rows to bodies that have none, or remove them."""
    with disk.folder.alone():
        for number in numbers:
            if not disk.index.has(number):
                _restore(disk, number, done)


def _restore(disk: Disk, number: int, done: Restored) -> None:
    try:
        descriptor = disk.folder.open(number)
    except FileNotFoundError:
        return
    try:
        head = bodyhead.read(descriptor)
        bodyhead.offset_of(descriptor, head.extents)
        if head.size is None:
            raise Damaged("a body isn't finished")
        _insert(disk, number, head, done)
    except Damaged:
        disk.folder.unlink(number)
        done.removed += 1
    finally:
        os.close(descriptor)


def _insert(disk: Disk, number: int, head: BodyHead, done: Restored) -> None:
    entry = Entry(head.key, number, head.stored, size_of(head.extents), head.extents)
    entry.is_pinned = head.is_pinned
    row = row_of(entry, head.offset, disk.seconds())
    others = [bodyhead.decode(each) for each in disk.index.heads(row.key, row.varying)]
    if any(each.arrived_at >= head.stored.arrived_at for each in others):
        raise Damaged("another body has replaced it")
    with disk.index.transaction():
        replaced = disk.index.insert(row, tags_of(head.stored.fields))
    # First: who remembers the others would look for bodies that go now.
    disk.tokens.renew([row.key])
    for each in replaced:
        disk.folder.unlink(each)
    done.found += 1


def forget(disk: Disk, numbers: list[int], done: Restored) -> None:
    """Delete rows whose bodies are gone."""
    with disk.folder.alone():
        gone = [number for number in numbers if not folder.has(disk.folder, number)]
        with disk.index.transaction():
            disk.index.delete(gone)
    done.lost += len(gone)


def remove(disk: Disk, numbers: list[int], done: Restored) -> None:
    """Remove bodies and their rows."""
    disk.remove([(number, b"") for number in numbers], is_said=False)
    done.removed += len(numbers)


def remove_growing(disk: Disk, numbers: list[int], done: Restored) -> None:
    """Remove growing bodies that nobody writes any more."""
    for number in numbers:
        with contextlib.suppress(OSError):
            let_go(disk.folder.adopt(number))
            disk.folder.unlink_growing(number)
            done.removed += 1


# --- The power ---


def is_rebooted(root: BodyFolder) -> bool:
    """Has the machine been started since somebody last said `note_boot`?"""
    try:
        known = Path(root.path(_BOOT_FILE)).read_text(encoding="ascii")
        return known != _BOOT.read_text(encoding="ascii")
    except (OSError, ValueError):
        return True


def note_boot(root: BodyFolder) -> None:
    """Write down which start of the machine this is."""
    with contextlib.suppress(OSError):
        known = _BOOT.read_bytes()
        descriptor = os.open(root.path(_BOOT_FILE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, known)
        finally:
            os.close(descriptor)
