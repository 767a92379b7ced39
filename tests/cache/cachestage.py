"""What the tools of the cache are tried on: a store in memory, and a chain that does as told."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from proxyapp.exchange import Reply, Request
from proxyapp.rules.caching.rules import CacheRule, CacheRules
from proxyapp.rules.caching.stored import Stored
from proxyapp.store.entry import Entry
from proxyapp.store.store import Statistics
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse
from tests.talk import PATIENCE, Talk

NOW = 1_000_000_000.0
RULES = CacheRules((), CacheRule())
OK = OutgoingResponse(200, b"OK", [(b"Content-Length", b"2")])

Act = Callable[[Request, Reply], Awaitable[None]]


def entry(key: bytes, content: bytes = b"hello", tags: bytes = b"") -> Entry:
    """Return what is stored under *key*, fresh for a minute."""
    fields = [(b"Cache-Control", b"max-age=60"), (b"Cache-Tag", tags)]
    stored = Stored(200, b"OK", Fields(fields), NOW, NOW, total=len(content))
    extents = ((0, len(content)),)
    return Entry(key, 1, stored, len(content), extents, content)


class FakeStore:
    """See control.Store: a list."""

    def __init__(self, *held: Entry) -> None:
        self.held = list(held)
        self.asked: list[tuple[bytes, bytes]] = []
        self.told = 0

    def variants(self, key: bytes) -> list[Entry]:
        return [each for each in self.held if each.key == key]

    def entries(self, prefix: bytes = b"", tag: bytes = b"") -> Iterator[Entry]:
        self.asked.append((prefix, tag))
        for each in self._meant(b"", prefix, tag):
            self.told += 1
            yield each

    def _meant(self, key: bytes, prefix: bytes, tag: bytes) -> list[Entry]:
        return [
            each
            for each in self.held
            if key in (b"", each.key)
            and each.key.startswith(prefix)
            and (not tag or tag in each.stored.fields.tokens(b"cache-tag"))
        ]

    def purge(self, key: bytes = b"", prefix: bytes = b"", tag: bytes = b"") -> Deferred[int]:
        assert sum(map(bool, (key, prefix, tag))) == 1
        gone = self._meant(key, prefix, tag)
        self.held = [each for each in self.held if each not in gone]
        return succeed(len(gone))

    def pin(self, key: bytes, is_pinned: bool = True) -> Deferred[int]:
        count = len(self.variants(key))
        self.held = [
            replace(each, is_pinned=is_pinned) if each.key == key else each for each in self.held
        ]
        return succeed(count)

    def statistics(self) -> Statistics:
        return Statistics(len(self.held), 0, 0, 0, 0, 0, 0, False)


class Chain:
    """A responder that does what the test says with the next request; else it answers `hi`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.acts: list[Act] = []

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        self.requests.append(request)
        if self.acts:
            await self.acts.pop(0)(request, reply)
        else:
            reply.record.cache = "miss"
            reply.pass_on(OK, b"hi")


class UnixTalk(Talk):
    """A connection to the Unix socket at *path*."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self._read = b""
