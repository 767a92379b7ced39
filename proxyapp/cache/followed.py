"""Content that grows in a file, and those who read it meanwhile, each at its own pace."""

from __future__ import annotations

import os

from proxyapp import errors
from proxyapp.cache.member import wake
from proxyapp.net.task import Wakeup
from proxyapp.rules.caching.stored import Stored


class Followed:
    """Content of *stored* that is there up to *end*, in the file *descriptor* from *offset* on.

    *total* is its size once that is known. It closes *descriptor* when it is over and nobody reads
    it any more.
    """

    def __init__(
        self, stored: Stored, total: int | None, end: int, descriptor: int, offset: int
    ) -> None:
        self.stored = stored
        self.total = total
        self.end = end
        self.descriptor = descriptor
        self.is_over = False
        self.error: errors.ExchangeError | None = None
        self._offset = offset
        self._waiting: list[Wakeup] = []
        self._readers: dict[object, int] = {}

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.end} of {self.total} bytes, {len(self._readers)} readers>"

    @property
    def kept(self) -> int:
        """How far the content is in the file."""
        return self.end

    @property
    def is_kept(self) -> bool:
        """Is all of it in the file, and will be?"""
        return True

    @property
    def status(self) -> None:
        """See net.sendfile.File: it grows, perhaps by another process's hand."""

    @property
    def has_readers(self) -> bool:
        """Does anybody follow it?"""
        return bool(self._readers)

    def place(self, position: int) -> int:
        """Return where in the file the content's *position* is."""
        return self._offset + position

    def enter(self, reader: object, position: int) -> None:
        """*reader* begins at *position*."""
        self._readers[reader] = position

    def leave(self, reader: object) -> None:
        """*reader* is gone."""
        self._readers.pop(reader, None)
        self._close_if_unread()

    def moved(self, reader: object, position: int) -> None:
        """*reader* has taken everything before *position*."""
        self._readers[reader] = position

    def read(self, position: int, most: int) -> bytes:
        """Return up to *most* bytes from *position* on; nothing while they aren't there."""
        return os.pread(self.descriptor, min(most, self.kept - position), self.place(position))

    def more(self, position: int) -> Wakeup:
        """Return what happens when there is something behind *position*, or the end."""
        wakeup = Wakeup()
        if self.end > position or self.is_over:
            wakeup.happen()
        else:
            self._waiting.append(wakeup)
        return wakeup

    def _grew(self) -> None:
        """Wake those who wait for more."""
        waiting, self._waiting = self._waiting, []
        for wakeup in waiting:
            wake(wakeup)

    def _end(self, error: errors.ExchangeError | None) -> None:
        self.is_over = True
        self.error = error
        self._grew()
        self._close_if_unread()

    def _close_if_unread(self) -> None:
        if self.is_over and not self._readers and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
