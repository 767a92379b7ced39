"""The commands about the cache, given to a service that runs."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from proxyapp import tap
from proxyapp.cachetool import BAD_COMMAND, DONE, INTERRUPTED, NOTHING, UNREACHABLE
from tests.appliance import Running, command, environ, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import said
from tests.origin import Origin, Routes, fixed, silent

FRESH = b"Cache-Control: max-age=600"
BODY = b"x" * 5000


class Done(NamedTuple):
    """How a command ended, and what it said."""

    status: object
    out: str
    complaints: str


def tool(folder: Path, *arguments: str, given: str = "") -> Done:
    """Carry out the command line *arguments*, with the ini of the service in *folder*.

    It happens in this process, which takes a twentieth of the time of one that is started for it.
    """
    out, complaints = io.StringIO(), io.StringIO()
    line = ["--config", str(folder / "proxyapp.ini"), *arguments]
    with (
        patch("sys.stdin", io.StringIO(given)),
        redirect_stdout(out),
        redirect_stderr(complaints),
        pytest.raises(SystemExit) as ended,
    ):
        tap.Options().parseOptions(line)
    return Done(ended.value.code, out.getvalue(), complaints.getvalue())


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process for the same."""
    return subprocess.Popen(
        command("--config", str(folder / "proxyapp.ini"), *arguments),
        cwd=folder,
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Gateway:
    """A service with an origin, whose paths `/1`, `/2` ... may be stored."""

    def __init__(self, running: Running, origin: Origin[Routes]) -> None:
        self.running = running
        self.origin = origin
        self.folder = running.log.parent
        self.logged = running.logged
        self.url = origin.url.decode()
        for number in range(1, 6):
            tag = b"Cache-Tag: " + (b"odd" if number % 2 else b"even")
            origin.served.on(b"/%d" % number, fixed(BODY, FRESH, tag, b'ETag: "%d"' % number))

    def run(self, *arguments: str, given: str = "") -> tuple[object, str]:
        """Run the command; return its exit status and what it printed. It never complains."""
        done = tool(self.folder, *arguments, given=given)
        assert done.complaints == ""
        return done.status, done.out

    def prefetch(self, *numbers: int) -> None:
        """Have some paths stored."""
        urls = "".join(f"{self.url}/{number}\n" for number in numbers)
        status, _ = self.run("--prefetch", "-", given=urls)
        assert status == DONE
        # What is listed may be a second behind.
        wait_for(lambda: len(self.listed()) == len(numbers), "list with all of them")

    def listed(self, what: str = "*") -> list[str]:
        """Return the paths that are listed, in order."""
        _, out = self.run("--cache-list", what, "--json")
        return sorted(json.loads(line)["url"].removeprefix(self.url) for line in out.splitlines())

    def records(self, count: int) -> list[dict[str, object]]:
        """Return what the request log has of this test, once there are *count* lines."""
        lines = self.running.lines(count, since=self.logged, about=self.origin.authority)
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a service that most tests share."""
    with start(tmp_path_factory.mktemp("shared")) as started:
        yield started


@pytest.fixture
def gateway(shared: Running, origin: Origin[Routes]) -> Gateway:
    """Return a service with an empty cache."""
    gateway = Gateway(shared, origin)
    gateway.run("--cache-purge", "*")
    return gateway


def test_prefetch_then_a_hit(gateway: Gateway, connect: Connect) -> None:
    """What was prefetched is there for clients, and was fetched like any request."""
    urls = f"# two\n{gateway.url}/1\n\n{gateway.url}/2\n"
    fetching = process(gateway.folder, "--prefetch", "-")
    out, complaints = fetching.communicate(urls, timeout=60)
    assert (fetching.returncode, complaints) == (DONE, "")
    assert out.count("    4.9 KiB  fetched     http://") == 2
    assert "2 URLs: 0 cached before, 2 fetched, 0 fetched and not stored, 0 failed; 9.8 KiB" in out
    talk = connect(gateway.running.proxy)
    talk.send(f"GET {gateway.url}/1 HTTP/1.1\r\nHost: {gateway.origin.authority}\r\n\r\n".encode())
    assert talk.response().body == BODY
    assert len(gateway.origin.served.visits) == 2
    first, *_, last = gateway.records(3)
    assert (first["service"], first["status"], first["cache"]) == ("proxy", 200, "miss")
    assert last["cache"] == "hit"
    _, again = gateway.run("--prefetch", "-", given=urls)
    assert "2 URLs: 2 cached before, 0 fetched" in again


def test_what_cannot_be_prefetched(gateway: Gateway, unused_port: int) -> None:
    """Failures are told one by one, by the status too; the others are fetched."""
    gateway.origin.served.on(b"/gone", fixed(b"", start=b"HTTP/1.1 404 Not Found"))
    gateway.origin.served.on(b"/mine", fixed(b"hi", b"Cache-Control: no-store"))
    urls = [
        f"{gateway.url}/1",
        f"{gateway.url}/gone",
        f"{gateway.url}/mine",
        "ftp://a.example/",
        f"http://127.0.0.1:{unused_port}/",
        f"http://127.0.0.1:{gateway.running.proxy}/",
    ]
    status, out = gateway.run("--prefetch", "-", given="\n".join(urls))
    assert status == NOTHING
    rows = {row.split("http://")[-1]: row for row in out.splitlines()}
    assert "fetched  " in rows[urls[0].removeprefix("http://")]
    assert "failed" in rows[urls[1].removeprefix("http://")]
    assert "not stored" in rows[urls[2].removeprefix("http://")]
    assert "(only http and https URLs can be fetched)" in out
    assert "(the origin's host answered" in out or "refused" in out
    assert "is the proxy itself)" in out
    assert "1 fetched, 1 fetched and not stored, 4 failed" in out


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nobody listens."""
    with Origin(lambda talk: None) as taken:
        return taken.port


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("{}/1", ["/2", "/3", "/4"]),
        ("{}/*", []),
        ("*", []),
        ("tag:odd", ["/2", "/4"]),
        ("{}/nothing", ["/1", "/2", "/3", "/4"]),
    ],
)
def test_purge(gateway: Gateway, what: str, left: list[str]) -> None:
    """What is purged is gone, by URL, prefix and tag, and nothing else."""
    gateway.prefetch(1, 2, 3, 4)
    assert gateway.listed() == ["/1", "/2", "/3", "/4"]
    status, out = gateway.run("--cache-purge", what.format(gateway.url))
    count = 4 - len(left)
    assert (status, out) == (
        DONE if count else NOTHING,
        f"{count} {'entry' if count == 1 else 'entries'} purged\n",
    )
    assert gateway.listed() == left


