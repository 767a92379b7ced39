"""The static site, with real files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules.conditions import http_date
from proxyapp.site.files import READ_UP_TO, Location, StaticSite, folder_url, parse_location
from proxyapp.wire.messages import OutgoingResponse

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

TEXT = b"0123456789"
SECRET = b"SECRET"
LARGE = os.urandom(READ_UP_TO) + b"the last bytes"
MTIME = 784111777


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
        "exact.bin": LARGE[:READ_UP_TO],
        "none.txt": b"",
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
    os.utime(top / "www/a.txt", (MTIME, MTIME))
    return top


def link_up(top: Path) -> None:
    """Add the symlinks, the FIFO and the socket's stand-in to the tree."""
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
    (top / "root").symlink_to("www")
    os.mkfifo(top / "www/fifo")
    (top / "www/device").symlink_to("/dev/zero")


@pytest.fixture(scope="module")
def site(tree: Path) -> StaticSite:
    """Return the site over `www`."""
    return StaticSite(tree / "www", ("index.html", "index.htm"))


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


# Paths.


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (b"", errors.BadRequest),
        (b"a.txt", errors.BadRequest),
        (b"*", errors.BadRequest),
        (b"/%", errors.BadRequest),
        (b"/%2", errors.BadRequest),
        (b"/%zz", errors.BadRequest),
        (b"/a%00.txt", errors.BadRequest),
        (b"/%00", errors.BadRequest),
        (b"//", errors.NotFound),
        (b"//evil.example", errors.NotFound),
        (b"//evil.example/..", errors.NotFound),
        (b"/sub//deep/", errors.NotFound),
        (b"/.", errors.NotFound),
        (b"/..", errors.NotFound),
        (b"/../", errors.NotFound),
        (b"/sub/../a.txt", errors.NotFound),
        (b"/%2e%2e/secret.txt", errors.NotFound),
        (b"/%2E./secret.txt", errors.NotFound),
        (b"/sub%2fdeep/page.html", errors.NotFound),
        (b"/%2Fetc/passwd", errors.NotFound),
        (b"/..%2fsecret.txt", errors.NotFound),
        (b"/.git/config", errors.NotFound),
        (b"/%2egit/config", errors.NotFound),
        (b"/.well-known/.git/config", errors.NotFound),
        (b"/sub/.well-known/acme", errors.NotFound),
    ],
)
def test_paths_that_name_nothing(target: bytes, error: type[errors.ExchangeError]) -> None:
    """Escapes, dots and empty segments are refused before the file system is asked."""
    with pytest.raises(error):
        parse_location(target)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/", Location((), True, b"")),
        (b"/?/../x", Location((), True, b"?/../x")),
        (b"/a.txt", Location((b"a.txt",), False, b"")),
        (b"/a/b/?q=1?2", Location((b"a", b"b"), True, b"?q=1?2")),
        (b"/a%20b%2Bc+d", Location((b"a b+c+d",), False, b"")),
        (b"/%252e%252e", Location((b"%2e%2e",), False, b"")),
        (b"/a%3fb?c", Location((b"a?b",), False, b"?c")),
        (b"/%c3%a4", Location((b"\xc3\xa4",), False, b"")),
        (b"/a...b/", Location((b"a...b",), True, b"")),
        (b"/.well-known/x", Location((b".well-known", b"x"), False, b"")),
    ],
)
def test_paths_are_decoded_once(target: bytes, location: Location) -> None:
    """Segments are split first and decoded then, and the query stays as it is."""
    assert parse_location(target) == location


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (Location((b"\\evil.example",), False, b""), b"/%5Cevil.example/"),
        (Location((b"a:b", b"c"), False, b"?x=//y"), b"/a:b/c/?x=//y"),
        (Location((b"gr\xc3\xbc\xc3\x9fe an",), False, b""), b"/gr%C3%BC%C3%9Fe%20an/"),
        (Location((b"100%?#\r\n",), False, b"?"), b"/100%25%3F%23%0D%0A/?"),
    ],
)
def test_a_redirect_stays_on_this_site(location: Location, url: bytes) -> None:
    """What is decoded is escaped again, so that it can't name another host or end the line."""
    assert folder_url(location) == url


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
    """Names with blanks, marks and UTF-8, index pages and symlinks that stay inside are served."""
    before = open_descriptors()
    head, body = visit(site, target)
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


