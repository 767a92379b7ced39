"""Throttled connections over real sockets: every way of moving bytes keeps the rate, and all come.

Each way is one coroutine that moves CONTENT to a peer through a connection with a gate.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, gatherResults

from proxyapp.net import sendfile
from proxyapp.net import transport as net_transport
from proxyapp.net.splice import splice
from proxyapp.net.throttle import BURST, Pacer, Throttle
from proxyapp.net.timers import Drain, Sweep
from tests.net.loopback import Network, Peer, Witness, flow, opening, turn

MIB = 1 << 20
RATE = 4 * MIB
SIZE = 2 * MIB
CONTENT = os.urandom(SIZE)


class Stage:
    """The pacer, and the network."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.pacer = Pacer(network.reactor)
        self.throttle = Throttle(RATE, self.pacer)
        self.path = folder / "content"
        self.path.write_bytes(CONTENT)

    async def gated(self) -> tuple[Witness, Peer]:
        """Return a connection that asks the throttle."""
        ours, peer = await self.network.connect()
        assert net_transport.set_gate(ours.transport, self.throttle) is not None
        return ours, peer


async def by_write(stage: Stage) -> bytes:
    """Write it all at once."""
    ours, peer = await stage.gated()
    ours.transport.write(CONTENT)
    return await peer.read(SIZE)


async def by_sendfile(stage: Stage) -> bytes:
    """Send a file past the process."""
    ours, peer = await stage.gated()
    reading = peer.read(SIZE)
    with stage.path.open("rb") as file:
        job = sendfile.send_file(ours.transport, opening(file), 0, SIZE)
        assert isinstance(job, sendfile.SendFile)
        await job.done
    return await reading


async def by_copy(stage: Stage) -> bytes:
    """Send a file where sendfile(2) can't."""
    ours, peer = await stage.gated()
    reading = peer.read(SIZE)
    with stage.path.open("rb") as file:
        job = sendfile.CopyFile(ours.transport, opening(file), 0, SIZE)
        ours.transport.registerProducer(job, False)
        await job.done
    return await reading


async def _spliced(source: Witness, sender: Peer, target: Witness, reader: Peer) -> bytes:
    drained: Deferred[None] = Deferred()
    moving = splice(source.transport, target.transport, SIZE, lambda: drained.callback(None))
    assert moving is not None
    sending, reading = sender.send(CONTENT), reader.read(SIZE)
    await drained
    assert moving.moved == SIZE
    await sending
    return await reading


async def by_splice_down(stage: Stage) -> bytes:
    """Splice to the connection with the gate."""
    source, sender = await stage.network.connect()
    return await _spliced(source, sender, *await stage.gated())


async def by_splice_up(stage: Stage) -> bytes:
    """Splice from it."""
    source, sender = await stage.gated()
    return await _spliced(source, sender, *await stage.network.connect())


async def by_reading(stage: Stage) -> bytes:
    """Read from it."""
    ours, peer = await stage.gated()
    sending = peer.send(CONTENT)
    await ours.until(lambda: len(ours.received) == SIZE)
    await sending
    return ours.received


Way = Callable[[Stage], Awaitable[bytes]]
WAYS = [by_write, by_sendfile, by_copy, by_splice_down, by_splice_up, by_reading]


@pytest.fixture
def stage(network: Network, tmp_path: Path) -> Stage:
    """Return the stage; nobody waits on it at the end."""
    return Stage(network, tmp_path)


@pytest.mark.parametrize("way", WAYS)
@flow
async def test_rate(stage: Stage, way: Way) -> None:
    """It takes as long as the rate says, and what comes is what was sent."""
    begun = stage.pacer.now()
    assert await way(stage) == CONTENT
    seconds = stage.pacer.now() - begun
    assert seconds >= SIZE / RATE - BURST - 0.1
    assert seconds < SIZE / RATE * 2  # a slow machine is not the point
    stage.pacer.stop()


@flow
async def test_all_ways_share(stage: Stage) -> None:
    """All ways at once, up and down, take as long as they would one after the other."""
    begun = stage.pacer.now()
    moving = [Deferred.fromCoroutine(_run(way, stage)) for way in (by_write, by_splice_down)]
    assert await gatherResults(moving) == [CONTENT, CONTENT]
    seconds = stage.pacer.now() - begun
    assert 2 * SIZE / RATE - BURST - 0.1 <= seconds < 4 * SIZE / RATE
    stage.pacer.stop()


async def _run(way: Way, stage: Stage) -> bytes:
    return await way(stage)


