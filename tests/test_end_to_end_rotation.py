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
from tests.conftest import StartAppliance
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


def ask(port: int, path: str = "/") -> None:
    """Ask the site for *path*, and be answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        talk = Talk(connection)
        talk.send(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        talk.response()


def test_a_file_that_is_due_is_put_aside(start_appliance: StartAppliance, tmp_path: Path) -> None:
    """The first lines find a file of another day, and one that is too large."""
    for name, options in (("daily", "rotate = daily"), ("size", "rotate = 1KiB\nkeep = 2")):
        folder = tmp_path / name
        folder.mkdir()
        requests, events = folder / "requests.log", folder / "events.log"
        for path in (requests, events):
            path.write_text("old\n" * 500)
            os.utime(path, (1.6e9, 1.6e9))
        ini = f"[log]\nrequests = {requests}\nevents = {events}\n{options}\n"
        with start_quietly(tmp_path, ini, events) as site:
            ask(site)
            wait_for(lambda found=requests: "GET" in found.read_text(), "line")
        assert "old" not in requests.read_text()
        assert "site: http" in events.read_text()
        day = r"20[0-9]{2}-[0-9]{2}-[0-9]{2}"
        old = [each for each in folder.iterdir() if re.fullmatch(rf".*\.log\.{day}", each.name)]
        assert [each.read_text() for each in old] == ["old\n" * 500] * 2
