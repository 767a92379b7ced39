"""Any twisted.web resource as a part of the site: for what is asked now and then, not all day.

A twisted.web Request runs over a channel of ours, which puts what it writes into a Reply. So the
resource may render, answer later (NOT_DONE_YET), register producers, keep sessions and ask to be
told when the client leaves. Framing and connections stay with our server.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource

from proxyapp import errors
from proxyapp.exchange import NO_FIELDS, Reply, Request
from proxyapp.net import transport as net_transport
from proxyapp.net.timers import Drain, Sweep
from proxyapp.site import intake
from proxyapp.stream import Sink
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.headers import UNSAFE_IN_VALUE, RawFields, is_token, split_tokens
from proxyapp.wire.messages import OutgoingResponse

# twisted.web wants the content whole, so it has to fit into memory.
MAX_CONTENT = 1 << 20
# What is said of a connection (RFC 9110 section 7.6.1) is said by our server. Date, which the
# resource's request sets, stays; Server would only tell attackers a version.
_OURS = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade server".split()
)
_MAX_DIGITS = 16


def load_resource(description: str) -> IResource:
    """Make the resource that `module:Class` describes; the class is called without arguments.

    Raises ValueError, with a sentence for the admin.
    """
    module_name, colon, name = description.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"{description!r} isn't of the form module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module runs anything while it is imported
        raise ValueError(f"{module_name} can't be imported: {error!r}") from error
    try:
        made: object = getattr(module, name)()
    except AttributeError as error:
        raise ValueError(f"{module_name} has no working {name}: {error!r}") from error
    except Exception as error:  # and so does a class
        raise ValueError(f"{name} of {module_name} can't be made: {error!r}") from error
    if not IResource.providedBy(made):
        raise ValueError(f"{description} isn't a twisted.web resource")
    return made


class WebResource:
    """Answers with *resource*, mounted at *prefix*: a URL path without the slash at its end."""

    def __init__(self, resource: IResource, prefix: bytes, sweep: Sweep) -> None:
        self._resource = resource
        self._site = MountedSite(resource, prefix)
        self._sweep = sweep

    def __repr__(self) -> str:
        return f"<WebResource {self._resource!r}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        content = await intake.read_whole(request, reply, MAX_CONTENT, "this part of the site")
        channel = Channel(self._site, request, reply, self._sweep)
        asked = server.Request(channel)
        for name, value in request.head.fields:
            asked.requestHeaders.addRawHeader(name, value)
        asked.parseCookies()
        asked.gotLength(len(content))
        asked.handleContentChunk(content)
        try:
            # As an HTTP/1.0 request, so that nobody chunks the body before our server does.
            asked.requestReceived(request.head.method, request.target.path, b"HTTP/1.0")
            await channel.ended
        except (CancelledError, errors.ExchangeError):
            if not channel.is_done:
                asked.connectionLost(Failure(ConnectionLost("the client is gone")))
            raise
        finally:
            channel.stop()


class MountedSite(server.Site):
    """The twisted.web site of *resource* alone, planted at *prefix*."""

    def __init__(self, resource: IResource, prefix: bytes) -> None:
        # From the root on, so that prepath, postpath and URLs come out right.
        self._path = [unquote_to_bytes(segment) for segment in prefix.strip(b"/").split(b"/")]
        self._mounted = resource
        planted = resource
        for segment in reversed(self._path):
            parent = Resource()
            parent.putChild(segment, planted)
            planted = parent
        super().__init__(planted)  # type: ignore[no-untyped-call]  # Twisted has no types here

    def getResourceFor(self, request: server.Request) -> IResource:
        """See Site; two of them on one host have session cookies of different names."""
        found: IResource
        if request.postpath == [*self._path, b""] and _is_page(self._mounted):
            request.prepath, request.postpath = [*self._path], []
            found = self._mounted
        else:
            found = super().getResourceFor(request)  # type: ignore[no-untyped-call]  # nor here
        request.sitepath = self._path  # type: ignore[attr-defined]  # Site sets it as well
        return found


def _is_page(resource: IResource) -> bool:
    """Has it no child for a path that ends behind the mount's slash, and stands for that itself?

    In a tree of twisted.web's that path would have no slash; but a mount's always has one.
    """
    if not isinstance(resource, Resource) or resource.isLeaf:
        return False
    return type(resource).getChild is Resource.getChild and b"" not in resource.children


class Channel:
    """What a twisted.web Request takes for its connection; *ended* fires when all is written.

    It fails with the ExchangeError that ends the exchange early.
    """

    def __init__(self, site: server.Site, request: Request, reply: Reply, sweep: Sweep) -> None:
        self.site = site
        # Resources may look for their peer there, or hang up.
        self.transport = self
        self.ended: Deferred[None] = Deferred()
        self.is_done = False
        self._request = request
        self._reply = reply
        self._sweep = sweep
        self._sink: Sink | None = None
        self._left: int | None = None  # bytes that Content-Length still promises
        self._producer: tuple[IPushProducer | IPullProducer, bool] | None = None
        self._is_attached = False
        self._drain: Drain | None = None

    def __repr__(self) -> str:
        return f"<Channel {'done' if self.is_done else 'open'}, {self._reply!r}>"

    # Where it leads.

    def getPeer(self) -> IPv4Address | IPv6Address:
        """See ITransport."""
        return _address(self._request.client.host, self._request.client.port)

    def getHost(self) -> IPv4Address | IPv6Address:
        """See ITransport."""
        return _address(self._reply.local_host, self._reply.local_port)

    def isSecure(self) -> bool:
        """See IHTTPChannel; the site has no TLS of its own."""
        return False

    # The response.

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Begin the response."""
        status = int(code)
        if self._sink is not None or self.ended.called:
            return
        if not 200 <= status <= 599:
            self._fail(errors.InternalError(f"the resource answered with the status {status}"))
            return
        fields, length = _passed_on(headers, status)
        self._left = length
        framing = CHUNKED if length is None else Framing(Kind.LENGTH, length)
        self._reply.record.content_type = dict(fields).get(b"Content-Type", b"")
        sink = self._sink = self._reply.begin(OutgoingResponse(status, reason, fields), framing)
        if self._request.head.method == b"HEAD" or status in (204, 304):
            self._left = None
        sink.flush()  # with what is written in this turn, or alone if that takes longer
        self._watch(sink)

    def write(self, data: bytes) -> None:
        """Write *data* of the body."""
        sink = self._sink
        if not data or sink is None or self.ended.called:
            return
        if self._left is not None:
            if len(data) > self._left:
                self._fail(errors.InternalError("the resource wrote more than it announced"))
                return
            self._left -= len(data)
        sink.write(data)
        self._attach()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of *data*."""
        self.write(b"".join(data))

    def requestDone(self, request: server.Request) -> None:
        """The resource has finished *request*."""
        self.is_done = True
        if self.ended.called:
            return
        if self._sink is None:
            self._fail(errors.InternalError("the resource finished without an answer"))
        elif self._left:
            self._fail(errors.InternalError("the resource wrote less than it announced"))
        else:
            self._sink.finish(NO_FIELDS)
            self.ended.callback(None)

    def loseConnection(self) -> None:
        """The resource wants no more of this client."""
        self._fail(errors.InternalError("the resource closed the connection"))

    abortConnection = loseConnection

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._fail(errors.BadRequest("the form in the body can't be read"))

    def _fail(self, error: errors.ExchangeError) -> None:
        if not self.ended.called:
            self.ended.errback(error)

    # Back-pressure.

    def registerProducer(self, producer: IPushProducer | IPullProducer, streaming: bool) -> None:
        """See IConsumer."""
        self._producer = producer, streaming
        if self._sink is None and not streaming:
            # As transports do; what it writes begins the response.
            producer.resumeProducing()
        if self._sink is not None:
            self._attach()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None
        if self._is_attached and self._sink is not None:
            self._is_attached = False
            self._sink.transport.unregisterProducer()

    def _attach(self) -> None:
        """Let the connection pace the producer; not before the data at hand has been written."""
        if self._producer is not None and self._sink is not None and not self._is_attached:
            self._is_attached = True
            self._sink.transport.registerProducer(*self._producer)

    def _watch(self, sink: Sink) -> None:
        idle = itertools.count(1)

        def left() -> int:
            # Nothing to send is no stall: the resource may take its time.
            return net_transport.owed(sink.transport) or -next(idle)

        self._drain = Drain(
            self._sweep, sink.stall_timeout, left, lambda: self._fail(sink.stalled())
        )

    def stop(self) -> None:
        """Let go of the connection."""
        if self._drain is not None:
            self._drain.stop()
        self.unregisterProducer()


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


def _passed_on(headers: Headers, status: int) -> tuple[RawFields, int | None]:
    """Return the fields for the client, and the length of the body if they tell it."""
    raw = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
    named = [value for name, value in raw if name.lower() == b"connection"]
    dropped = _OURS | {token for value in named for token in split_tokens(value)}
    lengths = [value for name, value in raw if name.lower() == b"content-length"]
    is_plain = len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < _MAX_DIGITS
    # RFC 9110 section 8.6: no Content-Length in a 204.
    length = int(lengths[0]) if is_plain and status != 204 else None
    if length is None:
        dropped |= {b"content-length"}
    fields = [
        (name, value)
        for name, value in raw
        if name.lower() not in dropped and is_token(name) and not UNSAFE_IN_VALUE.search(value)
    ]
    return fields, length
