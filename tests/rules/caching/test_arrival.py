"""What becomes of a response that was fetched, by what is stored and what it says."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching import arrival
from proxyapp.rules.caching.arrival import Fate, Present
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire import headers
from proxyapp.wire.messages import RequestHead, ResponseHead

FRESH = b"Cache-Control: max-age=100"
TAG = b'ETag: "a"'
REQUEST = RequestHead(b"GET", b"http://h/", 1, headers.of_lines([b"Host: h"]))
RANGED = RequestHead(b"GET", b"http://h/", 1, headers.of_lines([b"Range: bytes=5-"]))
STORED = Stored(200, b"OK", headers.of_lines([TAG, b"Cache-Control: max-age=0"]), 0.0, 0.0)
STRICT = Stored(
    200, b"OK", headers.of_lines([TAG, b"Cache-Control: max-age=0, must-revalidate"]), 0.0, 0.0
)
WHOLE = Present(STORED)
BROKEN_OFF = Present(STORED, 5)


def response(status: int, *lines: bytes) -> ResponseHead:
    """Return a response with these fields."""
    return ResponseHead(status, b"", 1, headers.of_lines(list(lines)))


REST = response(206, TAG, FRESH, b"Content-Range: bytes 5-9/10")
FATES = {
    "private": (None, response(200, b"Cache-Control: private"), Fate.PASS),
    "no lifetime": (None, response(200), Fate.PASS),
    "not asked for": (None, response(304), Fate.PASS),
    "fresh": (None, response(200, FRESH), Fate.STORE),
    "news": (WHOLE, response(200, FRESH), Fate.STORE),
    "news to nobody else": (WHOLE, response(200, b"Cache-Control: private"), Fate.PASS),
    "no news": (WHOLE, response(304, TAG), Fate.FRESHEN),
    "trouble": (WHOLE, response(503), Fate.STALE),
    "strict trouble": (Present(STRICT), response(503), Fate.PASS),
    "gone": (WHOLE, response(404, b"Cache-Control: no-store"), Fate.PASS),
    "the rest": (BROKEN_OFF, REST, Fate.CONTINUE),
    "another part": (
        BROKEN_OFF,
        response(206, TAG, b"Content-Range: bytes 4-9/10"),
        Fate.ANOTHER,
    ),
    "another content": (
        BROKEN_OFF,
        response(206, b'ETag: "b"', b"Content-Range: bytes 5-9/10"),
        Fate.ANOTHER,
    ),
    "shorter now": (BROKEN_OFF, response(416), Fate.ANOTHER),
    "all anew": (BROKEN_OFF, response(200, FRESH), Fate.STORE),
}


@pytest.mark.parametrize(("present", "came", "expected"), FATES.values(), ids=FATES)
def test_fate(present: Present | None, came: ResponseHead, expected: Fate) -> None:
    """Each response has its fate."""
    assert arrival.fate(REQUEST, came, DEFAULT, None, present, 10.0) is expected


def test_part_that_was_asked_for() -> None:
    """A 206 is stored as a part if the client asked for it."""
    assert arrival.fate(RANGED, REST, DEFAULT, None, None, 10.0) is Fate.STORE_PART
    assert arrival.fate(REQUEST, REST, DEFAULT, None, None, 10.0) is Fate.PASS


def test_rules_count() -> None:
    """What a rule keeps out is passed on, and a lifetime that it gives is enough."""
    off, week = Policy(is_off=True), Policy(ttl=604800.0)
    assert arrival.fate(REQUEST, response(200, FRESH), off, None, None, 0.0) is Fate.PASS
    assert arrival.fate(REQUEST, response(200), week, None, None, 0.0) is Fate.STORE
    assert arrival.fate(REQUEST, response(200), DEFAULT, 60.0, None, 0.0) is Fate.STORE


RESTS = {
    "trouble": (response(502), Fate.STALE),
    "the rest": (REST, Fate.CONTINUE),
    "all of it again": (response(200, TAG), Fate.REPEAT),
    "another": (response(200, b'ETag: "b"'), Fate.ANOTHER),
    "nothing": (response(416), Fate.ANOTHER),
    "gone": (response(404), Fate.ANOTHER),
}


@pytest.mark.parametrize(("came", "expected"), RESTS.values(), ids=RESTS)
def test_fate_of_rest(came: ResponseHead, expected: Fate) -> None:
    """What follows an interruption is joined only if it's of the same content."""
    assert arrival.fate_of_rest(STORED, 5, came) is expected
