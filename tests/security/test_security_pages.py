"""Pages that we write ourselves: nothing of a request, a name or a path becomes markup in them.

Each case names who got it wrong, by CVE, or the section that allows the bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Running, start
from tests.security.attacks import named, talk_to
from tests.talk import Response

MARKUP = b"<script>alert(1)</script>"
ACCEPT = b"Accept: text/html\r\n"
NAMES = ["<script>alert(1)<", "a&lt;b", "a\"onmouseover='alert(1)", "`a`", "javascript:alert(1)"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product over files with names that are markup."""
    folder = tmp_path_factory.mktemp("pages")
    root = folder / "www"
    for name in NAMES:
        (root / name).mkdir(parents=True)
        (root / name / "page.html").write_bytes(b"hello")
    os.mkfifo(root / "fifo")
    ini = f"[site]\nroot = {root}\n[access]\ndestinations = public\n"
    with start(folder, ini) as started:
        yield started


def answer_to(port: int, data: bytes) -> Response:
    """Send *data* and return the first answer."""
    with talk_to(port) as talk:
        talk.send(data)
        return talk.response(data.partition(b" ")[0])


# What a browser lets through as a URL, and what a script can make it send.
PAGES: list[tuple[str, bytes, int]] = [
    ("CVE-2022-39348", b"GET /none HTTP/1.1\r\nHost: " + MARKUP + b"\r\n", 400),
    ("CVE-2022-39348", b"GET / HTTP/1.1\r\nHost: a\r\nHost: " + MARKUP + b"\r\n", 400),
    ("CVE-2006-3918", b"GET /none HTTP/1.1\r\nHost: a\r\nExpect: " + MARKUP + b"\r\n", 404),
    ("CVE-2007-6203", MARKUP + b" / HTTP/1.1\r\nHost: a\r\n", 400),
    ("CVE-2007-6203", b"<SCRIPT> /none HTTP/1.1\r\nHost: a\r\n", 400),
    ("RFC 9110 17.3", b"GET /" + MARKUP + b" HTTP/1.1\r\nHost: a\r\n", 404),
    ("RFC 9110 17.3", b"GET /none?" + MARKUP + b" HTTP/1.1\r\nHost: a\r\n", 404),
    ("RFC 9110 17.3", b"GET /none\"'>" + MARKUP + b" HTTP/1.1\r\nHost: a\r\n", 404),
    ("RFC 9110 17.3", b"GET /none&lt;&#60;script&#62; HTTP/1.1\r\nHost: a\r\n", 400),
    ("RFC 9110 17.3", b"GET /" + b"<" * 700 + MARKUP + b" HTTP/1.1\r\nHost: a\r\n", 404),
    ("RFC 9110 17.3", b"GET /\xff\xc0\xbcscript\xc0\xbe HTTP/1.1\r\nHost: a\r\n", 400),
    ("RFC 9110 17.3", b"GET /+ADw-script+AD4- HTTP/1.1\r\nHost: a\r\n", 404),
    ("RFC 9110 17.3", b"GET http://192.0.2.1/" + MARKUP + b" HTTP/1.1\r\nHost: 192.0.2.1\r\n", 403),
    ("RFC 9110 17.3", b"GET http://" + MARKUP + b"/ HTTP/1.0\r\n", 400),
    ("RFC 9110 17.3", b"GET http://127.0.0.1:9/" + MARKUP + b" HTTP/1.0\r\n", 403),
    ("RFC 9110 17.3", b"CONNECT " + MARKUP + b":443 HTTP/1.0\r\n", 400),
    ("RFC 9110 17.3", b"BREW" + b"`" * 10 + b" / HTTP/1.1\r\nHost: a\r\n", 405),
    ("RFC 9110 17.3", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + MARKUP + b"\x00\r\n", 400),
]


@pytest.mark.parametrize(("source", "lines", "status"), PAGES, ids=named)
def test_errors_reflect_no_markup(served: Running, source: str, lines: bytes, status: int) -> None:
    """The page is ours, says so, loads nothing, runs nothing, and isn't kept."""
    answer = answer_to(served.proxy, lines + ACCEPT + b"\r\n")
    assert answer.status == status, source
    assert answer.head.one(b"Content-Type") == b"text/html; charset=utf-8"
    assert answer.head.one(b"Content-Security-Policy").startswith(b"default-src 'none'")
    assert answer.head.one(b"X-Content-Type-Options") == b"nosniff"
    assert answer.head.one(b"Cache-Control") == b"no-store"
    assert b"<script" not in answer.body.lower()
    assert len(answer.body) < 8192


