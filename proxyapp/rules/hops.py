"""What changes in a message between two hops (RFC 9110 section 7.6)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.wire import headers
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead, ResponseHead

# RFC 9110 section 7.6.1, and the two that were never registered. Content-Length goes too: each
# hop writes the framing it uses. Proxy-Authorization is for us, and reaches no origin.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade http2-settings".split()
)
_NEVER_TO_ORIGIN = _HOP_BY_HOP | frozenset(
    b"proxy-authorization content-length host max-forwards".split()
)
_NEVER_TO_CLIENT = _HOP_BY_HOP | frozenset((b"proxy-authenticate", b"proxy-authentication-info"))
# Fields that a `Connection` option can't take away, or a client could strip what we rely on.
_KEPT = frozenset(b"host via content-length cache-control content-type authorization".split())
# RFC 9110 section 6.5.1: fields that frame, route or authenticate mean nothing in trailers.
_NOT_IN_TRAILERS = _HOP_BY_HOP | frozenset(
    b"content-length host trailer authorization proxy-authorization set-cookie cookie "
    b"content-encoding content-type content-range max-forwards expect via".split()
)
# RFC 9110 section 7.6.2: Max-Forwards says nothing about other methods.
_LIMITED_IN_HOPS = (b"TRACE", b"OPTIONS")
# An upgrade to another HTTP would leave the checks of this one behind.
_NO_UPGRADE = (b"h2", b"h3", b"http/", b"tls/")
# TRACE must not show a script what the browser keeps from it (RFC 9110 section 9.3.8).
_SECRET = frozenset(b"cookie authorization proxy-authorization".split())


class Forwarding(enum.Enum):
    """What becomes of the client's address, by [proxy] forwarded."""

    OFF = "off"
    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"
    TRANSPARENT = "transparent"


@dataclass(frozen=True, slots=True)
class Hop:
    """What this hop adds and takes away; made once by `hop`.

    *via* holds the Via line for HTTP/1.0 and that for 1.1; it is empty where there is to be none.
    *credentials* holds the line for the next hop alone, if that's a parent proxy that wants one.
    """

    pseudonym: bytes
    forwarding: Forwarding
    removed: frozenset[bytes]
    adds_client: bool
    via: tuple[bytes, ...]
    credentials: tuple[bytes, ...] = ()


def hop(pseudonym: bytes, forwarding: Forwarding, tls_upgrade_header: bytes) -> Hop:
    """Return the hop that calls itself *pseudonym* in Via (empty: no Via).

    *tls_upgrade_header*, in lower case, is a field for us alone; empty if there is none.
    """
    removed = set(_NEVER_TO_ORIGIN)
    if tls_upgrade_header:
        removed.add(tls_upgrade_header)
    if forwarding is Forwarding.OFF:
        removed |= {b"x-forwarded-for", b"forwarded"}
    adds_client = forwarding in (Forwarding.X_FORWARDED_FOR, Forwarding.FORWARDED)
    via = tuple(b"Via: 1.%d %b" % (minor, pseudonym) for minor in (0, 1)) if pseudonym else ()
    return Hop(pseudonym, forwarding, frozenset(removed), adds_client, via)


def request_lines(
    head: RequestHead, host: bytes, client: str, body: Framing, at: Hop, scheme: str = "http"
) -> list[bytes]:
    """Return the field lines for the origin: Host first, then the client's own in order.

    *scheme* is that of the URL. The client may have come without TLS all the same, which is nothing
    to tell an origin that would send it back to https for that.
    """
    fields = head.fields
    combined = fields.combined
    removed = _also_named(fields, at.removed) if b"connection" in combined else at.removed
    if head.minor == 0 and b"expect" in combined:
        removed |= {b"expect"}  # RFC 9110 section 10.1.1: not in HTTP/1.0
    sent = [b"Host: " + host, *fields.lines_without(removed)]
    if b"upgrade" in combined:
        sent += _upgrade_lines(head)
    if b"max-forwards" in combined:
        sent.append(b"Max-Forwards: " + _forwards_left(head))
    if body.kind is Kind.LENGTH:
        sent.append(b"Content-Length: %d" % body.length)
    elif body.kind is Kind.CHUNKED:
        sent.append(b"Transfer-Encoding: chunked")
    if at.via:
        sent.append(at.via[head.minor])
    if at.adds_client:
        sent.append(_forwarding_line(client, host, scheme, at.forwarding))
    sent += at.credentials
    return sent


