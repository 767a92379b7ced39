"""Validating what is stored, and what comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyapp.rules.caching import freshness, reuse, validation
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.conditions import EntityTag, Outcome, Validators
from proxyapp.wire.messages import ResponseHead
from tests.rules.caching.heads import (
    AN_HOUR,
    CHANGED_YESTERDAY,
    DATE,
    DAY,
    ETAG,
    NOW,
    dated,
    request,
    response,
    stored,
)

OLD_CASE = b"Last-Modified: SAT, 01 Jan 2022 00:00:00 gmt"


@pytest.mark.parametrize(
    ("lines", "conditions"),
    [
        ((), []),
        ((b"ETag: ",), []),
        ((b'ETag: "a", "b"',), []),
        ((b'ETag: "a"', b'ETag: "a"'), []),
        ((b"Last-Modified: yesterday",), []),
        ((b'ETag: "abc"',), [b'If-None-Match: "abc"']),
        ((b'ETag: W/"abc"',), [b'If-None-Match: W/"abc"']),
        ((b"ETag: abc",), [b"If-None-Match: abc"]),
        ((b'etag: "\xfc"',), [b'If-None-Match: "\xfc"']),
        ((OLD_CASE,), [b"If-Modified-Since: SAT, 01 Jan 2022 00:00:00 gmt"]),
    ],
)
def test_conditions(lines: tuple[bytes, ...], conditions: list[bytes]) -> None:
    """The origin is asked by what it said, as it said it."""
    assert validation.condition_lines(stored(*lines, AN_HOUR)) == conditions


def test_both_conditions() -> None:
    """Where there are two validators both are sent."""
    lines = validation.condition_lines(stored(ETAG, CHANGED_YESTERDAY))
    assert lines == [b'If-None-Match: "abc"', dated(b"If-Modified-Since", -DAY)]


def test_validators() -> None:
    """They are what conditions and ranges are judged by."""
    assert validation.validators(stored(AN_HOUR)) == Validators(None, None)
    assert validation.validators(stored(b"ETag: x", b"Last-Modified: x")) == (None, None)
    both = validation.validators(stored(b'ETag: W/"a"', CHANGED_YESTERDAY))
    assert both == Validators(EntityTag(b"a", is_weak=True), NOW - DAY)


SEND, SAME = Outcome.SEND, Outcome.NOT_MODIFIED
TAGGED = stored(AN_HOUR, b'ETag: "abcdef"', dated(b"Last-Modified", -5000))


@pytest.mark.parametrize(
    ("lines", "entry", "outcome"),
    [
        ((), TAGGED, SEND),
        ((b'If-None-Match: "x"',), TAGGED, SEND),
        ((b"If-None-Match: abcdef",), TAGGED, SEND),
        ((b'If-None-Match: "x"', dated(b"If-Modified-Since", 0)), TAGGED, SEND),
        ((dated(b"If-Modified-Since", -5001),), TAGGED, SEND),
        ((b'If-None-Match: "abcdef"',), stored(AN_HOUR, status=404), SEND),
        ((b'If-None-Match: "abcdef"',), stored(AN_HOUR, ETAG, status=203), SEND),
        ((b'If-None-Match: "abcdef"',), TAGGED, SAME),
        ((b'If-None-Match: W/"abcdef"',), TAGGED, SAME),
        ((b'If-None-Match: "1", "abcdef", "2"',), TAGGED, SAME),
        ((b'If-None-Match: "1"', b'If-None-Match: "abcdef"'), TAGGED, SAME),
        ((b'If-None-Match: "abcdef"', dated(b"If-Modified-Since", -10000)), TAGGED, SAME),
        ((dated(b"If-Modified-Since", -5000),), TAGGED, SAME),
        ((dated(b"If-Modified-Since", -2000),), TAGGED, SAME),
        # Without Last-Modified the Date counts, and without that when it came.
        ((dated(b"If-Modified-Since", -1),), stored(AN_HOUR), SEND),
        ((dated(b"If-Modified-Since", 0),), stored(AN_HOUR), SAME),
        ((dated(b"If-Modified-Since", -1),), stored(AN_HOUR, b"Date: x"), SEND),
        ((dated(b"If-Modified-Since", 0),), stored(AN_HOUR, b"Date: x"), SAME),
    ],
)
def test_conditions_of_clients(lines: tuple[bytes, ...], entry: Stored, outcome: Outcome) -> None:
    """A client that has the same already needn't get it again."""
    assert validation.outcome(request(*lines), entry) is outcome


