"""How a site takes a request's body: what is announced, what is asked for, and small ones whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.net.transport import Transport
from proxyapp.wire.framing import Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.writer import reason_for

_CONTINUE = OutgoingResponse(100, reason_for(100), [])


def announced(request: Request) -> int | None:
    """Return how many bytes the body has; None if only its end will tell."""
    kind = request.framing.kind
    return None if kind is Kind.CHUNKED else request.framing.length


def check_announced(request: Request, limit: int, name: str) -> None:
    """Raise BodyTooLarge if more than *limit* bytes are announced; *name* is the limit's option."""
    if limit and (announced(request) or 0) > limit:
        raise errors.BodyTooLarge(f"{name} allows {limit} bytes, and this is longer")


def go_on(request: Request, reply: Reply) -> None:
    """Send 100 Continue to a client that waits for it (RFC 9110 section 10.1.1)."""
    body = request.body
    # A client whose body has begun to arrive doesn't wait any more.
    if b"100-continue" in request.head.fields.tokens(b"expect") and not (
        body.is_complete or body.size
    ):
        reply.interim(_CONTINUE)


class _Memory:
    """See stream.Sink: keeps what comes, which is never much."""

    is_raw = False
    stall_timeout = 60.0  # it never stalls

    def __init__(self, limit: int, on_failure: Callable[[errors.ExchangeError], None]) -> None:
        self._limit = limit
        self._on_failure = on_failure
        self.content = bytearray()
        # There is no connection; of a sink that isn't raw, only the consumer's half is asked for.
        self.transport = cast(Transport, self)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See IConsumer; memory is never full before the limit."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def write(self, data: bytes) -> None:
        """See Sink."""
        if len(self.content) + len(data) > self._limit:
            self._on_failure(errors.BodyTooLarge(f"more than {self._limit} bytes were sent"))
        else:
            self.content += data

    def flush(self) -> None:
        """See Sink."""

    def finish(self, trailers: Fields) -> None:
        """See Sink."""

    def passed(self, count: int) -> None:
        """See Sink; nothing can be spliced to here."""

    def stalled(self) -> errors.ExchangeError:
        """See Sink."""
        return errors.InternalError("memory took nothing for too long")


async def read_whole(request: Request, reply: Reply, limit: int, name: str) -> bytes:
    """Return the whole body; raises BodyTooLarge beyond *limit* bytes, and what cut it short."""
    check_announced(request, limit, name)
    go_on(request, reply)
    memory = _Memory(limit, request.body.fail)
    await request.body.deliver(memory)
    # What came in one piece was handed over without asking whether the body had failed.
    if request.body.error is not None:
        raise request.body.error
    return bytes(memory.content)
