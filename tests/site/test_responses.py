"""What the running site answers to odd and plain requests, byte for byte, over real sockets.

Each case names the section of RFC 9110 that decides it, or the server that got it wrong: an issue
as owner#number, a CVE, or `t.w.static` for the File of twisted.web. Bad ones come first.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from tests.appliance import start
from tests.talk import Head, Response, Talk

TEN = b"0123456789"
LARGE = bytes(number * 7 % 251 for number in range(100_000))
SECRET = b"SECRET"
SCRIPT = b"alert('hello');" * 40
MTIME = 784111777
SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE, AFTER = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
ALLOW = b"GET, HEAD, OPTIONS"

SERVED = {
    "index.html": b"<p>home",
    "ten.txt": TEN,
    "large.bin": LARGE,
    "empty.txt": b"",
    "archive.tar.gz": b"\x1f\x8bpacked",
    "archive.bz2": b"BZhpacked",
    "app.js": SCRIPT,
    "app.js.br": b"brotli",
    "app.js.zst": b"zstandard",
    "app.js.gz": b"gzipped",
    "docs/index.html": b"<p>docs",
    "docs/deep/index.html": b"<p>deep",
    "docs/a b+c;d=e,f.txt": b"marks",
    "docs/gr\u00fc\u00dfe.txt": b"umlauts",
    "100%.txt": b"per cent",
    "%2e%2e": b"literal dots",
    "%00.txt": b"literal zero",
    "back\\slash.txt": b"backslash",
    "what?.txt": b"question",
    "a:b.txt": b"colon",
    "dots...txt": b"dots",
    ".well-known/acme": b"acme",
}
HIDDEN = ["www/.git/config", "www/.env", "www/docs/.hidden", "secret.txt", "www-more/secret.txt"]


class Served(NamedTuple):
    """The running site: its port, and the strong tags of files."""

    port: int
    tags: dict[str, str]

    def ask(self, asked: str, lines: str = "") -> Response:
        """Ask with *lines*, in which {name} stands for the tag of a file; see `ask`."""
        for name, tag in self.tags.items():
            lines = lines.replace(f"{{{name}}}", tag)
        return ask(self.port, asked, lines)


def make_tree(top: Path) -> Path:
    """Return a root of files whose times are known, with secrets in it and beside it."""
    for name in [*(f"www/{each}" for each in SERVED), *HIDDEN]:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SERVED.get(name.removeprefix("www/"), SECRET))
        os.utime(path, (MTIME, MTIME))
    (top / "www/outside").symlink_to("../secret.txt")
    (top / "www/outside-folder").symlink_to("../www-more")
    (top / "www/inside").symlink_to("ten.txt")
    (top / "www/itself").symlink_to("itself")
    os.mkfifo(top / "www/fifo")
    return top / "www"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield the site over the tree, in a process of its own."""
    root = make_tree(tmp_path_factory.mktemp("responses"))
    with start(root.parent, f"[site]\nroot = {root}\n") as running:
        tags = {}
        for name in ("ten.txt", "large.bin", "empty.txt", "app.js"):
            answer = ask(running.site, f"HEAD /{name}")
            tags[name] = answer.head.one(b"ETag").decode()
        yield Served(running.site, tags)