@pytest.mark.parametrize(
    ("what", "found"),
    [("tag:even", ["/2", "/4"]), ("*/3", ["/3"]), ("{}/4", ["/4"]), ("http://b.example/*", [])],
)
def test_list(gateway: Gateway, what: str, found: list[str]) -> None:
    """Lists are by the same words as purges."""
    gateway.prefetch(1, 2, 3, 4)
    assert gateway.listed(what.format(gateway.url)) == found


def test_show_and_pin(gateway: Gateway) -> None:
    """What is known of a URL is shown, and whether it is pinned."""
    gateway.prefetch(1)
    url = f"{gateway.url}/1"
    assert gateway.run("--cache-pin", url) == (DONE, "1 entry pinned\n")
    status, page = gateway.run("--cache-show", url)
    assert status == DONE
    for line in (
        f"url:        {url}\n",
        "status:     200 OK\n",
        "content:    4.9 KiB (5000 bytes)\n",
        "pinned:     yes\n",
        "validated:  not before its next use\n",
        "Cache-Tag: odd\n",
    ):
        assert line in page
    assert gateway.run("--cache-unpin", url) == (DONE, "1 entry unpinned\n")
    (line,) = gateway.run("--cache-show", url, "--json")[1].splitlines()
    assert json.loads(line)["is_pinned"] is False


