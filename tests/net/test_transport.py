"""transport: bytes leave at once, in order and all of them, and a close waits for them."""

from __future__ import annotations

import errno
import os
import random

import pytest
from twisted.internet import main, tcp
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from proxyapp.net import transport as net_transport
from proxyapp.net.transport import ImmediateTransport
from tests.conftest import LoggedErrors
from tests.net.loopback import Network, Witness, flow, turn

MIB = 1 << 20
SMALL = 4096  # bytes of kernel buffer, so that a write of some KiB doesn't fit


@flow
async def test_write_leaves_in_its_turn(network: Network) -> None:
    """Writes are with the kernel, in one piece, before the loop waits for anything."""
    ours, peer = await network.connect()
    ours.transport.write(b"now")
    ours.transport.write(b" or ")
    ours.transport.writeSequence([b"ne", b"ver"])
    assert ours.transport.unsent == len(b"now or never")
    await turn()
    assert ours.transport.unsent == 0
    peer.socket.setblocking(False)
    assert peer.socket.recv(100) == b"now or never"


@flow
async def test_order_with_full_buffers(network: Network) -> None:
    """Writes of all sizes arrive in their order, however little the kernel takes at a time."""
    ours, peer = await network.connect(SMALL)
    dice = random.Random(1)
    pieces = [dice.randbytes(dice.choice((1, 10, 1000, 70_000, 300_000))) for _ in range(80)]
    reading = peer.read_all()
    for number, piece in enumerate(pieces):
        if number % 3:
            ours.transport.write(piece)
        else:
            ours.transport.writeSequence([piece[:5], piece[5:]])
        if number % 7 == 0:
            await turn()
    ours.transport.loseConnection()
    assert await reading == b"".join(pieces)


@flow
async def test_partial_write(network: Network) -> None:
    """What the kernel doesn't take is counted as unsent until it does."""
    ours, peer = await network.connect(SMALL)
    text = os.urandom(4 * MIB)
    ours.transport.write(text)
    await turn()
    left = ours.transport.unsent
    assert 0 < left < len(text)
    assert net_transport.unsent(ours.transport) == left
    ours.transport.write(b"more")
    assert ours.transport.unsent == left + 4
    assert await peer.read(len(text) + 4) == text + b"more"
    await turn()
    assert ours.transport.unsent == 0


@flow
async def test_empty_write(network: Network) -> None:
    """Nothing to write is nothing written, with empty and with full buffers."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(b"")
    ours.transport.write(bytes(MIB))
    ours.transport.write(b"")
    ours.transport.loseConnection()
    assert len(await peer.read_all()) == MIB


@flow
async def test_write_to_nobody(network: Network) -> None:
    """Writing to a connection that has gone is quiet, before and after that is known."""
    ours, peer = await network.connect()
    peer.reset()
    for _ in range(3):
        ours.transport.write(b"anybody?")
    await ours.lost
    ours.transport.write(b"anybody?")
    await turn()
    assert ours.ends == ["ConnectionLost"]


@flow
async def test_abort_inside_data_received(network: Network) -> None:
    """An abort in a callback ends it all: nothing is delivered, nothing sent after it."""
    ours, peer = await network.connect()

    def abort(data: bytes) -> None:
        ours.transport.abortConnection()
        ours.transport.write(b"too late")
        ours.transport.abortConnection()

    ours.on_data = abort
    await peer.send(b"a")
    await ours.lost
    assert ours.ends == ["ConnectionAborted"]
    with pytest.raises(ConnectionResetError):
        peer.socket.recv(100)
    assert ours.received == b"a"


@flow
async def test_abort_with_unsent_bytes(network: Network) -> None:
    """Aborting forgets what is unsent, and the far end sees a reset."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(bytes(4 * MIB))
    ours.transport.abortConnection()
    await ours.lost
    with pytest.raises(ConnectionResetError):
        await peer.read_all()


@flow
async def test_close_inside_data_received(network: Network) -> None:
    """loseConnection in a callback sends what was written there, and then closes."""
    ours, peer = await network.connect(SMALL)

    def answer(data: bytes) -> None:
        ours.transport.write(bytes(MIB))
        ours.transport.loseConnection()

    ours.on_data = answer
    await peer.send(b"?")
    assert len(await peer.read_all()) == MIB
    await ours.lost
    assert ours.ends == ["ConnectionDone"]


