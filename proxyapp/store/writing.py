"""Changes of what is stored, on their way to the disk: in batches, one job at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.store.changes import Change, Insertion
from proxyapp.store.disk import Disk, Written

_T = TypeVar("_T")

# How long a change waits for others, in seconds, and how many there are at most in a batch.
DELAY = 0.25
BATCH = 64
# Another process may be writing; how often it's tried again before a batch is given up.
_BUSY_DELAY = 0.5
_TRIES = 20
# What may wait: a disk that is slower than the line mustn't fill our memory.
MOST_BYTES = 32 * 1024 * 1024
MOST_CHANGES = 8192

_log = Logger()


class InThread(Protocol):
    """Runs *job* in a thread, as deferToThreadPool does when it is bound to a pool."""

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        """Return what fires, in the reactor's thread, with what *job* returned or raised."""


class Writing:
    """The changes that wait, and the one thread that is at work.

    *settled* is told, in the reactor's thread, what became of each batch: of the changes, those
    that weren't given up are on the disk.
    """

    def __init__(
        self,
        disk: Disk,
        in_thread: InThread,
        clock: IReactorTime,
        settled: Callable[[Sequence[Change], Written], None],
    ) -> None:
        self._disk = disk
        self._in_thread = in_thread
        self._clock = clock
        self._settled = settled
        self._waiting: list[Change] = []
        self._bytes = 0
        self._tries = 0
        self._is_at_work = False
        self._call: IDelayedCall | None = None
        self._flushed: list[Deferred[None]] = []
        self._lock = DeferredLock()

    def __repr__(self) -> str:
        return f"<Writing {len(self._waiting)} changes, {self._bytes} bytes>"

    @property
    def is_full(self) -> bool:
        """Does so much wait that no new content should be stored?"""
        return self._bytes >= MOST_BYTES or len(self._waiting) >= MOST_CHANGES

    def run(self, job: Callable[[Disk], _T]) -> Deferred[_T]:
        """Run *job* in the thread, in its turn."""
        done: Deferred[_T] = self._lock.run(self._in_thread, lambda: job(self._disk))
        return done

    def add(self, change: Change) -> None:
        """Have *change* written with the next batch."""
        self._waiting.append(change)
        if isinstance(change, Insertion):
            self._bytes += len(change.content)
        if len(self._waiting) >= BATCH:
            self._begin()
        else:
            self._begin_after(DELAY)

    def flush(self) -> Deferred[None]:
        """Write down what waits; fires when that is done, or given up."""
        if not self._waiting and not self._is_at_work:
            return succeed(None)
        flushed: Deferred[None] = Deferred()
        self._flushed.append(flushed)
        self._begin()
        return flushed

    def _begin_after(self, delay: float) -> None:
        if self._call is None and not self._is_at_work:
            self._call = self._clock.callLater(delay, self._begin)

    def _begin(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if not self._is_at_work:
            self._is_at_work = True
            Deferred.fromCoroutine(self._work()).addErrback(
                lambda failure: _log.failure("the cache can't write", failure)
            )

    async def _work(self) -> None:
        try:
            while self._waiting and await self._write_batch():
                pass
        finally:
            self._is_at_work = False
            if self._waiting:
                self._begin_after(_BUSY_DELAY)
            else:
                self._tell_flushed()

    def _tell_flushed(self) -> None:
        flushed, self._flushed = self._flushed, []
        for each in flushed:
            each.callback(None)

    async def _write_batch(self) -> bool:
        """Write a batch; False if it has to come again later."""
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        is_last_try = self._tries >= _TRIES
        written = Written(failed=batch)
        try:
            written = await self.run(lambda disk: disk.write(batch, is_last_try))
        finally:
            self._end(batch, written)
        return not written.is_busy or written.is_renewed

    def _end(self, batch: list[Change], written: Written) -> None:
        if written.is_busy:
            self._waiting = batch + self._waiting
            self._tries += 1
            self._settled((), written)
            return
        self._tries = 0
        self._bytes -= sum(len(each.content) for each in batch if isinstance(each, Insertion))
        self._settled(batch, written)
