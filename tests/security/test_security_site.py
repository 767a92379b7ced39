"""The site's root, from every door: whichever way a path is written and wherever it is sent.

Each case names the section that decides it, or who got it wrong, by CVE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.appliance import Running, start
from tests.security.attacks import named, talk_to
from tests.talk import Response

SECRET = b"SECRET"
LARGE = bytes(1_000_000)


def make_tree(top: Path) -> Path:
    """Return a root with secrets in it and beside it."""
    files = {
        "www/plain.txt": b"plain",
        "www/large.bin": LARGE,
        "www/docs/index.html": b"<p>docs",
        "www/.env": SECRET,
        "www/.git/config": SECRET,
        "www/docs/.htpasswd": SECRET,
        "secret.txt": SECRET,
        "www-more/secret.txt": SECRET,
    }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    (top / "www/outside").symlink_to("../secret.txt")
    (top / "www/outside-folder").symlink_to("../www-more")
    (top / "www/absolute").symlink_to("/etc/passwd")
    (top / "www/procfs").symlink_to("/proc/self/environ")
    (top / "www/loop").symlink_to("loop")
    os.mkfifo(top / "www/fifo")
    return top / "www"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product over that tree."""
    root = make_tree(tmp_path_factory.mktemp("site"))
    ini = f"[site]\nroot = {root}\n[access]\ndestinations = public\n"
    with start(root.parent, ini) as started:
        yield started


class Door(NamedTuple):
    """A way to the site: which port, and what the target begins with."""

    port: str
    prefix: str


DOORS = {
    "site": Door("site", ""),
    "the proxy's port": Door("proxy", ""),
    "own URL": Door("site", "http://127.0.0.1:{site}"),
    "own URL through the proxy": Door("proxy", "http://127.0.0.1:{site}"),
}


def ask(running: Running, door: str, path: bytes, lines: bytes = b"") -> Response:
    """Ask for *path* at *door*; another request follows, to see that the connection is in step."""
    port, prefix = DOORS[door]
    start = prefix.format(site=running.site).encode("ascii")
    version = b" HTTP/1.0\r\nConnection: keep-alive\r\n"
    with talk_to(running.ports[port]) as talk:
        talk.send(b"GET " + start + path + version + lines + b"\r\n")
        answer = talk.response()
        if answer.head.all(b"Connection") == [b"keep-alive"]:
            talk.send(b"GET " + start + b"/plain.txt" + version + b"\r\n")
            assert talk.response().body == b"plain"
    return answer


PATHS: list[tuple[str, bytes]] = [
    ("CVE-2021-41773", b"/.%2e/secret.txt"),
    ("CVE-2021-42013", b"/%%32%65%%32%65/secret.txt"),
    ("CVE-2021-42013", b"/.%%32%65/secret.txt"),
    ("CVE-2024-23334", b"/outside"),
    ("CVE-2024-23334", b"/outside-folder/secret.txt"),
    ("CVE-2024-23334", b"/absolute"),
    ("CVE-2024-23334", b"/procfs"),
    ("CVE-2024-23334", b"/docs/../../secret.txt"),
    ("CVE-2023-29159", b"/../www-more/secret.txt"),
    ("CVE-2018-9206", b"/docs/.htpasswd"),
    ("CVE-2008-2938", b"/%c0%ae%c0%ae/secret.txt"),
    ("CVE-2000-0884", b"/..%c0%af../secret.txt"),
    ("CVE-2000-0884", b"/..%252fsecret.txt"),
    ("CVE-2010-3863", b"/./.env"),
    ("CVE-2013-4547", b"/plain.txt%20%00.html"),
    ("RFC 3986 5.2.4", b"/../secret.txt"),
    ("RFC 3986 5.2.4", b"/" + b"../" * 40 + b"etc/passwd"),
    ("RFC 3986 5.2.4", b"/%2e%2e/secret.txt"),
    ("RFC 3986 5.2.4", b"/%2e%2e%2fsecret.txt"),
    ("RFC 3986 5.2.4", b"/docs/%2E%2E/%2E%2E/secret.txt"),
    ("RFC 3986 2.4", b"/%252e%252e/secret.txt"),
    ("RFC 3986 2.4", b"/%u002e%u002e/secret.txt"),
    ("RFC 3986 2.1", b"/%2"),
    ("RFC 3986 2.1", b"/%zz"),
    ("RFC 3986 7.3", b"/plain.txt%00"),
    ("RFC 3986 3.3", b"/..;/secret.txt"),
    ("RFC 3986 3.3", b"/docs/..;x=y/../secret.txt"),
    ("RFC 3986 3.3", b"/....//....//secret.txt"),
    ("RFC 3986 3.3", b"//etc/passwd"),
    ("RFC 3986 3.3", b"/%2f%2fetc/passwd"),
    ("RFC 8089 2", b"/file:///etc/passwd"),
    ("WHATWG URL 4.4", b"/..\\secret.txt"),
    ("WHATWG URL 4.4", b"/..%5c..%5csecret.txt"),
    ("RFC 3629 10", b"/%ef%bc%8e%ef%bc%8e/secret.txt"),
    ("RFC 9110 17.3", b"/.env"),
    ("RFC 9110 17.3", b"/%2eenv"),
    ("RFC 9110 17.3", b"/.git/config"),
    ("RFC 9110 17.3", b"/docs/.htpasswd"),
    ("CVE-2024-23334", b"/loop"),
    ("CVE-2024-23334", b"/loop/x"),
    ("RFC 9110 17.3", b"/fifo"),
    ("RFC 9110 17.3", b"/" + b"a" * 300),
    ("RFC 9110 17.3", b"/" + b"a/" * 5_000),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("source", "path"), PATHS, ids=named)
