"""What the admin is told of a stored response: what it is, how fresh it is, and what becomes of it.

A report crosses the control socket as one line of JSON; both ends are here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TypeAlias

from proxyapp.rules.caching import freshness, reuse
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.reuse import Use
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead

# In seconds; what is fresh for longer, or for ever, is reported so. It is 3,000 years.
FOR_EVER = 10**11

# Of a request that wants nothing in particular.
_ASKED = RequestHead(b"GET", b"/", 1, NO_FIELDS)
Pairs: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What is there of the content: *size* bytes of it, in half-open ranges, *extents*."""

    size: int
    extents: tuple[tuple[int, int], ...]
    is_complete: bool
    is_in_memory: bool
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A stored response, reported; sizes in bytes, times in seconds.

    *url* is the key it is stored under. *total* is the size of the whole content, None if nobody
    knows. *fresh_for* is what is left of its *lifetime*, less than 0 once that is over. *validated*
    says why its origin is asked before it is used; empty where it isn't. *varying* are the request
    fields that Vary names, with `-` for one that wasn't there.
    """

    url: str
    status: int
    size: int
    total: int | None
    media_type: str
    age: int
    lifetime: int
    fresh_for: int
    is_pinned: bool
    is_complete: bool
    is_in_memory: bool
    validated: str
    reason: str = ""
    extents: tuple[tuple[int, int], ...] = ()
    varying: Pairs = ()
    fields: Pairs = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a URL that was to be fetched: the answer's *status* and *size* in bytes.

    *cache* is what the log says of it (see rules.record). *is_found* says that the cache had it,
    *is_stored* that it has it now. *reason* is why there is no whole answer; empty where there is.
    """

    url: str
    status: int
    size: int
    seconds: float
    cache: str
    is_found: bool
    is_stored: bool
    reason: str = ""


def report(
    key: bytes, stored: Stored, content: Content, policy: Policy, now: float, is_whole: bool
) -> Report:
    """Return the report on what is *stored* under *key*, as it is *now*.

    One that isn't *is_whole* lacks what takes many words: the head, extents and varying.
    """
    age, lifetime = freshness.age(stored, now), freshness.lifetime(stored, policy)
    left = lifetime - age
    return Report(
        url=_text(key),
        status=stored.status,
        size=content.size,
        total=stored.total,
        media_type=_text(stored.fields.combined.get(b"content-type", b"")),
        age=_seconds(age),
        lifetime=_seconds(lifetime),
        fresh_for=_seconds(left),
        is_pinned=content.is_pinned,
        is_complete=content.is_complete,
        is_in_memory=content.is_in_memory,
        validated=_why_validated(stored, policy, now, left, lifetime),
        reason=_text(stored.reason) if is_whole else "",
        extents=content.extents if is_whole else (),
        varying=_varying(stored) if is_whole else (),
        fields=tuple((_text(n), _text(v)) for n, v in stored.fields.raw) if is_whole else (),
    )


def _why_validated(stored: Stored, policy: Policy, now: float, left: float, lifetime: float) -> str:
    use = reuse.judge(_ASKED, stored, policy, now)
    if use is Use.FRESH:
        return ""
    if stored.is_invalid:
        return "something that was sent to its origin since may have changed it"
    if left > 0:
        return "the response wants to be validated each time (no-cache)"
    over = f"its lifetime of {_seconds(lifetime)} s is over"
    if use is Use.STALE_WHILE_REVALIDATE:
        return f"{over}; it is used once more meanwhile (stale-while-revalidate)"
    return over


def _seconds(value: float) -> int:
    # Down: 0.9 s of freshness are not a second, and -0.1 s are over.
    return int(max(-FOR_EVER, min(value, FOR_EVER)) // 1)


def _varying(stored: Stored) -> Pairs:
    return tuple(
        (_text(name), "-" if value is None else _text(value)) for name, value in stored.varying
    )


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


# --- Across the socket ---


def to_line(told: Report | Outcome) -> bytes:
    """Return *told* as a line of JSON, in ASCII; what is empty is left out."""
    known = {name: value for name, value in asdict(told).items() if value not in ((), "")}
    return json.dumps(known, separators=(",", ":")).encode("ascii") + b"\n"


def report_of(line: bytes) -> Report:
    """Return the report that *line* holds; raises ValueError."""
    try:
        known = json.loads(line)
        for name in ("extents", "varying", "fields"):
            known[name] = tuple((first, second) for first, second in known.get(name, ()))
        return Report(**{"media_type": "", "validated": "", **known})
    except (TypeError, AttributeError) as error:
        raise ValueError("this isn't a report") from error


def outcome_of(line: bytes) -> Outcome:
    """Return the outcome that *line* holds; raises ValueError."""
    try:
        return Outcome(**{"cache": "", **json.loads(line)})
    except TypeError as error:
        raise ValueError("this isn't an outcome") from error