@pytest.mark.parametrize(
    ("lines", "validator"),
    [
        ((), None),
        ((b'ETag: W/"a"', CHANGED_YESTERDAY), None),
        ((b"ETag: a", CHANGED_YESTERDAY), None),
        ((dated(b"Last-Modified", -59),), None),
        ((dated(b"Last-Modified", 60),), None),
        ((CHANGED_YESTERDAY, b"Date: x"), None),
        ((dated(b"Last-Modified", -60),), dated(b"", -60)[2:]),
        ((b'ETag: "a"', dated(b"Last-Modified", 0)), b'"a"'),
    ],
)
def test_strong_validators(lines: tuple[bytes, ...], validator: bytes | None) -> None:
    """Bytes are joined by what changes whenever they do."""
    assert validation.strong_validator(stored(*lines)) == validator


# 304.


@pytest.mark.parametrize(
    ("known", "said", "is_it"),
    [
        ((b'ETag: "a"',), (b'ETag: "b"',), False),
        ((b'ETag: "a"', CHANGED_YESTERDAY), (b'ETag: "b"', CHANGED_YESTERDAY), False),
        ((CHANGED_YESTERDAY,), (dated(b"Last-Modified", -5),), False),
        ((b"ETag: a",), (b"ETag: b",), False),
        ((b'ETag: "a"',), (), True),
        ((b'ETag: "a"',), (b'ETag: "a"',), True),
        ((b'ETag: "a"',), (b'ETag: W/"a"',), True),
        ((b'ETag: "a"', CHANGED_YESTERDAY), (b'ETag: "a"', dated(b"Last-Modified", -5)), True),
        ((CHANGED_YESTERDAY,), (CHANGED_YESTERDAY,), True),
        ((CHANGED_YESTERDAY,), (b'ETag: "a"',), True),
        ((b"ETag: a",), (b"ETag: a",), True),
    ],
)
def test_what_a_304_is_about(
    known: tuple[bytes, ...], said: tuple[bytes, ...], is_it: bool
) -> None:
    """It is about what is stored unless it says otherwise."""
    assert validation.is_about(stored(*known), response(*said, status=304)) is is_it


def update(entry: Stored, *lines: bytes) -> Stored:
    """Return *entry* as a 304 with *lines* updates it a minute later."""
    head = response(*lines, status=304, is_dated=False)
    return validation.updated(entry, head, NOW + 60, NOW + 60)


@pytest.mark.parametrize(
    ("name", "is_updated"),
    [
        (b"Content-Encoding", False),
        (b"Content-Length", False),
        (b"Content-Range", False),
        (b"Content-Type", False),
        (b"ETag", False),
        (b"Vary", False),
        (b"Cache-Control", True),
        (b"Clear-Site-Data", True),
        (b"Content-Foo", True),
        (b"Content-Location", True),
        (b"Content-MD5", True),
        (b"Content-Security-Policy", True),
        (b"Expires", True),
        (b"Last-Modified", True),
        (b"Set-Cookie", True),
        (b"Test-Header", True),
        (b"X-Content-Foo", True),
        (b"X-Frame-Options", True),
    ],
)
def test_what_a_304_changes(name: bytes, is_updated: bool) -> None:
    """A 304 brings new fields, but not those that say how to read the bytes that are there."""
    entry = stored(AN_HOUR, name + b": 1", b"Kept: x")
    changed = update(entry, name.lower() + b": 2")
    assert changed.fields.values(name.lower())[-1:] == [b"2" if is_updated else b"1"]
    assert changed.fields.get(b"kept") == b"x"


