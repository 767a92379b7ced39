"""How a stored response is validated, and what the answer changes (RFC 9111 section 4.3)."""

from __future__ import annotations

from dataclasses import replace

from proxyapp.rules import conditions
from proxyapp.rules.caching import freshness, storing
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import Outcome, Validators, http_date
from proxyapp.wire import headers
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead, ResponseHead

# Section 3.2: what says how to read the bytes that are there stays. So does Vary, for what was
# sent in the fields it would name now isn't known, and the tag by which the bytes are known.
_UNCHANGED = frozenset(
    b"content-encoding content-length content-range content-type etag vary".split()
)
# RFC 9110 section 8.8.2.2 asks for a second between a change and the answer. Clocks of one origin
# differ by more.
_SURELY_PAST = 60
# Answers to HEAD that are about the request, or the origin's dislike of HEAD.
_SAYS_NOTHING = storing.OF_THE_MOMENT | {405}


def condition_lines(stored: Stored) -> list[bytes]:
    """Return the field lines that make a request validate *stored* (section 4.3.1).

    The values are the origin's own, as it spelled them. Empty where there is nothing to ask by.
    """
    lines = []
    etag = _etag(stored.fields)
    if etag is not None:
        lines.append(b"If-None-Match: " + etag)
    if freshness.date_in(stored.fields, b"last-modified") is not None:
        lines.append(b"If-Modified-Since: " + stored.fields.combined[b"last-modified"])
    return lines


def _etag(fields: Fields) -> bytes | None:
    """Return the entity tag as it is spelled, None where it isn't one.

    Origins that forget the quotes know their tags again without.
    """
    value = fields.get(b"etag")
    if not value or b"etag" in fields.repeated:
        return None
    if conditions.parse_entity_tag(value) is None and not headers.is_token(value):
        return None
    return value


def validators(stored: Stored) -> Validators:
    """Return what *stored* can be told from other states by."""
    etag = stored.fields.get(b"etag")
    tag = None if etag is None else conditions.parse_entity_tag(etag)
    return Validators(tag, freshness.date_in(stored.fields, b"last-modified"))


def outcome(request: RequestHead, stored: Stored) -> Outcome:
    """Say what the conditions of *request* want done with *stored* (section 4.3.2).

    Asked where *stored* may be used; PRECONDITION_FAILED is for origins, and doesn't come if
    `reuse.may_look_up` was asked.
    """
    if stored.status != 200:
        return Outcome.SEND
    etag, changed = validators(stored)
    if changed is None:
        # What isn't known to have changed had not after it was made.
        changed = freshness.date_in(stored.fields, b"date")
    if changed is None:
        changed = int(stored.arrived_at)
    return conditions.evaluate(request.method, request.fields, Validators(etag, changed))


def strong_validator(stored: Stored) -> bytes | None:
    """Return what If-Range may say, and parts are joined by; None if nothing is strong enough.

    It is the entity tag, or the date of Last-Modified if there is no tag (RFC 9110 sections 8.8.2.2
    and 13.1.5).
    """
    fields = stored.fields
    if b"etag" in fields:
        tag = validators(stored).etag
        return None if tag is None or tag.is_weak else fields.combined[b"etag"]
    changed = freshness.date_in(fields, b"last-modified")
    made = freshness.date_in(fields, b"date")
    if changed is None or made is None or made - changed < _SURELY_PAST:
        return None
    return fields.combined[b"last-modified"]


def is_about(stored: Stored, head: ResponseHead) -> bool:
    """Does a 304 say that *stored*, and not another state, is current (section 4.3.4)?

    Where it doesn't, *stored* is of no more use, and the request is made again without conditions.
    """
    given, known = _etag(head.fields), _etag(stored.fields)
    if given is not None and known is not None:
        return _opaque(given) == _opaque(known)
    changed = freshness.date_in(head.fields, b"last-modified")
    before = freshness.date_in(stored.fields, b"last-modified")
    return changed is None or before is None or changed == before


def _opaque(etag: bytes) -> bytes:
    return etag.removeprefix(b"W/")


def updated(
    stored: Stored,
    head: ResponseHead,
    asked_at: float,
    arrived_at: float,
    policy: Policy = DEFAULT,
) -> Stored:
    """Return *stored* as the 304 *head*, or the answer to a HEAD, updates it (section 3.2).

    Times are in seconds since the epoch. Whether the result may still be stored is for
    `storing.refusal` to say, of its fields; it answers this request in any case.
    """
    kept = _UNCHANGED | storing.not_stored(head.fields, policy)
    lines = head.fields.lines_without(kept)
    if b"date" not in head.fields:
        lines.append(b"Date: " + http_date(int(arrived_at)))
    replaced = frozenset(headers.of_lines(lines).names())
    return replace(
        stored,
        fields=headers.of_lines(stored.fields.lines_without(replaced) + lines),
        asked_at=asked_at - freshness.age_in(head.fields),
        arrived_at=arrived_at,
        is_invalid=False,
    )


def freshened_by_head(
    stored: Stored,
    head: ResponseHead,
    asked_at: float,
    arrived_at: float,
    policy: Policy = DEFAULT,
) -> Stored | None:
    """Return *stored* as the answer to a HEAD updates it (section 4.3.5).

    None where the answer shows that *stored* is of another state, and must not be used before it
    is validated. An answer that says nothing of the resource, as 503 does, changes nothing.
    """
    if head.status >= 500 or head.status in _SAYS_NOTHING:
        return stored
    if head.status != stored.status or not _is_same(stored, head.fields):
        return None
    return updated(stored, head, asked_at, arrived_at, policy)


def _is_same(stored: Stored, fields: Fields) -> bool:
    known = stored.fields
    for name in (b"etag", b"last-modified"):
        if name in fields and name in known and fields.get(name) != known.get(name):
            return False
    if stored.total is None or b"content-length" not in fields:
        return True
    return fields.get(b"content-length") == b"%d" % stored.total
