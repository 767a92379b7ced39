"""One request's turn: its responder runs, what goes wrong is told, and the record is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import ANSWERED, Client, Request
from proxyapp.net.task import Task, Wakeup
from proxyapp.rules.record import Record
from proxyapp.server.admission import Verdict
from proxyapp.server.doors import Door, Permit, Surroundings
from proxyapp.server.reply import ClientReply, Connection
from proxyapp.wire import headers, writer
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead

_log = Logger()
# In a head that can't be read as a whole.
_ACCEPT = re.compile(rb"\r\nAccept:[ \t]*([^\r\n]*)\r\n", re.IGNORECASE)


class Turn:
    """The exchange of *request*; *on_end* is called once, when nothing more will be sent."""

    __slots__ = ("_around", "_door", "_early", "_on_end", "_permit", "_running", "reply", "request")

    def __init__(
        self,
        connection: Connection,
        around: Surroundings,
        door: Door,
        request: Request,
        on_end: Callable[[], None],
    ) -> None:
        self.request = request
        self._around = around
        self._door = door
        self._on_end = on_end
        self._running: Task | None = None
        self._permit: Permit | None = None
        self._early: Exception | None = None
        client = request.client
        # By place: names would take twice the time.
        record = Record(around.seconds(), client.host, client.port, door.service, request.head)
        self.reply = ClientReply(connection, request, record, around.seconds)

    def __repr__(self) -> str:
        return f"<Turn of {self.request.head.method!r} {self.reply!r}>"

    def begin(self) -> None:
        """Ask whether the request may go on, then let the responder answer."""
        try:
            canonical = self._door.canonical
            if canonical is not None:
                request = canonical(self.request)
                if request is not self.request:
                    self._take(request)
            verdict = self._around.admission.at_once(self.request, self.reply.record)
            work = self._answer_later() if verdict is None else self._answer(verdict)
        except Exception as error:
            self._end(error)
            return
        if work is ANSWERED:
            self._end(None)
            return
        self._running = Task(work, self._end)
        self._running.resume()

    def _take(self, request: Request) -> None:
        """Answer *request*, which says what the one that came means."""
        self.request = request
        self.reply.record.url = request.target.url

    async def _answer_later(self) -> None:
        """Answer once it is known who asks."""
        verdict = await self._around.admission.later(self.request, self.reply.record)
        await self._answer(verdict)

    def _answer(self, verdict: Verdict) -> Coroutine[Deferred[object] | Wakeup, None, None]:
        """Return what the responder does for a request that was admitted; raises Refused."""
        limiter = self._around.limiter
        if verdict.decision.limits is not None and limiter is not None:
            self._permit = permit = limiter.admit(verdict.question, verdict.decision)
            if permit is not None:
                permit.begin(self.reply.transport, self.request.body.size, self.end_early)
        return self._door.responder.respond(self.request, self.reply)

    def cancel(self) -> None:
        """The client is gone: give up what runs for it."""
        if self._running is not None:
            self._running.cancel()

    @property
    def record(self) -> Record:
        """What is known of the exchange so far."""
        return self.reply.record

    def end_early(self, error: errors.ExchangeError) -> None:
        """End what runs, with *error* as the reason."""
        self._early = error
        self.cancel()

    def _end(self, outcome: Exception | None) -> None:
        self._running = None
        record = self.reply.record
        if self._permit is not None:
            # It counts what was read of the body; what a tunnel has moved is known by now.
            record.received = record.received or self.request.body.size
            is_cut = outcome is not None and self._early is not None and self.reply.has_begun
            self._permit.finish(record, is_cut)
        if outcome is not None:
            self._fail(_as_error(self._early or outcome))
        record.received = record.received or self.request.body.size
        _write(record, self._around)
        self._on_end()

    def _fail(self, error: errors.ExchangeError) -> None:
        reply = self.reply
        reply.record.error, reply.record.reason = error.token, error.reason
        if isinstance(error, errors.Refused):
            reply.record.rule = error.rule
        if isinstance(error, errors.ClientGone):
            reply.record.status = reply.record.status or error.status
            _cut(reply)
        elif reply.has_begun:
            # A cut connection is the only way left to say that this isn't whole.
            _cut(reply)
        else:
            if self._door.error_fields is not None:
                error.fields = (*error.fields, *self._door.error_fields(self.request.head))
            _answer_error(reply, error, self.request.head, self._around)


def refuse(
    connection: Connection,
    around: Surroundings,
    client: Client,
    error: errors.ExchangeError,
    head: bytes,
) -> None:
    """Answer, with *error*, the *head* of what can't be read as a request; the caller closes."""
    asked = _as_far_as_told(head)
    record = Record(
        started=around.seconds(),
        client_host=client.host,
        client_port=client.port,
        asked=asked,
        error=error.token,
        reason=error.reason,
    )
    _answer_error(ClientReply(connection, None, record, around.seconds), error, asked, around)
    _write(record, around)


def _as_far_as_told(head: bytes) -> RequestHead:
    """Return what there is of a request line, and what kind of page the client wants."""
    line = head[: max(0, head.find(b"\r\n"))].split(b" ")
    method, target = (line[0], line[1]) if len(line) > 2 else (b"", b"")
    accept = _ACCEPT.search(head)
    fields = Fields([(b"Accept", accept[1])]) if accept else NO_FIELDS
    return RequestHead(method if headers.is_token(method) else b"", target, 1, fields)


def _answer_error(
    reply: ClientReply, error: errors.ExchangeError, head: RequestHead, around: Surroundings
) -> None:
    around.log.identify(reply.record)
    fields, body = around.page(error, head, reply.record)
    reason = writer.reason_for(error.status)
    reply.answer(OutgoingResponse(error.status, reason, [*fields, *error.fields]), body)


def _cut(reply: ClientReply) -> None:
    # Twisted's TLS can't be aborted when it is gone.
    if reply.transport.connected:
        reply.transport.abortConnection()


def _write(record: Record, around: Surroundings) -> None:
    # The time of day may be set back meanwhile.
    record.duration = max(0.0, around.seconds() - record.started)
    around.log.write(record)


def _as_error(error: Exception) -> errors.ExchangeError:
    if isinstance(error, errors.ExchangeError):
        return error
    if isinstance(error, CancelledError):
        return errors.ClientGone("the client closed the connection")
    _log.failure("a mistake of ours ended an exchange", Failure(error))
    return errors.InternalError("an error in the proxy itself; its event log has the details")
