"""Finding files: index pages, siblings that are younger, and content that holds still."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import confinement, loading
from proxyapp.site.confinement import OpenFile, Root, WouldWait
from proxyapp.site.loading import READ_UP_TO, Files
from proxyapp.site.paths import parse_location
from proxyapp.site.representations import IDENTITY, Resource

TEXT = b"0123456789"
LARGE = bytes(READ_UP_TO + 1)
SECOND = 10**9
MTIME = 784111777 * SECOND
WORDS = ("br", "zst", "gzip")


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def write(path: Path, content: bytes = TEXT, mtime: int = MTIME) -> None:
    """Write a file as it was left at *mtime*, in nanoseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(mtime, mtime))


def files(top: Path, *, index: tuple[str, ...] = (), words: tuple[str, ...] = WORDS) -> Files:
    """Return the files below *top*; their paths are given back as a field."""
    root = Root(top, Symlinks.INSIDE, False)
    return Files(root, index, words, lambda path: [(b"X-Path", path)])


def load(found: Files, path: bytes, known: Resource | None = None) -> Resource:
    """Return the resource at *path*; the files of it that are open are closed."""
    resource = found.load(parse_location(path), known, may_wait=True)
    assert isinstance(resource, Resource)
    resource.close()
    return resource


def contents(resource: Resource) -> dict[bytes, bytes]:
    """Return the content in memory, by coding."""
    return {
        coding: each.content
        for coding, each in resource.representations.items()
        if isinstance(each.content, bytes)
    }


# Folders and their pages.


@pytest.mark.parametrize(
    ("path", "index"),
    [
        (b"/missing", ()),
        (b"/missing/", ("page.html",)),
        (b"/page.html/", ("page.html",)),
        (b"/page.html/", ()),
        (b"/page.html/x", ()),
    ],
)
def test_nothing_there(tmp_path: Path, path: bytes, index: tuple[str, ...]) -> None:
    """What isn't there, and a file that is asked for as a folder, aren't found."""
    write(tmp_path / "page.html")
    with pytest.raises(errors.NotFound):
        files(tmp_path, index=index).load(parse_location(path), None, may_wait=True)


@pytest.mark.parametrize(
    ("path", "index"),
    [(b"/", ()), (b"/", ("missing",)), (b"/", ("sub",)), (b"/sub", ("b",)), (b"/sub/", ("a",))],
)
def test_folders_without_a_page(tmp_path: Path, path: bytes, index: tuple[str, ...]) -> None:
    """A folder that no page answers for, and one without its slash, are given open."""
    write(tmp_path / "a")
    write(tmp_path / "sub/b")
    found = files(tmp_path, index=index).load(parse_location(path), None, may_wait=True)
    assert isinstance(found, OpenFile)
    assert found.is_folder
    found.close()


@pytest.mark.parametrize(
    ("index", "content", "path"),
    [
        (("index.html", "a"), b"home", b"/index.html"),
        (("a", "index.html"), TEXT, b"/a"),
        (("missing", "sub", "a"), TEXT, b"/a"),
    ],
)
def test_the_first_page_wins(
    tmp_path: Path, index: tuple[str, ...], content: bytes, path: bytes
) -> None:
    """Index names are tried in order, folders passed over; fields go by the page's own path."""
    write(tmp_path / "a")
    write(tmp_path / "sub/b")
    write(tmp_path / "index.html", b"home")
    found = load(files(tmp_path, index=index), b"/")
    assert contents(found) == {IDENTITY: content}
    assert (b"X-Path", path) in found.representations[IDENTITY].fields


def test_a_file_that_is_opened(tmp_path: Path) -> None:
    """A file can be had open, whatever its size; a folder can't."""
    write(tmp_path / "sub/a")
    found = files(tmp_path)
    file = found.open(parse_location(b"/sub/a"))
    assert (file.name, os.pread(file.descriptor, 99, 0)) == (b"a", TEXT)
    file.close()
    for path in (b"/sub", b"/sub/", b"/sub/a/", b"/missing"):
        with pytest.raises(errors.NotFound):
            found.open(parse_location(path))


# Siblings.


@pytest.mark.parametrize(
    ("sibling", "file", "is_used"),
    [
        (MTIME - 1, MTIME, False),
        (MTIME - SECOND, MTIME, False),
        (MTIME - SECOND, MTIME + 5, False),
        (MTIME + 1, MTIME + 2, False),
        (MTIME, MTIME + SECOND, False),
        (MTIME, MTIME, True),
        (MTIME + 1, MTIME, True),
        # Cut to the second by a tool or an archive, which is no sign of age.
        (MTIME, MTIME + 5, True),
        (MTIME, MTIME + SECOND - 1, True),
    ],
)
def test_a_sibling_is_not_older(tmp_path: Path, sibling: int, file: int, is_used: bool) -> None:
    """A sibling that was made before the file changed holds something else."""
    write(tmp_path / "app.js", mtime=file)
    write(tmp_path / "app.js.br", b"brotli", sibling)
    expected = {IDENTITY: TEXT, b"br": b"brotli"} if is_used else {IDENTITY: TEXT}
    assert contents(load(files(tmp_path), b"/app.js")) == expected


