"""Folders as zip and tar over real sockets: what is in them, and what ends the connection."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import archive
from proxyapp.site.archive import TAR, ZIP, disposition, zip_name
from proxyapp.site.confinement import Root
from proxyapp.site.members import DEEPEST, Members
from proxyapp.site.tree import Tree
from tests.net.loopback import flow
from tests.site.foldersite import KERNEL_HOLDS, NOW, STALL, FolderSite, Serve, request_head
from tests.talk import Talk

MIB, GIB = 1 << 20, 1 << 30
# What may be read before anybody takes it: ours, and what the kernel holds at both ends.
IN_FLIGHT = 256 * 1024 + 2 * KERNEL_HOLDS + 256 * 1024


def sparse(path: Path, size: int) -> Path:
    """Make a file of *size* zero bytes that takes no room."""
    path.touch()
    os.truncate(path, size)
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a folder with a small tree in it."""
    folder = tmp_path / "top"
    (folder / "photos/empty").mkdir(parents=True)
    (folder / "photos/deep/deeper").mkdir(parents=True)
    for name, content in CONTENT.items():
        path = folder / "photos" / name
        path.write_bytes(content)
        os.utime(path, (NOW, NOW))
    (folder / "photos/run.sh").chmod(0o700)
    (folder / "photos/.hidden").write_bytes(b"hidden")
    return folder


CONTENT = {
    "none": b"",
    "run.sh": b"#!/bin/sh\n" * 1000,
    "large.bin": os.urandom(200_000),
    "block.bin": bytes(512),
    "deep/deeper/gr\u00fc\u00dfe.txt": b"hello",
    "deep/" + "n" * 200: b"long",
    "back\\slash": b"x",
}


def unzipped(body: bytes) -> dict[str, bytes]:
    """Return what is in a zip, by name."""
    with zipfile.ZipFile(io.BytesIO(body)) as read:
        assert read.testzip() is None
        return {each.filename: read.read(each) for each in read.infolist()}


def untarred(body: bytes) -> dict[str, bytes]:
    """Return what is in a tar, by name."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:", errorlevel=2) as read:
        for each in read:
            content = read.extractfile(each)
            found[each.name + "/" * each.isdir()] = content.read() if content else b""
    return found


READERS = {b"zip": unzipped, b"tar": untarred}
each_form = pytest.mark.parametrize("form", [b"zip", b"tar"])


# What is in them.


@each_form
@flow
async def test_whole_tree(serve: Serve, top: Path, form: bytes) -> None:
    """An archive holds every folder and file that the site serves, below the folder's name."""
    response = await serve(top).get(b"/photos/?" + form)
    assert response.status == 200
    found = READERS[form](response.body)
    slash = "%5C" if form == b"zip" else "\\"
    expected = {f"photos/{name}".replace("\\", slash): each for name, each in CONTENT.items()}
    folders = ("", "empty/", "deep/", "deep/deeper/")
    assert found == {**expected, **{f"photos/{name}": b"" for name in folders}}


@each_form
@flow
async def test_fields(serve: Serve, top: Path, form: bytes) -> None:
    """The head says what it is, how to call it, and when it was made; its length is unknown."""
    site = serve(top)
    head = (await site.get(b"/photos/?" + form)).head
    kinds = {b"zip": b"application/zip", b"tar": b"application/x-tar"}
    assert head.one(b"content-type") == kinds[form]
    assert head.one(b"content-disposition") == b'attachment; filename="photos.%b"' % form
    assert head.one(b"date") == b"Sun, 09 Sep 2001 01:46:40 GMT"
    assert head.one(b"transfer-encoding") == b"chunked"
    assert not head.all(b"content-length")
    nameless = (await site.get(b"/?" + form)).head
    assert nameless.one(b"content-disposition") == b'attachment; filename="files.%b"' % form
    assert site.records[0].content_type == kinds[form]


@flow
async def test_zip_members(serve: Serve, top: Path) -> None:
    """A zip keeps dates and what may be run; text is packed, the rest only wrapped."""
    body = (await serve(top).get(b"/photos/?zip")).body
    with zipfile.ZipFile(io.BytesIO(body)) as read:
        script, large = read.getinfo("photos/run.sh"), read.getinfo("photos/large.bin")
        folder = read.getinfo("photos/deep/")
    assert stat.S_IMODE(script.external_attr >> 16) == 0o755
    assert stat.S_IMODE(large.external_attr >> 16) == 0o644
    assert stat.S_ISDIR(folder.external_attr >> 16)
    assert script.compress_size < script.file_size / 10
    assert large.file_size < large.compress_size < large.file_size * 1.001
    assert abs(large.date_time[0] - 2001) == 0


