"""The static site, with real files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from proxyapp import errors, stream
from proxyapp.exchange import Client, Reply, Request
from proxyapp.net.task import Task
from proxyapp.rules.conditions import http_date
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import confinement
from proxyapp.site.confinement import OpenFile, Root
from proxyapp.site.files import Extras, Found, StaticSite
from proxyapp.site.loading import READ_UP_TO
from proxyapp.site.memory import LOOK_EVERY, Memory
from proxyapp.site.paths import Location
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import parse_target

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

TEXT = b"0123456789"
SECRET = b"SECRET"
LARGE = os.urandom(READ_UP_TO) + b"the last bytes"
MTIME = 784111777
# Long after every file here was made, so that all of them are remembered.
LATER = 4_000_000_000.0


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the site `www`, and things outside of it."""
    top = tmp_path_factory.mktemp("site")
    for folder in ("www/sub/deep", "www/empty", "www/.git", "www/.well-known/.git", "www-more"):
        (top / folder).mkdir(parents=True)
    (top / "www/odd/index.html").mkdir(parents=True)
    served = {
        "a.txt": TEXT,
        "index.html": b"<p>home",
        "sub/index.htm": b"<p>sub",
        "sub/deep/page.html": b"<p>deep",
        ".well-known/acme": b"acme",
        "large.bin": LARGE,
        "large.bin.br": b"brotli",
        "exact.bin": LARGE[:READ_UP_TO],
        "none.txt": b"",
        "app.js": b"plain script",
        "app.js.gz": b"gzipped",
        "app.js.br": b"brotli",
        "gr\u00fc\u00dfe an alle.txt": b"gr\xc3\xbc\xc3\x9fe",
        "a+b;c=d,e&f.txt": b"marks",
        "100%.txt": b"per cent",
        "%2e%2e": b"literal",
        "back\\slash.txt": b"backslash",
        "what?.txt": b"question",
    }
    for name, content in served.items():
        (top / "www" / name).write_bytes(content)
    for hidden in ("secret.txt", "www-more/secret.txt", "www/.git/config", "www/.hidden"):
        (top / hidden).write_bytes(SECRET)
    (top / "www/.well-known/.git/config").write_bytes(SECRET)
    link_up(top)
    for name in served:
        os.utime(top / "www" / name, (MTIME, MTIME))
    return top


def link_up(top: Path) -> None:
    """Add the symlinks and the FIFO to the tree."""
    links = {
        "inside": "sub/index.htm",
        "inside-folder": "sub",
        "by-way-of-outside": "../www/a.txt",
        "outside": "../secret.txt",
        "outside-folder": "../www-more",
        "absolute": "/etc/passwd",
        "itself": "itself",
        "nowhere": "missing",
        "process": "/proc/self/status",
    }
    for name, destination in links.items():
        (top / "www" / name).symlink_to(destination)
    os.mkfifo(top / "www/fifo")
    (top / "www/device").symlink_to("/dev/zero")


@dataclass(frozen=True)
class Options:
    """See files.Options."""

    index: tuple[str, ...] = ()
    precompressed: tuple[str, ...] = ("br", "zst", "gzip")
    hidden: bool = False


