"""CONNECT: a connection to any allowed host and port, and bytes both ways (RFC 9110 9.3.6)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from twisted.internet import protocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors
from proxyapp.exchange import Reply, Request, TakenOver
from proxyapp.net import transport as net_transport
from proxyapp.net.byparent import ParentDialler
from proxyapp.net.dial import Dialler
from proxyapp.net.shared import NOWHERE, Elsewhere
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import Transport
from proxyapp.proxy.relay import Relay
from proxyapp.stream import Receiver
from proxyapp.wire.framing import Kind
from proxyapp.wire.messages import OutgoingResponse

# RFC 9110 section 9.3.6: no field that frames a body, and there is nothing else to say.
_ESTABLISHED = OutgoingResponse(200, b"Connection established", [])


@dataclass(frozen=True, slots=True)
class TunnelLimits:
    """How many tunnels, and how long one may be silent; times in seconds."""

    max_per_client: int
    max_total: int
    idle_timeout: float
    close_timeout: float


@implementer(IHalfCloseableProtocol)
class ConnectTunnelProtocol(protocol.Protocol):
    """The origin's end of a tunnel: everything goes to the relay."""

    transport: Transport  # type: ignore[assignment]  # ITransport lacks what TCP's has

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def connectionMade(self) -> None:
        """Bytes of the origin wait until the client has been told that the tunnel stands."""
        net_transport.set_options(self.transport)
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """See Receiver."""
        self._receiver.received(data)

    def readConnectionLost(self) -> None:
        """See Receiver."""
        self._receiver.input_ended()

    def writeConnectionLost(self) -> None:
        """The client's half-close has crossed."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """See Receiver."""
        self._receiver.lost(isinstance(reason.value, ConnectionDone))


class TunnelCounts:
    """How many tunnels are open, altogether and by client; *elsewhere* in other processes."""

    def __init__(self, limits: TunnelLimits, elsewhere: Elsewhere = NOWHERE) -> None:
        self._limits = limits
        self._elsewhere = elsewhere
        self._by_client: Counter[str] = Counter()
        self.open = 0

    def enter(self, client: str) -> None:
        """Count a tunnel of *client* until it leaves; raises Overloaded past a limit."""
        elsewhere = self._elsewhere
        if self.open + elsewhere.total() >= self._limits.max_total:
            raise errors.Overloaded("too many tunnels are open")
        if self._by_client[client] + elsewhere.of(client) >= self._limits.max_per_client:
            raise errors.Overloaded("this client has too many tunnels open")
        self.open += 1
        self._by_client[client] += 1
        elsewhere.add(client, 1)

    def leave(self, client: str) -> None:
        """Count a tunnel of *client* out."""
        self.open -= 1
        self._elsewhere.add(client, -1)
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


class ConnectTunnel:
    """Answers CONNECT, once the judge has let host and port pass.

    With *by_parent* that dials, and knows what goes to a parent proxy. *elsewhere* counts the
    tunnels of other processes.
    """

    def __init__(
        self,
        dialler: Dialler,
        sweep: Sweep,
        limits: TunnelLimits,
        by_parent: ParentDialler | None = None,
        elsewhere: Elsewhere = NOWHERE,
    ) -> None:
        self._dialler = dialler
        self._by_parent = by_parent
        self._sweep = sweep
        self._limits = limits
        self.counts = TunnelCounts(limits, elsewhere)

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        origin = request.target.origin
        assert origin is not None
        if request.framing.kind is not Kind.NONE and not request.body.is_complete:
            raise errors.BadRequest("CONNECT has no request body")
        self.counts.enter(request.client.host)
        relay = Relay(self._sweep, self._limits.idle_timeout, self._limits.close_timeout)
        try:
            # Reach the origin, then tell the client, then keep out of the way.
            end = ConnectTunnelProtocol(relay.origin)
            if self._by_parent is None:
                dialled = await self._dialler.dial(origin, end)
            else:
                dialled = await self._by_parent.tunnel(origin, end, request.head.fields)
            reply.record.upstream = dialled.address
            taken = reply.take_over(_ESTABLISHED, relay.client)
            relay.join(taken, TakenOver(end.transport, dialled.early, has_ended=False))
            await relay.done
        finally:
            self.counts.leave(request.client.host)
            reply.record.sent, reply.record.received = relay.down.moved, relay.up.moved
