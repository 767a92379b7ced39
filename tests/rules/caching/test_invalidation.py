"""What a request that changes things makes invalid."""

from __future__ import annotations

import pytest

from proxyapp.rules.caching.invalidation import invalidated, resolved
from proxyapp.wire.target import Origin
from tests.rules.caching.heads import request, response

HERE = Origin("http", "a", 80)
ITSELF = (HERE, b"/d/x")


@pytest.mark.parametrize(
    "method", b"GET HEAD OPTIONS TRACE CONNECT PROPFIND REPORT SEARCH QUERY".split()
)
def test_safe_methods(method: bytes) -> None:
    """Who reads changes nothing."""
    assert invalidated(request(method=method), *ITSELF, response()) == []


@pytest.mark.parametrize("method", b"POST PUT DELETE PATCH M-SEARCH FOO get".split())
@pytest.mark.parametrize(
    ("status", "is_changed"),
    [(status, True) for status in (200, 201, 204, 302, 399)]
    + [(status, False) for status in (101, 400, 404, 500, 503)],
)
def test_unsafe_methods(method: bytes, status: int, is_changed: bool) -> None:
    """All other methods change their target, if they succeed."""
    changed = invalidated(request(method=method), *ITSELF, response(status=status))
    assert changed == ([ITSELF] if is_changed else [])


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ((b"Location: http://b/y",), []),
        ((b"Location: https://a/y",), []),
        ((b"Location: http://a:81/y",), []),
        ((b"Location: //b/y",), []),
        ((b"Location: /d/x",), []),
        ((b"Location: x",), []),
        ((b"Location: javascript:1",), []),
        ((b"Location: http://[",), []),
        ((b"Location: http://a b/",), []),
        ((b"Location: ",), []),
        ((b"Location: y",), [b"/d/y"]),
        ((b"Content-Location: y",), [b"/d/y"]),
        ((b"Location: /y", b"Content-Location: http://A:80/z"), [b"/y", b"/z"]),
        ((b"Location: /y", b"Content-Location: /y"), [b"/y"]),
        ((b"Location: ../y?z#f",), [b"/y?z"]),
        ((b"Location: //a/y",), [b"/y"]),
    ],
)
def test_what_else_is_changed(lines: tuple[bytes, ...], more: list[bytes]) -> None:
    """Location and Content-Location count where they are of the same origin."""
    changed = invalidated(request(method=b"PUT"), *ITSELF, response(*lines))
    assert changed == [ITSELF, *((HERE, path) for path in more)]


@pytest.mark.parametrize(
    ("reference", "meaning"),
    [
        (b"ftp://a/", None),
        (b"http://u@a/", None),
        (b"http://a:99999/", None),
        (b"/\xff", (HERE, b"/\xff")),
        (b"", (HERE, b"/d/x?q")),
        (b"?r", (HERE, b"/d/x?r")),
        (b"#f", (HERE, b"/d/x?q")),
        (b"./../../y", (HERE, b"/y")),
        (b"HTTPS://B", (Origin("https", "b", 443), b"/")),
        (b"http://[::1]:8/", (Origin("http", "::1", 8), b"/")),
    ],
)
def test_references(reference: bytes, meaning: tuple[Origin, bytes] | None) -> None:
    """A reference is taken relative to the URL that was asked for."""
    assert resolved(HERE, b"/d/x?q", reference) == meaning


def test_references_from_ipv6() -> None:
    """An origin that is an address keeps its brackets on the way."""
    origin = Origin("https", "::1", 8443)
    assert resolved(origin, b"/a", b"b") == (origin, b"/b")