def fields_for(path: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of the test's configuration."""
    return [(b"Cache-Control", b"max-age=60")] if path.endswith((b".js", b".html")) else []


def make_site(
    folder: Path,
    *index: str,
    extras: Extras = Extras(),  # noqa: B008 - immutable
    prefix: bytes = b"",
    memory: Memory | None = None,
    in_thread: Callable[[Callable[[], Found]], Deferred[Found]] = maybeDeferred,
) -> StaticSite:
    """Return the site over *folder*, where work in threads is done at once."""
    root = Root(folder, Symlinks.INSIDE, False)
    memory = memory or Memory(lambda: LATER)
    return StaticSite(Options(index), root, fields_for, memory, in_thread, extras, prefix)


@pytest.fixture(scope="module")
def site(tree: Path) -> StaticSite:
    """Return the site over `www`; it remembers what it answered for test after test."""
    return make_site(tree / "www", "index.html", "index.htm")


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


# Confinement.


@pytest.mark.parametrize(
    "target",
    [
        b"/missing",
        b"/a.txt/",
        b"/a.txt/b",
        b"/empty/",
        b"/sub/missing",
        b"/odd/",
        # Symlinks that lead out, round, or to nothing.
        b"/outside",
        b"/outside-folder",
        b"/outside-folder/secret.txt",
        b"/absolute",
        b"/itself",
        b"/itself/",
        b"/nowhere",
        b"/process",
        # Neither file nor folder.
        b"/fifo",
        b"/device",
        b"/" + b"x" * 300,
        b"/" + b"x/" * 3000,
        b"/.hidden",
        b"/../secret.txt",
        b"/%2e%2e%2fsecret",
    ],
)
def test_what_is_not_served_is_not_found(
    site: StaticSite, visit: Visit, calls: list[str], target: bytes
) -> None:
    """Outside, odd and missing things are all the same 404, at once, and nothing stays open."""
    before = open_descriptors()
    with pytest.raises(errors.NotFound):
        visit(site, target)
    assert not calls
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("target", "content"),
    [
        (b"/a.txt", TEXT),
        (b"/a.txt?v=../2", TEXT),
        (b"/%61%2etxt", TEXT),
        (b"/", b"<p>home"),
        (b"/?x", b"<p>home"),
        (b"/sub/", b"<p>sub"),
        (b"/sub/deep/page.html", b"<p>deep"),
        (b"/.well-known/acme", b"acme"),
        (b"/none.txt", b""),
        (b"/gr%C3%BC%C3%9Fe%20an%20alle.txt", b"gr\xc3\xbc\xc3\x9fe"),
        (b"/a+b;c=d,e&f.txt", b"marks"),
        (b"/100%25.txt", b"per cent"),
        (b"/%252e%252e", b"literal"),
        (b"/back\\slash.txt", b"backslash"),
        (b"/what%3f.txt", b"question"),
        (b"/inside", b"<p>sub"),
        (b"/inside-folder/deep/page.html", b"<p>deep"),
        (b"/inside-folder/", b"<p>sub"),
        (b"/by-way-of-outside", TEXT),
        (b"http://gateway:8080/a.txt", TEXT),
        (b"http://gateway:8080", b"<p>home"),
    ],
)
def test_files_are_served(site: StaticSite, visit: Visit, target: bytes, content: bytes) -> None:
    """Names with blanks, marks and UTF-8, index pages and symlinks that stay inside are served.

    The second time it is from memory.
    """
    before = open_descriptors()
    answers = [visit(site, target) for _ in range(2)]
    assert answers[0] == answers[1]
    head, body = answers[0]
    assert (head.status, head.reason, body) == (200, b"OK", content)
    assert open_descriptors() == before


PIECES = ["..", "%2e%2e", ".", "", "%2f", "..%2f", "%00", "\\", "%5c..", "~", "a.txt", "sub"]
PIECES += ["secret.txt", "www", "www-more", "outside", "outside-folder", "inside-folder", ".git"]
PIECES += ["config", "etc", "passwd", "proc", "self", "root", "fifo", ".hidden", "%252e%252e"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=6), st.sampled_from(["/", "//", "/./", "/../"]))
def test_no_path_leads_out(site: StaticSite, visit: Visit, pieces: list[str], start: str) -> None:
    """However a path is put together, it gives a file of the site, a redirect, or an error."""
    try:
        head, body = visit(site, (start + "/".join(pieces)).encode())
    except (errors.NotFound, errors.BadRequest):
        return
    assert SECRET not in body
    assert head.status in (200, 301)


