"""site.uploads: PUT and PATCH over real sockets, and what everybody else sees meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.exchange import Reply, Request, Responder
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import paths, uploads
from proxyapp.site.confinement import Root
from proxyapp.site.paths import Location
from proxyapp.site.uploads import Uploads
from tests.appliance import wait_for
from tests.site.sitestage import (
    ADMIN,
    OTHER,
    KnownUsers,
    SiteStage,
    blocking,
    request,
    site_stage,
    talk_to,
)
from tests.site.uploadsite import LIMIT, process, upload_site
from tests.talk import Response

RESERVED = (b"/wpad.dat",)
BIG = os.urandom(300_000)
NOBODY = b"X-Nobody: 1"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a site's folder, with a few things in it and beside it."""
    top = tmp_path / "www"
    (top / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (top / "old.txt").write_bytes(b"old")
    (top / "out").symlink_to("../outside")
    (top / "link.txt").symlink_to("old.txt")
    return top


@pytest.fixture
def stage(reactor: ApplianceReactor, top: Path) -> Iterator[SiteStage]:
    """Yield the site on a port."""
    with site_stage(reactor, lambda stage: upload_site(top, stage, RESERVED)) as started:
        yield started


def parts(top: Path) -> list[Path]:
    """Return the unfinished uploads below *top*."""
    return [path for path in top.rglob("*") if paths.is_part(os.fsencode(path.name))]


def has_begun(top: Path) -> bool:
    """Is there an unfinished upload with something in it?"""
    return any(part.stat().st_size for part in parts(top))


def etag(response: Response) -> bytes:
    """Return the entity tag of *response*."""
    return response.head.one(b"etag")


# Who may, and where to.


@pytest.mark.parametrize("method", [b"PUT", b"PATCH"])
@pytest.mark.parametrize("who", [NOBODY, b"Authorization: Basic bm9ib2R5Om5v", b"Authorization: x"])
@blocking
def test_strangers(stage: SiteStage, top: Path, method: bytes, who: bytes) -> None:
    """Without a right password nothing is told of what is there, and nothing is stored."""
    for path in (b"/new.txt", b"/old.txt", b"/sub/", b"/.git/x", b"/wpad.dat"):
        if path.startswith(b"/."):
            continue  # not even its users see hidden names
        answer = stage.send(request(method, path, who, body=b"x"))
        assert answer.status == 401
        assert answer.head.all(b"www-authenticate") == [b'Basic realm="test"']
    assert sorted(os.listdir(top)) == ["link.txt", "old.txt", "out", "sub"]


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        (b"/", {405}),
        (b"/sub/", {405}),
        (b"/sub", {405}),
        (b"/new/", {405}),
        (b"/link.txt", {403}),
        (b"/out/x", {409}),
        (b"/out", {403}),
        (b"/old.txt/x", {409}),
        (b"/../outside/x", {404}),
        (b"/%2e%2e/outside/x", {404}),
        (b"/sub/..%2f..%2foutside%2fx", {404}),
        (b"/.hidden", {404}),
        (b"/sub/.hidden/x", {404}),
        (b"/.well-known/x", {403}),
        (b"/a%00b", {400}),
        (b"/a%0ab", {400}),
        (b"/a%7fb", {400}),
        (b"//x", {404}),
        (b"/sub//x", {404}),
        (b"/" + b"x" * 256, {400}),
        (b"/wpad.dat", {403}),
        (b"/wpad%2Edat", {403}),
        (b"/.new.txt." + b"0" * 32 + b".part", {404}),
    ],
)
@blocking
def test_bad_places(stage: SiteStage, top: Path, path: bytes, statuses: set[int]) -> None:
    """No upload replaces a folder or a link, is hidden, leads out, or takes the gateway's names."""
    for method, lines in ((b"PUT", []), (b"PATCH", [b"Content-Range: bytes 0-0/1"])):
        assert stage.ask(method, path, *lines, body=b"x").status in statuses
    assert sorted(os.listdir(top)) == ["link.txt", "old.txt", "out", "sub"]
    assert (top / "old.txt").read_bytes() == b"old"
    assert os.listdir(top.parent / "outside") == []


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"Content-Range: bytes 0-2/3"], 400),
        ([b"Content-Encoding: gzip"], 415),
        ([b'If-Match: "x"'], 412),
        ([b"If-Match: *", b"X: new"], 412),
        ([b"If-None-Match: *", b"X: old"], 412),
        ([b"If-None-Match: x"], 400),
        ([b"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], 412),
    ],
)
@blocking
def test_bad_requests(stage: SiteStage, top: Path, lines: list[bytes], status: int) -> None:
    """What the file isn't, or a body that isn't a file, is refused and leaves all as it was."""
    path = b"/new.txt" if b"X: new" in lines else b"/old.txt"
    assert stage.ask(b"PUT", path, *lines, body=b"new").status == status
    assert (top / "old.txt").read_bytes() == b"old"
    assert not (top / "new.txt").exists()
    assert not parts(top)


