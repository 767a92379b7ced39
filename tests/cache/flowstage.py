"""A stage for the cache's flow: clients and origins in memory, and the product between them.

Everything from a client's first byte to the origin's is the product's own: connection, cache, pool.
Only the store's threads run at once, and what sendfile(2) would send is copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.cache.proxying import CachingProxy
from proxyapp.cache.wanted import Means
from proxyapp.net import pipes
from proxyapp.net.sendfile import File
from proxyapp.net.task import Task, Wakeup
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.rules.caching.keys import KeyRule
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.rules import CacheRule, CacheRules, OnRange
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.upgrade import Spellings
from proxyapp.server.connection import Listener
from proxyapp.store.entry import Entry
from proxyapp.store.store import CacheStore, StoreLimits
from proxyapp.wire.headers import of_lines
from proxyapp.wire.messages import OutgoingResponse, ResponseHead
from tests.store.stores import MIB, START, at_once
from tests.support import MemoryTransport, RecordedReply, Settings, Stage, request

HOST = b"http://a.example"
FRESH = b"Cache-Control: max-age=1000"
TAG = b'ETag: "1"'
BLOCK = bytes(range(256)) * 256  # 64 KiB
ROOMY = StoreLimits(memory=64 * MIB, disk=0, max_object=16 * MIB)


class ReadingTransport(MemoryTransport):
    """A client's connection that files are copied to: sendfile(2) can't reach it."""

    TLS = True

    def __init__(self, clock: Clock, port: int = 0) -> None:
        super().__init__(clock, port)
        self._pull: IPullProducer | None = None

    def registerProducer(self, producer: object, streaming: bool) -> None:
        if streaming:
            super().registerProducer(producer, streaming)
            return
        assert self._pull is None
        assert self._producer is None, "two producers at once"
        self._pull = cast(IPullProducer, producer)
        self._ask_later()

    @property
    def has_producer(self) -> bool:
        """Does anybody feed it?"""
        return self._pull is not None or self._producer is not None

    def unregisterProducer(self) -> None:
        self._pull = None
        super().unregisterProducer()

    def takes_some(self, count: int) -> None:
        """Let the far end read *count* bytes of what waits for it, and no more."""
        self._heard += self._outbox[:count]
        self._outbox = self._outbox[count:]
        if not self._outbox and self._is_paused and self._producer is not None:
            self._is_paused = False
            self._producer.resumeProducing()

    def _ask_later(self) -> None:
        if self._pull is not None and not self._outbox:
            self.clock.callLater(0, self._ask)

    def _ask(self) -> None:
        if self._pull is not None and not self._outbox and self.connected:
            self._pull.resumeProducing()
            self._ask_later()

    def _send(self) -> None:
        super()._send()
        self._ask_later()

    def _lose(self, error: Exception) -> None:
        if self.connected and self._pull is not None:
            self._pull.stopProducing()
        super()._lose(error)


class Heard(NamedTuple):
    """A response as the client got it; *body* without chunks, *is_whole* if it has its end."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes
    is_whole: bool

    @property
    def cache(self) -> bytes:
        """What the cache says of itself, without what changes with time."""
        parts = self.fields[b"cache-status"].split(b"; ")
        return b"; ".join(part for part in parts[1:] if not part.startswith((b"ttl=", b"detail=")))


