"""Whether a stored response answers a request (RFC 9111 section 4)."""

from __future__ import annotations

import enum

from proxyapp.rules import hops
from proxyapp.rules.caching import directives, freshness
from proxyapp.rules.caching.directives import LONGEST, Directives
from proxyapp.rules.caching.freshness import Terms
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead


class Use(enum.Enum):
    """What a stored response is good for: as it is, while it is validated, or only after that."""

    FRESH = "fresh"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    VALIDATE = "validate"


LOOKED_UP = (b"GET", b"HEAD")
# Only the origin can judge these (RFC 9110 sections 13.1.1 and 13.1.4).
_FOR_ORIGIN = frozenset((b"if-match", b"if-unmodified-since"))
# Whatever the client may have to say of which response, or how much of it, would do.
_WISHES = _FOR_ORIGIN | frozenset(
    b"cache-control content-length if-modified-since if-none-match if-range pragma range "
    b"transfer-encoding upgrade".split()
)
_NO_CACHE = Directives(frozenset((b"no-cache",)), {}, {})


def judge(request: RequestHead, stored: Stored, policy: Policy, now: float) -> Use:
    """Say how *stored* may answer *request*, which selects it, at *now* (section 4).

    FRESH is also what is stale, where the request allows for that.
    """
    terms = freshness.terms(stored, policy)
    combined = request.fields.combined
    if b"cache-control" in combined or b"pragma" in combined:
        return _wished(_wishes(request.fields), terms, freshness.age(stored, now), now)
    if now < terms.fresh_until:
        return Use.FRESH
    return Use.STALE_WHILE_REVALIDATE if now < terms.refreshing_until else Use.VALIDATE


def _wished(wishes: Directives, terms: Terms, age: float, now: float) -> Use:
    if b"no-cache" in wishes.flags:
        return Use.VALIDATE
    left = terms.fresh_until - now
    oldest = wishes.seconds.get(b"max-age")
    # RFC 8246 section 2: a plain reload is no reason to ask for what never changes.
    if oldest is not None and age >= oldest and not (terms.is_immutable and left > 0):
        return Use.VALIDATE
    if left > 0:
        return Use.FRESH if left >= wishes.seconds.get(b"min-fresh", 0.0) else Use.VALIDATE
    if terms.may_be_stale and -left < wishes.seconds.get(b"max-stale", 0.0):
        return Use.FRESH
    # Section 5.2.1.1: who says max-age, and no max-stale, wants nothing stale.
    is_choosy = oldest is not None or b"min-fresh" in wishes.seconds
    is_in_time = now < terms.refreshing_until and not is_choosy
    return Use.STALE_WHILE_REVALIDATE if is_in_time else Use.VALIDATE


def may_be_stale(request: RequestHead, stored: Stored, policy: Policy, now: float) -> bool:
    """May *stored* answer though it can't be validated (section 4.2.4, RFC 5861 section 4)?

    Asked where the origin can't be reached, or answers with 500, 502, 503 or 504.
    """
    terms = freshness.terms(stored, policy)
    if now >= terms.failing_until:
        return False
    wishes = _wishes(request.fields)
    if b"no-cache" in wishes.flags:
        return False
    # What the client says is its own limit.
    seconds = wishes.seconds
    limits = [seconds[name] for name in (b"stale-if-error", b"max-stale") if name in seconds]
    late = now - terms.fresh_until
    return late < max(limits, default=LONGEST)


def _wishes(fields: Fields) -> Directives:
    if b"cache-control" in fields.combined:
        return directives.of(fields)
    # Section 5.4: Pragma is for those who don't know Cache-Control.
    return _NO_CACHE if b"no-cache" in fields.tokens(b"pragma") else directives.NOTHING


def is_only_if_cached(request: RequestHead) -> bool:
    """Does the client want a stored response or 504, and nothing else (section 5.2.1.7)?"""
    fields = request.fields
    return b"cache-control" in fields and b"only-if-cached" in directives.of(fields).flags


def is_plain(request: RequestHead) -> bool:
    """Does *request* want the whole of any response that is fresh, as most do?

    Then `may_look_up` holds, and `judge` goes by the stored response alone.
    """
    return request.method == b"GET" and _WISHES.isdisjoint(request.fields.combined)


def may_look_up(request: RequestHead) -> bool:
    """May *request* be answered from the cache at all?

    Not if it has content, offers to switch protocols, must leave nothing behind (no-store), or
    has a precondition that only the origin can judge.
    """
    if request.method not in LOOKED_UP:
        return False
    combined = request.fields.combined
    if b"cache-control" in combined and b"no-store" in directives.of(request.fields).flags:
        return False
    if b"transfer-encoding" in combined or combined.get(b"content-length", b"0") != b"0":
        return False
    if b"upgrade" in combined and hops.offers_upgrade(request):
        return False
    return _FOR_ORIGIN.isdisjoint(combined)
