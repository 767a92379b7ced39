"""A site of folders and digests alone, on a port of its own, and clients that block in threads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread, deferToThreadPool

from proxyapp.exchange import Reply, Request
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.rules.symlinks import Symlinks
from proxyapp.server.connection import Listener
from proxyapp.server.doors import Clients, Door, ServerLimits, Surroundings
from proxyapp.site.confinement import Root
from proxyapp.site.digests import Digests
from proxyapp.site.listing import Listings
from proxyapp.site.paths import parse_location
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.target import Form
from tests.support import RecordList, admit_everyone, error_page
from tests.talk import Response, Talk

_T = TypeVar("_T")

# 2001-09-09T01:46:40Z, in every test.
NOW = 1_000_000_000
STALL = 8.0
# What the configuration adds to every answer, as far as that has it not.
GIVEN = ((b"X-Given", b"yes"), (b"cache-control", b"max-age=9"), (b"Content-Type", b"x/y"))
KERNEL_HOLDS = 32 * 1024  # bytes of a connection; the kernel itself makes twice as much of it


class FolderSite:
    """Serves *top*; *threads* holds the name of the thread of each piece of work."""

    def __init__(
        self, reactor: ApplianceReactor, top: Path, symlinks: Symlinks, hidden: bool, prefix: bytes
    ) -> None:
        self._reactor = reactor
        self._prefix = prefix
        self._hidden = hidden
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.root = Root(top, symlinks, hidden)
        self.threads: list[str] = []
        self.under_way = 0
        self.listings = Listings(
            self.root, hidden, self.in_thread, self.sweep, lambda: NOW + 0.5, "/setup"
        )
        self.digests = Digests(self.in_thread)
        self.records = RecordList()
        self.port = self._listen()

    def _listen(self) -> IListeningPort:
        limits = ServerLimits(HeadLimits(), 100, 100, 0, 20.0, 60.0, STALL, 60.0)
        around = Surroundings(
            admit_everyone(), self.records, error_page, self.sweep, limits, lambda: NOW + 0.5
        )
        listener = Listener(around, {Form.ORIGIN: Door("site", self)}, Clients(limits))
        port = self._reactor.listenTCP(0, listener, interface="127.0.0.1")
        # Inherited by each connection, so that no more than this is out of sight.
        port.socket.setsockopt(  # type: ignore[attr-defined]
            socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_HOLDS
        )
        return port

    def in_thread(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See InThread."""

        def noted() -> _T:
            self.threads.append(threading.current_thread().name)
            return job()

        def end(result: object) -> object:
            self.under_way -= 1
            return result

        self.under_way += 1
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, noted).addBoth(end)

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        location = parse_location(request.target.path, self._hidden, self._prefix)
        file = self.root.open(location.segments)
        try:
            if file.is_folder:
                await self.listings.respond(request, reply, file, location, GIVEN)
            else:
                await self.digests.respond(request, reply, file, GIVEN)
        finally:
            file.close()

    # Clients.

    def connect(self, buffer: int = 0) -> Talk:
        """Return a connection; *buffer* is the size of what the kernel keeps for it (bytes)."""
        end = socket.socket()
        if buffer:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        end.settimeout(10)
        end.connect(("127.0.0.1", self.port.getHost().port))  # type: ignore[attr-defined]
        return Talk(end)

    def get(
        self, target: bytes, *lines: bytes, method: bytes = b"GET", minor: int = 1
    ) -> Deferred[Response]:
        """Ask on a connection of its own."""

        def ask() -> Response:
            with self.connect() as talk:
                talk.send(request_head(target, *lines, method=method, minor=minor))
                return talk.response(method)

        return deferToThread(ask)

    async def turn(self) -> None:
        """Let one turn of the loop pass."""
        passed: Deferred[None] = Deferred()
        self._reactor.callLater(0, passed.callback, None)
        await passed

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds; it is asked in every turn."""
        while not condition():
            passed: Deferred[None] = Deferred()
            self._reactor.callLater(0.001, passed.callback, None)
            await passed


Serve: TypeAlias = Callable[..., FolderSite]


def request_head(target: bytes, *lines: bytes, method: bytes = b"GET", minor: int = 1) -> bytes:
    """Return the head of a request."""
    start = b"%b %b HTTP/1.%d" % (method, target, minor)
    return b"\r\n".join([start, b"Host: a.example", *lines, b"", b""])


@contextlib.contextmanager
def serving(
    reactor: ApplianceReactor,
    top: Path,
    symlinks: Symlinks = Symlinks.INSIDE,
    hidden: bool = False,
    prefix: bytes = b"",
) -> Iterator[FolderSite]:
    """Serve *top* until the end of the block; what runs for a client must have ended by then."""
    site = FolderSite(reactor, top, symlinks, hidden, prefix)
    try:
        yield site
    finally:
        pytest_twisted.blockon(maybeDeferred(site.port.stopListening))
        pytest_twisted.blockon(Deferred.fromCoroutine(site.until(lambda: not site.under_way)))
        site.sweep.stop()


@pytest.fixture
def serve(reactor: ApplianceReactor) -> Iterator[Serve]:
    """Return what serves a folder, with the options of `serving`, until the end of the test."""
    with contextlib.ExitStack() as stack:

        def serve_folder(top: Path, **options: object) -> FolderSite:
            return stack.enter_context(serving(reactor, top, **options))  # type: ignore[arg-type]

        yield serve_folder
