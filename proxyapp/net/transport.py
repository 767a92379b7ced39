"""TCP transports that send in the same turn of the loop, and make room for sendfile and splice.

`ImmediateTransport` differs from Twisted's own in that what is written during a turn is gathered
and sent at its end, where Twisted would register for writability and wait for the next turn; and
in its two places for somebody else: a *job* that feeds the socket (`net.sendfile`, `net.splice`),
and a splice that takes its input.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Protocol

from twisted.internet import main, tcp
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IPullProducer, ITCPTransport
from twisted.python.failure import Failure

from proxyapp.net import compat
from proxyapp.net.connection import LeanConnection
from proxyapp.net.valve import Gate, Valve

compat.require(
    tcp.Connection,
    ("_tempDataBuffer", "_tempDataLen", "dataBuffer", "offset", "_writeDisconnected", "TLS"),
)


# Writes that may wait for the end of the turn: a producer that fills a whole turn has to hear that
# the socket is full.
MAX_HELD = 16
_BROKEN = (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)


class Transport(Protocol):
    """A connection of ours as its users see it: plain TCP or under TLS, on any reactor."""

    @property
    def connected(self) -> int:
        """Is it there?"""

    def write(self, data: bytes) -> None:
        """See ITransport."""

    def loseConnection(self) -> None:
        """See ITransport."""

    def abortConnection(self) -> None:
        """See ITCPTransport."""

    def getHost(self) -> IAddress:
        """See ITransport."""

    def getPeer(self) -> IAddress:
        """See ITransport."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See IConsumer."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def pauseProducing(self) -> None:
        """See IPushProducer."""

    def resumeProducing(self) -> None:
        """See IPushProducer."""


class Job(Protocol):
    """What feeds a transport's socket directly while its own buffers are empty."""

    def drain(self) -> Exception | None:
        """The socket takes bytes: give it some. Returns the reason if the connection is lost."""

    def lost(self) -> None:
        """The connection is gone, and its protocol has been told."""


class InputSplice(Protocol):
    """What takes a transport's input past its protocol."""

    def fill(self) -> Exception | None:
        """There is input: take some. Returns the reason if the connection is lost or ended."""


