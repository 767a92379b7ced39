"""Fetches what the admin wants to have in the cache, as if a client had asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime

from proxyapp import errors, stream
from proxyapp.exchange import Client, Request, Responder, TakenOver
from proxyapp.net.sendfile import File
from proxyapp.net.transport import Transport
from proxyapp.rules.caching.report import Outcome
from proxyapp.rules.caching.selection import parse_url
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire.framing import NO_BODY, Framing
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead

# So many at once keep a line busy, and leave the origins and the clients' requests in peace.
AT_ONCE = 4
# Bytes of each in one turn of the loop.
A_TURN = 256 * 1024
# Whoever sits on this machine, at the control socket; rules take it for loopback.
_ADMIN = Client("", 0)
_FOUND = frozenset(("hit", "stale", "revalidated"))


class RecordLog(Protocol):
    """Where records go."""

    def write(self, record: Record) -> None:
        """Take the finished *record* of one exchange."""


class Prefetch:
    """Has *chain* answer requests of our own, no more than AT_ONCE at a time.

    *judge* says whether the admin may have it; each leaves its record in *log*. *seconds* is the
    time of day.
    """

    def __init__(
        self,
        chain: Responder,
        judge: Callable[[Question], Decision],
        log: RecordLog,
        seconds: Callable[[], float],
        clock: IReactorTime,
    ) -> None:
        self._chain = chain
        self._judge = judge
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._places = DeferredSemaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Prefetch of {AT_ONCE - self._places.tokens}, {len(self._places.waiting)} wait>"

    async def fetch(self, url: bytes) -> Outcome:
        """Fetch *url*, in its turn; raises BadRequest where it isn't one that can be asked for.

        Of what the cache didn't have, the outcome says that it isn't stored: the store knows.
        """
        request = _request(url)
        await self._places.acquire()
        try:
            return await self._fetch(request)
        finally:
            self._places.release()

    async def _fetch(self, request: Request) -> Outcome:
        record = Record(started=self._seconds(), service="proxy", asked=request.head)
        reply = DiscardingReply(record, self._clock)
        error: errors.ExchangeError | None = None
        try:
            self._admit(request, record)
            await self._chain.respond(request, reply)
        except errors.ExchangeError as found:
            error = found
        except CancelledError:
            error = errors.ClientGone("the admin gave it up")
            raise
        except BaseException:
            error = errors.InternalError("an error in the proxy itself")
            raise
        finally:
            reply.transport.unregisterProducer()
            self._write(record, error)
        return _outcome(request, reply, error)

    def _admit(self, request: Request, record: Record) -> None:
        origin = request.target.origin
        assert origin is not None
        asked = Question("proxy", "", None, request.head.method, origin.host, origin.port)
        decision = self._judge(asked)
        record.reported = decision.reported
        if not decision.allowed:
            raise errors.AccessDenied(decision.reason, rule=decision.rule)

    def _write(self, record: Record, error: errors.ExchangeError | None) -> None:
        if error is not None:
            record.error, record.reason = error.token, error.reason
            record.status = record.status or error.status
            if isinstance(error, errors.Refused):
                record.rule = error.rule
        record.duration = max(0.0, self._seconds() - record.started)
        self._log.write(record)


def _request(url: bytes) -> Request:
    target = parse_url(url)
    origin = target.origin
    assert origin is not None
    fields = [(b"Host", origin.authority), (b"Accept", b"*/*"), (b"User-Agent", b"proxyapp")]
    head = RequestHead(b"GET", url, 1, Fields(fields))
    return Request(head, target, _ADMIN, NO_BODY, stream.EMPTY)


def _outcome(
    request: Request, reply: DiscardingReply, error: errors.ExchangeError | None
) -> Outcome:
    record = reply.record
    return Outcome(
        url=request.head.target.decode("ascii"),
        status=record.status,
        size=record.sent,
        seconds=round(record.duration, 3),
        cache=record.cache,
        is_found=error is None and record.cache in _FOUND,
        is_stored=error is None and record.cache in _FOUND,
        reason="" if error is None else error.reason,
    )


class Nowhere:
    """A transport to nobody, which takes everything and forgets it; see net.Transport.

    In one turn of the loop it takes A_TURN bytes: what comes from a disk would never end else.
    """

    connected = 1

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._producer: IPushProducer | None = None
        self._call: IDelayedCall | None = None
        self._is_streaming = True
        self._taken = 0

    def __repr__(self) -> str:
        return f"<Nowhere {'from ' + repr(self._producer) if self._producer else 'idle'}>"

    def write(self, data: bytes) -> None:
        """See Transport."""
        self.take(len(data))

    def take(self, count: int) -> None:
        """Note that *count* bytes came."""
        self._taken += count
        producer = self._producer
        if self._taken >= A_TURN and producer is not None and self._call is None:
            self._call = self._clock.callLater(0, self._go_on)
            if self._is_streaming:
                producer.pauseProducing()

    def _go_on(self) -> None:
        self._call = None
        self._taken = 0
        producer = self._producer
        if producer is None:
            return
        producer.resumeProducing()
        if not self._is_streaming and self._producer is producer and self._call is None:
            self._call = self._clock.callLater(0, self._go_on)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See Transport; who waits to be asked for more is asked once in each turn of the loop."""
        self._producer = cast(IPushProducer, producer)
        self._is_streaming = streaming
        self._taken = 0
        if not streaming:
            self._call = self._clock.callLater(0, self._go_on)

    def unregisterProducer(self) -> None:
        """See Transport."""
        self._producer = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def loseConnection(self) -> None:
        """See Transport; there is none to lose."""

    def abortConnection(self) -> None:
        """See Transport."""

    def pauseProducing(self) -> None:
        """See Transport; nothing is read from it."""

    def resumeProducing(self) -> None:
        """See Transport."""

    def getHost(self) -> UNIXAddress:
        """See Transport."""
        return UNIXAddress(None)

    def getPeer(self) -> UNIXAddress:
        """See Transport."""
        return UNIXAddress(None)


class DiscardingReply:
    """See exchange.Reply, and stream.Sink: counts what the answer has, and keeps none of it."""

    is_raw = False
    stall_timeout = 60.0
    local_host = ""
    local_port = 0

    def __init__(self, record: Record, clock: IReactorTime) -> None:
        self.record = record
        self.head: OutgoingResponse | None = None
        self._nowhere = Nowhere(clock)
        self.transport: Transport = self._nowhere

    def __repr__(self) -> str:
        return f"<DiscardingReply {self.record.status}, {self.record.sent} bytes>"

    @property
    def has_begun(self) -> bool:
        """See Reply."""
        return self.head is not None

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply."""

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.pass_on(head, body)

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self._begin(head)
        self.record.sent += len(body)

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """See Reply; what is in the file is there already, so it isn't even read."""
        self._begin(head)
        for piece in pieces:
            self.record.sent += len(piece) if isinstance(piece, bytes) else piece.size

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        self._begin(head)
        return self

    def _begin(self, head: OutgoingResponse) -> None:
        self.head = head
        self.record.status = head.status

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply; nothing that we ask for leads there."""
        raise errors.BadResponse("the origin switched to a protocol that nobody offered")

    # Sink.

    def write(self, data: bytes) -> None:
        """See Sink."""
        self.record.sent += len(data)
        self._nowhere.take(len(data))

    def flush(self) -> None:
        """See Sink."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink."""
        self.record.sent += count

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.InternalError("what takes everything took nothing")
