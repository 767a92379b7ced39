"""Where clients come in: which target goes to which responder, and how many may come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from proxyapp import errors
from proxyapp.exchange import Client, Request, Responder
from proxyapp.net.shared import NOWHERE, Elsewhere
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import Transport
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.server.admission import Admission
from proxyapp.server.connections import Connections
from proxyapp.wire.headers import RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Target


class Permit(Protocol):
    """What one exchange may take."""

    def begin(
        self,
        transport: Transport,
        arrived: int,
        on_exhausted: Callable[[errors.ExchangeError], None],
    ) -> None:
        """Hold back what *transport* moves; *on_exhausted* is told why no more may be.

        *arrived* bytes of the request's body are here already.
        """

    def finish(self, record: Record, is_cut: bool = False) -> None:
        """The exchange is over, and *record* says what it moved.

        *is_cut* says that its connection is about to be aborted.
        """


class Limiter(Protocol):
    """Who may take how much."""

    def admit(self, question: Question, decision: Decision) -> Permit | None:
        """Return what an allowed exchange has to keep to, if anything; raises Refused."""


class RecordLog(Protocol):
    """Where records go."""

    def identify(self, record: Record) -> None:
        """Give *record* a request id, if its line will show one."""

    def write(self, record: Record) -> None:
        """Take the finished *record* of one exchange."""


@dataclass(frozen=True, slots=True)
class Door:
    """What is behind one form of target: the name of the service, and who answers.

    *canonical* makes one of all requests that mean the same, before anybody judges them; it may
    raise ExchangeError. *aside* returns the door of another service for requests that are its own
    in spite of their form, and None for all others. *error_fields* returns what every error page
    of this service gets, whoever refuses or fails.
    """

    service: str
    responder: Responder
    canonical: Callable[[Request], Request] | None = None
    aside: Callable[[RequestHead, Target], Door | None] | None = None
    error_fields: Callable[[RequestHead], RawFields] | None = None


# Makes the page that tells a client of an error: its fields, and its body.
MakePage = Callable[[errors.ExchangeError, RequestHead | None, Record], tuple[RawFields, bytes]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits on clients; times in seconds, *body* in bytes (0: none)."""

    head: HeadLimits
    clients: int
    per_client: int
    body: int
    head_timeout: float
    idle_timeout: float
    write_timeout: float
    read_timeout: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every client connection needs; *seconds* is the time of day.

    There is no *limiter* where no rule has a limit.
    """

    admission: Admission
    log: RecordLog
    page: MakePage
    sweep: Sweep
    limits: ServerLimits
    seconds: Callable[[], float]
    limiter: Limiter | None = None
    connections: Connections = field(default_factory=Connections)

    @property
    def idle_timeout(self) -> float:
        """How long (s) a connection may wait for its next request."""
        return self.connections.idle_timeout(self.limits.idle_timeout)


class Clients:
    """Counts open connections, altogether and by address, and says when there are too many.

    *elsewhere* counts those of other processes.
    """

    def __init__(self, limits: ServerLimits, elsewhere: Elsewhere = NOWHERE) -> None:
        self._limits = limits
        self._elsewhere = elsewhere
        self._by_host: dict[str, int] = {}
        self.open = 0

    def __repr__(self) -> str:
        return f"<Clients {self.open} connections from {len(self._by_host)} addresses>"

    def enter(self, client: Client) -> errors.ExchangeError | None:
        """Count *client* in; the error is for one too many."""
        count = self._by_host.get(client.host, 0) + 1
        self._by_host[client.host] = count
        self.open += 1
        elsewhere = self._elsewhere
        elsewhere.add(client.host, 1)
        if self.open + elsewhere.total() > self._limits.clients:
            return errors.Overloaded("too many clients are connected")
        if count + elsewhere.of(client.host) > self._limits.per_client:
            return errors.Overloaded("this client has too many connections open")
        return None

    def leave(self, client: Client) -> None:
        """Count *client* out."""
        self.open -= 1
        self._elsewhere.add(client.host, -1)
        count = self._by_host[client.host] - 1
        if count:
            self._by_host[client.host] = count
        else:
            del self._by_host[client.host]
