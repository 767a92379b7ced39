"""splice: every byte once and in order, no descriptor lost, and the input given back."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from proxyapp.net import pipes
from proxyapp.net import transport as net_transport
from proxyapp.net.splice import Splice, splice
from tests.net.loopback import Network, Peer, Witness, flow, open_descriptors, turn

MIB = 1 << 20
SMALL = 4096


class Route:
    """A splice from one connection to another, the peers at both ends, and its end."""

    def __init__(self, source: Witness, sender: Peer, target: Witness, reader: Peer) -> None:
        self.source, self.sender = source, sender
        self.target, self.reader = target, reader
        self.drained: Deferred[None] = Deferred()
        self.times = 0

    def start(self, count: int | None) -> Splice:
        """Begin to move *count* bytes."""
        moving = splice(self.source.transport, self.target.transport, count, self._drained)
        assert moving is not None
        return moving

    def _drained(self) -> None:
        self.times += 1
        self.drained.callback(None)


async def route(network: Network, buffer: int = 0) -> Route:
    """Make two connections; *buffer* (bytes) makes the target's a narrow one."""
    source, sender = await network.connect()
    target, reader = await network.connect(buffer)
    return Route(source, sender, target, reader)


@pytest.mark.parametrize("buffer", [0, SMALL])
@pytest.mark.parametrize("size", [1, 100, 65_536, 65_537, 5 * MIB + 3])
@flow
async def test_count(network: Network, size: int, buffer: int) -> None:
    """Just *count* bytes are moved; what follows them is the protocol's again."""
    way = await route(network, buffer)
    content = os.urandom(size)
    moving = way.start(size)
    sending = way.sender.send(content + b"next")
    assert await way.reader.read(size) == content
    await gatherResults([sending, way.drained])
    assert moving.moved == size
    way.source.transport.resumeProducing()
    await way.source.until(lambda: way.source.received == b"next")
    assert way.times == 1


@pytest.mark.parametrize("buffer", [0, SMALL])
@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB + 1])
@flow
async def test_until_the_end(network: Network, size: int, buffer: int) -> None:
    """Without a count everything is moved until the input ends, which the protocol hears after."""
    way = await route(network, buffer)
    content = os.urandom(size)
    moving = way.start(None)
    seen_at_end: list[int] = []
    way.drained.addCallback(lambda _: seen_at_end.append(len(way.source.ends)))
    reading = way.reader.read(size)
    await way.sender.send(content)
    way.sender.end_output()
    await way.drained
    assert await reading == content
    assert moving.moved == size
    assert seen_at_end == [0]
    await way.source.until(lambda: way.source.ends == ["input"])
    assert not moving.is_blocked


@flow
async def test_fifty_megabytes(network: Network) -> None:
    """A long transfer between fast ends is exact to the byte."""
    way = await route(network)
    piece = os.urandom(MIB + 13)
    expected = hashlib.sha256()
    moving = way.start(None)

    def send() -> None:
        for number in range(52):
            expected.update(piece[number:])
            way.sender.socket.sendall(piece[number:])
        way.sender.end_output()

    sending = network.in_thread(send)
    way.drained.addCallback(lambda _: net_transport.half_close(way.target.transport))
    received = await way.reader.read_all()
    await sending
    assert len(received) == moving.moved > 50 * MIB
    assert hashlib.sha256(received).digest() == expected.digest()


@flow
async def test_both_ways(network: Network) -> None:
    """Two connections may be spliced in both directions at once."""
    way = await route(network, SMALL)
    back = Route(way.target, way.reader, way.source, way.sender)
    there, here = os.urandom(6 * MIB), os.urandom(6 * MIB)
    way.start(None)
    back.start(None)
    sending = [way.sender.send(there), way.reader.send(here)]
    reading = [way.reader.read(len(there)), way.sender.read(len(here))]
    assert await gatherResults(reading) == [there, here]
    await gatherResults(sending)
    way.sender.end_output()
    way.reader.end_output()
    await gatherResults([way.drained, back.drained])


@flow
async def test_slow_target(network: Network) -> None:
    """A target that takes nothing blocks the source, and nothing is lost when it goes on."""
    way = await route(network, SMALL)
    content = os.urandom(8 * MIB)
    moving = way.start(len(content))
    sending = way.sender.send(content)
    while not moving.is_blocked:
        await turn()
    assert not sending.called
    moved = moving.moved
    for _ in range(10):
        await turn()
    assert moving.moved == moved < len(content)
    assert "in the pipe" in repr(moving)
    assert await way.reader.read(len(content)) == content
    await gatherResults([sending, way.drained])
    assert not moving.is_blocked


