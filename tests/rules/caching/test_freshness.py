"""Age and lifetime of what is stored."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching import freshness, storing
from proxyapp.rules.caching.directives import LONGEST
from proxyapp.rules.caching.policy import DEFAULT, Policy
from tests.rules.caching.heads import (
    AN_HOUR,
    CHANGED_YESTERDAY,
    DAY,
    NOW,
    dated,
    fields,
    request,
    response,
    stored,
)

EXPIRES = b"Expires: "
YEAR_2050 = 2_544_400_878  # Thu, 18 Aug 2050 02:01:18 GMT


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((b"Age: abc",), 0),
        ((b"Age: -7200",), 0),
        ((b"Age: 7200.0",), 0),
        ((b"Age: 7200;foo=bar",), 0),
        ((b"Age: ",), 0),
        ((b"Age: , 7200",), 0),
        ((b"Age: 0, 7200",), 0),
        ((b"Age: 0", b"Age: 7200"), 0),
        ((b"Age: 7200, 0",), 7200),
        ((b"Age: 7200", b"Age: 0"), 7200),
        ((b"Age: 3600", b"Age: 3600"), 3600),
        ((b"Age: 2147483647",), LONGEST - 1),
        ((b"Age: 2147483649",), LONGEST),
        ((b"Age: 99999999999",), LONGEST),
        ((), 0),
        ((dated(b"Date", -60),), 60),
        ((dated(b"Date", -60), b"Age: 50"), 60),
        ((dated(b"Date", -60), b"Age: 70"), 70),
        ((dated(b"Date", 60),), 0),
        ((b"Date: foo", b"Age: 5"), 5),
    ],
)
def test_age_on_arrival(lines: tuple[bytes, ...], seconds: float) -> None:
    """The first Age counts if it is a number, and Date where that says more."""
    entry = stored(*lines, AN_HOUR)
    assert freshness.age(entry, NOW) == seconds
    assert freshness.age(entry, NOW + 10.5) == seconds + 10.5


def test_age_and_delay() -> None:
    """The time under way is added, and clocks that go backwards add nothing."""
    head = response(AN_HOUR, b"Age: 5")
    late = storing.stored(request(), head, DEFAULT, NOW - 3, NOW)
    assert freshness.age(late, NOW + 1) == 9
    assert freshness.age(late, NOW - 100) == 8
    backwards = storing.stored(request(), response(AN_HOUR), DEFAULT, NOW + 50, NOW)
    assert freshness.age(backwards, NOW) == 0


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((b"Cache-Control: max-age=0", dated(b"Expires", 3600)), 0),
        ((b"Cache-Control: max-age=x", dated(b"Expires", 3600)), 0),
        ((b"Cache-Control: max-age=3600", dated(b"Expires", -7200)), 3600),
        ((b"Cache-Control: max-age=3600", b"Expires: 0"), 3600),
        ((b"Cache-Control: max-age=3600, s-maxage=1",), 1),
        ((b"Cache-Control: s-maxage=1", b"Cache-Control: max-age=3600"), 1),
        ((b"Cache-Control: max-age=0, s-maxage=3600", dated(b"Expires", -10)), 3600),
        ((b"Cache-Control: s-maxage=x, max-age=3600",), 0),
        ((dated(b"Expires", 0),), 0),
        ((dated(b"Expires", -30 * DAY),), 0),
        ((dated(b"Expires", 300), dated(b"Date", 400)), 0),
        ((dated(b"Expires", 10), b"Date: foo"), 10),
        ((dated(b"Expires", 10), dated(b"Date", -10)), 20),
        ((dated(b"Expires", 20), dated(b"Date", 10)), 10),
        ((dated(b"Expires", 30 * DAY),), 30 * DAY),
        ((b"Expires: 0", CHANGED_YESTERDAY), 0),
        ((b"CDN-Cache-Control: max-age=3600",), 0),
    ],
)
def test_explicit_lifetimes(lines: tuple[bytes, ...], seconds: float) -> None:
    """s-maxage goes before max-age, and that before Expires."""
    assert freshness.lifetime(stored(*lines), DEFAULT) == seconds


@pytest.mark.parametrize(
    ("value", "is_read"),
    [
        (b"0", False),
        (b"-1", False),
        (b"", False),
        (b"Thu, 18 Aug 2050 02:01:18 UTC", False),
        (b"Thu, 18 Aug 2050 02:01:18 AEST", False),
        (b"Thu, 18 Aug 2050 02:01:18 +0000", False),
        (b"Thu, 18 Aug 50 02:01:18 GMT", False),
        (b"Thu 18 Aug 2050 02:01:18 GMT", False),
        (b"Thu, 18  Aug  2050 02:01:18 GMT", False),
        (b"Thu, 18-Aug-2050 02:01:18 GMT", False),
        (b"Thu, 18 Aug 2050 02.01.18 GMT", False),
        (b"Thu, 18 Aug 2050 2:01:18 GMT", False),
        (b"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", False),
        (b"Thu, 38 Aug 2050 02:01:18 GMT", False),
        (b"x" * 4000, False),
        (b"Thu, 18 Aug 2050 02:01:18 GMT", True),
        (b"THU, 18 Aug 2050 02:01:18 GMT", True),
        (b"Thu, 18 AUG 2050 02:01:18 GMT", True),
        (b"thu, 18 aug 2050 02:01:18 gMT", True),
        (b"Thursday, 18-Aug-50 02:01:18 GMT", True),
        (b"THURSDAY, 18-AUG-50 02:01:18 gmt", True),
        (b"Thu Aug 18 02:01:18 2050", True),
    ],
)
def test_expires(value: bytes, is_read: bool) -> None:
    """Three forms of a date are read, in any case; anything else is in the past."""
    assert (freshness.date_in(fields(EXPIRES + value), b"expires") == YEAR_2050) is is_read
    lifetime = freshness.lifetime(stored(EXPIRES + value), DEFAULT)
    assert lifetime == (YEAR_2050 - NOW if is_read else 0)


def test_far_future() -> None:
    """Dates past 2038 are dates."""
    for value in (b"Tue, 19 Jan 2038 14:14:08 GMT", b"Sun, 21 Nov 2286 04:46:39 GMT"):
        assert freshness.lifetime(stored(EXPIRES + value), DEFAULT) > 10 * DAY


# By guess.


@pytest.mark.parametrize(
    ("status", "lines", "seconds"),
    [(status, (), 0) for status in (201, 202, 299, 302, 403, 500, 502, 503, 504, 599)]
    + [(status, (), DAY / 10) for status in (200, 203, 204, 300, 301, 308)]
    + [(status, (), freshness.LONGEST_REFUSAL) for status in (404, 405, 410, 414, 501)]
    + [
        (599, (b"Cache-Control: public",), freshness.LONGEST_REFUSAL),
        (202, (b"Cache-Control: public",), DAY / 10),
        (200, (b"Pragma: no-cache",), 0),
        (200, (b"Pragma: foo",), DAY / 10),
        (200, (b"Pragma: no-cache", b"Cache-Control: public"), DAY / 10),
        (200, (b"Cache-Control: must-revalidate",), DAY / 10),
        (200, (b"Content-Disposition: attachment",), DAY / 10),
    ],
)
def test_heuristic_lifetimes(status: int, lines: tuple[bytes, ...], seconds: float) -> None:
    """A tenth of the time since the change, for statuses that allow guessing; refusals briefly."""
    entry = stored(CHANGED_YESTERDAY, *lines, status=status)
    assert freshness.lifetime(entry, DEFAULT) == seconds


@pytest.mark.parametrize(
    ("lines", "policy", "seconds"),
    [
        ((), DEFAULT, 0),
        ((b"Last-Modified: x",), DEFAULT, 0),
        ((dated(b"Last-Modified", 60),), DEFAULT, 0),
        ((dated(b"Last-Modified", -100 * DAY),), DEFAULT, DAY),
        ((dated(b"Last-Modified", -100),), Policy(heuristic_fraction=0.5), 50),
        ((dated(b"Last-Modified", -100),), Policy(heuristic_cap=5), 5),
        ((dated(b"Last-Modified", -100),), Policy(heuristic_fraction=0), 0),
        ((dated(b"Last-Modified", -100), b"Date: x"), DEFAULT, 10),
        ((dated(b"Last-Modified", -100), dated(b"Date", 100)), DEFAULT, 20),
    ],
)
def test_how_guesses_are_made(lines: tuple[bytes, ...], policy: Policy, seconds: float) -> None:
    """The fraction and the cap are the policy's."""
    assert freshness.lifetime(stored(*lines), policy) == seconds


