"""The commands about the cache: what they ask, print and return; the service is played."""

from __future__ import annotations

import io
import json
import os
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest
from twisted.python import usage

from proxyapp import cachetool, tap
from proxyapp.cachetool import (
    BAD_COMMAND,
    DONE,
    INTERRUPTED,
    NOTHING,
    UNREACHABLE,
    Terminal,
)
from proxyapp.controlclient import FILE
from proxyapp.rules.caching.report import Outcome, Report, to_line
from tests.appliance import wait_for
from tests.test_tap import twistd

URL = "http://a.example/x"
REPORT = Report(URL, 200, 2048, 2048, "text/plain", 60, 120, 60, False, True, True, "", "OK")
OUTCOME = Outcome(URL, 200, 2048, 0.1, "miss", False, True)

# What is asked, as `METHOD /command what`, and what is answered: a status and a body.
Answer = Callable[[str], tuple[int, bytes]]


class Played(socketserver.ThreadingUnixStreamServer):
    """A service whose answers the test makes."""

    daemon_threads = True

    def __init__(self, folder: Path, answer: Answer) -> None:
        super().__init__(str(folder / FILE), Conversation)
        self.answer = answer
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have gone."""


class Conversation(BaseHTTPRequestHandler):
    """One connection to it."""

    server: Played

    def _answer(self) -> None:
        path, _, what = self.path.partition("?")
        asked = f"{self.command} {path} {unquote(what)}"
        self.server.asked.append(asked)
        status, body = self.server.answer(asked)
        if not status:
            self.wfile.write(body)  # all of it, as it is
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def address_string(self) -> str:
        return "-"


class Service:
    """The folder of a service, which is played once the test says how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.played: Played | None = None

    def play(self, answer: Answer) -> None:
        """Answer by *answer* from now on."""
        self.played = Played(self.folder, answer)
        threading.Thread(target=self.played.serve_forever, args=(0.01,), daemon=True).start()

    def say(self, body: bytes, status: int = 200) -> None:
        """Answer everything by *body*."""
        self.play(lambda asked: (status, body))

    @property
    def asked(self) -> list[str]:
        """What was asked so far."""
        assert self.played is not None
        return self.played.asked

    def run(
        self, option: str, what: str, given: str = "", is_json: bool = False
    ) -> tuple[int, str, str]:
        """Run a command; return its exit status, what it printed, and its complaints."""
        out, complaints = io.StringIO(), io.StringIO()
        terminal = Terminal(io.StringIO(given), out, complaints, is_json)
        status = cachetool.run(option, what, self.folder, terminal)
        return status, out.getvalue(), complaints.getvalue()

    def close(self) -> None:
        """End the play."""
        if self.played is not None:
            self.played.shutdown()
            self.played.server_close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Yield the folder of a service that doesn't run."""
    opened = Service(tmp_path)
    yield opened
    opened.close()


COMMANDS = ["cache-list", "cache-show", "cache-purge", "cache-pin", "cache-unpin"]


# --- A service that can't be asked ---


@pytest.mark.parametrize("option", [*COMMANDS, "prefetch"])
def test_nothing_runs(service: Service, option: str) -> None:
    """Without a service every command says so, and where it looked."""
    status, out, complaint = service.run(option, "-" if option == "prefetch" else URL, f"{URL}\n")
    assert (status, out) == (UNREACHABLE, "")
    assert complaint.startswith(f"proxyapp: --{option}: {service.folder / FILE} isn't there")


def test_it_was_killed(service: Service) -> None:
    """A socket at which nobody listens is told from one that isn't there."""
    service.say(b"")
    service.close()
    service.played = None
    status, _, complaint = service.run("cache-list", "*")
    assert status == UNREACHABLE
    assert "nobody listens" in complaint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_is_not_ours(service: Service) -> None:
    """Who may not open the socket learns who may."""
    service.say(b"")
    (service.folder / FILE).chmod(0o600)
    for folder in (service.folder, *service.folder.parents):
        if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        status, _, complaint = service.run("cache-list", "*")
    finally:
        os.seteuid(0)
    assert status == UNREACHABLE
    assert "root and the account that proxyapp runs as" in complaint


def test_too_long_a_path(service: Service) -> None:
    """Even a path that can't be a socket's is told in words."""
    service.folder = service.folder / ("x" * 120)
    status, _, complaint = service.run("cache-list", "*")
    assert status == UNREACHABLE
    assert "can't be reached: AF_UNIX path too long" in complaint


@pytest.mark.parametrize("body", [b"x\n", b"{}\n", b"3\n", b'{"url": 1}\n'])
@pytest.mark.parametrize("option", COMMANDS)
def test_nonsense(service: Service, option: str, body: bytes) -> None:
    """What can't be understood is no traceback."""
    service.say(body)
    status, _, complaint = service.run(option, URL)
    assert status == UNREACHABLE
    assert "another version" in complaint


