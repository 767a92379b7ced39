"""What systemd sees: readiness, reloads, status, signs of life, and sockets that it hands in."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.appliance import _INI, ROOT, TWISTD, Running, environ, merged, wait_for
from tests.fleet import ask_for_reload, get, refusal, wait_for_children, write_ini
from tests.talk import Talk

# Gives the process the number that LISTEN_PID and WATCHDOG_PID have to name.
_EXEC = (
    "import os, sys; pid = str(os.getpid());"
    "os.environ.update({name: pid for name in ('LISTEN_PID', 'WATCHDOG_PID')});"
    "os.dup2(int(sys.argv[1]), 3) if int(sys.argv[1]) > 3 else None;"
    "os.set_inheritable(3, True) if int(sys.argv[1]) >= 3 else None;"
    "os.execv(sys.argv[2], sys.argv[2:])"
)


class Systemd:
    """Listens for what the service tells; *heard* are all of its assignments so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def _listen(self) -> None:
        try:
            while True:
                self.heard += self._socket.recv(4096).decode("utf-8").splitlines()
        except BlockingIOError:
            pass

    def hears(self, pattern: str, since: int = 0) -> int:
        """Wait until something matches *pattern* whole; return how much was heard up to there."""

        def look() -> int:
            self._listen()
            for position, each in enumerate(self.heard[since:], since + 1):
                if re.fullmatch(pattern, each):
                    return position
            return 0

        return wait_for(look, f"{pattern} among {self.heard}")

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


Start = Callable[..., "tuple[Running, Systemd]"]


@contextmanager
def started(folder: Path, ini: str, listening: int, **variables: str) -> Iterator[Running]:
    """Run the product as systemd would, with the descriptor *listening* as its only socket."""
    path = folder / "proxyapp.ini"
    path.write_text(merged(_INI.format(folder=folder), ini))
    command = [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "proxyapp", "--config", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, str(listening), *command],
        cwd=folder,
        env=environ() | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[listening] if listening >= 0 else [],
    )
    running = Running(folder, process)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Yield who is told."""
    made = Systemd(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Systemd]]:
    """Yield the product, and systemd, which looks after it with a watchdog."""
    folder = tmp_path_factory.mktemp("watched")
    systemd = Systemd(folder / "notify")
    variables = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "400000"}
    with started(folder, "", -1, **variables) as running:
        yield running, systemd
    systemd.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_life_of_a_service(tmp_path: Path, systemd: Systemd, workers: int) -> None:
    """READY when it serves, RELOADING with its time and READY around a reload, STOPPING."""
    ini = f"[proxyapp]\nworkers = {workers}\n"
    with started(tmp_path, ini, -1, NOTIFY_SOCKET=str(systemd.path)) as running:
        at = systemd.hears("READY=1")
        at = systemd.hears(r"STATUS=0 connections of clients, .*", at)
        running.send_signal(signal.SIGHUP)
        at = systemd.hears("RELOADING=1", at)
        at = systemd.hears("MONOTONIC_USEC=[0-9]+", at)
        at = systemd.hears("READY=1", at)
        wait_for_children(running, workers)
        running.send_signal(signal.SIGTERM)
        systemd.hears("STOPPING=1", at)
        assert running.process.wait(60) == 0


def test_failed_reload(watched: tuple[Running, Systemd]) -> None:
    """The status says what is wrong with the new configuration, and that it wasn't taken."""
    running, systemd = watched
    at = systemd.hears("READY=1")
    write_ini(running, "[pool]\nretries = many\n")
    assert "retries" in refusal(running)
    at = systemd.hears("RELOADING=1", at)
    systemd.hears("READY=1", at)
    systemd.hears(r"STATUS=not reloaded: .*retries: 'many' is not .*", at)


def test_signs_of_life(watched: tuple[Running, Systemd]) -> None:
    """The watchdog is told twice in its time."""
    _, systemd = watched
    at = systemd.hears("WATCHDOG=1")
    systemd.hears("WATCHDOG=1", at)


def test_status_counts(watched: tuple[Running, Systemd]) -> None:
    """The status is alive."""
    running, systemd = watched
    with Talk(socket.create_connection(("127.0.0.1", running.site))) as talk:
        get(talk)
        systemd.hears("STATUS=.*1 connections of clients, 0 of them tunnels; 1 process")


@pytest.mark.parametrize(("workers", "named"), [(1, "index=0"), (2, "name=front")])
def test_socket_activation(tmp_path: Path, workers: int, named: str) -> None:
    """A socket of systemd's is served, by all workers and after reloads, and outlives us."""
    ini = f"[proxyapp]\nworkers = {workers}\n[site]\nlisten = systemd:domain=INET:{named}\n"
    with socket.create_server(("127.0.0.1", 0)) as handed:
        port = handed.getsockname()[1]
        variables = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "front"}
        with started(tmp_path, ini, handed.fileno(), **variables) as running:
            for _ in range(2):
                assert answers(port)
                ask_for_reload(running)
            assert answers(port)
            running.send_signal(signal.SIGTERM)
            assert running.process.wait(60) == 0
        socket.create_connection(("127.0.0.1", port)).close()


def answers(port: int) -> bool:
    """Does somebody serve the site on *port*?"""
    with Talk(socket.create_connection(("127.0.0.1", port), 20)) as talk:
        return get(talk).status == 200


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", ["proxyapp.service", "proxyapp.socket"])
def test_units_verify(tmp_path: Path, unit: str) -> None:
    """systemd finds nothing wrong with the units that we ship."""
    for each in (ROOT / "etc").glob("proxyapp.s*"):
        text = each.read_text().replace("/opt/proxyapp/bin/twistd", shutil.which("true") or "")
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
