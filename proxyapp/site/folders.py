"""Folders that are written to: opened and made below a site's root, and what their disk says.

Nothing here may run in the reactor's thread: it all waits for a disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from proxyapp import errors
from proxyapp.site.confinement import Root

# For what can only be read.
READ_ONLY = (b"Allow", b"GET, HEAD, OPTIONS")
_FOLDER_MODE = 0o755  # less the umask
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the file system says to a writer into what a client may hear."""
    try:
        yield
    except OSError as error:
        raise _translated(error.errno) from error


def _translated(number: int | None) -> errors.ExchangeError:
    if number in _FULL:
        return errors.InsufficientStorage("there is not enough room on the site's disk")
    if number in _FORBIDDEN:
        return errors.AccessDenied("the site's folder doesn't let this service write there")
    if number in _SHORT:
        return errors.Overloaded("too many files or connections are open")
    if number in _BAD_NAME:
        return errors.BadRequest("the site's disk can't hold a file of this name")
    if number in _CHANGED:
        return errors.Conflict("somebody changed the folder meanwhile, or it is behind a link")
    return errors.InternalError("the file can't be written")


def open_folder(root: Root, segments: tuple[bytes, ...]) -> int:
    """Return a descriptor of the folder at *segments*; raises NotFound, and Conflict for a file."""
    found = root.open(segments)
    if not found.is_folder:
        found.close()
        raise errors.Conflict("a part of the path is a file, so nothing can be put below it")
    return found.descriptor


def check_name(name: bytes) -> None:
    """Raise NotFound unless *name* can only be in a folder, whoever else has checked that."""
    if name in (b"", b".", b"..") or b"/" in name:
        raise errors.NotFound("the path leads somewhere else")


def make_folder(root: Root, segments: tuple[bytes, ...]) -> int:
    """Return a descriptor of the folder at *segments*, made with its parents where it is missing.

    There is no other way to make a folder here, so uploads do it, where WebDAV would want a MKCOL
    first (RFC 4918 section 9.7.1). Raises Conflict where a file or a link stands in the way.
    """
    existing = len(segments)
    while True:
        try:
            folder = open_folder(root, segments[:existing])
            break
        except errors.NotFound:
            if not existing:
                raise
            existing -= 1
    for name in segments[existing:]:
        folder = _entered(folder, name)
    return folder


def _entered(parent: int, name: bytes) -> int:
    """Make the folder *name* and return its descriptor; *parent* is closed."""
    try:
        check_name(name)
        with suppress(FileExistsError):  # somebody was faster
            os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
            sync_folder(parent)
        # Not followed: what the root didn't open is no way in.
        return os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(parent)


def sync_folder(folder: int) -> None:
    """Let the names in *folder* reach the disk."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems can't, and needn't
            raise


def standing(folder: int, name: bytes) -> os.stat_result | None:
    """Return the status of the file *name*, None where there is none.

    Raises MethodNotAllowed where it is a folder, and AccessDenied for any other thing.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise errors.MethodNotAllowed("this is a folder, which no file can replace", (READ_ONLY,))
    if not stat.S_ISREG(status.st_mode):
        raise errors.AccessDenied("what has this name is a link or a device, not a file")
    return status


def check_room(folder: int, size: int) -> None:
    """Raise InsufficientStorage if *size* bytes more have no room where *folder* is."""
    room = os.fstatvfs(folder)
    # Some network file systems don't know, and say 0 of everything.
    if room.f_blocks and size > room.f_bavail * room.f_frsize:
        raise _translated(errno.ENOSPC)