def test_a_switched_root_is_followed(tmp_path: Path, visit: Visit) -> None:
    """A root that is a symlink is looked up again within a second, as deployments switch it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    link = tmp_path / "current"
    link.symlink_to("one")
    now = [LATER]
    site = make_site(link, memory=Memory(lambda: now[0]))
    assert visit(site, b"/f")[1] == b"one"
    link.unlink()
    link.symlink_to("two")
    now[0] += LOOK_EVERY
    assert visit(site, b"/f")[1] == b"two"


# Methods and folders.


@pytest.mark.parametrize(
    "method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"TRACE", b"get", b"PROPFIND"]
)
def test_files_can_only_be_read(site: StaticSite, visit: Visit, method: bytes) -> None:
    """Other methods are 405 and are told which ones there are."""
    with pytest.raises(errors.MethodNotAllowed) as caught:
        visit(site, b"/a.txt", method=method)
    assert caught.value.fields == ((b"Allow", b"GET, HEAD, OPTIONS"),)


@pytest.mark.parametrize("target", [b"*", b"/a.txt", b"/missing"])
def test_options_names_the_methods(site: StaticSite, visit: Visit, target: bytes) -> None:
    """OPTIONS is answered alike for every path and for the whole site."""
    head, body = visit(site, target, method=b"OPTIONS")
    assert (head.status, head.fields, body) == (204, [(b"Allow", b"GET, HEAD, OPTIONS")], b"")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/sub", b"/sub/"),
        (b"/sub?x=1&y=/", b"/sub/?x=1&y=/"),
        (b"/%73ub/deep", b"/sub/deep/"),
        (b"/inside-folder", b"/inside-folder/"),
        (b"/empty", b"/empty/"),
    ],
)
def test_a_folder_gets_its_slash(
    site: StaticSite, visit: Visit, target: bytes, location: bytes
) -> None:
    """A folder without its slash is a permanent redirect that keeps the query."""
    before = open_descriptors()
    head, _ = visit(site, target)
    assert (head.status, dict(head.fields)[b"Location"]) == (301, location)
    assert open_descriptors() == before


def test_a_mounted_site(tree: Path, visit: Visit) -> None:
    """Under a prefix the site has the same files, and its redirects lead below the prefix."""
    site = make_site(tree / "www", "index.html", prefix=b"/pub")
    assert visit(site, b"/pub/a.txt")[1] == TEXT
    assert visit(site, b"/pub/")[1] == b"<p>home"
    assert dict(visit(site, b"/pub")[0].fields)[b"Location"] == b"/pub/"
    assert dict(visit(site, b"/pub/sub?x")[0].fields)[b"Location"] == b"/pub/sub/?x"
    with pytest.raises(errors.NotFound):
        visit(site, b"/a.txt")
    assert repr(site).startswith("<StaticSite /pub/ of <Root ")


# What is added to it.


class Stub:
    """Stands for listings, digests and uploads: answers with what it was given."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def respond(self, request: Request, reply: Reply, *given: object) -> None:
        """Note what it is about; fields of the configuration are of no interest."""
        for each in given:
            if isinstance(each, OpenFile):
                os.fstat(each.descriptor)  # it is open
                self.asked.append(each.name)
            elif isinstance(each, Location):
                self.asked.append(each)
        reply.answer(OutgoingResponse(299, b"Stub", []), b"")


def test_folders_are_left_to_the_listings(tree: Path, visit: Visit) -> None:
    """A folder without an index page is given open to the listings, and closed behind them."""
    stub = Stub()
    site = make_site(tree / "www", "index.html", extras=Extras(listings=stub))
    before = open_descriptors()
    for _ in range(2):
        assert visit(site, b"/sub/?json")[0].status == 299
    assert visit(site, b"/sub/", method=b"HEAD")[0].status == 299
    assert stub.asked[:2] == [b"sub", Location((b"sub",), True, b"?json")]
    assert len(stub.asked) == 6
    assert visit(site, b"/?json")[1] == b"<p>home"
    assert visit(site, b"/sub")[0].status == 301
    assert open_descriptors() == before


@pytest.mark.parametrize("target", [b"/a.txt?hash", b"/large.bin?hash", b"/.well-known/acme?hash"])
def test_digests(tree: Path, visit: Visit, target: bytes) -> None:
    """A file's digest is asked for by a query, also when the file is in memory."""
    stub = Stub()
    site = make_site(tree / "www", extras=Extras(digests=stub))
    before = open_descriptors()
    visit(site, target.removesuffix(b"?hash"))
    assert visit(site, target)[0].status == 299
    assert stub.asked == [target.rpartition(b"/")[2].removesuffix(b"?hash")]
    assert open_descriptors() == before


