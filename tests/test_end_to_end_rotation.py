"""Logs from outside: rotated under several writers, looked at by an admin, read by the journal."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.appliance import command, environ, merged, wait_for
from tests.talk import Talk

LINES = 4000
OLD = re.compile(r"requests\.log\.\d{4}-\d\d-\d\d(?:\.(\d+))?")

# Three processes write lines of several lengths, a few at a time; a second is a look at the clock.
WRITERS = """\
import itertools
import os
import sys
import time
from twisted.internet.task import Clock
from proxyapp.logs import logfile
from proxyapp.logs.logfile import Rotating
from proxyapp.requestlog import open_log
from proxyapp.rules.record import Record
from proxyapp.rules.rotation import Rotation

path, count, interval = sys.argv[1:]
logfile.LOOK_INTERVAL = float(interval)
ticks = itertools.count(int(time.time()))
rotating = Rotating(Rotation(size=16384), 0, ticks.__next__, lambda job: job())

def write(name):
    log = open_log(path, "{reason}", Clock(), rotating)
    for number in range(int(count)):
        log.write(Record(reason=f"{name}-{number}-" + "x" * (number % 97) + "-end"))
        if number % 7 == 0:
            log.flush()
    log.close()

for name in "abc":
    if not os.fork():
        try:
            os.read(0, 1)
            write(name)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
print("ready", flush=True)
assert [os.wait()[1] for _ in "abc"] == [0, 0, 0]
"""


def write_together(path: Path, interval: int) -> None:
    """Let three processes append LINES lines each at the same time, and wait for them.

    Each looks for the file's name once in *interval* writes.
    """
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(path), str(LINES), str(interval)],
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.communicate("go!", timeout=60)
    assert process.returncode == 0


def in_order(path: Path) -> list[Path]:
    """Return the files of the log, the oldest first."""
    found = [(each, OLD.fullmatch(each.name)) for each in path.parent.iterdir()]
    old = [(each.name.split(".")[2], int(m[1] or 1), each) for each, m in found if m is not None]
    assert {each for each, m in found if m is None} == {path}
    return [*(each for *_, each in sorted(old)), path]


@pytest.mark.parametrize("interval", [0, 20])
def test_no_line_is_lost_or_torn(tmp_path: Path, interval: int) -> None:
    """Three processes write while they rotate many times: each line is there once, and whole.

    The lines of each process are in order, from the oldest file to the newest.
    """
    path = tmp_path / "requests.log"
    write_together(path, interval)
    files = in_order(path)
    assert len(files) > (20 if interval == 0 else 5)
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
        port = wait_for(lambda: SITE.findall(self.all_of(self.events)), "port")[0]
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
            talk = Talk(connection)
            talk.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            talk.response()

    def line(self, path: str) -> str:
        """Return the line about *path*, once it is there."""

        def found() -> list[str]:
            lines = self.all_of(self.requests).splitlines()
            return [line for line in lines if f"GET {path} " in line]

        return wait_for(found, f"line about {path}")[0]

    def all_of(self, log: Path) -> str:
        """Return what is in *log*, in its old files, and on standard output by now."""
        text = self.said.read_text()
        for each in self.folder.glob(f"{log.name}*"):
            with suppress(FileNotFoundError):  # it gets another name at this moment
                text += each.read_text()
        return text

    def stop(self) -> str:
        """End the product; return what it said on standard output and error."""
        self.process.terminate()
        self.process.wait(15)
        return self.said.read_text()


def test_files_of_another_day_are_put_aside(tmp_path: Path) -> None:
    """The first lines find them; the new ones have all that comes, and standard output nothing."""
    product = Product(tmp_path, "[log]\nrotate = daily\nkeep = 2\n")
    for path in (product.requests, product.events):
        path.write_text("old\n")
        os.utime(path, (1.6e9, 1.6e9))
    with product:
        product.ask("/new")
        product.line("/new")
        assert product.stop() == ""
    old = [path for path in tmp_path.iterdir() if re.search(r"\.log\.2020-09-1[2-4]$", path.name)]
    assert [path.read_text() for path in old] == ["old\n"] * 2
    assert len(product.requests.read_text().splitlines()) == 1
    lines = product.events.read_text().splitlines()
    assert " starting up." in lines[0]
    assert lines[-1].endswith("Server Shut Down.")
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines)


def test_workers_share_the_logs(tmp_path: Path) -> None:
    """All processes find files that are too large: one renames each, and no line is lost."""
    product = Product(tmp_path, "[proxyapp]\nworkers = 2\n[log]\nrotate = 1KiB\n")
    for path in (product.requests, product.events):
        path.write_text("old\n" * 500)
    paths = [f"/{number}" for number in range(40)]
    with product:
        for each in paths:
            product.ask(each)
        assert product.stop() == ""
    lines = product.all_of(product.requests).replace("old\n", "").splitlines()
    assert sorted(line.split()[6] for line in lines) == sorted(paths)
    for path in (product.requests, product.events):
        texts = [each.read_text() for each in tmp_path.glob(f"{path.name}*")]
        assert sum(text.startswith("old\n" * 500) for text in texts) == 1
        assert "old" not in path.read_text()


def test_a_level_above_information(tmp_path: Path) -> None:
    """A start and a stop without trouble are silent then."""
    with Product(tmp_path, "[log]\nlevel = warn\n") as product:
        wait_for((tmp_path / "control.sock").exists, "socket")
        assert product.stop() == ""
    assert product.events.read_text() == ""


def test_both_logs_in_the_journal(tmp_path: Path) -> None:
    """Every line has its priority; the time of events is the journal's.

    The first line of a client has its name already, where the system knows one.
    """
    try:
        client = socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0].lower()
    except socket.gaierror:
        client = "127.0.0.1"
    with Product(tmp_path, "[log]\nrequests = -\nevents = -\nhostnames = yes\n") as product:
        product.ask("/journal")
        assert product.line("/journal").startswith(f"<6>{client} - - [")
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
