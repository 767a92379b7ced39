"""sendfile: exactly the bytes asked for, or an error that says which side failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from proxyapp.net import sendfile
from proxyapp.net.sendfile import CopyFile, FileChanged, SendFile, send_file
from tests.net.loopback import Network, Opening, Peer, Witness, flow, turn

MIB = 1 << 20
SMALL = 4096
SIZE = 3 * MIB + 17

Opened = Callable[[bytes], "Opening"]
# A job for the same thing: by the kernel, or copied.
Send = Callable[[Witness, "Opening", int, int], SendFile | CopyFile]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Return what makes a file and opens it; all are closed at the end."""
    files: list[Opening] = []

    def make(content: bytes) -> Opening:
        path = tmp_path / str(len(files))
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        files.append(Opening(descriptor, os.fstat(descriptor)))
        return files[-1]

    yield make
    for file in files:
        os.close(file.descriptor)


def by_kernel(ours: Witness, file: Opening, offset: int, size: int) -> SendFile | CopyFile:
    """Send as a plain connection does."""
    job = send_file(ours.transport, file, offset, size)
    assert isinstance(job, SendFile)
    return job


def by_copy(ours: Witness, file: Opening, offset: int, size: int) -> SendFile | CopyFile:
    """Send as a connection does that sendfile(2) can't reach."""
    job = CopyFile(ours.transport, file, offset, size)
    ours.transport.registerProducer(job, False)
    return job


BOTH = pytest.mark.parametrize("send", [by_kernel, by_copy])


@BOTH
@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (5, 0), (0, 1), (0, SIZE), (SIZE - 1, 1), (1, SIZE - 1), (4097, 65536), (MIB, MIB)],
)
@flow
async def test_pieces(network: Network, opened: Opened, send: Send, offset: int, size: int) -> None:
    """The piece that was asked for arrives, between what is written before and after it."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    reading = peer.read_all()
    ours.transport.write(b"before")
    job = send(ours, opened(content), offset, size)
    await job.done
    assert job.remaining == 0
    ours.transport.write(b"after")
    ours.transport.loseConnection()
    assert await reading == b"before" + content[offset : offset + size] + b"after"


@BOTH
@flow
async def test_behind_unsent_bytes(network: Network, opened: Opened, send: Send) -> None:
    """The file follows whatever waits in the buffers."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    ours.transport.write(content[::-1])
    await turn()
    job = send(ours, opened(content), 0, SIZE)
    assert await peer.read(2 * SIZE) == content[::-1] + content
    await job.done


@BOTH
@flow
async def test_slow_reader(network: Network, opened: Opened, send: Send) -> None:
    """A client that reads slowly holds up nobody, and *remaining* tells how far it is."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(content), 0, SIZE)
    seen = [job.remaining]
    received = b""
    while len(received) < SIZE:
        received += await peer.read_some(100_000)
        seen.append(job.remaining)
    await job.done
    assert received == content
    assert seen == sorted(seen, reverse=True)
    assert seen[1] > 0


@BOTH
@pytest.mark.parametrize("kept", [0, 100, 2 * MIB])
@flow
async def test_shrinking_file(
    network: Network, opened: Opened, tmp_path: Path, send: Send, kept: int
) -> None:
    """A file that ends early is an error, and the connection is no use any more."""
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(bytes(SIZE)), 0, SIZE)
    os.truncate(tmp_path / "0", kept)
    reading = peer.read_all()
    with pytest.raises(FileChanged):
        await job.done
    assert job.remaining > 0
    ours.transport.abortConnection()
    reading.addErrback(lambda failure: failure.trap(ConnectionResetError))
    await reading
    await ours.lost


def write_in_place(path: Path) -> None:
    """Change a byte of the middle; the length stays."""
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(b"x")


def write_anew(path: Path) -> None:
    """Do what cp does with an existing file."""
    path.write_bytes(b"y" * SIZE)


def append(path: Path) -> None:
    """Make it longer: nobody can tell that from a longer file that was written over it."""
    with path.open("ab") as file:
        file.write(b"more")


@BOTH
@pytest.mark.parametrize("change", [write_in_place, write_anew, append])
@flow
async def test_changing_file(
    network: Network, opened: Opened, tmp_path: Path, send: Send, change: Callable[[Path], None]
) -> None:
    """A file that is written to while it is sent never arrives as a whole."""
    ours, peer = await network.connect(SMALL)
    file = opened(bytes(SIZE))
    os.utime(tmp_path / "0", (1, 1))
    job = send(ours, file._replace(status=os.fstat(file.descriptor)), 0, SIZE)
    await peer.read(10_000)
    change(tmp_path / "0")
    reading = peer.read_all()
    with pytest.raises(FileChanged):
        await job.done
    assert job.remaining > 0
    ours.transport.abortConnection()
    reading.addCallbacks(
        lambda received: received, lambda failure: failure.trap(ConnectionResetError)
    )
    received = await reading
    assert not isinstance(received, bytes) or len(received) < SIZE - 10_000
    await ours.lost


@BOTH
@flow
async def test_replaced_file(network: Network, opened: Opened, tmp_path: Path, send: Send) -> None:
    """A file in whose place another one is put is sent to its end, as it was."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(content), 0, SIZE)
    (tmp_path / "fresh").write_bytes(bytes(SIZE))
    (tmp_path / "fresh").replace(tmp_path / "0")
    assert await peer.read(SIZE) == content
    await job.done


@BOTH
@flow
async def test_file_changed_before(
    network: Network, opened: Opened, tmp_path: Path, send: Send
) -> None:
    """A short file that isn't any more what was announced isn't sent at all."""
    ours, peer = await network.connect()
    file = opened(b"old")
    (tmp_path / "0").write_bytes(b"new")
    os.utime(tmp_path / "0", (1, 1))
    with pytest.raises(FileChanged):
        await send(ours, file, 0, 3).done
    ours.transport.abortConnection()
    with pytest.raises(ConnectionResetError):
        await peer.read(1)


