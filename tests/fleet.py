"""The product as several processes: who they are, how it is told to reload, and a load for it."""

from __future__ import annotations

import io
import socket
import subprocess
import threading
from pathlib import Path

from proxyapp import reloading
from tests.appliance import _INI, Running, command, environ, merged, wait_for
from tests.talk import Response, Talk

# Seconds between two requests of a client: without any, nobody else would get to do anything.
_PAUSE = 0.003
_REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
_LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def children(running: Running) -> list[int]:
    """Return the processes that the master has started, the oldest first."""
    pid = running.process.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(map(int, found))


def wait_for_children(running: Running, count: int) -> list[int]:
    """Return the processes of the master, once there are exactly *count*."""

    wait_for(lambda: len(children(running)) == count, f"time with {count} workers")
    return children(running)


def write_ini(running: Running, ini: str) -> None:
    """Put the settings of *ini* over the tests' own, as start does."""
    folder = running.log.parent
    (folder / "proxyapp.ini").write_text(merged(_INI.format(folder=folder), ini))


def ask_for_reload(running: Running) -> None:
    """Have *running* reload, and serve the new settings; as `reload`, but without a process."""
    complaints = io.StringIO()
    status = reloading.run(running.log.parent, complaints)
    assert (status, complaints.getvalue()) == (reloading.DONE, "")


def refusal(running: Running) -> str:
    """Ask *running* for a reload that fails, and return why."""
    complaints = io.StringIO()
    assert reloading.run(running.log.parent, complaints) == reloading.REFUSED
    return complaints.getvalue()


def reload(running: Running) -> subprocess.CompletedProcess[str]:
    """Run `twistd proxyapp --reload`, as `systemctl reload` does."""
    folder = running.log.parent
    return subprocess.run(
        command("--config", str(folder / "proxyapp.ini"), "--reload"),
        cwd=folder,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(running: Running, text: str, since: int = 0) -> str:
    """Return the first line of the event log that holds *text*, once there is one.

    Those before the line *since* don't count.
    """

    def look() -> str:
        return next((line for line in running.said[since:] if text in line), "")

    return wait_for(look, f"event with {text}")


def fixed_ports(running: Running) -> str:
    """Return the settings that listen where *running* does, whatever the kernel would choose."""
    return "".join(
        f"[{section}]\nlisten = tcp:{port}:interface=127.0.0.1\n"
        for section, port in running.ports.items()
    )


def get(talk: Talk) -> Response:
    """Return the site's answer for /."""
    talk.send(_REQUEST)
    return talk.response()


class Load:
    """Clients that ask *port* for / again and again; *failures* says what any of them missed.

    Half of them keep their connection, half open a fresh one each time.
    """

    def __init__(self, port: int, clients: int) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._port = port
        self._is_over = threading.Event()
        kinds = [self._keep, self._open_each] * (clients // 2)
        self._threads = [threading.Thread(target=kind) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)

    def _talk(self) -> Talk:
        return Talk(socket.create_connection(("127.0.0.1", self._port), timeout=20))

    def _keep(self) -> None:
        talk: Talk | None = None
        while not self._is_over.wait(_PAUSE) and not self.failures:
            try:
                talk = talk or self._talk()
                talk.send(_REQUEST)
                answer = talk.response()
                if self._count(answer.status) and answer.head.all(b"connection") == [b"close"]:
                    talk.close()
                    talk = None
            except (OSError, EOFError) as error:
                self.failures.append(f"kept connection: {error!r}")
        if talk is not None:
            talk.close()

    def _open_each(self) -> None:
        while not self._is_over.wait(_PAUSE) and not self.failures:
            try:
                with self._talk() as talk:
                    talk.send(_LAST_REQUEST)
                    self._count(talk.response().status)
            except (OSError, EOFError) as error:
                self.failures.append(f"fresh connection: {error!r}")

    def _count(self, status: int) -> bool:
        self.answered += 1
        if status != 200:
            self.failures.append(f"status {status}")
        return status == 200
