"""A stage without sockets: connections in memory, time from a Clock, and a script to the end.

What the product would do with sockets it does here with `MemoryTransport`, whose far end is played
by the test: `says` is what arrives from there, `hears` what must have been written to it. `script`
sets the whole stage, and fails if at its end anybody said something that nobody heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, cast
from unittest import mock

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors, stream
from proxyapp.exchange import Client, Request, TakenOver
from proxyapp.net import pipes
from proxyapp.net.dial import Dialled, Dialler
from proxyapp.net.sendfile import File
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import ImmediateTransport, Transport
from proxyapp.proxy.forward import ForwardProxyResource
from proxyapp.proxy.pool import HTTPConnectionPool, PoolLimits
from proxyapp.proxy.tunnel import ConnectTunnel, TunnelLimits
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.proxy.upstream import Timeouts, Upstream
from proxyapp.rules import hops
from proxyapp.rules.access import Decision, Question
from proxyapp.rules.addresses import Network
from proxyapp.rules.domains import Domains
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.question import Default
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.rules.upgrade import Spellings
from proxyapp.rules.wayback import Cookies, Keeping
from proxyapp.server.admission import Admission
from proxyapp.server.connection import Listener
from proxyapp.server.doors import Clients, Door, ServerLimits, Surroundings
from proxyapp.wire import bodies
from proxyapp.wire.framing import NO_BODY, Framing
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import Form, Origin, parse_target

PSEUDONYM = b"px"
VIA = b"Via: 1.1 px\r\n"
POOL = PoolLimits(max_idle_per_host=10, max_per_host=256, max_total=4096, queue_timeout=10.0)
TIMEOUTS = Timeouts(response=60.0, read=60.0, idle=60.0)
HEAD = HeadLimits()
KEEPING = Keeping(Cookies.KEEP, hsts=False)
TUNNELS = TunnelLimits(max_per_client=256, max_total=8192, idle_timeout=3600.0, close_timeout=60.0)
_STEP = 0.25  # seconds of the clock at a time
# Where Twisted's transports ask their producer to pause.
_HIGH_WATER = 64 * 1024


class HalfCloseable(Protocol):
    """IHalfCloseableProtocol, typed."""

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""


class MemoryTransport(ImmediateTransport, tcp.Connection):
    """One end of a connection; the test is the other end.

    It behaves as a socket's transport does: what it is asked to close is closed a turn later, what
    arrives while it is paused waits, and while *takes* is False nothing that is written leaves.
    """

    def __init__(self, clock: Clock, port: int = 0) -> None:
        self.clock = clock
        self.port = port
        self.connected = 1
        self.takes = True
        self.is_reading = True
        self.is_half_closed = False
        self.is_aborted = False
        self.reason = ""
        self.pauses = 0
        self._heard = b""
        self._outbox = b""
        self._inbox: list[bytes | None] = []
        self._is_closing = False
        self._is_half_closing = False
        self._is_paused = False
        self._producer: IPushProducer | None = None

    def __repr__(self) -> str:
        state = "open" if self.connected else self.reason
        return f"<MemoryTransport :{self.port} {state}, unheard {self._heard!r}>"

    # What the far end does.

    def says(self, data: bytes) -> None:
        """Let *data* arrive, as soon as anybody reads."""
        self._inbox.append(data)
        self._deliver()

    def ends(self) -> None:
        """Let the far end's output end (half-close)."""
        self._inbox.append(None)
        self._deliver()

    def closes(self) -> None:
        """Let the far end be gone in an orderly way, and be noticed."""
        self.ends()
        self._lose(ConnectionDone())

    def resets(self) -> None:
        """Let the connection break."""
        self._lose(ConnectionLost())

    def takes_some(self, size: int) -> None:
        """Let the far end read *size* bytes of what waits for it."""
        self._heard += self._outbox[:size]
        self._outbox = self._outbox[size:]

    def takes_all(self) -> None:
        """Let the far end read again, and all of what waits for it."""
        self.takes = True
        self._send()

    def hears(self, expected: bytes) -> None:
        """Fail unless exactly *expected* was sent since the last time."""
        heard = self.all_heard()
        assert heard == expected, f"expected {expected!r}, heard {heard!r}"

    def all_heard(self) -> bytes:
        """Return what was sent since the last time."""
        heard, self._heard = self._heard, b""
        return heard

    def hears_nothing(self) -> None:
        """Fail if anything was sent."""
        self.hears(b"")

    @property
    def is_gone(self) -> bool:
        """Has the connection ended?"""
        return not self.connected

    @property
    def _protocol(self) -> HalfCloseable:
        return cast(HalfCloseable, self.protocol)

    # The near end: ITCPTransport, and what net.transport asks of one of ours.

    @property
    def unsent(self) -> int:
        return len(self._outbox)

    def write(self, data: bytes) -> None:
        if not self.connected or self.is_half_closed or self.is_aborted:
            return
        self._outbox += data
        if self.takes:
            self._send()
        elif self._producer is not None and len(self._outbox) > _HIGH_WATER:
            self._is_paused = True
            self._producer.pauseProducing()

    def loseConnection(self) -> None:
        if self.connected and not self._is_closing:
            self._is_closing = True
            self.is_reading = False
            self.clock.callLater(0, self._send)

    def loseWriteConnection(self) -> None:
        self._is_half_closing = True
        self.clock.callLater(0, self._send)

    def abortConnection(self) -> None:
        if self.connected and not self.is_aborted:
            self.is_aborted = True
            self.is_reading = False
            self.clock.callLater(0, self._lose, ConnectionAborted())

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming
        if self._producer is not None:
            raise RuntimeError("two producers at once")
        push = cast(IPushProducer, producer)
        if not self.connected:
            push.stopProducing()
        else:
            self._producer = push

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.pauses += self.is_reading
        self.is_reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self._is_closing and not self.is_aborted:
            self.is_reading = True
            self.clock.callLater(0, self._deliver)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.254", 3128)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", self.port)

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        assert enabled

    def _deliver(self) -> None:
        while self._inbox and self.is_reading and self.connected:
            data = self._inbox.pop(0)
            if data is not None:
                self.protocol.dataReceived(data)
            elif IHalfCloseableProtocol.providedBy(self.protocol):
                self.is_reading = False
                self._protocol.readConnectionLost()
            else:
                self._lose(ConnectionDone())

    def _send(self) -> None:
        if not self.connected or self.is_aborted or not (self.takes or not self._outbox):
            return
        self._heard += self._outbox
        self._outbox = b""
        if self._is_paused and self._producer is not None:
            self._is_paused = False
            self._producer.resumeProducing()
        elif self._is_closing:
            self._lose(ConnectionDone())
        elif self._is_half_closing and not self.is_half_closed:
            self.is_half_closed = True
            self._protocol.writeConnectionLost()

    def _lose(self, error: Exception) -> None:
        if not self.connected:
            return
        self.connected = 0
        self.is_reading = False
        self.reason = type(error).__name__
        if self._producer is not None:
            self._producer.stopProducing()
        self.protocol.connectionLost(Failure(error))


