"""What a path of the site stands for: one file in one or several codings, each a representation.

Each has validators of its own, so that no half of one is ever joined to half of another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from proxyapp.rules import conditions
from proxyapp.rules.conditions import EntityTag, Validators
from proxyapp.rules.negotiation import choose_coding
from proxyapp.site.confinement import OpenFile
from proxyapp.site.mediatypes import content_type
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.writer import reason_for

IDENTITY = b""
_VARY = (b"Vary", b"Accept-Encoding")
_RANGES = (b"Accept-Ranges", b"bytes")
SECOND = 1_000_000_000  # in nanoseconds

# Of each coding: device, inode, times of modification and change, size.
Signature: TypeAlias = tuple[tuple[bytes, int, int, int, int, int], ...]


class Representation(NamedTuple):
    """A file in one coding: what responses say of it, and its content or the file, still open.

    *whole* is the head of a 200; *fields* are those of a 206 but for Content-Type, *fields_of_304*
    those of a 304.
    """

    validators: Validators
    size: int
    content_type: bytes
    fields: RawFields
    fields_of_304: RawFields
    whole: OutgoingResponse
    content: bytes | OpenFile


class Resource(NamedTuple):
    """All representations of what a path stands for; *signature* tells its state from any other.

    *codings* are those it has beside IDENTITY, the one to prefer first. *changed_at* is when one of
    its files changed last, content or not, in seconds since 1970.
    """

    representations: Mapping[bytes, Representation]
    codings: tuple[bytes, ...]
    signature: Signature
    changed_at: float

    def choose(self, accept_encoding: bytes | None) -> Representation:
        """Return the representation to send (RFC 9110 section 12.5.3)."""
        codings = self.codings
        coding = choose_coding(accept_encoding, codings) if codings else None
        return self.representations[coding or IDENTITY]

    @property
    def weight(self) -> int:
        """The bytes of it in memory."""
        contents = [each.content for each in self.representations.values()]
        return sum(len(content) for content in contents if isinstance(content, bytes))

    @property
    def is_open(self) -> bool:
        """Are there files to close?"""
        return isinstance(self.representations[IDENTITY].content, OpenFile)

    def close(self) -> None:
        """Close the files that are open for it."""
        for each in self.representations.values():
            if isinstance(each.content, OpenFile):
                each.content.close()


def resource(
    name: bytes,
    files: Mapping[bytes, OpenFile],
    contents: Mapping[bytes, bytes | OpenFile],
    given: Sequence[tuple[bytes, bytes]],
) -> Resource:
    """Return the resource called *name* whose codings are *files* with *contents*.

    *given* are the fields that the configuration adds.
    """
    found = {
        coding: _representation(name, coding, file.status, contents[coding], given, len(files) > 1)
        for coding, file in files.items()
    }
    changed = max(file.status.st_ctime_ns for file in files.values())
    codings = tuple(coding for coding in files if coding != IDENTITY)
    return Resource(found, codings, signature(files), changed / SECOND)


def signature(files: Mapping[bytes, OpenFile]) -> Signature:
    """Return what tells the present state of *files* from any other."""
    return tuple(_signed(coding, file.status) for coding, file in files.items())


def _signed(coding: bytes, status: os.stat_result) -> tuple[bytes, int, int, int, int, int]:
    times = status.st_mtime_ns, status.st_ctime_ns
    return coding, status.st_dev, status.st_ino, *times, status.st_size


def _representation(
    name: bytes,
    coding: bytes,
    status: os.stat_result,
    content: bytes | OpenFile,
    given: Sequence[tuple[bytes, bytes]],
    has_siblings: bool,
) -> Representation:
    validators = validators_of(status, coding)
    # The configuration may know the type better; all else that it gives is added.
    types = [value for known, value in given if known.lower() == b"content-type"]
    media_type = types[-1] if types else content_type(name)
    further = [each for each in given if each[0].lower() != b"content-type"]
    negotiated = [_VARY] if has_siblings else []
    fields_of_304 = [*_validator_fields(validators), *negotiated, *further]
    encoding = [(b"Content-Encoding", coding)] if coding else []
    fields = [*fields_of_304, _RANGES, *encoding]
    whole = response(200, [(b"Content-Type", media_type), *fields])
    return Representation(
        validators, status.st_size, media_type, fields, fields_of_304, whole, content
    )


def added(own: RawFields, given: Sequence[tuple[bytes, bytes]]) -> RawFields:
    """Return *own*, the fields of a page that is made here, and those of *given* that it lacks.

    The configuration means the files: a page keeps its own type, policy and freshness.
    """
    names = {name.lower() for name, _ in own} | {b"content-type"}
    return [*own, *(each for each in given if each[0].lower() not in names)]


def response(status: int, fields: RawFields) -> OutgoingResponse:
    """Return a head with the standard reason."""
    return OutgoingResponse(status, reason_for(status), fields)


def validators_of(status: os.stat_result, coding: bytes) -> Validators:
    """Return what tells this state of a file, in *coding*, from any other.

    Times in the future are common where clocks are set late, and RFC 9110 section 8.8.2.1 forbids
    them: the change time, which nobody can set, caps Last-Modified.
    """
    tag = b"%x-%x" % (status.st_mtime_ns, status.st_size)
    tag = b"%b-%b" % (tag, coding) if coding else tag
    return Validators(EntityTag(tag), min(status.st_mtime_ns, status.st_ctime_ns) // SECOND)


def _validator_fields(validators: Validators) -> RawFields:
    fields = []
    if validators.etag is not None:
        fields.append((b"ETag", bytes(validators.etag)))
    if validators.last_modified is not None:
        fields.append((b"Last-Modified", conditions.http_date(validators.last_modified)))
    return fields