@pytest.mark.parametrize("target", [b"/sub?hash", b"/missing?hash", b"/outside?hash"])
def test_what_has_no_digest(tree: Path, visit: Visit, target: bytes) -> None:
    """Folders and what isn't served have no digest."""
    with pytest.raises(errors.NotFound):
        visit(make_site(tree / "www", extras=Extras(digests=Stub())), target)


def test_without_digests_the_query_means_nothing(site: StaticSite, visit: Visit) -> None:
    """Where there are no digests, it is a query like any other."""
    assert visit(site, b"/a.txt?hash")[1] == TEXT


@pytest.mark.parametrize("method", [b"PUT", b"PATCH"])
def test_uploads(tmp_path: Path, visit: Visit, method: bytes) -> None:
    """What changes files is left to the uploads, and seen at once by whoever reads afterwards."""
    path = tmp_path / "f"

    class Uploads(Stub):
        async def respond(self, request: Request, reply: Reply, *given: object) -> None:
            path.write_bytes(b"new")
            await super().respond(request, reply, *given)

    path.write_bytes(b"old")
    uploads = Uploads()
    site = make_site(tmp_path, extras=Extras(uploads=uploads))
    assert visit(site, b"/f")[1] == b"old"
    assert visit(site, b"/f?x", method=method)[0].status == 299
    assert uploads.asked == [Location((b"f",), False, b"?x")]
    assert visit(site, b"/f")[1] == b"new"


def test_methods_where_uploads_are_taken(tree: Path, visit: Visit) -> None:
    """OPTIONS and 405 name PUT and PATCH where they work; bad paths don't get to them."""
    uploads = Stub()
    site = make_site(tree / "www", extras=Extras(uploads=uploads))
    allow = (b"Allow", b"GET, HEAD, OPTIONS, PATCH, PUT")
    assert visit(site, b"/f", method=b"OPTIONS")[0].fields == [allow]
    with pytest.raises(errors.MethodNotAllowed) as caught:
        visit(site, b"/f", method=b"DELETE")
    assert caught.value.fields == (allow,)
    with pytest.raises(errors.NotFound):
        visit(site, b"/../f", method=b"PUT")
    assert not uploads.asked


# Representations.


def test_a_file_has_validators_and_a_type(site: StaticSite, visit: Visit) -> None:
    """The fields of a file: its type, a strong tag, its time, and that parts can be had."""
    head, _ = visit(site, b"/a.txt")
    assert head.fields == [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"ETag", b'"%x-a"' % (MTIME * 10**9)),
        (b"Last-Modified", http_date(MTIME)),
        (b"Accept-Ranges", b"bytes"),
    ]


@pytest.mark.parametrize(
    ("size", "call"),
    [
        (READ_UP_TO, "answer"),
        (READ_UP_TO + 1, "answer_pieces"),
        (len(LARGE), "answer_pieces"),
    ],
)
def test_large_files_are_left_to_the_kernel(
    tmp_path: Path, visit: Visit, calls: list[str], size: int, call: str
) -> None:
    """Up to 64 KiB are read and sent in one go; more is handed over as an open file."""
    (tmp_path / "f").write_bytes(LARGE[:size])
    before = open_descriptors()
    assert visit(make_site(tmp_path), b"/f")[1] == LARGE[:size]
    assert calls == [call]
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("target", "accept", "coding", "content"),
    [
        (b"/app.js", None, None, b"plain script"),
        (b"/app.js", b"identity", None, b"plain script"),
        (b"/app.js", b"zstd", None, b"plain script"),
        (b"/app.js", b"gzip, br;q=0", b"gzip", b"gzipped"),
        (b"/app.js", b"gzip, deflate, br, zstd", b"br", b"brotli"),
        (b"/large.bin", b"gzip", None, LARGE),
        (b"/large.bin", b"br", b"br", b"brotli"),
    ],
)
def test_codings(
    site: StaticSite,
    visit: Visit,
    target: bytes,
    accept: bytes | None,
    coding: bytes | None,
    content: bytes,
) -> None:
    """The client is sent the sibling that it likes most, as NAME's type, with its own tag."""
    before = open_descriptors()
    lines = [] if accept is None else [(b"Accept-Encoding", accept)]
    for _ in range(2):
        head, body = visit(site, target, *lines)
        fields = dict(head.fields)
        assert body == content
        assert fields.get(b"Content-Encoding") == coding
        assert fields[b"Vary"] == b"Accept-Encoding"
        assert fields[b"ETag"].endswith(b'-%b"' % coding if coding else b'%x"' % len(content))
        types = {b"/app.js": b"text/javascript; charset=utf-8"}
        assert fields[b"Content-Type"] == types.get(target, b"application/octet-stream")
    assert open_descriptors() == before