@flow
async def test_half_close_after_unsent(network: Network) -> None:
    """A half-close follows the unsent bytes, and the input stays open."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(bytes(2 * MIB))
    assert net_transport.half_close(ours.transport)
    ours.transport.write(b"!")
    assert await peer.read_all() == bytes(2 * MIB) + b"!"
    assert ours.ends == ["output"]
    ours.transport.write(b"dropped")
    await peer.send(b"still here")
    await ours.until(lambda: ours.received == b"still here")
    peer.end_output()
    await ours.until(lambda: ours.ends == ["output", "input"])


@flow
async def test_half_close_twice(network: Network) -> None:
    """A second half-close, or one of a connection that goes or has gone, does nothing."""
    ours, peer = await network.connect()
    for _ in range(2):
        net_transport.half_close(ours.transport)
    assert await peer.read_all() == b""
    assert ours.ends == ["output"]
    ours.transport.abortConnection()
    net_transport.half_close(ours.transport)
    await ours.lost
    net_transport.half_close(ours.transport)
    await turn()
    assert ours.ends == ["output", "ConnectionAborted"]


@pytest.mark.parametrize("unsent", [0, MIB])
@flow
async def test_both_halves_closed_in_a_callback(network: Network, unsent: int) -> None:
    """A half-close and a close behind it, inside dataReceived, lose nothing and end it once."""
    ours, peer = await network.connect(SMALL)

    def end(data: bytes) -> None:
        ours.transport.write(bytes(unsent))
        net_transport.half_close(ours.transport)
        ours.transport.loseConnection()

    ours.on_data = end
    await peer.send(b"x")
    assert len(await peer.read_all()) == unsent
    await ours.lost
    assert ours.ends[-1] == "ConnectionDone"


@flow
async def test_write_event_after_the_end(network: Network) -> None:
    """A write event that was due when reading ended the connection finds nobody, and says so."""
    ours, _ = await network.connect()
    transport = ours.transport
    ours.transport.abortConnection()
    await ours.lost
    assert type(transport).doWrite(transport) is None


@flow
async def test_peer_half_closes(network: Network) -> None:
    """The end of the input is told once, and writing goes on."""
    ours, peer = await network.connect()
    await peer.send(b"question")
    peer.end_output()
    await ours.until(lambda: "input" in ours.ends)
    ours.transport.write(b"answer")
    ours.transport.loseConnection()
    assert await peer.read_all() == b"answer"
    await ours.lost
    assert ours.ends == ["input", "ConnectionDone"]


@flow
async def test_reset_by_peer(network: Network) -> None:
    """A reset is a lost connection, not a clean end."""
    ours, peer = await network.connect()
    peer.reset()
    await ours.lost
    assert ours.ends == ["ConnectionLost"]


@flow
async def test_pause_and_resume(network: Network) -> None:
    """A paused transport delivers nothing, a resumed one everything."""
    ours, peer = await network.connect()
    ours.transport.pauseProducing()
    await peer.send(b"waiting")
    await turn()
    await turn()
    assert ours.received == b""
    ours.transport.resumeProducing()
    await ours.until(lambda: ours.received == b"waiting")


@implementer(IPushProducer)
class Push:
    """Remembers what the transport asks of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")

    def stopProducing(self) -> None:
        self.asked.append("stop")


@flow
async def test_push_producer(network: Network) -> None:
    """A streaming producer is paused when bytes pile up, and resumed when they have left."""
    ours, peer = await network.connect(SMALL)
    producer = Push()
    ours.transport.registerProducer(producer, True)
    ours.transport.write(b"short")
    await turn()
    assert producer.asked == []
    ours.transport.write(bytes(2 * MIB))
    await turn()
    assert producer.asked == ["pause"]
    await peer.read(2 * MIB + 5)
    while ours.transport.unsent:
        await turn()
    assert producer.asked == ["pause", "resume"]
    peer.reset()
    await ours.lost
    assert producer.asked == ["pause", "resume", "stop"]


@implementer(IPullProducer)
class Pull:
    """Writes one piece each time it is asked."""

    def __init__(self, transport: ImmediateTransport, pieces: list[bytes]) -> None:
        self._transport = transport
        self._pieces = pieces

    def resumeProducing(self) -> None:
        if self._pieces:
            self._transport.write(self._pieces.pop(0))
        else:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def stopProducing(self) -> None:
        raise AssertionError("it had everything to itself")


@pytest.mark.parametrize("size", [1, 70_000, MIB])
@flow
async def test_pull_producer(network: Network, size: int) -> None:
    """A pull producer is asked again after each piece, even if the kernel took it at once."""
    ours, peer = await network.connect()
    pieces = [os.urandom(size) for _ in range(5)]
    reading = peer.read_all()
    ours.transport.registerProducer(Pull(ours.transport, list(pieces)), False)
    assert await reading == b"".join(pieces)


class Job:
    """Sends *left* bytes, a hundred in a turn."""

    def __init__(self, transport: ImmediateTransport, left: int) -> None:
        self._transport = transport
        self._left = left
        self.was_lost = 0

    def drain(self) -> Exception | None:
        piece = min(100, self._left)
        try:
            self._left -= self._transport.getHandle().send(b"j" * piece)
        except BlockingIOError:
            pass
        except OSError:
            return main.CONNECTION_LOST
        if self._left:
            self._transport.startWriting()
        else:
            self._transport.end_job()
        return None

    def lost(self) -> None:
        self.was_lost += 1


