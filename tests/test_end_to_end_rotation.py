"""Logs from outside: rotated under several writers, looked at by an admin, read by the journal."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.appliance import command, environ, merged, wait_for
from tests.talk import Talk

LINES = 4000
OLD = re.compile(r"requests\.log\.\d{4}-\d\d-\d\d(?:\.(\d+))?")

# Writes lines of several lengths, a few at a time; the others do the same.
WRITER = """\
import sys
import time
from twisted.internet.task import Clock
from proxyapp.logs import logfile
from proxyapp.logs.logfile import Rotating
from proxyapp.requestlog import open_log
from proxyapp.rules.record import Record
from proxyapp.rules.rotation import Rotation

path, name, count, interval = sys.argv[1:]
logfile.LOOK_INTERVAL = float(interval)
rotating = Rotating(Rotation(size=16384), 0, time.time, lambda job: job())
log = open_log(path, "{reason}", Clock(), rotating)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    log.write(Record(reason=f"{name}-{number}-" + "x" * (number % 97) + "-end"))
    if number % 7 == 0:
        log.flush()
log.close()
"""


def writer(path: Path, name: str, interval: float) -> subprocess.Popen[str]:
    """Start a process that appends LINES lines to *path*, once it is told to."""
    arguments = [str(path), name, str(LINES), str(interval)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def write_together(path: Path, interval: float) -> None:
    """Let three processes write at the same time, and wait for them."""
    writers = [writer(path, name, interval) for name in "abc"]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in writers:
        each.communicate(timeout=60)
        assert each.returncode == 0


def in_order(path: Path) -> list[Path]:
    """Return the files of the log, the oldest first."""
    found = [(each, OLD.fullmatch(each.name)) for each in path.parent.iterdir()]
    old = [(each.name.split(".")[2], int(m[1] or 1), each) for each, m in found if m is not None]
    assert {each for each, m in found if m is None} == {path}
    return [*(each for *_, each in sorted(old)), path]


@pytest.mark.parametrize("interval", [0.0, 0.02])
def test_no_line_is_lost_or_torn(tmp_path: Path, interval: float) -> None:
    """Three processes write while they rotate many times: each line is there once, and whole.

    The lines of each process are in order, from the oldest file to the newest.
    """
    path = tmp_path / "requests.log"
    write_together(path, interval)
    files = in_order(path)
    assert len(files) > (20 if interval == 0 else 2)
    texts = [each.read_text() for each in files]
    assert all(text.endswith("\n") for text in texts if text)
    lines = "".join(texts).splitlines()
    assert len(lines) == 3 * LINES
    for name in "abc":
        expected = [f"{name}-{n}-" + "x" * (n % 97) + "-end" for n in range(LINES)]
        assert [line for line in lines if line.startswith(name)] == expected


# --- The product ---

INI = """\
[proxyapp]
state_dir = {folder}
[proxy]
listen =
[site]
listen = tcp:0:interface=127.0.0.1
[log]
requests = {folder}/requests.log
events = {folder}/events.log
format = common
"""
SITE = re.compile(r" site: http://127\.0\.0\.1:([0-9]+)\n")


class Product:
    """The product with its logs in *folder*, and all that it says besides in a file."""

    def __init__(self, folder: Path, ini: str = "", *options: str) -> None:
        self.folder = folder
        self.requests, self.events = folder / "requests.log", folder / "events.log"
        self.said = folder / "said"
        (folder / "x.ini").write_text(merged(INI.format(folder=folder), ini))
        self._command = command("--config", str(folder / "x.ini"))
        before = self._command.index("proxyapp")
        self._command[before:before] = options

    def __enter__(self) -> Product:
        with self.said.open("w") as said:
            found = os.fstat(said.fileno())
            # systemd gives it a socket; a file has a device and an inode as well.
            stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=environ() | stream,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(15)

    def ask(self, path: str = "/") -> None:
        """Ask the site for *path*, and be answered."""

        def port() -> list[str]:
            texts = [each.read_text() for each in (self.events, self.said) if each.exists()]
            return SITE.findall("".join(texts))

        address = ("127.0.0.1", int(wait_for(port, "port")[0]))
        with socket.create_connection(address, timeout=10) as connection:
            talk = Talk(connection)
            talk.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            talk.response()

    def line(self, path: str) -> str:
        """Return the line about *path*, once it is there."""

        def found() -> list[str]:
            texts = [each.read_text() for each in (self.requests, self.said) if each.exists()]
            return [line for line in "".join(texts).splitlines() if f"GET {path} " in line]

        return wait_for(found, f"line about {path}")[0]

    def stop(self) -> str:
        """End the product; return what it said on standard output and error."""
        self.process.terminate()
        self.process.wait(15)
        return self.said.read_text()


@pytest.mark.parametrize("options", ["rotate = daily", "rotate = 1KiB\nkeep = 2"])
def test_a_file_that_is_due_is_put_aside(tmp_path: Path, options: str) -> None:
    """The first lines find files of another day, which are too large besides."""
    product = Product(tmp_path, f"[log]\n{options}\n")
    for path in (product.requests, product.events):
        path.write_text("old\n" * 500)
        os.utime(path, (1.6e9, 1.6e9))
    with product:
        wait_for(lambda: "old" not in product.events.read_text(), "new file")
        product.ask("/new")
        product.line("/new")
        assert product.stop() == ""
    assert "old" not in product.requests.read_text()
    old = [path for path in tmp_path.iterdir() if re.search(r"\.log\.2020-09-1[2-4]$", path.name)]
    assert [path.read_text() for path in old] == ["old\n" * 500] * 2


def test_workers_share_the_log(tmp_path: Path) -> None:
    """Two workers find a file that is too large: one renames it, and each line is there once."""
    product = Product(tmp_path, "[proxyapp]\nworkers = 2\n[log]\nrotate = 1KiB\n")
    product.requests.write_text("old\n" * 500)
    paths = [f"/{number}" for number in range(40)]
    with product:
        for path in paths:
            product.ask(path)
        product.stop()
    texts = [path.read_text() for path in tmp_path.glob("requests.log*")]
    lines = "".join(texts).replace("old\n", "").splitlines()
    assert sorted(line.split()[6] for line in lines) == sorted(paths)
    assert sum(text.startswith("old\n" * 500) for text in texts) == 1
    assert "old" not in product.requests.read_text()


def test_events_have_a_file_of_their_own(tmp_path: Path) -> None:
    """Standard output has nothing then, from the first event to the last."""
    with Product(tmp_path) as product:
        product.ask()
        assert product.stop() == ""
    lines = product.events.read_text().splitlines()
    assert " starting up." in lines[0]
    assert lines[-1].endswith("Server Shut Down.")
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines)


def test_a_level_above_information(tmp_path: Path) -> None:
    """A start and a stop without trouble are silent then."""
    with Product(tmp_path, "[log]\nlevel = warn\n") as product:
        wait_for((tmp_path / "control.sock").exists, "socket")
        assert product.stop() == ""
    assert product.events.read_text() == ""


def test_both_logs_in_the_journal(tmp_path: Path) -> None:
    """Every line has its priority; the time of events is the journal's."""
    with Product(tmp_path, "[log]\nrequests = -\nevents = -\n") as product:
        product.ask("/journal")
        assert product.line("/journal").startswith("<6>127.0.0.1 - - [")
        lines = product.stop().splitlines()
    assert all(line.startswith("<6>") for line in lines)
    assert any(re.match(r"<6>\[proxyapp\.\S+#info\] site: http", line) for line in lines)


def test_options_of_twistd_win(tmp_path: Path) -> None:
    """Who starts it with a log of his own has all events there."""
    own = tmp_path / "own.log"
    with Product(tmp_path, "[log]\nlevel = critical\n", f"--logfile={own}") as product:
        wait_for(lambda: own.exists() and "configuration: " in own.read_text(), "event")
        product.stop()
    assert "Server Shut Down." in own.read_text()
    assert not product.events.exists()


def test_names_of_clients(tmp_path: Path) -> None:
    """The first line of a client has its name already, where the system knows one."""
    try:
        name = socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0]
    except socket.gaierror:
        pytest.skip("127.0.0.1 has no name here")
    with Product(tmp_path, "[log]\nhostnames = yes\n") as product:
        product.ask("/named")
        assert product.line("/named").startswith(f"{name.lower()} - - [")
        product.stop()