def test_a_coding_has_its_own_conditions_and_ranges(site: StaticSite, visit: Visit) -> None:
    """Ranges are those of the coded bytes, and a tag of one coding says nothing of another."""
    accept = (b"Accept-Encoding", b"br")
    plain = dict(visit(site, b"/app.js")[0].fields)[b"ETag"]
    coded = dict(visit(site, b"/app.js", accept)[0].fields)[b"ETag"]
    assert plain != coded
    head, body = visit(site, b"/app.js", accept, (b"Range", b"bytes=-3"))
    assert (head.status, body) == (206, b"tli")
    assert dict(head.fields)[b"Content-Range"] == b"bytes 3-5/6"
    assert dict(head.fields)[b"Content-Encoding"] == b"br"
    assert visit(site, b"/app.js", accept, (b"If-None-Match", plain))[0].status == 200
    head, _ = visit(site, b"/app.js", accept, (b"If-None-Match", coded))
    assert head.status == 304
    assert (b"Vary", b"Accept-Encoding") in head.fields
    asked = (b"Range", b"bytes=0-1"), (b"If-Range", plain)
    assert visit(site, b"/app.js", accept, *asked)[0].status == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 200),
        ([(b"Range", b"bytes=0-1")], 206),
        ([(b"Range", b"bytes=0-0,200-200")], 206),
        ([(b"If-Modified-Since", http_date(MTIME))], 304),
    ],
)
def test_configured_fields(
    site: StaticSite, visit: Visit, lines: list[tuple[bytes, bytes]], status: int
) -> None:
    """What the configuration adds is there whether all, a part, or nothing is sent."""
    head, _ = visit(site, b"/app.js", *lines)
    assert head.status == status
    assert (b"Cache-Control", b"max-age=60") in head.fields
    assert (b"Cache-Control", b"max-age=60") in visit(site, b"/")[0].fields
    assert b"Cache-Control" not in dict(visit(site, b"/a.txt")[0].fields)


@pytest.mark.parametrize(
    ("name", "asked", "status", "content_range", "part"),
    [
        (b"/a.txt", b"bytes=2-4", 206, b"bytes 2-4/10", TEXT[2:5]),
        (b"/a.txt", b"bytes=-30", 206, b"bytes 0-9/10", TEXT),
        (b"/a.txt", b"bytes=1-2,3-5", 206, b"bytes 1-5/10", TEXT[1:6]),
        (b"/a.txt", b"bytes=4-1", 200, None, TEXT),
        (b"/none.txt", b"bytes=0-", 200, None, b""),
        (b"/large.bin", b"bytes=-14", 206, b"bytes 65536-65549/65550", b"the last bytes"),
        (b"/large.bin", b"bytes=7-", 206, b"bytes 7-65549/65550", LARGE[7:]),
    ],
)
def test_parts_of_files(
    site: StaticSite,
    visit: Visit,
    name: bytes,
    asked: bytes,
    status: int,
    content_range: bytes | None,
    part: bytes,
) -> None:
    """One range gives 206 and says which part it is; what isn't a range gives the whole."""
    head, body = visit(site, name, (b"Range", asked))
    assert (head.status, dict(head.fields).get(b"Content-Range"), body) == (
        status,
        content_range,
        part,
    )