def test_what_is_not_there(gateway: Gateway) -> None:
    """A URL that isn't stored, and one that is none, are told apart by the status."""
    for option in ("--cache-show", "--cache-pin"):
        missing = tool(gateway.folder, option, f"{gateway.url}/1")
        assert (missing.status, missing.out) == (NOTHING, "")
        assert "nothing is stored for this URL" in missing.complaints
        wrong = tool(gateway.folder, option, "a.example")
        assert (wrong.status, wrong.out) == (BAD_COMMAND, "")


def test_ctrl_c_stops_the_fetch(gateway: Gateway) -> None:
    """When the command is interrupted the service gives up what it fetched for it."""
    gateway.origin.served.on(b"/slow", silent)
    waiting = process(gateway.folder, "--prefetch", "-")
    assert waiting.stdin is not None
    waiting.stdin.write(f"{gateway.url}/slow\n")
    waiting.stdin.flush()
    wait_for(lambda: [v for v in gateway.origin.served.visits if v.target == b"/slow"], "visit")
    waiting.send_signal(signal.SIGINT)
    _, complaints = waiting.communicate(timeout=30)
    assert (waiting.returncode, complaints) == (INTERRUPTED, "")
    (line,) = gateway.records(1)
    assert line["reason"] == "the admin gave it up"


def test_crash_and_stop(start_appliance: StartAppliance) -> None:
    """A killed service leaves a socket that is told from a living one, and is replaced.

    That one goes with its service, and is its account's alone while it is there.
    """
    with start_appliance() as killed:
        folder = killed.log.parent
        path = folder / "control.sock"
        killed.send_signal(signal.SIGKILL)
        killed.process.wait(10)
        assert path.exists()
        done = tool(folder, "--cache-list", "*")
        assert (done.status, done.out) == (UNREACHABLE, "")
        assert "nobody listens" in done.complaints
    with start_appliance() as again:
        assert tool(folder, "--cache-list", "*").status == NOTHING
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == os.geteuid()
        again.stop()
        assert not path.exists()
        done = tool(folder, "--cache-list", "*")
        assert (done.status, done.out) == (UNREACHABLE, "")
        assert "no proxyapp runs with this state_dir" in done.complaints


def test_two_with_one_folder(start_appliance: StartAppliance, gateway: Gateway) -> None:
    """A second service runs without a control socket, and says so; the first one keeps its own."""
    ini = f"[proxyapp]\nstate_dir = {gateway.folder}\n[cache]\ndisk = 0\n"
    with start_appliance(ini) as second:
        # It waits a little: after a reload the socket is its predecessor's for a moment.
        said(second, "control.sock; --cache-list and the like reach that one")
    gateway.prefetch(1)
    assert gateway.listed() == ["/1"]


def test_without_a_cache(start_appliance: StartAppliance) -> None:
    """Where the cache is off there is nobody to ask."""
    with start_appliance("[cache]\nmemory = 0\ndisk = 0\n") as running:
        done = tool(running.log.parent, "--cache-list", "*")
    assert done.status == UNREACHABLE
    assert "its cache is off" in done.complaints


def test_a_folder_that_cannot_be_used(start_appliance: StartAppliance) -> None:
    """Without a state folder the service runs all the same, and says what doesn't."""
    with start_appliance("[proxyapp]\nstate_dir = /dev/null/state\n") as running:
        wait_for(lambda: any("no control socket" in line for line in running.said), "word of it")
        done = tool(running.log.parent, "--cache-list", "*")
    assert done.status == UNREACHABLE
    assert "/dev/null/state/control.sock can't be reached: Not a directory" in done.complaints
