"""One request and its answer: what a responder is given, and what it says it with."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from proxyapp import stream
from proxyapp.net.sendfile import File
from proxyapp.net.transport import Transport
from proxyapp.rules.challenges import Claim
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire.framing import Framing
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import Form, Target


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the address of the connection's other end, and its port."""

    host: str
    port: int


@dataclass(slots=True, unsafe_hash=True)
class Request:
    """A request whose head has arrived; its *body* may still be on its way.

    *ttl* is for how many seconds its answer is stored, where we say so and not the origin.
    """

    head: RequestHead
    target: Target
    client: Client
    framing: Framing
    body: stream.Body
    ttl: float | None = None


def claim_of(request: Request, field: bytes) -> Claim:
    """Return what *request* says in *field* of who it is from; *field* is in lower case."""
    head, target = request.head, request.target
    # RFC 7616 section 3.4.6: most clients take the path for what a response to a proxy covers.
    targets: tuple[bytes, ...] = (head.target, target.path or head.target)
    asked = b"://" + target.authority + target.path
    if target.form is Form.ABSOLUTE and not head.target.endswith(asked):
        # It may have been made canonical, and the client knows only of the path that it sent.
        _, slash, path = head.target.partition(b"://")[2].partition(b"/")
        targets += (slash + path or target.path,)
    return Claim(request.client.host, head.fields.combined.get(field), head.method, targets)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A connection that no longer speaks HTTP, and the bytes that were already read from it.

    *has_ended* says that the other end's input ended behind them (half-close).
    """

    transport: Transport
    early: bytes
    has_ended: bool


class ForwardReply(Protocol):
    """What a Reply is to those who forward: they have no files, and don't mind where we are."""

    record: Record

    @property
    def has_begun(self) -> bool:
        """Has the final response head been given?"""

    def interim(self, head: OutgoingResponse) -> None:
        """Send a 1xx response at once, where the client can read one (RFC 9110 section 15.2)."""

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """Send a whole response of our own in one go."""

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """Send a whole response that came from elsewhere, with its Content-Length, in one go."""

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """Begin a streamed response; return where its body goes.

        *is_last* tells the client that its connection closes after this one.

        *body* says what is known: LENGTH (and *head* has Content-Length), NONE (there is none at
        all, as for 304), or CHUNKED and CLOSE, which both mean that the length is unknown.
        """

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """Send *head* and stop speaking HTTP: what arrives from now on goes to *receiver*."""


class Reply(ForwardReply, Protocol):
    """Carries one answer back to the client, and the record of it to the log.

    A reply knows what the client can read: it adds Transfer-Encoding and Connection to the head it
    is given, and sends no body for HEAD. To our own answers it adds Content-Length and Date too. An
    ExchangeError raised by the responder before the head has left becomes an error page.
    """

    @property
    def local_host(self) -> str:
        """Return the address of ours that the client is connected to; empty for a Unix socket."""

    @property
    def local_port(self) -> int:
        """Return the port of ours that the client is connected to; 0 for a Unix socket."""

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """Send *pieces* as the body: bytes as they are, ranges out of *file*.

        An answer that isn't ours came from elsewhere, with its Content-Length.

        The caller closes *file* afterwards. Raises ClientGone, WriteTimeout, and InternalError
        where the file isn't any more what its status says; then the connection is cut before its
        last byte.
        """


class ForwardReplyAround:
    """A ForwardReply that hands everything on to *inner*; see ReplyAround."""

    def __init__(self, inner: ForwardReply) -> None:
        self.inner = inner
        self.record = inner.record

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"

    @property
    def has_begun(self) -> bool:
        """See Reply."""
        return self.inner.has_begun

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply."""
        self.inner.interim(head)

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.inner.answer(head, body)

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.inner.pass_on(head, body)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        return self.inner.begin(head, body, is_last)

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply."""
        return self.inner.take_over(head, receiver)


class ReplyAround(ForwardReplyAround):
    """A Reply that hands everything on to *inner*; whoever changes answers derives from it."""

    inner: Reply

    def __init__(self, inner: Reply) -> None:
        super().__init__(inner)

    @property
    def local_host(self) -> str:
        """See Reply."""
        return self.inner.local_host

    @property
    def local_port(self) -> int:
        """See Reply."""
        return self.inner.local_port

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """See Reply."""
        await self.inner.answer_pieces(head, file, pieces, is_ours)


class Forwarder(Protocol):
    """A Responder that asks others; it needs less to answer with."""

    async def respond(self, request: Request, reply: ForwardReply) -> None:
        """See Responder."""


class Responder(Protocol):
    """Answers requests of one kind."""

    async def respond(self, request: Request, reply: Reply) -> None:
        """Answer *request* through *reply*, or raise an ExchangeError.

        Who has nothing to wait for may do so before it returns ANSWERED.
        """


class _Answered(Coroutine[Any, object, None]):
    """A coroutine that is at its end."""

    def send(self, value: object) -> NoReturn:
        raise StopIteration

    def throw(self, *error: Any) -> NoReturn:
        raise StopIteration

    def close(self) -> None:
        """There's nothing to be closed."""

    def __await__(self) -> Generator[Any, object, None]:
        return
        yield


# To make a coroutine, run it and catch its end costs a microsecond.
ANSWERED = _Answered()


__all__ = [
    "ANSWERED",
    "NO_FIELDS",
    "Client",
    "Fields",
    "ForwardReply",
    "ForwardReplyAround",
    "Forwarder",
    "Reply",
    "ReplyAround",
    "Request",
    "Responder",
    "TakenOver",
    "claim_of",
]
