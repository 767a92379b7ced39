"""Whether what is stored answers a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyapp.rules.caching import reuse
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.reuse import Use
from proxyapp.wire.messages import RequestHead
from tests.rules.caching.heads import DAY, ETAG, NOW, request, stored

FRESH, REVALIDATE, VALIDATE = Use.FRESH, Use.STALE_WHILE_REVALIDATE, Use.VALIDATE


def asking(control: bytes) -> RequestHead:
    """Return a request with *control* in Cache-Control."""
    return request(b"Cache-Control: " + control)


@pytest.mark.parametrize(
    ("control", "after", "use"),
    [
        (b"max-age=0", 0, VALIDATE),
        (b"max-age=10", 9.9, FRESH),
        (b"max-age=10", 10, VALIDATE),
        (b"max-age=10, must-revalidate", 9, FRESH),
        (b"max-age=10, must-revalidate", 10, VALIDATE),
        (b"max-age=10, immutable", 11, VALIDATE),
        (b"no-cache", 0, VALIDATE),
        (b"max-age=10000, No-CaChE", 0, VALIDATE),
        (b'no-cache="a", max-age=10', 9, FRESH),
        (b"max-age=1, stale-while-revalidate=4", 0.9, FRESH),
        (b"max-age=1, stale-while-revalidate=4", 4.9, REVALIDATE),
        (b"max-age=1, stale-while-revalidate=4", 5, VALIDATE),
        (b"max-age=1, stale-while-revalidate=4, must-revalidate", 2, VALIDATE),
        (b"max-age=1, stale-while-revalidate=4, no-cache", 0, VALIDATE),
        (b"s-maxage=1, stale-while-revalidate=4", 2, REVALIDATE),
        (b"max-age=1, stale-if-error=60", 2, VALIDATE),
    ],
)
def test_without_wishes(control: bytes, after: float, use: Use) -> None:
    """A request without directives gets what the response allows."""
    entry = stored(b"Cache-Control: " + control, ETAG)
    assert reuse.judge(request(), entry, DEFAULT, NOW + after) is use


@pytest.mark.parametrize(
    ("wishes", "after", "use"),
    [
        (b"no-cache", 0, VALIDATE),
        (b"nothing-to-see-here, No-Cache", 0, VALIDATE),
        (b"max-age=0", 0, VALIDATE),
        (b"max-age=x", 0, VALIDATE),
        (b"max-age=1", 3, VALIDATE),
        (b"max-age=10", 3, FRESH),
        (b"min-fresh=101", 0, VALIDATE),
        (b"min-fresh=50", 51, VALIDATE),
        (b"min-fresh=50", 50, FRESH),
        (b"min-fresh=x", 0, VALIDATE),
        (b"max-stale=10", 50, FRESH),
        (b"max-stale=10", 109, FRESH),
        (b"max-stale=10", 111, VALIDATE),
        (b"max-stale", 10 * DAY, FRESH),
        (b"max-stale=x", 101, VALIDATE),
        (b"max-stale=10, max-age=50", 60, VALIDATE),
        (b"nothing-to-see-here", 50, FRESH),
        (b"nothing-to-see-here", 150, VALIDATE),
        (b"only-if-cached", 50, FRESH),
        (b'x="no-cache"', 50, FRESH),
    ],
)
def test_wishes(wishes: bytes, after: float, use: Use) -> None:
    """A client may want something younger, or put up with something stale."""
    entry = stored(b"Cache-Control: max-age=100")
    assert reuse.judge(asking(wishes), entry, DEFAULT, NOW + after) is use


@pytest.mark.parametrize(
    ("control", "wishes", "use"),
    [
        (b"max-age=1, must-revalidate", b"max-stale", VALIDATE),
        (b"max-age=1, proxy-revalidate", b"max-stale=60", VALIDATE),
        (b"s-maxage=1", b"max-stale=60", VALIDATE),
        (b"max-age=100, no-cache", b"max-stale=60", VALIDATE),
        (b"max-age=100, no-cache", b"max-age=60", VALIDATE),
        (b"max-age=1, stale-while-revalidate=60", b"min-fresh=0", VALIDATE),
        (b"max-age=1, stale-while-revalidate=60", b"max-age=60", VALIDATE),
        (b"max-age=1, stale-while-revalidate=60", b"foo", REVALIDATE),
        (b"max-age=100, immutable", b"max-age=0", FRESH),
        (b"max-age=100, immutable", b"no-cache", VALIDATE),
        (b"max-age=1, immutable", b"max-age=0", VALIDATE),
        (b"max-age=1", b"max-stale=60", FRESH),
    ],
)
def test_wishes_and_what_the_response_forbids(control: bytes, wishes: bytes, use: Use) -> None:
    """What a response forbids isn't allowed by a request; immutable saves a reload."""
    entry = stored(b"Cache-Control: " + control)
    assert reuse.judge(asking(wishes), entry, DEFAULT, NOW + 2) is use


