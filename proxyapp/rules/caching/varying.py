"""Which of the stored variants a request selects (RFC 9111 section 4.1)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from proxyapp.rules.caching import freshness
from proxyapp.rules.caching.stored import Stored, Varying
from proxyapp.wire.headers import Fields, split_list
from proxyapp.wire.messages import RequestHead, ResponseHead

Variant = TypeVar("Variant")

# Lists of preferences whose order says nothing, and whose members are alike in either case (RFC
# 9110 sections 12.5.2 to 12.5.4).
_PREFERENCES = frozenset((b"accept-charset", b"accept-encoding", b"accept-language"))
_WEIGHT = re.compile(rb"[ \t]*;[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*\Z", re.IGNORECASE)
_LONGEST_REMEMBERED = 512


def select(
    request: RequestHead, variants: Sequence[Variant], of: Callable[[Variant], Stored]
) -> Variant | None:
    """Return the one of *variants* that matches *request*, None if there is none.

    *of* says what is stored of each. Of several that match the latest is taken (section 4.1).
    """
    if len(variants) == 1:
        only = of(variants[0])
        is_other = only.varying and _rank(request.fields, only) is None
        return None if is_other else variants[0]
    matching = []
    for variant in variants:
        stored = of(variant)
        rank = _rank(request.fields, stored)
        if rank is not None:
            made_at = freshness.date_in(stored.fields, b"date")
            matching.append(((rank, made_at or 0, stored.arrived_at), variant))
    return max(matching, key=lambda each: each[0])[1] if matching else None


def _rank(fields: Fields, stored: Stored) -> int | None:
    """Say how well *fields* of a request match: 1 exactly, 0 as a language, None not at all."""
    rank = 1
    for name, value in stored.varying:
        given = fields.combined.get(name)
        if given == value or (given is not None and normalised(name, given) == value):
            continue
        if given is None or name != b"accept-language" or not _is_preferred(given, stored):
            return None
        rank = 0
    return rank


def _is_preferred(given: bytes, stored: Stored) -> bool:
    """Is *stored* in the one language that is preferred to all others (RFC 9110 section 12.5.4)?

    Whatever the request was that fetched it: nothing could suit this one better.
    """
    language = stored.fields.get(b"content-language")
    if language is None:
        return False
    weighted = sorted(_weighed(given), reverse=True)
    if not weighted or weighted[0][1] != language.lower() or not weighted[0][0]:
        return False
    return len(weighted) == 1 or weighted[0][0] > weighted[1][0]


def is_everything(response: ResponseHead) -> bool:
    """Does Vary say `*`, so that no other request can match?"""
    value = response.fields.combined.get(b"vary")
    return value is not None and b"*" in split_list(value)


def selecting(request: RequestHead, response: ResponseHead) -> Varying:
    """Return each field of *request* that Vary of *response* names, with its normalised value."""
    return _values(request, sorted(set(response.fields.tokens(b"vary"))))


def beside(request: RequestHead, stored: Stored) -> Varying:
    """Return what *request* has in place of what *stored* varies by; empty if it selects that."""
    if _rank(request.fields, stored) is not None:
        return ()
    return _values(request, (name for name, _ in stored.varying))


def _values(request: RequestHead, names: Iterable[bytes]) -> Varying:
    combined = request.fields.combined
    values = [(name, combined.get(name)) for name in names]
    return tuple(
        (name, None if value is None else normalised(name, value)) for name, value in values
    )


def normalised(name: bytes, value: bytes) -> bytes:
    """Return *value* of request field *name* such that values that mean the same are the same."""
    if len(value) > _LONGEST_REMEMBERED:
        return _normalised(name, value)
    return _remembered(name, value)


def _normalised(name: bytes, value: bytes) -> bytes:
    if name not in _PREFERENCES:
        return b", ".join(split_list(value))
    weighted = sorted(_weighed(value), key=lambda each: (-each[0], each[1]))
    return b", ".join(
        member if weight == 1.0 else b"%b;q=%.3f" % (member, weight) for weight, member in weighted
    )


_remembered = functools.lru_cache(maxsize=2048)(_normalised)


def _weighed(value: bytes) -> list[tuple[float, bytes]]:
    """Return the weight and the member, in lower case, of each element; once each."""
    weighed = []
    for element in split_list(value):
        weight = _WEIGHT.search(element)
        member = element[: weight.start()] if weight else element
        weighed.append((float(weight[1]) if weight else 1.0, member.lower()))
    return list(set(weighed))
