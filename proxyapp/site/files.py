"""The static site: files below one folder, with validators and ranges, and no way out of it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, assert_never
from urllib.parse import quote, unquote_to_bytes

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules import conditions
from proxyapp.rules.conditions import ByteRange, EntityTag, Extent, Outcome, Validators
from proxyapp.site.mediatypes import content_type
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.writer import reason_for

ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")
# Up to here one read and one send beat sendfile(2), measured.
READ_UP_TO = 64 * 1024

# Paths.

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_WELL_KNOWN = b".well-known"  # RFC 8615: hidden from directory listings, and not from clients


class Location(NamedTuple):
    """Where below the root a request points: decoded segments, and the query with its `?`."""

    segments: tuple[bytes, ...]
    is_folder: bool
    query: bytes


def parse_location(target: bytes) -> Location:
    """Take the path?query *target* apart; raises BadRequest or NotFound.

    Each segment is decoded once, after the split, so that an escaped slash parts nothing. No
    segment is ever resolved: clients do that (RFC 3986 section 5.2.4), and `..` from one that
    doesn't is a hidden name like any other.
    """
    path, mark, query = target.partition(b"?")
    if path[:1] != b"/":
        raise errors.BadRequest("the path doesn't begin with a slash")
    if _BAD_ESCAPE.search(path):
        raise errors.BadRequest("the path has a % that two hexadecimal digits don't follow")
    segments = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
    is_folder = not segments[-1]
    if is_folder:
        segments.pop()
    for depth, segment in enumerate(segments):
        _check_segment(segment, depth)
    return Location(tuple(segments), is_folder, mark + query)


def _check_segment(segment: bytes, depth: int) -> None:
    if b"\x00" in segment:
        raise errors.BadRequest("the path has a zero byte in it")
    if not segment or b"/" in segment:
        raise errors.NotFound("the path has an empty segment or an escaped slash")
    if segment[:1] == b"." and (depth or segment != _WELL_KNOWN):
        raise errors.NotFound("names that begin with a dot aren't served")


def folder_url(location: Location) -> bytes:
    """Return the reference to *location* as a folder, fit for a Location field.

    It can't begin with `//` or `/\\`, which browsers take for another host: no segment is empty,
    and a backslash is escaped.
    """
    path = "/".join(quote(segment, safe="!$&'()*+,;=:@") for segment in location.segments)
    return b"/%b/%b" % (path.encode("ascii"), location.query)


# Files.

# O_NONBLOCK: a FIFO must not hold up everybody. O_NOCTTY: nor a terminal become ours.
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ROOT_ONLY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.ENXIO,
        errno.ENODEV,
    }
)
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_NO_FILE = "there is no such file here"


@contextmanager
def _file_errors() -> Iterator[None]:
    """Turn what the file system says into what a client may hear."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise errors.NotFound(_NO_FILE) from error
        if error.errno in _FORBIDDEN:
            reason = "the file is there, and its permissions don't let the site read it"
            raise errors.AccessDenied(reason) from error
        if error.errno in _SHORT:
            raise errors.Overloaded("too many files or connections are open") from error
        raise errors.InternalError("the file can't be read") from error


