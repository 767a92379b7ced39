"""Accept, and what it prefers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.negotiation import MediaRange, parse_accept, preferred, quality_of

TEXT, HTML = b"text/plain", b"text/html"
FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b",",
        b"text",
        b"/",
        b"text/",
        b"/html",
        b"*",
        b"*/html",
        b"text/html;q=2",
        b"text/html;q=-1",
        b"text/html;q=x",
        b"text/html;q=",
        b"text/html;q=0.1234",
        b"a/b;q=1.001",
        b"text/html;level=1",
        b'text/html;q="',
    ],
)
def test_what_is_not_a_media_range_is_left_out(value: bytes) -> None:
    """A broken element says nothing about anything."""
    assert parse_accept(value) == []


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        (b"text/html", [MediaRange(b"text", b"html", 1000)]),
        (b"Text/HTML ; Q=0.5", [MediaRange(b"text", b"html", 500)]),
        (b"text/html;charset=utf-8", [MediaRange(b"text", b"html", 1000)]),
        (b"*/*;q=0", [MediaRange(b"*", b"*", 0)]),
        (b"text/*;q=0.25, bad", [MediaRange(b"text", b"*", 250)]),
        (b"a/b;q=1.000,a/c;q=0.", [MediaRange(b"a", b"b", 1000), MediaRange(b"a", b"c", 0)]),
    ],
)
def test_media_ranges_and_their_quality(value: bytes, ranges: list[MediaRange]) -> None:
    """Qualities count in thousandths; case doesn't matter."""
    assert parse_accept(value) == ranges


@pytest.mark.parametrize(
    ("media_type", "quality"),
    [(b"image/png", 100), (b"text/css", 500), (HTML, 0), (TEXT, 1000)],
)
def test_the_narrowest_range_decides(media_type: bytes, quality: int) -> None:
    """type/subtype goes before type/*, and that before */*, in whatever order they stand."""
    ranges = parse_accept(b"*/*;q=0.1, text/*;q=0.5, text/html;q=0, text/plain")
    assert quality_of(media_type, ranges) == quality


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        (None, TEXT),
        (b"", TEXT),
        (b"junk", TEXT),
        (b"*/*", TEXT),
        (b"text/*", TEXT),
        (b"application/json", TEXT),
        (b"text/html, text/plain", TEXT),
        (b"text/html;q=0.4, text/plain;q=0.5", TEXT),
        (b"text/html;q=0, */*;q=0.001", TEXT),
        (b"text/html", HTML),
        (FIREFOX, HTML),
        (b"text/html;q=0.002, */*;q=0.001", HTML),
        (b"text/plain;q=0, */*", HTML),
    ],
)
def test_the_first_offer_wins_a_tie(accept: bytes | None, offer: bytes) -> None:
    """Browsers get HTML; curl, and who accepts neither, get plain text."""
    assert preferred(accept, (TEXT, HTML)) == offer


@given(st.one_of(st.binary(max_size=60), st.text('*/,;=q01."\\ ab').map(str.encode)))
def test_any_accept_gives_an_offer(accept: bytes) -> None:
    """Whatever a client sends, it gets one of the offers."""
    assert preferred(accept, (TEXT, HTML)) in (TEXT, HTML)
