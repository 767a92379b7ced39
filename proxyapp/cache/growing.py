"""A body on its way into the store, and read by any number of clients while it grows."""

from __future__ import annotations

import os
from typing import Protocol, runtime_checkable

from proxyapp import errors
from proxyapp.cache.bodies import GrowingBody
from proxyapp.cache.entry import Entry, StoreFull
from proxyapp.net.task import Wakeup


@runtime_checkable
class Pausable(Protocol):
    """Who brings the bytes."""

    def pauseProducing(self) -> None:
        """Bring no more for now."""

    def resumeProducing(self) -> None:
        """Go on."""


class Growing:
    """Content that one fetch brings: the store keeps it, and readers follow at their own pace.

    It is there up to *end*; *total* is its size once that is known. Where the store has no room
    any more, what it could not take waits here as the *tail*, and the origin waits as well until
    every reader has taken that.
    """

    def __init__(self, body: GrowingBody, total: int | None) -> None:
        self.stored = body.stored
        self.total = total
        self.end = body.start
        self.kept = body.start  # how far the store has it
        self.is_over = False
        self.is_kept = True
        self.error: errors.ExchangeError | None = None
        self.descriptor = os.dup(body.descriptor)  # the store closes its own at the end
        self._body = body
        self._tail = b""
        self._waiting: list[Wakeup] = []
        self._readers: dict[object, int] = {}
        self._source: Pausable | None = None

    def __repr__(self) -> str:
        return f"<Growing {self.end} of {self.total} bytes, {len(self._readers)} readers>"

    @property
    def status(self) -> os.stat_result:
        """See net.sendfile.File; this one does change while it is sent, and only grows."""
        return os.fstat(self.descriptor)

    def place(self, position: int) -> int:
        """Return where in the file the content's *position* is."""
        return self._body.offset + position

    # What the fetch says.

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.is_kept:
            try:
                self._body.write(data)
                self.kept += len(data)
            except StoreFull:
                self.is_kept = False
        self.end += len(data)
        if not self.is_kept:
            self._tail += data
            self._hold()
        elif self._body.is_behind:
            self._wait_for_disk()
        self._ring()

    def finish(self) -> Entry | None:
        """The content is complete; return what is stored, None where it isn't."""
        self.total = self.end
        try:
            return self._body.finish() if self.is_kept else None
        except StoreFull:
            return None
        finally:
            self._end(None)

    def fail(self, error: errors.ExchangeError) -> Entry | None:
        """No more comes, because of *error*; return what is left in the store, if anything."""
        entry = self._body.suspend() if self.is_kept else None
        self._end(error)
        return entry

    def abandon(self) -> None:
        """What came isn't part of one whole: nothing is kept."""
        if self.is_kept:
            self._body.abandon()
        self._end(errors.ResponseIncomplete("the origin's content changed inside the response"))

    def _end(self, error: errors.ExchangeError | None) -> None:
        self.is_over = True
        self.error = error
        self._ring()
        self._close_if_unread()

    # What a reader says.

    def enter(self, reader: object, position: int) -> None:
        """*reader* begins at *position*."""
        self._readers[reader] = position

    def leave(self, reader: object) -> None:
        """*reader* is gone."""
        self._readers.pop(reader, None)
        self._release()
        self._close_if_unread()

    def moved(self, reader: object, position: int) -> None:
        """*reader* has taken everything before *position*."""
        self._readers[reader] = position
        if self._tail:
            self._release()

    def read(self, position: int, most: int) -> bytes:
        """Return up to *most* bytes from *position* on; nothing while they aren't there."""
        if position >= self.kept:
            start = position - (self.end - len(self._tail))
            return self._tail[start : start + most]
        return os.pread(self.descriptor, min(most, self.kept - position), self.place(position))

    def more(self, position: int) -> Wakeup:
        """Return what happens when there is something behind *position*, or the end."""
        wakeup = Wakeup()
        if self.end > position or self.is_over:
            wakeup.happen()
        else:
            self._waiting.append(wakeup)
        return wakeup

    @property
    def has_readers(self) -> bool:
        """Does anybody follow it?"""
        return bool(self._readers)

    def _ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for wakeup in waiting:
            wakeup.happen()

    def _hold(self) -> None:
        if self._readers and self._source is not None:
            self._source.pauseProducing()
        elif not self._readers:
            self._tail = b""

    def _wait_for_disk(self) -> None:
        source = self._source
        if source is not None:
            source.pauseProducing()
            self._body.caught_up().addCallback(lambda _: source.resumeProducing())

    def _release(self) -> None:
        """Let the origin go on once everybody has the tail."""
        if self._tail and all(position >= self.end for position in self._readers.values()):
            self._tail = b""
            if self._source is not None:
                self._source.resumeProducing()

    def _close_if_unread(self) -> None:
        if self.is_over and not self._readers and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def pulled_by(self, source: Pausable | None) -> None:
        """Remember who brings the bytes, to hold it where the store can't take them."""
        self._source = source
