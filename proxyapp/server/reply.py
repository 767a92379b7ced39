"""The answer to one request, on the wire: framing, gathering, counting, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from proxyapp import errors, stream
from proxyapp.exchange import Request, TakenOver
from proxyapp.net.sendfile import File
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import Transport
from proxyapp.rules import hops
from proxyapp.rules.conditions import http_date
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire import writer
from proxyapp.wire.framing import NO_BODY, Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse

_LENGTH = Kind.LENGTH
_OF_KNOWN_LENGTH = Framing(Kind.LENGTH)


class Connection(Protocol):
    """What a reply needs of the client's connection."""

    transport: Transport
    sweep: Sweep
    stall_timeout: float

    def may_persist(self, request: Request | None) -> bool:
        """Can another request follow this one?"""

    def leave_http(self, receiver: stream.Receiver) -> TakenOver:
        """Give what arrives from now on to *receiver*."""


class ClientReply:
    """See exchange.Reply; it is also the sink for the response's body."""

    __slots__ = (
        "_connection",
        "_has_body",
        "_held",
        "_is_chunked",
        "_seconds",
        "has_begun",
        "is_raw",
        "persists",
        "record",
        "request",
        "stall_timeout",
        "transport",
    )

    def __init__(
        self,
        connection: Connection,
        request: Request | None,
        record: Record,
        seconds: Callable[[], float],
    ) -> None:
        self.record = record
        self.request = request
        self.transport = connection.transport
        self.stall_timeout = connection.stall_timeout
        self.persists = False
        self.has_begun = False
        self.is_raw = True
        self._connection = connection
        self._seconds = seconds
        self._is_chunked = False
        self._has_body = True
        self._held: list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<ClientReply {self.record.status}, {self.record.sent} bytes sent>"

    @property
    def local_host(self) -> str:
        """See Reply."""
        return str(getattr(self.transport.getHost(), "host", ""))

    @property
    def local_port(self) -> int:
        """See Reply."""
        return int(getattr(self.transport.getHost(), "port", 0))

    # What a responder says.

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply."""
        if self.request is not None and self.request.head.minor > 0 and not self.has_begun:
            self.transport.write(writer.response_head(head))

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.pass_on(_own(head, len(body), self.record, self._seconds()), body)

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        data = self._begin(head, _OF_KNOWN_LENGTH, is_last=False)
        if self._has_body:
            self.record.sent += len(body)
            data += body
        self.transport.write(data)

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """See Reply."""
        size = sum(_size(piece) for piece in pieces)
        if is_ours:
            head = _own(head, size, self.record, self._seconds())
        self.begin(head, Framing(Kind.LENGTH, size))
        for piece in pieces if self._has_body else ():
            if isinstance(piece, bytes):
                self.write(piece)
            else:
                self.flush()
                await stream.send_range(self, self._connection.sweep, file, piece)
        self.flush()

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        self._held = [self._begin(head, body, is_last)]
        return self

    def _begin(self, head: OutgoingResponse, body: Framing, is_last: bool) -> bytes:
        """Settle how the body is framed and what becomes of the connection; return the head."""
        request = self.request
        self.has_begun = True
        self.record.status = head.status
        self.persists = not is_last and self._connection.may_persist(request)
        if body.kind is not _LENGTH:
            head = self._begin_without_length(head, body)
        elif head.status == 304 or (request is not None and request.head.method == b"HEAD"):
            self._has_body = self.is_raw = False
        if not self.persists:
            head = _with_field(head, (b"Connection", b"close"))
        elif request is not None and request.head.minor == 0:
            head = _with_field(head, (b"Connection", b"keep-alive"))
        return writer.response_head(head)

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply."""
        self.has_begun = True
        self.persists = False
        taken = self._connection.leave_http(receiver)
        if head is not None:
            self.record.status = head.status
            self.transport.write(writer.response_head(head))
        return taken

    # Sink.

    def write(self, data: bytes) -> None:
        """See Sink."""
        if not self._has_body:
            return
        self.record.sent += len(data)
        framed = writer.chunk(data) if self._is_chunked else data
        if self._held is not None:
            self._held.append(framed)
        else:
            self.transport.write(framed)

    def flush(self) -> None:
        """See Sink."""
        held, self._held = self._held, None
        if held is not None:
            self.transport.write(held[0] if len(held) == 1 else b"".join(held))

    def finish(self, trailers: Fields) -> None:
        """See Sink."""
        if self._is_chunked:
            end = writer.last_chunk(hops.trailer_fields(trailers))
            if self._held is not None:
                self._held.append(end)
            else:
                self.transport.write(end)
        self.flush()

    def passed(self, count: int) -> None:
        """See Sink."""
        self.record.sent += count

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.WriteTimeout("the client stopped reading the response")

    # Heads.

    def _begin_without_length(self, head: OutgoingResponse, body: Framing) -> OutgoingResponse:
        """Settle how a body of unknown length ends, or that there is none."""
        request = self.request
        if (
            body is NO_BODY
            or head.status in (204, 304)
            or request is None
            or request.head.method == b"HEAD"
        ):
            self._has_body = self.is_raw = False
        elif request.head.minor > 0:
            self._is_chunked, self.is_raw = True, False
            return _with_field(head, (b"Transfer-Encoding", b"chunked"))
        else:
            # RFC 9112 section 6.1: an HTTP/1.0 client can't read chunks; for it the body ends
            # with the connection.
            self.persists = False
        return head


def _size(piece: bytes | ByteRange) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size


def _with_field(head: OutgoingResponse, field: tuple[bytes, bytes]) -> OutgoingResponse:
    return OutgoingResponse(head.status, head.reason, [*head.fields, field], head.lines)


def _own(head: OutgoingResponse, size: int, record: Record, now: float) -> OutgoingResponse:
    """Add to *head* what every answer of ours says; its body has *size* bytes."""
    fields = list(head.fields)
    record.content_type = dict(fields).get(b"Content-Type", b"")
    if head.status not in (204, 304):
        fields.append((b"Content-Length", b"%d" % size))
    fields.append((b"Date", http_date(int(now))))
    return OutgoingResponse(head.status, head.reason, fields, head.lines)