def _read(data: bytes, is_over: bool, method: bytes) -> tuple[Heard, bytes]:
    """Read the first response in *data*; return it and what is behind it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    status = int(start.split(b" ")[1])
    if method == b"HEAD" or status in (204, 304):
        return Heard(status, fields, b"", True), rest
    if b"content-length" in fields:
        size = int(fields[b"content-length"])
        return Heard(status, fields, rest[:size], len(rest) >= size), rest[size:]
    if b"transfer-encoding" not in fields:
        return Heard(status, fields, rest, is_over), b""
    body = b""
    while b"\r\n" in rest:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line, 16)
        if not size:
            return Heard(status, fields, body, rest.startswith(b"\r\n")), rest[2:]
        body, rest = body + rest[:size], rest[size + 2 :]
    return Heard(status, fields, body, False), b""


class CacheStage(Stage):
    """A Stage with a cache in front of the origins, by one *rule* for all URLs."""

    def __init__(self, folder: Path, limits: StoreLimits, rule: CacheRule) -> None:
        self._folder = folder
        self._limits = limits
        self._rule = rule
        super().__init__(Settings(retries=0))

    def _make_listener(self) -> Listener:
        self.store = CacheStore(self._folder, self._limits, at_once, self.clock, self.seconds)
        self.store.start()
        self.means = Means(self.store, self.forward, self.sweep, self.seconds, 60.0, self.clock)
        self.caching = CachingProxy(self.means, CacheRules((), self._rule))
        settings = self.settings
        self.upgrade = TlsUpgrade(
            self.caching,
            Spellings(settings.upgrade_header, settings.upgrade_hosts),
            settings.keeping,
            lambda client: True,
            lambda origin: False,
        )
        return super()._make_listener()

    def seconds(self) -> float:
        """Return the time of day."""
        return START + self.clock.seconds()

    def client(self, host: str = "192.0.2.1") -> MemoryTransport:
        """Let a client connect."""
        address = IPv4Address("TCP", host, 50000 + len(self.clients))
        connection = self._listener.buildProtocol(address)
        transport = ReadingTransport(self.clock, address.port)
        transport.protocol = connection
        connection.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's
        self.clients.append(transport)
        return transport

    def ask(self, *lines: bytes, path: bytes = b"/", method: bytes = b"GET") -> MemoryTransport:
        """Let a new client ask for *path*; return it."""
        client = self.client()
        client.says(request(method, path, *lines))
        self.turn()
        return client

    def turn(self) -> None:
        """Let what was asked for happen."""
        for _ in range(40):
            self.clock.advance(0)

    def heard(self, client: MemoryTransport, method: bytes = b"GET") -> Heard:
        """Return the one response that *client* got since the last time."""
        self.turn()
        found, rest = _read(client.all_heard(), client.is_gone, method)
        assert not rest
        return found

    def got(self, *lines: bytes, path: bytes = b"/", method: bytes = b"GET") -> Heard:
        """Return what a new client gets for *path* without the origin's saying anything."""
        return self.heard(self.ask(*lines, path=path, method=method), method)

    def says(self, *pieces: bytes) -> None:
        """Let the origin that was dialled last say something."""
        self.origin.says(b"".join(pieces))
        self.turn()

    def asked(self) -> list[bytes]:
        """Return the lines of the last request that the origin dialled last got."""
        heads = self.origin.all_heard().split(b"\r\n\r\n")
        return heads[-2].split(b"\r\n")

    def waits(self, seconds: float) -> None:
        """Let time pass."""
        self.wait(seconds)
        self.turn()

    def all_is_heard(self) -> None:
        """Nobody cares for what was said so far."""
        for transport in (*self.clients, *self.origins):
            transport.all_heard()

    @property
    def stored(self) -> Entry | None:
        """What is stored of `/`, if it's one."""
        variants = self.store.variants(HOST + b"/")
        assert len(variants) < 2
        return variants[0] if variants else None

    def fetching(self) -> int:
        """Return how many connections to origins are open and busy."""
        return sum(not each.is_gone and "busy" in repr(each.protocol) for each in self.origins)

    def end(self) -> None:
        """Fail if anything is left; what was said is nobody's concern any more."""
        for client in self.clients:
            client.resets()
        self.turn()
        for origin in self.origins:
            origin.resets()
        if "0>" not in repr(self.caching):
            # What is nearly done goes on without clients, until nothing comes for long enough.
            self.dialler.refusals = [errors.ConnectRefused("it's over")] * 100
            self.waits(700)
            self.dialler.refusals = []
        assert repr(self.caching) == "<CachingProxy <Fetches 0>>"
        self.all_is_heard()
        super().end()
        stopped: list[object] = []
        self.store.stop().addBoth(stopped.append)
        assert stopped == [None]


class FlowReply(RecordedReply):
    """A RecordedReply that takes what the cache says, too; each is itself alone."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        assert self.head is None
        self.head, self.body = head, body

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        assert not is_ours
        assert self.head is None
        self.head = head
        for piece in pieces:
            if isinstance(piece, bytes):
                self.body += piece
            else:
                self.body += os.pread(file.descriptor, piece.size, piece.offset)

    def field(self, name: bytes) -> bytes | None:
        """Return the value of a field of the answer."""
        assert self.head is not None
        return of_lines(list(self.head.lines)).get(name)


def reply(clock: Clock) -> FlowReply:
    """Return a reply to nobody in particular."""
    return FlowReply(ReadingTransport(clock))


def response(*lines: bytes, status: int = 200) -> OutgoingResponse:
    """Return a head as it comes from the origin's responder."""
    came = ResponseHead(status, b"", 1, of_lines(list(lines)))
    return OutgoingResponse(status, b"", [], list(lines), came)


def rule(
    on_range: OnRange = OnRange.STORE, policy: Policy | None = None, key: KeyRule | None = None
) -> CacheRule:
    """Return the rule for all URLs."""
    found = CacheRule(range=on_range, policy=policy or Policy())
    return found if key is None else replace(found, key=key)


@contextmanager
def flow(
    folder: Path, limits: StoreLimits = ROOMY, by: CacheRule | None = None
) -> Iterator[CacheStage]:
    """Set the stage, and see that nothing is left at the end."""
    stage = CacheStage(folder, limits, by or CacheRule())
    with mock.patch.object(pipes, "take", return_value=None):
        yield stage
        stage.end()


def head(length: int | None, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Return the head of a response whose body has *length* bytes; None: it is chunked."""
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, size, b"", b""])


def whole(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a response with *body*."""
    return head(len(body), *lines, status=status) + body


def part(content: bytes, start: int, end: int, *lines: bytes) -> bytes:
    """Return the 206 that has *content* from *start* to *end*."""
    place = b"Content-Range: bytes %d-%d/%d" % (start, end - 1, len(content))
    return whole(content[start:end], place, *lines, status=b"206 Partial Content")


def chunk(data: bytes) -> bytes:
    """Return *data* as a chunk; nothing for the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def crashing() -> Task:
    """Return a client's task whose end fails with a ZeroDivisionError when it is resumed."""

    async def client() -> None:
        await Wakeup()

    def fail(outcome: Exception | None) -> None:
        raise ZeroDivisionError

    task = Task(client(), fail)
    task.resume()
    return task