@pytest.mark.parametrize("unsent", [0, MIB])
@flow
async def test_job_follows_unsent_bytes(network: Network, unsent: int) -> None:
    """A job begins when the buffers are empty, and what is written after it comes after it."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(bytes(unsent))
    ours.transport.start_job(Job(ours.transport, 1000))
    assert await peer.read(unsent + 1000) == bytes(unsent) + b"j" * 1000
    while ours.transport.job is not None:
        await turn()
    ours.transport.write(b"after")
    assert await peer.read(5) == b"after"


@pytest.mark.parametrize("unsent", [0, MIB])
@flow
async def test_close_waits_for_the_job(network: Network, unsent: int) -> None:
    """loseConnection while a job feeds the socket closes behind its last byte."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(bytes(unsent))
    ours.transport.start_job(Job(ours.transport, 1000))
    ours.transport.loseConnection()
    assert await peer.read_all() == bytes(unsent) + b"j" * 1000
    await ours.lost
    assert ours.ends == ["ConnectionDone"]


@flow
async def test_half_close_waits_for_the_job(network: Network) -> None:
    """A half-close while a job feeds the socket follows its last byte."""
    ours, peer = await network.connect(SMALL)
    ours.transport.start_job(Job(ours.transport, 1000))
    net_transport.half_close(ours.transport)
    assert await peer.read_all() == b"j" * 1000
    assert ours.ends == ["output"]


@flow
async def test_two_jobs(network: Network) -> None:
    """Only one job at a time may feed a socket."""
    ours, _ = await network.connect(SMALL)
    ours.transport.start_job(Job(ours.transport, MIB))
    with pytest.raises(RuntimeError):
        ours.transport.start_job(Job(ours.transport, 1))


@pytest.mark.parametrize("how", ["reset", "abort"])
@flow
async def test_job_is_told_of_the_loss(network: Network, how: str) -> None:
    """A job whose connection goes hears of it once."""
    ours, peer = await network.connect(SMALL)
    job = Job(ours.transport, 64 * MIB)
    ours.transport.start_job(job)
    if how == "reset":
        peer.reset()
    else:
        ours.transport.abortConnection()
    await ours.lost
    await turn()
    assert job.was_lost == 1