class OpenFile(NamedTuple):
    """An open file or folder: its descriptor, the name in its folder, and its status."""

    descriptor: int
    name: bytes
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Is it a folder, rather than a regular file?"""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def validators(self) -> Validators:
        """What tells this state of the file from any other.

        Times in the future are common where clocks are set late, and RFC 9110 section 8.8.2.1
        forbids them: the change time, which nobody can set, caps Last-Modified.
        """
        status = self.status
        tag = b"%x-%x" % (status.st_mtime_ns, status.st_size)
        return Validators(
            EntityTag(tag), min(status.st_mtime_ns, status.st_ctime_ns) // 1_000_000_000
        )


class StaticSite:
    """Answers GET and HEAD with the files below *root*; *index* names the pages of folders."""

    def __init__(self, root: Path, index: tuple[str, ...]) -> None:
        # Absolute at once: a daemon changes its working folder later.
        self._root = os.fsencode(root.absolute())
        self._index = tuple(os.fsencode(name) for name in index)

    def __repr__(self) -> str:
        return f"<StaticSite {os.fsdecode(self._root)}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        method = request.head.method
        if method == b"OPTIONS":
            reply.answer(_response(204, [ALLOW]), b"")
            return
        if method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("files here can only be read", (ALLOW,))
        location = parse_location(request.target.path)
        file = self._find(location)
        try:
            if file.is_folder:
                reply.answer(_response(301, [(b"Location", folder_url(location))]), b"")
            else:
                await _answer(request.head, reply, file)
        finally:
            os.close(file.descriptor)

    def _find(self, location: Location) -> OpenFile:
        """Open what *location* names: a file, the index of a folder, or a folder without its slash.

        Raises NotFound, AccessDenied, Overloaded or InternalError.
        """
        if not location.is_folder:
            return self._open(location.segments)
        for name in self._index:
            try:
                file = self._open((*location.segments, name))
            except errors.NotFound:
                continue
            if not file.is_folder:
                return file
            os.close(file.descriptor)
        raise errors.NotFound("there is no such folder here, or it has no index page")

    def _open(self, segments: tuple[bytes, ...]) -> OpenFile:
        with _file_errors():
            # Opened anew each time: the root may be a symlink that a deployment switches.
            root = os.open(self._root, _ROOT_ONLY)
            try:
                descriptor = os.open(b"/".join(segments), _READ_ONLY, dir_fd=root)
                try:
                    return OpenFile(descriptor, segments[-1], _checked(root, descriptor))
                except BaseException:
                    os.close(descriptor)
                    raise
            finally:
                os.close(root)


def _checked(root: int, descriptor: int) -> os.stat_result:
    """Return the status of *descriptor* if it is a file or folder below *root*; else NotFound.

    What is judged is what was opened, not a path that may lead elsewhere a moment later. So
    symlinks work as long as they stay inside.
    """
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise errors.NotFound("what has this name isn't a file")
    folder = _real_path(root).rstrip(b"/") + b"/"
    if not (_real_path(descriptor) + b"/").startswith(folder):
        raise errors.NotFound(_NO_FILE)
    return status


def _real_path(descriptor: int) -> bytes:
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    except OSError as error:
        raise errors.InternalError("without /proc no file can be checked, nor served") from error


async def _answer(head: RequestHead, reply: Reply, file: OpenFile) -> None:
    """Answer a GET or HEAD for *file* with what the conditions and ranges leave of it."""
    validators, size = file.validators, file.status.st_size
    outcome = conditions.evaluate(head.method, head.fields, validators)
    if outcome is Outcome.NOT_MODIFIED:
        reply.answer(_response(304, _validator_fields(validators)), b"")
    elif outcome is Outcome.PRECONDITION_FAILED:
        text = (b"Content-Type", b"text/plain; charset=utf-8")
        reply.answer(_response(412, [text]), b"The file isn't the one the request is about.\n")
    elif outcome is Outcome.SEND:
        fields = [(b"Content-Type", content_type(file.name)), *_validator_fields(validators)]
        fields.append((b"Accept-Ranges", b"bytes"))
        extent = conditions.select_range(head.method, head.fields, validators, size)
        await _send(reply, file, fields, extent)
    else:
        assert_never(outcome)


async def _send(
    reply: Reply, file: OpenFile, fields: RawFields, extent: ByteRange | Extent
) -> None:
    total = file.status.st_size
    if extent is Extent.UNSATISFIABLE:
        unsatisfied = (b"Content-Range", conditions.content_range_unsatisfied(total))
        raise errors.RangeNotSatisfiable(f"the file has only {total} bytes", (unsatisfied,))
    status, offset, size = 200, 0, total
    if isinstance(extent, ByteRange):
        status, (offset, size) = 206, extent
        fields.append((b"Content-Range", extent.content_range(total)))
    response = _response(status, fields)
    if size > READ_UP_TO:
        await reply.answer_file(response, file.descriptor, offset, size)
        return
    with _file_errors():
        body = os.pread(file.descriptor, size, offset)
    if len(body) != size:
        raise errors.InternalError("the file became shorter while it was read; try again")
    reply.answer(response, body)


def _response(status: int, fields: RawFields) -> OutgoingResponse:
    return OutgoingResponse(status, reason_for(status), fields)


def _validator_fields(validators: Validators) -> RawFields:
    fields = []
    if validators.etag is not None:
        fields.append((b"ETag", bytes(validators.etag)))
    if validators.last_modified is not None:
        fields.append((b"Last-Modified", conditions.http_date(validators.last_modified)))
    return fields
