"""A started server with everything it forks: its processor time, its memory, and its end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 20.0
STOP_SECONDS = 5.0
LOOPBACK = "127.0.0.1"


class StartFailed(Exception):
    """A server didn't come up; the text holds the end of what it printed."""


class Process(NamedTuple):
    """One line of /proc/PID/stat; *started* tells a process from a later one with its number.

    *ticks* is user and system time of the process and of the children it has waited for.
    """

    pid: int
    parent: int
    started: int
    ticks: int


class Cpus(NamedTuple):
    """The processor the subjects run on, and the one for the load and the origin."""

    subject: int
    load: int


def choose_cpus() -> Cpus:
    """Return the first and the last processor we may use; they are one if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cpus(allowed[0], allowed[-1])


def free_ports(count: int) -> list[int]:
    """Return *count* different TCP ports that are free on loopback now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def parse_stat(text: str) -> Process:
    """Return what one line of /proc/PID/stat says; see proc(5)."""
    # The name in parentheses may hold blanks and parentheses itself.
    number, _, rest = text.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return Process(int(number), int(fields[1]), int(fields[19]), ticks)


def processes() -> list[Process]:
    """Return every process there is."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):
                found.append(parse_stat(Path("/proc", entry, "stat").read_text()))
    return found


def family(root: int, everybody: Sequence[Process]) -> list[Process]:
    """Return *root* and its descendants among *everybody*."""
    members = [process for process in everybody if process.pid == root]
    for member in members:  # grows while it is walked
        members.extend(process for process in everybody if process.parent == member.pid)
    return members


def allow_descriptors() -> int:
    """Raise the soft limit of open descriptors to the hard one; return it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server:
    """One server, in its own process group, on the processors *cpus*, with its output in a file."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        folder: Path,
        cpus: Collection[int],
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self._root = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_settle_on(cpus),  # noqa: PLW1509 - the bench has no threads
            )

    def __repr__(self) -> str:
        state = "running" if self._root.poll() is None else f"ended {self._root.returncode}"
        return f"<Server {self.name} pid {self._root.pid} {state}>"

    def family(self) -> list[Process]:
        """Return the server's processes."""
        return family(self._root.pid, processes())

    def cpu_seconds(self) -> float:
        """Return user and system time of all its processes so far."""
        return sum(process.ticks for process in self.family()) / TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Return the resident memory of all its processes."""
        pages = 0
        for process in self.family():
            pages += int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * PAGE_BYTES

    def descriptors(self) -> int:
        """Return how many descriptors all its processes have open."""
        return sum(len(os.listdir(f"/proc/{process.pid}/fd")) for process in self.family())

    def await_port(self, port: int) -> None:
        """Wait until *port* accepts connections; raises StartFailed."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._root.poll() is None:
            with suppress(OSError):
                socket.create_connection((LOOPBACK, port), timeout=1).close()
                return
            time.sleep(0.02)
        last = self._output.read_text(errors="replace").splitlines()[-5:]
        raise StartFailed(f"{self.name} did not start: " + " | ".join(last or ["no output"]))

    def stop(self) -> None:
        """End all its processes: politely, then by force."""
        members = self.family()
        self._root.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._root.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._root.pid, signal.SIGKILL)
        # Squid's log daemon sits in a session of its own, so the group alone isn't enough.
        left = {(process.pid, process.started) for process in processes()}
        for process in members:
            if (process.pid, process.started) in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        self._root.wait()


def _settle_on(cpus: Collection[int]) -> Callable[[], None]:
    """Return what a child does before it becomes the server."""

    def settle() -> None:
        os.sched_setaffinity(0, cpus)
        allow_descriptors()

    return settle
