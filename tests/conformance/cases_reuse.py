"""Cases of what is done with a stored answer: variants, validation, updates, staleness, ranges."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import (
    PAST_ONE_SECOND,
    Case,
    Comes,
    Step,
    anew,
    reused,
    stored,
)

_DAY = "Cache-Control: max-age=100000"
_HOUR = "Cache-Control: max-age=3600"

# RFC 9111 section 4.1.

_Fields = tuple[str, ...]
_ONE = ("Foo: 1",)
_TWO = ("Foo: 1", "Bar: abc")
_THREE = ("Foo: 1", "Bar: abc", "Baz: 789")
_ANY = ("Foo: 1", "Baz: 789")


def _variant(id_: str, vary: str | _Fields, first: _Fields, then: Step) -> Case:
    lines = (vary,) if isinstance(vary, str) else vary
    varying = (f"Vary: {line}" for line in lines)
    says = ("Cache-Control: max-age=5000", "Last-Modified: <-3000>", *varying)
    return Case(id_, (stored(*says, asks=first), then))


VARIANTS = [
    _variant("vary-no-match", "Foo", _ONE, anew("Foo: 2")),
    _variant("vary-omit-stored", "Foo", (), anew("Foo: 1")),
    _variant("vary-omit", "Foo", _ONE, anew()),
    _variant("vary-2-no-match", "Foo, Bar", _TWO, anew("Foo: 2", "Bar: abc")),
    _variant("vary-2-match-omit", "Foo, Bar", _TWO, anew()),
    _variant("vary-3-no-match", "Foo, Bar, Baz", _THREE, anew("Foo: 2", "Bar: abc", "Baz: 789")),
    _variant("vary-3-order", "Foo, Bar, Baz", _THREE, anew("Foo: 1", "Baz: 789", "Bar: abcde")),
    _variant("vary-star", "*", _ANY, anew(*_ANY)),
    _variant("vary-syntax-star", "*", _ANY, anew(*_ANY)),
    _variant("vary-syntax-star-star", "*, *", _ANY, anew(*_ANY)),
    _variant("vary-syntax-star-star-lines", ("*", "*"), _ANY, anew(*_ANY)),
    _variant("vary-syntax-empty-star", ", *", _ANY, anew(*_ANY)),
    _variant("vary-syntax-empty-star-lines", ("", "*"), _ANY, anew(*_ANY)),
    _variant("vary-syntax-star-foo", "*, Foo", _ANY, anew(*_ANY)),
    _variant("vary-syntax-foo-star", "Foo, *", _ANY, anew(*_ANY)),
]
MATCHES = [
    _variant("vary-match", "Foo", _ONE, reused(*_ONE)),
    _variant("vary-2-match", "Foo, Bar", _TWO, reused(*_TWO)),
    _variant("vary-3-match", "Foo, Bar, Baz", _THREE, reused(*_THREE)),
]

# RFC 9111 section 4.3.2: the cache answers conditions from what it has.

_TAG = 'ETag: "abcdef"'
_IF_TAG = 'If-None-Match: "abcdef"'


def _unchanged(*asks: str, has: _Fields = ()) -> Step:
    return replace(reused(*asks, has=has), seen=304)


CONDITIONS = [
    Case("conditional-304-etag", (stored(_DAY, _TAG), _unchanged(_IF_TAG, has=(_TAG,)))),
    Case(
        "conditional-etag-precedence",
        (
            stored(_DAY, "Last-Modified: <-5000>", _TAG),
            _unchanged(_IF_TAG, "If-Modified-Since: <-10000>"),
        ),
    ),
]

# RFC 9111 sections 4.3.1, 4.3.3 and 4.3.4: it asks the origin, and takes over what a 304 says.


def _validated(*says: str, has: _Fields = ()) -> Step:
    return Step(Comes.VALIDATED, says=says, has=has)


def _renewed(name: str, old: str, new: str) -> Case:
    """A 304 changes a stored field, for the request that caused it and for later ones."""
    tag = 'ETag: "tag"'
    lifetime = "Cache-Control: max-age=1"
    first = stored(f"{name}: {old}", lifetime, tag, pause=PAST_ONE_SECOND)
    has = (f"{name}: {new}",)
    between = _validated(*has, "Cache-Control: max-age=3600", tag, has=has)
    return Case(f"304-etag-update-response-{name}", (first, between, reused(has=has)))


_FIXED_TIME = "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"
_FIRST_LENGTH = "Content-Length: 10"
_SHORT = "Cache-Control: max-age=1"
VALIDATIONS = [
    Case(
        "conditional-etag-vary-headers",
        (
            stored(
                "Expires: <+1>",
                _TAG,
                "Vary: Abc",
                asks=("Abc: 123",),
                pause=PAST_ONE_SECOND,
            ),
            Step(Comes.VALIDATED, asks=("Abc: 123",), reaches=("Abc: 123",)),
        ),
    ),
    Case(
        "cc-resp-must-revalidate-stale",
        (
            stored("Cache-Control: max-age=3, must-revalidate", 'ETag: "abcd"'),
            replace(
                reused(),
                says=("Cache-Control: max-age=3, must-revalidate", 'ETag: "abcd"'),
                pause=2.0 + PAST_ONE_SECOND,
            ),
            _validated(),
        ),
    ),
    Case(
        "304-lm-use-stored-Test-Header",
        (
            stored(_SHORT, _FIXED_TIME, "Test-Header: kept", pause=PAST_ONE_SECOND),
            _validated(_FIXED_TIME, has=("Test-Header: kept",)),
        ),
    ),
    _renewed("Test-Header", "old", "new"),
    _renewed("X-Test-Header", "old", "new"),
    _renewed("Content-Foo", "old", "new"),
    _renewed("X-Content-Foo", "old", "new"),
    Case(
        "304-etag-update-response-Cache-Control",
        (
            stored(_SHORT, _TAG, pause=PAST_ONE_SECOND),
            _validated(_HOUR, _TAG, has=(_HOUR,)),
            reused(has=(_HOUR,)),
        ),
    ),
    Case(
        "304-etag-update-response-Content-Length",
        (
            stored(_SHORT, _TAG, pause=PAST_ONE_SECOND),
            _validated("Content-Length: 3", _HOUR, _TAG, has=(_FIRST_LENGTH,)),
            reused(has=(_FIRST_LENGTH,)),
        ),
        body="0123456789",
    ),
]

# RFC 9111 section 4.2.4 and RFC 5861: what may be used past its lifetime.


def _cut_off(id_: str, directives: str, comes: Comes) -> Case:
    """The origin is gone when what is stored has outlived its lifetime."""
    first = stored(f"Cache-Control: {directives}", pause=PAST_ONE_SECOND)
    if comes is Comes.CACHE:
        return Case(id_, (first, Step(Comes.CACHE, hangs_up=True)))
    return Case(id_, (first, Step(comes, hangs_up=True, seen=None, lacks=("Step",))))


STALE = [
    _cut_off("stale-close-must-revalidate", "max-age=1, must-revalidate", Comes.ANYWHERE),
    _cut_off("stale-close-proxy-revalidate", "max-age=1, proxy-revalidate", Comes.ANYWHERE),
    _cut_off("stale-close-no-cache", "max-age=1, no-cache", Comes.ANYWHERE),
    _cut_off("stale-close-s-maxage=2", "max-age=1, s-maxage=1", Comes.ANYWHERE),
    Case(
        "stale-while-revalidate-window",
        (
            stored(
                "Cache-Control: max-age=1, stale-while-revalidate=4",
                'ETag: "abc"',
                pause=2.0,
            ),
            Step(
                Comes.CACHE,
                says=("Cache-Control: no-cache", 'ETag: "def"'),
                pause=PAST_ONE_SECOND,
            ),
            Step(Comes.ORIGIN),
        ),
    ),
]
STILL_USED = [
    _cut_off("stale-close", "max-age=1", Comes.CACHE),
    Case(
        "stale-while-revalidate",
        (
            stored(
                "Cache-Control: max-age=1, stale-while-revalidate=3600",
                'ETag: "abc"',
                pause=PAST_ONE_SECOND,
            ),
            Step(Comes.CACHE),
        ),
    ),
]

# RFC 9111 section 4.4.

INVALIDATIONS = [
    Case(
        f"invalidate-{method}",
        (stored(_DAY), Step(Comes.ORIGIN, method=method, content="abc"), anew()),
    )
    for method in ("POST", "PUT", "DELETE", "M-SEARCH")
]

# RFC 9111 section 3.4: a part of what is stored.


def _part(*has: str, says: _Fields = ()) -> Step:
    return Step(Comes.CACHE, asks=("Range: bytes=0-1",), seen=206, text="01", has=has, says=says)


PARTS = [
    Case("partial-use-headers", (stored(_HOUR, "A: 1"), _part(says=("A: 2",))), body="01234567890"),
    Case("partial-use-stored-headers", (stored(_HOUR, "A: 1"), _part("A: 1")), body="01234567890"),
]
ANSWERED_PARTS = [
    Case(
        "partial-store-complete-reuse-partial",
        (stored(_HOUR), _part("Content-Range: bytes 0-1/11", "Content-Length: 2")),
        body="01234567890",
    ),
    Case("conditional-etag-strong-respond", (stored(_DAY, _TAG), _unchanged(_IF_TAG))),
]

# RFC 9111 sections 4 and 5.1: what the cache says of itself, and what it leaves alone.

_AGED = replace(reused(), older_than=31)
AGES = [
    Case(
        "other-age-gen",
        (stored(_DAY, pause=PAST_ONE_SECOND), replace(reused(), older_than=1)),
    ),
    Case(
        "other-age-update-expires",
        (stored("Expires: <+2592000>", "Age: 30", pause=PAST_ONE_SECOND), _AGED),
    ),
    Case(
        "other-age-update-max-age",
        (stored(_DAY, "Age: 30", pause=PAST_ONE_SECOND), _AGED),
    ),
    Case("other-date-update", (stored(_DAY, pause=PAST_ONE_SECOND), reused(has=("Date: <+0>",)))),
    Case(
        "other-date-update-expires",
        (stored("Expires: <+2592000>", pause=PAST_ONE_SECOND), reused(has=("Date: <+0>",))),
    ),
]

REQUIRED = [*VARIANTS, *CONDITIONS, *VALIDATIONS, *STALE, *INVALIDATIONS, *PARTS, *AGES]
KEPT = [*MATCHES, *STILL_USED, *ANSWERED_PARTS]
