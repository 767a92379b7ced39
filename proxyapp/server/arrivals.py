"""The bytes of one client connection, cut into requests; also the source of their bodies."""

from __future__ import annotations

from collections.abc import Mapping

from proxyapp import errors
from proxyapp.exchange import Client, Request
from proxyapp.net.timers import Sweep
from proxyapp.net.transport import Transport
from proxyapp.server.doors import Door, ServerLimits
from proxyapp.stream import EMPTY, Body
from proxyapp.wire import bodies, framing, target
from proxyapp.wire.framing import NO_BODY, Framing
from proxyapp.wire.heads import HeadReader
from proxyapp.wire.parser import RequestParser
from proxyapp.wire.target import Form


class Arrivals:
    """Requests of *client*, one at a time, and the door that each is for."""

    __slots__ = (
        "_client",
        "_doors",
        "_limits",
        "_parser",
        "body",
        "head",
        "reader",
        "silence_timeout",
        "sweep",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        sweep: Sweep,
        limits: ServerLimits,
        doors: Mapping[Form, Door],
        client: Client,
    ) -> None:
        self.transport = transport
        self.sweep = sweep
        self.silence_timeout = limits.read_timeout
        self.reader = HeadReader(limits.head)
        self._parser = RequestParser(limits.head)
        self.body: Body | None = None
        self.head = b""
        self._limits = limits
        self._doors = doors
        self._client = client

    def next_request(self) -> tuple[Request, Door] | None:
        """Return the next request whose head has arrived, or None.

        Raises ClientFault; *head* then holds the bytes of the head, as far as they were found.
        """
        self.head = b""
        head = self.reader.next_head()
        if head is None:
            return None
        self.head = head
        parsed = self._parser.parse(head)
        asked = target.parse_target(parsed.method, parsed.target)
        if parsed.fields.combined.get(b"host") != asked.authority:
            target.check_host(asked, parsed.fields)
        how = framing.request_framing(parsed)
        body = EMPTY if how is NO_BODY else self._make_body(how)
        door = self._doors[asked.form]
        if door.aside is not None:
            door = door.aside(parsed, asked) or door
        self.head = b""
        return Request(parsed, asked, self._client, how, body), door

    def _make_body(self, how: Framing) -> Body:
        limit = self._limits.body
        if limit and how.length > limit:
            raise errors.BodyTooLarge("the request body is longer than [limits] body allows")
        body = Body(bodies.decoder_for(how), self, limit)
        if not body.is_complete:
            self.body = body
            if not self.reader.is_empty:
                self.reader.feed(self.read_body(self.reader.take_rest()))
        return body

    def read_body(self, data: bytes) -> bytes:
        """Give *data* to the body that is arriving; return what lies behind it.

        Raises ClientFault where the body is broken; then the connection can't be read any more.
        """
        body = self.body
        assert body is not None
        try:
            rest = body.push(data)
        except errors.ClientFault:
            self.body = None
            raise
        if body.is_complete:
            self.body = None
        return rest

    def leads_on(self, request: Request) -> bool:
        """Will what comes behind *request* be another one, because its body is or will be read?

        What came along with a CONNECT was meant for the tunnel: it may look like a request.
        """
        body = self.body
        if body is not None and (not body.is_taken or body.error is not None):
            return False
        return request.head.method != b"CONNECT" or self.reader.is_empty

    # Source.

    def silent(self) -> errors.ExchangeError:
        """See stream.Source."""
        return errors.RequestTimeout("the request body stopped arriving")

    def cut(self) -> errors.ExchangeError:
        """See stream.Source."""
        return errors.BadRequest("the request body ended too early")
