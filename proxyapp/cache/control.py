"""Answers the admin's questions and orders about the cache, at the control socket.

Who asks has been let in by the permissions of the socket, and by nothing else: see
service/control.py. A request names what it is about behind the question mark, percent-encoded as a
whole: `GET /list?http%3A%2F%2Fa.example%2F*`. Answers are JSON, one object a line.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from proxyapp import errors
from proxyapp.cache.prefetch import Prefetch
from proxyapp.exchange import Reply, Request
from proxyapp.rules.caching.report import Content, Report, report, to_line
from proxyapp.rules.caching.rules import CacheRules
from proxyapp.rules.caching.selection import (
    Selection,
    key_of,
    parse_pattern,
    parse_selection,
    parse_url,
    rule_of,
)
from proxyapp.store.entry import Entry
from proxyapp.store.store import Statistics
from proxyapp.stream import Sink
from proxyapp.wire.framing import UNTIL_CLOSE
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import OutgoingResponse

# Entries told in one turn of the loop: 3 ms of it.
BATCH = 50
# Seconds between the empty lines that are sent while a fetch is waited for.
PULSE = 0.5
# All keys begin so.
_EVERY = b"http"
_LINES = OutgoingResponse(200, b"OK", [(b"Content-Type", b"application/x-ndjson")])

_log = Logger()
_Answer: TypeAlias = Callable[[bytes, Reply], Awaitable[None]]


class Store(Protocol):
    """What is asked of the store; store.CacheStore has it."""

    def variants(self, key: bytes) -> Iterable[Entry]:
        """Return all that is stored under *key*."""

    def entries(self, prefix: bytes = b"", tag: bytes = b"") -> Iterator[Entry]:
        """Yield what begins with *prefix*, and has *tag*."""

    def purge(self, key: bytes = b"", prefix: bytes = b"", tag: bytes = b"") -> Deferred[int]:
        """Forget some; fires with how many."""

    def pin(self, key: bytes, is_pinned: bool = True) -> Deferred[int]:
        """Keep all variants of *key*, or no longer; fires with how many."""

    def statistics(self) -> Statistics:
        """Return what it holds."""


class _Order(NamedTuple):
    """What a path does, and by which method."""

    method: bytes
    answer: _Answer


class CacheControl:
    """Answers for the cache behind *store*; *seconds* is the time of day."""

    def __init__(
        self,
        store: Store,
        rules: CacheRules,
        prefetch: Prefetch,
        seconds: Callable[[], float],
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._rules = rules
        self._prefetch = prefetch
        self._seconds = seconds
        self._clock = clock
        self._orders = {
            b"/list": _Order(b"GET", self._list),
            b"/show": _Order(b"GET", self._show),
            b"/statistics": _Order(b"GET", self._statistics),
            b"/purge": _Order(b"POST", self._purge),
            b"/pin": _Order(b"POST", self._pin),
            b"/unpin": _Order(b"POST", self._unpin),
            b"/prefetch": _Order(b"POST", self._fetch),
        }

    def __repr__(self) -> str:
        return f"<CacheControl of {self._store!r}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        path, _, given = request.target.path.partition(b"?")
        order = self._orders.get(path)
        if order is None:
            raise errors.NotFound("the control socket has no such command")
        if request.head.method != order.method:
            allow = (b"Allow", order.method)
            raise errors.MethodNotAllowed("this command is another method's", (allow,))
        await order.answer(unquote_to_bytes(given), reply)

    # Questions.

    async def _list(self, what: bytes, reply: Reply) -> None:
        selection = parse_pattern(what, self._rules)
        lines = self._lines(selection)
        flow = _Flow(reply.begin(_LINES, UNTIL_CLOSE))
        with flow:
            while batch := list(islice(lines, BATCH)):
                flow.write(b"".join(batch))
                # What doesn't match takes time as well, so there may be nothing to write.
                await deferLater(self._clock, 0, lambda: None)
                await flow.room()
        flow.finish()

    def _lines(self, selection: Selection) -> Iterator[bytes]:
        """Yield a line for each entry; an empty one where it isn't among those that are meant."""
        if selection.key is not None:
            found = iter(self._store.variants(selection.key))
        else:
            found = self._store.entries(selection.prefix, selection.tag)
        for entry in found:
            yield to_line(self._report(entry, False)) if selection.has(entry.key) else b""

    async def _show(self, url: bytes, reply: Reply) -> None:
        found = self._store.variants(key_of(url, self._rules))
        lines = [to_line(self._report(entry, True)) for entry in found]
        if not lines:
            raise errors.NotFound("nothing is stored for this URL")
        reply.answer(_LINES, b"".join(lines))

    def _report(self, entry: Entry, is_whole: bool) -> Report:
        content = Content(
            size=entry.size,
            extents=entry.extents,
            is_complete=entry.is_complete,
            is_in_memory=entry.content is not None,
            is_pinned=entry.is_pinned,
        )
        policy = rule_of(entry.key, self._rules).policy
        return report(entry.key, entry.stored, content, policy, self._seconds(), is_whole)

    async def _statistics(self, what: bytes, reply: Reply) -> None:
        _answer(reply, asdict(self._store.statistics()))

    # Orders.

    async def _purge(self, what: bytes, reply: Reply) -> None:
        if not what:
            raise errors.BadRequest("say what: URL, PREFIX* or tag:TAG; * is everything")
        meant = parse_selection(what, self._rules)
        if meant.key is not None:
            count = await self._store.purge(key=meant.key)
        elif meant.tag:
            count = await self._store.purge(tag=meant.tag)
        else:
            count = await self._store.purge(prefix=meant.prefix or _EVERY)
        _log.info(
            "cache: {count} entries purged by the admin: {what}", count=count, what=_name(what)
        )
        _answer(reply, {"count": count})

    async def _pin(self, url: bytes, reply: Reply) -> None:
        count = await self._store.pin(key_of(url, self._rules))
        _log.info("cache: {count} entries pinned by the admin: {url}", count=count, url=_name(url))
        _answer(reply, {"count": count})

    async def _unpin(self, url: bytes, reply: Reply) -> None:
        count = await self._store.pin(key_of(url, self._rules), False)
        _log.info("cache: {count} entries unpinned: {url}", count=count, url=_name(url))
        _answer(reply, {"count": count})

    async def _fetch(self, url: bytes, reply: Reply) -> None:
        parse_url(url)  # while the status can still say that it is none
        sink = reply.begin(_LINES, UNTIL_CLOSE)
        sink.flush()
        # Who has left a Unix socket is noticed when something is written to it, and not before.
        pulse = LoopingCall(sink.write, b"\n")
        pulse.clock = self._clock
        pulse.start(PULSE, now=False)
        try:
            outcome = await self._prefetch.fetch(url)
        finally:
            pulse.stop()
        if not outcome.reason:
            # The last byte is handed on first, and stored with the others in the same turn.
            await deferLater(self._clock, 0)
            found = self._store.variants(key_of(url, self._rules))
            outcome = replace(outcome, is_stored=any(entry.is_complete for entry in found))
        sink.write(to_line(outcome))
        sink.finish(NO_FIELDS)


