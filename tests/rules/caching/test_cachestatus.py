"""Cache-Status and Age lines."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching.cachestatus import age_line, cache_status


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (cache_status(b"p"), b"p"),
        (cache_status(b"p", hit=True), b"p; hit"),
        (cache_status(b"p", hit=True, ttl=376.9), b"p; hit; ttl=376"),
        (cache_status(b"p", hit=True, ttl=-0.5), b"p; hit; ttl=-1"),
        (cache_status(b"p", hit=True, ttl=0.0), b"p; hit; ttl=0"),
        (cache_status(b"p", hit=True, ttl=float("inf")), b"p; hit; ttl=999999999999999"),
        (cache_status(b"p", hit=True, ttl=float("-inf")), b"p; hit; ttl=-999999999999999"),
        (cache_status(b"p", hit=True, ttl=1, detail=b"offline"), b"p; hit; ttl=1; detail=offline"),
        (cache_status(b"p", fwd=b"miss"), b"p; fwd=miss"),
        (cache_status(b"p", hit=True, fwd=b"miss"), b"p; hit"),
        (cache_status(b"p", fwd_status=304), b"p"),
        (cache_status(b"p", fwd=b"stale", fwd_status=304), b"p; fwd=stale; fwd-status=304"),
        (
            cache_status(b"p", fwd=b"uri-miss", stored=True, collapsed=True, ttl=5),
            b"p; fwd=uri-miss; ttl=5; stored; collapsed",
        ),
        (cache_status(b"p", detail=b'a "\\'), b'p; detail="a \\"\\\\"'),
        (cache_status(b"p", detail=b"\xff\r\n"), b'p; detail="%FF%0D%0A"'),
        (cache_status(b"p", detail=b"no way"), b'p; detail="no way"'),
        (cache_status(b"9 lives", hit=True), b'"9 lives"; hit'),
        (cache_status(b"gw.local:8080"), b"gw.local:8080"),
    ],
)
def test_cache_status(line: bytes, wanted: bytes) -> None:
    """Parameters come in one order, are tokens, numbers or strings, and hit excludes fwd."""
    assert line == b"Cache-Status: " + wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(-5.0, 0), (0.0, 0), (0.9, 0), (3.1, 3), (2.0**31, 2**31)],
)
def test_age(seconds: float, wanted: int) -> None:
    """Age is whole seconds, none before the beginning."""
    assert age_line(seconds) == b"Age: %d" % wanted