def ask(port: int, asked: str, lines: str = "") -> Response:
    """Ask once, and check what holds for every answer; *asked* is method and target.

    Another request follows on the same connection, so that no byte too many or too few passes.
    """
    head = f"{asked} HTTP/1.1\nHost: a.example\n{lines}".rstrip("\n") + "\n\n"
    with Talk(socket.create_connection(("127.0.0.1", port), timeout=10)) as talk:
        talk.send(head.replace("\n", "\r\n").encode("latin-1"))
        answer = talk.response(asked.partition(" ")[0].encode())
        assert SECRET not in answer.body
        assert b"Traceback" not in answer.body
        for name, value in answer.head.fields:
            assert name == b"Vary" or answer.head.all(name) == [value], f"{name!r} is repeated"
        assert answer.head.one(b"Date")
        if b"close" not in answer.head.all(b"Connection"):
            talk.send(b"GET /ten.txt HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert talk.response().body == TEN
    return answer


def short(value: object) -> str | None:
    """Return the name of a value in the name of a case, where pytest's own is too long."""
    return f"{value[:50]}..." if isinstance(value, str) and len(value) > 50 else None


# Preconditions: status of GET and HEAD for ten.txt, whose tag is {ten.txt}.

PRECONDITIONS: list[tuple[str, str, int]] = [
    # What can't be read.
    ("13.1.1", "If-Match:", 412),
    ("13.1.1", "If-Match: x", 412),
    ("13.1.1", "If-Match: {ten.txt}, x", 412),
    ("13.1.1", "If-Match: *, {ten.txt}", 412),
    ("13.1.1", "If-Match: '*'", 412),
    ("13.1.2", "If-None-Match:", 200),
    ("13.1.2", "If-None-Match: x", 200),
    ("13.1.2", "If-None-Match: **", 200),
    ("13.1.2", "If-None-Match: {ten.txt}, x", 200),
    ("13.1.2", "If-None-Match: w/{ten.txt}", 200),
    ("8.8.3", 'If-None-Match: "', 200),
    ("8.8.3", "If-None-Match: {ten.txt}-gzip", 200),
    ("13.1.3", "If-Modified-Since: ", 200),
    ("13.1.3", "If-Modified-Since: now", 200),
    ("13.1.4", "If-Unmodified-Since: now", 200),
    ("13.1.3", f"If-Modified-Since: {AFTER}\nIf-Modified-Since: {AFTER}", 200),
    ("13.1.4", f"If-Unmodified-Since: {BEFORE}, {BEFORE}", 200),
    # If-Match compares strongly.
    ("13.1.1", 'If-Match: "x"', 412),
    ("8.8.3.2", "If-Match: W/{ten.txt}", 412),
    ("8.8.3.2", 'If-Match: "x", W/{ten.txt}', 412),
    ("13.1.1", "If-Match: {large.bin}", 412),
    ("caddyserver/caddy#1531", "If-Match: {ten.txt}", 200),
    ("13.1.1", "If-Match: *", 200),
    ("13.1.1", 'If-Match: "x", {ten.txt}', 200),
    ("5.3", 'If-Match: "x"\nIf-Match: {ten.txt}', 200),
    # If-Unmodified-Since.
    ("13.1.4", f"If-Unmodified-Since: {BEFORE}", 412),
    ("13.1.4", f"If-Unmodified-Since: {SUNDAY}", 200),
    ("13.1.4", f"If-Unmodified-Since: {AFTER}", 200),
    ("13.2.2", f"If-Match: {{ten.txt}}\nIf-Unmodified-Since: {BEFORE}", 200),
    ("13.2.2", f'If-Match: "x"\nIf-Unmodified-Since: {AFTER}', 412),
    # If-None-Match compares weakly.
    ("t.w.static", "If-None-Match: {ten.txt}", 304),
    ("8.8.3.2", "If-None-Match: W/{ten.txt}", 304),
    ("13.1.2", "If-None-Match: *", 304),
    ("13.1.2", 'If-None-Match: "x", "y,z", W/{ten.txt}', 304),
    ("5.6.1", 'If-None-Match: , "x",, {ten.txt} ,', 304),
    ("5.3", 'If-None-Match: "x"\nif-none-match: {ten.txt}', 304),
    ("13.1.2", 'If-None-Match: "x"', 200),
    ("13.1.2", 'If-None-Match: "*"', 200),
    ("8.8.3", "If-None-Match: {large.bin}", 200),
    # If-Modified-Since.
    ("13.1.3", f"If-Modified-Since: {SUNDAY}", 304),
    ("13.1.3", f"If-Modified-Since: {AFTER}", 304),
    ("13.1.3", f"If-Modified-Since: {BEFORE}", 200),
    ("13.2.2", f'If-None-Match: "x"\nIf-Modified-Since: {AFTER}', 200),
    ("13.2.2", f"If-None-Match: x\nIf-Modified-Since: {AFTER}", 200),
    ("13.2.2", f"If-None-Match: {{ten.txt}}\nIf-Modified-Since: {BEFORE}", 304),
    # The order of the steps, however the lines stand.
    ("13.2.2", 'If-None-Match: {ten.txt}\nIf-Match: "x"', 412),
    ("13.2.2", "If-None-Match: {ten.txt}\nIf-Match: {ten.txt}", 304),
    ("13.2.2", "If-None-Match: *\nIf-Match: *", 304),
    ("13.2.2", f"If-Modified-Since: {AFTER}\nIf-Unmodified-Since: {BEFORE}", 412),
    ("13.2.2", f"If-Modified-Since: {AFTER}\nIf-Match: {{ten.txt}}", 304),
    ("13.2.2", f'If-None-Match: "x"\nIf-Unmodified-Since: {BEFORE}', 412),
    ("13.2.2", f"If-None-Match: {{ten.txt}}\nIf-Unmodified-Since: {SUNDAY}", 304),
    # Preconditions go before ranges.
    ("13.2.2", 'If-Match: "x"\nRange: bytes=10-', 412),
    ("13.2.2", "If-None-Match: {ten.txt}\nRange: bytes=10-", 304),
    ("13.2.2", f"If-Modified-Since: {SUNDAY}\nRange: bytes=0-1", 304),
    ("13.2.2", f"If-Unmodified-Since: {BEFORE}\nRange: bytes=0-1", 412),
    ("13.2.2", "If-None-Match: {ten.txt}\nIf-Range: x\nRange: bytes=0-1", 304),
]


@pytest.mark.parametrize(("source", "lines", "status"), PRECONDITIONS, ids=short)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions(served: Served, method: str, source: str, lines: str, status: int) -> None:
    """The four conditions decide between the file, 304 and 412, for HEAD as for GET."""
    answer = served.ask(f"{method} /ten.txt", lines)
    assert answer.status == status, source
    if status != 412:
        assert answer.head.one(b"ETag").decode() == served.tags["ten.txt"]
        assert answer.head.one(b"Last-Modified").decode() == SUNDAY
    if status == 304:
        # Section 15.4.5, and t.w.static: no Content-Length of 0, nor anything about the content.
        assert not [name for name, _ in answer.head.fields if name.startswith(b"Content-")]
    elif status == 200:
        assert answer.head.one(b"Content-Length") == b"10"
        assert answer.body == (TEN if method == "GET" else b"")
    else:
        assert TEN not in answer.body


# Where something else than 2xx would be answered, no condition is looked at (section 13.2.1).

UNCONDITIONAL: list[tuple[str, str, str, int]] = [
    ("13.2.1", "GET /missing", "If-Match: *", 404),
    ("13.2.1", "GET /missing", "If-None-Match: *", 404),
    ("13.2.1", "HEAD /missing", f"If-Modified-Since: {AFTER}", 404),
    ("13.2.1", "GET /../secret.txt", "If-None-Match: *", 404),
    ("13.2.1", "GET /%", "If-None-Match: *", 400),
    ("13.2.1", "GET /docs", "If-None-Match: *", 301),
    ("13.2.1", "GET /docs", 'If-Match: "x"', 301),
    ("13.2.1", "GET /docs", "Range: bytes=0-0", 301),
    ("13.2.1", "DELETE /ten.txt", 'If-Match: "x"', 405),
    ("13.2.1", "POST /ten.txt", "If-None-Match: *\nContent-Length: 0", 405),
    ("13.2.1", "OPTIONS /ten.txt", 'If-Match: "x"', 204),
    ("13.2.1", "OPTIONS /ten.txt", "If-None-Match: *", 204),
    ("13.2.1", "OPTIONS *", 'If-Match: "x"', 204),
]


@pytest.mark.parametrize(("source", "asked", "lines", "status"), UNCONDITIONAL)
def test_unconditional(served: Served, source: str, asked: str, lines: str, status: int) -> None:
    """A condition changes no answer that isn't a success."""
    assert served.ask(asked, lines).status == status, source


# Dates in If-Modified-Since: is the one of ten.txt, or a later one, said?

DATES: list[tuple[str, str, bool]] = [
    ("5.6.7", "0", False),
    ("5.6.7", "-1", False),
    ("5.6.7", str(MTIME), False),
    ("5.6.7", "1994-11-06T08:49:37Z", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:37", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:37 UTC", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:37 +0000", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:37 gmt", False),
    ("5.6.7", "sun, 06 nov 1994 08:49:37 GMT", False),
    ("5.6.7", "Sun, 6 Nov 1994 08:49:37 GMT", False),
    ("5.6.7", "Sun, 06 Nov 94 08:49:37 GMT", False),
    ("5.6.7", "Sun,  06 Nov 1994 08:49:37 GMT", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:37 GMT; length=10", False),
    ("5.6.7", "Sun, 06 Nov 1994 24:00:00 GMT", False),
    ("5.6.7", "Sun, 06 Nov 1994 08:60:00 GMT", False),
    ("5.6.7", "Thu, 31 Nov 1994 08:49:37 GMT", False),
    ("5.6.7", "Sun, 00 Nov 1994 08:49:37 GMT", False),
    ("5.6.7", "Sunday, 06 November 1994 08:49:37 GMT", False),
    ("5.6.7", "Sun Nov 06 1994 08:49:37 GMT", False),
    ("13.1.3", "Thu, 01 Jan 1970 00:00:00 GMT", False),
    ("13.1.3", "Mon, 01 Jan 0001 00:00:00 GMT", False),
    ("5.6.7", SUNDAY, True),
    ("5.6.7", "Sunday, 06-Nov-94 08:49:37 GMT", True),
    ("5.6.7", "Sun Nov  6 08:49:37 1994", True),
    ("5.6.7", "Sunday, 06-Nov-94 08:49:36 GMT", False),
    ("5.6.7", "Sun Nov  6 08:49:36 1994", False),
    ("5.6.7", "Sun Nov 06 08:49:38 1994", True),
    ("5.6.7", "Sun, 06 Nov 1994 08:49:60 GMT", True),
    ("13.1.3", "Fri, 31 Dec 9999 23:59:59 GMT", True),
]


@pytest.mark.parametrize(("source", "date", "is_known"), DATES)
def test_dates(served: Served, source: str, date: str, is_known: bool) -> None:
    """The three forms of a date are read, and nothing else is."""
    answer = served.ask("GET /ten.txt", f"If-Modified-Since: {date}")
    assert answer.status == (304 if is_known else 200), source


# One range of ten.txt: (first, last), or the status where it isn't 206.

Part: TypeAlias = tuple[int, int]

ONE_RANGE: list[tuple[str, str, Part | int]] = [
    # Invalid, or in another unit: the field is ignored.
    ("14.2", "", 200),
    ("14.2", "bytes", 200),
    ("14.2", "bytes=", 200),
    ("14.1.1", "bytes=-", 200),
    ("14.1.1", "bytes=,", 200),
    ("14.1.1", "bytes=x-y", 200),
    ("14.1.1", "bytes=5", 200),
    ("14.1.1", "bytes=5-2", 200),
    ("14.1.1", "bytes=0-1-2", 200),
    ("golang/go#40940", "bytes=--2", 200),
    ("14.1.1", "bytes=-2-", 200),
    ("14.1.1", "bytes=+0-1", 200),
    ("14.1.1", "bytes=0x0-0x1", 200),
    ("14.1.1", "bytes=0 - 1", 200),
    ("14.1.1", "bytes=1.5-2", 200),
    ("14.1.1", "bytes=0-1/10", 200),
    ("14.1.1", "bytes 0-1", 200),
    ("14.1.1", "bytes: 0-1", 200),
    ("14.1.1", "bytes =0-1", 200),
    ("14.1.1", "0-1", 200),
    ("14.1.1", "bytes=\xb2-\xb3", 200),
    ("golang/go#81508", "items=0-1", 200),
    ("golang/go#81508", "lines=20-", 200),
    ("14.1", "none", 200),
    # Of bytes that aren't there.
    ("golang/go#15798", "bytes=10-", 416),
    ("14.1.2", "bytes=10-10", 416),
    ("14.1.2", "bytes=11-20", 416),
    ("golang/go#81262", "bytes=-0", 416),
    ("14.1.2", "bytes=9223372036854775807-", 416),
    ("14.1.2", "bytes=9223372036854775808-9223372036854775809", 416),
    ("14.1.2", "bytes=18446744073709551616-18446744073709551617", 416),
    ("int() of 5000 digits", f"bytes={'9' * 5000}-", 416),
    # Of bytes that are.
    ("14.1.2", "bytes=0-0", (0, 0)),
    ("14.1.2", "bytes=0-4", (0, 4)),
    ("14.1.2", "bytes=5-5", (5, 5)),
    ("14.1.2", "bytes=9-", (9, 9)),
    ("14.1.2", "bytes=0-", (0, 9)),
    ("14.1.2", "bytes=0-9", (0, 9)),
    ("helidon-io/helidon#12259", "bytes=0-10", (0, 9)),
    ("14.1.2", "bytes=5-99999999999999999999", (5, 9)),
    ("9001/copyparty#1628", "bytes=-1", (9, 9)),
    ("web2py/web2py#2613", "bytes=-4", (6, 9)),
    ("14.1.2", "bytes=-10", (0, 9)),
    ("t.w.static", "bytes=-30", (0, 9)),
    ("CVE-2017-7529", "bytes=-9223372036854775809", (0, 9)),
    ("14.1.2", f"bytes=-{'9' * 5000}", (0, 9)),
    ("14.1.2", "bytes=0002-0003", (2, 3)),
    ("14.1", "Bytes=0-1", (0, 1)),
    ("5.5", "bytes=0-1 \t", (0, 1)),
    ("5.6.1", "bytes=,0-1, ,", (0, 1)),
]


@pytest.mark.parametrize(("source", "value", "expected"), ONE_RANGE, ids=short)
def test_one_range(served: Served, source: str, value: str, expected: Part | int) -> None:
    """A range is followed, refused with the size, or ignored."""
    answer = served.ask("GET /ten.txt", f"Range: {value}")
    if expected == 416:
        assert (answer.status, answer.head.all(b"Content-Range")) == (416, [b"bytes */10"]), source
    elif isinstance(expected, int):
        assert (answer.status, answer.body) == (expected, TEN), source
        assert not answer.head.all(b"Content-Range")
    else:
        check_part(answer, TEN, expected)
        assert answer.head.one(b"Content-Type") == b"text/plain; charset=utf-8"


def check_part(answer: Response, content: bytes, part: Part) -> None:
    """Check that *answer* is the one *part* of *content* (section 15.3.7)."""
    first, last = part
    assert (answer.status, answer.body) == (206, content[first : last + 1])
    expected = b"bytes %d-%d/%d" % (first, last, len(content))
    assert answer.head.one(b"Content-Range") == expected
    assert answer.head.one(b"ETag")
    assert answer.head.one(b"Last-Modified").decode() == SUNDAY


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("golang/go#54794", "bytes=0-"),
        ("golang/go#54794", "bytes=0-0"),
        ("helidon-io/helidon#12259", "bytes=-1"),
        ("14.2", "bytes=5-"),
        ("14.2", "bytes=-0"),
        ("14.2", "bytes=0-0,-1"),
    ],
)
def test_the_empty_file(served: Served, source: str, value: str) -> None:
    """An empty file is sent as it is, whatever part is asked."""
    answer = served.ask("GET /empty.txt", f"Range: {value}")
    assert (answer.status, answer.body) == (200, b""), source
    assert not answer.head.all(b"Content-Range")


