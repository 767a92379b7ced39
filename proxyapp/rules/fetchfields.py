"""Which fields /fetch sends to origins, and which of theirs it gives to pages of other sites.

Both are lists of what passes: whatever a field of tomorrow may mean to a browser, it doesn't come
from our origin because somebody else's sent it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxyapp.rules.conditions import http_date
from proxyapp.wire import headers
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import OutgoingResponse, RequestHead

# Nothing that says who asks: no Cookie, Authorization, Referer or Origin. Via is there so that
# loops are found (RFC 9110 section 7.6.3).
_SENT = frozenset(
    b"accept accept-encoding accept-language if-match if-modified-since if-none-match if-range"
    b" if-unmodified-since range user-agent via".split()
)
# No Set-Cookie, no WWW-Authenticate (a browser would ask for a password in our name), nothing that
# is about a whole origin, and no policies but ours.
_RETURNED = frozenset(
    b"accept-ranges age cache-control cache-status content-digest content-disposition"
    b" content-encoding content-language content-length content-md5 content-range content-type date"
    b" digest etag expires last-modified pragma proxy-status repr-digest retry-after vary"
    b" via".split()
)
_LIFETIME = frozenset((b"age", b"cache-control", b"expires", b"pragma"))
# RFC 9211 sections 2.1 and 2.5: a cache had it, and takes it for fresh for so long (s).
_LEFT = re.compile(rb";[ \t]*hit[ \t]*;[ \t]*ttl=([0-9]{1,9})")
_TYPE = b"content-type"
# What is somebody's page runs nothing, loads nothing, and belongs to no origin (CSP level 3).
SAFETY: RawFields = [
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
]
# Responses that hold what was asked for, or say that it hasn't changed.
_GOOD = (200, 203, 206, 304)
_REDIRECTS = (301, 302, 303, 307, 308)
_NO_STORE: RawFields = [(b"Cache-Control", b"no-store")]
_NOT_FROM_CACHES: RawFields = [(b"Cache-Control", b"no-cache, no-store")]


def sent_fields(head: RequestHead, ttl: float | None) -> Fields:
    """Return the fields that go to the origin; a *ttl* of 0 wants no cache on the way."""
    # RFC 9110 section 7.6.1: what Connection names was for us alone.
    kept = _SENT.difference(head.fields.tokens(b"connection"))
    sent = [field for field in head.fields if field[0].lower() in kept]
    return Fields(sent + _NOT_FROM_CACHES if ttl == 0 else sent)


def location(head: OutgoingResponse) -> bytes | None:
    """Return where a redirect leads, None where *head* is none (RFC 9110 section 15.4)."""
    if head.status not in _REDIRECTS:
        return None
    for name, value in _pairs(head):
        if name == b"location" and value:
            return value
    return None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed in a response on its way to the client.

    *added* are fields that every one gets. See FetchQuery for *ttl* and *content_type*.
    """

    added: RawFields
    ttl: float | None
    content_type: bytes

    def outgoing(self, head: OutgoingResponse, now: float) -> OutgoingResponse:
        """Return *head* as the client gets it, *now* in seconds since the epoch."""
        pairs = _pairs(head)
        dropped: set[bytes] = set()
        added = list(self.added)
        if self.ttl is not None and head.status in _GOOD:
            dropped |= _LIFETIME
            added += _lifetime(self.ttl, now, dict(pairs).get(b"cache-status", b""))
        if self.content_type and _is_one_body(head.status, dict(pairs).get(_TYPE, b"")):
            dropped.add(_TYPE)
            added.append((b"Content-Type", self.content_type))
        kept = _RETURNED - dropped
        lines = [line for line in head.lines if headers.take_apart(line)[0] in kept]
        fields = [field for field in head.fields if field[0].lower() in kept]
        return OutgoingResponse(head.status, head.reason, [*fields, *added], lines)


def _pairs(head: OutgoingResponse) -> list[tuple[bytes, bytes]]:
    """Return names, in lower case, and values of all fields."""
    own = [(name.lower(), value) for name, value in head.fields]
    return [*map(headers.take_apart, head.lines), *own]


def _is_one_body(status: int, media_type: bytes) -> bool:
    """Is the body what was asked for, rather than a page about it or several parts of it?"""
    return status in _GOOD and not media_type.lower().startswith(b"multipart/byteranges")


def _lifetime(ttl: float, now: float, cache_status: bytes) -> RawFields:
    """Return the fields by which browsers keep a response for what is left of *ttl* seconds."""
    if not ttl:
        return _NO_STORE
    # The last cache is ours, if it was asked. What it hasn't had before is new to all of us.
    members = headers.split_list(cache_status)
    found = _LEFT.search(members[-1]) if members else None
    left = min(int(found[1]), int(ttl)) if found else int(ttl)
    return [
        (b"Cache-Control", b"public, max-age=%d" % left),
        (b"Expires", http_date(int(now) + left)),
    ]


# Pages of other origins (the Fetch standard, section 3.3, which calls this CORS).

METHODS = b"GET, HEAD, OPTIONS"
# `*` stands for every name but Authorization, which [auth] may want.
_PREFLIGHT: RawFields = [
    (b"Access-Control-Allow-Methods", METHODS),
    (b"Access-Control-Allow-Headers", b"*, Authorization"),
    (b"Access-Control-Max-Age", b"86400"),
]


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """Pages of which *origins* may read what is fetched; `*` stands for all, none turns it off."""

    origins: frozenset[bytes]

    def fields(self, request: RequestHead) -> RawFields:
        """Return the fields that let the page which sent *request* read the answer."""
        if b"*" in self.origins:
            everybody = b"Access-Control-Allow-Origin", b"*"
            # As an image or a font it may be used too, by pages that are strict about it.
            used = b"Cross-Origin-Resource-Policy", b"cross-origin"
            return [everybody, (b"Access-Control-Expose-Headers", b"*"), used]
        if not self.origins:
            return []
        origin = request.fields.get(b"origin")
        varies: RawFields = [(b"Vary", b"Origin")]
        if origin is None or origin.lower() not in self.origins:
            return varies
        allowed = b"Access-Control-Allow-Origin", origin
        return [allowed, (b"Access-Control-Expose-Headers", b"*"), *varies]

    def preflight(self, request: RequestHead) -> RawFields:
        """Return the fields that answer the question whether the page may ask at all."""
        fields = self.fields(request)
        is_allowed = any(name == b"Access-Control-Allow-Origin" for name, _ in fields)
        return fields + _PREFLIGHT if is_allowed else fields