@pytest.mark.parametrize("accept", [b"Accept: text/html\r\n", b"Accept: text/plain\r\n", b""])
@pytest.mark.parametrize(
    "target", [b"http://user:c2VjcmV0@192.0.2.1/", b"http://192.0.2.1/?http://u:c2VjcmV0@h/"]
)
def test_errors_show_no_password(served: Running, target: bytes, accept: bytes) -> None:
    """CVE-2025-62168: pages get photographed, and sent to others; no password is on them."""
    answer = answer_to(served.proxy, b"GET " + target + b" HTTP/1.0\r\n" + accept + b"\r\n")
    assert answer.status in (400, 403)
    assert b"c2VjcmV0" not in answer.head.raw + answer.body


def test_fields_of_errors_are_one_line(served: Running) -> None:
    """RFC 9209 section 2: what Proxy-Status quotes can't end the string, nor the field."""
    for target in (b'http://192.0.2.1"\\/', b"http://" + b"a" * 2000 + b"/", b'http://"x"/'):
        answer = answer_to(served.proxy, b"GET " + target + b" HTTP/1.0\r\n\r\n")
        (status,) = answer.head.all(b"Proxy-Status")
        assert status.count(b'"') - status.count(b'\\"') == 2
        assert len(status) < 1024


def test_listings_show_names_as_text(served: Running) -> None:
    """CVE-2024-27306: a file may be called anything, and is shown, linked, and no more."""
    answer = answer_to(served.site, b"GET / HTTP/1.1\r\nHost: a\r\n" + ACCEPT + b"\r\n")
    assert answer.status == 200
    for hostile in (b"<script>alert", b"a&lt;b", b'"onmouseover', b'href="javascript:'):
        assert hostile not in answer.body
    assert b"&lt;script&gt;alert(1)&lt;" in answer.body
    assert answer.head.one(b"X-Content-Type-Options") == b"nosniff"


REDIRECTS: list[tuple[str, bytes]] = [
    ("CVE-2024-41810", b"/%3Cscript%3Ealert(1)%3C"),
    ("CVE-2021-21330", b"/a%26lt%3Bb?//evil.example/"),
    ("CVE-2020-7695", b"/a%26lt%3Bb?%0d%0aSet-Cookie:%20a=b"),
    ("CVE-2024-41810", b"/a%22onmouseover='alert(1)?<script>"),
]


@pytest.mark.parametrize(("source", "target"), REDIRECTS, ids=named)
def test_redirects_stay_here(served: Running, source: str, target: bytes) -> None:
    """A folder's redirect leads to the same host, and its page and fields hold no markup."""
    lines = b"GET " + target + b" HTTP/1.1\r\nHost: evil.example\r\n" + ACCEPT
    answer = answer_to(served.site, lines + b"\r\n")
    assert answer.status == 301, source
    location = answer.head.one(b"Location")
    assert location.startswith(b"/")
    assert not location.startswith(b"//")
    assert b"<script" not in answer.body.lower()
    assert not answer.head.all(b"Set-Cookie")


@pytest.mark.parametrize("path", [b"/setup", b"/proxy.pac", b"/wpad.dat"])
@pytest.mark.parametrize("host", [b"a.example", b"a-b", b"[::1]", b"1.2.3.4:99", b""])
def test_pages_that_repeat_the_host(served: Running, path: bytes, host: bytes) -> None:
    """RFC 9110 section 7.2: a Host that is repeated is a host, and nothing that closes a quote."""
    answer = answer_to(served.site, b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert answer.status == 200
    for hostile in (b'"; alert', b"';alert", b"</script>"):
        answer = answer_to(
            served.site, b"GET " + path + b" HTTP/1.1\r\nHost: a" + hostile + b"\r\n\r\n"
        )
        assert answer.status == 400


def test_nothing_of_the_machine_is_told(served: Running, tmp_path: Path) -> None:
    """RFC 9110 section 17.12: neither versions, nor paths, nor a Server field."""
    for target in (b"/none", b"/fifo", b"http://192.0.2.1/", b"http://127.0.0.1:9/", b"\\"):
        answer = answer_to(served.proxy, b"GET " + target + b" HTTP/1.0\r\n" + ACCEPT + b"\r\n")
        told = answer.head.raw + answer.body
        for hidden in (b"Twisted", b"Python", b"Traceback", b"/tmp", b"errno", b".py"):
            assert hidden not in told
        assert not answer.head.all(b"Server")