# Several ranges of large.bin: the parts, one of which isn't multipart, or the status.

HUNDRED = ",".join(f"{at}-{at}" for at in range(0, 100_000, 1000))
SCATTERED = ",".join(f"{at}-{at}" for at in range(0, 99_999, 3))[:40_000].rpartition(",")[0]

SEVERAL_RANGES: list[tuple[str, str, list[Part] | int]] = [
    # One that is invalid spoils them all.
    ("14.2", "bytes=0-1,x", 200),
    ("14.2", "bytes=0-1,500-400", 200),
    ("14.2", "bytes=0-1,--2", 200),
    ("14.2", "bytes=0-1;500-501", 200),
    ("14.2", "bytes=0-1 500-501", 200),
    ("14.1.1", "bytes=0-1,bytes=500-501", 200),
    # Too many, or of more bytes than the file has.
    ("17.15", f"bytes={HUNDRED}", 200),
    ("CVE-2024-26141", "bytes=0-49999,50100-99999", 200),
    ("CVE-2011-3192", "bytes=0-,5-0,5-1,5-2,5-3,5-4", 200),
    # None of them there.
    ("15.5.17", "bytes=100000-,200000-300000", 416),
    ("15.5.17", "bytes=-0,100000-", 416),
    # Some of them.
    ("seaweedfs/seaweedfs#10889", "bytes=100000-,0-1", [(0, 1)]),
    ("14.1.2", "bytes=0-1,-0", [(0, 1)]),
    ("14.1.2", "bytes=0-1,100000-,500-501", [(0, 1), (500, 501)]),
    # Joined.
    ("t.w.static", "bytes=" + "0-9," * 1999 + "0-9", [(0, 9)]),
    ("CVE-2026-34826", "bytes=" + "0-0," * 9999 + "0-0", [(0, 0)]),
    ("CVE-2025-62727", f"bytes={SCATTERED}", [(0, int(SCATTERED.rpartition("-")[2]))]),
    ("17.15", "bytes=0-,0-,0-,0-", [(0, 99_999)]),
    ("15.3.7.2", "bytes=0-99,50-149", [(0, 149)]),
    ("15.3.7.2", "bytes=0-99,100-149", [(0, 149)]),
    ("15.3.7.2", "bytes=0-99,120-149", [(0, 149)]),
    ("15.3.7.2", "bytes=120-149,0-99", [(0, 149)]),
    ("15.3.7.2", "bytes=0-49999,50000-", [(0, 99_999)]),
    # Apart, in the order asked for.
    ("14.1.2", "bytes=0-0,-1", [(0, 0), (99_999, 99_999)]),
    ("15.3.7.2", "bytes=-1,0-0", [(99_999, 99_999), (0, 0)]),
    ("15.3.7.2", "bytes=500-600,601-999,5000-5001", [(500, 999), (5000, 5001)]),
    ("15.3.7.2", "bytes=9000-9001,0-1,2-3,5000-", [(5000, 99_999), (0, 3)]),
    ("15.3.7.2", "bytes=7000-7001,0-1,2-3,3000-3001", [(7000, 7001), (0, 3), (3000, 3001)]),
    ("5.6.1", "bytes= 0-1 ,\t500-501 , ,", [(0, 1), (500, 501)]),
    ("14.6", "bytes=0-69999,80000-99999", [(0, 69_999), (80_000, 99_999)]),
]