@flow
async def test_behind_unsent_bytes(network: Network) -> None:
    """What the target still has to send goes before what is spliced."""
    way = await route(network, SMALL)
    way.target.transport.write(b"held")
    way.target.transport.write(bytes(2 * MIB))
    content = os.urandom(MIB)
    way.source.transport.pauseProducing()
    await way.sender.send(content[:1000])
    way.start(MIB)
    sending = way.sender.send(content[1000:])
    assert await way.reader.read(4 + 3 * MIB) == b"held" + bytes(2 * MIB) + content
    await gatherResults([sending, way.drained])


@flow
async def test_held_bytes_in_each_turn(network: Network) -> None:
    """Bytes that are written in the turn in which the splice begins keep their place."""
    for _ in range(20):
        way = await route(network)
        way.source.transport.pauseProducing()
        await way.sender.send(b"body")
        way.target.transport.write(b"head,")
        way.start(4)
        await way.drained
        way.target.transport.write(b",tail")
        assert await way.reader.read(14) == b"head,body,tail"


@flow
async def test_early_end(network: Network) -> None:
    """An input that ends before *count* bytes is an end, and *moved* tells how far it came."""
    way = await route(network)
    moving = way.start(1000)
    await way.sender.send(b"x" * 400)
    way.sender.end_output()
    await way.drained
    assert moving.moved == 400
    await way.source.until(lambda: way.source.ends == ["input"])
    assert await way.reader.read(400) == b"x" * 400


@flow
async def test_source_closed_in_the_callback(network: Network) -> None:
    """Whoever hears of the end may close the source at once; it is lost once, without a mistake."""
    way = await route(network)
    net_transport.half_close(way.source.transport)
    await way.source.until(lambda: "output" in way.source.ends)
    way.start(None)
    way.drained.addCallback(lambda _: way.source.transport.loseConnection())
    way.sender.end_output()
    await way.source.lost
    assert way.source.ends == ["output", "ConnectionDone"]


@pytest.mark.parametrize("blocked", [False, True])
@flow
async def test_target_goes(network: Network, blocked: bool) -> None:
    """A target that is reset reports that to its protocol; stopped, the splice leaves nothing."""
    way = await route(network, SMALL if blocked else 0)
    moving = way.start(None)
    sending = way.sender.send(bytes(16 * MIB if blocked else 10))
    sending.addErrback(lambda failure: failure.trap(OSError))
    while not (moving.is_blocked or moving.moved == 10):
        await turn()
    way.reader.reset()
    if not blocked:
        await way.sender.send(bytes(10))
    await way.target.lost
    moving.stop()
    assert way.times == 0
    assert way.target.ends == ["ConnectionLost"]
    way.source.transport.abortConnection()
    await sending


@flow
async def test_early_answer(network: Network) -> None:
    """What the target said before it broke reaches its protocol (an answer during an upload)."""
    way = await route(network)
    way.target.transport.pauseProducing()
    moving = way.start(None)
    await way.sender.send(b"beginning")
    await way.reader.read(9)
    await way.reader.send(b"too large")
    way.reader.reset()
    await way.sender.send(b"much more")
    while not moving.is_blocked:
        await turn()
    way.target.transport.resumeProducing()
    await way.target.lost
    assert way.target.received == b"too large"
    assert way.target.ends == ["ConnectionLost"]
    moving.stop()


@flow
async def test_target_gone_unseen(network: Network) -> None:
    """A splice that goes on though its target has gone does not spin, raise or lose a pipe."""
    way = await route(network)
    moving = way.start(None)
    way.target.transport.abortConnection()
    await way.target.lost
    await way.sender.send(b"to nobody")
    for _ in range(5):
        await turn()
    assert moving.moved == 0
    assert moving.is_blocked
    moving.stop()


@pytest.mark.parametrize("blocked", [False, True])
@flow
async def test_source_goes(network: Network, blocked: bool) -> None:
    """A source that is reset reports that to its protocol, and is not taken for an end."""
    way = await route(network, SMALL if blocked else 0)
    moving = way.start(None)
    if blocked:
        sending = way.sender.send(bytes(16 * MIB))
        sending.addErrback(lambda failure: failure.trap(OSError))
        while not moving.is_blocked:
            await turn()
        way.source.transport.abortConnection()
        await sending
    else:
        way.sender.reset()
    await way.source.lost
    assert way.times == 0
    moving.stop()
    assert way.source.ends in (["ConnectionLost"], ["ConnectionAborted"])