@pytest.mark.parametrize(
    ("lines", "use"),
    [
        ((b"Pragma: no-cache",), VALIDATE),
        ((b"Pragma: x, No-Cache",), VALIDATE),
        ((b"Pragma: foo",), FRESH),
        ((b"Pragma: no-cache", b"Cache-Control: foo"), FRESH),
    ],
)
def test_pragma(lines: tuple[bytes, ...], use: Use) -> None:
    """Pragma counts where there is no Cache-Control."""
    entry = stored(b"Cache-Control: max-age=100")
    assert reuse.judge(request(*lines), entry, DEFAULT, NOW) is use


def test_what_was_made_invalid_is_validated() -> None:
    """However fresh it is, and even without a line to the origin."""
    entry = replace(stored(b"Cache-Control: max-age=100"), is_invalid=True)
    for asked in (request(), asking(b"max-stale")):
        assert reuse.judge(asked, entry, DEFAULT, NOW) is VALIDATE
        assert not reuse.may_be_stale(asked, entry, DEFAULT, NOW)


def test_age_counts_against_freshness() -> None:
    """What was old when it came is stale sooner."""
    entry = stored(b"Cache-Control: max-age=3600", b"Age: 7200")
    assert reuse.judge(request(), entry, DEFAULT, NOW) is VALIDATE
    entry = stored(b"Cache-Control: max-age=1500", b"Age: 1000")
    assert reuse.judge(asking(b"min-fresh=1000"), entry, DEFAULT, NOW) is VALIDATE
    assert reuse.judge(asking(b"max-age=600"), entry, DEFAULT, NOW) is VALIDATE
    entry = stored(b"Cache-Control: max-age=1500", b"Age: 2000")
    assert reuse.judge(asking(b"max-stale=1000"), entry, DEFAULT, NOW) is FRESH


@pytest.mark.parametrize(
    ("control", "wishes", "after", "may"),
    [
        (b"max-age=2, must-revalidate", b"", 3, False),
        (b"max-age=2, proxy-revalidate", b"", 3, False),
        (b"max-age=2, no-cache", b"", 0, False),
        (b"max-age=2, s-maxage=2", b"", 3, False),
        (b"max-age=2, must-revalidate, stale-if-error=60", b"", 3, False),
        (b"max-age=2", b"no-cache", 3, False),
        (b"max-age=2", b"stale-if-error=10", 20, False),
        (b"max-age=2", b"stale-if-error=0", 3, False),
        (b"max-age=2", b"max-stale=10", 20, False),
        (b"max-age=2", b"", 2 + DAY, False),
        (b"s-maxage=2, stale-if-error=60", b"", 62, False),
        (b"s-maxage=2, stale-if-error=60", b"", 61, True),
        (b"max-age=2, stale-if-error=60", b"", 61, True),
        (b"max-age=2", b"", 3, True),
        (b"max-age=2", b"max-age=0", 3, True),
        (b"max-age=2", b"foo", 3, True),
        (b"max-age=2", b"stale-if-error=10", 11, True),
        (b"max-age=2", b"max-stale=10", 11, True),
        (b"max-age=2, must-revalidate", b"max-age=0", 1, True),
        (b"max-age=2, stale-if-error=200000", b"", 2 + DAY, True),
    ],
)
def test_when_the_origin_fails(control: bytes, wishes: bytes, after: float, may: bool) -> None:
    """Stale is better than nothing, where neither side forbids it and it isn't too late."""
    entry = stored(b"Cache-Control: " + control)
    asked = asking(wishes) if wishes else request()
    assert reuse.may_be_stale(asked, entry, DEFAULT, NOW + after) is may