@blocking
def test_options_and_other_methods(stage: SiteStage) -> None:
    """Allow tells of PUT and PATCH; other methods change nothing."""
    allow = b"GET, HEAD, OPTIONS, PATCH, PUT"
    assert stage.ask(b"OPTIONS", b"/old.txt").head.one(b"allow") == allow
    answer = stage.ask(b"DELETE", b"/old.txt")
    assert (answer.status, answer.head.one(b"allow")) == (405, allow)


# PUT.


@blocking
def test_put_new(stage: SiteStage, top: Path) -> None:
    """A new file answers 201, where it is, and the validators under which it is served."""
    answer = stage.ask(b"PUT", b"/new%20folder/a.bin?x=1", body=BIG)
    assert answer.status == 201
    assert answer.head.one(b"location") == b"/new%20folder/a.bin"
    assert (top / "new folder/a.bin").read_bytes() == BIG
    served = stage.ask(b"GET", b"/new%20folder/a.bin")
    assert served.body == BIG
    assert etag(served) == etag(answer)
    assert served.head.one(b"last-modified") == answer.head.one(b"last-modified")
    assert [record.user for record in stage.records[:1]] == ["admin"]
    assert stage.records[0].received == len(BIG)


@blocking
def test_put_again(stage: SiteStage) -> None:
    """A replaced file answers 204, and the next reader gets it, whatever was remembered."""
    for content in (b"first", b"second", b""):
        stage.ask(b"GET", b"/old.txt")
        answer = stage.ask(b"PUT", b"/old.txt", body=content)
        assert (answer.status, answer.head.all(b"location")) == (204, [])
        assert stage.ask(b"GET", b"/old.txt").body == content


@blocking
def test_put_chunked(stage: SiteStage, top: Path) -> None:
    """A body of unknown length is as good, and on the same connection the next request works."""

    def act() -> list[int]:
        with stage.connect() as talk:
            talk.send(request(b"PUT", b"/new.txt", ADMIN, b"Transfer-Encoding: chunked"))
            talk.send(b"3\r\nabc\r\n")
            talk.send(b"3\r\ndef\r\n0\r\n\r\n", request(b"GET", b"/new.txt"))
            return [talk.response().status, talk.response().status]

    assert act() == [201, 200]
    assert (top / "new.txt").read_bytes() == b"abcdef"


@blocking
def test_put_if_match(stage: SiteStage) -> None:
    """Who knows the file's state may replace it, once."""
    known = etag(stage.ask(b"GET", b"/old.txt"))
    assert stage.ask(b"PUT", b"/old.txt", b"If-Match: " + known, body=b"mine").status == 204
    assert stage.ask(b"PUT", b"/old.txt", b"If-Match: " + known, body=b"late").status == 412
    assert stage.ask(b"GET", b"/old.txt").body == b"mine"


