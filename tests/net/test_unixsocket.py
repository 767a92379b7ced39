"""A Unix socket that one process at a time has, and nobody but its owner opens."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.unixsocket import SocketTaken, listen_private

# Binds the socket, takes the lock if asked to, says so, and waits to be killed.
HOLDER = """
import fcntl, os, socket, sys
path, locks = sys.argv[1:]
if locks == "yes":
    lock = os.open(path[:-5] + ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen()
print("ready", flush=True)
sys.stdin.read()
"""


class Leaving(Protocol):
    """Hangs up at once."""

    def connectionMade(self) -> None:
        """See Protocol."""
        assert self.transport is not None
        self.transport.loseConnection()


def listen(path: Path, reactor: ApplianceReactor) -> IListeningPort:
    """Listen, and let nobody stay."""
    return listen_private(path, Factory.forProtocol(Leaving), reactor)


def has_ended(client: socket.socket) -> bool:
    """Has the other end hung up?"""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


async def stop(port: IListeningPort) -> None:
    """Close the port."""
    await maybeDeferred(port.stopListening)


def start_holder(path: Path, locks: str) -> subprocess.Popen[str]:
    """Start a process that listens at *path*."""
    command = [sys.executable, "-c", HOLDER, str(path), locks]
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    """Kill it."""
    holder.kill()
    holder.communicate()


@pytest_twisted.ensureDeferred
async def test_only_the_owner_opens_it(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """Socket and lock are their owner's alone, whatever the umask; the folder is made."""
    path = tmp_path / "new" / "state" / "x.sock"
    before = os.umask(0)
    try:
        port = listen(path, reactor)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.with_suffix(".lock"))]
    assert modes == [0o600, 0o600]
    await stop(port)
    assert not path.exists()


@pytest_twisted.ensureDeferred
async def test_a_dead_process_leaves_it(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """What a killed process has left is replaced."""
    path = tmp_path / "x.sock"
    end(start_holder(path, "yes"))
    assert path.is_socket()
    port = listen(path, reactor)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.setblocking(False)
        while not has_ended(client):
            await deferLater(reactor, 0.002, lambda: None)
    await stop(port)


@pytest_twisted.ensureDeferred
async def test_a_living_process_keeps_it(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """While the other one lives its socket stays, and nothing of ours is left open."""
    path = tmp_path / "x.sock"
    holder = start_holder(path, "yes")
    try:
        with pytest.raises(SocketTaken):
            listen(path, reactor)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    finally:
        end(holder)
    await stop(listen(path, reactor))


@pytest_twisted.ensureDeferred
async def test_twice_in_one_process(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """The same holds for two in one process; the second has it once the first is closed."""
    path = tmp_path / "x.sock"
    first = listen(path, reactor)
    with pytest.raises(SocketTaken):
        listen(path, reactor)
    await stop(first)
    await stop(listen(path, reactor))


@pytest_twisted.ensureDeferred
async def test_what_was_removed_is_no_mistake(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """It closes in order even if somebody has removed the socket meanwhile."""
    path = tmp_path / "x.sock"
    port = listen(path, reactor)
    path.unlink()
    await stop(port)


@pytest.mark.parametrize("folder", ["x" * 120, "file", "link"])
def test_where_it_cannot_be(tmp_path: Path, reactor: ApplianceReactor, folder: str) -> None:
    """A path too long, below a file, or by somebody's link is an OSError with words."""
    (tmp_path / "file").write_text("")
    path = tmp_path / folder / "x.sock"
    if folder == "link":
        path.parent.mkdir()
        path.with_suffix(".lock").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match=r".") as caught:
        listen(path, reactor)
    assert caught.value.strerror


def test_a_file_is_not_removed(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """What isn't a socket isn't ours to replace."""
    path = tmp_path / "x.sock"
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        listen(path, reactor)
    assert path.read_text() == "mine"