def connect_lines(authority: bytes, fields: Fields, at: Hop) -> list[bytes]:
    """Return the field lines of a CONNECT to the next hop; *fields* are those of the client's."""
    sent = [b"Host: " + authority]
    # All that a loop can be seen by; what else the client says is for us (RFC 9110 section 9.3.6).
    if b"via" in fields.combined:
        sent.append(b"Via: " + fields.combined[b"via"])
    if at.via:
        sent.append(at.via[1])
    sent += at.credentials
    return sent


def _also_named(fields: Fields, removed: frozenset[bytes]) -> frozenset[bytes]:
    """Add the fields that Connection names (RFC 9110 section 7.6.1)."""
    named = fields.combined[b"connection"]
    if named.lower() in (b"keep-alive", b"close"):
        return removed
    return removed | (set(headers.split_tokens(named)) - _KEPT)


def response_lines(head: ResponseHead, at: Hop) -> list[bytes]:
    """Return the field lines of a response that go on to the client, Content-Length included."""
    fields = head.fields
    removed = _NEVER_TO_CLIENT
    if b"connection" in fields.combined:
        removed = _also_named(fields, removed)
    if head.status == 204 or head.status < 200:
        removed |= {b"content-length"}  # RFC 9110 section 8.6
    sent = fields.lines_without(removed)
    if at.via:
        sent.append(at.via[head.minor])
    return sent


def trailer_fields(fields: Fields) -> Fields:
    """Return the trailer fields that may go on."""
    if not len(fields):
        return fields
    return headers.of_lines(fields.lines_without(_NOT_IN_TRAILERS))


def switching_lines(head: ResponseHead, at: Hop) -> list[bytes]:
    """Return the field lines of a 101, its Upgrade and Connection kept."""
    upgrade = head.fields.get(b"upgrade")
    announced = [b"Connection: Upgrade", *([b"Upgrade: " + upgrade] if upgrade else [])]
    return announced + response_lines(head, at)


def answers_here(head: RequestHead) -> bool:
    """Must this hop answer itself, because Max-Forwards is 0 (RFC 9110 section 7.6.2)?"""
    if head.method not in _LIMITED_IN_HOPS or b"max-forwards" not in head.fields:
        return False
    return _forwards(head) == 0


def _forwards(head: RequestHead) -> int:
    value = head.fields.get(b"max-forwards") or b""
    if not value.isdigit() or len(value) > 10:
        raise errors.BadRequest("Max-Forwards isn't a number")
    return int(value)


def _forwards_left(head: RequestHead) -> bytes:
    if head.method not in _LIMITED_IN_HOPS:
        return head.fields.combined[b"max-forwards"]
    return b"%d" % (_forwards(head) - 1)


def check_loop(fields: Fields, pseudonym: bytes) -> None:
    """Raise LoopDetected if Via says that we have seen this request (RFC 9110 section 7.6.3)."""
    via = fields.combined.get(b"via")
    if via is None or not pseudonym or pseudonym not in via:
        return
    for element in headers.split_list(via):
        if element.split(None, 2)[1:2] == [pseudonym]:
            raise errors.LoopDetected("this request has been through this proxy already")


def traced(head: RequestHead) -> bytes:
    """Return the body that answers TRACE: the request as it arrived, without its secrets."""
    lines = [b"%b %b HTTP/1.%d" % (head.method, head.target, head.minor)]
    return b"\r\n".join([*lines, *head.fields.lines_without(_SECRET), b"", b""])


def offers_upgrade(head: RequestHead) -> bool:
    """Does the request go on with an offer to switch to another protocol?"""
    return bool(_upgrade_lines(head))


def _upgrade_lines(head: RequestHead) -> list[bytes]:
    """Return the lines that offer the protocols a client may be switched to."""
    # RFC 9110 section 7.8: an offer in HTTP/1.0 is ignored.
    if not head.minor or b"upgrade" not in head.fields.tokens(b"connection"):
        return []
    offers = headers.split_list(head.fields.get(b"upgrade") or b"")
    kept = [offer for offer in offers if not offer.lower().startswith(_NO_UPGRADE)]
    return [b"Connection: Upgrade", b"Upgrade: " + b", ".join(kept)] if kept else []


def _forwarding_line(client: str, host: bytes, scheme: str, forwarding: Forwarding) -> bytes:
    if forwarding is Forwarding.X_FORWARDED_FOR:
        return b"X-Forwarded-For: " + client.encode("ascii")
    node = f'"[{client}]"' if ":" in client else client
    proto = scheme.encode("ascii")
    return b'Forwarded: for=%b;host="%b";proto=%b' % (node.encode("ascii"), host, proto)
