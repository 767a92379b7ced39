"""One client connection: reads requests in turn, hands each to its responder, logs each.

It doesn't know proxy from files. The form of the target picks a door, the judge says whether this
client may use what is behind it, and the door's responder does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors, stream
from proxyapp.doors import Clients, Door, Surroundings
from proxyapp.exchange import Client, Request
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import NEVER
from proxyapp.net.transport import Transport
from proxyapp.reply import ClientReply
from proxyapp.rules.logformat import Record
from proxyapp.stream import Body
from proxyapp.wire import bodies, framing, headers, parser, target, writer
from proxyapp.wire.framing import Kind
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.parser import HeadReader
from proxyapp.wire.target import Form

# How long a client may go on sending a body that nobody reads any more, so that it gets to read
# our answer before the connection is reset under it (RFC 9112 section 9.6), in seconds.
LINGER = 5.0
# Bytes of such a body; a client that sends more isn't going to read the answer.
MAX_LINGER = 4 << 20


_log = Logger()


@implementer(IHalfCloseableProtocol)
class ClientConnection(protocol.Protocol):
    """Speaks HTTP/1.1 and 1.0 to one client; also the source of its requests' bodies."""

    transport: Transport

    def __init__(
        self,
        around: Surroundings,
        doors: Mapping[Form, Door],
        client: Client,
        on_lost: Callable[[Client], None],
        refusal: errors.ExchangeError | None = None,
    ) -> None:
        self.sweep = around.sweep
        self.silence_timeout = around.limits.read_timeout
        self.stall_timeout = around.limits.write_timeout
        self.deadline = NEVER
        self.slot = 0
        self._around = around
        self._doors = doors
        self._client = client
        self._on_lost = on_lost
        self._refusal = refusal
        self._reader = HeadReader(around.limits.head)
        self._reply: ClientReply | None = None
        self._body: Body | None = None
        self._exchange: Deferred[None] | None = None
        self._receiver: stream.Receiver | None = None
        self._drain: stream.Drain | None = None
        self._is_taking = False
        self._is_held = False
        self._is_in_head = False
        self._input_ended = False
        self._lingered = -1  # bytes thrown away so far; -1: not lingering

    def __repr__(self) -> str:
        state = "idle" if self._reply is None else repr(self._reply)
        return f"<ClientConnection {self._client.host}:{self._client.port} {state}>"

    # Protocol.

    def connectionMade(self) -> None:
        """Wait for the first request, or turn the client away."""
        net_transport.set_options(self.transport)
        if self._refusal is not None:
            self._refuse(self._refusal, b"")
        else:
            self.sweep.set(self, self._around.limits.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Hand *data* to whatever it belongs to: a tunnel, a body, or the next head."""
        if self._receiver is not None:
            self._receiver.received(data)
            return
        if self._lingered >= 0:
            self._throw_away(data)
            return
        if self._body is not None:
            data = self._read_body(self._body, data)
            if not data:
                return
        self._reader.feed(data)
        if self._reply is None:
            self._take_requests()
        elif self._reader.is_full:
            self._is_held = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The client will send no more, but may well read on (RFC 9112 section 9.6)."""
        self._input_ended = True
        if self._receiver is not None:
            self._receiver.input_ended()
            return
        if self._body is not None:
            self._body.end_input()
        if self._reply is None or self._lingered >= 0:
            self._lose()

    def writeConnectionLost(self) -> None:
        """Our half-close has left."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The client is gone: what runs for it is given up."""
        self.sweep.drop(self)
        if self._drain is not None:
            self._drain.stop()
        self._on_lost(self._client)
        if self._receiver is not None:
            self._receiver.lost(reason.check(ConnectionDone) is not None)
        elif self._exchange is not None:
            self._exchange.cancel()

    # Requests, in turn.

    def _take_requests(self) -> None:
        """Begin the next requests that have arrived, as long as they are answered at once."""
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self._reply is None and self._lingered < 0 and self._take_request():
                pass
        finally:
            self._is_taking = False

    def _take_request(self) -> bool:
        head = b""
        try:
            found = self._reader.next_head()
            if found is None:
                self._await_head()
                return False
            head = found
            request, door = self._parse(head)
        except errors.ExchangeError as error:
            self._refuse(error, head)
            return False
        self._begin(request, door)
        return True

    def _await_head(self) -> None:
        if self._is_held and not self._reader.is_full:
            self._is_held = False
            self.transport.resumeProducing()
        if self._input_ended:
            self._lose()
        elif not self._reader.is_empty and not self._is_in_head:
            self._is_in_head = True
            self.sweep.set(self, self._around.limits.head_timeout)

    def _parse(self, head: bytes) -> tuple[Request, Door]:
        limits = self._around.limits
        parsed = parser.parse_request(head, limits.head)
        asked = target.parse_target(parsed.method, parsed.target)
        target.check_host(asked, parsed.fields)
        how = framing.request_framing(parsed)
        if limits.body and how.length > limits.body:
            raise errors.BodyTooLarge("the request body is longer than [limits] body allows")
        body = Body(bodies.decoder_for(how), self)
        return Request(parsed, asked, self._client, how, body), self._doors[asked.form]

    def _begin(self, request: Request, door: Door) -> None:
        self._is_in_head = False
        self.deadline = NEVER
        around = self._around
        fields = request.head.fields
        record = Record(
            started=around.seconds(),
            client_host=self._client.host,
            client_port=self._client.port,
            service=door.service,
            method=request.head.method,
            target=request.head.target,
            minor=request.head.minor,
            referer=fields.get(b"referer") or b"",
            user_agent=fields.get(b"user-agent") or b"",
        )
        self._reply = reply = ClientReply(self, request, record, around.seconds)
        decision = around.judge.client(self._client.host, door.service)
        if not decision.allowed:
            record.rule = decision.rule
            self._end(Failure(errors.AccessDenied(decision.reason)))
            return
        if request.framing.kind is not Kind.NONE:
            self._expect_body(request.body)
        self._exchange = Deferred.fromCoroutine(door.responder.respond(request, reply))
        self._exchange.addCallbacks(self._end, self._end)

    def _expect_body(self, body: Body) -> None:
        limit = self._around.limits.body
        if limit:
            body.limit(limit)
        self._body = body
        rest = self._reader.take_rest()
        if rest or body.is_complete:
            self._reader.feed(self._read_body(body, rest))

    def _read_body(self, body: Body, data: bytes) -> bytes:
        try:
            rest = body.push(data)
        except errors.ClientFault as fault:
            body.fail(fault)
            self._body = None
            self._lingered = 0  # nothing that follows can be trusted
            return b""
        if body.is_complete:
            self._body = None
        return rest

    # How an exchange ends.

    def _end(self, outcome: Failure | None) -> None:
        """Finish the exchange: tell the client what went wrong, write the record, go on."""
        self._exchange = None
        reply = self._reply
        assert reply is not None and reply.request is not None
        record = reply.record
        if outcome is not None:
            self._fail(reply, _as_error(outcome))
        record.received = record.received or reply.request.body.size
        record.duration = self._around.seconds() - record.started
        self._around.log.write(record)
        self._reply = None
        if self._receiver is not None or not self.transport.connected:
            return
        is_read = reply.request.body.is_complete
        if not reply.persists or not is_read or self._input_ended:
            self._close(is_read)
            return
        self.sweep.set(self, self._around.limits.idle_timeout)
        if not self._reader.is_empty or self._is_held:
            self._take_requests()

    def _fail(self, reply: ClientReply, error: errors.ExchangeError) -> None:
        record = reply.record
        record.error, record.reason = error.token, error.reason
        if isinstance(error, errors.ClientGone):
            record.status = record.status or error.status
            self._abort()
        elif reply.has_begun:
            self._abort()  # a cut connection is the only way left to say that this isn't whole
        else:
            self._answer_error(reply, error)

    def _answer_error(self, reply: ClientReply, error: errors.ExchangeError) -> None:
        head = reply.request.head if reply.request is not None else None
        fields, body = self._around.page(error, head, reply.record.service)
        reason = writer.reason_for(error.status)
        reply.answer(OutgoingResponse(error.status, reason, [*fields, *error.fields]), body)

    def _refuse(self, error: errors.ExchangeError, head: bytes) -> None:
        """Answer what can't be read as a request, and close."""
        line = head[: head.find(b"\r\n")].split(b" ")
        method, asked = (line[0], line[1]) if len(line) > 2 else (b"", b"")
        record = Record(
            started=self._around.seconds(),
            client_host=self._client.host,
            client_port=self._client.port,
            method=method if headers.is_token(method) else b"",
            target=asked,
            error=error.token,
            reason=error.reason,
        )
        reply = ClientReply(self, None, record, self._around.seconds)
        self._answer_error(reply, error)
        self._around.log.write(record)
        self._close(is_read=False)

    # Connection, for the reply.

    def may_persist(self, request: Request | None) -> bool:
        """See reply.Connection: the client wants it, and the request's body is or will be read."""
        if request is None or self._input_ended or self._lingered >= 0:
            return False
        if self._body is not None and not self._body.is_taken:
            return False
        head = request.head
        options = head.fields.get(b"connection")
        if options is None:
            return head.minor > 0
        tokens = head.fields.tokens(b"connection")
        return b"close" not in tokens and (head.minor > 0 or b"keep-alive" in tokens)

    def leave_http(self, receiver: stream.Receiver) -> bytes:
        """See reply.Connection."""
        self._receiver = receiver
        self.sweep.drop(self)
        return self._reader.take_rest()

    # Source, for the request's body.

    def silent(self) -> errors.ExchangeError:
        """See stream.Source."""
        return errors.RequestTimeout("the request body stopped arriving")

    def cut(self) -> errors.ExchangeError:
        """See stream.Source."""
        return errors.BadRequest("the request body ended too early")

    # Closing.

    def _close(self, is_read: bool) -> None:
        """Close once everything has been sent; linger if the client may still be sending."""
        self.sweep.drop(self)
        if is_read or self._input_ended:
            self._lose()
            return
        self._lingered = 0
        self._body = None
        if net_transport.half_close(self.transport):
            self.transport.resumeProducing()
            self.sweep.set(self, LINGER)

    def _throw_away(self, data: bytes) -> None:
        self._lingered += len(data)
        if self._lingered > MAX_LINGER:
            self._abort()

    def _lose(self) -> None:
        self.sweep.drop(self)
        self.transport.loseConnection()
        if net_transport.unsent(self.transport):
            self._drain = stream.Drain(
                self.sweep,
                self.stall_timeout,
                lambda: net_transport.unsent(self.transport),
                self._abort,
            )

    def _abort(self) -> None:
        self.transport.abortConnection()

    # Watched.

    def expire(self) -> None:
        """See Watched: no head in time, idle for long enough, or lingered long enough."""
        if self._lingered >= 0:
            self._abort()
        elif self._is_in_head:
            self._refuse(errors.RequestTimeout("the request did not arrive in time"), b"")
        else:
            self._lose()


def _as_error(failure: Failure) -> errors.ExchangeError:
    error = failure.value
    if isinstance(error, errors.ExchangeError):
        return error
    if isinstance(error, CancelledError):
        return errors.ClientGone("the client closed the connection")
    _log.failure("a mistake of ours ended an exchange", failure)
    return errors.InternalError("an error in the proxy itself; its event log has the details")


class Listener(protocol.Factory):
    """Makes the connections of one listening section: all of them through the same doors."""

    noisy = False

    def __init__(self, around: Surroundings, doors: Mapping[Form, Door], clients: Clients) -> None:
        self._around = around
        self._doors = doors
        self._clients = clients

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        """See IProtocolFactory."""
        client = Client(getattr(addr, "host", "") or "", getattr(addr, "port", 0) or 0)
        refusal = self._clients.enter(client)
        return ClientConnection(self._around, self._doors, client, self._clients.leave, refusal)
