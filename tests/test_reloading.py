"""--reload: asks the service, and tells people and scripts what came of it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from proxyapp import reloading
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.reloading import DONE, REFUSED, UNREACHABLE
from proxyapp.workers.asking import MasterSocket
from proxyapp.workers.reloads import Outcome, Reloads

awaiting = pytest_twisted.ensureDeferred


@contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Answer whoever asks in *folder*; yield what was asked."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        talking, _ = listening.accept()
        with talking:
            asked.append(talking.recv(1000))
            talking.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "master.sock"))
        listening.listen()
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield asked
        thread.join(10)


def ask(folder: Path) -> tuple[int, str]:
    """Return exit status and complaints."""
    complaints = io.StringIO()
    return reloading.run(folder, complaints), complaints.getvalue()


@pytest.mark.parametrize(
    ("answer", "status", "complaint"),
    [
        (b'["reloaded", {"mistakes": []}]\n', DONE, ""),
        (
            b'["refused", {"mistakes": ["x.ini:3: wrong", "x.ini:4: wrong, too"]}]\n',
            REFUSED,
            "proxyapp: not reloaded: x.ini:3: wrong\nproxyapp: not reloaded: x.ini:4: wrong, too\n",
        ),
        (b"", UNREACHABLE, "proxyapp: --reload: proxyapp ended before it answered\n"),
        (b"nonsense", UNREACHABLE, "makes no sense; is it another version?\n"),
        (b'["refused", {}]\n', UNREACHABLE, "makes no sense; is it another version?\n"),
    ],
)
def test_answers(tmp_path: Path, answer: bytes, status: int, complaint: str) -> None:
    """Each outcome has its exit status, and each mistake a line."""
    with answering(tmp_path, answer) as asked:
        found, told = ask(tmp_path)
    assert asked == [b'["reload", {}]\n']
    assert found == status
    assert told.endswith(complaint)
    assert bool(told) == bool(complaint)


def test_nobody_there(tmp_path: Path) -> None:
    """No service, and a service that has died, are told apart."""
    assert ask(tmp_path) == (
        UNREACHABLE,
        f"proxyapp: --reload: {tmp_path}/master.sock isn't there: no proxyapp runs with this"
        " state_dir\n",
    )
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "master.sock"))
    status, complaint = ask(tmp_path)
    assert status == UNREACHABLE
    assert "nobody listens" in complaint


@pytest.mark.parametrize("mistakes", [(), ("x.ini:3: wrong",)])
@awaiting
async def test_both_ends(
    tmp_path: Path, reactor: ApplianceReactor, mistakes: tuple[str, ...]
) -> None:
    """What the master answers is what --reload understands; only its owner may ask."""
    reloads = Reloads(lambda: succeed(Outcome(mistakes)))
    master = MasterSocket(tmp_path / "state", reloads, reactor)
    master.start()
    assert master.path.stat().st_mode & 0o777 == 0o600
    status, complaint = await deferToThread(ask, tmp_path / "state")
    assert (status, "x.ini:3" in complaint) == ((REFUSED, True) if mistakes else (DONE, False))
    master.stop()


@awaiting
async def test_unknown_question(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """What the master doesn't know it says so to, and nothing is reloaded."""
    begun: list[int] = []

    def begin() -> Deferred[Outcome]:
        begun.append(1)
        return succeed(Outcome())

    master = MasterSocket(tmp_path, Reloads(begin), reactor)
    master.start()

    def converse(sent: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as talking:
            talking.settimeout(10)
            talking.connect(str(master.path))
            talking.sendall(sent)
            return talking.recv(1000)

    for question in (b'["dance", {}]\n', b"nonsense\n"):
        assert (await deferToThread(converse, question)).startswith(b'["unknown"')
    assert begun == []
    master.stop()


def test_no_socket(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """Where the socket can't be opened, or isn't ours, the event log says what works instead."""
    reloads = Reloads(lambda: succeed(Outcome()))
    (tmp_path / "file").write_text("")
    with capturedLogs() as logged:
        MasterSocket(tmp_path / "file", reloads, reactor).start()
    assert "only SIGHUP reloads" in str(logged[-1]["log_format"])
    first = MasterSocket(tmp_path, reloads, reactor)
    first.start()
    with capturedLogs() as logged:
        MasterSocket(tmp_path, reloads, reactor).start()
    assert "another process has" in str(logged[-1]["log_format"])
    assert repr(first) == f"<MasterSocket {tmp_path}/master.sock>"
    first.stop()
