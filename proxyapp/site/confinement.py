"""A folder below which files are opened, and outside of which none is, whatever a path says.

Where the kernel has openat2(2), it resolves the path itself and refuses every step that leads out,
in the same breath as it opens the file: there is no moment between a check and its use. Elsewhere
the path is resolved first, and what comes out is opened component by component from the folder's
descriptor, without following a single link; a link that is put in the way meanwhile is an error.

Links that go through a path outside, such as absolute ones, and end inside are links to the inside
all the same. The kernel refuses them, so they take the second way.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from proxyapp import errors
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import paths

# O_NONBLOCK: a FIFO must not hold up everybody. O_NOCTTY: nor a terminal become ours.
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER_ONLY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EXDEV,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.ENXIO,
        errno.ENODEV,
    }
)
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_NO_FILE = "there is no such file here"


class WouldWait(Exception):
    """It can't be had without waiting for a disk, so a thread has to do it."""


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn what the file system says to a reader into what a client may hear."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise errors.NotFound(_NO_FILE) from error
        if error.errno in _FORBIDDEN:
            reason = "the file is there, and its permissions don't let the site read it"
            raise errors.AccessDenied(reason) from error
        if error.errno in _SHORT:
            raise errors.Overloaded("too many files or connections are open") from error
        raise errors.InternalError("the file can't be read") from error


class OpenFile(NamedTuple):
    """An open file or folder: its descriptor, the name in its folder, and its status."""

    descriptor: int
    name: bytes
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Is it a folder, rather than a regular file?"""
        return stat.S_ISDIR(self.status.st_mode)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


class Root:
    """The folder of a site: *symlinks* says which links are followed, *hidden* lifts dot files."""

    def __init__(self, folder: Path, symlinks: Symlinks, hidden: bool) -> None:
        # Absolute at once: a daemon changes its working folder later.
        self._folder = os.fsencode(folder.absolute())
        self._symlinks = symlinks
        self._hidden = hidden

    def __repr__(self) -> str:
        return f"<Root {os.fsdecode(self._folder)}, symlinks {self._symlinks.value}>"

    def open(self, segments: tuple[bytes, ...]) -> OpenFile:
        """Open the file or folder at *segments*, the root itself if there are none.

        Raises NotFound, BadRequest, AccessDenied, Overloaded or InternalError.
        """
        with self.entered() as folder:
            return folder.open(segments)

    @contextmanager
    def entered(self, may_wait: bool = True) -> Iterator[Folder]:
        """Give the root as it is now, to open several files that belong together.

        It is looked up anew each time, for 2 us: it may be a symlink that a deployment switches,
        and no thread ever finds its descriptor closed. Raises NotFound and the like.
        """
        if not may_wait and not _can_look_up_only():
            raise WouldWait
        with file_errors():
            descriptor = os.open(self._folder, _FOLDER_ONLY)
        try:
            yield Folder(descriptor, self._folder, self._symlinks, self._hidden, may_wait)
        finally:
            os.close(descriptor)


class Folder(NamedTuple):
    """The root, entered; *may_wait* False means that nothing may be asked of a disk."""

    descriptor: int
    path: bytes
    symlinks: Symlinks
    hidden: bool
    may_wait: bool

    def open(self, segments: tuple[bytes, ...]) -> OpenFile:
        """See Root.open; also raises WouldWait."""
        paths.check_names(segments, self.hidden)
        with file_errors():
            descriptor = self._descriptor_of(segments)
            try:
                status = os.fstat(descriptor)
                if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                    raise errors.NotFound("what has this name isn't a file")
                return OpenFile(descriptor, segments[-1] if segments else b"", status)
            except BaseException:
                os.close(descriptor)
                raise

    def _descriptor_of(self, segments: tuple[bytes, ...]) -> int:
        if not _has_openat2():
            return self._open_by_hand(segments)
        path = b"/".join(segments) or b"."
        try:
            return _openat2(self.descriptor, path, _RESOLVE[self.symlinks], self.may_wait)
        except OSError as error:
            if error.errno != errno.EXDEV or self.symlinks is not Symlinks.INSIDE:
                raise
        if not self.may_wait:
            raise WouldWait
        # What has been resolved has no links left, unless somebody puts one there now.
        path = b"/".join(self._resolved(segments)) or b"."
        return _openat2(self.descriptor, path, _RESOLVE[Symlinks.NONE], True)

    def _open_by_hand(self, segments: tuple[bytes, ...]) -> int:
        if self.symlinks is Symlinks.ALL:
            return os.open(b"/".join(segments) or b".", _READ_ONLY, dir_fd=self.descriptor)
        if self.symlinks is Symlinks.INSIDE:
            segments = self._resolved(segments)
        *folders, name = segments or (b".",)
        at = self.descriptor
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER_ONLY | os.O_NOFOLLOW, dir_fd=at)
                at = self._left(at, inner)
            return os.open(name, _READ_ONLY | os.O_NOFOLLOW, dir_fd=at)
        finally:
            self._left(at, -1)

    def _left(self, folder: int, inner: int) -> int:
        if folder != self.descriptor:
            os.close(folder)
        return inner

    def _resolved(self, segments: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return where below the root *segments* lead when all links are followed; or NotFound."""
        root = os.path.realpath(self.path, strict=True).rstrip(b"/") + b"/"
        real = os.path.realpath(b"/".join((self.path, *segments)), strict=True)
        if not (real + b"/").startswith(root):
            raise errors.NotFound(_NO_FILE)
        return tuple(segment for segment in real[len(root) :].split(b"/") if segment)


# openat2(2), which Python doesn't have.

_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH, _CACHED = 0x02, 0x04, 0x08, 0x20
_RESOLVE = {
    Symlinks.INSIDE: _BENEATH | _NO_MAGIC_LINKS,
    Symlinks.NONE: _BENEATH | _NO_MAGIC_LINKS | _NO_SYMLINKS,
    Symlinks.ALL: 0,
}
_SYS_OPENAT2 = 437
# Where system calls have other numbers.
_OTHER_NUMBERS = ("alpha", "mips")
# The kernel gives up on a path with `..` while something is renamed anywhere (openat2(2), EAGAIN).
_TRIES = 16


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
)


def _openat2(folder: int, path: bytes, resolve: int, may_wait: bool) -> int:
    """Open *path* to read; raises OSError, and WouldWait unless it *may_wait*."""
    how = _OpenHow(_READ_ONLY, 0, resolve if may_wait else resolve | _CACHED)
    for _ in range(_TRIES):
        descriptor: int = _syscall(_SYS_OPENAT2, folder, path, how, ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number == errno.EAGAIN and not may_wait:
            raise WouldWait
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number))


def _is_understood(resolve: int) -> bool:
    """Does the kernel, or the sandbox around us, let openat2 resolve like that?"""
    if os.uname().machine.startswith(_OTHER_NUMBERS):
        return False
    try:
        descriptor = _openat2(_HERE, b"/", resolve, True)
    except OSError as error:
        # With RESOLVE_CACHED that is an answer too.
        return error.errno == errno.EAGAIN
    os.close(descriptor)
    return True


_HERE = -100  # AT_FDCWD


@functools.cache
def _has_openat2() -> bool:
    return _is_understood(_NO_SYMLINKS)


@functools.cache
def _can_look_up_only() -> bool:
    return _is_understood(_CACHED)