@blocking
def test_changed_while_sent(stage: SiteStage, top: Path) -> None:
    """A precondition holds when the file is replaced, not just when the upload began."""
    known = etag(stage.ask(b"GET", b"/old.txt"))

    def act() -> int:
        with stage.connect() as talk:
            lines = (ADMIN, b"If-Match: " + known, b"Expect: 100-continue", b"Content-Length: 4")
            talk.send(request(b"PUT", b"/old.txt", *lines))
            assert talk.response().status == 100
            assert stage.send(request(b"PUT", b"/old.txt", ADMIN, body=b"other")).status == 204
            talk.send(b"mine")
            return talk.response().status

    assert act() == 412
    assert (top / "old.txt").read_bytes() == b"other"
    assert not parts(top)


@blocking
def test_race_for_new(stage: SiteStage, top: Path) -> None:
    """Two that store a file only if there is none: both get their go-ahead, one gets the name."""

    def act() -> list[int]:
        with stage.connect() as one, stage.connect() as two:
            for talk in (one, two):
                lines = (ADMIN, b"If-None-Match: *", b"Expect: 100-continue", b"Content-Length: 3")
                talk.send(request(b"PUT", b"/new.txt", *lines))
                assert talk.response().status == 100
            one.send(b"one")
            two.send(b"two")
            return sorted([one.response().status, two.response().status])

    assert act() == [201, 412]
    assert (top / "new.txt").read_bytes() in (b"one", b"two")
    assert not parts(top)


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        (b"/new.txt", [NOBODY], 401),
        (b"/sub", [ADMIN], 405),
        (b"/old.txt", [ADMIN, b"If-None-Match: *"], 412),
        (b"/new.txt", [ADMIN, b"X-Long: 1"], 413),
        (b"/new.txt", [ADMIN], 100),
    ],
)
@blocking
def test_100_continue(stage: SiteStage, path: bytes, lines: list[bytes], status: int) -> None:
    """Only a client whose upload is wanted is told to go on; others hear why at once."""
    size = LIMIT + 1 if b"X-Long: 1" in lines else 3

    def act() -> int:
        with stage.connect() as talk:
            length = b"Content-Length: %d" % size
            talk.send(request(b"PUT", path, *lines, b"Expect: 100-continue", length))
            first = talk.response().status
            if first == 100:
                talk.send(b"abc")
                assert talk.response().status == 201
            return first

    assert act() == status


