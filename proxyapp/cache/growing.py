"""A body on its way into the store, and read by any number of clients while it grows."""

from __future__ import annotations

import os
from typing import Protocol, runtime_checkable

from proxyapp import errors
from proxyapp.cache.followed import Followed
from proxyapp.store.bodies import GrowingBody
from proxyapp.store.entry import StoreFull


@runtime_checkable
class Pausable(Protocol):
    """Who brings the bytes."""

    def pauseProducing(self) -> None:
        """Bring no more for now."""

    def resumeProducing(self) -> None:
        """Go on."""


class Growing(Followed):
    """Content that a fetch of ours brings: the store keeps it in *body*.

    Where the store has no room any more, what it could not take waits here as the *tail*, and the
    origin waits as well until every reader has taken that.
    """

    def __init__(self, body: GrowingBody, total: int | None) -> None:
        # The store closes its own descriptor at the end.
        super().__init__(body.stored, total, body.start, os.dup(body.descriptor), body.offset)
        self._body = body
        self._tail = b""
        self._kept = body.start
        self._is_kept = True
        self._source: Pausable | None = None

    @property
    def kept(self) -> int:
        """See Followed."""
        return self._kept

    @property
    def is_kept(self) -> bool:
        """See Followed."""
        return self._is_kept

    @property
    def followable(self) -> int | None:
        """The id of the body that other processes may follow; None behind a part that was there."""
        return None if self._body.start else self._body.id

    # What the fetch says.

    def write(self, data: bytes) -> None:
        """Take the next bytes; more than there should be is no part of one whole."""
        if self.is_over:
            return
        if self.total is not None and self.end + len(data) > self.total:
            self.abandon(errors.ResponseIncomplete("the origin sent more than it had promised"))
            return
        if self._body.descriptor < 0:
            self._is_kept = False  # the store was stopped
        if self._is_kept:
            try:
                self._body.write(data)
                self._kept += len(data)
            except StoreFull:
                self._is_kept = False
        self.end += len(data)
        if not self._is_kept:
            self._tail += data
            self._hold()
        elif self._body.is_behind:
            self._wait_for_disk()
        self._grew()

    def finish(self) -> None:
        """The content is complete: it is stored, if there is room."""
        self.total = self.end
        try:
            if self._is_kept:
                self._body.finish()
        except StoreFull:
            self._is_kept = False
        finally:
            self._end(None)

    def fail(self, error: errors.ExchangeError) -> None:
        """No more comes, because of *error*: what there is may be gone on with later."""
        try:
            if self._is_kept:
                self._body.suspend()
        finally:
            self._end(error)

    def abandon(self, error: errors.ExchangeError | None) -> None:
        """No more comes, because of *error* if there is one, and nothing is kept."""
        if error is None:
            self.total = self.end
        try:
            if self._is_kept:
                self._body.abandon()
        finally:
            self._end(error)

    def pulled_by(self, source: Pausable | None) -> None:
        """Remember who brings the bytes, to hold it where the store can't take them."""
        self._source = source

    # What a reader says.

    def leave(self, reader: object) -> None:
        """See Followed."""
        self._readers.pop(reader, None)
        self._release()
        self._close_if_unread()

    def moved(self, reader: object, position: int) -> None:
        """See Followed."""
        self._readers[reader] = position
        self._release()

    def read(self, position: int, most: int) -> bytes:
        """See Followed."""
        if position < self._kept:
            return super().read(position, most)
        start = position - (self.end - len(self._tail))
        return self._tail[start : start + most]

    def _hold(self) -> None:
        """Let the origin wait; where nobody reads, until it has waited for too long."""
        if self._source is not None:
            self._source.pauseProducing()

    def _wait_for_disk(self) -> None:
        if self._source is not None:
            self._source.pauseProducing()
            self._body.caught_up().addCallback(self._caught_up, self._source)

    def _caught_up(self, _: None, source: Pausable) -> None:
        # Another fetch may use that connection by now.
        if self._source is source and not self._tail:
            source.resumeProducing()

    def _release(self) -> None:
        """Let the origin go on once everybody has the tail."""
        if not (self._tail and self._readers):
            return
        is_taken = all(position >= self.end for position in self._readers.values())
        if is_taken:
            self._tail = b""
        if self._source is not None:
            # It waits in vain only if nobody takes anything at all.
            self._source.resumeProducing()
            if not is_taken:
                self._source.pauseProducing()
