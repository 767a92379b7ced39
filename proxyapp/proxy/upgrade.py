"""Speaks TLS for clients that can't: all ways to ask for it become one request for https.

A request is made canonical before anybody judges it, so that the rules see the host and the port
that will be dialled. Whether this client may have it is settled behind the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence

from proxyapp import errors, stream
from proxyapp.exchange import Reply, ReplyAround, Request, Responder, TakenOver
from proxyapp.net.sendfile import File
from proxyapp.rules.memory import room
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.upgrade import Spellings
from proxyapp.rules.wayback import Keeping, WayBack
from proxyapp.wire.framing import Framing
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import Origin, Target


class _Cleaned:
    """What is remembered with a client's fields, for as long as it asks the same origin with them.

    *key* is what it follows from, *fields* what goes to the origin, *last* the head of an answer as
    it came and as it went on.
    """

    __slots__ = ("fields", "key", "last", "way_back")

    def __init__(self, key: tuple[object, ...], way_back: WayBack, fields: Fields) -> None:
        self.key = key
        self.way_back = way_back
        self.fields = fields
        self.last: tuple[OutgoingResponse, OutgoingResponse] | None = None

    def rewritten(self, head: OutgoingResponse) -> OutgoingResponse:
        """Return *head* as the client can use it."""
        last = self.last
        # What an origin repeats is one head.
        if last is None or last[0] is not head:
            lines = self.way_back.answer_lines(head.lines)
            last = self.last = head, OutgoingResponse(head.status, head.reason, head.fields, lines)
        return last[1]


class TlsUpgrade:
    """Stands before *forward*: what is to be https gets there as such, and leaves no trace.

    *may_upgrade* judges clients by address. *is_own* says whether an origin is this gateway itself,
    which speaks no TLS to itself, whatever field a client adds to all that it asks for.
    """

    def __init__(
        self,
        forward: Responder,
        spellings: Spellings,
        keeping: Keeping,
        may_upgrade: Callable[[str], bool],
        is_own: Callable[[Origin], bool],
    ) -> None:
        self._forward = forward
        self._spellings = spellings
        self._field = spellings.field
        self._keeping = keeping
        self._may_upgrade = may_upgrade
        self._is_own = is_own
        # Origins that only the field could make others of.
        self._left: dict[Origin | None, None] = {}

    def canonical(self, request: Request) -> Request:
        """Return *request* for the https target that it means; itself, where that's the one it has.

        Raises BadRequest.
        """
        target = request.target
        origin = target.origin
        fields = request.head.fields
        if origin in self._left and self._field not in fields.combined:
            return request
        meant = self._spellings.canonical(target, fields)
        if meant is target:
            if origin is not None and self._spellings.leaves(origin):
                room(self._left)[origin] = None
            return request
        if origin is not None and self._is_own(origin):
            return request
        return _with(request, request.head, meant)

    def respond(self, request: Request, reply: Reply) -> Coroutine[object, object, None]:
        """See Responder; raises AccessDenied. The request is canonical.

        Not a coroutine of its own: most requests have nothing to do with it, and pay nothing.
        """
        origin = request.target.origin
        if origin is None or origin.scheme == "http":
            return self._forward.respond(request, reply)
        if not self._may_upgrade(request.client.host):
            raise errors.AccessDenied(
                "this client is not in [proxy] tls_upgrade_clients, so https needs CONNECT",
                rule="[proxy] tls_upgrade_clients",
            )
        head = request.head
        if head.target[:6].lower() == b"https:" and self._field not in head.fields.combined:
            return self._forward.respond(request, reply)  # it is as if it had come over TLS
        cleaned = self._cleaned(head, request.target)
        asked = RequestHead(head.method, head.target, head.minor, cleaned.fields)
        request = _with(request, asked, request.target)
        return self._forward.respond(request, UpgradedReply(reply, cleaned))

    def _cleaned(self, head: RequestHead, target: Target) -> _Cleaned:
        fields = head.fields
        key = (self, target.origin, head.target[: -len(target.path)])
        cleaned = fields.memo
        if isinstance(cleaned, _Cleaned) and cleaned.key == key:
            return cleaned
        way_back = WayBack(self._spellings, self._keeping, head, target)
        fields.memo = cleaned = _Cleaned(key, way_back, way_back.sent_fields(fields))
        return cleaned


def _with(request: Request, head: RequestHead, target: Target) -> Request:
    """Return *request* with this head and target; dataclasses.replace takes four times as long."""
    client, framing, body, ttl = request.client, request.framing, request.body, request.ttl
    return Request(head, target, client, framing, body, ttl)


class UpgradedReply(ReplyAround):
    """A reply to who has asked for https without TLS: what came from the origin, it rewrites."""

    def __init__(self, inner: Reply, cleaned: _Cleaned) -> None:
        super().__init__(inner)
        self._cleaned = cleaned

    def interim(self, head: OutgoingResponse) -> None:
        """See Reply; a 103 has links."""
        lines = self._cleaned.way_back.answer_lines(head.lines)
        self.inner.interim(OutgoingResponse(head.status, head.reason, head.fields, lines))

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.inner.pass_on(self._cleaned.rewritten(head), body)

    async def answer_pieces(
        self,
        head: OutgoingResponse,
        file: File,
        pieces: Sequence[bytes | ByteRange],
        is_ours: bool = True,
    ) -> None:
        """See Reply."""
        rewritten = head if is_ours else self._cleaned.rewritten(head)
        await self.inner.answer_pieces(rewritten, file, pieces, is_ours)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply."""
        return self.inner.begin(self._cleaned.rewritten(head), body, is_last)

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        """See Reply."""
        rewritten = None if head is None else self._cleaned.rewritten(head)
        return self.inner.take_over(rewritten, receiver)
