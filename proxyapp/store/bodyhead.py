"""What stands before the content in a body's file: all that an index needs to be made anew.

The file begins with FIXED bytes of this, then come key and head, then the content::

    magic, version          8 bytes
    offset of the content   u32
    check sum               u32, CRC-32 of key and head
    lengths of key, head    u32, u32
    content's size          u64, UNFINISHED while it grows      from here to the extents it's the
    its check sum           u32, CRC-32; 0 where there's none   progress, written once more when
    is it invalid? pinned?  u8, u8                              the body is finished
    number of extents       u8
    is it whole?            u8
    extents                 MOST_EXTENTS pairs of u64

All numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass, replace

from proxyapp.rules.caching.stored import Stored
from proxyapp.store.entry import MOST_EXTENTS, Extents
from proxyapp.wire.headers import of_lines

_MAGIC = b"pxbody\x00\x01"
_START = struct.Struct("<8sIIII")
_PROGRESS = struct.Struct("<QIBBBB")
_EXTENT = struct.Struct("<QQ")
PROGRESS_AT = _START.size
INVALID_AT = PROGRESS_AT + 12
PINNED_AT = INVALID_AT + 1
FIXED = _START.size + _PROGRESS.size + MOST_EXTENTS * _EXTENT.size
UNFINISHED = (1 << 64) - 1
# A head of ours has at most some 100 KiB; a number beyond this is damage.
_LONGEST = 1 << 24


class Damaged(Exception):
    """This isn't what we wrote."""


@dataclass(frozen=True, slots=True)
class BodyHead:
    """What a file says of itself; *size* is None while it grows."""

    key: bytes
    stored: Stored
    offset: int
    size: int | None
    extents: Extents
    checksum: int
    is_pinned: bool


def encode(stored: Stored) -> bytes:
    """Return *stored* as bytes, `is_invalid` apart."""
    varying = [[_text(name), None if v is None else _text(v)] for name, v in stored.varying]
    times = (stored.asked_at, stored.arrived_at, stored.ttl)
    numbers = json.dumps([stored.status, *times, stored.total, varying], separators=(",", ":"))
    return b"\n".join((numbers.encode("ascii"), stored.reason, *stored.fields.lines))


def encode_varying(stored: Stored) -> bytes:
    """Return what tells *stored* from the other variants of its key; short, mostly empty."""
    return b"\n".join(
        name if value is None else b"%b:%b" % (name, value) for name, value in stored.varying
    )


def decode(encoded: bytes, is_invalid: bool = False) -> Stored:
    """Return the stored response that `encode` made *encoded* of; raises Damaged."""
    try:
        numbers, reason, *lines = encoded.split(b"\n")
        status, asked_at, arrived_at, ttl, total, varying = json.loads(numbers)
        variants = tuple((_octets(n), None if v is None else _octets(v)) for n, v in varying)
        fields = of_lines(lines)
    except (ValueError, TypeError, AttributeError) as error:
        raise Damaged("a head can't be read") from error
    return Stored(status, reason, fields, asked_at, arrived_at, variants, ttl, is_invalid, total)


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _octets(text: str) -> bytes:
    return text.encode("latin-1")


def pack_extents(extents: Extents) -> bytes:
    """Return *extents* as bytes."""
    return b"".join(_EXTENT.pack(*extent) for extent in extents)


def unpack_extents(packed: bytes) -> Extents:
    """Return the extents that `pack_extents` made *packed* of; raises Damaged."""
    if len(packed) % _EXTENT.size:
        raise Damaged("extents can't be read")
    return tuple((start, end) for start, end in _EXTENT.iter_unpack(packed))


def progress(
    size: int,
    extents: Extents,
    checksum: int = 0,
    is_pinned: bool = False,
    is_whole: bool = False,
) -> bytes:
    """Return what is written at PROGRESS_AT when *size* bytes, in *extents*, are there.

    That it *is_whole* is the only word of its total size where that wasn't known in the beginning.
    """
    numbers = _PROGRESS.pack(size, checksum, False, is_pinned, len(extents), is_whole)
    return (numbers + pack_extents(extents)).ljust(FIXED - PROGRESS_AT, b"\x00")


def pack(key: bytes, encoded: bytes, grown: bytes) -> bytes:
    """Return all that stands before the content; *grown* is the progress."""
    described = key + encoded
    checksum = zlib.crc32(described)
    start = _START.pack(_MAGIC, FIXED + len(described), checksum, len(key), len(encoded))
    return start + grown + described


def read(descriptor: int) -> BodyHead:
    """Read what is at the beginning of a file; raises Damaged and OSError."""
    fixed = os.pread(descriptor, FIXED, 0)
    if len(fixed) != FIXED:
        raise Damaged("a body is too short")
    magic, offset, checksum, key_length, length = _START.unpack_from(fixed)
    described = offset - FIXED
    if magic != _MAGIC or key_length + length != described or described > _LONGEST:
        raise Damaged("a file is no body")
    text = os.pread(descriptor, described, FIXED)
    if len(text) != described or zlib.crc32(text) != checksum:
        raise Damaged("a body's head is damaged")
    size, content_checksum, invalid, pinned, count, whole = _PROGRESS.unpack_from(
        fixed, PROGRESS_AT
    )
    if count > MOST_EXTENTS:
        raise Damaged("a body's extents are damaged")
    first = PROGRESS_AT + _PROGRESS.size
    extents = unpack_extents(fixed[first : first + count * _EXTENT.size])
    stored = decode(text[key_length:], bool(invalid))
    known = None if size == UNFINISHED else size
    if whole:
        stored = with_total(stored, known)
    return BodyHead(
        text[:key_length], stored, offset, known, extents, content_checksum, bool(pinned)
    )


def offset_of(descriptor: int, extents: Extents) -> int:
    """Return where the content begins, and see that all *extents* of it can be there.

    Raises Damaged and OSError.
    """
    start = os.pread(descriptor, _START.size, 0)
    if len(start) != _START.size:
        raise Damaged("a body is too short")
    magic, offset, *_ = _START.unpack(start)
    end = extents[-1][1] if extents else 0
    if magic != _MAGIC or os.fstat(descriptor).st_size < offset + end:
        raise Damaged("a body is too short")
    return int(offset)


def with_total(stored: Stored, total: int | None) -> Stored:
    """Return *stored* with *total*, where it doesn't say one."""
    return stored if stored.total is not None or total is None else replace(stored, total=total)
