"""Finds the file behind a path, with its precompressed siblings, and reads it if it is short.

A disk makes everybody wait who shares a thread with its reader, and a server of files still more.
But measured with files of 1 KiB that the kernel has in memory, loading one costs 25 us of
processor time in the reactor's thread (50 us where three siblings are looked for), and another
75 us if it is done in a thread of its own. So the kernel is asked, in the reactor's thread, for
what it can give at once (RESOLVE_CACHED, RWF_NOWAIT), and only what that isn't enough for is left
to a thread: all of it on kernels before 5.12, and reading on file systems that can't say what is
in memory. What still waits in the reactor's thread is the look at the status of an open file, on a
network file system, and sendfile(2) of pages that have to be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from proxyapp import errors
from proxyapp.site import representations
from proxyapp.site.confinement import Folder, OpenFile, Root, WouldWait, file_errors
from proxyapp.site.paths import Location
from proxyapp.site.representations import IDENTITY, SECOND, Resource

# Up to here a file is read, and answered in one send: that beats sendfile(2), measured.
READ_UP_TO = 64 * 1024
# A file that somebody writes just now may hold still the next time.
_TRIES = 3

# The word in [site] precompressed -> the sibling's suffix, and the coding's registered name.
_SIBLINGS = {"br": (b".br", b"br"), "zst": (b".zst", b"zstd"), "gzip": (b".gz", b"gzip")}

# Some C libraries don't have it.
_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)

# The further fields of a response, by its decoded path.
FieldsFor: TypeAlias = Callable[[bytes], Sequence[tuple[bytes, bytes]]]


class _Changed(Exception):
    """The file isn't any more what its status said."""


class Files:
    """The files below *root*; *index* names the pages of folders.

    *precompressed* are words of [site] precompressed, the one to prefer first.
    """

    def __init__(
        self,
        root: Root,
        index: Sequence[str],
        precompressed: Sequence[str],
        fields_for: FieldsFor,
    ) -> None:
        self._root = root
        self._index = tuple(os.fsencode(name) for name in index)
        self._siblings = tuple(_SIBLINGS[word] for word in precompressed)
        self._fields_for = fields_for

    def __repr__(self) -> str:
        return f"<Files below {self._root!r}>"

    def load(
        self, location: Location, known: Resource | None, may_wait: bool
    ) -> Resource | OpenFile:
        """Return what is at *location*: a resource, or an open folder that has no index page.

        *known* is returned itself if its files are still the same. What is longer than READ_UP_TO
        stays open, and the caller closes it. Raises WouldWait if it has to wait and not *may_wait*;
        NotFound, AccessDenied, Overloaded and InternalError.
        """
        for _ in range(_TRIES):
            try:
                with self._root.entered(may_wait) as folder:
                    segments, file = self._find(folder, location)
                    if file.is_folder:
                        return file
                    place = location._replace(segments=segments, is_folder=False)
                    return self._resource(folder, place, file, known)
            except _Changed:
                if not may_wait:
                    raise WouldWait from None
        raise errors.InternalError("the file changes all the time while it is read; try again")

    def open(self, location: Location) -> OpenFile:
        """Open the file at *location*; raises like `load`, and NotFound for a folder."""
        with self._root.entered() as folder:
            file = None if location.is_folder else _file_at(folder, location.segments)
        if file is None:
            raise errors.NotFound("there is no such file here")
        return file

    def _find(self, folder: Folder, location: Location) -> tuple[tuple[bytes, ...], OpenFile]:
        segments = location.segments
        if not location.is_folder:
            return segments, folder.open(segments)
        for name in self._index:
            page = _file_at(folder, (*segments, name))
            if page is not None:
                return (*segments, name), page
        found = folder.open(segments)
        if not found.is_folder:
            found.close()
            raise errors.NotFound("there is no such folder here")
        return segments, found

    def _resource(
        self, folder: Folder, location: Location, file: OpenFile, known: Resource | None
    ) -> Resource:
        files = {IDENTITY: file}
        try:
            self._add_siblings(folder, location.segments, files)
            if known is None or known.signature != representations.signature(files):
                given = self._fields_for(location.path)
                contents = _contents(files, folder.may_wait)
                known = representations.resource(location.segments[-1], files, contents, given)
        except BaseException:
            _close(files)
            raise
        if not known.is_open:
            _close(files)
        return known

    def _add_siblings(
        self, folder: Folder, segments: tuple[bytes, ...], files: dict[bytes, OpenFile]
    ) -> None:
        """Add to *files* the siblings that aren't older than the file itself."""
        *above, name = segments
        modified = files[IDENTITY].status.st_mtime_ns
        for suffix, coding in self._siblings:
            try:
                sibling = _file_at(folder, (*above, name + suffix))
            except errors.AccessDenied:
                continue
            if sibling is None:
                continue
            if _is_older(sibling.status.st_mtime_ns, modified):
                sibling.close()
            else:
                files[coding] = sibling


def _file_at(folder: Folder, segments: tuple[bytes, ...]) -> OpenFile | None:
    try:
        found = folder.open(segments)
    except errors.NotFound:
        return None
    if not found.is_folder:
        return found
    found.close()
    return None


def _is_older(sibling: int, file: int) -> bool:
    """Was *sibling* modified before *file*? Many tools and archives cut times to whole seconds."""
    return sibling < (file if sibling % SECOND else file - file % SECOND)


def _close(files: Mapping[bytes, OpenFile]) -> None:
    for file in files.values():
        file.close()


def _contents(files: Mapping[bytes, OpenFile], may_wait: bool) -> Mapping[bytes, bytes | OpenFile]:
    """Return what is in *files* if all of them are short, else the files themselves."""
    if any(file.status.st_size > READ_UP_TO for file in files.values()):
        return files
    return {coding: _read(file, may_wait) for coding, file in files.items()}


def _read(file: OpenFile, may_wait: bool) -> bytes:
    """Return the content of *file*; raises _Changed, and WouldWait unless it *may_wait*."""
    size = file.status.st_size
    with file_errors():
        if may_wait:
            content = os.pread(file.descriptor, size, 0)
        else:
            content = _read_at_once(file.descriptor, size)
        after = os.fstat(file.descriptor)
    if len(content) != size or (after.st_mtime_ns, after.st_size) != (
        file.status.st_mtime_ns,
        size,
    ):
        raise _Changed
    return content


def _read_at_once(descriptor: int, size: int) -> bytes:
    """Return the first *size* bytes if the kernel has them in memory; else raises WouldWait."""
    if not size:
        return b""
    if not _NO_WAIT:
        raise WouldWait
    content = bytearray(size)
    try:
        count = os.preadv(descriptor, [content], 0, _NO_WAIT)
    except OSError as error:  # not in memory, or on a file system that can't say
        raise WouldWait from error
    if count < size:
        raise WouldWait
    return bytes(content)
