"""site.logview: the log's last lines, for the admin and for nobody else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxyapp.exchange import Client, Reply, Request, Responder
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.site import logview
from proxyapp.site.logview import LogView
from tests.site.sitestage import ADMIN, KnownUsers, SiteStage, blocking, request, site_stage

LINES = [b"line %04d\n" % number for number in range(3000)]
FROM_OUTSIDE = "192.0.2.66"


class Disguised:
    """Lets requests look as if they came from *host*."""

    def __init__(self, responder: Responder, host: str) -> None:
        self._responder = responder
        self.host = host

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        await self._responder.respond(replace(request, client=Client(self.host, 1)), reply)


Show = Callable[..., SiteStage]


@pytest.fixture
def show(reactor: ApplianceReactor) -> Iterator[Show]:
    """Return what serves a log at /log/, with the users of [auth] or without, to some address."""
    running = []

    def start(log: Path | str, users: bool = False, host: str = "127.0.0.1") -> SiteStage:
        def answers(stage: SiteStage) -> Responder:
            credentials = KnownUsers() if users else None
            return Disguised(LogView(str(log), credentials, stage.in_thread, b"/log"), host)

        running.append(site_stage(reactor, answers))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__(None, None, None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a request log of 3000 lines."""
    path = tmp_path / "requests.log"
    path.write_bytes(b"".join(LINES))
    return path


# Who may.


@blocking
@pytest.mark.parametrize("host", [FROM_OUTSIDE, "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", ""])
def test_others_without_users(show: Show, log: Path, host: str) -> None:
    """Where no users are configured, nobody from elsewhere sees a line, whatever they send."""
    stage = show(log, host=host)
    for method in (b"GET", b"HEAD", b"OPTIONS", b"POST"):
        answer = stage.send(request(method, b"/log/", ADMIN, b"X-Forwarded-For: 127.0.0.1"))
        assert answer.status == 403
        assert b"line" not in answer.body


@blocking
@pytest.mark.parametrize(
    "line",
    [
        b"Via: 1.1 gateway",
        b"Forwarded: for=10.0.0.1",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Real-IP: 10.0.0.1",
    ],
)
def test_through_a_proxy(show: Show, log: Path, line: bytes) -> None:
    """A proxy on this machine, such as ours, is no cloak for those behind it."""
    stage = show(log)
    assert stage.send(request(b"GET", b"/log/", line)).status == 403


@blocking
@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example", b"10.0.0.1", b""])
def test_rebound_name(show: Show, log: Path, host: bytes) -> None:
    """A page from outside can't read it in a browser here under a name with our address."""
    stage = show(log)
    raw = b"GET /log/ HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    assert stage.send(raw).status in (400, 403)


@blocking
@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_at_home(show: Show, log: Path, host: str) -> None:
    """On the machine itself it may be read, by address or as localhost."""
    stage = show(log, host=host)
    for name in (b"localhost", b"127.0.0.1:8080", b"[::1]"):
        raw = b"GET /log/ HTTP/1.1\r\nHost: %b\r\n\r\n" % name
        assert stage.send(raw).status == 200


@blocking
@pytest.mark.parametrize("host", [FROM_OUTSIDE, "127.0.0.1"])
def test_users(show: Show, log: Path, host: str) -> None:
    """With users, each of them may read it from anywhere, and nobody else from nowhere."""
    stage = show(log, users=True, host=host)
    stranger = stage.send(request(b"GET", b"/log/"))
    assert stranger.status == 401
    assert stranger.head.all(b"www-authenticate")
    assert stage.ask(b"GET", b"/log/").status == 200
    assert [record.user for record in stage.records] == [None, "admin"]


# What there is.


