"""What is stored, in memory and on disk, for all workers that share a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from proxyapp.cache.bodies import GrowingBody, OpenBody
from proxyapp.cache.entry import Entry
from proxyapp.rules.caching.stored import Stored

_T = TypeVar("_T")


class InThread(Protocol):
    """Runs *job* in a thread, as deferToThreadPool does when it is bound to a pool."""

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        """Return what fires, in the reactor's thread, with what *job* returned or raised."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Sizes in bytes: of what is in *memory*, of what is on *disk*, and of one object."""

    memory: int
    disk: int
    max_object: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the store holds (sizes in bytes); of the disk as it was at the last look at it."""

    entries: int
    disk: int
    disk_limit: int
    memory: int
    memory_limit: int
    growing: int
    written_today: int
    is_failing: bool


class CacheStore:
    """Stored responses by key, below *folder*; several processes may share it.

    With a disk limit of 0 they are in memory only. *clock* runs the periodic work, *seconds* is
    the time of day.
    """

    def __init__(
        self,
        folder: Path,
        limits: StoreLimits,
        in_thread: InThread,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Open the index; a damaged one is put aside, and rebuilt from the files in a thread."""

    def stop(self) -> Deferred[None]:
        """Write down what isn't yet; fires when all is closed."""
        raise NotImplementedError

    def variants(self, key: bytes) -> Sequence[Entry]:
        """Return all that is stored under *key*: at most a few microseconds."""
        raise NotImplementedError

    def put(self, key: bytes, stored: Stored, content: bytes) -> Entry:
        """Store a whole *content*, in place of the variant with the same *varying*."""
        raise NotImplementedError

    def begin(
        self,
        key: bytes,
        stored: Stored,
        total: int | None,
        entry: Entry | None = None,
        start: int = 0,
    ) -> GrowingBody | None:
        """Begin to store a body of *total* bytes, as far as that is known; None where it can't be.

        With *entry*, a partial one, content from *start* is added to it; None where somebody does
        that already, also in another process. Without it, *start* is that of a first part.
        """
        raise NotImplementedError

    def update(self, entry: Entry, stored: Stored) -> Entry:
        """Give *entry* another head, as a 304 has it."""
        raise NotImplementedError

    def invalidate(self, key: bytes) -> None:
        """All variants of *key* must be validated before their next use (RFC 9111 section 4.4)."""

    def remove(self, entry: Entry) -> None:
        """Forget *entry*."""

    def used(self, entry: Entry) -> None:
        """Note a hit; written down rarely."""

    def open(self, entry: Entry) -> OpenBody:
        """Open the body of *entry*, at once; raises EntryGone."""
        raise NotImplementedError

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """Open the body of *entry* in a thread: a disk may be slow. Fails with EntryGone.

        The next `variants` has its content if it is short enough for memory.
        """
        raise NotImplementedError

    # For the tools.

    def entries(self, prefix: bytes = b"", tag: bytes = b"") -> Iterator[Entry]:
        """Yield what is stored under keys that begin with *prefix*, and has *tag* if one is given.

        It reads some hundred rows at a time: give the reactor a turn now and then.
        """
        raise NotImplementedError

    def purge(self, key: bytes = b"", prefix: bytes = b"", tag: bytes = b"") -> Deferred[int]:
        """Forget what has exactly *key*, or begins with *prefix*, or has *tag*.

        Exactly one of them is given. Fires with how many entries that were.
        """
        raise NotImplementedError

    def pin(self, key: bytes, is_pinned: bool = True) -> Deferred[int]:
        """Keep all variants of *key*, and what replaces them, from eviction; or no longer.

        Fires with how many entries that are.
        """
        raise NotImplementedError

    def statistics(self) -> Statistics:
        """Return what it holds."""
        raise NotImplementedError