def test_all_lines_of_a_field_are_replaced() -> None:
    """What has several lines is replaced as one."""
    entry = update(stored(AN_HOUR, b"A: 1", b"A: 2", b"B: 1"), b"A: 3", b"A: 4")
    assert entry.fields.values(b"a") == [b"3", b"4"]
    assert entry.fields.values(b"b") == [b"1"]


def test_fields_of_the_hop_update_nothing() -> None:
    """Neither do fields that Connection names, nor cookies where they are ignored."""
    entry = stored(AN_HOUR, b"A: 1")
    kept = update(entry, b"Connection: a", b"A: 2", b"Proxy-Authenticate: x", b"Trailer: x")
    assert kept.fields.lines[:2] == [AN_HOUR, b"A: 1"]
    assert len(kept.fields) == len(entry.fields)
    head = response(b"Set-Cookie: a=b", status=304)
    ignoring = validation.updated(entry, head, NOW, NOW, Policy(ignore_cookies=True))
    assert b"set-cookie" not in ignoring.fields


def test_an_update_makes_fresh() -> None:
    """Age begins anew, by the Date of the 304 or when it came, and what was invalid is good."""
    entry = replace(stored(b"Cache-Control: max-age=50", b"Age: 40"), is_invalid=True)
    assert freshness.age(entry, NOW + 60) == 100
    fresh = update(entry)
    assert (freshness.age(fresh, NOW + 60), fresh.is_invalid) == (0, False)
    assert reuse.judge(request(), fresh, DEFAULT, NOW + 60) is reuse.Use.FRESH
    assert freshness.age(update(entry, b"Age: 9"), NOW + 60) == 9
    assert freshness.age(update(entry, dated(b"Date", 40)), NOW + 60) == 20


def test_an_update_keeps_the_rest() -> None:
    """Status, variant, lifetime and size are what they were."""
    asked = request(b"Foo: 1")
    lines = (AN_HOUR, b"Vary: Foo", b"Content-Length: 36")
    entry = stored(*lines, asked=asked, ttl=5, status=203)
    changed = update(entry, b"Content-Length: 10")
    assert (changed.status, changed.reason, changed.total) == (203, b"Reason", 36)
    assert (changed.varying, changed.ttl) == (entry.varying, 5)
    assert entry.fields.lines == [*lines, DATE]


# HEAD.


@pytest.mark.parametrize(
    "head",
    [
        response(status=404),
        response(status=410),
        response(status=301),
        response(b'ETag: "b"'),
        response(b'ETag: W/"a"'),
        response(dated(b"Last-Modified", 0)),
        response(b"Content-Length: 37"),
        response(b"Content-Length: x"),
    ],
)
def test_head_of_another_state(head: ResponseHead) -> None:
    """Another status, validator or size shows that what is stored isn't current."""
    entry = stored(AN_HOUR, b'ETag: "a"', CHANGED_YESTERDAY, b"Content-Length: 36")
    assert validation.freshened_by_head(entry, head, NOW, NOW) is None


@pytest.mark.parametrize("status", [304, 401, 405, 407, 408, 412, 429, 500, 501, 503, 504])
def test_head_that_says_nothing(status: int) -> None:
    """A failed HEAD changes nothing."""
    entry = stored(AN_HOUR)
    assert validation.freshened_by_head(entry, response(status=status), NOW, NOW) is entry


def test_head_updates() -> None:
    """A HEAD of the same state brings new fields and makes fresh, and keeps the other ones."""
    entry = stored(b"Cache-Control: max-age=2", ETAG, b"A: 1", b"B: 1", b"Content-Length: 36")
    head = response(b"Cache-Control: max-age=1000", ETAG, b"A: 2", b"Content-Length: 36")
    fresh = validation.freshened_by_head(entry, head, NOW + 5, NOW + 5)
    assert fresh is not None
    assert reuse.judge(request(), fresh, DEFAULT, NOW + 500) is reuse.Use.FRESH
    assert (fresh.fields.get(b"a"), fresh.fields.get(b"b"), fresh.total) == (b"2", b"1", 36)
