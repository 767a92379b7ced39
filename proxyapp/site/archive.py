"""Folders as zip and tar, made while they are sent: nothing of them is ever held whole."""

from __future__ import annotations

import re
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from proxyapp.site.mediatypes import content_type
from proxyapp.site.members import Member, Members
from proxyapp.site.pacing import CHUNK

# A zip ends with a directory of all its members, which has to be kept until then: 400 bytes each.
MOST_ZIPPED = 200_000
# What fits into the two bytes that a zip has for a date.
_FIRST_DATE, _LAST_DATE = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
_UNSAFE_IN_FILE_NAME = re.compile(rb"[^ !#$&\'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")


class Format(NamedTuple):
    """A kind of archive: *chunks* makes its bytes of the members, in a thread."""

    suffix: str
    media_type: bytes
    chunks: Callable[[Members], Iterator[bytes]]


def disposition(name: bytes, made: Format) -> bytes:
    """Return the Content-Disposition of the archive of a folder called *name* (RFC 6266)."""
    file_name = name + made.suffix.encode("ascii")
    plain = _UNSAFE_IN_FILE_NAME.sub(b"_", file_name)
    value = b'attachment; filename="%b"' % plain
    if plain == file_name:
        return value
    # RFC 8187: for everybody who can read more than ASCII.
    exact = quote(file_name.decode("utf-8", "replace"), safe="")
    return b"%b; filename*=UTF-8''%b" % (value, exact.encode("ascii"))


def _sliced(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


# Tar, in the GNU format: any size, names of any length and in any bytes, and known to the small
# tars of firmware, which skip what pax adds.


def _tar(members: Members) -> Iterator[bytes]:
    size = 0
    for chunk in _tar_members(members):
        size += len(chunk)
        yield chunk
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


def _tar_members(members: Members) -> Iterator[bytes]:
    for member in members.walk(None):
        yield _tar_header(member.path, member)
        if not member.is_folder:
            yield from member.chunks()
            yield bytes(-member.status.st_size % tarfile.BLOCKSIZE)
    note = members.note()
    if note is not None:
        name, text = note
        header = tarfile.TarInfo(name.decode("ascii"))
        header.size = len(text)
        header.mtime = members.modified
        yield from _sliced(_tar_bytes(header) + text + bytes(-len(text) % tarfile.BLOCKSIZE))


def _tar_header(path: bytes, member: Member) -> bytes:
    header = tarfile.TarInfo(path.decode("utf-8", "surrogateescape"))
    header.mtime = member.modified
    header.mode = member.mode
    if member.is_folder:
        header.type = tarfile.DIRTYPE
    else:
        header.size = member.status.st_size
    return _tar_bytes(header)


def _tar_bytes(header: tarfile.TarInfo) -> bytes:
    return header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


# Zip.

# Public from Python 3.13 on.
_LEVEL = "compress_level" if hasattr(zipfile.ZipInfo, "compress_level") else "_compresslevel"


class _Outlet:
    """The file that zipfile writes to: what was written is taken out again at once."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to do: what is written is there."""

    def close(self) -> None:
        """Nobody closes it."""

    def take(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


def _zip(members: Members) -> Iterator[bytes]:
    outlet = _Outlet()
    archive = zipfile.ZipFile(outlet, "w")
    try:
        for member in members.walk(MOST_ZIPPED):
            yield from _zip_member(archive, outlet, member)
        note = members.note()
        if note is not None:
            name, text = note
            archive.writestr(
                zipfile.ZipInfo(name.decode("ascii"), _zip_date(members.modified)), text
            )
        archive.close()
    finally:
        archive.fp = None  # the archive that nobody wants any more needs no directory either
    yield from _sliced(outlet.take())


def _zip_member(archive: zipfile.ZipFile, outlet: _Outlet, member: Member) -> Iterator[bytes]:
    entry = _zip_entry(member)
    if member.is_folder:
        archive.mkdir(entry)
        yield outlet.take()
        return
    with archive.open(entry, "w") as content:
        for chunk in member.chunks():
            content.write(chunk)
            yield from _sliced(outlet.take())
    yield from _sliced(outlet.take())


def _zip_entry(member: Member) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(
        zip_name(member.path) + "/" * member.is_folder, _zip_date(member.modified)
    )
    entry.external_attr = (stat.S_IFMT(member.status.st_mode) | member.mode) << 16
    if member.is_folder:
        entry.external_attr |= 0x10  # the same for those who know MS-DOS only
        entry.CRC = 0
        return entry
    entry.file_size = member.status.st_size
    # Deflated throughout: what is stored can't be told from what follows where no size is known in
    # advance. But only text is worth the work; level 0 costs no more than a copy.
    entry.compress_type = zipfile.ZIP_DEFLATED
    is_text = content_type(member.path).startswith(b"text/")
    setattr(entry, _LEVEL, 1 if is_text else 0)
    return entry


def zip_name(path: bytes) -> str:
    """Return *path* as a name for a zip, which has to be UTF-8 and mustn't mean folders elsewhere.

    What can't stand there is percent-encoded.
    """
    text = path.decode("utf-8", "surrogateescape").replace("\\", "%5C")
    if text.isprintable():
        return text
    return "".join(
        f"%{ord(each) - 0xDC00:02X}" if 0xDC80 <= ord(each) <= 0xDCFF else each for each in text
    )


def _zip_date(modified: int) -> tuple[int, int, int, int, int, int]:
    try:
        date = time.localtime(modified)[:6]
    except (OverflowError, OSError):
        return _FIRST_DATE
    return min(max(date, _FIRST_DATE), _LAST_DATE)


ZIP = Format(".zip", b"application/zip", _zip)
TAR = Format(".tar", b"application/x-tar", _tar)