@flow
async def test_interrupted_read(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is readable, and then isn't, loses nothing."""
    ours, peer = await network.connect()
    assert ours.transport.doRead() is None
    await peer.send(b"later")
    await ours.until(lambda: ours.received == b"later")


@flow
async def test_mistake_in_data_received(network: Network, logged_errors: LoggedErrors) -> None:
    """An exception of a protocol closes its connection, and is logged."""
    ours, peer = await network.connect()

    def fail(data: bytes) -> None:
        raise ZeroDivisionError

    ours.on_data = fail
    await peer.send(b"x")
    assert await peer.read_all() == b""
    await ours.lost
    assert ours.ends == ["ZeroDivisionError"]
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


@flow
async def test_mistake_in_pause(network: Network, logged_errors: LoggedErrors) -> None:
    """An exception of a producer that is told to pause costs its own connection only."""
    (first, _), (ours, _), (last, peer) = [await network.connect(SMALL) for _ in range(3)]

    class Clumsy(Push):
        def pauseProducing(self) -> None:
            raise ZeroDivisionError

    ours.transport.registerProducer(Clumsy(), True)
    for each in (first, ours, last):
        each.transport.write(bytes(MIB))
    assert len(await peer.read(MIB)) == MIB
    await ours.lost
    assert first.ends == []
    assert logged_errors.flush(ZeroDivisionError)


@flow
async def test_write_from_pause(network: Network) -> None:
    """What is written while others' bytes are being sent leaves in the same turn."""
    ours, _ = await network.connect(SMALL)
    other, peer = await network.connect()

    class Telling(Push):
        def pauseProducing(self) -> None:
            other.transport.write(b"paused")

    ours.transport.registerProducer(Telling(), True)
    ours.transport.write(bytes(MIB))
    assert await peer.read(6) == b"paused"


@flow
async def test_producer_in_one_turn(network: Network) -> None:
    """A producer that writes and writes in one turn of the loop is paused in the same turn."""
    ours, _ = await network.connect(SMALL)
    producer = Push()
    ours.transport.registerProducer(producer, True)
    for _ in range(100):
        ours.transport.write(bytes(70_000))
        if producer.asked:
            break
    assert producer.asked == ["pause"]


@flow
async def test_close_behind_a_stopped_job(network: Network) -> None:
    """Bytes written and a close asked for, just before a write event that was due, all happen."""
    ours, peer = await network.connect()
    ours.transport.write(b"last words")
    ours.transport.loseConnection()
    ours.transport.reactor.removeWriter(ours.transport)
    assert ours.transport.doWrite() is main.CONNECTION_DONE
    assert await peer.read(10) == b"last words"


@flow
async def test_options(network: Network) -> None:
    """The options are set on the connections of other reactors; ours have them already."""
    ours, _ = await network.connect()
    stock = tcp.Connection(ours.transport.getHandle(), ours, ours.transport.reactor)
    for transport, wanted in ((ours.transport, False), (stock, True)):
        transport.setTcpNoDelay(False)
        transport.setTcpKeepAlive(False)
        net_transport.set_options(transport)
        assert transport.getTcpNoDelay() is wanted
        assert transport.getTcpKeepAlive() is wanted


@pytest.mark.parametrize("unsent", [0, MIB])
@flow
async def test_close_and_write(network: Network, unsent: int) -> None:
    """What is written behind loseConnection, in its turn, still leaves before the end."""
    ours, peer = await network.connect(SMALL)
    ours.transport.write(bytes(unsent))
    for _ in range(2):
        ours.transport.loseConnection()
        ours.transport.write(b"!")
    assert ours.ends == []
    assert await peer.read_all() == bytes(unsent) + b"!!"
    await ours.lost
    assert ours.ends == ["ConnectionDone"]


@flow
async def test_closed_without_another_turn(network: Network) -> None:
    """Where nothing is unsent, the end of the turn is the end of the connection."""
    ours, peer = await network.connect()
    reactor = ours.transport.reactor
    reactor.callLater(0, ours.transport.loseConnection)
    seen: list[int] = []
    reactor.callLater(0, reactor.callLater, 0, lambda: seen.append(ours.transport.connected))
    await ours.lost
    await turn()
    assert seen == [0]
    assert await peer.read_all() == b""


@flow
async def test_closed_by_neighbour(network: Network) -> None:
    """Input that waits for a connection that another one's event closes isn't delivered."""
    pairs = [await network.connect() for _ in range(10)]

    def close_all(data: bytes) -> None:
        for ours, _ in pairs:
            ours.transport.loseConnection()

    for ours, _ in pairs:
        ours.on_data = close_all
    for _, peer in pairs:
        peer.socket.sendall(b"x")
    for ours, _ in pairs:
        await ours.lost
    assert sum(bool(ours.received) for ours, _ in pairs) == 1


@flow
async def test_close_waits_for_the_producer(network: Network) -> None:
    """A pull producer that is registered when the close is asked for may finish."""
    ours, peer = await network.connect()
    left = [b"c", b"b", b"a"]

    @implementer(IPullProducer)
    class Pulled:
        def resumeProducing(self) -> None:
            ours.transport.write(left.pop())
            if not left:
                ours.transport.unregisterProducer()

        def stopProducing(self) -> None:
            raise AssertionError("stopped too early")

    ours.transport.registerProducer(Pulled(), False)
    ours.transport.loseConnection()
    assert await peer.read_all() == b"abc"
    await ours.lost


def test_foreign_transport() -> None:
    """A transport that isn't ours has no count, no options and no half-close, and no complaint."""
    foreign = StringTransport()
    foreign.protocol = Protocol()  # type: ignore[attr-defined]  # what a real one has
    assert net_transport.unsent(foreign) == 0
    net_transport.set_options(foreign)
    assert not net_transport.half_close(foreign)
    assert foreign.disconnecting


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.EINTR])
@flow
async def test_kernel_says_later(network: Network, number: int) -> None:
    """What `send` refuses for now is sent in a later turn, behind the same door."""
    ours, peer = await network.connect()
    real = ours.transport.socket

    class Refusing:
        refused = 0

        def send(self, data: bytes) -> int:
            if not self.refused:
                self.refused += 1
                raise OSError(number, os.strerror(number))
            return real.send(data)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    ours.transport.socket = Refusing()  # type: ignore[assignment]  # stands in for a busy kernel
    ours.transport.write(b"first,")
    ours.transport.send_held()
    assert ours.transport.unsent == 6
    ours.transport.write(b"second")
    assert await peer.read(12) == b"first,second"
    ours.transport.socket = real


@flow
async def test_many_connections(network: Network) -> None:
    """What one connection writes reaches that one only."""
    pairs = [await network.connect() for _ in range(20)]
    for number, (ours, _) in enumerate(pairs):
        ours.transport.write(b"%02d" % number)
    for number, (_, peer) in enumerate(pairs):
        assert await peer.read(2) == b"%02d" % number


def test_witness_is_half_closeable() -> None:
    """The tests' own protocol sees both halves of a close."""
    assert Witness().ends == []
