"""Cases that no cache has to pass, though a good one does: where an answer may be reused, it is."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import PAST_ONE_SECOND, Case, Comes, Step, is_reused, reused, stored

_DAY = "Cache-Control: max-age=100000"
_HOUR = "Cache-Control: max-age=3600"
_SHORT = "Cache-Control: max-age=1"
_Fields = tuple[str, ...]

_MAX_AGES = {
    "max-minus-1": "max-age=2147483647",
    "max": "max-age=2147483648",
    "max-plus-1": "max-age=2147483649",
    "max-plus": "max-age=99999999999",
    "extension": "foobar, max-age=3600",
    "case-insenstive": "MaX-aGe=3600",
    "s-maxage-shared-shorter": "max-age=1, s-maxage=3600",
}
_DATES = {
    "32bit": "Tue, 19 Jan 2038 14:14:08 GMT",
    "far-future": "Sun, 21 Nov 2286 04:46:39 GMT",
    "rfc850": "Thursday, 18-Aug-50 02:01:18 GMT",
    "ansi-c": "Thu Aug  8 02:01:18 2050",
    "wrong-case-weekday": "THU, 18 Aug 2050 02:01:18 GMT",
    "wrong-case-month": "Thu, 18 AUG 2050 02:01:18 GMT",
    "wrong-case-tz": "Thu, 18 Aug 2050 02:01:18 gMT",
}
_HEURISTIC = "Last-Modified: <-86400>"
LIFETIMES = [
    *(
        is_reused(f"freshness-max-age-{name}", f"Cache-Control: {directives}")
        for name, directives in _MAX_AGES.items()
    ),
    *(is_reused(f"freshness-expires-{name}", f"Expires: {date}") for name, date in _DATES.items()),
    is_reused("freshness-max-age-expires", _HOUR, "Expires: <-7200>"),
    is_reused("freshness-max-age-expires-invalid", _HOUR, "Expires: 0"),
    is_reused(
        "freshness-max-age-s-maxage-shared-shorter-expires",
        "Expires: <-10>",
        "Cache-Control: max-age=0, s-maxage=3600",
    ),
    is_reused("freshness-expires-invalid-date", "Date: foo", "Expires: <+10>"),
    *(
        Case(f"heuristic-{status}-cached", (stored(_HEURISTIC, status=status), reused()))
        for status in (200, 203, 204, 404, 405, 410, 414, 501)
    ),
    Case(
        "heuristic-599-cached",
        (stored(_HEURISTIC, "Cache-Control: public", status=599), reused()),
    ),
]


def _authorized(id_: str, directives: str) -> Case:
    """RFC 9111 section 3.5: the origin says that credentials make no difference."""
    first = stored(f"Cache-Control: {directives}", asks=("Authorization: FOO",))
    return Case(id_, (first, reused()))


STORING = [
    is_reused("cc-resp-must-revalidate-fresh", "Cache-Control: max-age=10000, must-revalidate"),
    is_reused(
        "status-200-must-understand", "Cache-Control: max-age=3600, no-store, must-understand"
    ),
    _authorized("other-authorization-public", "max-age=3600, public"),
    _authorized("other-authorization-must-revalidate", "max-age=3600, must-revalidate"),
    _authorized("other-authorization-smaxage", "s-maxage=3600"),
    is_reused("other-set-cookie", _DAY, "Set-Cookie: a=b"),
    Case("other-cookie", (stored(_DAY), reused("Cookie: a=b"))),
    Case(
        "query-args-same",
        (replace(stored(_DAY), query="test=one"), replace(reused(), query="test=one")),
    ),
    Case(
        "interim-103",
        (replace(stored(_DAY), hints=("Link: </x.css>; rel=preload", "X-Hint: test")), reused()),
    ),
    Case(
        "interim-no-header-reuse",
        (replace(stored(_DAY), hints=("X-Hint: test",)), reused(lacks=("X-Hint",))),
    ),
    Case(
        "method-POST",
        (
            Step(
                Comes.ORIGIN,
                method="POST",
                content="12345",
                says=(_HOUR, "Content-Location: /method-POST"),
            ),
            reused(),
        ),
    ),
]


def _same(id_: str, vary: str, first: _Fields, second: _Fields, *says: str) -> Case:
    """Two requests that select the same variant."""
    lines = ("Cache-Control: max-age=5000", "Last-Modified: <-3000>", f"Vary: {vary}", *says)
    return Case(id_, (stored(*lines, asks=first), reused(*second)))


_EN_DE = ("Accept-Language: en, de",)
_VARYING = ("Cache-Control: max-age=5000", "Vary: Foo")
VARIANTS = [
    Case(
        "vary-invalidate",
        (
            stored(*_VARYING, "A: 1", asks=("Foo: 1",)),
            stored(*_VARYING, "A: 2", asks=("Foo: 2",)),
            reused("Foo: 1", has=("A: 1",)),
        ),
    ),
    _same("vary-cache-key", "Foo", ("Foo: 1", "Other: 2"), ("Foo: 1", "Other: 3")),
    _same("vary-3-omit", "Foo, Bar, Baz", ("Foo: 1", "Baz: 789"), ("Foo: 1", "Baz: 789")),
    _same("vary-normalise-combine", "Foo", ("Foo: 1, 2",), ("Foo: 1", "Foo: 2")),
    _same("vary-normalise-space", "Foo", ("Foo: 1,2",), ("Foo:  1, 2 ",)),
    _same("vary-normalise-lang-order", "Accept-Language", _EN_DE, ("Accept-Language: de, en",)),
    _same("vary-normalise-lang-case", "Accept-Language", _EN_DE, ("Accept-Language: eN, De",)),
    _same("vary-normalise-lang-space", "Accept-Language", _EN_DE, ("Accept-Language:  en ,   de",)),
]

_TAG = 'ETag: "abcdef"'


def _conditional(id_: str, says: str, *asks: str) -> Case:
    """A condition that the cache answers itself."""
    return Case(id_, (stored(_DAY, says), replace(reused(*asks), seen=304)))


def _generated(id_: str, *says: str, reaches: str = "", pause: float = PAST_ONE_SECOND) -> Case:
    """A condition that the cache makes."""
    then = Step(Comes.VALIDATED, reaches=(reaches,) if reaches else ())
    return Case(id_, (stored(*says, pause=pause), then))


CONDITIONS = [
    _conditional("conditional-lm-fresh", "Last-Modified: <-3000>", "If-Modified-Since: <-3000>"),
    _conditional(
        "conditional-lm-fresh-earlier", "Last-Modified: <-3000>", "If-Modified-Since: <-2000>"
    ),
    Case(
        "conditional-lm-fresh-rfc850",
        (
            stored(_DAY, "Last-Modified: Tue, 04 Aug 2020 02:01:18 GMT"),
            replace(reused("If-Modified-Since: Tuesday, 04-Aug-20 02:01:18 GMT"), seen=304),
        ),
    ),
    Case(
        "conditional-lm-stale",
        (
            stored(_SHORT, "Last-Modified: <-3000>", pause=PAST_ONE_SECOND),
            Step(Comes.VALIDATED, asks=("If-Modified-Since: <-3000>",), seen=304),
        ),
    ),
    _conditional("conditional-etag-weak-respond", 'ETag: W/"abcdef"', 'If-None-Match: W/"abcdef"'),
    _conditional(
        "conditional-etag-strong-respond-multiple-first",
        _TAG,
        'If-None-Match: "abcdef", "1234", "5678"',
    ),
    _conditional(
        "conditional-etag-strong-respond-multiple-second",
        _TAG,
        'If-None-Match: "1234", "abcdef", "5678"',
    ),
    _conditional(
        "conditional-etag-strong-respond-multiple-last",
        _TAG,
        'If-None-Match: "1234", "5678", "abcdef"',
    ),
    _generated("conditional-etag-strong-generate", _SHORT, _TAG, reaches='If-None-Match: "abcdef"'),
    _generated(
        "conditional-etag-weak-generate-weak",
        _SHORT,
        'ETag: W/"abcdef"',
        reaches='If-None-Match: W/"abcdef"',
    ),
    _generated("cc-resp-no-cache-revalidate", "Cache-Control: no-cache", _TAG, pause=0),
    _generated(
        "cc-resp-no-cache-revalidate-fresh",
        "Cache-Control: max-age=10000, no-cache",
        "Expires: <+10000>",
        _TAG,
        pause=0,
    ),
]

INVALIDATIONS = [
    Case(
        f"invalidate-{method}-failed",
        (stored(_DAY), Step(Comes.ORIGIN, method=method, content="abc", status=500), reused()),
    )
    for method in ("POST", "PUT", "DELETE", "M-SEARCH")
]


def _part(id_: str, wanted: str, text: str) -> Case:
    part = replace(reused(f"Range: bytes={wanted}"), seen=206, text=text)
    return Case(id_, (stored(_HOUR), part), body="0123456789A")


_LAST_FIVE = Step(
    Comes.ORIGIN,
    asks=("Range: bytes=-5",),
    status=206,
    says=(_HOUR, 'ETag: "parts"', "Content-Range: bytes 5-9/10"),
)


def _part_of_part(id_: str, wanted: str, text: str) -> Case:
    """Part of a stored part; unlike the suite's, its Content-Range agrees with its content."""
    part = replace(reused(f"Range: bytes={wanted}"), seen=206, text=text)
    return Case(id_, (_LAST_FIVE, part), body="56789")


PARTS = [
    _part("partial-store-complete-reuse-partial-no-last", "1-", "123456789A"),
    _part("partial-store-complete-reuse-partial-suffix", "-1", "A"),
    _part_of_part("partial-store-partial-reuse-partial", "-5", "56789"),
    _part_of_part("partial-store-partial-reuse-partial-byterange", "6-8", "678"),
    _part_of_part("partial-store-partial-reuse-partial-absent", "6-", "6789"),
    _part_of_part("partial-store-partial-reuse-partial-suffix", "-1", "9"),
]

OPTIONAL = [*LIFETIMES, *STORING, *VARIANTS, *CONDITIONS, *INVALIDATIONS, *PARTS]
