"""What a plain request gets of what is in memory, worked out once for all who ask in its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.cache import serving
from proxyapp.cache.serving import Why
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.store.entry import Entry
from tests.rules.caching.heads import NOW, stored

HOUR = b"Cache-Control: max-age=3600"


def entry(*lines: bytes, size: int = 3, total: int = 3, policy: Policy = DEFAULT) -> Entry:
    """Return what is stored of a response with the field *lines*, *size* bytes of *total*."""
    head = replace(stored(*lines, policy=policy), total=total)
    return Entry(b"http://origin.test/thing", 1, head, size, ((0, size),), b"abc"[:size])


@pytest.mark.parametrize(
    ("found", "after"),
    [
        (entry(b"Cache-Control: max-age=0"), 0),
        (entry(HOUR, b"Age: 3600"), 0),
        (entry(HOUR), 3600),
        (entry(b"Cache-Control: no-cache, max-age=9"), 0),
        (entry(b"Cache-Control: max-age=1, stale-while-revalidate=9"), 2),
        (entry(HOUR, size=2), 0),
        (entry(HOUR, policy=Policy(ignore=frozenset((b"authorization",)))), 3600),
    ],
)
def test_no_hit(found: Entry, after: float) -> None:
    """What isn't fresh, or not whole, takes the longer way, though it was a hit before."""
    serving.hit(found, DEFAULT, NOW)
    assert serving.hit(found, DEFAULT, NOW + after) is None


@given(st.lists(st.floats(-5, 3599, allow_nan=False), min_size=1))
def test_each_hit_says_what_is_right_then(moments: list[float]) -> None:
    """Age and ttl are those of the moment, in whatever order the moments come."""
    found = entry(HOUR, b"Content-Length: 3")
    for after in moments:
        hit = serving.hit(found, DEFAULT, NOW + after)
        assert hit is not None
        said = serving.status_lines(found.stored, DEFAULT, NOW + after, Why.HIT)
        assert list(hit.head.lines) == [*found.stored.fields.lines, *said]


def test_a_hit_is_remembered_for_a_second() -> None:
    """Who asks within the same second gets the same head, which is written once."""
    found = entry(HOUR)
    first = serving.hit(found, DEFAULT, NOW + 0.25)
    assert first is not None
    assert serving.hit(found, DEFAULT, NOW + 0.9) is first
    assert serving.hit(found, DEFAULT, NOW + 1) is not first


def test_a_hit_is_remembered_for_its_policy() -> None:
    """Another rule has other lifetimes."""
    found = entry(HOUR)
    assert serving.hit(found, DEFAULT, NOW) is not None
    assert serving.hit(found, Policy(ttl=0.0), NOW) is None
    longer = serving.hit(found, Policy(ttl=7200.0), NOW)
    assert longer is not None
    assert b"Cache-Status: proxyapp; hit; ttl=7200" in longer.head.lines


def test_a_revised_entry_has_hits_of_its_own() -> None:
    """What a 304 or an invalidation changes isn't served as it was."""
    found = entry(HOUR)
    assert serving.hit(found, DEFAULT, NOW) is not None
    invalid = replace(found, stored=replace(found.stored, is_invalid=True))
    assert serving.hit(invalid, DEFAULT, NOW) is None


def test_the_length_is_said() -> None:
    """What came in chunks has a length now."""
    hit = serving.hit(entry(HOUR), DEFAULT, NOW)
    assert hit is not None
    assert b"Content-Length: 3" in hit.head.lines
