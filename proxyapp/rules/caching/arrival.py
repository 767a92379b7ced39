"""What becomes of a response that a cache fetched: stored, joined, taken for news, or passed on."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from proxyapp.rules.caching import parts, reuse, storing, validation
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire.messages import RequestHead, ResponseHead

# RFC 5861 section 4: what an origin in trouble answers.
_TROUBLE = frozenset((500, 502, 503, 504))
# They ask for patience.
_LATER = _TROUBLE | frozenset((408, 425, 429))
# A 304 is about the resource.
_SAYS_NOTHING = storing.OF_THE_MOMENT - {304}


class Fate(enum.Enum):
    """What is done with it."""

    PASS = "goes to the one client that it was asked for"
    STORE = "is stored, and shared"
    STORE_PART = "goes to one client, and is stored as a part"
    FRESHEN = "says that what is stored is right"
    CONTINUE = "goes on where what is stored ends"
    REPEAT = "has all again of which a part is stored"
    STALE = "is worse than what is stored"
    ANOTHER = "belongs to another content than what is stored"


@dataclass(frozen=True, slots=True)
class Present:
    """What is stored already: its head, and *end*, where the content breaks off.

    *end* is None where the content is complete, or where it isn't the answer that is continued.
    """

    stored: Stored
    end: int | None = None


def fate(
    request: RequestHead,
    response: ResponseHead,
    policy: Policy,
    ttl: float | None,
    present: Present | None,
    now: float,
) -> Fate:
    """Say what becomes of *response*, which answers what was asked on behalf of *request*."""
    status = response.status
    if present is not None:
        stored = present.stored
        if status == 304:
            return Fate.FRESHEN
        if status in _TROUBLE and reuse.may_be_stale(request, stored, policy, now):
            return Fate.STALE
        if present.end is not None and status in (206, 416):
            return _continued(stored, present.end, response)
    if storing.refusal(request, response, policy, ttl):
        return Fate.PASS
    return Fate.STORE if status != 206 else Fate.STORE_PART


def _continued(stored: Stored, end: int, response: ResponseHead) -> Fate:
    part = parts.sent_part(response)
    if part is None or part.start != end or not parts.is_same(stored, response):
        return Fate.ANOTHER
    return Fate.CONTINUE if stored.total in (None, part.total) else Fate.ANOTHER


def is_news(stored: Stored, response: ResponseHead) -> bool:
    """Does *response*, which isn't stored, say that *stored* isn't what the origin has now?"""
    status = response.status
    if status >= 500 or status in _SAYS_NOTHING:
        return False
    return status != 206 or not parts.is_same(stored, response)


def fate_of_rest(stored: Stored, end: int, response: ResponseHead) -> Fate:
    """Say what becomes of *response*, asked for because *stored* broke off at *end*."""
    if response.status in _LATER:
        return Fate.STALE
    if response.status == 200 and parts.is_same(stored, response):
        return Fate.REPEAT
    return _continued(stored, end, response)


def is_storable_part(stored: Stored, response: ResponseHead) -> bool:
    """Can the part that *response* has be joined with others (RFC 9111 section 3.4)?"""
    return parts.sent_part(response) is not None and bool(validation.strong_validator(stored))
