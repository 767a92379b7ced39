"""The request log's last lines as a page, for the admin alone: it tells who visited what."""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from proxyapp import errors
from proxyapp.exchange import Reply, Request, claim_of
from proxyapp.rules.challenges import Claim
from proxyapp.rules.conditions import Validators
from proxyapp.rules.ranges import Extent, content_range_unsatisfied, select_ranges
from proxyapp.site.paths import parse_location
from proxyapp.site.representations import response
from proxyapp.site.threads import InThread
from proxyapp.wire.headers import RawFields
from proxyapp.wire.target import parse_authority

# What is shown without a word, and the most that is: a screenful of a browser's memory.
DEFAULT_SIZE = 64 * 1024
MAX_SIZE = 1 << 20
_LINES = re.compile(rb"(?:\A|&)lines=([0-9]{1,9})(?:&|\Z)")
_ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")
_FIELDS: RawFields = [
    (b"Content-Type", b"text/plain; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'"),
    (b"Accept-Ranges", b"bytes"),
]
# A proxy between the client and us; then the address we see isn't the client's.
_TRACES = (b"via", b"forwarded", b"x-forwarded-for", b"x-real-ip")
_ELSEWHERE = {"-": "goes to standard output", "syslog:": "goes to syslog", "": "is turned off"}
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Credentials(Protocol):
    """Who may read it; credentials.SiteCredentials is it."""

    async def check(self, claim: Claim) -> str:
        """Return the user; raises Unauthorized."""


class LogView:
    """Answers with the end of the request log, by the name that [log] requests has for it.

    `?lines=N` asks for the last N lines. With *credentials*, whoever has some may read it; without,
    only programs on this machine. *prefix* is the path where it is mounted.
    """

    def __init__(
        self, requests: str, credentials: Credentials | None, in_thread: InThread, prefix: bytes
    ) -> None:
        self._requests = requests
        # Absolute at once: a daemon changes its working folder later.
        self._path = Path(requests).absolute()
        self._prefix = prefix
        self._credentials = credentials
        self._in_thread = in_thread

    def __repr__(self) -> str:
        return f"<LogView of {self._requests or 'nothing'}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        await self._admit(request, reply)
        method = request.head.method
        if method == b"OPTIONS":
            reply.answer(response(204, [_ALLOW]), b"")
            return
        if method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("the log can only be read", (_ALLOW,))
        location = parse_location(request.target.path, prefix=self._prefix)
        if location.segments or not location.is_folder:
            raise errors.NotFound("the log is one page, and nothing is below it")
        if self._requests in _ELSEWHERE:
            why = _ELSEWHERE[self._requests]
            raise errors.NotFound(f"the request log {why}, so there is no file to show")
        lines = _LINES.search(location.query[1:])
        count = int(lines[1]) if lines else None
        _send(request, reply, await self._in_thread(partial(_tail, self._path, count)))

    async def _admit(self, request: Request, reply: Reply) -> None:
        if self._credentials is not None:
            # A rule may have asked already; a Digest response can't be checked twice.
            user = reply.record.user or await self._credentials.check(
                claim_of(request, b"authorization")
            )
            reply.record.user = user
        elif not _is_at_home(request):
            raise errors.AccessDenied(
                "without users in [auth], the log can only be read on the gateway itself"
            )


def _is_at_home(request: Request) -> bool:
    """Does a program on this machine ask, of its own accord?

    Not for somebody else, as a proxy would, ours included; and not because a page from outside
    told a browser here that its name has our address (DNS rebinding).
    """
    fields = request.head.fields
    if any(name in fields for name in _TRACES) or not _is_loopback(request.client.host):
        return False
    origin = request.target.origin
    try:
        asked = origin or parse_authority("http", fields.get(b"host") or b"")
    except errors.BadRequest:
        return False
    return asked.host == "localhost" or _is_loopback(asked.host)


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _tail(path: Path, count: int | None) -> bytes:
    """Return the last *count* lines of the file, those in its last DEFAULT_SIZE bytes for None."""
    try:
        # Opened each time: a rotation may have put another file there.
        descriptor = os.open(path, _READ_ONLY)
    except FileNotFoundError as error:
        raise errors.NotFound("the log file isn't there at this moment; try again") from error
    except OSError as error:
        raise errors.InternalError("the log file can't be read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise errors.NotFound(
                "the request log goes to a device or a pipe, so there is no file to show"
            )
        start = max(0, status.st_size - (DEFAULT_SIZE if count is None else MAX_SIZE))
        content = os.pread(descriptor, status.st_size - start, start)
    except OSError as error:
        raise errors.InternalError("the log file can't be read") from error
    finally:
        os.close(descriptor)
    if start:
        content = content[content.find(b"\n") + 1 :]  # the first line is only half there
    return content if count is None else _last_lines(content, count)


def _last_lines(content: bytes, count: int) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[-count:]) if count else b""


def _send(request: Request, reply: Reply, body: bytes) -> None:
    # Without a validator: the next moment it's another text, so If-Range never holds.
    found = select_ranges(
        request.head.method, request.head.fields, Validators(None, None), len(body)
    )
    if found is Extent.UNSATISFIABLE:
        beyond = (b"Content-Range", content_range_unsatisfied(len(body)))
        raise errors.RangeNotSatisfiable("there is less of the log", (beyond,))
    if isinstance(found, Extent) or len(found) > 1:
        reply.answer(response(200, [*_FIELDS]), body)
        return
    (part,) = found
    fields = [*_FIELDS, (b"Content-Range", part.content_range(len(body)))]
    reply.answer(response(206, fields), body[part.offset : part.offset + part.size])