@pytest.mark.parametrize(("source", "value", "expected"), SEVERAL_RANGES, ids=short)
def test_several_ranges(
    served: Served, source: str, value: str, expected: list[Part] | int
) -> None:
    """Ranges are joined or sent apart, and never take more bytes than the file."""
    answer = served.ask("GET /large.bin", f"Range: {value}")
    assert len(answer.body) <= len(LARGE), source
    if expected == 416:
        assert answer.head.one(b"Content-Range") == b"bytes */100000"
    if isinstance(expected, int):
        assert answer.status == expected, source
        assert expected != 200 or answer.body == LARGE
    elif len(expected) == 1:
        check_part(answer, LARGE, expected[0])
        assert answer.head.one(b"Content-Type") == b"application/octet-stream"
    else:
        check_parts(answer, LARGE, expected)


def check_parts(answer: Response, content: bytes, parts: list[Part]) -> None:
    """Check that *answer* is multipart/byteranges with *parts* of *content* (section 14.6)."""
    assert answer.status == 206
    # Section 15.3.7.2: it stands in the parts alone.
    assert not answer.head.all(b"Content-Range")
    kind, _, boundary = answer.head.one(b"Content-Type").partition(b"; boundary=")
    assert kind == b"multipart/byteranges"
    assert re.fullmatch(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}", boundary.strip(b'"'))
    text = b""
    for first, last in parts:
        place = b"Content-Range: bytes %d-%d/%d" % (first, last, len(content))
        text += b"--%b\r\nContent-Type: application/octet-stream\r\n%b\r\n\r\n%b\r\n" % (
            boundary.strip(b'"'),
            place,
            content[first : last + 1],
        )
    # t.w.static: a CRLF before the first boundary.
    assert answer.body == text + b"--%b--\r\n" % boundary.strip(b'"')
    assert answer.head.one(b"ETag")
    assert answer.head.one(b"Last-Modified").decode() == SUNDAY


