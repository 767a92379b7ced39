"""Folders over real sockets: pages, JSON, what is shown and what isn't, and who does the work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from proxyapp.rules.symlinks import Symlinks
from proxyapp.site.folderquery import PAGE_LENGTH
from tests.net.loopback import flow
from tests.site.foldersite import NOW, FolderSite, Serve

ODD_NAMES = [
    b"<script>alert(1)<b>",
    b'"><img src=x onerror=alert(1)>',
    b"it's & more",
    b"javascript:alert(1)",
    b"100% #1 ?.txt",
    b"%2e%2e%2f",
    b" leading and trailing ",
    b"new\nline",
    b"tab\tand \x1b[31m",
    b"back\\slash",
    b"caf\xe9",
    "gr\u00fc\u00dfe \u202e gpj.exe".encode(),
    b"-rf",
    b"$title ${rows}",
    b"x" * 255,
]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return an empty folder inside an empty one."""
    folder = tmp_path / "top"
    folder.mkdir()
    return folder


async def listed(site: FolderSite, target: bytes = b"/?json") -> list[str]:
    """Return the names in the JSON of *target*."""
    response = await site.get(target)
    assert response.status == 200, response
    return [entry["name"] for entry in json.loads(response.body)["entries"]]


# What is shown.


@flow
async def test_only_what_is_served(serve: Serve, top: Path) -> None:
    """Dot files, devices, pipes, and links that lead out or nowhere aren't in the list."""
    (top / "folder").mkdir()
    for name in ("file", ".hidden", "folder/inner"):
        (top / name).write_bytes(b"x")
    (top.parent / "outside").write_bytes(b"secret")
    os.mkfifo(top / "pipe")
    links = {
        "in": "file",
        "in-folder": "folder",
        "out": "../outside",
        "dead": "nothing",
        "self": "self",
        "up": "..",
        "null": "/dev/null",
    }
    for name, end in links.items():
        (top / name).symlink_to(end)
    assert await listed(serve(top)) == ["folder", "in-folder", "file", "in"]
    assert await listed(serve(top, symlinks=Symlinks.NONE)) == ["folder", "file"]
    everything = await listed(serve(top, symlinks=Symlinks.ALL))
    assert everything == ["folder", "in-folder", "up", "file", "in", "out"]


@flow
async def test_hidden_names(serve: Serve, top: Path) -> None:
    """Where dot files are served they are shown, but for uploads that aren't finished."""
    for name in (".hidden", ".name.0123456789abcdef0123456789abcdef.part"):
        (top / name).write_bytes(b"x")
    assert await listed(serve(top, hidden=True)) == [".hidden"]


@flow
async def test_links_below_a_linked_folder(serve: Serve, top: Path) -> None:
    """Where links lead is judged from the root, however the folder was reached."""
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/good").symlink_to("../../file")
    (top / "a/b/bad").symlink_to("../../../outside")
    (top / "file").write_bytes(b"x")
    (top.parent / "outside").write_bytes(b"x")
    (top / "short").symlink_to("a/b")
    assert await listed(serve(top), b"/short/?json") == ["good"]


@flow
async def test_odd_names(serve: Serve, top: Path) -> None:
    """Whatever a name holds, its link is one reference to exactly that file, below this folder."""
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(b"x")
    site = serve(top)
    document = json.loads((await site.get(b"/?json")).body)
    urls = [entry["url"] for entry in document["entries"]]
    assert all(url.startswith("./") and "/" not in url[2:] for url in urls)
    assert sorted(unquote_to_bytes(url[2:]) for url in urls) == sorted(ODD_NAMES)
    page = (await site.get(b"/")).body.decode()
    for url in urls:
        assert f'href="{url}"' in page
    for harmful in ("<script", "<img", "\u202e", "\x1b", 'href="javascript', "new\nline"):
        assert harmful not in page


@flow
async def test_times_no_calendar_has(serve: Serve, top: Path) -> None:
    """A date before or far behind ours is shown as far as it can be told."""
    for name, seconds in {"old": -(10**9), "late": 2**33}.items():
        (top / name).write_bytes(b"x")
        os.utime(top / name, (seconds, seconds))
    document = json.loads((await serve(top).get(b"/?json")).body)
    dates = {entry["name"]: entry["modified"] for entry in document["entries"]}
    assert dates == {"old": "1938-04-24T22:13:20Z", "late": "2242-03-16T12:56:32Z"}


# Answers.


@flow
async def test_html(serve: Serve, top: Path) -> None:
    """A folder is a page that no cache may keep unasked, and that runs no script."""
    (top / "sub").mkdir()
    (top / "sub/file.txt").write_bytes(bytes(1536))
    response = await serve(top).get(b"/sub/")
    head = response.head
    assert response.status == 200
    assert head.one(b"content-type") == b"text/html; charset=utf-8"
    assert head.one(b"cache-control") == b"no-cache"
    assert head.one(b"vary") == b"Accept"
    assert head.one(b"x-given") == b"yes"
    assert head.one(b"content-security-policy").startswith(b"default-src 'none'; style-src")
    page = response.body.decode()
    assert '<a href="./file.txt">' in page
    assert '<a href="../">../</a>' in page
    assert '<td class="size" title="1,536 bytes">1.5 KiB</td>' in page
    assert "0 folders, 1 file, 1.5 KiB" in page


@flow
async def test_way_to_the_setup_page(serve: Serve, top: Path) -> None:
    """The top folder of the site, and no other, leads to the page about the proxy."""
    (top / "sub").mkdir()
    link = b'<a href="/setup">'
    assert link in (await serve(top).get(b"/")).body
    assert link not in (await serve(top).get(b"/sub/")).body
    assert link not in (await serve(top, prefix=b"/pub").get(b"/pub/")).body