def test_a_switched_root_is_followed(tree: Path, visit: Visit) -> None:
    """A root that is a symlink is looked up for each request, as deployments switch it."""
    link = tree / "current"
    link.symlink_to("www")
    site = StaticSite(link, ())
    assert visit(site, b"/a.txt")[1] == TEXT
    link.unlink()
    with pytest.raises(errors.NotFound):
        visit(site, b"/a.txt")
    link.symlink_to("www-more")
    assert visit(site, b"/secret.txt")[1] == SECRET


def test_the_root_may_be_the_whole_system(tree: Path, visit: Visit) -> None:
    """A root of / has everything below it."""
    assert visit(StaticSite(Path("/"), ()), os.fsencode(tree / "www/a.txt"))[1] == TEXT


def test_the_root_stays_when_the_working_folder_changes(
    tree: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative root means the folder it named when the site was made."""
    monkeypatch.chdir(tree)
    site = StaticSite(Path("www"), ())
    monkeypatch.chdir("/")
    assert visit(site, b"/a.txt")[1] == TEXT


# Failures of the file system.


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_forbidden(tmp_path: Path, visit: Visit) -> None:
    """A file whose permissions keep us out is a 403, whose reason doesn't show its path."""
    (tmp_path / "a").touch(mode=0o200)
    with pytest.raises(errors.AccessDenied) as caught:
        visit(StaticSite(tmp_path, ()), b"/a")
    assert str(tmp_path) not in caught.value.reason


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EIO, errors.InternalError),
        (errno.ESTALE, errors.InternalError),
        (errno.EACCES, errors.AccessDenied),
        (errno.EPERM, errors.AccessDenied),
        (errno.EMFILE, errors.Overloaded),
        (errno.ENFILE, errors.Overloaded),
        (errno.ENOMEM, errors.Overloaded),
        (errno.ELOOP, errors.NotFound),
        (errno.ENAMETOOLONG, errors.NotFound),
        (errno.ENOTDIR, errors.NotFound),
        (errno.ENXIO, errors.NotFound),
    ],
)
@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
def test_errors_of_the_system_in_our_words(
    site: StaticSite,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[errors.ExchangeError],
) -> None:
    """Each failing call becomes the right status, and shows nothing of the system's text."""
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