@pytest.mark.parametrize("how", ["length", "chunks", "line"])
@pytest.mark.parametrize("option", ["cache-list", "cache-purge"])
def test_half_an_answer(service: Service, option: str, how: str) -> None:
    """An answer whose end is missing is never taken for a whole one."""
    head = b"HTTP/1.1 200 OK\r\n"
    line = b'{"count": 1}\n' if option == "cache-purge" else to_line(REPORT)
    said = {
        "length": head + b"Content-Length: 10000\r\n\r\n" + line,
        "chunks": head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(line), line),
        "line": head + b"\r\n" + line + b"{",
    }[how]
    service.play(lambda asked: (0, said))
    status, _, complaint = service.run(option, "*")
    assert status == UNREACHABLE
    assert "ended before its answer was complete" in complaint


@pytest.mark.parametrize(
    ("status", "exit_status"), [(400, BAD_COMMAND), (404, NOTHING), (500, UNREACHABLE)]
)
def test_refusals(service: Service, status: int, exit_status: int) -> None:
    """The service's words are printed, without what a terminal obeys, and the status tells."""
    service.say(b'{"error": "because\\u001b"}', status)
    assert service.run("cache-show", URL) == (
        exit_status,
        "",
        "proxyapp: --cache-show: because\\x1b\n",
    )


def test_a_page_that_is_no_json(service: Service) -> None:
    """An error without words has ours."""
    service.say(b"<html>", 500)
    assert "event log says more" in service.run("cache-show", URL)[2]


# --- What they ask and print ---


def test_list(service: Service) -> None:
    """A heading, a row for each entry, and their sum."""
    service.say(to_line(REPORT) * 2)
    status, out, complaint = service.run("cache-list", "http://a.example/ü*")
    heading, *rows, total = out.splitlines()
    assert (status, complaint) == (DONE, "")
    assert heading.split() == ["status", "size", "age", "state", "url"]
    assert rows == ["   200    2.0 KiB        1m  fresh 1m              http://a.example/x"] * 2
    assert total == "2 entries, 4.0 KiB"
    assert service.asked == ["GET /list http://a.example/ü*"]


def test_an_empty_list(service: Service) -> None:
    """Nothing is a status of its own."""
    service.say(b"")
    assert service.run("cache-list", "*") == (NOTHING, "0 entries, 0 B\n", "")
    assert service.run("cache-list", "*", is_json=True) == (NOTHING, "", "")


def test_show(service: Service) -> None:
    """One page for each variant."""
    service.say(to_line(REPORT) * 2)
    status, out, _ = service.run("cache-show", URL)
    assert status == DONE
    assert out.count(f"url:        {URL}\n") == 2


@pytest.mark.parametrize(
    ("option", "what", "asked", "words"),
    [
        ("cache-purge", "tag:a b", "POST /purge tag:a b", "1 entry purged\n"),
        ("cache-purge", "http://a/?x=1&y*", "POST /purge http://a/?x=1&y*", "1 entry purged\n"),
        ("cache-pin", URL, f"POST /pin {URL}", "1 entry pinned\n"),
        ("cache-unpin", URL, f"POST /unpin {URL}", "1 entry unpinned\n"),
    ],
)
def test_orders(service: Service, option: str, what: str, asked: str, words: str) -> None:
    """What is ordered arrives as it was written, and what was done is told."""
    service.say(b'{"count": 1}\n')
    assert service.run(option, what) == (DONE, words, "")
    assert service.asked == [asked]


@pytest.mark.parametrize(
    ("option", "out", "complaint"),
    [
        ("cache-purge", "0 entries purged\n", ""),
        ("cache-unpin", "0 entries unpinned\n", ""),
        ("cache-pin", "", "nothing is stored for this URL; --prefetch fetches it\n"),
    ],
)
def test_orders_about_nothing(service: Service, option: str, out: str, complaint: str) -> None:
    """Nothing to do is a status of its own."""
    service.say(b'{"count": 0}\n')
    status, printed, complained = service.run(option, URL)
    assert (status, printed) == (NOTHING, out)
    assert complained.endswith(complaint)


@pytest.mark.parametrize("option", COMMANDS)
def test_json(service: Service, option: str) -> None:
    """With --json the service's lines pass as they are."""
    line = b'{"count": 1}\n' if option not in ("cache-list", "cache-show") else to_line(REPORT)
    service.say(line)
    assert service.run(option, URL, is_json=True) == (DONE, line.decode(), "")


# --- Prefetching ---

LIST = f"# the first\n\n  {URL}\n{URL}?2  \n\t#{URL}?3\n"


def fetched(asked: str) -> tuple[int, bytes]:
    """Answer a prefetch of anything but bad URLs; a service that waits sends empty lines."""
    url = asked.split(" ", 2)[2]
    if "bad" in url:
        return 400, b'{"error": "no URL"}'
    outcome = Outcome(url, 200, 1024, 0.1, "hit" if "old" in url else "miss", "old" in url, True)
    return 200, b"\n\n" + to_line(outcome)