def test_no_staleness_of_our_own() -> None:
    """With stale_if_error 0 only what the origin allows is left."""
    policy = Policy(stale_if_error=0)
    plain, allowed = (
        stored(b"Cache-Control: max-age=2" + more) for more in (b"", b", stale-if-error=9")
    )
    assert not reuse.may_be_stale(request(), plain, policy, NOW + 3)
    assert reuse.may_be_stale(request(), plain, policy, NOW + 1)
    assert reuse.may_be_stale(request(), allowed, policy, NOW + 3)


@pytest.mark.parametrize(
    ("asked", "is_it"),
    [
        (request(), False),
        (request(b"Pragma: only-if-cached"), False),
        (asking(b'x="only-if-cached"'), False),
        (asking(b"max-stale, Only-If-Cached"), True),
    ],
)
def test_only_if_cached(asked: RequestHead, is_it: bool) -> None:
    """The client says so in Cache-Control."""
    assert reuse.is_only_if_cached(asked) is is_it


@pytest.mark.parametrize(
    ("asked", "may"),
    [
        (request(method=b"POST"), False),
        (request(method=b"get"), False),
        (request(b"Content-Length: 5"), False),
        (request(b"Transfer-Encoding: chunked"), False),
        (asking(b"no-store"), False),
        (request(b"Connection: Upgrade", b"Upgrade: websocket"), False),
        (request(b'If-Match: "a"'), False),
        (request(b"If-Unmodified-Since: x"), False),
        (request(), True),
        (request(method=b"HEAD"), True),
        (request(b"Content-Length: 0"), True),
        (asking(b"no-cache"), True),
        (request(b"Connection: Upgrade", b"Upgrade: h2c"), True),
        (request(b"Upgrade: websocket"), True),
        (request(b'If-None-Match: "a"', b"Range: bytes=0-1", b"Authorization: x"), True),
    ],
)
def test_what_is_looked_up(asked: RequestHead, may: bool) -> None:
    """Only plain requests to read something are answered from the cache."""
    assert reuse.may_look_up(asked) is may


@pytest.mark.parametrize(
    ("asked", "is_it"),
    [
        (request(method=b"HEAD"), False),
        (asking(b"x"), False),
        (request(b"pragma: x"), False),
        (request(b"RANGE: bytes=0-1"), False),
        (request(b'If-None-Match: "a"'), False),
        (request(b"If-Modified-Since: x"), False),
        (request(b"If-Range: x"), False),
        (request(b'If-Match: "a"'), False),
        (request(b"If-Unmodified-Since: x"), False),
        (request(b"Content-Length: 0"), False),
        (request(b"Transfer-Encoding: chunked"), False),
        (request(b"Upgrade: h2c"), False),
        (request(), True),
        (request(b"Authorization: x", b"Cookie: a=b", b"Accept-Language: en"), True),
    ],
)
def test_plain_requests(asked: RequestHead, is_it: bool) -> None:
    """They may be answered from the cache, and want nothing that others might not."""
    assert reuse.is_plain(asked) is is_it
    assert reuse.may_look_up(asked) or not is_it
    assert not (is_it and reuse.is_only_if_cached(asked))