class MemoryDialler:
    """Dials origins in memory; *refusals* are raised first, and *is_slow* makes each dial wait."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.is_slow = False
        self.tls = ""
        self.refusals: list[errors.ExchangeError] = []
        self.asked: list[Origin] = []
        self.connections: list[MemoryTransport] = []
        self.waiting: list[Deferred[None]] = []

    async def dial(self, origin: Origin, protocol: TwistedProtocol) -> Dialled:
        """See Dialler."""
        self.asked.append(origin)
        if self.is_slow:
            turn: Deferred[None] = Deferred()
            self.waiting.append(turn)
            await turn
        if self.refusals:
            raise self.refusals.pop(0)
        transport = connect(self.clock, protocol, 40000 + len(self.connections))
        self.connections.append(transport)
        return Dialled(f"192.0.2.7:{origin.port}", self.tls)


def connect(clock: Clock, protocol: TwistedProtocol, port: int = 0) -> MemoryTransport:
    """Connect *protocol* to a far end that the test plays."""
    transport = MemoryTransport(clock, port)
    transport.protocol = protocol
    protocol.makeConnection(transport)
    return transport


@dataclass
class RecordedReply:
    """A Reply that remembers what it was given; also the sink for the body."""

    far: MemoryTransport
    is_raw: bool = True
    stall_timeout: float = 60.0
    transport: Transport = field(init=False)
    record: Record = field(default_factory=Record)
    interims: list[OutgoingResponse] = field(default_factory=list)
    head: OutgoingResponse | None = None
    framing: Framing | None = None
    body: bytes = b""
    trailers: Fields | None = None
    flushes: int = 0
    early: bytes = b""

    def __post_init__(self) -> None:
        self.transport = self.far

    @property
    def local_host(self) -> str:
        """See Reply."""
        return "192.0.2.254"

    @property
    def local_port(self) -> int:
        """See Reply."""
        return 3128

    @property
    def has_begun(self) -> bool:
        """See Reply."""
        return self.head is not None

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply."""
        self.interims.append(head)

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        assert self.head is None
        self.head, self.body = head, body

    async def answer_pieces(
        self, head: OutgoingResponse, file: File, pieces: Sequence[bytes | ByteRange]
    ) -> None:
        """See Reply; no part of the proxy sends files."""
        raise AssertionError("a file")

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        assert self.head is None
        self.head, self.framing = head, body
        return self

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply."""
        self.head = head
        return TakenOver(self.transport, self.early, has_ended=False)

    # Sink.

    def write(self, data: bytes) -> None:
        """See Sink."""
        assert data
        assert self.trailers is None
        self.body += data
        self.transport.write(data)

    def flush(self) -> None:
        """See Sink."""
        self.flushes += 1

    def finish(self, trailers: Fields) -> None:
        """See Sink."""
        assert self.trailers is None
        self.trailers = trailers

    def passed(self, count: int) -> None:
        """See Sink."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.WriteTimeout("the sink stalled")


