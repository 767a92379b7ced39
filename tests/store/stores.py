"""A store for tests: time from a Clock, and threads that run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from proxyapp.rules.caching.stored import Stored
from proxyapp.store.bodies import GrowingBody
from proxyapp.store.entry import Entry
from proxyapp.store.store import CacheStore, StoreLimits
from proxyapp.wire.headers import Fields

_T = TypeVar("_T")

MIB = 1024 * 1024
KEY = b"http://example.com/a"
LIMITS = StoreLimits(memory=4 * MIB, disk=64 * MIB, max_object=16 * MIB)
MEMORY_ONLY = StoreLimits(memory=4 * MIB, disk=0, max_object=16 * MIB)
DISK_ONLY = StoreLimits(memory=0, disk=64 * MIB, max_object=16 * MIB)
START = 1_700_000_000.0


def at_once(job: Callable[[], _T], /) -> Deferred[_T]:
    """See InThread: there is no thread."""
    done: Deferred[_T] = maybeDeferred(job)
    return done


def stored(etag: bytes = b'"1"', total: int | None = None, **given: object) -> Stored:
    """Return a stored response; *given* are further fields of Stored, and `tags`."""
    tags = given.pop("tags", b"")
    fields = [(b"Content-Type", b"text/plain"), (b"ETag", etag)]
    if tags:
        assert isinstance(tags, bytes)
        fields.append((b"Cache-Tag", tags))
    times = {"asked_at": START, "arrived_at": START + 1, **given}
    return Stored(200, b"OK", Fields(fields), total=total, **times)  # type: ignore[arg-type]


class Bench:
    """A running store on *folder*, and the time it has."""

    def __init__(self, folder: Path, limits: StoreLimits) -> None:
        self.folder = folder
        self.limits = limits
        self.clock = Clock()
        self.clock.advance(START)
        self.store = self._start()

    def _start(self) -> CacheStore:
        store = CacheStore(self.folder, self.limits, at_once, self.clock, self.clock.seconds)
        store.start()
        return store

    def another(self) -> Bench:
        """Return another worker on the same folder."""
        return Bench(self.folder, self.limits)

    def settle(self, seconds: float = 1.0) -> None:
        """Let what waits be written."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def stop(self) -> None:
        """Stop in an orderly way."""
        stopped: list[object] = []
        self.store.stop().addBoth(stopped.append)
        self.settle()
        assert stopped == [None]

    def restart(self) -> CacheStore:
        """Stop, and start again."""
        self.stop()
        self.store = self._start()
        self.settle()
        return self.store

    def fill(self, key: bytes, content: bytes, start: int = 0, **given: object) -> Entry:
        """Store *content* as a body that grows."""
        body = self.store.begin(key, stored(**given), None, None, start)  # type: ignore[arg-type]
        assert body is not None
        for place in range(0, len(content), 10_000):
            body.write(content[place : place + 10_000])
        return body.finish()

    def read(self, entry: Entry) -> bytes:
        """Return what is served for *entry*, extents one after the other."""
        body = self.store.open(entry)
        try:
            with open(body.descriptor, "rb", closefd=False) as file:
                pieces = []
                for start, end in entry.extents:
                    file.seek(body.offset + start)
                    pieces.append(file.read(end - start))
                return b"".join(pieces)
        finally:
            body.close()

    def read_key(self, key: bytes) -> list[bytes]:
        """Return what is served for *key*."""
        return [self.read(entry) for entry in self.store.variants(key)]


@implementer(ILogObserver)
class Said:
    """What the cache has said in the event log."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("proxyapp.store"):
            self.events.append(event)

    @property
    def formats(self) -> list[str]:
        """The sentences, without what is filled in."""
        return [str(event.get("log_format")) for event in self.events]


@contextmanager
def listening() -> Iterator[Said]:
    """Yield what the cache says from now on."""
    said = Said()
    globalLogPublisher.addObserver(said)
    try:
        yield said
    finally:
        globalLogPublisher.removeObserver(said)


def flood(body: GrowingBody, size: int) -> None:
    """Write *size* bytes to *body*."""
    for _ in range(0, size, 100_000):
        body.write(bytes(100_000))


@contextmanager
def bench(folder: Path, limits: StoreLimits = LIMITS) -> Iterator[Bench]:
    """Yield a running store, and stop it."""
    running = Bench(folder, limits)
    try:
        yield running
    finally:
        running.stop()


def result(deferred: Deferred[_T]) -> _T:
    """Return what *deferred* has fired with."""
    found: list[_T] = []
    deferred.addCallback(found.append)
    assert found, deferred
    return found[0]