class ImmediateTransport(LeanConnection):
    """A TCP connection of the appliance's reactor.

    While a job feeds the socket, nobody else may write.
    """

    _held: list[bytes] | None = None
    # The kernel tells of a reset once: when send(2) has heard it, recv(2) sees an orderly end.
    is_broken = False
    job: Job | None = None
    input_splice: InputSplice | None = None
    # There is one while it has to share its bandwidth, or what passes is counted.
    valve: Valve | None = None

    def write(self, data: bytes) -> None:
        """Send *data* at the end of this turn of the loop, in one go with what is there by then."""
        if (
            self._tempDataLen
            or self.dataBuffer
            or self.TLS
            or not self.connected
            or self._writeDisconnected
            or self._aborting
        ):
            super().write(data)
        elif self._held is not None:
            self._held.append(data)
            if len(self._held) >= MAX_HELD:
                self.send_held()
        else:
            self._held = [data]
            self.reactor.send_later(self)  # type: ignore[attr-defined]  # ApplianceReactor's

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """See ITransport; nothing may pass what is held."""
        self.write(b"".join(iovec))

    def send_held(self) -> None:
        """Send what this turn's writes left: as far as the socket takes it, the rest later."""
        held, self._held = self._held, None
        if held is None or not self.connected or self._aborting:
            return
        data = held[0] if len(held) == 1 else b"".join(held)
        try:
            sent = self.socket.send(data) if self.valve is None else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            # The ordinary path reports it; what has arrived is read first.
            self.is_broken = error.errno in _BROKEN
            sent = 0
        if sent < len(data):
            super().write(data[sent:] if sent else data)
        elif self.producer is not None and not self.streamingProducer:
            self.startWriting()  # a pull producer is asked for more when the buffers are empty

    @property
    def unsent(self) -> int:
        """Bytes written that the socket hasn't taken yet."""
        held, buffered = self._held, self.dataBuffer
        if held is None and not buffered and not self._tempDataLen:
            return 0
        waiting = len(buffered) - self.offset + self._tempDataLen
        return waiting if held is None else waiting + sum(map(len, held))

    def doRead(self) -> Exception | None:  # type: ignore[override]  # abortConnection's stand-in
        """Read once: to the protocol, or past it while a splice takes the input."""
        if self.input_splice is not None:
            return self.input_splice.fill()
        size, valve = self.bufferSize, self.valve
        if valve is not None:
            size = min(size, valve.may_read())
            if not size:
                return None
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if valve is not None:
            valve.read(len(data))
        if not data:
            return main.CONNECTION_LOST if self.is_broken else self.end_input()
        self.protocol.dataReceived(data)
        return None

    def doWrite(self) -> Exception | None:  # type: ignore[override]  # abortConnection's stand-in
        """Empty the buffers first, then let the job go on."""
        if not self.connected:
            return None  # what was read in this event ended it
        if self._held is not None:
            self.send_held()  # before anything that is done when the buffers are empty
        if self.job is None:
            return self._write_buffers()
        if self.unsent:
            result = self._write_buffers()
            if result is not None or self.unsent or self.job is None:
                return result
        return self.job.drain()

    def _write_buffers(self) -> Exception | None:
        result: Exception | None = super().doWrite()
        return result

    def writeSomeData(self, data: bytes) -> ConnectionLost | int:
        """Send what the socket takes of *data*, and the valve lets through."""
        valve = self.valve
        if valve is None:
            return super().writeSomeData(data)
        allowed = valve.may_send()
        if not allowed:
            return 0
        sent = super().writeSomeData(data[:allowed])
        if isinstance(sent, int):
            valve.sent(sent)
            if valve.is_ending and sent == self.unsent:
                self.valve = None
        return sent

    def startWriting(self) -> None:
        """See FileDescriptor; who waits at the valve would only be told to wait again."""
        if self.valve is None or not self.valve.waits_to_send:
            super().startWriting()

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        if self.valve is not None:
            self.valve.waits_to_read = False  # the valve must not start it again
        super().pauseProducing()

    def loseWriteConnection(self) -> None:
        """See ITCPTransport: at once where nothing is unsent, without a turn of the loop."""
        self.send_held()
        if not self.connected or self._aborting or self._writeDisconnected:
            return
        if self.unsent or self.job is not None or self.disconnecting:
            super().loseWriteConnection()
            return
        self._writeDisconnecting = self._writeDisconnected = True
        self._closeWriteConnection()

    def start_job(self, job: Job) -> None:
        """Let *job* feed the socket, now or when the buffers are empty."""
        if self.job is not None:
            raise RuntimeError("this transport has a job already")
        self.job = job
        self.send_held()
        if self.unsent:
            self.startWriting()
        elif job.drain() is not None:
            self.abortConnection()

    def end_job(self) -> None:
        """The job has no more bytes; a close that was asked for meanwhile goes on."""
        self.job = None
        is_closing = self.disconnecting or (
            self._writeDisconnecting and not self._writeDisconnected
        )
        if self.connected and (self.unsent or is_closing):
            self.startWriting()
        else:
            self.stopWriting()

    def _postLoseConnection(self) -> Exception | None:
        if self.job is not None:
            return None  # its bytes go before the end
        result: Exception | None = super()._postLoseConnection()
        return result

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor; a job that nobody ended hears of it last."""
        super().connectionLost(reason)
        job, self.job = self.job, None
        if job is not None:
            job.lost()


def unsent(transport: Transport) -> int:
    """Return how many bytes wait in this process to be sent, under TLS in the layer below it."""
    below = carrier(transport)
    return 0 if below is None else below.unsent


def carrier(transport: Transport) -> ImmediateTransport | None:
    """Return the connection of ours that *transport* is, or that is below its TLS."""
    if isinstance(transport, ImmediateTransport):
        return transport
    below = getattr(transport, "transport", None)
    return below if isinstance(below, ImmediateTransport) else None


def call_when_sent(transport: ImmediateTransport, producer: IPullProducer | None) -> None:
    """Ask *producer* for more now, and whenever all has been sent, until it is None again."""
    if producer is None:
        transport.unregisterProducer()
    else:
        transport.registerProducer(producer, False)


def set_gate(transport: Transport, gate: Gate) -> Valve | None:
    """Let *gate* decide how much passes over *transport*; None where nothing can hold it back."""
    below = carrier(transport)
    if below is None:
        return None
    if below.valve is None:
        below.valve = Valve(below)
    below.valve.open_by(gate)
    return below.valve


def drop_gate(transport: Transport) -> None:
    """Ask the gate no more, but for what is left to be sent."""
    below = carrier(transport)
    if below is None or below.valve is None:
        return
    below.valve.end()
    if not below.unsent:
        below.valve = None


def is_held_back(transport: Transport) -> bool:
    """Is it neither end's fault that nothing moves, because the connection waits for its share?"""
    below = carrier(transport)
    return below is not None and below.valve is not None and below.valve.holds_back


def owed(transport: Transport, unwritten: int = 0) -> int | None:
    """Return the bytes that the other end has still to take, *unwritten* ones among them.

    None while it can't take any, because the connection waits for its share; see timers.Drain.
    """
    return None if is_held_back(transport) else unwritten + unsent(transport)


def half_close(transport: Transport) -> bool:
    """Send what is unsent, then say that no more will come; False if that had to be a full close.

    TLS knows no half-close that peers understand.
    """
    if isinstance(transport, tcp.Connection) and not transport.TLS:
        transport.loseWriteConnection()
        return True
    transport.loseConnection()
    return False


def set_options(transport: Transport) -> None:
    """Do what `prepare` does for a connection of another reactor; ours have it from the start."""
    if not isinstance(transport, ImmediateTransport) and ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
