"""One request over a fresh connection, and its answer's head; the connection is for who asked."""

from __future__ import annotations

from typing import cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import transport as net_transport
from proxyapp.net.transport import Transport
from proxyapp.wire.heads import HeadLimits, HeadReader
from proxyapp.wire.messages import ResponseHead
from proxyapp.wire.parser import parse_response

# More of them before the answer is no progress.
_MAX_INTERIM = 16


@implementer(IHalfCloseableProtocol)
class Inquiry(protocol.Protocol):
    """Sends *request* as soon as it is connected, and reads up to the end of the answer's head.

    What came behind the head is kept for `take_rest`, and nothing more is read.
    """

    transport: Transport  # type: ignore[assignment]  # ITransport lacks what TCP's has

    def __init__(self, clock: IReactorTime, request: bytes, limits: HeadLimits) -> None:
        # Fires with the head, in a turn of its own: a layer of TLS has delivered all it has by
        # then. Fails with ConnectionEnded or BadResponse; who cancels it has lost interest.
        self.answered: Deferred[ResponseHead] = Deferred(lambda _: self.abort())
        self._clock = clock
        self._request = request
        self._limits = limits
        self._reader = HeadReader(limits)
        self._interim_left = _MAX_INTERIM
        self._telling: IDelayedCall | None = None
        self._is_refused = False

    def __repr__(self) -> str:
        return f"<Inquiry {'answered' if self._telling is not None else 'waiting'}>"

    def hand_over(self) -> ITransport:
        """Return the connection, paused, for somebody else."""
        return cast(ITransport, self.transport)

    def take_rest(self) -> bytes:
        """Return what has come behind the head."""
        return self._reader.take_rest()

    def abort(self) -> None:
        """Close the connection, if there is one."""
        # Twisted's TLS can't be aborted when it is gone.
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()

    # Protocol.

    def connectionMade(self) -> None:
        """Ask."""
        net_transport.set_options(self.transport)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Look for the end of the head."""
        self._reader.feed(data)
        if self._telling is not None:
            return
        try:
            head = self._final_head()
        except errors.ClientFault as fault:
            self._fail(errors.BadResponse(f"the answer is malformed: {fault.reason}"))
            return
        if head is not None:
            self.transport.pauseProducing()
            self._is_refused = head.status >= 300
            self._telling = self._clock.callLater(0, self._tell, head)

    def _final_head(self) -> ResponseHead | None:
        while (found := self._reader.next_head()) is not None:
            head = parse_response(found, self._limits)
            if head.status >= 200:
                return head
            self._interim_left -= 1
            if not self._interim_left:
                raise errors.BadRequest("too many interim responses")
        return None

    def _tell(self, head: ResponseHead) -> None:
        if not self.answered.called:
            self.answered.callback(head)

    def _fail(self, error: errors.ExchangeError) -> None:
        self.abort()
        if not self.answered.called:
            self.answered.errback(error)

    def readConnectionLost(self) -> None:
        """The other end will say no more."""
        self._ended()

    def writeConnectionLost(self) -> None:
        """We never half-close."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection is gone."""
        self._ended()

    def _ended(self) -> None:
        if self._is_refused:
            return  # TLS may bring the farewell with it, and nobody takes the connection over
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        self._fail(errors.ConnectionEnded("the connection ended without an answer"))
