"""One client connection: reads requests in turn, and gives each its turn.

It doesn't know proxy from files: the form of the target picks a door, and the door's responder
does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet import protocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocolNegotiationFactory,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors, stream
from proxyapp.exchange import Client, Request, TakenOver
from proxyapp.net import ports
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import NEVER
from proxyapp.net.transport import Transport
from proxyapp.server import turn
from proxyapp.server.arrivals import Arrivals
from proxyapp.server.backlog import Backlog
from proxyapp.server.closing import Closing
from proxyapp.server.doors import Clients, Door, Surroundings
from proxyapp.server.turn import Turn
from proxyapp.stream import Body
from proxyapp.wire import framing
from proxyapp.wire.target import Form


@implementer(IHalfCloseableProtocol)
class ClientConnection(protocol.Protocol):
    """Speaks HTTP/1.1 and 1.0 to one client."""

    transport: Transport  # type: ignore[assignment]  # ITransport lacks what TCP's has

    def __init__(
        self,
        around: Surroundings,
        doors: Mapping[Form, Door],
        client: Client,
        on_lost: Callable[[Client], None],
        refusal: errors.ExchangeError | None,
    ) -> None:
        self.sweep, self.stall_timeout = around.sweep, around.limits.write_timeout
        self.deadline, self.slot = NEVER, 0
        self._around = around
        self._doors = doors
        self._client = client
        self._on_lost = on_lost
        self._refusal = refusal
        self.turn: Turn | None = None
        self.receiver: stream.Receiver | None = None
        self._closing: Closing | None = None
        self._is_taking = self._is_held = self.is_in_head = self._input_ended = False

    def __repr__(self) -> str:
        return f"<ClientConnection {self._client.host}:{self._client.port} {self.turn or 'idle'}>"

    # Protocol.

    def connectionMade(self) -> None:
        """Wait for the first request, or turn the client away."""
        transport, sweep, limits = self.transport, self.sweep, self._around.limits
        self._around.connections.enter(self)
        net_transport.set_options(transport)
        self._arrivals = Arrivals(transport, sweep, limits, self._doors, self._client)
        self._backlog = Backlog(transport, sweep, self.stall_timeout, self._take_requests)
        if ports.is_surplus(transport):
            too_few = errors.Overloaded("too few descriptors are left to serve more clients")
            self._refuse(too_few).hurry()
        elif self._refusal is not None:
            self._refuse(self._refusal)
        else:
            sweep.set(self, self._around.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Hand *data* to whatever it belongs to: a tunnel, a body, or the next head."""
        if self.receiver is not None:
            self.receiver.received(data)
            return
        if self._closing is not None:
            self._closing.throw_away(data)
            return
        arrivals = self._arrivals
        if arrivals.body is not None:
            data = self._read_body(arrivals.body, data)
            if not data:
                return
        arrivals.reader.feed(data)
        if self.turn is None:
            self._take_requests()
        elif arrivals.reader.is_full:
            self._is_held = True
            self.transport.pauseProducing()

    def _read_body(self, body: Body, data: bytes) -> bytes:
        try:
            return self._arrivals.read_body(data)
        except errors.ClientFault as fault:
            # What follows can't be trusted: from now on it is thrown away.
            self._closing = Closing(self.transport, self.sweep, self.stall_timeout)
            body.fail(fault)
            return b""

    def readConnectionLost(self) -> None:
        """The client will send no more, but may well read on (RFC 9112 section 9.6)."""
        self._input_ended = True
        if self.receiver is not None:
            self.receiver.input_ended()
            return
        if self._arrivals.body is not None:
            self._arrivals.body.end_input()
        if self.turn is None:
            self._close(is_read=True)

    def writeConnectionLost(self) -> None:
        """Our half-close has left."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The client is gone: what runs for it is given up."""
        self.sweep.drop(self)
        self._around.connections.leave(self)
        self._backlog.stop()
        if self._closing is not None:
            self._closing.stop()
        self._on_lost(self._client)
        if self.receiver is not None:
            self.receiver.lost(isinstance(reason.value, ConnectionDone))
        elif self.turn is not None:
            self.turn.cancel()

    # Requests, in turn.

    def _take_requests(self) -> None:
        """Begin the next requests that have arrived, as long as they are answered at once."""
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self.turn is None and self._closing is None:
                if self._backlog.holds_up():
                    self._is_held, self.is_in_head = True, False
                    self.deadline = NEVER
                    self.transport.pauseProducing()
                    return
                if not self._take_request():
                    return
        finally:
            self._is_taking = False

    def _take_request(self) -> bool:
        try:
            arrived = self._arrivals.next_request()
        except errors.ExchangeError as error:
            self._refuse(error)
            return False
        if arrived is None:
            self._await_head()
            return False
        request, door = arrived
        self.is_in_head, self.deadline = False, NEVER
        self.turn = Turn(self, self._around, door, request, self._end_turn)
        self.turn.begin()
        return not self._arrivals.reader.is_empty or self._is_held or self._input_ended

    def _await_head(self) -> None:
        reader = self._arrivals.reader
        if self._is_held and not reader.is_full:
            self._is_held = False
            self.transport.resumeProducing()
        if self._input_ended:
            self._close(is_read=True)
        elif not reader.is_empty and not self.is_in_head:
            self.is_in_head = True
            self.sweep.set(self, self._around.limits.head_timeout)

    def _end_turn(self) -> None:
        ended, self.turn = self.turn, None
        if ended is None or self.receiver is not None or not self.transport.connected:
            return
        is_read, is_empty = ended.request.body.is_complete, self._arrivals.reader.is_empty
        if not ended.reply.persists or not is_read or (self._input_ended and is_empty):
            self._close(is_read and is_empty)
            return
        self.sweep.set(self, self._around.idle_timeout)
        if not is_empty or self._is_held:
            self._take_requests()

    def _refuse(self, error: errors.ExchangeError) -> Closing:
        head = self._arrivals.head or self._arrivals.reader.take_rest()
        turn.refuse(self, self._around, self._client, error, head)
        return self._close(is_read=False)

    def _close(self, is_read: bool) -> Closing:
        """Close once everything has been sent; linger if the client may still be sending."""
        self.sweep.drop(self)
        self._arrivals.body = None
        if self._closing is None:
            self._closing = Closing(self.transport, self.sweep, self.stall_timeout)
        if is_read or self._input_ended:
            self._closing.close()
        else:
            self._closing.linger()
        return self._closing

    # Connection, for the reply.

    def may_persist(self, request: Request | None) -> bool:
        """See reply.Connection: the client wants it, and the request's body is or will be read."""
        if request is None or self._closing is not None or not self._arrivals.leads_on(request):
            return False
        # Has the client sent its last byte, and is no request left among those it sent?
        is_last = self._input_ended and self._arrivals.reader.is_empty
        if is_last or self._around.connections.is_closing:
            return False
        return framing.persists(request.head.minor, request.head.fields)

    def leave_http(self, receiver: stream.Receiver) -> TakenOver:
        """See reply.Connection."""
        self.receiver = receiver
        self.sweep.drop(self)
        return TakenOver(self.transport, self._arrivals.reader.take_rest(), self._input_ended)

    # Watched.

    def expire(self) -> None:
        """See Watched: no head in time, or idle for long enough."""
        if self.is_in_head:
            self._refuse(errors.RequestTimeout("the request did not arrive in time"))
        else:
            self._close(is_read=True)


@implementer(IProtocolNegotiationFactory)
class Listener(protocol.Factory):
    """Makes the connections of one listening section: all of them through the same doors."""

    noisy = False

    def __init__(self, around: Surroundings, doors: Mapping[Form, Door], clients: Clients) -> None:
        self._around = around
        self._doors = doors
        self._clients = clients

    def acceptableProtocols(self) -> list[bytes]:
        """See IProtocolNegotiationFactory; without it, Twisted ends the handshake of a `tls:`
        endpoint with every client that offers protocols (ALPN), as all of them do.
        """
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        """See IProtocolFactory."""
        client = Client(getattr(addr, "host", "") or "", getattr(addr, "port", 0) or 0)
        refusal = self._clients.enter(client)
        return ClientConnection(self._around, self._doors, client, self._clients.leave, refusal)
