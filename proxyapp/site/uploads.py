"""Uploads of trusted users: PUT stores a file whole, PATCH with Content-Range bit by bit.

PUT (RFC 9110 section 9.3.4) answers 201 for a new file and 204 for one that was replaced. PATCH
with `Content-Range: bytes FIRST-LAST/TOTAL` adds to a part that is kept, under a hidden name, for
the user, the path and the total; the last byte publishes it as PUT would. FIRST has to be where the
part ends, or 0 to begin anew; else the answer is 409. `Content-Range: bytes */TOTAL` without a body
asks how far it got. All these answers say so in Upload-Offset, Upload-Length and Upload-Complete,
which are the words of draft-ietf-httpbis-resumable-upload. Folders that are missing are made.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from twisted.logger import Logger

from proxyapp import errors
from proxyapp.exchange import Reply, Request, claim_of
from proxyapp.rules import conditions
from proxyapp.rules.challenges import Claim
from proxyapp.rules.conditions import Outcome
from proxyapp.rules.contentrange import SentRange, parse_content_range
from proxyapp.site import folders, intake, partfile
from proxyapp.site.confinement import Root
from proxyapp.site.disksink import DiskSink
from proxyapp.site.partfile import Expectation, Part, Published
from proxyapp.site.paths import Location
from proxyapp.site.representations import response, validators_of
from proxyapp.site.threads import InThread, Strand
from proxyapp.wire.headers import Fields, RawFields

# Each holds a megabyte and a thread at times.
MOST_AT_ONCE = 32
# Unfinished parts in all; a user who has more has a mistake in a script.
MOST_PARTS = 1000
# How long an unfinished part waits for the rest: over a long weekend. In seconds.
EXPIRY = 4 * 24 * 3600.0
# How often the site is looked through for those that waited longer.
SWEEP_EVERY = 3600.0

_log = Logger()


class Credentials(Protocol):
    """Who may upload; credentials.SiteCredentials is it."""

    async def check(self, claim: Claim) -> str:
        """Return the user; raises Unauthorized."""


class Uploads:
    """Answers PUT and PATCH below *root*; a file may have *limit* bytes, any number if that is 0.

    *reserved* are paths that others answer, so that no file could be seen there. *seconds* is the
    time of day.
    """

    def __init__(
        self,
        root: Root,
        credentials: Credentials,
        limit: int,
        reserved: Collection[bytes],
        in_thread: InThread,
        seconds: Callable[[], float],
    ) -> None:
        self._root = root
        self._credentials = credentials
        self._limit = limit
        self._reserved = frozenset(reserved)
        self._in_thread = in_thread
        self._seconds = seconds
        self._running = 0
        self._parts = 0
        self._swept_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Uploads {self._running} running, about {self._parts} unfinished>"

    async def respond(self, request: Request, reply: Reply, location: Location) -> None:
        """Answer a PUT or PATCH for *location*, or raise an ExchangeError."""
        reply.record.service = "site"
        fields = request.head.fields
        # A rule may have asked already; a Digest response can't be checked twice.
        user = reply.record.user or await self._credentials.check(
            claim_of(request, b"authorization")
        )
        reply.record.user = user
        self._check_location(location)
        _check_coding(fields)
        self._sweep_at_times()
        with self._admitted():
            if request.head.method == b"PUT":
                await self._put(request, reply, location.segments)
            else:
                await self._patch(request, reply, location.segments, user)

    def _check_location(self, location: Location) -> None:
        segments = location.segments
        if location.is_folder or not segments:
            raise errors.MethodNotAllowed("this is a folder; name the file", (folders.READ_ONLY,))
        if any(segment[:1] == b"." for segment in segments):
            raise errors.AccessDenied("names that begin with a dot can't be uploaded")
        if any(min(segment) < 0x20 or 0x7F in segment for segment in segments):
            raise errors.BadRequest("the name has a control character in it")
        if location.path in self._reserved:
            raise errors.AccessDenied("this path belongs to the gateway itself")

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._running >= MOST_AT_ONCE:
            raise errors.Overloaded("too many uploads are running")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _put(self, request: Request, reply: Reply, segments: tuple[bytes, ...]) -> None:
        if b"content-range" in request.head.fields:
            # RFC 9110 section 14.5: a whole file of these bytes is not what the client means.
            raise errors.BadRequest("PUT stores a whole file; PATCH takes a Content-Range")
        intake.check_announced(request, self._limit, "[site] upload_limit")
        expectation = _expectation(request.head.fields)
        strand, part = Strand(self._in_thread), Part(self._root, segments, secrets.token_hex(16))
        try:
            await strand.run(partial(part.create, expectation, intake.announced(request) or 0))
            await _receive(request, reply, strand, part, self._limit)
            published = await strand.run(partial(part.publish, expectation))
        finally:
            strand.run(part.discard)  # if it isn't published
            await strand.run(part.close)
        _answer(request, reply, published, [])

    async def _patch(
        self, request: Request, reply: Reply, segments: tuple[bytes, ...], user: str
    ) -> None:
        sent = parse_content_range(request.head.fields.get(b"content-range"))
        if self._limit and sent.total > self._limit:
            raise errors.BodyTooLarge(f"[site] upload_limit allows {self._limit} bytes")
        if intake.announced(request) not in (None, sent.size):
            raise errors.BadRequest("Content-Range and Content-Length don't agree")
        expectation = _expectation(request.head.fields)
        part = Part(self._root, segments, _mark(user, segments, sent.total))
        strand = Strand(self._in_thread)
        await strand.run(part.look)
        if sent.offset is None and part.size < sent.total:
            await intake.read_whole(request, reply, 0, "a question")
            reply.answer(response(204, _progress(part, sent)), b"")
            return
        _check_offset(part, sent)
        is_first = not part.size
        if is_first and self._parts >= MOST_PARTS:
            raise errors.Overloaded("too many unfinished uploads wait for their rest")
        published: Published | None = None
        try:
            await strand.run(partial(part.resume, expectation, sent.total))
            published = await _append(request, reply, strand, part, sent, expectation)
        except errors.InsufficientStorage:
            strand.run(part.discard)
            raise
        finally:
            await strand.run(part.close)
            self._parts += part.is_kept and is_first
        if published is None:
            reply.answer(response(204, _progress(part, sent)), b"")
        else:
            self._parts -= not is_first
            _answer(request, reply, published, _progress(part, sent))

    def _sweep_at_times(self) -> None:
        now = self._seconds()
        if now - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = now
        sweeping = self._in_thread(partial(partfile.sweep, self._root, now - EXPIRY))
        sweeping.addCallbacks(self._count, lambda why: _log.failure("no part was swept up", why))

    def _count(self, left: int) -> None:
        self._parts = left


def _check_coding(fields: Fields) -> None:
    # Stored as it is and served without its coding, it would be another file.
    coding = fields.get(b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        raise errors.UnsupportedCoding("files are stored as they are, and this one is encoded")


def _expectation(fields: Fields) -> Expectation:
    """Return what checks the preconditions in *fields*; raises BadRequest for one that's broken."""
    given = fields.get(b"if-none-match")
    if given is not None and conditions.parse_entity_tags(given) == ():
        # For reading, a broken list matches nothing. For writing that is the dangerous answer.
        raise errors.BadRequest("If-None-Match is no list of entity tags")

    def expect(status: os.stat_result | None) -> None:
        if status is None:
            is_met = b"if-match" not in fields
        else:
            is_met = conditions.evaluate(b"PUT", fields, validators_of(status, b"")) is Outcome.SEND
        if not is_met:
            raise errors.PreconditionFailed("the file isn't the one that the request is about")

    return expect


