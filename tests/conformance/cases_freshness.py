"""Cases of how long an answer is fresh: lifetimes, ages, dates, and what is no date."""

from __future__ import annotations

from tests.conformance.case import (
    PAST_ONE_SECOND,
    Case,
    anew,
    is_reused,
    never_reused,
    reused,
    stored,
)

_HOUR = "Cache-Control: max-age=3600"


def _outlived(id_: str, *says: str) -> Case:
    return never_reused(id_, *says, pause=PAST_ONE_SECOND)


# RFC 9111 section 4.2.1, with the directives of 5.2.2.

LIFETIMES = [
    _outlived("freshness-max-age-stale", "Cache-Control: max-age=1"),
    never_reused("freshness-max-age-0", "Cache-Control: max-age=0"),
    never_reused("freshness-max-age-age", _HOUR, "Age: 7200"),
    never_reused("freshness-max-age-0-expires", "Expires: <+3600>", "Cache-Control: max-age=0"),
    never_reused("freshness-max-age-negative", "Cache-Control: max-age=-3600"),
    is_reused("freshness-s-maxage-shared", "Cache-Control: s-maxage=3600"),
    _outlived(
        "freshness-max-age-s-maxage-shared-longer", "Cache-Control: max-age=3600, s-maxage=1"
    ),
    _outlived(
        "freshness-max-age-s-maxage-shared-longer-reversed",
        "Cache-Control: s-maxage=1, max-age=3600",
    ),
    _outlived(
        "freshness-max-age-s-maxage-shared-longer-multiple", _HOUR, "Cache-Control: s-maxage=1"
    ),
]

DIRECTIVES = [
    _outlived(
        "freshness-max-age-ignore-quoted", 'Cache-Control: extension="max-age=3600", max-age=1'
    ),
    _outlived(
        "freshness-max-age-ignore-quoted-rev",
        'Cache-Control: max-age=1, extension="max-age=3600"',
    ),
    is_reused("freshness-max-age-leading-zero", "Cache-Control: max-age=003600"),
    never_reused("freshness-max-age-single-quoted", "Cache-Control: max-age='3600'"),
]

# RFC 9111 section 5.1: the first member counts, and what is no number doesn't.

AGES = [
    never_reused("age-parse-large-minus-one", _HOUR, "Age: 2147483647"),
    never_reused("age-parse-large", _HOUR, "Age: 2147483648"),
    never_reused("age-parse-larger", _HOUR, "Age: 2147483649"),
    never_reused("age-parse-suffix", _HOUR, "Age: 7200, 0"),
    never_reused("age-parse-suffix-twoline", _HOUR, "Age: 7200", "Age: 0"),
    is_reused("age-parse-nonnumeric", _HOUR, "Age: abc"),
    is_reused("age-parse-negative", _HOUR, "Age: -7200"),
    is_reused("age-parse-float", _HOUR, "Age: 7200.0"),
    is_reused("age-parse-prefix", _HOUR, "Age: 0, 7200"),
    is_reused("age-parse-prefix-twoline", _HOUR, "Age: 0", "Age: 7200"),
    is_reused("age-parse-dup-0", _HOUR, "Age: 0, 0"),
    is_reused("age-parse-dup-0-twoline", _HOUR, "Age: 0", "Age: 0"),
    is_reused("age-parse-dup-old", "Cache-Control: max-age=10000", "Age: 3600", "Age: 3600"),
]

# RFC 9111 section 5.3.

EXPIRES = [
    never_reused("freshness-expires-past", "Expires: <-2592000>"),
    never_reused("freshness-expires-present", "Expires: <+0>"),
    never_reused("freshness-expires-old-date", "Expires: <+300>", "Date: <+400>"),
    never_reused("freshness-expires-invalid", "Expires: 0"),
    never_reused("freshness-expires-age-slow-date", "Date: <-10>", "Expires: <+10>", "Age: 25"),
    never_reused("freshness-expires-age-fast-date", "Date: <+10>", "Expires: <+20>", "Age: 15"),
]

_NO_DATES = {
    "utc": ["Thu, 18 Aug 2050 02:01:18 UTC"],
    "aest": ["Thu, 18 Aug 2050 02:01:18 AEST"],
    "2-digit-year": ["Thu, 18 Aug 50 02:01:18 GMT"],
    "no-comma": ["Thu 18 Aug 2050 02:01:18 GMT"],
    "multiple-spaces": ["Thu, 18  Aug  2050 02:01:18 GMT"],
    "date-dashes": ["Thu, 18-Aug-2050 02:01:18 GMT"],
    "time-periods": ["Thu, 18 Aug 2050 02.01.18 GMT"],
    "1-digit-hour": ["Thu, 18 Aug 2050 2:01:18 GMT"],
    "multiple-lines": ["Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 18 Aug 2050 2:01:19 GMT"],
}
NO_DATES = [
    never_reused(f"freshness-expires-invalid-{name}", *(f"Expires: {each}" for each in dates))
    for name, dates in _NO_DATES.items()
]

# RFC 9110 section 15.1 names the statuses with a heuristic lifetime; these aren't among them.

HEURISTICS = [
    Case(
        f"heuristic-{status}-not_cached",
        (stored("Last-Modified: <-86400>", status=status), anew(status=status)),
    )
    for status in (201, 202, 403, 502, 503, 504, 599)
]

_STATUSES = [200, 203, 204, 299, 301, 302, 303, 307, 308]
_STATUSES += [400, 404, 410, 499, 500, 502, 503, 504, 599]
_EXPIRED = ("Expires: <-5000>", "Last-Modified: <-100000>")
STATUSES = [
    Case(f"status-{status}-stale", (stored(*_EXPIRED, status=status), anew()))
    for status in _STATUSES
]

# The other half: without these, a cache that stores nothing would look good above.

FRESH = [
    never_reused("freshness-none"),
    is_reused("freshness-max-age", _HOUR),
    is_reused("freshness-expires-future", "Expires: <+2592000>"),
    *(
        Case(
            f"status-{status}-fresh",
            (stored("Cache-Control: max-age=100000", status=status), reused()),
        )
        for status in _STATUSES
    ),
]

REQUIRED = [
    *LIFETIMES,
    *DIRECTIVES,
    *AGES,
    *EXPIRES,
    *NO_DATES,
    *HEURISTICS,
    *STATUSES,
]