@pytest.mark.parametrize(
    ("name", "content"), [(b"/large.bin", LARGE), (b"/exact.bin", LARGE[:READ_UP_TO])]
)
def test_several_parts(
    site: StaticSite, visit: Visit, calls: list[str], name: bytes, content: bytes
) -> None:
    """Several ranges come as parts of one body, in order, from memory and from the file alike."""
    head, body = visit(site, name, (b"Range", b"bytes=9000-9009,-5,0-99"))
    fields = dict(head.fields)
    assert head.status == 206
    assert b"Content-Range" not in fields
    media_type, _, boundary = fields[b"Content-Type"].partition(b"; boundary=")
    assert media_type == b"multipart/byteranges"
    start, *parts, end = body.split(b"--" + boundary)
    assert (start, end) == (b"", b"--\r\n")
    found = []
    for part in parts:
        lines, _, data = part.partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: application/octet-stream\r\n" in lines
        asked = re.search(rb"Content-Range: bytes ([0-9]+)-([0-9]+)/([0-9]+)", lines)
        assert asked is not None
        first, last, total = map(int, asked.groups())
        assert total == len(content)
        assert data.removesuffix(b"\r\n") == content[first : last + 1]
        found.append((first, last - first + 1))
    assert found == [(9000, 10), (len(content) - 5, 5), (0, 100)]
    assert calls == ["answer_pieces" if name == b"/large.bin" else "answer"]


def test_boundaries_can_not_be_foreseen(site: StaticSite, visit: Visit) -> None:
    """Each answer has a boundary of its own, so that no file can hold it."""
    asked = (b"Range", b"bytes=0-9,9000-9009")
    types = {dict(visit(site, b"/large.bin", asked)[0].fields)[b"Content-Type"] for _ in range(9)}
    assert len(types) == 9


def test_a_range_past_the_end_is_told_the_size(site: StaticSite, visit: Visit) -> None:
    """416 names the size of the file, and leaves nothing open."""
    before = open_descriptors()
    for name, size in ((b"/a.txt", 10), (b"/large.bin", len(LARGE))):
        with pytest.raises(errors.RangeNotSatisfiable) as caught:
            visit(site, name, (b"Range", b"bytes=%d-" % size))
        assert caught.value.fields == ((b"Content-Range", b"bytes */%d" % size),)
    assert open_descriptors() == before


@pytest.mark.parametrize("name", [b"/a.txt", b"/exact.bin"])
def test_a_known_file_is_not_sent_again(site: StaticSite, visit: Visit, name: bytes) -> None:
    """304 for a known tag or time, with the validators and no body."""
    etag = dict(visit(site, name)[0].fields)[b"ETag"]
    for condition in ((b"If-None-Match", etag), (b"If-Modified-Since", http_date(MTIME))):
        for method in (b"GET", b"HEAD"):
            head, body = visit(site, name, condition, method=method)
            assert (head.status, body) == (304, b"")
            assert head.fields == [(b"ETag", etag), (b"Last-Modified", http_date(MTIME))]


@pytest.mark.parametrize("name", [b"/a.txt", b"/large.bin"])
def test_another_file_than_expected_is_not_sent(
    site: StaticSite, visit: Visit, calls: list[str], name: bytes
) -> None:
    """412 where If-Match names another state, before any range is looked at."""
    before = open_descriptors()
    with pytest.raises(errors.PreconditionFailed):
        visit(site, name, (b"If-Match", b'"x"'), (b"Range", b"bytes=999999-"))
    assert not calls
    assert open_descriptors() == before