def _answer(reply: Reply, values: dict[str, object]) -> None:
    reply.answer(_LINES, json.dumps(values).encode("ascii") + b"\n")


def _name(what: bytes) -> str:
    """Return *what* so that it makes no line of its own in the event log."""
    return ascii(what.decode("latin-1"))[1:-1]


@implementer(IPushProducer)
class _Flow:
    """Lines on their way to *sink*, no faster than it takes them."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._is_paused = self._is_over = False
        self._room: Deferred[None] | None = None

    def __enter__(self) -> None:
        self._sink.flush()
        self._sink.transport.registerProducer(self, True)

    def __exit__(self, *exception: object) -> None:
        self._sink.transport.unregisterProducer()

    def write(self, lines: bytes) -> None:
        """Send *lines*, if there are any."""
        if lines:
            self._sink.write(lines)

    async def room(self) -> None:
        """Wait until the sink takes more; raises ClientGone."""
        if self._is_paused and not self._is_over:
            self._room = Deferred()
            try:
                await self._room
            finally:
                self._room = None
        if self._is_over:
            raise errors.ClientGone("the admin's program has ended")

    def finish(self) -> None:
        """That was all."""
        self._sink.finish(NO_FIELDS)

    # IPushProducer, for the sink's connection.

    def pauseProducing(self) -> None:
        """The sink has more than it can send."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The sink has sent what it had."""
        self._is_paused = False
        if self._room is not None:
            self._room.callback(None)

    def stopProducing(self) -> None:
        """The sink's connection is gone."""
        self._is_over = True
        self.resumeProducing()
