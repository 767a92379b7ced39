"""Accept and Accept-Encoding, and what they prefer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.negotiation import (
    MediaRange,
    choose_coding,
    parse_accept,
    preferred,
    quality_of,
)

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


# Content codings.

CODINGS = (b"br", b"zstd", b"gzip")


@pytest.mark.parametrize(
    "accept",
    [
        None,
        # Malformed.
        b"br;q=2",
        b"br;q=-1",
        b"br;q=",
        b"br;q=x",
        b"br;q=0.1234",
        b"br;q=1.1",
        b"br;level=9",
        b"br gzip",
        b"br;",
        b'"br"',
        b"br;q=1;q=0",
        b"br/gzip",
        b"br, gzip;q=x",
        b"\xe4",
        # Well-formed, and for none of the offers.
        b"",
        b" , ,",
        b"identity",
        b"identity;q=0",
        b"*;q=0",
        b"*;q=0, identity",
        b"br;q=0",
        b"br;q=0, gzip;q=0.0, zstd;q=0.000",
        b"deflate, compress, sdch",
        b"brotli, gz, zst, x-br",
        # Identity is liked better.
        b"identity, br;q=0.9",
        b"gzip;q=0.5, identity;q=0.501",
        b"*, gzip;q=0.1, br;q=0.1, zstd;q=0.2",
    ],
)
def test_identity(accept: bytes | None) -> None:
    """Without a readable wish for a coding on offer, the bytes are sent as they are."""
    assert choose_coding(accept, CODINGS) is None


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"gzip, deflate, br, zstd", b"br"),
        (b"gzip, deflate", b"gzip"),
        (b"GZIP", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"X-GZip;q=0.5, deflate", b"gzip"),
        (b"gzip;q=1.0, zstd;q=0.9, br;q=0.8", b"gzip"),
        (b"gzip;q=0.2, zstd;q=0.9, br;q=0.8", b"zstd"),
        (b"gzip ;\tQ=0.001", b"gzip"),
        (b"gzip;q=0., zstd;q=1.", b"zstd"),
        (b"gzip,,br", b"br"),
        (b"gzip;q=0.5", b"gzip"),
        # A tie, with identity too, goes to the first offer.
        (b"zstd;q=0.5, gzip;q=0.5", b"zstd"),
        (b"identity, gzip", b"gzip"),
        (b"identity;q=0, gzip;q=0.001", b"gzip"),
        (b"identity;q=0.4, gzip;q=0.5", b"gzip"),
        # `*` is everything that isn't named.
        (b"*", b"br"),
        (b"*;q=0.1", b"br"),
        (b"br;q=0, *", b"zstd"),
        (b"*;q=0, gzip", b"gzip"),
        (b"gzip;q=0.5, *;q=0.4", b"gzip"),
        (b"gzip;q=0.3, *;q=0.4", b"br"),
        (b"identity;q=0, *", b"br"),
        # Named twice: the lower one.
        (b"gzip, x-gzip;q=0, zstd;q=0.1", b"zstd"),
    ],
)
def test_the_coding_that_is_liked_best(accept: bytes, coding: bytes) -> None:
    """Qualities decide, and the order of the offers where they are equal."""
    assert choose_coding(accept, CODINGS) == coding


def test_only_what_is_there_is_offered() -> None:
    """The order and number of offers are the caller's; with none there is nothing to choose."""
    assert choose_coding(b"br, gzip", [b"gzip", b"br"]) == b"gzip"
    assert choose_coding(b"br, gzip", [b"gzip"]) == b"gzip"
    assert choose_coding(b"br;q=0.1, gzip", [b"br"]) == b"br"
    assert choose_coding(b"*, identity;q=0", []) is None


@given(st.one_of(st.binary(max_size=200), st.text("*,;=q01. brgzipx").map(str.encode)))
def test_any_accept_encoding_gives_an_answer(accept: bytes) -> None:
    """Whatever a client sends, it gets an offer or the bytes as they are."""
    assert choose_coding(accept, CODINGS) in (None, *CODINGS)


def test_long_fields_are_read_too() -> None:
    """Beyond what is remembered, the same holds."""
    assert choose_coding(b"x," * 5000 + b"gzip", CODINGS) == b"gzip"