@flow
async def test_json(serve: Serve, top: Path) -> None:
    """JSON tells what the page shows, exactly."""
    (top / "sub").mkdir()
    Path(os.fsdecode(os.fsencode(top) + b"/caf\xe9")).write_bytes(b"12345")
    for path in top.iterdir():
        os.utime(path, (NOW, NOW))
    response = await serve(top).get(b"/", b"Accept: application/json")
    assert response.head.one(b"content-type") == b"application/json"
    date = "2001-09-09T01:46:40Z"
    assert json.loads(response.body) == {
        "path": "/",
        "page": 1,
        "pages": 1,
        "total": 2,
        "size": 5,
        "complete": True,
        "entries": [
            {"name": "sub", "type": "folder", "size": None, "modified": date, "url": "./sub/"},
            {"name": "caf\ufffd", "type": "file", "size": 5, "modified": date, "url": "./caf%E9"},
        ],
    }


@pytest.mark.parametrize(
    ("target", "accept", "expected"),
    [
        (b"/", b"application/json;q=0.5, text/html", b"text/html; charset=utf-8"),
        (b"/", b"*/*", b"text/html; charset=utf-8"),
        (b"/?html", b"application/json", b"text/html; charset=utf-8"),
        (b"/?json", b"text/html", b"application/json"),
        (b"/?sort=size&json=", b"", b"application/json"),
        (b"/", b"text/html;q=0.1, application/json", b"application/json"),
    ],
)
@flow
async def test_which_form(
    serve: Serve, top: Path, target: bytes, accept: bytes, expected: bytes
) -> None:
    """The query decides, and without a word there the Accept field."""
    response = await serve(top).get(target, b"Accept: " + accept)
    assert response.head.one(b"content-type") == expected


@flow
async def test_head(serve: Serve, top: Path) -> None:
    """HEAD tells the length of the page, and leaves the connection as it was."""
    site = serve(top)
    whole = await site.get(b"/?json")
    head = await site.get(b"/?json", method=b"HEAD")
    assert head.head.one(b"content-length") == b"%d" % len(whole.body)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/?page=2", 404),
        (b"/?" + b"&".join(b"a=1" for _ in range(40)), 400),
        (b"/?page=0", 200),
        (b"/?page=-1", 200),
        (b"/?page=x", 200),
        (b"/?page=%D9%A2", 200),
        (b"/?sort=colour&order=up&C=M;O=A", 200),
        (b"/?%FF=%FF&filter=%FF", 200),
    ],
)
@flow
async def test_odd_queries(serve: Serve, top: Path, target: bytes, status: int) -> None:
    """A query from elsewhere leads to the folder all the same; a page that isn't there is 404."""
    assert (await serve(top).get(target)).status == status


@flow
async def test_mounted(serve: Serve, top: Path) -> None:
    """Below a mount the whole path is shown, and every link stays relative."""
    (top / "sub").mkdir()
    site = serve(top, prefix=b"/my%20photos")
    response = await site.get(b"/my%20photos/sub/?json")
    assert json.loads(response.body)["path"] == "/my photos/sub/"
    page = (await site.get(b"/my%20photos/sub/")).body.decode()
    assert '<a href="../../"><bdi>Home</bdi></a> / <a href="../"><bdi>my photos</bdi></a>' in page


# Large folders.


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 100,000 files."""
    folder = tmp_path_factory.mktemp("crowd")
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(100_000):
        os.close(os.open(f"file {number}", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    return folder


@flow
async def test_a_crowd(serve: Serve, crowd: Path) -> None:
    """Of 100,000 files a page shows a thousand, made in a thread, and other clients go first."""
    site = serve(crowd)
    document = json.loads((await site.get(b"/?json&page=100")).body)
    assert (document["total"], document["pages"]) == (100_000, 100)
    names = [entry["name"] for entry in document["entries"]]
    assert names == [f"file {number}" for number in range(99_000, 100_000)]
    assert len(site.threads) == 1
    assert "MainThread" not in site.threads
    page = (await site.get(b"/?sort=size&filter=FILE%209&page=2")).body
    assert page.count(b"<tr") == 1 + PAGE_LENGTH
    assert b'<a rel="prev" href="?sort=size&amp;order=desc&amp;filter=FILE+9">' in page
    assert b'href="?sort=size&amp;order=desc&amp;filter=FILE+9&amp;page=3">' in page
    assert len(page) < 400_000


@flow
async def test_more_than_can_be_shown(
    serve: Serve, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder past the limit is shown in part, and says so."""
    monkeypatch.setattr("proxyapp.site.listing.MOST_ENTRIES", 3)
    for number in range(4):
        (top / str(number)).touch()
    site = serve(top)
    document = json.loads((await site.get(b"/?json")).body)
    assert (document["complete"], document["total"]) == (False, 3)
    assert b"more than can be shown" in (await site.get(b"/")).body


@flow
async def test_client_that_leaves(serve: Serve, crowd: Path) -> None:
    """Nobody reads on in a folder whose client has gone."""
    site = serve(crowd)
    talk = site.connect()
    talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await site.until(lambda: bool(site.threads))
    talk.reset()
    await site.until(lambda: bool(site.records))
    assert site.records[0].status == 499
    await site.until(lambda: not site.under_way)
    assert "0 of 2 busy, 0 waiting" in repr(site.listings)
