"""Answers a request with what is stored: conditions, ranges, Age and Cache-Status."""

from __future__ import annotations

import enum
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.exchange import Reply
from proxyapp.rules import multipart, ranges
from proxyapp.rules.caching import cachestatus, freshness, reuse, validation
from proxyapp.rules.caching.cachestatus import Fwd
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import Outcome
from proxyapp.rules.ranges import ByteRange, Extent
from proxyapp.store.entry import Entry
from proxyapp.store.store import CacheStore
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.writer import reason_for

_NAME = b"proxyapp"
# What depends on the request beside the URL and what Vary names.
_CONDITIONAL = frozenset((b"if-modified-since", b"if-none-match", b"if-range", b"range"))
_FORWARDED = {fwd: cachestatus.cache_status(_NAME, fwd=fwd) for fwd in Fwd}
_FORWARDED_AND_STORED = cachestatus.cache_status(_NAME, fwd=Fwd.MISS, stored=True)
_STALE = b"the origin can't be reached, or is in trouble"
_SIZE = frozenset((b"content-length",))
_SIZE_AND_TYPE = frozenset((b"content-length", b"content-type"))
# RFC 9110 section 15.4.5: what describes content that isn't sent helps nobody.
_NOT_IN_304 = frozenset(b"content-length content-type content-encoding content-language".split())


class Why(enum.StrEnum):
    """What the cache did for a request; the value stands in the request log."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    REVALIDATED = "revalidated"
    COLLAPSED = "collapsed"


@dataclass(frozen=True, slots=True)
class Selected:
    """What a request gets: the *head* of its answer, and which *pieces* of the content.

    None stands for all of it, however much that is; a 304 has no piece at all.
    """

    head: OutgoingResponse
    pieces: Sequence[bytes | ByteRange] | None


def select(
    request: RequestHead, stored: Stored, total: int | None, added: Sequence[bytes]
) -> Selected:
    """Say what *request* gets of *stored*, whose content has *total* bytes as far as is known.

    The lines *added* go with it. Raises RangeNotSatisfiable (RFC 9110 section 15.5.17).
    """
    if stored.status != 200 or _CONDITIONAL.isdisjoint(request.fields.combined):
        return _whole(stored, total, added)
    if validation.outcome(request, stored) is Outcome.NOT_MODIFIED:
        lines = [*stored.fields.lines_without(_NOT_IN_304), *added]
        return Selected(OutgoingResponse(304, reason_for(304), [], lines), ())
    if total is None:
        return _whole(stored, total, added)
    validators = validation.validators(stored)
    selected = ranges.select_ranges(request.method, request.fields, validators, total)
    if selected is Extent.WHOLE:
        return _whole(stored, total, added)
    if isinstance(selected, Extent):
        unsatisfied = (b"Content-Range", ranges.content_range_unsatisfied(total))
        raise errors.RangeNotSatisfiable(f"it has only {total} bytes", (unsatisfied,))
    return _parts(stored, total, selected, added)


def _whole(stored: Stored, total: int | None, added: Sequence[bytes]) -> Selected:
    fields = stored.fields
    lines = [*fields.lines, *added]
    if total is not None and b"content-length" not in fields.combined and stored.status != 204:
        lines.append(b"Content-Length: %d" % total)
    return Selected(OutgoingResponse(stored.status, stored.reason, [], lines), None)


def _parts(
    stored: Stored, total: int, selected: tuple[ByteRange, ...], added: Sequence[bytes]
) -> Selected:
    fields = stored.fields
    if len(selected) == 1:
        part = selected[0]
        lines = [
            *fields.lines_without(_SIZE),
            *added,
            b"Content-Range: " + part.content_range(total),
            b"Content-Length: %d" % part.size,
        ]
        return Selected(_partial(lines), selected)
    media_type = fields.get(b"content-type") or b""
    boundary = secrets.token_hex(16).encode("ascii")
    planned = multipart.plan(selected, total, media_type, boundary)
    lines = [
        *fields.lines_without(_SIZE_AND_TYPE),
        *added,
        b"Content-Type: " + planned.content_type,
        b"Content-Length: %d" % planned.size,
    ]
    return Selected(_partial(lines), planned.pieces)


def _partial(lines: Sequence[bytes]) -> OutgoingResponse:
    return OutgoingResponse(206, reason_for(206), [], lines)


def forwarding(request: RequestHead, entry: Entry | None, policy: Policy, now: float) -> Fwd:
    """Say why *request* goes to the origin though it selects *entry*, if there is one."""
    if policy.is_off:
        return Fwd.BYPASS
    if request.method not in reuse.LOOKED_UP:
        return Fwd.METHOD
    if entry is None:
        return Fwd.MISS if reuse.may_look_up(request) else Fwd.REQUEST
    if not entry.is_complete:
        return Fwd.PARTIAL
    is_fresh = now < freshness.terms(entry.stored, policy).fresh_until
    return Fwd.REQUEST if is_fresh else Fwd.STALE


def status_lines(
    stored: Stored, policy: Policy, now: float, why: Why, fwd: Fwd = Fwd.MISS
) -> list[bytes]:
    """Return Age and Cache-Status of an answer with *stored* (RFC 9111 section 5.1, RFC 9211).

    *fwd* is why the origin was asked, if it was.
    """
    fresh_until = freshness.terms(stored, policy).fresh_until
    ttl = fresh_until - now if math.isfinite(fresh_until) else None
    age = freshness.age(stored, now)
    if why is Why.HIT:
        return [cachestatus.age_line(age), cachestatus.cache_status(_NAME, hit=True, ttl=ttl)]
    if why is Why.STALE:
        status = cachestatus.cache_status(_NAME, hit=True, ttl=ttl, detail=_STALE)
    elif why is Why.REVALIDATED:
        status = cachestatus.cache_status(_NAME, fwd=fwd, fwd_status=304, ttl=ttl)
    else:
        # It tells another version from a 304, whatever the client itself gets.
        is_another = fwd in (Fwd.STALE, Fwd.REQUEST)
        status = cachestatus.cache_status(
            _NAME,
            fwd=fwd,
            fwd_status=stored.status if is_another else 0,
            ttl=ttl,
            stored=True,
            collapsed=why is Why.COLLAPSED,
        )
    # RFC 9111 section 5.1: Age says that it doesn't come from the origin at this moment.
    return [status] if why is Why.MISS and age < 1 else [cachestatus.age_line(age), status]


@dataclass(slots=True)
class Hit:
    """What a plain request gets of what is stored under *policy*, while Age and ttl are the same.

    That is from *since* until *until*, in seconds since the epoch.
    """

    policy: Policy
    since: float
    until: float
    head: OutgoingResponse
    content_type: bytes


def hit(entry: Entry, policy: Policy, now: float) -> Hit | None:
    """Return what a request that is_plain gets of *entry*, None where it isn't fresh."""
    stored = entry.stored
    known = stored.memo.hit
    if isinstance(known, Hit) and known.since <= now < known.until and known.policy is policy:
        return known
    fresh_until = freshness.terms(stored, policy).fresh_until
    if now >= fresh_until or not entry.is_complete:
        return None
    head = _whole(stored, entry.size, status_lines(stored, policy, now, Why.HIT)).head
    until = now + 1.0 - freshness.age(stored, now) % 1.0
    if math.isfinite(fresh_until):
        until = min(until, now + (fresh_until - now) % 1.0)
    found = stored.memo.hit = Hit(policy, now, until, head, content_type(stored))
    return found


