"""How old a stored response is, and for how long it is fresh (RFC 9111 section 4.2)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from proxyapp.rules.caching import directives
from proxyapp.rules.caching.directives import Directives
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import parse_http_date
from proxyapp.wire.headers import Fields

# RFC 9110 section 15.1. 206 is stored as the 200 that it is a part of.
HEURISTICALLY_CACHEABLE = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
# Nobody wants to wait long for a page that is there by now. In seconds.
LONGEST_REFUSAL = 300.0
_REFUSALS = 400
_FAILURES = 500

_FIRST_AGE = re.compile(rb"[ \t]*([0-9]+)[ \t]*(?:,|\Z)")
_NEVER = -math.inf
# What forbids to use a response that is no longer fresh (section 4.2.4).
_STRICT = frozenset((b"must-revalidate", b"proxy-revalidate", b"no-cache"))


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a stored response may be used, under *policy*.

    *fresh_until* and the two limits behind it are in seconds since the epoch, minus infinity for
    never. Until *refreshing_until* it may be used while it is validated, until *failing_until*
    if that fails.
    """

    policy: Policy
    fresh_until: float
    refreshing_until: float
    failing_until: float
    is_immutable: bool
    may_be_stale: bool


def date_in(fields: Fields, name: bytes) -> int | None:
    """Return the date in field *name* in seconds since the epoch, None if there is none.

    Upper and lower case are alike here (RFC 9111 section 4.2).
    """
    value = fields.combined.get(name)
    if value is None:
        return None
    date = parse_http_date(value)
    if date is None and len(value) < len(b"Wednesday, 06-Nov-94 08:49:37 GMT."):
        date = parse_http_date(re.sub(rb"Gmt\Z", b"GMT", value.title()))
    return date


def age(stored: Stored, now: float) -> float:
    """Return the age of *stored* in seconds (RFC 9111 section 4.2.3)."""
    resident = now - stored.arrived_at
    return initial_age(stored) + (resident if resident > 0 else 0.0)


def initial_age(stored: Stored) -> float:
    """Return the age in seconds that *stored* had when it arrived."""
    known = stored.memo.initial_age
    if known is None:
        date = date_in(stored.fields, b"date")
        apparent = 0.0 if date is None else stored.arrived_at - date
        corrected = stored.arrived_at - stored.asked_at
        stored.memo.initial_age = known = max(0.0, apparent, corrected)
    return known


def age_in(fields: Fields) -> float:
    """Return the seconds that Age says, 0 if it can't be read (section 5.1)."""
    # The first of several counts, and what can't be read is ignored.
    first = _FIRST_AGE.match(fields.combined.get(b"age", b""))
    return directives.delta_seconds(first[1]) if first else 0.0


def lifetime(stored: Stored, policy: Policy) -> float:
    """Return for how many seconds *stored* is fresh, from its birth (section 4.2.1)."""
    ttl = overriding_ttl(stored.status, policy.ttl if stored.ttl is None else stored.ttl)
    if ttl is not None:
        # It is fresh for so long here, however long it was under way.
        return initial_age(stored) + ttl if ttl > 0 else 0.0
    said = directives.of(stored.fields, policy.ignore)
    explicit = explicit_lifetime(stored.fields, said, stored.arrived_at)
    found = _heuristic(stored, said, policy) if explicit is None else explicit
    return bounded(stored.status, found, policy)


def bounded(status: int, seconds: float, policy: Policy) -> float:
    """Hold the lifetime of a response of *status* between what *policy* wants least and most."""
    if status not in HEURISTICALLY_CACHEABLE or status >= _REFUSALS:
        return seconds
    return min(max(seconds, policy.ttl_least), policy.ttl_most)


def overriding_ttl(status: int, ttl: float | None) -> float | None:
    """Return the lifetime that *ttl* gives a response of *status*, None where it gives none.

    A ttl that is meant for an object isn't for the failure to get it, nor for a redirection that
    says of itself that it is temporary: those often carry a signature that expires.
    """
    if ttl is None or status not in HEURISTICALLY_CACHEABLE:
        return None
    return ttl if status < _REFUSALS else min(ttl, LONGEST_REFUSAL)


def explicit_lifetime(fields: Fields, said: Directives, arrived_at: float) -> float | None:
    """Return the seconds that the origin says, None where it says nothing (section 4.2.1)."""
    for name in (b"s-maxage", b"max-age"):
        if name in said.seconds:
            return said.seconds[name]
    if b"expires" not in fields.combined:
        return None
    expires = date_in(fields, b"expires")
    if expires is None:
        return 0.0  # section 5.3: `0` above all means the past
    date = date_in(fields, b"date")
    return max(0.0, expires - (arrived_at if date is None else date))


def _heuristic(stored: Stored, said: Directives, policy: Policy) -> float:
    """Return a fraction of the time for which it hasn't changed (section 4.2.2)."""
    if stored.status not in HEURISTICALLY_CACHEABLE and b"public" not in said.flags:
        return 0.0
    fields = stored.fields
    changed = date_in(fields, b"last-modified")
    # Deprecated, and old applications still say so and nothing else.
    is_pragmatic = b"pragma" in fields.combined and b"cache-control" not in fields.combined
    if changed is None or (is_pragmatic and b"no-cache" in fields.tokens(b"pragma")):
        return 0.0
    date = date_in(fields, b"date")
    unchanged = (stored.arrived_at if date is None else date) - changed
    cap = policy.heuristic_cap
    if stored.status >= _REFUSALS:
        cap = min(cap, LONGEST_REFUSAL)
    return min(max(0.0, unchanged * policy.heuristic_fraction), cap)


def terms(stored: Stored, policy: Policy) -> Terms:
    """Return on what terms *stored* may be used; worked out once for a policy."""
    known = stored.memo.terms
    if isinstance(known, Terms) and known.policy is policy:
        return known
    stored.memo.terms = made = _terms(stored, policy)
    return made


def _terms(stored: Stored, policy: Policy) -> Terms:
    said = directives.of(stored.fields, policy.ignore)
    # A ttl of ours goes before no-cache too: it means the same as a lifetime of 0.
    ttl = overriding_ttl(stored.status, policy.ttl if stored.ttl is None else stored.ttl)
    is_validated = stored.is_invalid or (ttl is None and b"no-cache" in said.flags)
    # Who may have it is for the origin to say, each time.
    is_validated |= b"authorization" in policy.ignore
    fresh_until = stored.arrived_at - initial_age(stored) + lifetime(stored, policy)
    if is_validated:
        return Terms(policy, _NEVER, _NEVER, _NEVER, False, False)
    immutable = b"immutable" in said.flags
    if said.flags & _STRICT:
        return Terms(policy, fresh_until, _NEVER, fresh_until, immutable, False)
    # s-maxage forbids what must-revalidate does (section 5.2.2.10), but an origin that allows
    # staleness by name beside it means that.
    is_shared = b"s-maxage" in said.seconds
    refreshing = said.seconds.get(b"stale-while-revalidate", 0.0)
    failing = max(refreshing, said.seconds.get(b"stale-if-error", 0.0))
    # What is itself a failure is no better than the next one.
    if not is_shared and stored.status < _FAILURES:
        failing = max(failing, policy.stale_if_error)
    return Terms(
        policy,
        fresh_until,
        fresh_until + refreshing,
        fresh_until + failing,
        immutable,
        not is_shared,
    )
