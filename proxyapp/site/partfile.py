"""A file on its way into the site: hidden while it grows, and published whole or not at all.

What is written goes to `.NAME.MARK.part` in the folder where the file will be. Publishing it is
one rename or link, after everything has reached the disk: whoever reads, and whatever breaks, sees
the old file or the new one. Nothing here may run in the reactor's thread: it all waits for a disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from proxyapp import errors
from proxyapp.site.confinement import Root
from proxyapp.site.folders import (
    check_name,
    check_room,
    disk_errors,
    make_folder,
    open_folder,
    standing,
    sync_folder,
)
from proxyapp.site.paths import is_part, part_name

# Somebody else may make or delete the file each time we look; nobody does that for ever.
_TRIES = 8
# NOFOLLOW: a link that somebody put in our way is not followed out of the site.
_WRITE_ONLY = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_FILE_MODE = 0o644  # less the umask
# Where there are no hard links: FAT, and some network file systems.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

# One publishes at a time, so that a precondition still holds when its file is replaced.
_publishing = threading.Lock()

# Raises PreconditionFailed where the file with this status isn't what a request is about.
Expectation = Callable[[os.stat_result | None], None]


class Published(NamedTuple):
    """A file that is there now: was it new, and its status."""

    is_new: bool
    status: os.stat_result


class Part:
    """The part of the file at *segments*; nothing is opened before `create` or `resume`.

    What the disk says no to is raised as an ExchangeError.
    """

    def __init__(self, root: Root, segments: tuple[bytes, ...], mark: str) -> None:
        *folders, self._name = segments
        self._root = root
        self._folders = tuple(folders)
        self._hidden = part_name(self._name, mark)
        self._folder = -1
        self._file = -1
        self._is_there = False  # under its hidden name
        self.size = 0

    def __repr__(self) -> str:
        return f"<Part {self._hidden!r}, {self.size} bytes>"

    @property
    def is_kept(self) -> bool:
        """Is there something for a later `resume`?"""
        return self._is_there and self.size > 0

    # Opening.

    def create(self, expectation: Expectation, size: int) -> None:
        """Begin a new one, which nobody else knows; *size* is announced, 0 where it isn't."""
        with disk_errors():
            self._enter(expectation)
            check_room(self._folder, size)
            self._file = _open(self._folder, self._hidden, os.O_EXCL)
            self._is_there = True

    def look(self) -> None:
        """Learn the *size* of the one that is there, 0 if there is none; nothing is made."""
        with disk_errors(), suppress(errors.NotFound, FileNotFoundError):
            folder = open_folder(self._root, self._folders)
            try:
                status = os.stat(self._hidden, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
            self.size = status.st_size if _is_unpublished(status) else 0

    def resume(self, expectation: Expectation, total: int) -> None:
        """Go on with the one that is there, or begin it; raises Conflict if somebody writes it."""
        with disk_errors():
            self._enter(expectation)
            for _ in range(_TRIES):
                self._file = _open(self._folder, self._hidden, 0)
                if self._is_ours():
                    check_room(self._folder, total - self.size)
                    return
                os.close(self._file)
                self._file = -1
        raise errors.Conflict("others publish this file all the time")

    def _enter(self, expectation: Expectation) -> None:
        check_name(self._name)
        self._folder = make_folder(self._root, self._folders)
        expectation(standing(self._folder, self._name))

    def _is_ours(self) -> bool:
        """Lock what was opened; False if it is no part any more."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.Conflict("another request is sending this file") from error
        status = os.fstat(self._file)
        if not _is_unpublished(status):
            with suppress(FileNotFoundError):
                os.unlink(self._hidden, dir_fd=self._folder)
            return False
        self._is_there = True
        self.size = status.st_size
        return True

    # Growing.

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*; *size* tells how far that got."""
        if self._file < 0:
            return  # it was closed behind a client that is gone
        with disk_errors():
            left = memoryview(b"".join(pieces))
            while left:
                written = os.pwrite(self._file, left, self.size)
                self.size += written
                left = left[written:]

    def restart(self) -> None:
        """Forget what there is."""
        with disk_errors():
            os.ftruncate(self._file, 0)
        self.size = 0

    def sync(self) -> None:
        """Let what was written reach the disk."""
        with disk_errors():
            os.fsync(self._file)

    # The end.

    def publish(self, expectation: Expectation) -> Published:
        """Let it be the file, if that is still what *expectation* wants."""
        with disk_errors():
            os.fsync(self._file)
            with _publishing:
                is_new = self._take_place(expectation)
            self._is_there = False
            sync_folder(self._folder)
            return Published(is_new, os.fstat(self._file))

    def _take_place(self, expectation: Expectation) -> bool:
        for _ in range(_TRIES):
            there = standing(self._folder, self._name)
            expectation(there)
            if there is not None:
                self._rename()
                return False
            with suppress(FileExistsError):  # made since we looked, by another process
                self._take_free_name()
                return True
        raise errors.Conflict("others make and delete this file all the time")

    def _take_free_name(self) -> None:
        """Take the name if nobody has it: unlike a rename, a link never replaces anything."""
        at = self._folder
        try:
            os.link(self._hidden, self._name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._rename()
        else:
            os.unlink(self._hidden, dir_fd=at)

    def _rename(self) -> None:
        at = self._folder
        os.rename(self._hidden, self._name, src_dir_fd=at, dst_dir_fd=at)

    def discard(self) -> None:
        """Take it away, as far as it got; what is published stays."""
        if self._is_there:
            self._is_there = False
            with suppress(OSError):  # it's swept up later
                os.unlink(self._hidden, dir_fd=self._folder)

    def close(self) -> None:
        """Let go of it; what is neither published nor discarded stays, unless it's empty."""
        if self.is_kept:
            with suppress(OSError):  # what's lost by it was never confirmed
                os.fsync(self._file)
        else:
            self.discard()
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1


def _open(folder: int, name: bytes, flags: int) -> int:
    return os.open(name, _WRITE_ONLY | os.O_CREAT | flags, _FILE_MODE, dir_fd=folder)


def _is_unpublished(status: os.stat_result) -> bool:
    """Has it its hidden name alone?

    It has none when it was published a moment ago, and two when whoever published it died between
    two steps: writing to it would then change a file that everybody sees.
    """
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def sweep(root: Root, before: float) -> int:
    """Delete the parts below *root* untouched since *before*; return how many are left.

    Folders behind symbolic links aren't entered.
    """
    top = open_folder(root, ())
    left = 0
    try:
        for _, _, names, folder in os.fwalk(b".", dir_fd=top):
            for name in filter(is_part, names):
                left += not _is_swept(folder, name, before)
    finally:
        os.close(top)
    return left


def _is_swept(folder: int, name: bytes, before: float) -> bool:
    try:
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime >= before:
            return False
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    return True