@flow
async def test_tar_members(serve: Serve, top: Path) -> None:
    """A tar keeps dates, exact names and what may be run, and says nothing of the users here."""
    (top / "photos/caf\udce9").write_bytes(b"x")
    body = (await serve(top).get(b"/photos/?tar")).body
    assert len(body) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(body)) as read:
        members = {each.name: each for each in read}
    script = members["photos/run.sh"]
    assert (script.mode, script.mtime) == (0o755, NOW)
    assert (script.uid, script.gid, script.uname) == (0, 0, "")
    assert "photos/caf\udce9" in members


@each_form
@flow
async def test_head(serve: Serve, top: Path, form: bytes) -> None:
    """HEAD reads nothing, and the connection goes on."""
    site = serve(top)

    def talk_on() -> tuple[bytes, bytes]:
        with site.connect() as talk:
            talk.send(request_head(b"/photos/?" + form, method=b"HEAD"))
            head = talk.response(b"HEAD").head
            talk.send(request_head(b"/photos/?json"))
            return head.one(b"content-disposition"), talk.response().head.start

    disposed, start = await deferToThread(talk_on)
    assert disposed.endswith(form + b'"')
    assert start == b"HTTP/1.1 200 OK"


@each_form
@flow
async def test_old_clients(serve: Serve, top: Path, form: bytes) -> None:
    """To HTTP/1.0 the end of the connection is the end of the archive."""
    response = await serve(top).get(b"/photos/?" + form, minor=0)
    assert not response.head.all(b"transfer-encoding")
    assert "photos/large.bin" in READERS[form](response.body)


# Links, depth and what is missing.


@each_form
@flow
async def test_links(serve: Serve, top: Path, form: bytes) -> None:
    """Links are followed as the site does; round trips and repetitions are left out, and told."""
    links = {
        "photos/self": ".",
        "photos/deep/up": "..",
        "one": "photos/deep/deeper",
        "two": "photos/deep/deeper",
        "out": "/etc",
    }
    for name, end in links.items():
        (top / name).symlink_to(end)
    found = READERS[form]((await serve(top).get(b"/?" + form)).body)
    names = {name for name in found if name.startswith(("files/one/", "files/two/"))}
    assert len(names) == 2
    lines = found["MISSING.txt"].decode().splitlines()
    assert len(lines) == 5
    assert "files/photos/self: it leads back to a folder that holds it" in lines
    assert "files/photos/deep/up: it leads back to a folder that holds it" in lines
    assert lines[0] == "These files and folders are missing in this archive:"


@flow
async def test_links_that_multiply(serve: Serve, top: Path) -> None:
    """Folders full of links to each other don't become an archive without an end."""
    for number in range(20):
        (top / f"{number}").mkdir()
        for link in "ab":
            (top / f"{number}/{link}").symlink_to(f"../{(number + 1) % 20}")
    found = untarred((await serve(top).get(b"/?tar")).body)
    assert len(found) < 500
    assert "another link to the same folder is in the archive" in found["MISSING.txt"].decode()


@flow
async def test_depth(serve: Serve, top: Path) -> None:
    """Folders inside folders end somewhere."""
    path = os.fsencode(top)
    for _ in range(DEEPEST + 2):
        path += b"/d"
        os.mkdir(path)
    found = untarred((await serve(top).get(b"/?tar")).body)
    assert f"/d: it is more than {DEEPEST} folders deep" in found["MISSING.txt"].decode()
    assert "files" + "/d" * (DEEPEST - 1) + "/" in found
    assert "files" + "/d" * DEEPEST + "/" not in found