@blocking
def test_too_long_without_a_length(stage: SiteStage, top: Path) -> None:
    """A chunked body past the limit is refused when it gets there, and leaves nothing."""

    with stage.connect() as talk:
        talk.send(request(b"PUT", b"/new.txt", ADMIN, b"Transfer-Encoding: chunked"))
        for _ in range(LIMIT // 65536 + 1):
            talk.send(b"10000\r\n", b"x" * 65536, b"\r\n")
        answer = talk.response()
    assert answer.status == 413
    assert answer.head.one(b"connection") == b"close"
    assert not (top / "new.txt").exists()
    assert not parts(top)


@pytest.mark.parametrize("ending", ["close", "half_close", "reset"])
@blocking
def test_cut(stage: SiteStage, top: Path, ending: str) -> None:
    """A client that goes away in the middle leaves nothing behind."""

    def act() -> None:
        with stage.connect() as talk:
            talk.send(request(b"PUT", b"/new.txt", ADMIN, b"Content-Length: 300000"), BIG[:200_000])
            wait_for(lambda: parts(top), "part")
            getattr(talk, ending)()

    act()
    stage.until(lambda: bool(stage.records) and not parts(top))
    assert not (top / "new.txt").exists()
    assert stage.records[0].status in (400, 499)


@blocking
def test_silent_client(stage: SiteStage, top: Path) -> None:
    """A client that stops sending is told so, and its part goes."""

    def act() -> int:
        with stage.connect() as talk:
            talk.send(request(b"PUT", b"/new.txt", ADMIN, b"Content-Length: 9"), b"abc")
            return talk.response().status

    assert act() == 408
    assert not parts(top)


@blocking
def test_hidden_while_it_grows(stage: SiteStage, top: Path) -> None:
    """Nobody can read an upload before its end: not by its name, and not by its part's."""

    def act() -> list[int]:
        with stage.connect() as talk:
            talk.send(request(b"PUT", b"/new.txt", ADMIN, b"Content-Length: 6"), b"abc")
            found = wait_for(lambda: parts(top), "part")
            hidden = b"/" + os.fsencode(found[0].name)
            seen = [stage.send(request(b"GET", path)) for path in (b"/new.txt", hidden)]
            talk.send(b"def")
            return [*(answer.status for answer in seen), talk.response().status]

    assert act() == [404, 404, 201]


# A disk that says no.


@blocking
def test_disk_full(stage: SiteStage, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle answers 507; the part is gone and the old file stays."""
    write = os.pwrite

    def be_full(descriptor: int, data: bytes, offset: int) -> int:
        if offset + len(data) > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", be_full)
    assert stage.ask(b"PUT", b"/old.txt", body=BIG).status == 507
    whole = b"Content-Range: bytes 0-299999/300000"
    assert stage.ask(b"PATCH", b"/new.txt", whole, body=BIG).status == 507
    assert not parts(top)
    assert (top / "old.txt").read_bytes() == b"old"
    assert stage.ask(b"PUT", b"/old.txt", body=b"small").status == 204


@blocking
def test_file_size_limit(stage: SiteStage, top: Path) -> None:
    """The system's own limit on files (RLIMIT_FSIZE) is a full disk as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        status = stage.ask(b"PUT", b"/new.txt", body=BIG).status
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 507
    assert not parts(top)


@blocking
def test_really_full(reactor: ApplianceReactor, tmp_path: Path) -> None:
    """The same on a file system of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        with site_stage(reactor, lambda stage: upload_site(tmp_path, stage)) as stage:
            assert stage.ask(b"PUT", b"/announced.bin", body=BIG).status == 507
            raw = request(b"PUT", b"/new.bin", ADMIN, b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BIG), BIG)
            assert stage.send(raw + body).status == 507
            assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@blocking
def test_too_many(stage: SiteStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One upload too many at a time is asked to come back; one too many unfinished as well."""
    monkeypatch.setattr(uploads, "MOST_AT_ONCE", 0)
    assert stage.ask(b"PUT", b"/new.txt", body=b"x").status == 503
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "MOST_PARTS", 1)
    statuses = [
        stage.ask(b"PATCH", path, b"Content-Range: bytes 0-2/9", body=b"abc").status
        for path in (b"/one", b"/two", b"/one")
    ]
    assert statuses == [204, 503, 204]


# PATCH.


def patch(
    stage: SiteStage, content_range: str, body: bytes = b"", path: bytes = b"/new.txt"
) -> Response:
    """Send a piece of a file."""
    return stage.ask(b"PATCH", path, b"Content-Range: bytes " + content_range.encode(), body=body)


def progress(answer: Response) -> tuple[int, int, bytes]:
    """Return status, Upload-Offset and Upload-Complete."""
    offset = answer.head.one(b"upload-offset")
    return answer.status, int(offset), answer.head.one(b"upload-complete")


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"X: no Content-Range", b"abc"),
        (b"Content-Range: bytes 0-2/*", b"abc"),
        (b"Content-Range: bytes 0-3/9", b"abc"),
        (b"Content-Range: bytes 0-1/9", b"abc"),
        (b"Content-Range: bytes */9", b"abc"),
        (b"Content-Range: bytes 0-2/2", b"abc"),
    ],
)
@blocking
def test_bad_patches(stage: SiteStage, top: Path, line: bytes, body: bytes) -> None:
    """What doesn't say which bytes it brings, or brings others, is a bad request."""
    assert stage.ask(b"PATCH", b"/new.txt", line, body=body).status == 400
    assert not parts(top)


