"""The static site: the files below one folder, with validators, codings and ranges."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, assert_never

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules import conditions, multipart, ranges
from proxyapp.rules.conditions import Outcome
from proxyapp.rules.ranges import ByteRange, Extent
from proxyapp.site.confinement import OpenFile, Root, WouldWait
from proxyapp.site.loading import FieldsFor, Files
from proxyapp.site.memory import Memory
from proxyapp.site.paths import Location, folder_url, parse_location
from proxyapp.site.representations import Representation, Resource, added, response
from proxyapp.site.threads import InThread
from proxyapp.wire.messages import RequestHead

_READING = (b"GET", b"HEAD")
_WRITING = (b"PUT", b"PATCH")
# What makes an answer depend on the request in other ways than its path and the coding.
_CONDITIONAL = frozenset(
    {
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)
_HASH = b"hash"

Found: TypeAlias = Resource | OpenFile


class Options(Protocol):
    """What [site] says about files."""

    @property
    def index(self) -> Sequence[str]:
        """The names of pages that answer for their folder, the first found wins."""

    @property
    def precompressed(self) -> Sequence[str]:
        """The codings of siblings to look for, the preferred one first."""

    @property
    def hidden(self) -> bool:
        """Are names that begin with a dot served?"""


class Listings(Protocol):
    """Answers for folders without an index page."""

    async def respond(
        self,
        request: Request,
        reply: Reply,
        folder: OpenFile,
        location: Location,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer a GET or HEAD for the open *folder*, which the caller closes.

        *given* are the fields that the configuration adds.
        """