@flow
async def test_source_goes_before_the_pipe_is_empty(network: Network) -> None:
    """A splice that nobody stops after its source went still empties its pipe, and is quiet."""
    way = await route(network, SMALL)
    moving = way.start(None)
    sending = way.sender.send(bytes(4 * MIB))
    sending.addErrback(lambda failure: failure.trap(OSError))
    while not moving.is_blocked:
        await turn()
    way.source.transport.abortConnection()
    await way.source.lost
    await sending
    while moving.is_blocked:
        await way.reader.read_some(50_000)
    moving.stop()
    assert way.target.ends == []


@flow
async def test_reset_that_a_write_has_heard_of(network: Network) -> None:
    """A reset that the other direction's write ran into is no orderly end of the input."""
    way = await route(network)
    moving = way.start(None)
    way.sender.reset()
    way.source.transport.write(b"answer")
    way.source.transport.send_held()
    await way.source.lost
    assert way.times == 0
    assert way.source.ends == ["ConnectionLost"]
    moving.stop()


@flow
async def test_stop_in_the_middle(network: Network) -> None:
    """Stopped, the source's protocol gets the input from there on, and the target is free."""
    way = await route(network)
    moving = way.start(None)
    await way.sender.send(b"spliced")
    assert await way.reader.read(7) == b"spliced"
    moving.stop()
    moving.stop()
    await way.sender.send(b"copied")
    await way.source.until(lambda: way.source.received == b"copied")
    way.target.transport.write(b"written")
    assert await way.reader.read(7) == b"written"
    assert way.times == 0


@flow
async def test_stop_inside_the_callback(network: Network) -> None:
    """Its owner may stop the splice while being told that it has ended, and start another."""
    way = await route(network)
    moving = way.start(5)
    way.drained.addCallback(lambda _: moving.stop())
    again = Route(way.source, way.sender, way.target, way.reader)
    way.drained.addCallback(lambda _: again.start(6))
    await way.sender.send(b"first" + b"second" + b"rest")
    assert await way.reader.read(11) == b"firstsecond"
    await way.source.until(lambda: way.source.received == b"rest")
    assert again.times == 1


@flow
async def test_stopped_while_blocked(network: Network) -> None:
    """A pipe with bytes in it is never used again."""
    way = await route(network, SMALL)
    moving = way.start(None)
    sending = way.sender.send(b"\xff" * (16 * MIB))
    sending.addErrback(lambda failure: failure.trap(OSError))
    while not moving.is_blocked:
        await turn()
    moving.stop()
    way.source.transport.abortConnection()
    await sending
    other = await route(network)
    other.start(5)
    await other.sender.send(b"clean")
    assert await other.reader.read(5) == b"clean"
    await other.drained


@flow
async def test_no_descriptor_is_lost(network: Network) -> None:
    """Splices that end, are stopped or break give all their descriptors back."""
    before = open_descriptors()
    for number in range(30):
        way = await route(network, SMALL)
        moving = way.start(None if number % 2 else 100)
        await way.sender.send(bytes(100))
        await way.reader.read(100)
        if number % 3:
            way.sender.reset()
        else:
            way.reader.reset()
        moving.stop()
    await network.close()
    assert open_descriptors() <= before


def no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel be out of descriptors."""

    def refuse(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe2", refuse)


def short_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pipes be too short to be useful."""
    monkeypatch.setattr(pipes, "USEFUL_SIZE", 1 << 40)


@pytest.mark.parametrize("shortage", [no_pipe, short_pipe])
@flow
async def test_no_pipe(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    shortage: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Without a pipe nothing happens, and the protocol keeps its input."""
    pipes.close_free()
    way = await route(network)
    before = open_descriptors()
    shortage(monkeypatch)
    assert splice(way.source.transport, way.target.transport, None, way._drained) is None
    assert open_descriptors() == before
    await way.sender.send(b"copy me")
    await way.source.until(lambda: way.source.received == b"copy me")


@flow
async def test_not_between_these(network: Network) -> None:
    """No splice from or to what isn't ours, has gone, or for nothing; and no pipe is taken."""
    way = await route(network)
    gone, peer = await network.connect()
    peer.reset()
    await gone.lost
    foreign = StringTransport()
    foreign.protocol = Protocol()  # type: ignore[attr-defined]  # what a real one has
    before = open_descriptors()
    for one, other, count in (
        (way.source.transport, gone.transport, None),
        (gone.transport, way.target.transport, None),
        (way.source.transport, foreign, None),
        (foreign, way.target.transport, None),
        (way.source.transport, way.target.transport, 0),
    ):
        assert splice(one, other, count, way._drained) is None
    assert open_descriptors() == before
    assert way.times == 0