def _mark(user: str, segments: tuple[bytes, ...], total: int) -> str:
    """Return what tells this unfinished upload from any other."""
    parts = (user.encode("utf-8", "surrogatepass"), b"%d" % total, *segments)
    digest = hashlib.sha256(b"\x00".join(parts)).hexdigest()
    return digest[:32]


async def _receive(request: Request, reply: Reply, strand: Strand, part: Part, limit: int) -> None:
    intake.go_on(request, reply)
    sink = DiskSink(strand, part.write, limit, request.body.fail)
    try:
        await request.body.deliver(sink)
    finally:
        await sink.settle()  # what came of a body that was cut is worth keeping


async def _append(
    request: Request,
    reply: Reply,
    strand: Strand,
    part: Part,
    sent: SentRange,
    expectation: Expectation,
) -> Published | None:
    """Add the body to *part*, if it still belongs there; publish it if that was the last of it."""
    if sent.offset is not None:
        _check_offset(part, sent)
        if sent.offset == 0 and part.size:
            await strand.run(part.restart)
        await _receive(request, reply, strand, part, sent.size)
        if part.size != sent.offset + sent.size:
            raise errors.BadRequest("the body is shorter than Content-Range says")
    if part.size < sent.total:
        await strand.run(part.sync)
        return None
    return await strand.run(partial(part.publish, expectation))


def _check_offset(part: Part, sent: SentRange) -> None:
    if sent.offset not in (None, 0, part.size):
        reason = f"the part here has {part.size} bytes, so {sent} can't be added"
        raise errors.Conflict(reason, tuple(_progress(part, sent)))


def _progress(part: Part, sent: SentRange) -> RawFields:
    return [
        (b"Upload-Offset", b"%d" % part.size),
        (b"Upload-Length", b"%d" % sent.total),
        (b"Upload-Complete", b"?1" if part.size == sent.total else b"?0"),
    ]


def _answer(request: Request, reply: Reply, published: Published, fields: RawFields) -> None:
    """Say that the file is there, and how to recognise it (RFC 9110 section 9.3.4)."""
    found = validators_of(published.status, b"")
    if published.is_new:
        path, _, _ = request.head.target.partition(b"?")
        fields.append((b"Location", path))
    if found.etag is not None and found.last_modified is not None:
        fields.append((b"ETag", bytes(found.etag)))
        fields.append((b"Last-Modified", conditions.http_date(found.last_modified)))
    reply.answer(response(201 if published.is_new else 204, fields), b"")