def test_boundaries_are_not_foreseen(served: Served) -> None:
    """Each answer has a boundary of its own, so that no file can be made to hold it."""
    kinds = {
        served.ask("GET /large.bin", "Range: bytes=0-1,500-501").head.one(b"Content-Type")
        for _ in range(3)
    }
    assert len(kinds) == 3


# If-Range, with `Range: bytes=2-4` of ten.txt: is the part sent?

IF_RANGE: list[tuple[str, str, bool]] = [
    ("13.1.5", "", False),
    ("13.1.5", "x", False),
    ("13.1.5", "*", False),
    ("13.1.5", '"x"', False),
    ("8.8.3.2", "W/{ten.txt}", False),
    ("13.1.5", 'W/"x"', False),
    ("13.1.5", '{ten.txt}, "x"', False),
    ("13.1.5", "{ten.txt}, {ten.txt}", False),
    ("13.1.5", "{large.bin}", False),
    ("cherrypy/cherrypy#1699", BEFORE, False),
    ("13.1.5", AFTER, False),
    ("13.1.5", "Sun, 06 Nov 1994 08:49:37", False),
    ("13.1.5", f"{SUNDAY}, {SUNDAY}", False),
    ("t.w.static", "{ten.txt}", True),
    ("13.1.5", SUNDAY, True),
    ("5.6.7", "Sunday, 06-Nov-94 08:49:37 GMT", True),
    ("5.6.7", "Sun Nov  6 08:49:37 1994", True),
]


@pytest.mark.parametrize(("source", "value", "holds"), IF_RANGE)
def test_if_range(served: Served, source: str, value: str, holds: bool) -> None:
    """Only the very same file is gone on with; else it's sent whole, not refused."""
    answer = served.ask("GET /ten.txt", f"If-Range: {value}\nRange: bytes=2-4")
    if holds:
        check_part(answer, TEN, (2, 4))
        return
    assert (answer.status, answer.body) == (200, TEN), source
    assert not answer.head.all(b"Content-Range")


IF_RANGE_AND_OTHERS: list[tuple[str, str, int]] = [
    ("13.1.5", 'If-Range: "x"\nRange: bytes=10-', 200),
    ("13.1.5", 'If-Range: "x"\nRange: bytes=0-1,500-501', 200),
    ("13.1.5", "If-Range: {ten.txt}\nRange: bytes=10-", 416),
    ("13.1.5", "If-Range: {ten.txt}", 200),
    ("13.1.5", 'If-Range: "x"', 200),
    ("13.2.2", 'If-Match: "x"\nIf-Range: {ten.txt}\nRange: bytes=0-1', 412),
    ("13.2.2", "If-Match: {ten.txt}\nIf-Range: {ten.txt}\nRange: bytes=0-1", 206),
    ("13.2.2", 'If-None-Match: "x"\nRange: bytes=0-1', 206),
    ("13.2.2", f"If-Unmodified-Since: {SUNDAY}\nRange: bytes=0-1", 206),
    ("13.2.2", f"If-Modified-Since: {BEFORE}\nRange: bytes=0-1", 206),
    ("14.2", "Range: bytes=0-1\nRange: bytes=3-4", 200),
]


@pytest.mark.parametrize(("source", "lines", "status"), IF_RANGE_AND_OTHERS)
def test_if_range_and_others(served: Served, source: str, lines: str, status: int) -> None:
    """Ranges come last in the order of section 13.2.2."""
    assert served.ask("GET /ten.txt", lines).status == status, source


# Methods.

