"""What may be stored of which responses (RFC 9111 section 3).

Set-Cookie alone doesn't forbid to store a response (section 7.3), but whoever shares a cache must
not be handed somebody else's session either. It is stored, with its cookie, where the origin says
in so many words that it is for sharing: `public`, or an explicit lifetime. Never by guess.
"""

from __future__ import annotations

import math
import re

from proxyapp import errors
from proxyapp.rules import hops
from proxyapp.rules.caching import directives, freshness, invalidation, varying
from proxyapp.rules.caching.directives import Directives
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import http_date
from proxyapp.wire import headers
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead, ResponseHead
from proxyapp.wire.target import parse_target

# What we know the meaning of (section 5.2.2.3): RFC 9110 section 15 and RFC 7538.
_UNDERSTOOD = frozenset(
    int(status)
    for status in "200 203 204 300 301 302 303 307 308 400 403 404 405 406 410 411 413 414 415 422 "
    "451 500 501 502 503 504 505".split()
)
# These say something of one client, its credentials, its request or the moment (RFC 9110 section
# 15.5, RFC 6585 section 7), and no lifetime makes that true for others. 304 updates what is there.
OF_THE_MOMENT = frozenset((304, 401, 407, 408, 412, 416, 417, 421, 425, 426, 428, 429, 431, 511))
# Allows to share what was fetched with credentials (section 3.5).
_SHAREABLE = frozenset((b"public", b"must-revalidate"))
_COOKIES = frozenset((b"set-cookie", b"set-cookie2"))

# Section 3.1. Content-Range belongs to a part, and Age is in Stored.asked_at. Trailers are gone.
_NOT_STORED = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info "
    b"proxy-authorization te trailer transfer-encoding upgrade age".split()
)
# A Connection option must not take away what the response is read by.
_NOT_STRIPPED = frozenset(
    b"cache-control content-encoding content-length content-range content-type date expires "
    b"vary".split()
)
_PART = re.compile(rb"bytes[ \t]+([0-9]{1,19})-([0-9]{1,19})/(?:([0-9]{1,19})|\*)", re.IGNORECASE)
_SIZE = re.compile(rb"[0-9]{1,19}")
_MOST_VARYING = 32
_USES_OF_STALE = (b"stale-while-revalidate", b"stale-if-error")


def refusal(
    request: RequestHead, response: ResponseHead, policy: Policy, ttl: float | None = None
) -> str:
    """Say why *response* to *request* may not be stored; empty where it may (section 3).

    *ttl* is as in Stored. A 206 is judged as the response it is a part of. After an update (section
    4.3.4) it is asked again, with the updated fields.
    """
    if policy.is_off:
        return "a rule keeps this URL out of the cache"
    said = directives.of(response.fields, policy.ignore)
    return (
        _refusal_for_request(request, response, said)
        or _refusal_for_status(request, response, said)
        or _refusal_for_privacy(request, response, said, policy)
        or _refusal_for_use(response, said, policy, ttl)
    )


def _refusal_for_request(request: RequestHead, response: ResponseHead, said: Directives) -> str:
    if request.method == b"POST":
        if not _answers_get_too(request, response, said):
            return "an answer to POST is for one request"
    elif request.method != b"GET":
        return "only answers to GET are stored"
    if b"no-store" in directives.of(request.fields).flags:
        return "the request says no-store"
    if request.method == b"GET" and b"upgrade" in request.fields and hops.offers_upgrade(request):
        return "the request offers another protocol"
    return ""


def _answers_get_too(request: RequestHead, response: ResponseHead, said: Directives) -> bool:
    """Is *response* to POST what GET of the same URL would answer (RFC 9110 section 9.3.3)?"""
    location = response.fields.get(b"content-location")
    if location is None or not freshness.explicit_lifetime(response.fields, said, 0.0):
        return False
    try:
        target = parse_target(b"GET", request.target)
    except errors.BadRequest:
        return False
    if target.origin is None:
        return location == target.path
    named = invalidation.resolved(target.origin, target.path, location)
    return named == (target.origin, target.path)


def _refusal_for_status(request: RequestHead, response: ResponseHead, said: Directives) -> str:
    status = response.status
    if status < 200 or status in OF_THE_MOMENT:
        return f"an answer of status {status} is for one request"
    if status == 206:
        if b"range" not in request.fields or part_of(response) is None:
            return "it isn't one range of known bytes"
        status = 200
    if b"must-understand" in said.flags:
        # Section 5.2.2.3: then no-store is for those who don't.
        if status not in _UNDERSTOOD:
            return f"status {status} must be understood"
    elif b"no-store" in said.flags:
        return "no-store"
    if status in freshness.HEURISTICALLY_CACHEABLE or _is_allowed(response.fields, said):
        return ""
    return f"nothing says that an answer of status {status} may be stored"


def _is_allowed(fields: Fields, said: Directives) -> bool:
    """Does it say in any way that caches may store it, be it for no time at all?"""
    return b"public" in said.flags or freshness.explicit_lifetime(fields, said, 0.0) is not None


