"""The product as a process of its own, started as an admin would start it."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
# Only a failure takes so long, or a machine with a lot else to do (seconds).
_PATIENCE = 60.0
_STEP = 0.01

# Every port is the kernel's choice, and every destination may be reached: they're all on loopback.
_INI = """\
[proxyapp]
state_dir = {folder}
[proxy]
listen = tcp:0:interface=127.0.0.1
[site]
listen = tcp:0:interface=127.0.0.1
[access]
destinations = *
[tunnel]
ports = *
[log]
requests = {folder}/requests.log
format = json
"""
_PORT = re.compile(r"\] (proxy|site): https?://127\.0\.0\.1:([0-9]+)$")


def merged(settings: str, further: str) -> str:
    """Return *settings* with each option of *further* in place of its own."""
    sections: dict[str, dict[str, str]] = {}
    section = name = ""
    for line in (settings + further).splitlines():
        if line.startswith("["):
            section = line
        elif line.startswith(" "):
            sections[section][name] += f"\n{line}"
        elif line.strip():
            name, value = (part.strip() for part in line.split("=", 1))
            sections.setdefault(section, {})[name] = value
    lines = []
    for heading, options in sections.items():
        lines += [heading, *(f"{name} = {value}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def command(*arguments: str) -> list[str]:
    """Return the command that is `twistd -n proxyapp` with *arguments*."""
    return [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "proxyapp", *arguments]


@cache
def _bytecode() -> str:
    """Make a folder for what Python compiles: to do so at each start doubles the time of it."""
    folder = tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environ() -> dict[str, str]:
    """Return the environment in which this checkout is found, and compiled only once."""
    found = os.environ | {"PYTHONPATH": str(ROOT)}
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found["PYTHONPYCACHEPREFIX"] = _bytecode()
    return found


class Running:
    """A started product: its ports, what it says, and its request log."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = folder / "requests.log"
        self.said: list[str] = []
        self.ports: dict[str, int] = {}
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._read_introduction()
        self._listening.start()

    def _next_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.said.append(line.rstrip("\n"))
        return line

    def _read_introduction(self) -> None:
        while "configuration: " not in self._next_line():
            if self.process.poll() is not None:
                raise AssertionError("it did not start:\n" + "\n".join(self.said))
            if found := _PORT.search(self.said[-1]):
                self.ports[found[1]] = int(found[2])

    def _listen(self) -> None:
        while self._next_line():
            pass

    @property
    def proxy(self) -> int:
        """The proxy's port."""
        return self.ports["proxy"]

    @property
    def site(self) -> int:
        """The site's port."""
        return self.ports["site"]

    def memory(self) -> int:
        """Return the resident memory in bytes, and let `grown` count from here."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._status("VmRSS")

    def grown(self, before: int) -> int:
        """Return by how many bytes memory has at most been above *before* since `memory`."""
        return self._status("VmHWM") - before

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+([0-9]+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def sockets(self) -> int:
        """How many sockets are open; other descriptors are few anyway."""
        targets = []
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed between the two
                targets.append(os.readlink(path))
        return sum(target.startswith("socket:") for target in targets)

    def wait_for_sockets(self, most: int) -> None:
        """Wait until no more than *most* sockets are open."""
        wait_for(lambda: self.sockets <= most, f"time with at most {most} sockets")

    def lines(
        self, count: int, path: Path | None = None, since: int = 0, about: str = ""
    ) -> list[str]:
        """Return the lines of the request log that hold *about*, once there are *count*.

        For *since* see `line_with`.
        """
        log = path or self.log

        def enough() -> list[str]:
            text = log.read_text()[since:] if log.exists() else ""
            lines = [line for line in text.splitlines() if about in line]
            return lines if len(lines) >= count else []

        return wait_for(enough, f"{count} lines in {log}")

    def line_with(self, text: str, since: int = 0) -> str:
        """Return the last line of the request log that holds *text*, once there is one.

        Only what came after the first *since* characters counts: the kernel gives ports out again.
        """

        def found() -> list[str]:
            return [line for line in self.log.read_text()[since:].splitlines() if text in line]

        return wait_for(found, f"a line with {text}")[-1]

    @property
    def logged(self) -> int:
        """How many characters the request log has so far."""
        return len(self.log.read_text()) if self.log.exists() else 0

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """Ask the process to end, as systemd does, and wait until it has."""
        self.process.terminate()
        assert self.process.wait(_PATIENCE) in (0, -signal.SIGTERM)
        self._listening.join(_PATIENCE)

    def close(self) -> None:
        """End the process, whatever it does, and let go of it."""
        if self.process.poll() is None:
            pid = self.process.pid
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self.process.kill()
            for worker in map(int, workers):  # they would finish what they have begun
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            self.process.wait(_PATIENCE)
        if self._listening.is_alive():
            self._listening.join(_PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


_Found = TypeVar("_Found")


def wait_for(look: Callable[[], _Found], what: str) -> _Found:
    """Return what *look* finds, as soon as it finds something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"there is no {what}"
        time.sleep(_STEP)
    return found


def is_refused(port: int) -> bool:
    """Does nobody listen on *port* any more?"""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # the socket was closed between the connection and its acceptance: look again
    return False


def spawn(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the product's process with *arguments*; all that it says goes to its stdout."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def start(folder: Path, ini: str = "") -> Iterator[Running]:
    """Run the product in *folder* with the settings of *ini* over the tests' own.

    However it is treated, it must never print a traceback.
    """
    path = folder / "proxyapp.ini"
    path.write_text(merged(_INI.format(folder=folder), ini))
    running = Running(folder, spawn(folder, "--config", str(path)))
    try:
        yield running
    finally:
        running.close()
    assert not [line for line in running.said if "Traceback" in line], "\n".join(running.said)