@pytest.mark.parametrize(
    ("words", "codings"),
    [
        ((), ()),
        (("gzip",), (b"gzip",)),
        (("br", "zst", "gzip"), (b"br", b"zstd", b"gzip")),
        (("gzip", "br"), (b"gzip", b"br")),
    ],
)
def test_siblings_that_are_looked_for(
    tmp_path: Path, words: tuple[str, ...], codings: tuple[bytes, ...]
) -> None:
    """The configuration says which siblings there may be, and which come first."""
    for name in ("app.js", "app.js.br", "app.js.zst", "app.js.gz", "app.js.xz"):
        write(tmp_path / name)
    assert load(files(tmp_path, words=words), b"/app.js").codings == codings


def test_what_is_no_sibling(tmp_path: Path) -> None:
    """Folders, links that lead out, and siblings without their file aren't used."""
    write(tmp_path / "www/app.js")
    write(tmp_path / "secret")
    (tmp_path / "www/app.js.br").mkdir()
    (tmp_path / "www/app.js.gz").symlink_to("../secret")
    write(tmp_path / "www/alone.js.br")
    found = files(tmp_path / "www")
    assert load(found, b"/app.js").codings == ()
    with pytest.raises(errors.NotFound):
        load(found, b"/alone.js")


def test_a_sibling_by_its_own_name(tmp_path: Path) -> None:
    """Asked for by its own name, a packed file is just that: its type, and no coding."""
    write(tmp_path / "a.tar")
    write(tmp_path / "a.tar.gz", b"packed")
    found = load(files(tmp_path), b"/a.tar.gz")
    assert contents(found) == {IDENTITY: b"packed"}
    fields = dict(found.representations[IDENTITY].whole.fields)
    assert fields[b"Content-Type"] == b"application/gzip"
    assert b"Content-Encoding" not in fields


def test_the_page_of_a_folder_has_siblings(tmp_path: Path) -> None:
    """An index page is sent compressed too."""
    write(tmp_path / "sub/index.html")
    write(tmp_path / "sub/index.html.gz", b"gzipped")
    found = load(files(tmp_path, index=("index.html",)), b"/sub/")
    assert contents(found) == {IDENTITY: TEXT, b"gzip": b"gzipped"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_a_sibling_that_can_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A sibling that is forbidden is passed over; a lack of descriptors is told."""
    for name in ("app.js", "app.js.br", "app.js.gz"):
        write(tmp_path / name)
    real = confinement._openat2

    def opened(folder: int, path: bytes, resolve: int, may_wait: bool) -> int:
        if path.endswith(b".gz"):
            raise OSError(number, "no")
        return real(folder, path, resolve, may_wait)

    monkeypatch.setattr(confinement, "_openat2", opened)
    if number == errno.EACCES:
        assert load(files(tmp_path), b"/app.js").codings == (b"br",)
    else:
        with pytest.raises(errors.Overloaded):
            load(files(tmp_path), b"/app.js")


# Content.


@pytest.mark.parametrize(
    ("size", "sibling", "is_open"),
    [
        (0, None, False),
        (READ_UP_TO, None, False),
        (READ_UP_TO + 1, None, True),
        (READ_UP_TO, READ_UP_TO, False),
        (READ_UP_TO + 1, 10, True),
        (10, READ_UP_TO + 1, True),
    ],
)
def test_what_is_read(tmp_path: Path, size: int, sibling: int | None, is_open: bool) -> None:
    """Short files are read at once; if one coding is long, all of them stay open."""
    write(tmp_path / "f", bytes(size))
    if sibling is not None:
        write(tmp_path / "f.br", bytes(sibling))
    found = load(files(tmp_path), b"/f")
    assert found.is_open is is_open
    assert found.representations[IDENTITY].size == size
    if not is_open:
        assert contents(found)[IDENTITY] == bytes(size)


def test_what_is_known_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files give the same resource, without a look at their content."""
    write(tmp_path / "f")
    write(tmp_path / "f.br", b"brotli")
    found = files(tmp_path)
    known = load(found, b"/f")
    monkeypatch.delattr(os, "pread")
    assert load(found, b"/f", known) is known


def rewrite(top: Path) -> None:
    """Write something else of the same length, and set the old time."""
    write(top / "f", TEXT[::-1])


def replace(top: Path) -> None:
    """Put another file of the same length and time in its place."""
    write(top / "g", TEXT[::-1])
    (top / "g").replace(top / "f")


def append(top: Path) -> None:
    """Make it longer."""
    write(top / "f", TEXT + b"more")


def add_sibling(top: Path) -> None:
    """Put a new sibling beside it."""
    write(top / "f.gz", b"new")


def drop_sibling(top: Path) -> None:
    """Take the sibling away."""
    (top / "f.br").unlink()


@pytest.mark.parametrize("change", [rewrite, replace, append, add_sibling, drop_sibling])
def test_changes_are_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Whatever changes, what was known isn't used any more."""
    write(tmp_path / "f")
    write(tmp_path / "f.br", b"brotli")
    found = files(tmp_path)
    known = load(found, b"/f")
    change(tmp_path)
    fresh = load(found, b"/f", known)
    assert fresh is not known
    assert contents(fresh)[IDENTITY] == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize(("times", "is_found"), [(1, True), (2, True), (3, False), (99, False)])
def test_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, is_found: bool
) -> None:
    """Content that doesn't go with the status is read again, a few times."""
    write(tmp_path / "f")
    real, writes = os.pread, iter(range(times))

    def read(descriptor: int, size: int, offset: int) -> bytes:
        content = real(descriptor, size, offset)
        number = next(writes, None)
        if number is not None:
            write(tmp_path / "f", b"%010d" % number, MTIME + number + 1)
        return content

    monkeypatch.setattr(os, "pread", read)
    if is_found:
        assert contents(load(files(tmp_path), b"/f")) == {IDENTITY: b"%010d" % (times - 1)}
    else:
        with pytest.raises(errors.InternalError):
            load(files(tmp_path), b"/f")


