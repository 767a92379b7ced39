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
from proxyapp.store.tokens import SLOTS, shared_slots, slot_of

_OUTDATED = "outdated"
_MOMENT_SIZE = 8


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


class Outdated:
    """When it was said last, for each key, that what is being fetched may be old already.

    Keys that share a slot outdate each other: the origin is asked once more than it had to be.
    Other processes see it where *path* is that of a file; raises OSError.
    """

    def __init__(self, path: str | None = None) -> None:
        self._shared = None if path is None else shared_slots(path)
        self._moments = _never() if self._shared is None else memoryview(self._shared).cast("d")

    def close(self) -> None:
        """Let go of what is shared, and go on alone."""
        shared, self._shared = self._shared, None
        if shared is not None:
            self._moments.release()
            self._moments = _never()
            shared.close()

    def note(self, key: bytes, now: float) -> None:
        """What was asked for before *now* may be old."""
        self._moments[slot_of(key)] = now

    def is_since(self, key: bytes, then: float, now: float) -> bool:
        """Has that been said since *then*, up to *now*? A clock may have been ahead meanwhile."""
        moment = self._moments[slot_of(key)]
        return moment > 0.0 and then <= moment <= now


def _never() -> memoryview[float]:
    """Return moments of our own: 0 in each slot, in place of seconds since the epoch."""
    return memoryview(bytearray(SLOTS * _MOMENT_SIZE)).cast("d")


class Sharing:
    """The claims below *folder*; *flushed* fires when what was stored is found by the others.

    Raises OSError.
    """

    def __init__(
        self, folder: Path, bodies: BodyFolder, flushed: Callable[[], Deferred[None]]
    ) -> None:
        self.claims = Claims(folder)
        self.flushed = flushed
        self._bodies = bodies
        self.claims.prepare()
        self.outdated = Outdated(bodies.path(_OUTDATED))

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
