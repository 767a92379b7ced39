"""What processes that share a store know of each other's fetches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred

from proxyapp.store import bodyhead
from proxyapp.store.bodyhead import BodyHead, Damaged
from proxyapp.store.claims import Claims
from proxyapp.store.folder import BodyFolder


class DistantBody:
    """A body that another process is storing, open as *descriptor*; *head* is what it says."""

    def __init__(self, descriptor: int, head: BodyHead) -> None:
        self.descriptor = descriptor
        self.stored = head.stored
        self.offset = head.offset

    def __repr__(self) -> str:
        return f"<DistantBody {self.descriptor}>"

    def end(self) -> int:
        """Return how far its content is there; raises OSError."""
        return max(0, os.fstat(self.descriptor).st_size - self.offset)

    def is_finished(self) -> bool:
        """Does it say itself that it is complete?"""
        try:
            head = bodyhead.read(self.descriptor)
            return head.size == head.stored.total == self.end()
        except (Damaged, OSError):
            return False


class Sharing:
    """The claims below *folder*; *flushed* fires when what was stored is found by the others."""

    def __init__(
        self, folder: Path, bodies: BodyFolder, flushed: Callable[[], Deferred[None]]
    ) -> None:
        self.claims = Claims(folder)
        self.flushed = flushed
        self._bodies = bodies
        self.claims.prepare()

    def __repr__(self) -> str:
        return f"<Sharing {self.claims!r}>"

    def body(self, number: int) -> DistantBody | None:
        """Open the body that grows as *number*; None where it can't be followed."""
        try:
            descriptor = self._bodies.open(number)
        except OSError:
            return None
        try:
            return DistantBody(descriptor, bodyhead.read(descriptor))
        except (Damaged, OSError):
            os.close(descriptor)
            return None