@pytest.mark.parametrize("way", [by_write, by_splice_down])
@flow
async def test_smooth(stage: Stage, way: Way) -> None:
    """Bytes come all the time: in any 100 ms no more than their share and one burst."""
    seen: list[tuple[float, int]] = []
    gate = stage.throttle

    class Witnessing:
        """The throttle, watched."""

        def allow(self, wake: Callable[[], bool]) -> int:
            return gate.allow(wake)

        def spend(self, amount: int) -> None:
            seen.append((stage.pacer.now(), amount))
            gate.spend(amount)

    stage.throttle = Witnessing()  # type: ignore[assignment]  # its own shape
    assert await way(stage) == CONTENT
    for when, _ in seen[1:]:
        within = sum(amount for at, amount in seen if when <= at < when + 0.1)
        assert within <= RATE * (0.1 + BURST) + gate.step
    stage.pacer.stop()


@flow
async def test_source_is_held_up(stage: Stage) -> None:
    """What is spliced to a throttled connection waits at its source, not in a pipe."""
    source, sender = await stage.network.connect()
    target, reader = await stage.gated()
    stage.throttle.spend(1000 * RATE)  # nothing more for a quarter of an hour
    moving = splice(source.transport, target.transport, SIZE, lambda: None)
    assert moving is not None
    sending = sender.send(CONTENT)
    while not net_transport.is_held_back(target.transport):
        await turn()
    assert moving.moved == 0
    assert not moving.is_blocked
    moving.stop()
    net_transport.drop_gate(target.transport)
    stage.pacer.stop()
    reader.reset()
    await sending


@flow
async def test_held_back_is_no_stall(stage: Stage) -> None:
    """A connection that waits for its share isn't cut off; one that takes nothing is."""
    sweep = Sweep(stage.network.reactor)
    sweep.start()
    ours, peer = await stage.gated()
    stalled: Deferred[None] = Deferred()
    stage.throttle.spend(RATE)  # nothing for a second
    ours.transport.write(b"late")
    left = ours.transport
    drain = Drain(sweep, 0.2, lambda: net_transport.owed(left), lambda: stalled.callback(None))
    assert await peer.read(4) == b"late"
    assert not stalled.called
    ours.transport.write(bytes(64 * MIB))  # more than sockets hold, and nobody reads
    net_transport.drop_gate(ours.transport)
    ours.transport.valve = None
    ours.transport.startWriting()
    await stalled
    drain.stop()
    sweep.stop()
    stage.pacer.stop()


@flow
async def test_gate_ends_with_the_last_byte(stage: Stage) -> None:
    """After its end a gate still paces what is left; then the connection is free again."""
    ours, peer = await stage.gated()
    ours.transport.write(CONTENT)
    await turn()
    net_transport.drop_gate(ours.transport)
    begun = stage.pacer.now()
    assert await peer.read(SIZE) == CONTENT
    assert stage.pacer.now() - begun >= SIZE / RATE - BURST - 0.1
    await turn()
    assert ours.transport.valve is None
    ours.transport.write(CONTENT)
    begun = stage.pacer.now()
    assert await peer.read(SIZE) == CONTENT
    assert stage.pacer.now() - begun < SIZE / RATE / 2
    stage.pacer.stop()


@flow
async def test_close_waits_for_its_share(stage: Stage) -> None:
    """A close behind throttled bytes comes behind them; a half-close, too."""
    for end in ("loseConnection", "loseWriteConnection"):
        ours, peer = await stage.gated()
        ours.transport.write(CONTENT)
        getattr(ours.transport, end)()
        assert await peer.read_all() == CONTENT
    stage.pacer.stop()


@flow
async def test_lost_while_it_waits(stage: Stage) -> None:
    """A connection that goes while it waits is forgotten, and the next one served."""
    ours, peer = await stage.gated()
    stage.throttle.spend(RATE // 2)
    ours.transport.write(CONTENT)
    await turn()
    assert net_transport.is_held_back(ours.transport)
    ours.transport.abortConnection()
    await ours.lost
    next_one, reader = await stage.gated()
    next_one.transport.write(b"served")
    assert await reader.read(6) == b"served"
    peer.socket.close()
    stage.pacer.stop()


@flow
async def test_pause_is_not_undone(stage: Stage) -> None:
    """A protocol that has paused isn't fed because its share has come."""
    ours, peer = await stage.gated()
    stage.throttle.spend(RATE // 4)
    await peer.send(b"early")
    while not net_transport.is_held_back(ours.transport):
        await turn()
    ours.transport.pauseProducing()
    while not stage.throttle.is_at_rest:
        await turn()
    assert ours.received == b""
    ours.transport.resumeProducing()
    await ours.until(lambda: ours.received == b"early")
    stage.pacer.stop()


def test_foreign_transport() -> None:
    """What isn't a connection of ours can't be held back, and nothing breaks."""
    foreign = object()
    throttle = Throttle(RATE, Pacer(_NoClock()))  # type: ignore[arg-type]
    assert net_transport.set_gate(foreign, throttle) is None  # type: ignore[arg-type]
    net_transport.drop_gate(foreign)  # type: ignore[arg-type]
    assert not net_transport.is_held_back(foreign)  # type: ignore[arg-type]
    assert net_transport.owed(foreign, 3) == 3  # type: ignore[arg-type]


class _NoClock:
    def seconds(self) -> float:
        return 0.0