def content_type(stored: Stored) -> bytes:
    """Return what the log says of the content of *stored*."""
    return stored.fields.combined.get(b"content-type", b"")


def forwarded(
    head: OutgoingResponse, is_stored: bool = False, fwd: Fwd = Fwd.MISS
) -> OutgoingResponse:
    """Return *head* of an answer that passes by, because of *fwd*.

    What *is_stored* meanwhile is always something that wasn't there.
    """
    lines = [*head.lines, _FORWARDED_AND_STORED if is_stored else _FORWARDED[fwd]]
    return OutgoingResponse(head.status, head.reason, head.fields, lines)


def has(entry: Entry, selected: Selected) -> bool:
    """Is what was *selected* there?"""
    if entry.is_complete or selected.pieces == ():
        return True
    if selected.pieces is None:
        return False
    ranges_of = [piece for piece in selected.pieces if isinstance(piece, ByteRange)]
    return all(_is_there(entry, piece) for piece in ranges_of)


def _is_there(entry: Entry, piece: ByteRange) -> bool:
    return any(start <= piece.offset and piece.end <= end for start, end in entry.extents)


async def send(
    store: CacheStore, entry: Entry, selected: Selected, method: bytes, reply: Reply
) -> None:
    """Send what was *selected* of *entry*; raises EntryGone before anything is sent."""
    head, pieces = selected.head, selected.pieces
    if method == b"HEAD" or pieces == ():
        reply.pass_on(head, b"")
    elif entry.content is not None:
        content = entry.content
        if pieces is not None:
            content = b"".join(_taken(content, piece) for piece in pieces)
        reply.pass_on(head, content)
    else:
        body = await store.opened(entry)
        try:
            wanted = [ByteRange(0, entry.size)] if pieces is None else pieces
            placed = [_placed(piece, body.offset) for piece in wanted]
            await reply.answer_pieces(head, body, placed, is_ours=False)
        finally:
            body.close()


def _taken(content: bytes, piece: bytes | ByteRange) -> bytes:
    return piece if isinstance(piece, bytes) else content[piece.offset : piece.end]


def _placed(piece: bytes | ByteRange, offset: int) -> bytes | ByteRange:
    return piece if isinstance(piece, bytes) else ByteRange(piece.offset + offset, piece.size)