@blocking
def test_patch_by_patch(stage: SiteStage, top: Path) -> None:
    """Pieces are kept until the last one, which publishes the file as PUT would."""
    assert progress(patch(stage, "0-2/9", b"abc")) == (204, 3, b"?0")
    assert progress(patch(stage, "3-5/9", b"def")) == (204, 6, b"?0")
    assert stage.ask(b"GET", b"/new.txt").status == 404
    last = patch(stage, "6-8/9", b"ghi")
    assert progress(last) == (201, 9, b"?1")
    served = stage.ask(b"GET", b"/new.txt")
    assert (served.body, etag(served)) == (b"abcdefghi", etag(last))
    assert not parts(top)
    assert progress(patch(stage, "0-2/3", b"new")) == (204, 3, b"?1")


@pytest.mark.parametrize(("content_range", "body"), [("4-5/9", b"ef"), ("1-2/9", b"bc")])
@blocking
def test_wrong_offset(stage: SiteStage, content_range: str, body: bytes) -> None:
    """A gap or an overlap is refused, and the answer says where to go on."""
    assert progress(patch(stage, content_range, body)) == (409, 0, b"?0")
    patch(stage, "0-2/9", b"abc")
    assert progress(patch(stage, content_range, body)) == (409, 3, b"?0")
    assert progress(patch(stage, "*/9")) == (204, 3, b"?0")


@blocking
def test_begun_anew(stage: SiteStage, top: Path) -> None:
    """From 0 on, an upload begins anew; one of another length is another one."""
    patch(stage, "0-2/9", b"old")
    patch(stage, "0-3/8", b"eigh")
    assert progress(patch(stage, "0-5/9", b"abcdef")) == (204, 6, b"?0")
    assert progress(patch(stage, "6-8/9", b"ghi")) == (201, 9, b"?1")
    assert (top / "new.txt").read_bytes() == b"abcdefghi"
    assert progress(patch(stage, "*/8")) == (204, 4, b"?0")


@blocking
def test_question(stage: SiteStage, top: Path) -> None:
    """To ask how far it got makes nothing, not even a folder."""
    assert progress(patch(stage, "*/9", path=b"/fresh/new.txt")) == (204, 0, b"?0")
    assert not (top / "fresh").exists()
    assert progress(patch(stage, "*/0")) == (201, 0, b"?1")
    assert (top / "new.txt").read_bytes() == b""


@blocking
def test_parts_are_personal(stage: SiteStage) -> None:
    """One user's part is nobody else's."""
    patch(stage, "0-2/9", b"abc")
    raw = request(b"PATCH", b"/new.txt", OTHER, b"Content-Range: bytes 3-5/9", body=b"def")
    assert progress(stage.send(raw)) == (409, 0, b"?0")


@blocking
def test_resumed_after_a_cut(stage: SiteStage, top: Path) -> None:
    """What came before the line broke needs not be sent again."""

    def act() -> None:
        with stage.connect() as talk:
            lines = (ADMIN, b"Content-Range: bytes 0-299999/300000", b"Content-Length: 300000")
            talk.send(request(b"PATCH", b"/new.txt", *lines), BIG[:200_000])
            wait_for(lambda: has_begun(top), "part")
            talk.reset()

    act()
    stage.until(lambda: bool(stage.records))
    stage.until(lambda: not stage.jobs)
    _, offset, _ = progress(patch(stage, "*/300000"))
    assert 0 < offset <= 200_000
    answer = patch(stage, f"{offset}-299999/300000", BIG[offset:])
    assert progress(answer) == (201, 300_000, b"?1")
    assert stage.ask(b"GET", b"/new.txt").body == BIG


@blocking
def test_two_at_once(stage: SiteStage) -> None:
    """While one request sends a part, another one is told so."""

    def act() -> tuple[int, int]:
        with stage.connect() as talk:
            lines = (ADMIN, b"Content-Range: bytes 0-5/9", b"Content-Length: 6")
            talk.send(request(b"PATCH", b"/new.txt", *lines, b"Expect: 100-continue"))
            assert talk.response().status == 100
            again = request(
                b"PATCH", b"/new.txt", ADMIN, b"Content-Range: bytes 0-2/9", body=b"abc"
            )
            busy = stage.send(again).status
            talk.send(b"abcdef")
            return busy, talk.response().status

    assert act() == (409, 204)