def test_a_file_that_shrinks_is_not_passed_off_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is shorter than its status says is never answered."""
    write(tmp_path / "f")
    monkeypatch.setattr(os, "pread", lambda *_: b"012")
    with pytest.raises(errors.InternalError):
        load(files(tmp_path), b"/f")


@pytest.mark.parametrize("call", ["pread", "fstat"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An error while reading is our fault, and nothing stays open."""
    write(tmp_path / "f")

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "system text")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(errors.InternalError) as caught:
            load(files(tmp_path), b"/f")
    assert "text" not in caught.value.reason


# Without waiting.

NEEDS_CACHED = pytest.mark.skipif(
    not confinement._can_look_up_only(), reason="this kernel can't say what it has in memory"
)


def read_some(count: int | None) -> Callable[..., int]:
    """Return a preadv that has *count* bytes in memory, or can't say."""

    def preadv(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        if count is None:
            raise OSError(errno.EOPNOTSUPP, "not here")
        if not count:
            raise BlockingIOError(errno.EAGAIN, "not now")
        buffers[0][:count] = TEXT[:count]
        return count

    return preadv


@NEEDS_CACHED
@pytest.mark.parametrize("count", [None, 0, 1, 9, 10])
def test_only_what_is_in_memory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    """A page that the kernel would have to fetch is left to a thread; nothing stays open."""
    write(tmp_path / "f")
    found = files(tmp_path)
    load(found, b"/f")  # the kernel knows the names from now on
    monkeypatch.setattr(os, "preadv", read_some(count))
    monkeypatch.delattr(os, "pread")
    if count == len(TEXT):
        resource = found.load(parse_location(b"/f"), None, may_wait=False)
        assert isinstance(resource, Resource)
        assert contents(resource) == {IDENTITY: TEXT}
    else:
        with pytest.raises(WouldWait):
            found.load(parse_location(b"/f"), None, may_wait=False)


@NEEDS_CACHED
def test_without_a_way_to_ask_a_thread_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the C library can't ask for what is in memory, reading means waiting."""
    write(tmp_path / "f")
    found = files(tmp_path)
    load(found, b"/f")
    monkeypatch.setattr(loading, "_NO_WAIT", 0)
    with pytest.raises(WouldWait):
        found.load(parse_location(b"/f"), None, may_wait=False)


@NEEDS_CACHED
def test_a_changing_file_is_left_to_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where content and status don't go together, a thread tries again."""
    write(tmp_path / "f")
    found = files(tmp_path)
    load(found, b"/f")

    def changed(file: OpenFile, may_wait: bool) -> bytes:
        raise loading._Changed

    monkeypatch.setattr(loading, "_read", changed)
    with pytest.raises(WouldWait):
        found.load(parse_location(b"/f"), None, may_wait=False)


@NEEDS_CACHED
def test_empty_and_long_files_need_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read of a file without content, nor of one that sendfile(2) will send."""
    write(tmp_path / "empty", b"")
    write(tmp_path / "large", LARGE)
    found = files(tmp_path)
    for path in (b"/empty", b"/large"):
        load(found, path)
    monkeypatch.delattr(os, "preadv")
    for path in (b"/empty", b"/large"):
        resource = found.load(parse_location(path), None, may_wait=False)
        assert isinstance(resource, Resource)
        resource.close()