def _refusal_for_privacy(
    request: RequestHead, response: ResponseHead, said: Directives, policy: Policy
) -> str:
    fields = response.fields
    if b"private" in said.flags:
        return "private"
    if b"authorization" in request.fields and not (
        said.flags & _SHAREABLE or b"s-maxage" in said.seconds or b"authorization" in policy.ignore
    ):
        return "it was asked for with credentials"
    dropped = said.listed_fields | _ignored(policy)
    if not (_COOKIES & fields.combined.keys()) - dropped or _is_explicit(fields, said):
        return ""
    return "it sets a cookie, and nothing says that it may be shared"


def _is_explicit(fields: Fields, said: Directives) -> bool:
    """Does the origin itself allow to share it, for some time at least?"""
    if b"public" in said.flags:
        return True
    # Without Date nobody knows here whether Expires has passed.
    return bool(freshness.explicit_lifetime(fields, said, math.inf))


def _refusal_for_use(
    response: ResponseHead, said: Directives, policy: Policy, ttl: float | None
) -> str:
    """Is it of no use to have it?"""
    fields = response.fields
    if b"vary" not in policy.ignore:
        if varying.is_everything(response):
            return "Vary says *"
        if len(fields.tokens(b"vary")) > _MOST_VARYING:
            return "Vary names too many fields"
    if b"etag" in fields or freshness.date_in(fields, b"last-modified") is not None:
        return ""
    status = 200 if response.status == 206 else response.status
    given = freshness.overriding_ttl(status, policy.ttl if ttl is None else ttl)
    if given is None and b"no-cache" in said.flags:
        return "it must be validated each time, and can't be"
    lifetime = freshness.explicit_lifetime(fields, said, 0.0) if given is None else given
    if given is None:
        lifetime = freshness.bounded(status, lifetime or 0.0, policy)
    lifetimes = [lifetime, *(said.seconds.get(name) for name in _USES_OF_STALE)]
    return "" if any(lifetimes) else "nothing says how long it is good, or how to validate it"


def part_of(response: ResponseHead) -> tuple[int, int, int | None] | None:
    """Return where the content of a 206 begins and ends, half-open, and the size of the whole.

    None where it isn't one range of bytes, or Content-Length says something else (RFC 9110
    sections 14.4 and 15.3.7). The whole's size may be unknown.
    """
    given = _PART.fullmatch(response.fields.get(b"content-range") or b"")
    if given is None:
        return None
    start, end = int(given[1]), int(given[2]) + 1
    total = int(given[3]) if given[3] else None
    if end <= start or (total is not None and end > total):
        return None
    size = _size(response.fields)
    return (start, end, total) if size is None or size == end - start else None


def _size(fields: Fields) -> int | None:
    given = fields.get(b"content-length")
    return int(given) if given is not None and _SIZE.fullmatch(given) else None


def stored(
    request: RequestHead,
    response: ResponseHead,
    policy: Policy,
    asked_at: float,
    arrived_at: float,
    ttl: float | None = None,
) -> Stored:
    """Return what is stored of *response*, which `refusal` didn't refuse (section 3.1).

    Times are in seconds since the epoch. *ttl* is what this one request wants; that of *policy* is
    asked when it counts, so that a rule holds for what is stored already. Of a 206 it is the head
    of the 200 that it is a part of.
    """
    status, reason, total = response.status, response.reason, _size(response.fields)
    lines = response.fields.lines_without(not_stored(response.fields, policy))
    if status == 206:
        status, reason = 200, b"OK"
        part = part_of(response)
        total = part[2] if part else None
        lines = _lines_of_whole(lines, total)
    if b"date" not in response.fields:
        lines.append(b"Date: " + http_date(int(arrived_at)))  # RFC 9110 section 6.6.1
    return Stored(
        status=status,
        reason=reason,
        fields=headers.of_lines(lines),
        asked_at=asked_at - freshness.age_in(response.fields),
        arrived_at=arrived_at,
        varying=() if b"vary" in policy.ignore else varying.selecting(request, response),
        ttl=ttl,
        total=total,
    )


_OF_PART = frozenset((b"content-range", b"content-length"))


def _lines_of_whole(lines: list[bytes], total: int | None) -> list[bytes]:
    whole = headers.of_lines(lines).lines_without(_OF_PART)
    return whole if total is None else [*whole, b"Content-Length: %d" % total]


def not_stored(fields: Fields, policy: Policy) -> frozenset[bytes]:
    """Return the names of the *fields* of a response that are not stored (section 3.1)."""
    removed = _NOT_STORED | _ignored(policy)
    removed |= directives.of(fields, policy.ignore).listed_fields - _NOT_STRIPPED
    if b"connection" in fields.combined:
        removed |= frozenset(fields.tokens(b"connection")) - _NOT_STRIPPED
    return removed


def _ignored(policy: Policy) -> frozenset[bytes]:
    """Return the cookie fields where *policy* takes them as not said."""
    is_ignored = policy.ignore_cookies or b"set-cookie" in policy.ignore
    return _COOKIES if is_ignored else frozenset()
