"""How long is this body? One answer for each message (RFC 9112 section 6.3)."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.wire.headers import Fields, is_token, split_tokens
from proxyapp.wire.messages import RequestHead, ResponseHead

# Past every real body, and far below where anybody's integers overflow.
MAX_CONTENT_LENGTH = (1 << 60) - 1
_MAX_DIGITS = 19
# Whoever names one of these may well have applied it, and clients could make nothing of the bytes.
_KNOWN_CODINGS = frozenset(b"br compress deflate gzip x-compress x-gzip zstd".split())


class Kind(enum.Enum):
    """How the end of a body is told."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Framing:
    """The framing of one body; *length* in bytes, 0 unless *kind* is LENGTH."""

    kind: Kind
    length: int = 0


NO_BODY = Framing(Kind.NONE)
CHUNKED = Framing(Kind.CHUNKED)
UNTIL_CLOSE = Framing(Kind.CLOSE)


def request_framing(head: RequestHead) -> Framing:
    """Return the framing of a request's body; raises BadRequest or UnknownTransferCoding.

    A Content-Length of 0 is kept apart from none, for it has to be forwarded. CONNECT has no
    body: what follows its head belongs to the tunnel (RFC 9110 section 9.3.6), so a CONNECT that
    announces one is refused.
    """
    combined = head.fields.combined
    coding = combined.get(b"transfer-encoding")
    if coding is None:
        if b"content-length" not in combined:
            return NO_BODY
        length = content_length(head.fields)
        framing = NO_BODY if length is None else Framing(Kind.LENGTH, length)
    else:
        _check_coding(coding, head)
        framing = CHUNKED
    if head.method == b"CONNECT" and (framing.length or framing.kind is Kind.CHUNKED):
        raise errors.BadRequest("CONNECT with a body")
    return framing


def response_framing(head: ResponseHead, method: bytes) -> Framing:
    """Return the framing of the body that answers *method*.

    Raises BadRequest or UnknownTransferCoding, which the caller turns into the origin's fault. A
    2xx answer to CONNECT has no body: the tunnel begins behind its head (RFC 9112 section 6.3).
    """
    status = head.status
    if status in (204, 304) or status < 200 or method == b"HEAD":
        return NO_BODY
    if method == b"CONNECT" and status < 300:
        return NO_BODY
    coding = head.fields.combined.get(b"transfer-encoding")
    if coding is None:
        value = head.fields.combined.get(b"content-length")
        return UNTIL_CLOSE if value is None else _of_length(value)
    if _is_made_up(coding) and head.minor and b"content-length" not in head.fields:
        return UNTIL_CLOSE
    _check_coding(coding, head)
    return CHUNKED


def _is_made_up(coding: bytes) -> bool:
    """Is *coding* one name that stands for nothing, or for no coding, and not nearly for chunked?

    Nobody asked for it (RFC 9112 section 7.4). A response that has it ends where its connection
    does, and that isn't used again (section 6.3); the body is taken as it is.
    """
    name = coding.lower()
    return b"chunk" not in name and name not in _KNOWN_CODINGS and is_token(name)


def _check_coding(coding: bytes, head: RequestHead | ResponseHead) -> None:
    """Raise unless *coding* is chunked alone, in a head that may say so (RFC 9112 section 6.1)."""
    if b"content-length" in head.fields:
        raise errors.BadRequest("both Content-Length and Transfer-Encoding")
    if head.minor == 0:
        raise errors.BadRequest("Transfer-Encoding in an HTTP/1.0 message")
    if coding.strip(b" \t").lower() == b"chunked":
        return
    codings = split_tokens(coding)
    if codings.count(b"chunked") == 1 and codings[-1] == b"chunked":
        raise errors.UnknownTransferCoding("a transfer coding other than chunked")
    # No reader can know the length of this body: 400, not 501 (RFC 9112 section 6.3).
    raise errors.BadRequest("Transfer-Encoding doesn't end in one chunked")


@functools.lru_cache(maxsize=1024)
def _of_length(value: bytes) -> Framing:
    return Framing(Kind.LENGTH, parse_length(value))


def content_length(fields: Fields) -> int | None:
    """Return Content-Length, or None where it is absent; raises BadRequest."""
    value = fields.combined.get(b"content-length")
    return None if value is None else parse_length(value)


def parse_length(value: bytes) -> int:
    """Return the number that Content-Length's *value* is; raises BadRequest."""
    if not value.isdigit() or len(value) > _MAX_DIGITS or int(value) > MAX_CONTENT_LENGTH:
        # Two equal lengths are refused as well: RFC 9112 section 6.3 allows that, and the
        # message has already been through somebody who was confused.
        raise errors.BadRequest("Content-Length isn't one plain number")
    return int(value)


_KEEP_ALIVE = (b"keep-alive", b"Keep-Alive")  # as nearly everybody spells it


def persists(minor: int, fields: Fields) -> bool:
    """Does the connection of a message with these *fields* stay open (RFC 9112 section 9.3)?"""
    options = fields.combined.get(b"connection")
    if options is None:
        return minor > 0
    if options in _KEEP_ALIVE:
        return True
    tokens = fields.tokens(b"connection")
    return b"close" not in tokens and (minor > 0 or b"keep-alive" in tokens)
