"""The folder of the store: bodies under their ids, growing ones apart, and their locks.

Ids grow with time, and files that are made in the same minute lie in the same folder: on a memory
card, which writes whole blocks, many small files then share the blocks of folders and inodes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

_BODIES = "bodies"
_GROWING = "growing"
_LOCK = "lock"
_ID_LENGTH = 16  # hexadecimal digits
_RANDOM_BITS = 12
# 2^26 us: a good minute.
_FOLDER_SHIFT = _RANDOM_BITS + 26
_MODE = 0o600
_FOLDER_MODE = 0o700


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

    def body_path(self, number: int) -> str:
        """Return where the body *number* is."""
        return f"{self._root}/{_BODIES}/{number >> _FOLDER_SHIFT & 0xFF:02x}/{number:016x}"

    def growing_path(self, number: int) -> str:
        """Return where the body *number* is while it grows."""
        return f"{self._root}/{_GROWING}/{number:016x}"

    def create(self, number: int) -> int:
        """Make the file of a growing body, locked: it's ours as long as it's open."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return _locked(os.open(self.growing_path(number), flags, _MODE))

    def reopen(self, number: int) -> int:
        """Open a body to go on with it, locked; BlockingIOError if somebody does that already."""
        return _locked(os.open(self.body_path(number), os.O_RDWR | os.O_CLOEXEC))

    def adopt(self, number: int) -> int:
        """Open a growing body that nobody writes any more; BlockingIOError if somebody does."""
        return _locked(os.open(self.growing_path(number), os.O_RDWR | os.O_CLOEXEC))

    def settle(self, number: int) -> None:
        """A growing body is finished: it gets its name."""
        target = self.body_path(number)
        try:
            os.rename(self.growing_path(number), target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), _FOLDER_MODE, exist_ok=True)
            os.rename(self.growing_path(number), target)

    def open(self, number: int) -> int:
        """Open a body for reading, finished a moment ago or long before."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        for path in (self.body_path(number), self.growing_path(number)):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, flags)
        return os.open(self.body_path(number), flags)  # it got its name between the two

    def unlink(self, number: int) -> None:
        """Remove a body; whoever reads it can go on."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.body_path(number))

    def unlink_growing(self, number: int) -> None:
        """Remove a growing body."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.growing_path(number))

    @contextlib.contextmanager
    def lock(self, name: str, how: int) -> Iterator[None]:
        """Hold the lock of this *name*, among all processes; *how* is for flock(2)."""
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def shared(self) -> AbstractContextManager[None]:
        """While files and index are changed together: nobody looks for what one of them lacks."""
        return self.lock(_LOCK, fcntl.LOCK_SH)

    def alone(self) -> AbstractContextManager[None]:
        """While nobody else changes anything."""
        return self.lock(_LOCK, fcntl.LOCK_EX)


def _locked(descriptor: int) -> int:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def let_go(descriptor: int) -> None:
    """Close what a folder's `create`, `reopen` or `adopt` returned, or a duplicate; unlock it."""
    try:
        # Followers have it open too, so closing it is not enough.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def mark(folder: BodyFolder, number: int, at: int, octets: bytes) -> None:
    """Overwrite *octets* of a body; raises OSError."""
    descriptor = os.open(folder.body_path(number), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, octets, at)
    finally:
        os.close(descriptor)


# --- What is there; all raise OSError ---


def has(folder: BodyFolder, number: int) -> bool:
    """Is there this body?"""
    return os.path.exists(folder.body_path(number))


def bodies(folder: BodyFolder) -> Iterator[int]:
    """Yield the ids of the bodies."""
    top = folder.path(_BODIES)
    for name in sorted(os.listdir(top)):
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            yield from _numbers(f"{top}/{name}")


def times(folder: BodyFolder) -> dict[int, float]:
    """Return when each body was written to, in seconds since the epoch."""
    found = {}
    for number in bodies(folder):
        with contextlib.suppress(FileNotFoundError):
            found[number] = os.stat(folder.body_path(number)).st_mtime
    return found


def growing(folder: BodyFolder) -> list[int]:
    """Return the ids of the growing bodies, also those of other processes."""
    return _numbers(folder.path(_GROWING))


def growing_room(folder: BodyFolder) -> int:
    """Return how many bytes of the disk growing bodies take."""
    room = 0
    for entry in os.scandir(folder.path(_GROWING)):
        with contextlib.suppress(FileNotFoundError):
            room += entry.stat(follow_symlinks=False).st_blocks * 512
    return room


def _numbers(folder: str) -> list[int]:
    names = [name for name in os.listdir(folder) if len(name) == _ID_LENGTH]
    found = []
    for name in names:
        with contextlib.suppress(ValueError):
            found.append(int(name, 16))
    return found