@blocking
def test_patch_too_long(stage: SiteStage) -> None:
    """A whole past the limit is refused with its first piece."""
    assert patch(stage, f"0-2/{LIMIT + 1}", b"abc").status == 413


@blocking
def test_patch_precondition(stage: SiteStage, top: Path) -> None:
    """Pieces have preconditions too, each of them and the last."""
    lines = (b"If-None-Match: *", b"Content-Range: bytes 0-2/6")
    assert stage.ask(b"PATCH", b"/old.txt", *lines, body=b"abc").status == 412
    assert stage.ask(b"PATCH", b"/new.txt", *lines, body=b"abc").status == 204
    (top / "new.txt").write_bytes(b"theirs")
    lines = (b"If-None-Match: *", b"Content-Range: bytes 3-5/6")
    assert stage.ask(b"PATCH", b"/new.txt", *lines, body=b"def").status == 412
    assert (top / "new.txt").read_bytes() == b"theirs"


@blocking
def test_stale_parts(reactor: ApplianceReactor, top: Path) -> None:
    """What nobody finished for days is swept up when somebody uploads something else."""
    stale = top / "sub" / os.fsdecode(paths.part_name(b"a", "0" * 32))
    stale.write_bytes(b"x")
    os.utime(stale, (1, 1))
    with site_stage(reactor, lambda stage: old_enough(top, stage)) as stage:
        assert stage.ask(b"PUT", b"/new.txt", body=b"x").status == 201
        stage.until(lambda: not stale.exists())


def old_enough(top: Path, stage: SiteStage) -> Responder:
    """Return a site for which it is long after 1970."""
    root = Root(top, Symlinks.INSIDE, hidden=False)
    taker = Uploads(root, KnownUsers(), 0, (), stage.in_thread, lambda: uploads.EXPIRY + 10)

    class Site:
        async def respond(self, request: Request, reply: Reply) -> None:
            location = Location((b"new.txt",), False, b"")
            await taker.respond(request, reply, location)

    return Site()


# Real clients, and a process that dies.

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")


@needs_curl
@blocking
def test_curl(stage: SiteStage, top: Path, tmp_path: Path) -> None:
    """curl -T stores a file, and waits for its 100 Continue no second in vain."""
    (tmp_path / "big.bin").write_bytes(BIG)
    url = f"http://127.0.0.1:{stage.port}/from/curl.bin"
    command = ["curl", "-sS", "-v", "-u", "admin:secret", "-T", str(tmp_path / "big.bin"), url]
    command += ["-H", "Expect: 100-continue", "--expect100-timeout", "30", "--max-time", "20"]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert b"< HTTP/1.1 201 Created" in done.stderr
    assert (top / "from/curl.bin").read_bytes() == BIG


@needs_curl
@blocking
def test_curl_from_a_pipe(stage: SiteStage, top: Path) -> None:
    """So does it with what it doesn't know the length of."""
    url = f"http://127.0.0.1:{stage.port}/piped.bin"
    command = ["curl", "-sS", "-f", "-u", "admin:secret", "-T", "-", url, "--max-time", "20"]
    subprocess.run(command, input=BIG, check=True, timeout=30)
    assert (top / "piped.bin").read_bytes() == BIG


@pytest.mark.parametrize("method", [b"PUT", b"PATCH"])
@blocking
def test_killed(top: Path, method: bytes) -> None:
    """A process that is killed in the middle leaves no name that anybody can see."""
    lines = [ADMIN, b"Content-Length: 300000", b"Content-Range: bytes 0-299999/300000"]
    raw = request(method, b"/old.txt", *lines[: 3 if method == b"PATCH" else 2])
    with process(top) as (running, port), talk_to(port) as talk:
        talk.send(raw, BIG[:200_000])
        wait_for(lambda: has_begun(top), "part")
        running.kill()
        running.wait(10)
    assert (top / "old.txt").read_bytes() == b"old"
    visible = [path.name for path in top.rglob("*") if not path.name.startswith(".")]
    assert sorted(visible) == ["link.txt", "old.txt", "out", "sub"]
