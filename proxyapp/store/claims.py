"""Who fetches what, among the processes that share a store: nobody fetches what another one does.

For each fetch that may be shared there is a file, named after its key and locked by the process
that fetches (flock(2)): the lock is gone with the process, whatever happens to it. The file says
what came: nothing yet, the id of the body that grows, or that everybody has to ask for himself.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_ALONE = b"alone"
_FOLDER_MODE = 0o700
_MODE = 0o600


class State(enum.Enum):
    """How far another process is."""

    FREE = "it doesn't fetch this, or not any more"
    AWAITED = "its origin hasn't answered yet"
    GROWING = "it stores what comes"
    ALONE = "what came isn't for others"


class Sight(NamedTuple):
    """What is seen of another process's fetch; *body* is the id of what grows."""

    state: State
    body: int = 0


class Claim:
    """Our right to fetch something, until `release`; *on_release* hears of that.

    Without a *descriptor* it's one of several that we have for the same, and says nothing.
    """

    def __init__(self, path: str, descriptor: int, on_release: Callable[[str], None]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._on_release = on_release

    def __repr__(self) -> str:
        return f"<Claim {self._path}>"

    def growing(self, body: int) -> None:
        """Say that what comes is stored as *body*."""
        self._say(b"%x" % body)

    def alone(self) -> None:
        """Say that what came isn't for others."""
        self._say(_ALONE)

    def _say(self, words: bytes) -> None:
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):  # then others wait until the end, and look then
            os.pwrite(self._descriptor, words, 0)

    def release(self) -> None:
        """It is over."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(descriptor)
        self._on_release(self._path)


class Claims:
    """The claims below *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._held: set[str] = set()

    def __repr__(self) -> str:
        return f"<Claims {self._folder}>"

    def prepare(self) -> None:
        """Make the folder, and remove what dead processes left; raises OSError."""
        os.makedirs(self._folder, _FOLDER_MODE, exist_ok=True)
        for name in os.listdir(self._folder):
            left = self._claimed(f"{self._folder}/{name}")
            if left is not None:
                left.release()

    def claim(self, key: bytes) -> Claim | None:
        """Return the right to fetch *key*, None if another process has it; raises OSError."""
        path = self._path(key)
        return Claim(path, -1, self._released) if path in self._held else self._claimed(path)

    def _released(self, path: str) -> None:
        self._held.discard(path)

    def _claimed(self, path: str) -> Claim | None:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last owner may have removed it between the two: then it is nobody's.
                if os.fstat(descriptor).st_nlink:
                    os.ftruncate(descriptor, 0)
                    self._held.add(path)
                    return Claim(path, descriptor, self._released)
                os.close(descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                os.close(descriptor)
                raise

    def look(self, key: bytes) -> Sight:
        """Say how far the process is that fetches *key*."""
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return Sight(State.FREE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(os.pread(descriptor, 32, 0))
        except OSError:
            return Sight(State.FREE)
        else:
            return Sight(State.FREE)
        finally:
            os.close(descriptor)

    def _path(self, key: bytes) -> str:
        return f"{self._folder}/{hashlib.blake2b(key, digest_size=16).hexdigest()}"


def _read(words: bytes) -> Sight:
    if not words:
        return Sight(State.AWAITED)
    if words == _ALONE:
        return Sight(State.ALONE)
    try:
        return Sight(State.GROWING, int(words, 16))
    except ValueError:
        return Sight(State.AWAITED)  # it is being written
