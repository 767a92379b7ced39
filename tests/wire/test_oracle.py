"""The same bytes through our parser and through h11: they agree, or the difference has a name.

Each table below is complete for the messages it is tried on: a disagreement between the two that
isn't in it fails the tests, and so does one in it that has gone away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import h11
import pytest

from proxyapp import errors
from proxyapp.wire import bodies, framing, parser, target
from proxyapp.wire.framing import Framing
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import RequestHead, ResponseHead
from proxyapp.wire.parser import HeadLimits, HeadReader

LIMITS = HeadLimits(size=8 * 1024, fields=32)


class Message(NamedTuple):
    """What a parser made of some bytes: the start line, the fields, the body, the rest."""

    start: tuple[bytes, bytes] | tuple[int, bytes]
    fields: RawFields
    body: bytes
    trailers: RawFields
    rest: bytes


class Refusal(NamedTuple):
    """Why a parser made nothing of them; a message that isn't complete has no status."""

    status: int
    reason: str


UNFINISHED = Refusal(0, "unfinished")
Verdict = Message | Refusal


class Disagreement(NamedTuple):
    """One kind of bytes that the two parsers see differently; *ours* and *h11s* are reasons."""

    name: str
    data: bytes
    ours: str
    h11s: str
    why: str


ACCEPTED = "accepted"


# Ours.


def our_request(data: bytes, step: int = 1 << 20) -> Verdict:
    """Read *data*, *step* bytes at a time, as server.py does."""

    def read(head: bytes) -> tuple[RequestHead, Framing]:
        request = parser.parse_request(head, LIMITS)
        asked = target.parse_target(request.method, request.target)
        target.check_host(asked, request.fields)
        return request, framing.request_framing(request)

    return ours(data, step, read)


def our_response(data: bytes, step: int = 1 << 20, method: bytes = b"GET") -> Verdict:
    """Read *data* as the answer to *method*, and then the end of the connection."""

    def read(head: bytes) -> tuple[ResponseHead, Framing]:
        response = parser.parse_response(head, LIMITS)
        return response, framing.response_framing(response, method)

    return ours(data, step, read)


def ours(
    data: bytes, step: int, read: Callable[[bytes], tuple[RequestHead | ResponseHead, Framing]]
) -> Verdict:
    """Cut the head out of *data*, *read* it, and decode its body."""
    reader = HeadReader(LIMITS)
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    head = None
    try:
        while pieces and head is None:
            reader.feed(pieces.pop(0))
            head = reader.next_head()
        if head is None:
            return UNFINISHED
        message, body = read(head)
        decoder = bodies.decoder_for(body)
        decoded = [decoder.decode(piece) for piece in [reader.take_rest(), *pieces]]
    except errors.ExchangeError as error:
        return Refusal(error.status, error.reason)
    if not decoder.complete and not (isinstance(message, ResponseHead) and decoder.end()):
        return UNFINISHED
    start = message[:2]
    whole, rest = (b"".join(parts) for parts in zip(*decoded, strict=True))
    return Message(start, message.fields.raw, whole, decoder.trailers.raw, rest)


# h11's.


def h11_request(data: bytes) -> Verdict:
    """Give *data* to h11 in the server's role."""
    return h11s(h11.Connection(h11.SERVER, LIMITS.size), data)


def h11_response(data: bytes, method: bytes = b"GET") -> Verdict:
    """Give *data*, and then the end of the connection, to h11 as the answer to *method*."""
    connection = h11.Connection(h11.CLIENT, LIMITS.size)
    connection.send(h11.Request(method=method, target=b"a:1", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    return h11s(connection, data)


def h11s(connection: h11.Connection, data: bytes) -> Verdict:
    """Read one message from *data*; a 1xx response is one as well."""
    connection.receive_data(data)
    head: h11.Request | h11.Response | h11.InformationalResponse | None = None
    body, trailers, ended = b"", h11.EndOfMessage().headers, False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                trailers = event.headers
                break
            elif isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
                head = event
                if isinstance(head, h11.InformationalResponse):
                    break
            elif ended or head is None or isinstance(head, h11.Request):
                return UNFINISHED
            else:
                connection.receive_data(b"")
                ended = True
    except h11.RemoteProtocolError as error:
        return UNFINISHED if ended else Refusal(error.error_status_hint, str(error).split(":")[0])
    assert head is not None
    if isinstance(head, h11.Request):
        start: tuple[bytes, bytes] | tuple[int, bytes] = head.method, head.target
    else:
        start = head.status_code, head.reason
    rest = connection.trailing_data[0]
    return Message(start, raw_of(head.headers), body, raw_of(trailers), rest)


def raw_of(fields: h11._headers.Headers) -> RawFields:
    """Return the fields of an h11 event in the spelling they came in."""
    return [(bytes(name), bytes(value)) for name, value in fields.raw_items()]