@each_form
@flow
async def test_what_cannot_be_read(
    serve: Serve, top: Path, form: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the site may not read is told of in the archive, which is whole otherwise."""

    def refuse(path: bytes | str, flags: int, **options: int) -> int:
        if path in (b"run.sh", b"deep"):
            raise PermissionError(13, "no")
        if path == b"none":
            raise FileNotFoundError(2, "gone")
        return really(path, flags, **options)

    really = os.open
    monkeypatch.setattr("proxyapp.site.tree.os.open", refuse)
    found = READERS[form]((await serve(top).get(b"/photos/?" + form)).body)
    assert sorted(found["MISSING.txt"].decode().splitlines()[2:]) == [
        "photos/deep: the site has no permission to read it",
        "photos/run.sh: the site has no permission to read it",
    ]
    assert found["photos/large.bin"] == CONTENT["large.bin"]


@flow
async def test_note_with_its_own_name(serve: Serve, top: Path) -> None:
    """The note takes no other member's place, and has an end."""
    (top / "MISSING.txt").mkdir()
    (top / "MISSING.txt/loop").symlink_to(".")
    found = untarred((await serve(top).get(b"/MISSING.txt/?tar")).body)
    assert sorted(found) == ["MISSING-FILES.txt", "MISSING.txt/"]


@flow
async def test_long_note(serve: Serve, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its length the note only counts."""
    monkeypatch.setattr("proxyapp.site.members.MOST_NOTED", 120)
    for number in range(5):
        (top / f"{number}\n").symlink_to(".")
    found = untarred((await serve(top).get(b"/?tar")).body)
    lines = found["MISSING.txt"].decode().splitlines()
    assert len(lines) == 5
    assert lines[-1] == "and 3 more"
    assert "\\n: it leads back" in lines[2]


@flow
async def test_too_many_for_a_zip(serve: Serve, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a zip can't take within its bounds is told of; a tar has no such bound."""
    monkeypatch.setattr(archive, "MOST_ZIPPED", 3)
    site = serve(top)
    found = unzipped((await site.get(b"/photos/?zip")).body)
    assert len(found) == 4
    assert "with all behind it, for 3 are in the archive" in found["MISSING.txt"].decode()
    assert len(untarred((await site.get(b"/photos/?tar")).body)) == 11


@each_form
def test_chunks_are_short(tmp_path: Path, form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves an archive in long pieces, not even what is gathered for its end."""
    monkeypatch.setattr(archive, "CHUNK", 1000)
    for number in range(200):
        (tmp_path / f"{number}").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(".")
    tree = Tree(Root(tmp_path, Symlinks.INSIDE, False), False)
    folder = os.open(tmp_path, os.O_RDONLY)
    members = Members(tree, folder, (), b"top", threading.Event())
    made = ZIP if form == b"zip" else TAR
    chunks = list(made.chunks(members))
    assert max(map(len, chunks)) <= (1000 if form == b"zip" else tarfile.RECORDSIZE)
    assert len(READERS[form](b"".join(chunks))) == 202
    members.close()
    os.close(folder)


# What ends the connection.


async def cut(site: FolderSite, target: bytes, change: Callable[[], None]) -> Talk:
    """Ask for *target*, make a *change* when its beginning is here, and expect no end of it."""
    talk = site.connect(buffer=8192)
    talk.send(request_head(target))
    await deferToThread(talk.head)
    await site.until(lambda: site.under_way == 0)
    change()
    with pytest.raises((EOFError, ConnectionResetError)):
        await deferToThread(_all_chunks, talk)
    talk.close()
    await site.until(lambda: bool(site.records))
    return talk


def _all_chunks(talk: Talk) -> None:
    while size := int(talk.until(b"\r\n"), 16):
        talk.skip(size + 2)


@each_form
@pytest.mark.parametrize("growth", [-MIB, -1, 0, 1, MIB])
@flow
async def test_file_that_changes(serve: Serve, top: Path, form: bytes, growth: int) -> None:
    """A file that isn't what was announced ends the connection; no wrong archive looks whole."""
    (top / "other").mkdir()
    changing = sparse(top / "other/sparse", 16 * MIB)

    def change() -> None:
        os.truncate(changing, 16 * MIB + growth)
        if not growth:
            os.utime(changing, (NOW, NOW))

    site = serve(top)
    await cut(site, b"/other/?" + form, change)
    (record,) = site.records
    assert record.reason == "a file changed while it was put into the archive"
    await site.until(lambda: not site.under_way)
    assert "archives <Places 0 of 4 busy" in repr(site.listings)


@each_form
@flow
async def test_slow_reader(serve: Serve, top: Path, form: bytes) -> None:
    """Of a huge file no more is read than the client takes, and what the sockets hold."""
    sparse(top / "photos/sparse", GIB)
    site = serve(top)
    read = taken = 0

    def counted(descriptor: int, size: int) -> bytes:
        nonlocal read
        data = really(descriptor, size)
        read += len(data)
        return data

    really = os.read
    with pytest.MonkeyPatch.context() as patch, site.connect(buffer=8192) as talk:
        patch.setattr("proxyapp.site.members.os.read", counted)
        talk.send(request_head(b"/photos/?" + form))
        for more in (0, MIB, 20 * MIB):
            await deferToThread(talk.skip, more)
            taken += more
            await site.until(lambda: site.under_way == 0)
            assert taken - MIB < read < taken + IN_FLIGHT
        talk.reset()
        await site.until(lambda: bool(site.records) and not site.under_way)
    assert read < taken + IN_FLIGHT
    assert "archives <Places 0 of 4 busy" in repr(site.listings)


@flow
async def test_reader_that_stops(serve: Serve, top: Path) -> None:
    """A client that takes nothing for the write time-out loses the connection, and its place."""
    sparse(top / "photos/sparse", GIB)
    site = serve(top)
    with site.connect(buffer=8192) as talk:
        talk.send(request_head(b"/photos/?tar"))
        await deferToThread(talk.head)
        await site.until(lambda: site.under_way == 0)
        site.clock.pump([0.5] * int(4 * STALL))
        await site.until(lambda: bool(site.records))
        assert site.records[0].error == "connection_write_timeout"
        await site.until(lambda: not site.under_way)
    assert "archives <Places 0 of 4 busy" in repr(site.listings)


@flow
async def test_no_more_than_four(serve: Serve, top: Path) -> None:
    """The fifth archive is refused for now; a place that is left is free again."""
    sparse(top / "photos/sparse", GIB)
    site = serve(top)
    talks = [site.connect(buffer=8192) for _ in range(4)]
    for talk in talks:
        talk.send(request_head(b"/photos/?tar"))
    await gatherResults([deferToThread(talk.head) for talk in talks])
    refused = await site.get(b"/photos/?zip")
    assert refused.status == 503
    assert refused.head.one(b"retry-after") == b"5"
    for talk in talks:
        talk.reset()
    await site.until(lambda: len(site.records) == 5 and not site.under_way)
    assert "archives <Places 0 of 4 busy" in repr(site.listings)


@flow
async def test_all_links_may_be_followed(serve: Serve, top: Path) -> None:
    """Where every link is followed, what they lead to is in the archive too."""
    (top.parent / "outside").mkdir()
    (top.parent / "outside/file").write_bytes(b"far")
    (top / "photos/far").symlink_to("../../outside")
    found = untarred((await serve(top, symlinks=Symlinks.ALL).get(b"/photos/?tar")).body)
    assert found["photos/far/file"] == b"far"


# Names.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b'a"b\\c', b"attachment; filename=\"a_b_c.zip\"; filename*=UTF-8''a%22b%5Cc.zip"),
        (
            b"a\r\nX: y",
            b"attachment; filename=\"a__X_ y.zip\"; filename*=UTF-8''a%0D%0AX%3A%20y.zip",
        ),
        (b"100%", b"attachment; filename=\"100_.zip\"; filename*=UTF-8''100%25.zip"),
        (b"caf\xe9", b"attachment; filename=\"caf_.zip\"; filename*=UTF-8''caf%EF%BF%BD.zip"),
        (b"caf\xc3\xa9", b"attachment; filename=\"caf__.zip\"; filename*=UTF-8''caf%C3%A9.zip"),
        (b"My photos (2)", b'attachment; filename="My photos (2).zip"'),
    ],
)
def test_disposition(name: bytes, expected: bytes) -> None:
    """The name to save under is safe in a field, and exact for who reads RFC 8187."""
    assert disposition(name, ZIP) == expected
    assert disposition(b"a", TAR) == b'attachment; filename="a.tar"'


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"a/..\\..\\evil", "a/..%5C..%5Cevil"),
        (b"a/caf\xe9", "a/caf%E9"),
        (b"a/new\nline\xff", "a/new\nline%FF"),
        ("a/gr\u00fc\u00dfe \u3000".encode(), "a/gr\u00fc\u00dfe \u3000"),
    ],
)
def test_zip_name(path: bytes, expected: str) -> None:
    """No name in a zip leads elsewhere on a machine with other rules, and all can be encoded."""
    assert zip_name(path) == expected