def test_half_a_download_goes_on_only_with_the_same_file(tmp_path: Path, visit: Visit) -> None:
    """If-Range with the old tag gets the whole new file."""
    path, now = tmp_path / "f", [LATER]
    site = make_site(tmp_path, memory=Memory(lambda: now[0]))
    path.write_bytes(b"old bytes")
    etag = dict(visit(site, b"/f")[0].fields)[b"ETag"]
    lines = ((b"Range", b"bytes=4-"), (b"If-Range", etag))
    assert visit(site, b"/f", *lines)[1] == b"bytes"
    path.write_bytes(b"new bytes")
    os.utime(path, ns=(1, 1))
    now[0] += LOOK_EVERY
    head, body = visit(site, b"/f", *lines)
    assert (head.status, body) == (200, b"new bytes")


@pytest.mark.parametrize("name", [b"/a.txt", b"/large.bin", b"/none.txt", b"/app.js"])
def test_head_has_the_fields_of_get(site: StaticSite, visit: Visit, name: bytes) -> None:
    """HEAD is answered as GET is, but knows no ranges; the reply drops the body."""
    whole = visit(site, name)
    asked = (b"Range", b"bytes=2-4")
    assert visit(site, name, asked, method=b"HEAD") == whole


# Memory.


def test_a_hot_file_is_not_looked_at(
    tree: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a second, a file that was read is answered without asking the system anything."""
    now = [LATER]
    site = make_site(tree / "www", memory=Memory(lambda: now[0]))
    first = visit(site, b"/a.txt")
    with monkeypatch.context() as patched:
        patched.delattr(os, "open")
        now[0] += LOOK_EVERY - 0.01
        assert visit(site, b"/a.txt?other=query") == first
        now[0] += 0.01
        with pytest.raises(AttributeError):
            visit(site, b"/a.txt")


def test_a_file_that_goes_is_forgotten(tmp_path: Path, visit: Visit) -> None:
    """A file that was deleted or became a folder isn't answered from memory later."""
    now = [LATER]
    memory = Memory(lambda: now[0])
    site = make_site(tmp_path, memory=memory)
    for name in ("f", "g"):
        (tmp_path / name).write_bytes(TEXT)
        assert visit(site, f"/{name}".encode())[1] == TEXT
        (tmp_path / name).unlink()
    (tmp_path / "g").mkdir()
    now[0] += LOOK_EVERY
    with pytest.raises(errors.NotFound):
        visit(site, b"/f")
    assert visit(site, b"/g")[0].status == 301
    assert memory.recall(b"/f") is None
    assert memory.recall(b"/g") is None


def test_a_file_that_grows_is_forgotten(tmp_path: Path, visit: Visit, calls: list[str]) -> None:
    """A file that outgrows memory is sent from the disk from then on."""
    now = [LATER]
    memory = Memory(lambda: now[0])
    site = make_site(tmp_path, memory=memory)
    for size in (10, READ_UP_TO + 1):
        (tmp_path / "f").write_bytes(bytes(size))
        assert len(visit(site, b"/f")[1]) == size
        now[0] += LOOK_EVERY
    assert calls == ["answer", "answer_pieces"]
    assert memory.recall(b"/f") is None


# Threads.


class Threads:
    """Work for threads, done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Found], Deferred[Found]]] = []

    def __call__(self, job: Callable[[], Found]) -> Deferred[Found]:
        done: Deferred[Found] = Deferred()
        self.jobs.append((job, done))
        return done

    def work(self) -> None:
        """Do the first job."""
        job, done = self.jobs.pop(0)
        maybeDeferred(job).chainDeferred(done)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Return the threads of a machine on which every file has to be waited for."""
    monkeypatch.setattr(confinement, "_can_look_up_only", lambda: False)
    return Threads()


class Answer:
    """A reply that notes its answer."""

    def __init__(self) -> None:
        self.record = type("Record", (), {})()
        self.answers: list[bytes | int] = []
        self.error: Exception | None = None
        self.pieces: Deferred[None] = Deferred()

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        self.answers.append(body)

    async def answer_pieces(self, head: OutgoingResponse, file: OpenFile, _: object) -> None:
        self.answers.append(file.descriptor)
        await self.pieces

    def end(self, error: Exception | None) -> None:
        self.error = error
        self.answers.append(-1)


def ask(site: StaticSite, path: bytes) -> tuple[Answer, Task]:
    """Ask for *path*, and return the reply and what runs for it."""
    answer = Answer()
    request = Request(
        head=RequestHead(b"GET", path, 1, Fields([])),
        target=parse_target(b"GET", path),
        client=Client("192.0.2.1", 50000),
        framing=NO_BODY,
        body=cast(stream.Body, None),
    )
    task = Task(site.respond(request, cast(Reply, answer)), answer.end)
    task.resume()
    return answer, task


def test_a_thread_waits_for_the_disk(tree: Path, threads: Threads) -> None:
    """What isn't in memory is found and read in a thread; from then on it is there."""
    site = make_site(tree / "www", in_thread=threads)
    first, _ = ask(site, b"/a.txt")
    assert not first.answers
    threads.work()
    assert first.answers == [TEXT, -1]
    second, _ = ask(site, b"/a.txt")
    assert second.answers == [TEXT, -1]
    assert not threads.jobs


def test_only_one_looks_again(tree: Path, threads: Threads) -> None:
    """While one request looks whether a file is still the same, the others don't wait for it."""
    now = [LATER]
    site = make_site(tree / "www", in_thread=threads, memory=Memory(lambda: now[0]))
    ask(site, b"/a.txt")
    threads.work()
    now[0] += LOOK_EVERY
    looking, _ = ask(site, b"/a.txt")
    other, _ = ask(site, b"/a.txt")
    assert (looking.answers, other.answers) == ([], [TEXT, -1])
    threads.work()
    assert looking.answers == [TEXT, -1]
    assert not threads.jobs


@pytest.mark.parametrize(
    ("path", "error"), [(b"/missing", errors.NotFound), (b"/outside", errors.NotFound)]
)
def test_errors_come_back_from_threads(
    tree: Path, threads: Threads, path: bytes, error: type[Exception]
) -> None:
    """What a thread doesn't find is told like anything else."""
    answer, _ = ask(make_site(tree / "www", in_thread=threads), path)
    threads.work()
    assert answer.answers == [-1]
    assert isinstance(answer.error, error)


@pytest.mark.parametrize("path", [b"/a.txt", b"/large.bin", b"/sub/", b"/missing", b"/a.txt?hash"])
def test_a_client_that_goes_leaves_nothing_open(tree: Path, threads: Threads, path: bytes) -> None:
    """What a thread opens for a client that has gone meanwhile is closed."""
    before = open_descriptors()
    extras = Extras(listings=Stub(), digests=Stub())
    answer, task = ask(make_site(tree / "www", in_thread=threads, extras=extras), path)
    task.cancel()
    assert isinstance(answer.error, CancelledError)
    threads.work()
    assert answer.answers == [-1]
    assert open_descriptors() == before


def test_a_long_file_is_closed_when_it_is_sent(tree: Path, threads: Threads) -> None:
    """The file stays open for as long as it is being sent, however that ends."""
    before = open_descriptors()
    for is_cut in (False, True):
        answer, task = ask(make_site(tree / "www", in_thread=threads), b"/large.bin")
        threads.work()
        (descriptor,) = answer.answers
        assert isinstance(descriptor, int)
        assert os.fstat(descriptor).st_size == len(LARGE)
        if is_cut:
            task.cancel()
        else:
            answer.pieces.callback(None)
        assert answer.answers[-1] == -1
        assert open_descriptors() == before


# Failures of the file system.


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EIO, errors.InternalError),
        (errno.EACCES, errors.AccessDenied),
        (errno.EMFILE, errors.Overloaded),
        (errno.ELOOP, errors.NotFound),
    ],
)
@pytest.mark.parametrize("call", ["open", "fstat"])
def test_errors_of_the_system_in_our_words(
    tree: Path,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[errors.ExchangeError],
) -> None:
    """Each failing call becomes the right status, and shows nothing of the system's text."""
    site = make_site(tree / "www")
    before = open_descriptors()

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "system text", "/path")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(error) as caught:
            visit(site, b"/a.txt")
    assert type(caught.value) is error
    assert "text" not in caught.value.reason
    assert "/path" not in caught.value.reason
    assert open_descriptors() == before