def test_prefetch(service: Service) -> None:
    """Each URL has its line when it ends, and the last line has the totals."""
    service.play(fetched)
    status, out, complaint = service.run("prefetch", "-", f"{LIST}{URL}/old")
    *rows, total = out.splitlines()
    assert (status, complaint) == (DONE, "")
    assert sorted(rows) == [
        "   200    1.0 KiB  cached      http://a.example/x/old",
        "   200    1.0 KiB  fetched     http://a.example/x",
        "   200    1.0 KiB  fetched     http://a.example/x?2",
    ]
    assert total.startswith(
        "3 URLs: 1 cached before, 2 fetched, 0 fetched and not stored, 0 failed; 2.0 KiB in "
    )


def test_what_fails_among_them(service: Service) -> None:
    """A bad URL spoils nothing but the exit status."""
    service.play(fetched)
    status, out, _ = service.run("prefetch", "-", f"bad\n{URL}\n")
    assert status == NOTHING
    assert "     -        0 B  failed      bad  (no URL)\n" in out
    assert "2 URLs: 0 cached before, 1 fetched, 0 fetched and not stored, 1 failed" in out


def test_a_file(service: Service) -> None:
    """The list may be a file; in JSON there are no totals."""
    service.play(fetched)
    (service.folder / "list").write_text(LIST)
    status, out, _ = service.run("prefetch", str(service.folder / "list"), is_json=True)
    urls = [json.loads(line)["url"] for line in out.splitlines()]
    assert (status, sorted(urls)) == (DONE, [URL, f"{URL}?2"])


def test_many(service: Service) -> None:
    """However many there are, each is asked for once."""
    service.play(fetched)
    urls = [f"{URL}?{number}" for number in range(200)]
    status, out, _ = service.run("prefetch", "-", "\n".join(urls))
    assert status == DONE
    assert sorted(service.asked) == sorted(f"POST /prefetch {url}" for url in urls)
    assert len(out.splitlines()) == 201


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("missing", "missing can't be read: No such file"), (".", "Is a directory"), ("b", "UTF-8")],
)
def test_no_lists(service: Service, name: str, complaint: str) -> None:
    """A list that can't be read is the command's mistake."""
    service.play(fetched)
    (service.folder / "b").write_bytes(b"\xff\n")
    status, _, complained = service.run("prefetch", str(service.folder / name))
    assert status == BAD_COMMAND
    assert complaint in complained


def test_a_service_that_ends(service: Service) -> None:
    """Once it is gone, the rest of the list isn't tried."""
    answered = threading.Event()

    def die(asked: str) -> tuple[int, bytes]:
        if answered.is_set():
            raise ConnectionError
        answered.set()
        return fetched(asked)

    service.play(die)
    status, out, complaint = service.run("prefetch", "-", f"{URL}\n" * 500)
    assert status == UNREACHABLE
    assert "ended before its answer was complete" in complaint
    assert len(service.asked) < 50
    assert "1 URL: " in out


def test_ctrl_c(service: Service) -> None:
    """An interruption ends what waits, and the totals are told all the same."""
    left = threading.Event()

    def wait(asked: str) -> tuple[int, bytes]:
        if "slow" in asked:
            left.wait(10)
        return fetched(asked)

    class Interrupting(io.StringIO):
        def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # of lines, as it is
            yield from self.getvalue().splitlines()
            wait_for(lambda: len(service.asked) == 3, "third request")
            raise KeyboardInterrupt

    service.play(wait)
    out, complaints = io.StringIO(), io.StringIO()
    given = Interrupting(f"{URL}\n{URL}?slow\n{URL}?slow\n")
    status = cachetool.run("prefetch", "-", service.folder, Terminal(given, out, complaints, False))
    left.set()
    assert (status, complaints.getvalue()) == (INTERRUPTED, "")
    assert "1 URL: 0 cached before, 1 fetched" in out.getvalue()


# --- On the command line ---


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--json"], "--json goes with"),
        (["--cache-list=*", "--prefetch=x"], "--cache-list and --prefetch don't go together"),
    ],
)
def test_wrong_commands(arguments: list[str], complaint: str) -> None:
    """What makes no sense together is said so."""
    options = tap.Options()
    with pytest.raises(usage.UsageError, match=complaint):
        options.parseOptions(arguments)  # type: ignore[no-untyped-call]  # Twisted's


def test_a_wrong_configuration(tmp_path: Path) -> None:
    """The ini says where the service is, so it has to be right."""
    done = twistd("--set=x.y=1", "--cache-list=*", folder=tmp_path)
    assert (done.returncode, done.stdout) == (BAD_COMMAND, "")
    assert "the configuration is wrong" in done.stderr


def test_a_pipe_that_is_closed(service: Service) -> None:
    """`--cache-list '*' | head` ends quietly."""
    service.say(to_line(REPORT) * 50_000)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        terminal = Terminal(sys.stdin, out, sys.stderr, False)
        assert cachetool.run("cache-list", "*", service.folder, terminal) == DONE