METHODS: list[tuple[str, str, str, int]] = [
    ("15.5.6", "POST /ten.txt", "Content-Length: 0", 405),
    ("15.5.6", "PUT /ten.txt", "Content-Length: 0", 405),
    ("15.5.6", "PUT /new.txt", "Content-Length: 0", 405),
    ("15.5.6", "PATCH /ten.txt", "Content-Length: 0", 405),
    ("15.5.6", "DELETE /ten.txt", "", 405),
    ("15.5.6", "PROPFIND /", "", 405),
    ("15.5.6", "TRACE /ten.txt", "", 405),
    ("15.5.6", "DELETE /ten.txt", "Range: bytes=0-1", 405),
    ("9.3.7", "OPTIONS /ten.txt", "", 204),
    ("9.3.7", "OPTIONS /ten.txt", "Range: bytes=99-", 204),
]


@pytest.mark.parametrize(("source", "asked", "lines", "status"), METHODS)
def test_methods(served: Served, source: str, asked: str, lines: str, status: int) -> None:
    """What doesn't read is refused, and Allow names what does (section 10.2.1)."""
    answer = served.ask(asked, lines)
    assert (answer.status, answer.head.one(b"Allow")) == (status, ALLOW), source
    assert not answer.head.all(b"Content-Range")
    # Section 8.6 forbids it for 204.
    assert bool(answer.head.all(b"Content-Length")) is (status != 204)


@pytest.mark.parametrize(
    ("source", "target", "lines"),
    [
        ("14.2", "/ten.txt", "Range: bytes=2-4"),
        ("14.2", "/ten.txt", "Range: bytes=10-"),
        ("14.2", "/large.bin", "Range: bytes=0-0,500-501"),
        ("9.3.2", "/ten.txt", ""),
        ("9.3.2", "/large.bin", ""),
        ("9.3.2", "/empty.txt", ""),
        ("9.3.2", "/", ""),
        ("9.3.2", "/docs", ""),
        ("9.3.2", "/ten.txt", "If-None-Match: {ten.txt}"),
        ("9.3.2", "/ten.txt", 'If-Match: "x"'),
        ("9.3.2", "/missing", ""),
        ("9.3.2", "/%00", ""),
    ],
)
def test_head(served: Served, source: str, target: str, lines: str) -> None:
    """HEAD has the fields of the GET for the whole, and no body; ranges are for GET alone."""
    whole = "" if "Range" in lines else lines
    asked, expected = served.ask(f"HEAD {target}", lines), served.ask(f"GET {target}", whole)

    def without_date(head: Head) -> list[tuple[bytes, bytes]]:
        return [line for line in head.fields if line[0] != b"Date"]

    assert asked.status == expected.status, source
    assert without_date(asked.head) == without_date(expected.head)


# Paths.