def test_paths_that_lead_out(served: Running, source: str, path: bytes, door: str) -> None:
    """No spelling leads out of the root, to a hidden file, or to a 500; at no door."""
    answer = ask(served, door, path)
    assert answer.status in (400, 404), source
    assert SECRET not in answer.body
    assert b"root:" not in answer.body
    assert not answer.head.all(b"Location")


RANGES: list[tuple[str, bytes]] = [
    ("CVE-2011-3192", b"bytes=" + b",".join(b"%d-" % n for n in range(5_000))),
    ("CVE-2011-3192", b"bytes=" + b"0-," * 10_000 + b"0-"),
    ("CVE-2011-3192", b"bytes=" + b",".join(b"0-%d" % n for n in range(1_300))),
    ("CVE-2017-7529", b"bytes=-1,-9223372036854775608"),
    ("CVE-2017-7529", b"bytes=-18446744073709551615"),
    ("CVE-2005-2728", b"bytes=0-18446744073709551615"),
    ("RFC 9110 14.2", b"bytes=" + b"9" * 10_000 + b"-"),
    ("RFC 9110 14.2", b"bytes=1000000-,999999-999998,--1"),
    ("CVE-2024-26141", b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 9_000, 2))),
]


@pytest.mark.parametrize(("source", "ranges"), RANGES, ids=named)
def test_range_bombs(served: Running, source: str, ranges: bytes) -> None:
    """A request for ranges never gets more than about the file itself, and never a 500."""
    before = served.memory()
    answer = ask(served, "site", b"/large.bin", b"Range: " + ranges + b"\r\n")
    assert answer.status in (200, 206, 416), source
    assert len(answer.body) <= len(LARGE) * 1.1
    assert served.grown(before) < 8 * 1024 * 1024


CONDITIONS = [
    b"If-None-Match: " + b'"a", ' * 12_000,
    b"If-Match: " + b'"' * 60_000,
    b"If-Modified-Since: " + b"9" * 60_000,
    b"Accept-Encoding: " + b"br;q=0.1," * 6_000,
    b"Accept: " + b"text/html;q=0.1," * 3_900,
    b"Accept: text/html" + b';a="\\\\' * 9_000,
]


@pytest.mark.parametrize("line", CONDITIONS, ids=named)
def test_long_fields_are_read_in_time(served: Running, line: bytes) -> None:
    """CVE-2024-21538: no field of 64 KiB makes a pattern or a list run for seconds."""
    answer = ask(served, "site", b"/plain.txt", line + b"\r\n")
    assert answer.status in (200, 304, 412)


WRONG_DOOR: list[tuple[str, bytes, int]] = [
    ("RFC 9110 7.4", b"GET http://192.0.2.1/ HTTP/1.0", 421),
    ("RFC 9110 7.4", b"GET http://127.0.0.1:1/ HTTP/1.0", 421),
    ("RFC 9110 7.4", b"GET https://127.0.0.1:{site}/ HTTP/1.0", 421),
    ("RFC 9110 9.3.6", b"CONNECT 192.0.2.1:443 HTTP/1.0", 421),
    ("RFC 9110 9.3.6", b"CONNECT 127.0.0.1:{site} HTTP/1.0", 421),
    ("RFC 9110 9.3.5", b"DELETE /plain.txt HTTP/1.0", 405),
    ("RFC 9110 9.3.4", b"PUT /plain.txt HTTP/1.0", 405),
    ("RFC 9110 9.3.8", b"TRACE /plain.txt HTTP/1.0", 405),
    ("RFC 4918 9.1", b"PROPFIND / HTTP/1.0", 405),
]


@pytest.mark.parametrize(("source", "start_line", "status"), WRONG_DOOR, ids=named)
def test_the_site_is_no_proxy(served: Running, source: str, start_line: bytes, status: int) -> None:
    """VU#150227: the port of the site leads no further, and changes nothing."""
    line = start_line.replace(b"{site}", b"%d" % served.site)
    with talk_to(served.site) as talk:
        talk.send(line + b"\r\nCookie: a=SECRET\r\n\r\n")
        answer = talk.response()
    assert answer.status == status, source
    assert SECRET not in answer.body
