"""Remembers the short files that are asked for often, whole and ready to send."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxyapp.site.representations import Resource

# Some thousands of pages, scripts and pictures: what a busy site has in use at a time.
CAPACITY = 32 * 1024 * 1024
# What is remembered is looked up again on its disk after so many seconds.
LOOK_EVERY = 1.0
# A file that changed less than so many seconds ago may change again without its times showing it:
# those of some file systems count in steps of two (FAT).
SETTLED_AFTER = 2.0
# What an entry takes beside its files' content: fields, heads and tables.
_OVERHEAD = 4096


class _Entry:
    __slots__ = ("checked_at", "resource", "weight")

    def __init__(self, resource: Resource, weight: int, checked_at: float) -> None:
        self.resource = resource
        self.weight = weight
        self.checked_at = checked_at


class Memory:
    """Resources by path, at most *capacity* bytes of them; *seconds* is the time of day.

    What was asked for longest ago is forgotten first.
    """

    def __init__(self, seconds: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._seconds = seconds
        self._capacity = capacity
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._weight = 0

    def __repr__(self) -> str:
        return f"<Memory of {len(self._entries)} paths, {self._weight} of {self._capacity} bytes>"

    def get(self, path: bytes) -> Resource | None:
        """Return what was at *path* in the last second; None where that isn't known."""
        entry = self._entries.get(path)
        # The time of day may be set back.
        if entry is None or not 0 <= self._seconds() - entry.checked_at < LOOK_EVERY:
            return None
        self._entries.move_to_end(path)
        return entry.resource

    def recall(self, path: bytes) -> Resource | None:
        """Return what was at *path* when it was last looked at."""
        entry = self._entries.get(path)
        return entry.resource if entry is not None else None

    def trust(self, path: bytes) -> None:
        """Take what was at *path* for good for another second: somebody looks at it now."""
        entry = self._entries.get(path)
        if entry is not None:
            entry.checked_at = self._seconds()

    def put(self, path: bytes, resource: Resource) -> None:
        """Remember that *resource*, which has no open files, is at *path*; not if it is young."""
        self.forget(path)
        now = self._seconds()
        weight = resource.weight + len(path) + _OVERHEAD
        if weight > self._capacity or abs(now - resource.changed_at) < SETTLED_AFTER:
            return
        self._entries[path] = _Entry(resource, weight, now)
        self._weight += weight
        while self._weight > self._capacity:
            _, oldest = self._entries.popitem(last=False)
            self._weight -= oldest.weight

    def forget(self, path: bytes) -> None:
        """Remember nothing of *path*."""
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._weight -= entry.weight

    def doubt(self) -> None:
        """Let everything be looked up again before it is used: files were changed through us."""
        for entry in self._entries.values():
            entry.checked_at = float("-inf")
