"""What of a folder the site shows: the same entries that it serves, found through a descriptor."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from typing import NamedTuple

from proxyapp import errors
from proxyapp.site.confinement import Root
from proxyapp.site.paths import is_part

Segments = tuple[bytes, ...]

# O_NONBLOCK: a FIFO that took a file's place must not hold anybody up.
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW


class Entry(NamedTuple):
    """A file or folder in a folder: *size* in bytes, 0 for folders; *modified* in nanoseconds."""

    name: bytes
    is_folder: bool
    size: int
    modified: int
    is_link: bool


class Tree:
    """Reads the folders below *root*; names that begin with a dot are left out unless *hidden*."""

    def __init__(self, root: Root, hidden: bool) -> None:
        self._root = root
        self._hidden = hidden

    def entries(self, folder: int, segments: Segments, halt: threading.Event) -> Iterator[Entry]:
        """Yield what the site serves of the open *folder*, which *segments* lead to, in any order.

        Raises ClientGone once *halt* is set, and OSError where the folder can't be read.
        """
        with os.scandir(folder) as found:
            for each in found:
                if halt.is_set():
                    raise errors.ClientGone("nobody waits for the folder any more")
                name = os.fsencode(each.name)
                entry = self._entry(each, segments, name) if self._is_shown(name) else None
                if entry is not None:
                    yield entry

    def _is_shown(self, name: bytes) -> bool:
        return name[:1] != b"." or (self._hidden and not is_part(name))

    def _entry(self, found: os.DirEntry[str], segments: Segments, name: bytes) -> Entry | None:
        """Return the entry *name*; None where it has gone, or isn't a file or folder to serve."""
        try:
            is_link = found.is_symlink()
            link = (*segments, name)
            status = self._behind(link) if is_link else found.stat(follow_symlinks=False)
        except (OSError, errors.ExchangeError):
            return None
        is_folder = stat.S_ISDIR(status.st_mode)
        if not (is_folder or stat.S_ISREG(status.st_mode)):
            return None
        size = 0 if is_folder else status.st_size
        return Entry(name, is_folder, size, status.st_mtime_ns, is_link)

    def _behind(self, link: Segments) -> os.stat_result:
        file = self._root.open(link)
        file.close()
        return file.status

    def open(self, folder: int, segments: Segments, entry: Entry) -> int:
        """Return a descriptor of *entry* in the open *folder*, which *segments* lead to.

        Raises OSError or an ExchangeError where it can't be opened, or isn't any more what it was.
        """
        if entry.is_link:
            return self._root.open((*segments, entry.name)).descriptor
        return os.open(entry.name, _READ_ONLY, dir_fd=folder)
