"""The site from outside: an ini, a folder and real clients, point by point of what it promises."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import resource
import select
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from http import client
from pathlib import Path
from typing import NamedTuple

import pytest
from passlib.registry import get_crypt_handler

from tests.appliance import Running, command, environ, start, wait_for
from tests.conftest import Connect, StartAppliance

LARGE = os.urandom(3_000_000)
STYLE = b"body { color: red }\n" * 500
PAGE = b"<title>Index</title>"
ADMIN = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
INI = """\
[proxyapp]
hostnames = gateway.test
[site]
root = htdocs
upload = yes
headers = X-Site: all
[site-rule *.css]
cache_control = max-age=60
[site-rule /docs/**]
headers = X-Docs: 1
    X-Docs: 2
[site-rule *.fw]
headers = Content-Type: application/x-firmware
[mount /share]
root = share
[mount /demo]
resource = twisted.web.demo:Test
[mount /admin/log]
log = yes
[auth]
users = file:users
realm = The lab
required = no
[autoconfig]
direct = .lab.test
"""


class Answer(NamedTuple):
    """What a client was told: the fields by their names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def ask(
    port: int,
    target: str,
    fields: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> Answer:
    """Ask on a connection of its own."""
    connection = client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target, body, fields or {})
        got = connection.getresponse()
        return Answer(got.status, {n.lower(): v for n, v in got.getheaders()}, got.read())
    finally:
        connection.close()


def fill(folder: Path) -> None:
    """Make the folders that INI speaks of, and who may upload."""
    top = folder / "htdocs"
    for path, content in {
        "readme.txt": b"0123456789",
        "large.bin": LARGE,
        "style.css": STYLE,
        "style.css.gz": gzip.compress(STYLE),
        "router.fw": b"firmware",
        "docs/a & b.txt": b"text",
        "docs/sub/index.html": PAGE,
        ".hidden": b"secret",
        "../share/shared.txt": b"shared",
        "../outside.txt": b"outside",
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    (top / "out").symlink_to("../outside.txt")
    (top / "in").symlink_to("readme.txt")
    bcrypt = get_crypt_handler("bcrypt").using(rounds=4)
    (folder / "users").write_text(f"ann:{bcrypt.hash('secret')}\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the ini; what is served is below it."""
    made = tmp_path_factory.mktemp("site")
    fill(made)
    return made


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Running]:
    """Yield the product with all that INI turns on."""
    with start(folder, INI) as running:
        yield running


# --- 1: conditions, ranges, methods ---


def test_conditions_and_ranges(site: Running) -> None:
    """What a client has is not sent again, and of the rest only what it wants."""
    whole = ask(site.site, "/readme.txt")
    tag, date = whole.fields["etag"], whole.fields["last-modified"]
    for field, value, status in (
        ("If-None-Match", f'"x", W/{tag}', 304),
        ("If-Modified-Since", date, 304),
        ("If-Match", f"W/{tag}", 412),
        ("If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT", 412),
        ("Range", "bytes=10-", 416),
        ("Range", "bytes=5-1", 200),
    ):
        assert ask(site.site, "/readme.txt", {field: value}).status == status, field
    part = ask(site.site, "/readme.txt", {"Range": "bytes=-3", "If-Range": tag})
    assert (part.status, part.body, part.fields["content-range"]) == (206, b"789", "bytes 7-9/10")
    assert ask(site.site, "/readme.txt", {"Range": "bytes=-3", "If-Range": '"x"'}).status == 200


def test_several_ranges(site: Running) -> None:
    """They come as one multipart body, exact to the byte, also of a file that isn't in memory."""
    asked = "bytes=0-99,1000000-1000099,-100"
    answer = ask(site.site, "/large.bin", {"Range": asked})
    kind, _, boundary = answer.fields["content-type"].partition("; boundary=")
    assert (answer.status, kind) == (206, "multipart/byteranges")
    parts = answer.body.split(b"--" + boundary.encode())
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]] == [
        LARGE[:100],
        LARGE[1_000_000:1_000_100],
        LARGE[-100:],
    ]


def test_methods(site: Running) -> None:
    """HEAD says what GET would, OPTIONS and 405 what works."""
    got, head = ask(site.site, "/large.bin"), ask(site.site, "/large.bin", method="HEAD")
    assert (head.body, head.fields["content-length"]) == (b"", str(len(LARGE)))
    assert got.body == LARGE
    allowed = "GET, HEAD, OPTIONS, PATCH, PUT"
    assert ask(site.site, "/x", method="OPTIONS").fields["allow"] == allowed
    refused = ask(site.site, "/readme.txt", method="DELETE")
    assert (refused.status, refused.fields["allow"]) == (405, allowed)


# --- 2: codings, fields, types ---


def test_precompressed(site: Running) -> None:
    """The compressed sibling is sent to who takes it, as a variant of its own."""
    plain = ask(site.site, "/style.css", {"Accept-Encoding": "gzip;q=0, br"})
    packed = ask(site.site, "/style.css", {"Accept-Encoding": "br;q=0.9, gzip"})
    assert plain.body == STYLE
    assert gzip.decompress(packed.body) == STYLE
    assert packed.fields["content-encoding"] == "gzip"
    assert plain.fields["vary"] == packed.fields["vary"] == "Accept-Encoding"
    assert plain.fields["etag"] != packed.fields["etag"]
    assert plain.fields["content-type"] == packed.fields["content-type"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/readme.txt", {"x-site": "all", "content-type": "text/plain; charset=utf-8"}),
        ("/style.css", {"x-site": "all", "cache-control": "max-age=60"}),
        ("/router.fw", {"x-site": "all", "content-type": "application/x-firmware"}),
        ("/docs/sub/", {"x-site": "all", "x-docs": "2"}),
        ("/docs/sub", {"x-site": "all", "x-docs": "2", "location": "/docs/sub/"}),
        ("/docs/", {"x-site": "all", "x-docs": "2", "cache-control": "no-cache"}),
        ("/docs/?zip", {"x-site": "all", "content-type": "application/zip"}),
        ("/style.css?hash", {"x-site": "all", "cache-control": "no-cache"}),
        ("/share/shared.txt", {"x-site": "all"}),
    ],
)
def test_fields(site: Running, target: str, expected: dict[str, str]) -> None:
    """[site] headers and [site-rule] reach files and folder pages, but don't overrule pages."""
    fields = ask(site.site, target).fields
    assert {name: fields.get(name) for name in expected} == expected


# --- 3: confinement ---


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/../outside.txt", 404),
        (b"/%2e%2e/outside.txt", 404),
        (b"/docs/%2E%2E%2Freadme.txt", 404),
        (b"/docs%2fsub/", 404),
        (b"/readme.txt%00", 400),
        (b"/%zz", 400),
        (b"/share/../readme.txt", 404),
        (b"//readme.txt", 404),
        (b"/.hidden", 404),
        (b"/out", 404),
        (b"/in", 200),
    ],
)
def test_confinement(site: Running, connect: Connect, target: bytes, status: int) -> None:
    """Nothing outside of the root or hidden in it is served, however it is spelled."""
    talk = connect(site.site)
    talk.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.response().status == status


def test_file_that_shrinks(site: Running, folder: Path, connect: Connect) -> None:
    """A file that is cut while it is sent ends the connection, before its announced end."""
    path = folder / "htdocs/shrinks.bin"
    size = 20_000_000
    with path.open("wb") as file:
        file.truncate(size)
    talk = connect(site.site)
    talk.send(b"GET /shrinks.bin HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.head().one(b"content-length") == b"%d" % size
    os.truncate(path, 1000)
    with pytest.raises(EOFError):
        talk.skip(size)


@pytest.mark.parametrize(
    ("policy", "statuses"), [("none", (404, 404)), ("inside", (200, 404)), ("all", (200, 200))]
)
def test_symlinks(
    start_appliance: StartAppliance, tmp_path: Path, policy: str, statuses: tuple[int, int]
) -> None:
    """[site] symlinks and hidden reach the files and the folder pages."""
    fill(tmp_path)
    ini = f"[site]\nroot = htdocs\nhidden = yes\nsymlinks = {policy}\n"
    with start_appliance(ini) as running:
        assert tuple(ask(running.site, f"/{name}").status for name in ("in", "out")) == statuses
        listed = {each["name"] for each in json.loads(ask(running.site, "/?json").body)["entries"]}
        assert ask(running.site, "/.hidden").body == b"secret"
    links = {name for name, status in zip(("in", "out"), statuses, strict=True) if status == 200}
    assert listed & {"in", "out", ".hidden"} == links | {".hidden"}


# --- 4: folder pages ---


def test_folder_pages(site: Running) -> None:
    """The same folder as a page, as JSON, as a zip, as a tar; and its files' digests."""
    page = ask(site.site, "/docs/").body.decode()
    assert '<a href="./a%20%26%20b.txt"><bdi>a &amp; b.txt</bdi></a>' in page
    assert '<a href="../"><bdi>Home</bdi></a>' in page
    found = json.loads(ask(site.site, "/docs/", {"Accept": "application/json"}).body)
    assert [entry["name"] for entry in found["entries"]] == ["sub", "a & b.txt"]
    with zipfile.ZipFile(io.BytesIO(ask(site.site, "/docs/?zip").body)) as packed:
        assert packed.testzip() is None
        assert packed.read("docs/a & b.txt") == b"text"
    with tarfile.open(fileobj=io.BytesIO(ask(site.site, "/docs/?tar").body)) as tar:
        assert sorted(tar.getnames()) == [
            *("docs", "docs/a & b.txt", "docs/sub", "docs/sub/index.html")
        ]
    line = ask(site.site, "/readme.txt?hash").body
    assert line.endswith(b"  readme.txt\n")
    assert ask(site.site, "/docs/sub/").body == PAGE


def test_huge_folder_holds_up_nobody(
    start_appliance: StartAppliance, connect: Connect, tmp_path: Path
) -> None:
    """While 20,000 entries are read and sorted, others are answered as ever."""
    many = tmp_path / "htdocs/many"
    many.mkdir(parents=True)
    for number in range(20_000):
        os.mknod(many / f"file{number}")
    with start_appliance("[site]\nroot = htdocs\n") as running:
        patient, other = connect(running.site), connect(running.site)
        patient.send(b"GET /many/?sort=size&page=20 HTTP/1.1\r\nHost: a\r\n\r\n")
        answered = 0
        while not select.select([patient.socket], [], [], 0.01)[0]:
            other.send(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.response().status == 404
            answered += 1
        page = patient.response().body
    assert b">Page 20 of 20<" in page
    assert len(page) < 400_000
    assert answered > 3


# --- 5: what is large, and goes on where it broke off ---


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("had", [1, 1_234_567, len(LARGE) - 1])
def test_curl_resumes(site: Running, tmp_path: Path, had: int) -> None:
    """`curl -C -` fetches only what is missing."""
    file = tmp_path / "large.bin"
    file.write_bytes(LARGE[:had])
    url = f"http://127.0.0.1:{site.site}/large.bin"
    command = ["curl", "-s", "-C", "-", "-o", str(file), "-w", "%{http_code} %{size_download}"]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == f"206 {len(LARGE) - had}"
    assert file.read_bytes() == LARGE


def test_memory_notices_changes(site: Running, folder: Path) -> None:
    """A short file that is remembered is seen anew within about a second of its change."""
    path = folder / "htdocs/changes.txt"
    path.write_bytes(b"old")
    os.utime(path, (1, 1))
    assert ask(site.site, "/changes.txt").body == b"old"
    path.write_bytes(b"new")
    wait_for(lambda: ask(site.site, "/changes.txt").body == b"new", "new content")


# --- 6: uploads ---


def test_put(site: Running, folder: Path) -> None:
    """A user may store a file, replace it, and not replace it by mistake."""
    port, path = site.site, folder / "htdocs/up/new.bin"
    refused = ask(port, "/up/new.bin", method="PUT", body=LARGE)
    assert (refused.status, refused.fields["www-authenticate"][:5]) == (401, "Basic")
    assert not path.parent.exists()
    made = ask(port, "/up/new.bin", ADMIN, "PUT", LARGE)
    assert (made.status, made.fields["location"]) == (201, "/up/new.bin")
    assert path.read_bytes() == LARGE
    assert ask(port, "/up/new.bin", ADMIN, "PUT", b"short").status == 204
    assert ask(port, "/up/new.bin").body == b"short"
    careful = ADMIN | {"If-None-Match": "*"}
    assert ask(port, "/up/new.bin", careful, "PUT", b"x").status == 412
    assert ask(port, "/share/new.bin", ADMIN, "PUT", b"x").status == 405
    assert ask(port, "/proxy.pac", ADMIN, "PUT", b"x").status == 405


def test_broken_put_leaves_nothing(site: Running, folder: Path, connect: Connect) -> None:
    """A client that is gone in the middle has uploaded nothing that anybody sees, or keeps."""
    top = folder / "htdocs/broken"
    talk = connect(site.site)
    lines = [b"PUT /broken/x HTTP/1.1", b"Host: a", b"Content-Length: 4000000"]
    lines.append(b"Authorization: " + ADMIN["Authorization"].encode())
    talk.send(b"\r\n".join([*lines, b"", b""]), LARGE)
    wait_for(lambda: top.is_dir() and list(top.iterdir()), "part")
    assert ask(site.site, "/broken/x").status == 404
    assert json.loads(ask(site.site, "/broken/?json").body)["entries"] == []
    talk.reset()
    wait_for(lambda: not list(top.iterdir()), "empty folder")


def test_upload_goes_on_after_a_restart(start_appliance: StartAppliance, tmp_path: Path) -> None:
    """PATCH adds to what is there, though the product was stopped meanwhile."""
    fill(tmp_path)

    def send(port: int, first: int, last: int) -> Answer:
        fields = ADMIN | {"Content-Range": f"bytes {first}-{last}/{len(LARGE)}"}
        return ask(port, "/p.bin", fields, "PATCH", LARGE[first : last + 1])

    with start_appliance(INI) as running:
        assert send(running.site, 0, 999_999).fields["upload-offset"] == "1000000"
        running.stop()
    with start_appliance(INI) as running:
        assert ask(running.site, "/p.bin").status == 404
        asked = ADMIN | {"Content-Range": f"bytes */{len(LARGE)}"}
        there = ask(running.site, "/p.bin", asked, "PATCH", b"")
        assert (there.status, there.fields["upload-offset"]) == (204, "1000000")
        assert send(running.site, 999_999, len(LARGE) - 1).status == 409
        assert send(running.site, 1_000_000, len(LARGE) - 1).status == 201
        assert ask(running.site, "/p.bin").body == LARGE


def test_full_disk(site: Running, folder: Path) -> None:
    """Where the disk takes no more, the answer is 507, and the part is gone."""
    pid, unlimited = site.process.pid, resource.RLIM_INFINITY
    # Beyond this size no file may grow: to who writes, that is a disk with quotas.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1_000_000, unlimited))
    try:
        answer = ask(site.site, "/full/x.bin", ADMIN, "PUT", LARGE)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    assert answer.status == 507
    assert list((folder / "htdocs/full").iterdir()) == []


# --- 7: mounts ---


def test_mounts(site: Running) -> None:
    """A folder, a twisted.web resource and the log are where they were mounted."""
    assert ask(site.site, "/share").fields["location"] == "/share/"
    assert ask(site.site, "/share/shared.txt").body == b"shared"
    assert b"shared.txt" in ask(site.site, "/share/").body
    assert ask(site.site, "/shared.txt").status == 404
    demo = ask(site.site, "/demo/")
    assert (demo.status, b"Twisted Web" in demo.body) == (200, True)


def test_mounted_log(site: Running) -> None:
    """The admin reads the log in a browser, and nobody else does."""
    ask(site.site, "/remember-me")
    site.line_with("/remember-me")
    refused = ask(site.site, "/admin/log/")
    assert (refused.status, b"remember-me" in refused.body) == (401, False)
    assert 'realm="The lab"' in refused.fields["www-authenticate"]
    shown = ask(site.site, "/admin/log/", ADMIN)
    assert shown.fields["content-type"] == "text/plain; charset=utf-8"
    assert b'"/remember-me"' in shown.body
    assert ask(site.site, "/admin/log/", ADMIN, "PUT", b"").status == 405


def test_mount_that_is_none(tmp_path: Path) -> None:
    """A resource that can't be made is one sentence for the admin when it starts."""
    ini = tmp_path / "proxyapp.ini"
    ini.write_text("[mount /x]\nresource = twisted.web.demo:Nothing\n")
    listen = [f"--set={name}.listen=tcp:0:interface=127.0.0.1" for name in ("proxy", "site")]
    done = subprocess.run(
        command("--config", str(ini), *listen),
        env=environ(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "[mount /x] resource: twisted.web.demo has no working Nothing" in done.stderr


# --- 8: automatic settings, and the gateway's own URLs ---


@pytest.mark.parametrize("path", ["/wpad.dat", "/proxy.pac"])
def test_autoconfiguration_on_both_ports(site: Running, path: str) -> None:
    """Both ports tell a client of the proxy by the name that it asked by."""
    for port in (site.site, site.proxy):
        answer = ask(port, path, {"Host": f"gw.lab:{port}"})
        assert answer.fields["content-type"] == "application/x-ns-proxy-autoconfig"
        assert answer.fields["cache-control"] == "max-age=300"
        assert f'var PROXIES = "PROXY gw.lab:{site.proxy}";' in answer.body.decode()
        assert b'"*.lab.test"' in answer.body
        unchanged = {"Host": f"gw.lab:{port}", "If-None-Match": answer.fields["etag"]}
        assert ask(port, path, unchanged).status == 304


def test_setup_page(site: Running) -> None:
    """/setup says whether the client uses the proxy, and by which words to set it up."""
    for port in (site.site, site.proxy):
        page = ask(port, "/setup", {"Host": f"gw.lab:{port}"}).body.decode()
        assert "This page came directly" in page
        assert f"export http_proxy=http://gw.lab:{site.proxy}" in page
    through = ask(site.proxy, f"http://127.0.0.1:{site.site}/setup").body
    assert b"Yes: this page came through the proxy." in through
    for target in ("http://proxyapp.invalid/", "http://proxyapp.invalid/in-use.svg"):
        assert b"Yes: this" in ask(site.proxy, target).body
    assert b'<a href="/setup">' in ask(site.site, "/").body


def test_own_urls_through_the_proxy(site: Running) -> None:
    """A client that sends everything to the proxy gets the gateway's own files, by every name."""
    for host in ("127.0.0.1", "localhost", "gateway.test", "GATEWAY.test."):
        answer = ask(site.proxy, f"http://{host}:{site.site}/readme.txt")
        assert answer.body == b"0123456789", host
        assert b"FindProxyForURL" in ask(site.proxy, f"http://{host}:{site.proxy}/proxy.pac").body
    assert ask(site.proxy, f"http://127.0.0.1:{site.proxy}/readme.txt").status == 508


def test_proxy_requests_on_the_sites_port(site: Running) -> None:
    """The site answers its own absolute URLs; other hosts belong to the proxy, which is named."""
    own = ask(site.site, f"http://gateway.test:{site.site}/readme.txt")
    assert own.body == b"0123456789"
    other = ask(site.site, f"http://www.test:{site.site}/readme.txt")
    assert other.status == 421
    assert f"the proxy is on port {site.proxy}".encode() in other.body


def test_uploads_through_the_proxy(site: Running, folder: Path) -> None:
    """What is the site's own is stored through the proxy as well."""
    target = f"http://127.0.0.1:{site.site}/through/the-proxy.txt"
    assert ask(site.proxy, target, ADMIN, "PUT", b"came through").status == 201
    assert (folder / "htdocs/through/the-proxy.txt").read_bytes() == b"came through"


def test_without_files(start_appliance: StartAppliance) -> None:
    """Without a folder, / is the setup page; without [autoconfig] there are no settings."""
    with start_appliance("[site]\nroot =\n") as running:
        for target in ("/", "/setup"):
            assert b"http_proxy=http://127.0.0.1" in ask(running.site, target).body
        assert ask(running.site, "/readme.txt").status == 404
        assert ask(running.site, "/wpad.dat").status == 200


def test_turned_off(start_appliance: StartAppliance, tmp_path: Path) -> None:
    """Folder pages, uploads and automatic settings can all be off; / is never a dead end."""
    fill(tmp_path)
    ini = "[site]\nroot = htdocs\nlistings = no\nprecompressed =\n[autoconfig]\nenabled = no\n"
    with start_appliance(ini) as running:
        for port in (running.site, running.proxy):
            for target in ("/wpad.dat", "/proxy.pac", "/setup", "/docs/", "/docs/?zip"):
                assert ask(port, target).status == 404, target
        assert b"http_proxy=" in ask(running.site, "/").body
        assert ask(running.site, "/docs/sub/").body == PAGE
        coded = ask(running.site, "/style.css", {"Accept-Encoding": "gzip"})
        assert (coded.body, "vary" in coded.fields) == (STYLE, False)
        assert ask(running.site, "/x", ADMIN, "PUT", b"x").status == 405
