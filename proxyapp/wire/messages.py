"""The heads of messages, as values: what arrived is never changed into what leaves."""

from __future__ import annotations

from collections.abc import Sequence
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
    """A request head about to leave; *section* is its field lines, made by writer.section."""

    method: bytes
    target: bytes
    section: bytes


class OutgoingResponse(NamedTuple):
    """A response head about to leave: *lines* as they came from elsewhere, then *fields*."""

    status: int
    reason: bytes
    fields: RawFields
    lines: Sequence[bytes] = ()