class Digests(Protocol):
    """Answers with the digest of a file."""

    async def respond(
        self,
        request: Request,
        reply: Reply,
        file: OpenFile,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer a GET or HEAD with the digest of the open *file*, which the caller closes.

        *given* are the fields that the configuration adds.
        """


class Uploads(Protocol):
    """Answers the methods that change files."""

    async def respond(self, request: Request, reply: Reply, location: Location) -> None:
        """Answer a PUT or PATCH for *location*."""


class Extras(NamedTuple):
    """What a site can do beside sending files; None where it can't."""

    listings: Listings | None = None
    digests: Digests | None = None
    uploads: Uploads | None = None


class StaticSite:
    """Answers GET and HEAD with the files below *root*, and what *extras* add to that.

    *fields_for* has the further fields of a decoded path. *memory* may be that of several sites,
    which are mounted under different prefixes: *prefix* is a path without a slash at its end.
    """

    def __init__(
        self,
        options: Options,
        root: Root,
        fields_for: FieldsFor,
        memory: Memory,
        in_thread: InThread,
        extras: Extras,
        prefix: bytes = b"",
    ) -> None:
        self._root = root
        self._files = Files(root, options.index, options.precompressed, fields_for)
        self._fields_for = fields_for
        self._hidden = options.hidden
        self._memory = memory
        self._in_thread = in_thread
        self._extras = extras
        self._prefix = prefix
        methods = b"GET, HEAD, OPTIONS" + (b", PATCH, PUT" if extras.uploads else b"")
        self._allow = (b"Allow", methods)

    def __repr__(self) -> str:
        return f"<StaticSite {self._prefix.decode('ascii', 'replace')}/ of {self._root!r}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        head = request.head
        if head.method not in _READING:
            await self._respond_otherwise(request, reply)
            return
        path, _, query = request.target.path.partition(b"?")
        if query == _HASH and self._extras.digests is not None:
            await self._answer_digest(request, reply, self._extras.digests)
            return
        known = self._memory.get(path)
        if known is not None:
            await _answer(head, reply, known)
            return
        location = self._location(request)
        found = await self._look_up(path, location)
        try:
            if isinstance(found, Resource):
                await _answer(head, reply, found)
            else:
                await self._answer_folder(request, reply, found, location)
        finally:
            found.close()

    def _location(self, request: Request) -> Location:
        return parse_location(request.target.path, self._hidden, self._prefix)

    async def _respond_otherwise(self, request: Request, reply: Reply) -> None:
        method, uploads = request.head.method, self._extras.uploads
        if method == b"OPTIONS":
            reply.answer(response(204, [self._allow]), b"")
        elif method in _WRITING and uploads is not None:
            try:
                await uploads.respond(request, reply, self._location(request))
            finally:
                self._memory.doubt()
        else:
            raise errors.MethodNotAllowed("files here can't be used like that", (self._allow,))

    async def _answer_digest(self, request: Request, reply: Reply, digests: Digests) -> None:
        location = self._location(request)
        file = await self._load(partial(self._files.open, location))
        assert isinstance(file, OpenFile)
        try:
            await digests.respond(request, reply, file, self._fields_for(location.path))
        finally:
            file.close()

    async def _answer_folder(
        self, request: Request, reply: Reply, folder: OpenFile, location: Location
    ) -> None:
        listings = self._extras.listings
        given = self._fields_for(location.path)
        if not location.is_folder:
            reply.answer(response(301, added([(b"Location", folder_url(location))], given)), b"")
        elif listings is None:
            raise errors.NotFound("this folder has no index page")
        else:
            await listings.respond(request, reply, folder, location, given)

    async def _look_up(self, path: bytes, location: Location) -> Found:
        """Return what is at *location*, and remember it if that needs no open file."""
        memory = self._memory
        known = memory.recall(path)
        try:
            try:
                found = self._files.load(location, known, may_wait=False)
            except WouldWait:
                memory.trust(path)
                found = await self._load(partial(self._files.load, location, known, may_wait=True))
        except errors.ExchangeError:
            memory.forget(path)
            raise
        if isinstance(found, Resource) and not found.is_open:
            memory.put(path, found)
        else:
            memory.forget(path)
        return found

    def _load(self, job: Callable[[], Found]) -> Deferred[Found]:
        """Run *job* in a thread; what it opens is closed if nobody waits for it any more."""
        outcome: Deferred[Found] = Deferred()

        def deliver(found: Found) -> None:
            if outcome.called:
                found.close()
            else:
                outcome.callback(found)

        def fail(failure: Failure) -> None:
            if not outcome.called:
                outcome.errback(failure)

        self._in_thread(job).addCallbacks(deliver, fail)
        return outcome


async def _answer(head: RequestHead, reply: Reply, resource: Resource) -> None:
    """Answer a GET or HEAD for *resource* with what codings, conditions and ranges leave of it."""
    fields = head.fields
    found = resource.choose(fields.get(b"accept-encoding"))
    if isinstance(found.content, bytes) and _CONDITIONAL.isdisjoint(fields.combined):
        reply.answer(found.whole, found.content)
        return
    outcome = conditions.evaluate(head.method, fields, found.validators)
    if outcome is Outcome.NOT_MODIFIED:
        reply.answer(response(304, found.fields_of_304), b"")
    elif outcome is Outcome.PRECONDITION_FAILED:
        raise errors.PreconditionFailed("the file isn't the one that the request is about")
    elif outcome is Outcome.SEND:
        selected = ranges.select_ranges(head.method, fields, found.validators, found.size)
        await _send(reply, found, selected)
    else:
        assert_never(outcome)


async def _send(
    reply: Reply, found: Representation, selected: Extent | tuple[ByteRange, ...]
) -> None:
    total = found.size
    head = found.whole
    pieces: Sequence[bytes | ByteRange]
    if selected is Extent.UNSATISFIABLE:
        unsatisfied = (b"Content-Range", ranges.content_range_unsatisfied(total))
        raise errors.RangeNotSatisfiable(f"the file has only {total} bytes", (unsatisfied,))
    if isinstance(selected, Extent):
        pieces = [ByteRange(0, total)] if total else []
    elif len(selected) == 1:
        pieces = selected
        content_range = (b"Content-Range", selected[0].content_range(total))
        media_type = (b"Content-Type", found.content_type)
        head = response(206, [media_type, *found.fields, content_range])
    else:
        boundary = secrets.token_hex(16).encode("ascii")
        planned = multipart.plan(selected, total, found.content_type, boundary)
        pieces = planned.pieces
        head = response(206, [(b"Content-Type", planned.content_type), *found.fields])
    if isinstance(found.content, bytes):
        reply.answer(head, b"".join(_taken(found.content, piece) for piece in pieces))
    else:
        await reply.answer_pieces(head, found.content, pieces)


def _taken(content: bytes, piece: bytes | ByteRange) -> bytes:
    return piece if isinstance(piece, bytes) else content[piece.offset : piece.end]