def test_without_proc_nothing_is_served(
    site: StaticSite, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the real path can't be known, the answer is our fault and no file."""

    def fail(*_: object) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(os, "readlink", fail)
    with pytest.raises(errors.InternalError):
        visit(site, b"/a.txt")


def test_a_file_that_shrinks_is_not_passed_off_as_whole(
    site: StaticSite, visit: Visit, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is shorter than its status said is an error before anything is sent."""
    monkeypatch.setattr(os, "pread", lambda *_: b"012")
    with pytest.raises(errors.InternalError):
        visit(site, b"/a.txt")
    assert not calls


# Methods and folders.


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"TRACE", b"get", b"PROPFIND"])
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
    head, _ = visit(site, target)
    assert (head.status, dict(head.fields)[b"Location"]) == (301, location)


def test_the_first_index_wins(tree: Path, visit: Visit) -> None:
    """Index names are tried in their order, and folders that have such a name are passed over."""
    assert visit(StaticSite(tree / "www", ("none.txt", "index.html")), b"/")[1] == b""
    assert visit(StaticSite(tree / "www", ("sub", "a.txt")), b"/")[1] == TEXT
    with pytest.raises(errors.NotFound):
        visit(StaticSite(tree / "www", ()), b"/")


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
    [(READ_UP_TO, "answer"), (READ_UP_TO + 1, "answer_file"), (len(LARGE), "answer_file")],
)
def test_large_files_are_left_to_the_kernel(
    tmp_path: Path, visit: Visit, calls: list[str], size: int, call: str
) -> None:
    """Up to 64 KiB are read and sent in one go; more is handed over as a descriptor."""
    (tmp_path / "f").write_bytes(LARGE[:size])
    before = open_descriptors()
    assert visit(StaticSite(tmp_path, ()), b"/f")[1] == LARGE[:size]
    assert calls == [call]
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("name", "asked", "status", "content_range", "part"),
    [
        (b"/a.txt", b"bytes=2-4", 206, b"bytes 2-4/10", TEXT[2:5]),
        (b"/a.txt", b"bytes=-30", 206, b"bytes 0-9/10", TEXT),
        (b"/a.txt", b"bytes=1-2,4-5", 200, None, TEXT),
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
    """One range gives 206 and says which part it is; what isn't one range gives the whole."""
    head, body = visit(site, name, (b"Range", asked))
    assert (head.status, dict(head.fields).get(b"Content-Range"), body) == (
        status,
        content_range,
        part,
    )


def test_a_range_past_the_end_is_told_the_size(site: StaticSite, visit: Visit) -> None:
    """416 names the size of the file, and leaves nothing open."""
    before = open_descriptors()
    with pytest.raises(errors.RangeNotSatisfiable) as caught:
        visit(site, b"/a.txt", (b"Range", b"bytes=10-"))
    assert caught.value.fields == ((b"Content-Range", b"bytes */10"),)
    assert open_descriptors() == before


def test_a_known_file_is_not_sent_again(site: StaticSite, visit: Visit) -> None:
    """304 for a known tag or time, with the validators and no body."""
    etag = dict(visit(site, b"/a.txt")[0].fields)[b"ETag"]
    for condition in ((b"If-None-Match", etag), (b"If-Modified-Since", http_date(MTIME))):
        for method in (b"GET", b"HEAD"):
            head, body = visit(site, b"/a.txt", condition, method=method)
            assert (head.status, body) == (304, b"")
            assert head.fields == [(b"ETag", etag), (b"Last-Modified", http_date(MTIME))]


def test_another_file_than_expected_is_not_sent(site: StaticSite, visit: Visit) -> None:
    """412 where If-Match names another state, before any range is looked at."""
    head, body = visit(site, b"/a.txt", (b"If-Match", b'"x"'), (b"Range", b"bytes=99-"))
    assert head.status == 412
    assert TEXT not in body


def test_half_a_download_goes_on_only_with_the_same_file(tmp_path: Path, visit: Visit) -> None:
    """If-Range with the old tag gets the whole new file."""
    path, site = tmp_path / "f", StaticSite(tmp_path, ())
    path.write_bytes(b"old bytes")
    etag = dict(visit(site, b"/f")[0].fields)[b"ETag"]
    lines = ((b"Range", b"bytes=4-"), (b"If-Range", etag))
    assert visit(site, b"/f", *lines)[1] == b"bytes"
    path.write_bytes(b"new bytes")
    os.utime(path, ns=(1, 1))
    head, body = visit(site, b"/f", *lines)
    assert (head.status, body) == (200, b"new bytes")


def test_head_has_the_fields_of_get(site: StaticSite, visit: Visit) -> None:
    """HEAD is answered as GET is, but knows no ranges; the reply drops the body."""
    whole = visit(site, b"/a.txt")
    asked = (b"Range", b"bytes=2-4")
    assert visit(site, b"/a.txt", asked, method=b"HEAD") == whole


def test_a_time_in_the_future_is_not_told(tmp_path: Path, visit: Visit) -> None:
    """Last-Modified never lies ahead of the clock (RFC 9110 section 8.8.2.1); the tag may."""
    path = tmp_path / "f"
    path.touch()
    os.utime(path, (2**32, 2**32))
    fields = dict(visit(StaticSite(tmp_path, ()), b"/f")[0].fields)
    assert fields[b"Last-Modified"] == http_date(int(path.stat().st_ctime))
    assert fields[b"ETag"] == b'"%x-0"' % (2**32 * 10**9)