class MemorySource:
    """Where a body comes from, without a protocol; see stream.Source."""

    def __init__(self, transport: MemoryTransport, sweep: Sweep) -> None:
        self.transport: Transport = transport
        self.far = transport
        self.sweep = sweep
        self.silence_timeout = 60.0

    def silent(self) -> errors.ExchangeError:
        """See Source."""
        return errors.ReadTimeout("the source is silent")

    def cut(self) -> errors.ExchangeError:
        """See Source."""
        return errors.ResponseIncomplete("the source was cut")


class Witness(TwistedProtocol):
    """The near end of a connection where only the transport matters."""

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""


class AllowEveryone:
    """The judge of requests on stage."""

    def judge(self, question: Question, minute: int) -> Decision:
        """See admission.Judge."""
        return Decision(True, "", "")


def admit_everyone() -> Admission:
    """Return what lets every request go on."""
    return Admission(AllowEveryone(), None, False, lambda seconds: 0)


@dataclass(frozen=True)
class DestinationsSection:
    """[access] destinations."""

    everything: bool = False
    public: bool = True
    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AccessOptions:
    """[access]; clients are judged by AllowEveryone."""

    destinations: DestinationsSection = field(default_factory=DestinationsSection)
    clients: tuple[Network, ...] = ()
    site_clients: tuple[Network, ...] = ()
    default: Default = Default.ALLOW


class RecordList(list[Record]):
    """The request log on stage."""

    def identify(self, record: Record) -> None:
        """See doors.RecordLog; this one shows no ids."""

    def write(self, record: Record) -> None:
        """See doors.RecordLog."""
        self.append(record)


def error_page(
    error: errors.ExchangeError, head: RequestHead | None, record: Record
) -> tuple[RawFields, bytes]:
    """See doors.MakePage: the reason, and nothing else."""
    return [], error.reason.encode("ascii")


def request_of(
    method: bytes = b"GET",
    target: bytes = b"http://a.example/",
    fields: RawFields | None = None,
    minor: int = 1,
    how: Framing = NO_BODY,
    source: MemorySource | None = None,
) -> Request:
    """Return a request; with *source*, its body is still to come from there."""
    head = RequestHead(method, target, minor, Fields(fields or []))
    body = stream.EMPTY
    if source is not None:
        body = stream.Body(bodies.decoder_for(how), source)
    client = Client("192.0.2.1", 50000)
    return Request(head, parse_target(method, target), client, how, body)


@dataclass(frozen=True)
class Settings:
    """How the stage is set; the defaults are large enough to be in nobody's way."""

    pool: PoolLimits = POOL
    timeouts: Timeouts = TIMEOUTS
    head: HeadLimits = HEAD
    retries: int = 1
    pseudonym: bytes = PSEUDONYM
    forwarding: Forwarding = Forwarding.OFF
    upgrade_header: bytes = b"x-real-protocol"
    upgrade_hosts: Domains | None = None
    may_upgrade: bool = True
    keeping: Keeping = KEEPING
    tunnels: TunnelLimits = TUNNELS
    body: int = 0
    write_timeout: float = 60.0