REFUSED: list[tuple[str, str, int]] = [
    # Escapes that can't be read, and zero bytes.
    ("RFC 3986 2.1", "/%", 400),
    ("RFC 3986 2.1", "/%2", 400),
    ("RFC 3986 2.1", "/%zz", 400),
    ("RFC 3986 2.1", "/ten%2", 400),
    ("CVE-2021-42013", "/%%32%65%%32%65/secret.txt", 400),
    ("CVE-2021-42013", "/docs/.%%32%65/ten.txt", 400),
    ("IIS's escapes", "/%u002e%u002e/secret.txt", 400),
    ("t.w.static", "/%00", 400),
    ("t.w.static", "/ten.txt%00", 400),
    ("CVE-2013-4547", "/ten.txt%00.jpg", 400),
    ("t.w.static", "/docs/%00/ten.txt", 400),
    # Characters that no target has.
    ("RFC 9112 3.2", "/gr\xfc\xdfe", 400),
    ("RFC 9112 3.2", "/a\x7f", 400),
    ("RFC 9112 3.2", "/ten.txt#top", 400),
    ("RFC 9112 3.2", "ten.txt", 400),
    ("RFC 9112 3.2", "../secret.txt", 400),
    ("RFC 9112 3.2.4", "*", 400),
    # Dots: a client resolves them (RFC 3986 section 5.2.4), and we don't.
    ("CVE-2021-41773", "/.%2e/secret.txt", 404),
    ("RFC 3986 5.2.4", "/../secret.txt", 404),
    ("RFC 3986 5.2.4", "/../../../../../../etc/passwd", 404),
    ("RFC 3986 5.2.4", "/docs/../ten.txt", 404),
    ("RFC 3986 5.2.4", "/docs/../../secret.txt", 404),
    ("RFC 3986 5.2.4", "/./ten.txt", 404),
    ("RFC 3986 5.2.4", "/docs/.", 404),
    ("RFC 3986 5.2.4", "/docs/..", 404),
    ("RFC 3986 2.4", "/%2e%2e/secret.txt", 404),
    ("RFC 3986 2.4", "/%2E%2E/secret.txt", 404),
    ("RFC 3986 2.4", "/docs/%2e%2e/ten.txt", 404),
    ("CVE-2023-29159", "/../www-more/secret.txt", 404),
    ("web2py/web2py#2598", "/%2e%2e/www-more/secret.txt", 404),
    ("decoded once", "/%252e%252e/secret.txt", 404),
    ("decoded once", "/%25252e%25252e/secret.txt", 404),
    ("three dots", "/.../secret.txt", 404),
    ("Tomcat's parameters", "/..;/secret.txt", 404),
    ("Tomcat's parameters", "/docs/..;x=y/secret.txt", 404),
    # Slashes and backslashes.
    ("RFC 3986 2.2", "/..%2fsecret.txt", 404),
    ("RFC 3986 2.2", "/%2e%2e%2fsecret.txt", 404),
    ("RFC 3986 2.2", "/docs%2findex.html", 404),
    ("RFC 3986 2.2", "/%2fetc%2fpasswd", 404),
    ("RFC 3986 2.2", "/docs/%2f", 404),
    ("WHATWG URL", "/..\\secret.txt", 404),
    ("WHATWG URL", "/..%5csecret.txt", 404),
    ("WHATWG URL", "/docs\\..\\..\\secret.txt", 404),
    ("WHATWG URL", "/docs\\index.html", 404),
    ("CVE-2018-14574", "//", 404),
    ("CVE-2018-14574", "//evil.example", 404),
    ("CVE-2018-14574", "//evil.example/%2e%2e", 404),
    ("CVE-2021-28861", "//docs", 404),
    ("RFC 3986 3.3", "/docs//deep/", 404),
    ("RFC 3986 3.3", "/docs//", 404),
    ("RFC 3986 3.3", "//etc/passwd", 404),
    # Overlong UTF-8: `.` and `/` in two and three bytes.
    ("CVE-2008-2938", "/%c0%ae%c0%ae/secret.txt", 404),
    ("RFC 3629 3", "/%e0%80%ae%e0%80%ae/secret.txt", 404),
    ("CVE-2000-0884", "/..%c0%afsecret.txt", 404),
    ("RFC 3629 3", "/docs%c0%afindex.html", 404),
    ("RFC 3629 3", "/%ff%fe", 404),
    ("UAX 15", "/%ef%bc%8e%ef%bc%8e/secret.txt", 404),
    # Hidden files.
    ("hidden", "/.env", 404),
    ("hidden", "/%2eenv", 404),
    ("hidden", "/.git/config", 404),
    ("hidden", "/.git/", 404),
    ("hidden", "/docs/.hidden", 404),
    ("RFC 8615 3", "/docs/.well-known/acme", 404),
    # Names that are almost right.
    ("case", "/TEN.TXT", 404),
    ("slash behind a file", "/ten.txt/", 404),
    ("path behind a file", "/ten.txt/more", 404),
    ("path behind a file", "/ten.txt/..", 404),
    ("a blank behind it", "/ten.txt%20", 404),
    ("a dot behind it", "/ten.txt.", 404),
    ("a line end behind it", "/ten.txt%0a", 404),
    ("NTFS streams", "/ten.txt::$DATA", 404),
    ("parameters", "/ten.txt;version=1", 404),
    ("plus isn't a blank", "/docs/a+b+c;d=e,f.txt", 404),
    ("escaped ?", "/ten.txt%3fx", 404),
    ("ENAMETOOLONG", "/" + "x" * 256, 404),
    ("ENAMETOOLONG", "/" + "x/" * 3000, 404),
    # Links and things that aren't files.
    ("t.w.static", "/outside", 404),
    ("t.w.static", "/outside-folder/secret.txt", 404),
    ("t.w.static", "/outside-folder/", 404),
    ("ELOOP", "/itself", 404),
    ("a FIFO", "/fifo", 404),
]


@pytest.mark.parametrize(("source", "target", "status"), REFUSED, ids=short)
def test_refused_paths(served: Served, source: str, target: str, status: int) -> None:
    """No way of writing a path leads out of the root, to a hidden file, or to a 500."""
    answer = served.ask(f"GET {target}")
    assert answer.status == status, source
    assert not answer.head.all(b"Location")


FOUND: list[tuple[str, str, bytes]] = [
    ("the index", "/", SERVED["index.html"]),
    ("the index", "/docs/", SERVED["docs/index.html"]),
    ("the index", "/docs/deep/", SERVED["docs/deep/index.html"]),
    ("a query", "/?/../../secret.txt", SERVED["index.html"]),
    ("a query", "/ten.txt?", TEN),
    ("a query", "/ten.txt?%00%zz/../x", TEN),
    ("RFC 3986 2.3", "/%74%65%6E%2etxt", TEN),
    ("RFC 3986 2.2", "/docs/a%20b+c;d=e,f.txt", b"marks"),
    ("RFC 3986 2.2", "/docs/a%20b%2Bc%3Bd%3De%2Cf.txt", b"marks"),
    ("RFC 3986 2.5", "/docs/gr%C3%BC%C3%9Fe.txt", b"umlauts"),
    ("RFC 3986 2.4", "/100%25.txt", b"per cent"),
    ("decoded once", "/%252e%252e", b"literal dots"),
    ("decoded once", "/%2500.txt", b"literal zero"),
    ("WHATWG URL", "/back\\slash.txt", b"backslash"),
    ("WHATWG URL", "/back%5Cslash.txt", b"backslash"),
    ("RFC 3986 2.2", "/what%3f.txt", b"question"),
    ("RFC 3986 4.2", "/a:b.txt", b"colon"),
    ("dots inside", "/dots...txt", b"dots"),
    ("RFC 8615 3", "/.well-known/acme", b"acme"),
    ("a link inside", "/inside", TEN),
]


@pytest.mark.parametrize(("source", "target", "content"), FOUND)
def test_found_paths(served: Served, source: str, target: str, content: bytes) -> None:
    """Odd names are found by any spelling that decodes to them once."""
    answer = served.ask(f"GET {target}")
    assert (answer.status, answer.body) == (200, content), source


REDIRECTED: list[tuple[str, str, bytes]] = [
    ("RFC 3986 5.2", "/docs", b"/docs/"),
    ("RFC 3986 5.2", "/docs/deep", b"/docs/deep/"),
    ("RFC 3986 6.2.2", "/%64ocs", b"/docs/"),
    ("a query", "/docs?x=1&y=/../", b"/docs/?x=1&y=/../"),
    ("a query", "/docs?", b"/docs/?"),
    ("CVE-2018-14574", "/docs?//evil.example", b"/docs/?//evil.example"),
    ("response splitting", "/docs?%0d%0aX-Evil:%201", b"/docs/?%0d%0aX-Evil:%201"),
]


