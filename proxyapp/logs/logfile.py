"""A log file that several processes append to, that any of them rotates, and all of them follow.

Who finds that the file is due takes a lock on the file itself, looks once more whether it still has
its name, renames it, and opens a new one. The others see, before they write and at most once a
second, that the name stands for another file now, and go on in that. Until then their lines are in
the old one, whole like all others. So an old file stays as long as somebody may write there.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from functools import partial
from typing import NamedTuple

from twisted.logger import Logger

from proxyapp.logs.sinks import DescriptorSink, Sink
from proxyapp.rules.rotation import Rotation, aged_name, surplus

# How long a process goes on in a file that another one has put aside.
LOOK_INTERVAL = 1.0
# Nobody writes to a file that was put aside, or written to, so long ago: everybody has looked.
_SETTLED = 10.0

_events = Logger()


class Rotating(NamedTuple):
    """How a log file is rotated: when, and how many old ones to *keep* (0: all).

    *seconds* is the time of day, since the epoch; *in_thread* runs what may wait for the disk.
    """

    rotation: Rotation
    keep: int
    seconds: Callable[[], float]
    in_thread: Callable[[Callable[[], None]], object]


class _Identity(NamedTuple):
    """What a file is, whatever it is called."""

    device: int
    inode: int


class LogFile:
    """A regular file, open to be appended to."""

    def __init__(self, name: str, descriptor: int, rotating: Rotating) -> None:
        """Own *descriptor* from now on; *name* is its path."""
        self.name = name
        self._descriptor = descriptor
        self._rotating = rotating
        found = os.fstat(descriptor)
        self._identity = _identity(found)
        # Kept for as long as it's open: a write right after midnight makes the file no younger.
        when = found.st_mtime if found.st_size else rotating.seconds()
        self._begun = self._today = date.fromtimestamp(when)
        self._looked = float("-inf")

    def __repr__(self) -> str:
        return f"<LogFile {self.name} begun {self._begun}>"

    def send(self, octets: memoryview, patience: int) -> int:
        """See Sink; a file takes what it has room for, and the kernel lets nobody in between."""
        return os.write(self._descriptor, octets)

    def current(self) -> Sink:
        """See Sink; looks once in LOOK_INTERVAL, and on each new day."""
        now = self._rotating.seconds()
        today = date.fromtimestamp(now)
        if today == self._today and 0 <= now - self._looked < LOOK_INTERVAL:
            return self
        self._looked, self._today = now, today
        size = self._size_if_here()
        if size is None:
            return self.reopened()
        if self._rotating.rotation.is_due(self._begun, today, size):
            return self._rotated()
        return self

    def reopened(self) -> Sink:
        """See Sink."""
        return open_file(self.name, self._rotating)

    def close(self) -> None:
        """See Sink."""
        os.close(self._descriptor)

    def _size_if_here(self) -> int | None:
        """Return the size in bytes, or None if the name stands for something else now."""
        try:
            found = os.stat(self.name)
        except FileNotFoundError:
            return None
        return found.st_size if _identity(found) == self._identity else None

    def _rotated(self) -> Sink:
        """Put the file aside and open the next one, unless another process is about to."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self
        try:
            # Whoever had the lock before us has renamed it.
            if self._size_if_here() is not None:
                self._put_aside()
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return self.reopened()

    def _put_aside(self) -> None:
        folder, name = os.path.split(self.name)
        folder = folder or os.curdir
        aged = aged_name(name, self._begun, os.listdir(folder))
        os.rename(self.name, os.path.join(folder, aged))
        if self._rotating.keep:
            keep, seconds = self._rotating.keep, self._rotating.seconds
            self._rotating.in_thread(partial(remove_surplus, folder, name, keep, seconds))


def remove_surplus(folder: str, name: str, keep: int, seconds: Callable[[], float]) -> None:
    """Remove the old files of log *name* in *folder* beyond the newest *keep*; it may take time."""
    try:
        for old in surplus(name, os.listdir(folder), keep):
            path = os.path.join(folder, old)
            with suppress(FileNotFoundError):  # another process is at the same
                if seconds() - os.stat(path).st_ctime > _SETTLED:
                    os.unlink(path)
    except OSError as error:
        _events.error(
            "Old files of the log {name} can't be removed ({reason})",
            name=os.path.join(folder, name),
            reason=error.strerror,
        )


def _identity(found: os.stat_result) -> _Identity:
    return _Identity(found.st_dev, found.st_ino)


def open_file(path: str, rotating: Rotating) -> Sink:
    """Open *path* to append to it, readable by its group; raises OSError.

    A named pipe or a device can only be opened again.
    """
    # O_NONBLOCK is for named pipes: without a reader they are an error rather than a wait.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o640)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return LogFile(path, descriptor, rotating)
    return DescriptorSink(path, descriptor, partial(open_file, path, rotating))
