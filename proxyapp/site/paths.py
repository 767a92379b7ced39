"""Where a request points below a site's folder: its path, decoded once and checked by name."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from proxyapp import errors

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_WELL_KNOWN = b".well-known"  # RFC 8615: hidden from directory listings, and not from clients
_OURSELVES_AND_ABOVE = (b".", b"..")
_PART = re.compile(rb"\..+\.[0-9a-f]{32}\.part", re.DOTALL)
# With dots, mark and suffix it stays below the 255 bytes that file systems allow.
_LONGEST_STEM = 200


class Location(NamedTuple):
    """Where below the root a request points: decoded segments, and the query with its `?`.

    *prefix* is the path under which the site is mounted, without a slash at its end.
    """

    segments: tuple[bytes, ...]
    is_folder: bool
    query: bytes
    prefix: bytes = b""

    @property
    def path(self) -> bytes:
        """The decoded path from the server's root on, fit for patterns and for people."""
        path = b"/".join((unquote_to_bytes(self.prefix), *self.segments))
        return path + b"/" if self.is_folder else path


def parse_location(target: bytes, is_hidden_served: bool = False, prefix: bytes = b"") -> Location:
    """Take the path?query *target* apart; raises BadRequest or NotFound.

    Each segment is decoded once, after the split, so that an escaped slash parts nothing. No
    segment is ever resolved: clients do that (RFC 3986 section 5.2.4), and `..` from one that
    doesn't is a name that nothing has. The *prefix* itself is a folder without its slash.
    """
    path, mark, query = target.partition(b"?")
    if path[:1] != b"/":
        raise errors.BadRequest("the path doesn't begin with a slash")
    if b"%" in path and _BAD_ESCAPE.search(path):
        raise errors.BadRequest("the path has a % that two hexadecimal digits don't follow")
    segments = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
    if prefix:
        segments = _below(prefix, segments)
    is_folder = bool(segments) and not segments[-1]
    if is_folder:
        segments.pop()
    check_names(segments, is_hidden_served)
    return Location(tuple(segments), is_folder, mark + query, prefix)


def _below(prefix: bytes, segments: list[bytes]) -> list[bytes]:
    above = [unquote_to_bytes(segment) for segment in prefix[1:].split(b"/")]
    if segments[: len(above)] != above:
        raise errors.NotFound("nothing is served under this path")
    return segments[len(above) :]


def check_names(segments: list[bytes] | tuple[bytes, ...], is_hidden_served: bool) -> None:
    """Raise BadRequest or NotFound unless each of *segments* is the name of something served."""
    for depth, segment in enumerate(segments):
        if b"\x00" in segment:
            raise errors.BadRequest("the path has a zero byte in it")
        if not segment or b"/" in segment:
            raise errors.NotFound("the path has an empty segment or an escaped slash")
        if segment[:1] == b".":
            _check_dot_name(segment, depth, is_hidden_served)


def _check_dot_name(segment: bytes, depth: int, is_hidden_served: bool) -> None:
    is_served = is_hidden_served or (segment == _WELL_KNOWN and not depth)
    if not is_served or segment in _OURSELVES_AND_ABOVE or is_part(segment):
        raise errors.NotFound("names that begin with a dot aren't served")


def is_part(name: bytes) -> bool:
    """Is *name* that of an unfinished upload, which nobody may see?"""
    return _PART.fullmatch(name) is not None


def part_name(name: bytes, mark: str) -> bytes:
    """Return what *name* is called while it is unfinished; *mark* is 32 hexadecimal digits."""
    return b".%b.%b.part" % (name[:_LONGEST_STEM], mark.encode("ascii"))


def folder_url(location: Location) -> bytes:
    """Return the reference to *location* as a folder, fit for a Location field.

    It can't begin with `//` or `/\\`, which browsers take for another host: no segment is empty,
    and a backslash is escaped.
    """
    escaped = [quote(segment, safe="!$&'()*+,;=:@") for segment in location.segments]
    path = "".join(f"{segment}/" for segment in escaped)
    return b"%b/%b%b" % (location.prefix, path.encode("ascii"), location.query)
