"""Bodies of stored responses as files: one writer, many readers, ranges known."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from proxyapp.rules.caching import validation
from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.entry import Entry, Extents, StoreFull, merged, size_of

# A long body is written out in such steps, in a thread: left to the kernel, a disk that is slower
# than the line would get so much behind that the kernel stops whoever writes, and that is us.
STEP = 8 * 1024 * 1024
# It's behind when so much isn't written out.
_BEHIND = 4 * STEP


class OpenBody:
    """A body that is open for reading: a net.sendfile.File; its eviction does it no harm.

    The first byte of the content is at *offset* of the file. Whoever opened it closes it.
    """

    __slots__ = ("descriptor", "offset")

    def __init__(self, descriptor: int, offset: int) -> None:
        self.descriptor = descriptor
        self.offset = offset

    def __repr__(self) -> str:
        return f"<OpenBody {self.descriptor}>"

    @property
    def status(self) -> None:
        """See net.sendfile.File: a part may grow, and what is said of a body may be revised."""

    def close(self) -> None:
        """Close it; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class BodyFile:
    """The file of a growing body: *is_new* unless it is a part that is continued.

    The content begins at *offset*, *extents* of it are there. *most* is how long it may get.
    """

    id: int
    descriptor: int
    offset: int
    extents: Extents
    most: int
    is_new: bool
    is_pinned: bool = False


class Keeper(Protocol):
    """What a growing body needs of the store."""

    def take(self, amount: int) -> bool:
        """May it grow by *amount* bytes?"""

    def failed(self, error: OSError) -> None:
        """The disk said *error*."""

    def write_out(self, descriptor: int) -> Deferred[None]:
        """Have what was written to *descriptor* reach the disk; closes it."""

    def keep(self, body: GrowingBody, file: BodyFile, extents: Extents) -> Entry:
        """*body* has ended, with *extents*: store it. Raises StoreFull."""

    def drop(self, body: GrowingBody, file: BodyFile) -> None:
        """*body* has ended, and what it has written is void."""


class GrowingBody:
    """A body that is being stored, and that followers read meanwhile (it is a sendfile.File too).

    Exactly one of `finish`, `suspend` and `abandon` ends it, and closes *descriptor*: followers
    have their own, by os.dup. The content's byte at a position is at *offset* + position; from
    *start* to *end* it was written, *size* bytes.
    """

    def __init__(
        self, key: bytes, stored: Stored, file: BodyFile, start: int, keeper: Keeper
    ) -> None:
        self.key = key
        self.stored = stored
        self.start = self.end = start
        self.descriptor = file.descriptor
        self.offset = file.offset
        self._file = file
        self._keeper = keeper
        self._is_over = False
        self._unwritten = 0
        self._waiting: list[Deferred[None]] = []
        self._is_writing_out = False

    def __repr__(self) -> str:
        return f"<GrowingBody {self.key!r} {self.start}-{self.end}{', over' * self._is_over}>"

    @property
    def id(self) -> int:
        """The id of its file."""
        return self._file.id

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self.end - self.start

    @property
    def status(self) -> None:
        """See OpenBody."""

    # Growing.

    def write(self, data: bytes) -> None:
        """Append *data*; raises StoreFull once, then it is given up and ignores what comes.

        What was written stays readable by the followers' descriptors.
        """
        if self._is_over:
            return
        end = self.end + len(data)
        if end > self._file.most or not self._keeper.take(len(data)):
            self.abandon()
            raise StoreFull("the body is too long")
        try:
            _write(self.descriptor, data, self.offset + self.end)
        except OSError as error:
            self.end = end  # it was taken
            self._keeper.failed(error)
            self.abandon()
            raise StoreFull("the disk doesn't take it") from error
        self.end = end
        self._unwritten += len(data)
        if self._unwritten >= STEP and not self._is_writing_out:
            self._write_out()

    @property
    def is_behind(self) -> bool:
        """Does the disk take it slower than it comes? Then pause its source till `caught_up`."""
        return self._is_writing_out and self._unwritten >= _BEHIND

    def caught_up(self) -> Deferred[None]:
        """Return what fires when the disk isn't behind any more."""
        if not self.is_behind:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _write_out(self) -> None:
        self._is_writing_out = True
        amount = self._unwritten

        def written(_: None) -> None:
            self._is_writing_out = False
            self._unwritten -= amount
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

        self._keeper.write_out(os.dup(self.descriptor)).addCallback(written)

    # The end.

    def finish(self) -> Entry:
        """Its source has ended well: store it, in place of the variant with the same *varying*.

        Where that isn't all of the content it's a partial entry. Raises StoreFull where it was
        given up, or has to be now.
        """
        if self._file.is_new and not self.start:
            self.stored = bodyhead.with_total(self.stored, self.end)
        if self._is_over:
            raise StoreFull("it was given up before")
        return self._keep()

    def suspend(self) -> Entry | None:
        """It was interrupted: keep what is there as a part; None where that can't be.

        That needs a strong validator: without one nobody could go on with it.
        """
        if self._is_over:
            return None
        if not self.size or validation.strong_validator(self.stored) is None:
            self.abandon()
            return None
        try:
            return self._keep()
        except StoreFull:
            return None

    def _keep(self) -> Entry:
        extents = merged(self._file.extents, self.start, self.end)
        size = size_of(extents)
        is_whole = size == self.stored.total
        progress = bodyhead.progress(size, extents, 0, self._file.is_pinned, is_whole)
        try:
            if self.offset:  # none in memory
                os.pwrite(self.descriptor, progress, bodyhead.PROGRESS_AT)
        except OSError as error:
            self._keeper.failed(error)
            self.abandon()
            raise StoreFull("the disk doesn't take it") from error
        self._is_over = True
        try:
            return self._keeper.keep(self, self._file, extents)
        finally:
            self._close()

    def abandon(self) -> None:
        """Forget what was written; a partial entry that was continued stays as it was before."""
        if not self._is_over:
            self._is_over = True
            self._keeper.drop(self, self._file)
            self._close()

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)


def _write(descriptor: int, data: bytes, at: int) -> None:
    written = os.pwrite(descriptor, data, at)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], at + written)


def read_whole(descriptor: int, size: int, at: int) -> bytes:
    """Read *size* bytes; raises Damaged where there are less, and OSError."""
    content = os.pread(descriptor, size, at)
    while len(content) < size:
        more = os.pread(descriptor, size - len(content), at + len(content))
        if not more:
            raise bodyhead.Damaged("a body is too short")
        content += more
    return content


def in_memory(content: bytes) -> OpenBody:
    """Return *content* as if it were on a disk."""
    descriptor = os.memfd_create("body")
    _write(descriptor, content, 0)
    return OpenBody(descriptor, 0)