@pytest.mark.parametrize(("source", "target", "location"), REDIRECTED)
def test_redirected_paths(served: Served, source: str, target: str, location: bytes) -> None:
    """A folder gets its slash, keeps its query, and stays on this host."""
    answer = served.ask(f"GET {target}")
    assert (answer.status, answer.head.one(b"Location")) == (301, location), source
    assert not answer.head.all(b"X-Evil")


# Types and codings.


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("t.w.static", "/archive.tar.gz", b"application/gzip"),
        ("t.w.static", "/archive.bz2", b"application/x-bzip2"),
        ("t.w.static", "/ten.txt", b"text/plain; charset=utf-8"),
        ("8.3", "/", b"text/html; charset=utf-8"),
        ("RFC 9239", "/app.js", b"text/javascript; charset=utf-8"),
        ("8.3", "/large.bin", b"application/octet-stream"),
    ],
)
def test_types(served: Served, source: str, target: str, kind: bytes) -> None:
    """A packed file is a packed file, and text says how it is written."""
    answer = served.ask(f"GET {target}")
    assert answer.head.one(b"Content-Type") == kind, source
    assert not answer.head.all(b"Content-Encoding")


CODINGS: list[tuple[str, str, str]] = [
    # Malformed, or nothing of it there: as it is.
    ("12.5.3", "br;q=2", ""),
    ("12.5.3", "br;q", ""),
    ("12.5.3", "brotli", ""),
    ("12.5.3", "", ""),
    ("12.5.3", "identity", ""),
    ("12.5.3", "br;q=0", ""),
    ("12.5.3", "*;q=0", ""),
    ("12.5.3", "identity;q=0", ""),
    ("12.5.3", "identity;q=1, *;q=0.5", ""),
    ("12.5.3", "gzip", "gz"),
    ("8.4.1.3", "x-gzip", "gz"),
    ("12.5.3", "GZIP;Q=1", "gz"),
    ("12.5.3", "gzip, deflate, br, zstd", "br"),
    ("12.4.2", "br;q=0.5, zstd;q=0.7, gzip;q=0.6", "zst"),
    ("12.5.3", "*", "br"),
    ("12.5.3", "br;q=0, *", "zst"),
    ("5.3", "deflate\nAccept-Encoding: gzip", "gz"),
]


@pytest.mark.parametrize(("source", "accepted", "suffix"), CODINGS)
def test_codings(served: Served, source: str, accepted: str, suffix: str) -> None:
    """A packed sibling is sent where it is liked best, as itself, and caches are told."""
    answer = served.ask("GET /app.js", f"Accept-Encoding: {accepted}")
    names = {"": [], "gz": [b"gzip"], "br": [b"br"], "zst": [b"zstd"]}
    assert answer.head.all(b"Content-Encoding") == names[suffix], source
    assert answer.body == SERVED[f"app.js.{suffix}".rstrip(".")]
    # caddyserver/caddy#7040.
    assert answer.head.one(b"Content-Length") == b"%d" % len(answer.body)
    assert answer.head.one(b"Content-Type") == b"text/javascript; charset=utf-8"
    assert b"Accept-Encoding" in answer.head.one(b"Vary")
    # Section 8.8.3.3: a strong tag is of one coding alone.
    assert (answer.head.one(b"ETag").decode() == served.tags["app.js"]) is (not suffix)


CODED: list[tuple[str, str, int]] = [
    ("8.8.3.3", "If-Match: {app.js}", 412),
    ("8.8.3.3", "If-None-Match: {app.js}", 200),
    ("8.8.3.3", "If-Range: {app.js}\nRange: bytes=0-1", 200),
    ("14.2", "Range: bytes=7-", 416),
    ("caddyserver/caddy#5849", "If-None-Match: {gzipped}", 304),
    ("caddyserver/caddy#5849", "If-None-Match: W/{gzipped}", 304),
    ("caddyserver/caddy#5849", "Range: bytes=0-1", 206),
    ("8.8.3.3", "If-Range: {gzipped}\nRange: bytes=0-1", 206),
    ("8.8.3.3", "If-Match: {gzipped}", 200),
]


@pytest.mark.parametrize(("source", "lines", "status"), CODED)
def test_coded_files_have_conditions_of_their_own(
    served: Served, source: str, lines: str, status: int
) -> None:
    """Tags and ranges are those of the packed bytes, and Vary stands in 206 and 304 too."""
    accepted = "Accept-Encoding: gzip\n"
    tag = served.ask("HEAD /app.js", accepted).head.one(b"ETag").decode()
    answer = served.ask("GET /app.js", accepted + lines.replace("{gzipped}", tag))
    assert answer.status == status, source
    if status in (200, 206, 304):
        assert b"Accept-Encoding" in answer.head.one(b"Vary")
        assert answer.body == {200: b"gzipped", 206: b"gz", 304: b""}[status]
    if status == 206:
        assert answer.head.one(b"Content-Range") == b"bytes 0-1/7"
        assert answer.head.one(b"Content-Encoding") == b"gzip"


def test_the_tables_are_long_enough() -> None:
    """There are at least 150 cases of conditions, ranges and paths."""
    conditions = len(PRECONDITIONS) + len(UNCONDITIONAL) + len(DATES)
    ranges = len(ONE_RANGE) + len(SEVERAL_RANGES) + len(IF_RANGE) + len(IF_RANGE_AND_OTHERS)
    paths = len(REFUSED) + len(FOUND) + len(REDIRECTED)
    assert min(conditions, ranges, paths) >= 90
