"""The heads of messages, as values: what arrived is never changed into what leaves."""

from __future__ import annotations

from typing import NamedTuple

from proxyapp.wire.headers import Fields, RawFields


class RequestHead(NamedTuple):
    """A request head as it arrived (RFC 9112 section 3).

    *method* and *target* are the raw bytes of the request line; *minor* is the x of HTTP/1.x.
    """

    method: bytes
    target: bytes
    minor: int
    fields: Fields


class ResponseHead(NamedTuple):
    """A response head as it arrived (RFC 9112 section 4)."""

    status: int
    reason: bytes
    minor: int
    fields: Fields


class OutgoingRequest(NamedTuple):
    """A request head about to leave, framing fields included."""

    method: bytes
    target: bytes
    fields: RawFields


class OutgoingResponse(NamedTuple):
    """A response head about to leave; the writer adds the fields that frame its body."""

    status: int
    reason: bytes
    fields: RawFields