@flow
async def test_unreadable_file(
    network: Network, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails while we copy is the file's fault, not the client's."""

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "no")

    ours, _ = await network.connect()
    file = opened(bytes(MIB))
    for call in ("pread", "fstat"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(FileChanged):
                await by_copy(ours, file, 0, 3).done


@BOTH
@flow
async def test_cancel(network: Network, opened: Opened, send: Send) -> None:
    """Cancelled, it stops where it is; the file may go, and the connection lives on."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(content), 0, SIZE)
    job.done.cancel()
    with pytest.raises(CancelledError):
        await job.done
    ours.transport.loseConnection()
    received = await peer.read_all()
    assert 0 < len(received) <= SIZE - job.remaining
    assert content.startswith(received)


@BOTH
@flow
async def test_stop_twice(network: Network, opened: Opened, send: Send) -> None:
    """Stopping is for everyone's `finally`: twice, or when all is sent, does no harm."""
    ours, peer = await network.connect()
    job = send(ours, opened(b"abc"), 0, 3)
    await job.done
    job.stop()
    job.stop()
    ours.transport.write(b"def")
    assert await peer.read(6) == b"abcdef"


def reset(ours: Witness, peer: Peer) -> None:
    """The client goes."""
    peer.reset()


def abort(ours: Witness, peer: Peer) -> None:
    """We give up."""
    ours.transport.abortConnection()


@BOTH
@pytest.mark.parametrize("end", [reset, abort])
@flow
async def test_connection_lost(
    network: Network, opened: Opened, send: Send, end: Callable[[Witness, Peer], None]
) -> None:
    """A connection that goes in the middle is a ConnectionError, and an end told once."""
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(bytes(SIZE)), 0, SIZE)
    await peer.read(10_000)
    end(ours, peer)
    with pytest.raises(ConnectionError):
        await job.done
    if not ours.lost.called:
        await ours.lost
    assert len(ours.ends) == 1


@BOTH
@flow
async def test_connection_gone_before(network: Network, opened: Opened, send: Send) -> None:
    """A connection that has gone already is the same error."""
    ours, peer = await network.connect()
    peer.reset()
    await ours.lost
    with pytest.raises(ConnectionError):
        await send(ours, opened(b"abc"), 0, 3).done


@BOTH
@flow
async def test_close_in_the_middle(network: Network, opened: Opened, send: Send) -> None:
    """A close that is asked for while the file is sent comes behind its last byte."""
    content = os.urandom(SIZE)
    ours, peer = await network.connect(SMALL)
    job = send(ours, opened(content), 0, SIZE)
    ours.transport.loseConnection()
    assert await peer.read_all() == content
    await job.done


@flow
async def test_one_after_the_other(network: Network, opened: Opened) -> None:
    """A second file may start in the callback of the first one's end."""
    ours, peer = await network.connect(SMALL)
    content = os.urandom(SIZE)
    file = opened(content)

    def again(_: None) -> Deferred[None]:
        return by_kernel(ours, file, 0, SIZE).done

    done = by_kernel(ours, file, 0, SIZE).done.addCallback(again)
    assert await peer.read(2 * SIZE) == content * 2
    await done


@flow
async def test_steps(network: Network, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fast client gets a bounded piece in a turn, however large the file."""
    steps: list[int] = []
    real = os.sendfile

    def noted(to: int, source: int, offset: int, count: int) -> int:
        steps.append(count)
        return real(to, source, offset, count)

    monkeypatch.setattr(os, "sendfile", noted)
    ours, peer = await network.connect()
    job = by_kernel(ours, opened(bytes(20 * MIB)), 0, 20 * MIB)
    assert len(await peer.read(20 * MIB)) == 20 * MIB
    await job.done
    assert max(steps) == sendfile.SENDFILE_STEP


def on_string_transport(file: Opening, size: int) -> tuple[StringTransport, SendFile | CopyFile]:
    """Start on a transport that isn't a socket."""
    transport = StringTransport()
    transport.protocol = Protocol()  # type: ignore[attr-defined]  # what a real one has
    job = send_file(transport, file, 0, size)
    return transport, job


def test_foreign_transport(opened: Opened) -> None:
    """Where there is no socket of ours, the file is copied in steps as it is asked for."""
    content = os.urandom(3 * sendfile.COPY_STEP + 5)
    transport, job = on_string_transport(opened(content), len(content))
    assert isinstance(job, CopyFile)
    for _ in range(4):
        assert not job.done.called
        job.resumeProducing()
    job.resumeProducing()
    assert job.done.called
    assert transport.value() == content
    assert transport.producer is None


def test_foreign_transport_goes(opened: Opened) -> None:
    """A copy whose transport goes fails once, and asks for nothing more."""
    transport, job = on_string_transport(opened(bytes(MIB)), MIB)
    assert isinstance(job, CopyFile)
    failed: list[object] = []
    job.done.addErrback(failed.append)
    job.resumeProducing()
    job.stopProducing()
    job.stopProducing()
    assert len(failed) == 1
    assert transport.producer is None


@flow
async def test_no_descriptor_is_closed(network: Network, opened: Opened) -> None:
    """The file stays its owner's: open after the end, an error and a cancellation."""
    file = opened(bytes(SIZE))
    for _ in range(3):
        ours, peer = await network.connect(SMALL)
        job = by_kernel(ours, file, 0, SIZE)
        peer.reset()
        with pytest.raises(ConnectionError):
            await job.done
    assert os.fstat(file.descriptor).st_size == SIZE
