"""A client connection without sockets: an in-memory transport, a clock, scripted responders."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as Lost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Client, Reply, Request
from proxyapp.net.timers import Sweep
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.server.admission import Admission
from proxyapp.server.connection import ClientConnection
from proxyapp.server.doors import Door, ServerLimits, Surroundings
from proxyapp.wire.headers import RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import Form

CLIENT = Client("192.0.2.7", 40000)
# The time of day in every test: Sunday, 9 September 2001, 01:46:40.
NOW = 1_000_000_000.0

Act = Callable[[Request, Reply], Awaitable[None]]


class Wire:
    """A transport in memory: what was sent, whether reading goes on, and how it was closed."""

    def __init__(self) -> None:
        self.connected = 1
        self.sent = b""
        self.writes = 0
        self.is_paused = False
        self.ending = ""
        self.producer: object = None

    def write(self, data: bytes) -> None:
        assert not self.ending, f"{data!r} was written behind the end"
        self.sent += data
        self.writes += 1

    def loseConnection(self) -> None:
        self.ending = self.ending or "closed"

    def abortConnection(self) -> None:
        self.ending = "aborted"

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 3128)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", CLIENT.host, CLIENT.port)

    def take(self) -> bytes:
        """Return what was sent since the last time."""
        sent, self.sent = self.sent, b""
        return sent


class Script:
    """A responder that does what the test says, request by request; without a word it echoes."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.acts: list[Act] = []

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        self.requests.append(request)
        if self.acts:
            await self.acts.pop(0)(request, reply)
        else:
            reply.answer(OutgoingResponse(200, b"OK", []), request.target.path)


class Scene:
    """Everything around client connections; *records* are copies of what the log was given."""

    def __init__(self, limits: ServerLimits) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.now = NOW
        self.script = Script()
        self.records: list[Record] = []
        self.is_allowed = True
        self.left: list[Client] = []
        admission = Admission(self, None, False, lambda seconds: 0)
        self.around = Surroundings(admission, self, _page, self.sweep, limits, lambda: self.now)
        services = zip(Form, ("site", "proxy", "tunnel", "proxy"), strict=True)
        self.doors = {form: Door(service, self.script) for form, service in services}

    def judge(self, question: Question, minute: int) -> Decision:
        """See Judge."""
        assert question.client == CLIENT.host
        return Decision(self.is_allowed, "the rule", "not you")

    def identify(self, record: Record) -> None:
        """See RecordLog."""
        record.request_id = f"id{len(self.records)}"

    def write(self, record: Record) -> None:
        """See RecordLog."""
        self.records.append(copy.copy(record))

    def connect(self, refusal: errors.ExchangeError | None = None) -> tuple[ClientConnection, Wire]:
        """Return a connection that has just been made."""
        wire = Wire()
        connection = ClientConnection(self.around, self.doors, CLIENT, self.left.append, refusal)
        make(connection, wire)
        return connection, wire

    def pass_time(self, seconds: float) -> None:
        """Let time go by, tick by tick."""
        self.clock.pump([0.25] * int(seconds / 0.25))

    @property
    def statuses(self) -> list[int]:
        """The status of each line in the log."""
        return [record.status for record in self.records]


def make(connection: ClientConnection, wire: Wire) -> None:
    """Let the connection be made."""
    connection.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted has no types here


def hang_up(connection: ClientConnection, wire: Wire, is_clean: bool = True) -> None:
    """Let the connection be gone."""
    wire.connected = 0
    connection.connectionLost(Failure(ConnectionDone() if is_clean else Lost()))


def _page(
    error: errors.ExchangeError, head: RequestHead | None, record: Record
) -> tuple[RawFields, bytes]:
    accept = head.fields.get(b"accept") if head is not None else None
    kind = b"text/html" if accept == b"text/html" else b"text/plain"
    seen = [(b"Service", record.service.encode()), (b"Request-Id", record.request_id.encode())]
    return [(b"Content-Type", kind), *seen], error.reason.encode()


LIMITS = ServerLimits(
    head=HeadLimits(size=1000, fields=10),
    clients=3,
    per_client=2,
    body=100,
    head_timeout=5,
    idle_timeout=10,
    write_timeout=7,
    read_timeout=8,
)


@pytest.fixture
def scene() -> Scene:
    """Return the surroundings of client connections, with small limits."""
    return Scene(LIMITS)


@pytest.fixture
def wide_scene() -> Scene:
    """Return the same without a limit on bodies."""
    return Scene(replace(LIMITS, body=0))
