"""A Unix socket for the owner's eyes only, and for one process at a time.

Which process that is, a lock decides: the kernel takes it from the dead, whatever they have left in
the folder, and no other process ever has it by chance, as it may have their number.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure

_MODE = 0o600
# Those who talk to it are few.
_BACKLOG = 16


class SocketTaken(Exception):
    """Another process, which is alive, listens there."""


class _PrivatePort(unix.Port):
    """The listening socket, and the lock that goes with it."""

    def __init__(self, path: Path, factory: IProtocolFactory, reactor: object, lock: int) -> None:
        super().__init__(os.fsencode(path), factory, _BACKLOG, _MODE, reactor)
        self._path = path
        self._lock = lock

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor; a socket that somebody has removed meanwhile is no mistake."""
        # Not unix.Port's: it removes the file first, and where that fails it goes no further.
        tcp.Port.connectionLost(self, reason)
        with suppress(OSError):
            self._path.unlink()
        os.close(self._lock)


def listen_private(path: Path, factory: IProtocolFactory, reactor: IReactorTime) -> IListeningPort:
    """Listen at *path*, which nobody but its owner and root may open.

    The folder is made, and a socket that a dead process has left there is replaced. Raises
    SocketTaken, and OSError where it can't be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path.with_suffix(".lock"))
    try:
        _remove_socket(path)
        port = _PrivatePort(path, factory, reactor, lock)
        port.startListening()
    except CannotListenError as error:
        os.close(lock)
        raise _as_os_error(error) from error
    except BaseException:
        os.close(lock)
        raise
    listening: IListeningPort = port
    return listening


def _lock(path: Path) -> int:
    """Return the descriptor that holds the lock; raises SocketTaken and OSError."""
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SocketTaken(f"{path} is locked by another process") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_socket(path: Path) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _as_os_error(error: CannotListenError) -> OSError:
    found = error.socketError
    if isinstance(found, OSError) and found.errno is not None:
        return OSError(found.errno, os.strerror(found.errno))
    return OSError(0, "its path is too long for a socket")  # Python says that without a number