# By rule.


@pytest.mark.parametrize(
    ("status", "policy", "ttl", "seconds"),
    [
        (200, DEFAULT, 60, 60),
        (200, DEFAULT, 0, 0),
        (200, DEFAULT, -1, 0),
        (200, Policy(ttl=30), None, 30),
        (200, Policy(ttl=30), 60, 60),
        (301, DEFAULT, 60, 60),
        (404, DEFAULT, DAY, freshness.LONGEST_REFUSAL),
        (404, DEFAULT, 6, 6),
        (302, DEFAULT, 60, 3600),
        (503, DEFAULT, 60, 3600),
    ],
)
def test_a_lifetime_of_ours(status: int, policy: Policy, ttl: float | None, seconds: float) -> None:
    """A ttl goes before what the origin says, but not for errors and what is temporary."""
    entry = stored(AN_HOUR, status=status, ttl=ttl)
    assert freshness.lifetime(entry, policy) == seconds


def test_a_lifetime_of_ours_begins_here() -> None:
    """However old something was on arrival, it is fresh for its ttl."""
    entry = stored(AN_HOUR, b"Age: 500000", ttl=60)
    assert freshness.lifetime(entry, DEFAULT) - freshness.age(entry, NOW) == 60


# Terms.


@pytest.mark.parametrize(
    ("control", "fresh", "refreshing", "failing"),
    [
        (b"no-cache, max-age=5", None, None, None),
        (b"max-age=5", 5, 5, 5 + DAY),
        (b"max-age=5, must-revalidate", 5, None, 5),
        (b"max-age=5, proxy-revalidate, stale-if-error=9", 5, None, 5),
        (b"s-maxage=5", 5, 5, 5),
        (b"s-maxage=5, stale-if-error=9", 5, 5, 14),
        (b"s-maxage=5, stale-while-revalidate=9", 5, 14, 14),
        (b"max-age=5, stale-while-revalidate=9", 5, 14, 5 + DAY),
        (b"max-age=5, stale-if-error=200000", 5, 5, 200005),
        (b'no-cache="a", max-age=5', 5, 5, 5 + DAY),
    ],
)
def test_terms(
    control: bytes, fresh: int | None, refreshing: int | None, failing: int | None
) -> None:
    """The limits follow from the directives; None stands for never."""
    terms = freshness.terms(stored(b"Cache-Control: " + control), DEFAULT)
    until = (terms.fresh_until, terms.refreshing_until, terms.failing_until)
    wanted = [
        float("-inf") if each is None else NOW + each for each in (fresh, refreshing, failing)
    ]
    assert list(until) == wanted


def test_terms_are_kept_for_a_policy() -> None:
    """They are worked out once, and again for another policy."""
    entry, other = stored(AN_HOUR), Policy(ttl=5)
    assert freshness.terms(entry, DEFAULT) is freshness.terms(entry, DEFAULT)
    assert freshness.terms(entry, other).fresh_until == NOW + 5
    assert freshness.terms(entry, DEFAULT).fresh_until == NOW + 3600


def test_a_ttl_goes_before_no_cache() -> None:
    """no-cache is a lifetime of 0 by another name, until the ttl has ended."""
    terms = freshness.terms(stored(b"Cache-Control: no-cache", ttl=60), DEFAULT)
    assert (terms.fresh_until, terms.failing_until) == (NOW + 60, NOW + 60)
