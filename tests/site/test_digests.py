"""Digests of files: exact, computed once, in threads, and given up when nobody waits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.site import digests
from proxyapp.site.confinement import OpenFile
from proxyapp.site.digests import Digests, as_line
from tests.net.loopback import failure_of, flow
from tests.site.foldersite import Serve

_T = TypeVar("_T")

CONTENT = b"content" * 100_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file."""
    found = tmp_path / "file.bin"
    found.write_bytes(CONTENT)
    return found


def opened(path: Path) -> OpenFile:
    """Return *path*, open."""
    descriptor = os.open(path, os.O_RDONLY)
    return OpenFile(descriptor, os.fsencode(path.name), os.fstat(descriptor))


class HeldThreads:
    """Threads that the test lets run, one piece of work after the other."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], _T]) -> Deferred[_T]:
        result: Deferred[_T] = Deferred()

        def run() -> None:
            deferToThread(job).chainDeferred(result)

        self.held.append(run)
        return result

    def release(self) -> None:
        """Let the oldest piece of work run."""
        self.held.pop(0)()


# Over a socket.


@flow
async def test_line(serve: Serve, path: Path) -> None:
    """The text is what sha256sum writes, and checks."""
    response = await serve(path.parent).get(b"/file.bin?hash")
    assert response.body == f"{DIGEST}  file.bin\n".encode()
    assert response.head.one(b"content-type") == b"text/plain; charset=utf-8"
    assert response.head.one(b"cache-control") == b"no-cache"
    check = ["sha256sum", "--check", "--strict"]
    subprocess.run(check, input=response.body, cwd=path.parent, check=True, capture_output=True)


@flow
async def test_json(serve: Serve, path: Path) -> None:
    """Programs that ask for JSON get it."""
    response = await serve(path.parent).get(b"/file.bin?hash", b"Accept: application/json")
    assert response.head.one(b"content-type") == b"application/json"
    assert json.loads(response.body) == {
        "name": "file.bin",
        "size": len(CONTENT),
        "sha256": DIGEST,
    }


@flow
async def test_remembered(serve: Serve, path: Path) -> None:
    """A digest is computed once, in a thread, until the file changes."""
    site = serve(path.parent)
    for _ in range(2):
        await site.get(b"/file.bin?hash")
    assert len(site.threads) == 1
    assert "MainThread" not in site.threads
    path.write_bytes(b"other")
    changed = (await site.get(b"/file.bin?hash")).body
    assert changed.startswith(hashlib.sha256(b"other").hexdigest().encode())
    assert len(site.threads) == 2


@flow
async def test_client_that_leaves(serve: Serve, tmp_path: Path) -> None:
    """A huge file isn't read on when nobody waits for it any more."""
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 1 << 40)
    site = serve(tmp_path)
    talk = site.connect()
    talk.send(b"GET /huge?hash HTTP/1.1\r\nHost: a\r\n\r\n")
    await site.until(lambda: bool(site.threads))
    talk.reset()
    await site.until(lambda: bool(site.records) and not site.under_way)
    assert site.records[0].status == 499
    assert repr(site.digests) == "<Digests 0 known, 0 under way>"


# By hand.


@flow
async def test_folder(path: Path) -> None:
    """A folder has no digest."""
    folder = opened(path.parent)
    request, reply = cast(Request, None), cast(Reply, None)
    await failure_of(Digests(HeldThreads()).respond(request, reply, folder, ()), errors.NotFound)
    folder.close()


@flow
async def test_single_flight(path: Path) -> None:
    """Whoever asks for what is under way waits for the same work, though the first one leaves."""
    threads = HeldThreads()
    digests_ = Digests(threads)
    first, second = opened(path), opened(path)
    waiting = [Deferred.fromCoroutine(digests_.digest(each)) for each in (first, second)]
    assert len(threads.held) == 1
    waiting[0].cancel()
    first.close()
    await failure_of(waiting[0], CancelledError)
    threads.release()
    assert await waiting[1] == DIGEST
    assert not threads.held
    second.close()


@flow
async def test_given_up(path: Path) -> None:
    """When the last one leaves the work is told to stop, and nothing of it stays."""
    threads = HeldThreads()
    digests_ = Digests(threads)
    file = opened(path)
    waiting = Deferred.fromCoroutine(digests_.digest(file))
    waiting.cancel()
    await failure_of(waiting, CancelledError)
    file.close()
    assert repr(digests_) == "<Digests 0 known, 0 under way>"
    threads.release()


@flow
async def test_line_of_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time; those beyond the end of the line are refused, and the rest is served."""
    monkeypatch.setattr(digests, "WAITING", 1)
    threads = HeldThreads()
    digests_ = Digests(threads)
    files = []
    for number in range(4):
        copy = path.with_name(f"copy{number}")
        copy.write_bytes(CONTENT)
        files.append(opened(copy))
    waiting = [Deferred.fromCoroutine(digests_.digest(file)) for file in files[:3]]
    assert len(threads.held) == 2
    await failure_of(digests_.digest(files[3]), errors.Overloaded)
    for work in waiting:
        threads.release()
        assert await work == DIGEST
    for file in files:
        file.close()


@flow
async def test_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many digests are remembered: those that were asked for last."""
    monkeypatch.setattr(digests, "REMEMBERED", 2)
    asked: list[str] = []

    def in_thread(job: Callable[[], _T]) -> Deferred[_T]:
        asked.append("")
        return deferToThread(job)

    digests_ = Digests(in_thread)
    for name in ("a", "b", "a", "c", "a", "b"):
        copy = path.with_name(name)
        if not copy.exists():
            copy.write_bytes(CONTENT)
        file = opened(copy)
        assert await digests_.digest(file) == DIGEST
        file.close()
    assert len(asked) == 4


@pytest.mark.parametrize("content", [b"", b"shorter", CONTENT + b"longer", CONTENT])
@flow
async def test_file_that_changes(path: Path, content: bytes) -> None:
    """A file that is written to while it is read has no digest, and none is remembered."""
    threads = HeldThreads()
    digests_ = Digests(threads)
    file = opened(path)
    waiting = Deferred.fromCoroutine(digests_.digest(file))
    path.write_bytes(content)
    os.utime(path, (1, 1))
    threads.release()
    await failure_of(waiting, errors.InternalError)
    assert repr(digests_) == "<Digests 0 known, 0 under way>"
    file.close()


def test_halted(path: Path) -> None:
    """Between two blocks it is asked whether anybody still waits."""
    file = opened(path)
    halt = threading.Event()
    halt.set()
    with pytest.raises(errors.ClientGone):
        digests.sha256((0, 0, 0, 0, 0), file.descriptor, halt)
    file.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a\nb", b"\\00  a\\nb\n"),
        (b"a\\nb\r", b"\\00  a\\\\nb\\r\n"),
        (b" \xff", b"00   \xff\n"),
    ],
)
def test_names(name: bytes, expected: bytes) -> None:
    """No name is taken for another line; the mark is GNU's."""
    assert as_line(name, "00") == expected
