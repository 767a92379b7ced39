"""The members of an archive: every file and folder of a tree in turn, and what had to be left out.

Links are followed where the site follows them, so an archive holds what a client could have read
file by file. Who reads the archive must learn what it lacks: that goes into a note at its end.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from typing import NamedTuple

from proxyapp import errors
from proxyapp.site.confinement import file_errors
from proxyapp.site.pacing import CHUNK
from proxyapp.site.tree import Entry, Segments, Tree

# Folders inside folders; each holds two descriptors while it is read.
DEEPEST = 64
# Characters of the note; what doesn't fit is only counted.
MOST_NOTED = 64 * 1024
_NOTE = b"MISSING.txt"


class Member(NamedTuple):
    """A file or folder that is open while it is its turn; *path* begins with the top's name."""

    path: bytes
    descriptor: int
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Is it a folder, rather than a regular file?"""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def modified(self) -> int:
        """When it was changed, in seconds."""
        return self.status.st_mtime_ns // 1_000_000_000

    @property
    def mode(self) -> int:
        """The permissions to unpack it with: what may be run stays so, the rest is usual."""
        return 0o755 if self.is_folder or self.status.st_mode & 0o100 else 0o644

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the file; raises InternalError where it isn't what was announced."""
        left = self.status.st_size
        while left and (chunk := self._read(min(left, CHUNK))):
            left -= len(chunk)
            yield chunk
        now = os.fstat(self.descriptor)
        if left or _state(now) != _state(self.status):
            raise errors.InternalError("a file changed while it was put into the archive")

    def _read(self, size: int) -> bytes:
        with file_errors():
            return os.read(self.descriptor, size)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


class Members:
    """Walks the open *folder*, which *segments* lead to, and calls it *name*.

    All but the constructor and `close` belong into a thread, one at a time. Raises Overloaded and
    the like where the folder can't be opened a second time.
    """

    def __init__(
        self, tree: Tree, folder: int, segments: Segments, name: bytes, halt: threading.Event
    ) -> None:
        self._tree = tree
        self._segments = segments
        self._name = name
        self._halt = halt
        self._noted: list[str] = []
        self._room = MOST_NOTED
        self._unnoted = 0
        # The folders on the way here, and those that a link has led to, by device and inode.
        self._above: list[tuple[int, int]] = []
        self._linked: set[tuple[int, int]] = set()
        with file_errors():
            self._folder = os.dup(folder)
            self._status = os.fstat(self._folder)

    @property
    def modified(self) -> int:
        """When the folder itself was changed, in seconds."""
        return self._status.st_mtime_ns // 1_000_000_000

    def close(self) -> None:
        """Let go of the folder; nothing may be walking it any more."""
        os.close(self._folder)

    def walk(self, most: int | None) -> Iterator[Member]:
        """Yield each member, *most* of them or all, folders before what they hold.

        Raises InternalError where the tree can't be read to its end, and ClientGone once halted.
        """
        top = Member(self._name, self._folder, self._status)
        for count, member in enumerate(self._members(top, self._segments)):
            if count == most:
                self._note(member.path, f"with all behind it, for {most} are in the archive")
                return
            yield member

    def note(self) -> tuple[bytes, bytes] | None:
        """Return the name and the text of what tells of all that is missing, if anything is."""
        if self._room == MOST_NOTED:
            return None
        lines = ["These files and folders are missing in this archive:", "", *self._noted]
        if self._unnoted:
            lines.append(f"and {self._unnoted} more")
        name = _NOTE if self._name != _NOTE else b"MISSING-FILES.txt"
        return name, "".join(line + "\n" for line in lines).encode("utf-8")

    def _note(self, path: bytes, why: str) -> None:
        text = path.decode("utf-8", "backslashreplace").replace("\n", "\\n")
        line = f"{text}: {why}"
        self._room -= len(line)
        if self._room < 0:
            self._unnoted += 1
        else:
            self._noted.append(line)

    # The walk. Only one branch is open at a time, so memory stays the same.

    def _members(self, folder: Member, segments: Segments) -> Iterator[Member]:
        yield folder
        self._above.append(_identity(folder.status))
        with file_errors():
            for entry in self._tree.entries(folder.descriptor, segments, self._halt):
                yield from self._member(folder, segments, entry)
        self._above.pop()

    def _member(self, folder: Member, segments: Segments, entry: Entry) -> Iterator[Member]:
        path = folder.path + b"/" + entry.name
        try:
            with file_errors():
                descriptor = self._tree.open(folder.descriptor, segments, entry)
        except errors.NotFound:
            return  # deleted a moment ago, so it isn't missing
        except errors.AccessDenied:
            self._note(path, "the site has no permission to read it")
            return
        try:
            member = Member(path, descriptor, os.fstat(descriptor))
            if not member.is_folder:
                if stat.S_ISREG(member.status.st_mode):
                    yield member
            elif self._may_enter(member, entry):
                yield from self._members(member, (*segments, entry.name))
        finally:
            os.close(descriptor)

    def _may_enter(self, folder: Member, entry: Entry) -> bool:
        """Note why not: links could lead round and round, or multiply what there is."""
        identity = _identity(folder.status)
        if len(self._above) >= DEEPEST:
            self._note(folder.path, f"it is more than {DEEPEST} folders deep")
        elif identity in self._above:
            self._note(folder.path, "it leads back to a folder that holds it")
        elif entry.is_link and identity in self._linked:
            self._note(folder.path, "another link to the same folder is in the archive")
        else:
            if entry.is_link:
                self._linked.add(identity)
            return True
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
