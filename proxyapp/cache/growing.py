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
        self._is_kept = self._is_kept and _is_written(self._body, data)
        self.end += len(data)
        if self._is_kept:
            self._kept = self.end
        else:
            self._tail += data
        if self._source is not None and (self._tail or self._body.is_behind):
            self._hold(self._source)
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

    def _hold(self, source: Pausable) -> None:
        """Let the origin wait: for the disk, or for the readers of the tail, if there are any."""
        source.pauseProducing()
        if not self._tail:
            self._body.caught_up().addCallback(self._caught_up, source)

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


def _is_written(body: GrowingBody, data: bytes) -> bool:
    """Does the store take *data*? It doesn't any more when it was stopped."""
    if body.descriptor < 0:
        return False
    try:
        body.write(data)
    except StoreFull:
        return False
    return True
