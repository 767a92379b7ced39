"""The folder of the store: bodies under their ids, growing ones apart, and the lock between processes.

Ids grow with time, and files that are made in the same minute lie in the same folder: on a memory
card, which writes whole blocks, many small files then share the blocks of folders and inodes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

_BODIES = "bodies"
_GROWING = "growing"
_LOCK = "lock"
_RESTORING = "restoring"
_ID_LENGTH = 16  # hexadecimal digits
_RANDOM_BITS = 12
# 2^26 us: a good minute.
_FOLDER_SHIFT = _RANDOM_BITS + 26
_MODE = 0o600
_FOLDER_MODE = 0o700


def age_of(number: int, now: float) -> float:
    """Return how many seconds before *now* the id *number* was made."""
    return now - (number >> _RANDOM_BITS) / 1e6


class BodyFolder:
    """The files below *root*; *seconds* is the time of day. All methods raise OSError."""

    def __init__(self, root: Path, seconds: Callable[[], float]) -> None:
        self._root = os.fspath(root)
        self._seconds = seconds
        self._last = 0

    def __repr__(self) -> str:
        return f"<BodyFolder {self._root}>"

    def path(self, name: str) -> str:
        """Return the path of a file called *name* right in the folder."""
        return f"{self._root}/{name}"

    def prepare(self) -> None:
        """Make the folders that aren't there: what people read is nobody else's business."""
        for name in ("", _BODIES, _GROWING):
            os.makedirs(self.path(name), _FOLDER_MODE, exist_ok=True)

    def new_id(self) -> int:
        """Return an id that nobody has: the time in us and a random number."""
        time = int(self._seconds() * 1e6) << _RANDOM_BITS
        self._last = max(time, self._last - self._last % (1 << _RANDOM_BITS) + (1 << _RANDOM_BITS))
        return (self._last | secrets.randbits(_RANDOM_BITS)) & ((1 << 63) - 1)

    def _body(self, number: int) -> str:
        return f"{self._root}/{_BODIES}/{number >> _FOLDER_SHIFT & 0xFF:02x}/{number:016x}"

    def _growing(self, number: int) -> str:
        return f"{self._root}/{_GROWING}/{number:016x}"

    def create(self, number: int) -> int:
        """Make the file of a growing body, locked: it's ours as long as it's open."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return self._locked(os.open(self._growing(number), flags, _MODE))

    def reopen(self, number: int) -> int:
        """Open a body to go on with it, locked; BlockingIOError if somebody does that already."""
        return self._locked(os.open(self._body(number), os.O_RDWR | os.O_CLOEXEC))

    def adopt(self, number: int) -> int:
        """Open a growing body that nobody writes any more; BlockingIOError if somebody does."""
        return self._locked(os.open(self._growing(number), os.O_RDWR | os.O_CLOEXEC))

    def _locked(self, descriptor: int) -> int:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @staticmethod
    def let_go(descriptor: int) -> None:
        """Close what `create`, `reopen` or `adopt` returned, or a duplicate, and unlock it."""
        try:
            # Followers have it open too, so closing it is not enough.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def settle(self, number: int) -> None:
        """A growing body is finished: it gets its name."""
        target = self._body(number)
        try:
            os.rename(self._growing(number), target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), _FOLDER_MODE, exist_ok=True)
            os.rename(self._growing(number), target)

    def open(self, number: int) -> int:
        """Open a body for reading, finished a moment ago or long before."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        for path in (self._body(number), self._growing(number)):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, flags)
        return os.open(self._body(number), flags)  # it got its name between the two

    def mark(self, number: int, at: int, octets: bytes) -> None:
        """Overwrite *octets* of a body."""
        descriptor = os.open(self._body(number), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, octets, at)
        finally:
            os.close(descriptor)

    def unlink(self, number: int) -> None:
        """Remove a body; whoever reads it can go on."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._body(number))

    def unlink_growing(self, number: int) -> None:
        """Remove a growing body."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._growing(number))

    # What is there.

    def bodies(self) -> Iterator[int]:
        """Yield the ids of the bodies, a folder at a time."""
        for folder in sorted(os.listdir(self.path(_BODIES))):
            with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                yield from _numbers(self.path(f"{_BODIES}/{folder}"))

    def growing(self) -> list[int]:
        """Return the ids of the growing bodies, also those of other processes."""
        return _numbers(self.path(_GROWING))

    def growing_room(self) -> int:
        """Return how many bytes of the disk growing bodies take."""
        room = 0
        for entry in os.scandir(self.path(_GROWING)):
            with contextlib.suppress(FileNotFoundError):
                room += entry.stat(follow_symlinks=False).st_blocks * 512
        return room

    # Between processes.

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """While files and index are changed together: nobody looks for what one of them lacks."""
        with self._lock(_LOCK, fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else changes anything."""
        with self._lock(_LOCK, fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """While files and index are compared; BlockingIOError if another process does that."""
        with self._lock(_RESTORING, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextlib.contextmanager
    def _lock(self, name: str, how: int) -> Iterator[None]:
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def _numbers(folder: str) -> list[int]:
    names = [name for name in os.listdir(folder) if len(name) == _ID_LENGTH]
    found = []
    for name in names:
        with contextlib.suppress(ValueError):
            found.append(int(name, 16))
    return found