class Stage:
    """Everything between the clients' transports and the origins', and time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.dialler = MemoryDialler(self.clock)
        dialler = cast(Dialler, self.dialler)
        self.pool = HTTPConnectionPool(dialler, self.sweep, settings.pool, self._make_upstream)
        hop = hops.hop(settings.pseudonym, settings.forwarding, settings.upgrade_header)
        self.forward = ForwardProxyResource(
            self.pool, hop, settings.retries, self.sweep, settings.tunnels
        )
        self.upgrade = TlsUpgrade(
            self.forward,
            Spellings(settings.upgrade_header, settings.upgrade_hosts),
            settings.keeping,
            lambda client: settings.may_upgrade,
            lambda origin: origin.host == "own.example",
        )
        self.tunnel = ConnectTunnel(dialler, self.sweep, settings.tunnels)
        self.records = RecordList()
        self.clients: list[MemoryTransport] = []
        self._listener = self._make_listener()

    def _make_upstream(self, pool: HTTPConnectionPool, origin: Origin) -> Upstream:
        given = self.settings
        return Upstream(origin, pool, self.sweep, given.timeouts, given.head)

    def _make_listener(self) -> Listener:
        given = self.settings
        limits = ServerLimits(
            head=given.head,
            clients=10000,
            per_client=10000,
            body=given.body,
            head_timeout=20.0,
            idle_timeout=60.0,
            write_timeout=given.write_timeout,
            read_timeout=given.timeouts.read,
        )
        around = Surroundings(
            admit_everyone(), self.records, error_page, self.sweep, limits, self.clock.seconds
        )
        doors = {
            Form.ABSOLUTE: Door("proxy", self.upgrade, self.upgrade.canonical),
            Form.AUTHORITY: Door("tunnel", self.tunnel),
        }
        return Listener(around, doors, Clients(limits))

    @property
    def origins(self) -> list[MemoryTransport]:
        """Every connection that was dialled, in order."""
        return self.dialler.connections

    @property
    def origin(self) -> MemoryTransport:
        """The connection that was dialled last."""
        return self.dialler.connections[-1]

    def client(self, host: str = "192.0.2.1") -> MemoryTransport:
        """Let a client connect."""
        address = IPv4Address("TCP", host, 50000 + len(self.clients))
        connection = self._listener.buildProtocol(address)
        transport = connect(self.clock, connection, address.port)
        self.clients.append(transport)
        return transport

    def turn(self) -> None:
        """Let what was asked for happen: closings, deliveries to whoever reads again."""
        for _ in range(4):
            self.clock.advance(0)

    def wait(self, seconds: float) -> None:
        """Let time pass, as the sweep sees it."""
        for _ in range(round(seconds / _STEP)):
            self.clock.advance(_STEP)
        self.turn()

    def end(self) -> None:
        """Fail if anything is unheard; then let everybody leave, and fail if anything is left."""
        self.turn()
        everybody = self.clients + self.origins
        unheard = [transport for transport in everybody if transport.all_heard()]
        assert not unheard, f"said, and nobody heard it: {unheard}"
        assert not self.dialler.refusals, "a scripted refusal was not used"
        self.pool.closeCachedConnections()
        # Whoever stood in line for a connection now gets one, and loses it as well.
        while left := [each for each in self.clients + self.origins if not each.is_gone]:
            for transport in left:
                transport.resets()
            self.turn()
        assert repr(self.pool) == "<HTTPConnectionPool 0 open, 0 idle>"
        assert self.tunnel.counts.open == 0
        assert repr(self.sweep) == "<Sweep of 0>"
        self.sweep.stop()
        assert not self.clock.getDelayedCalls()


@contextmanager
def script(**changes: object) -> Iterator[Stage]:
    """Set the stage, with *changes* to its Settings, and see that the play is played to its end."""
    make: Callable[..., Settings] = replace
    stage = Stage(make(Settings(), **changes))
    # In memory nothing can be spliced; it is as if descriptors were short.
    with mock.patch.object(pipes, "take", return_value=None):
        yield stage
        stage.end()


def pool_of(**changes: float) -> PoolLimits:
    """Return the pool's limits with *changes*."""
    make: Callable[..., PoolLimits] = replace
    return make(POOL, **changes)


def get(path: bytes = b"/", *lines: bytes, host: bytes = b"a.example") -> bytes:
    """Return a GET as a client sends it to a proxy."""
    return request(b"GET", path, *lines, host=host)


def request(
    method: bytes, path: bytes, *lines: bytes, host: bytes = b"a.example", body: bytes = b""
) -> bytes:
    """Return a request as a client sends it to a proxy."""
    start = b"%b http://%b%b HTTP/1.1" % (method, host, path)
    return b"\r\n".join([start, b"Host: " + host, *lines, b"", body])


def passed_on(
    path: bytes = b"/",
    *lines: bytes,
    host: bytes = b"a.example",
    method: bytes = b"GET",
    body: bytes = b"",
) -> bytes:
    """Return a request as an origin gets it from us; Via goes where it belongs, at the end."""
    start = b"%b %b HTTP/1.1" % (method, path)
    return b"\r\n".join([start, b"Host: " + host, *lines, b"Via: 1.1 px", b"", body])


def response(status: bytes, *lines: bytes, body: bytes = b"", via: bool = False) -> bytes:
    """Return a response; *via* is what passing it on through us adds."""
    added = [b"Via: 1.1 px"] if via else []
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, *added, b"", body])


OK = response(b"200 OK", b"Content-Length: 2", body=b"hi")
OK_PASSED_ON = response(b"200 OK", b"Content-Length: 2", body=b"hi", via=True)