@blocking
@pytest.mark.parametrize(
    ("query", "count"),
    [
        (b"", 3000),
        (b"?lines=200", 200),
        (b"?lines=1", 1),
        (b"?lines=0", 0),
        (b"?lines=999999999", 3000),
        (b"?x=1&lines=3&y=2", 3),
        (b"?lines=", 3000),
        (b"?lines=-1", 3000),
        (b"?lines=9999999999", 3000),
        (b"?blines=3", 3000),
    ],
)
def test_lines(show: Show, log: Path, query: bytes, count: int) -> None:
    """As many lines as asked for, the last ones; never a part of a line, never kept by anybody."""
    answer = show(log).ask(b"GET", b"/log/" + query)
    assert answer.status == 200
    assert answer.head.one(b"content-type") == b"text/plain; charset=utf-8"
    assert answer.head.one(b"cache-control") == b"no-store"
    assert answer.head.one(b"x-content-type-options") == b"nosniff"
    assert answer.body == b"".join(LINES[len(LINES) - count :])


@blocking
def test_long_log(show: Show, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long log only the end is read, from the beginning of a line on."""
    monkeypatch.setattr(logview, "DEFAULT_SIZE", 25)
    monkeypatch.setattr(logview, "MAX_SIZE", 105)
    stage = show(log)
    assert stage.ask(b"GET", b"/log/").body == b"".join(LINES[-2:])
    assert stage.ask(b"GET", b"/log/?lines=2000").body == b"".join(LINES[-10:])


@blocking
@pytest.mark.parametrize(
    ("value", "status", "part"),
    [
        (b"bytes=0-8", 206, slice(0, 9)),
        (b"bytes=-10", 206, slice(29990, 30000)),
        (b"bytes=29995-", 206, slice(29995, 30000)),
        (b"bytes=30000-", 416, slice(0, 0)),
        (b"bytes=0-0,500-500", 200, slice(0, 30000)),
        (b"lines=0-1", 200, slice(0, 30000)),
    ],
)
def test_ranges(show: Show, log: Path, value: bytes, status: int, part: slice) -> None:
    """One range of what would be sent can be had."""
    answer = show(log).ask(b"GET", b"/log/", b"Range: " + value)
    assert answer.status == status
    if status != 416:
        assert answer.body == b"".join(LINES)[part]
    else:
        assert answer.head.one(b"content-range") == b"bytes */30000"


@blocking
def test_head_and_others(show: Show, log: Path) -> None:
    """HEAD tells how long it is; nothing changes it; nothing is below it."""
    stage = show(log)
    assert stage.ask(b"HEAD", b"/log/").head.one(b"content-length") == b"30000"
    assert stage.ask(b"OPTIONS", b"/log/").head.one(b"allow") == b"GET, HEAD, OPTIONS"
    assert stage.ask(b"DELETE", b"/log/").status == 405
    for path in (b"/log/x", b"/log/x/", b"/log/../../etc/passwd"):
        assert stage.ask(b"GET", path).status == 404


@blocking
@pytest.mark.parametrize(
    ("name", "why"),
    [("-", b"standard output"), ("syslog:", b"syslog"), ("", b"turned off")],
)
def test_no_file(show: Show, name: str, why: bytes) -> None:
    """Where the log is no file, the answer says why there is nothing to see."""
    answer = show(name).ask(b"GET", b"/log/")
    assert answer.status == 404
    assert why in answer.body


@blocking
def test_odd_files(show: Show, tmp_path: Path) -> None:
    """A pipe, a folder or nothing at all is no log either, and holds nobody up."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "", "missing"):
        assert show(tmp_path / name).ask(b"GET", b"/log/").status == 404


@blocking
def test_rotated(show: Show, log: Path) -> None:
    """After a rotation it's the new file; between the two it's nothing, for a moment."""
    stage = show(log)
    assert stage.ask(b"GET", b"/log/?lines=1").body == LINES[-1]
    log.rename(log.with_suffix(".1"))
    assert stage.ask(b"GET", b"/log/").status == 404
    log.write_bytes(b"")
    assert stage.ask(b"GET", b"/log/").body == b""
    log.write_bytes(b"new\nunfinished")
    assert stage.ask(b"GET", b"/log/").body == b"new\nunfinished"
