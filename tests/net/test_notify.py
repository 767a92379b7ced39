"""notify: what systemd is told, and that nobody is where there is no systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxyapp.net.notify import Notifier, notifier

_PID = str(os.getpid())


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a socket that takes what is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(str(tmp_path / "notify"))
        yield made


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (Notifier.ready, "READY=1"),
        (Notifier.stopping, "STOPPING=1"),
        (Notifier.alive, "WATCHDOG=1"),
        (lambda notifier: notifier.status("all is well"), "STATUS=all is well"),
    ],
)
def test_messages(listening: socket.socket, say: Callable[[Notifier], None], expected: str) -> None:
    """Each is one datagram."""
    say(Notifier(listening.getsockname()))
    assert listening.recv(4096).decode() == expected


def test_reloading(listening: socket.socket) -> None:
    """A reload comes with its time, in microseconds of the clock that systemd uses."""
    before = time.monotonic_ns() // 1000
    Notifier(listening.getsockname()).reloading()
    word, _, told = listening.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before <= int(told) <= before + 60_000_000


def test_status_is_said_once(listening: socket.socket) -> None:
    """What hasn't changed isn't said again."""
    telling = Notifier(listening.getsockname())
    for text in ("a", "a", "b", "a"):
        telling.status(text)
    assert [listening.recv(4096) for _ in range(3)] == [b"STATUS=a", b"STATUS=b", b"STATUS=a"]
    with pytest.raises(BlockingIOError):
        listening.recv(1)


def test_abstract_address() -> None:
    """An address that begins with @ is in no file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0proxyapp-test-{_PID}")
        notifier({"NOTIFY_SOCKET": f"@proxyapp-test-{_PID}"}).ready()
        assert made.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/no/such/socket", "@proxyapp-nobody"])
def test_nobody_listens(address: str) -> None:
    """Where nobody is, nothing happens."""
    Notifier(address).ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "5000000"}, 0.0),
        ({"NOTIFY_SOCKET": "/x"}, 0.0),
        ({"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "5000000"}, 0.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000"}, 5.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": _PID}, 5.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float) -> None:
    """The watchdog is ours where it is said to be, and somebody is told."""
    assert notifier(environ).watchdog == seconds
