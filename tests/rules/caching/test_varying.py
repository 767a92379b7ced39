"""Variants, and the request that selects one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching import varying
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire.messages import RequestHead
from tests.rules.caching.heads import AN_HOUR, dated, request, response, stored


def itself(entry: Stored) -> Stored:
    """Return *entry*, which is its own variant."""
    return entry


def is_selected(vary: bytes, first: RequestHead, second: RequestHead, *lines: bytes) -> bool:
    """Does *second* select what *first* fetched?"""
    entry = stored(AN_HOUR, b"Vary: " + vary, *lines, asked=first)
    return varying.select(second, [entry], itself) is entry


FOO_1 = request(b"Foo: 1")
THREE = request(b"Foo: 1", b"Bar: abc", b"Baz: 789")


@pytest.mark.parametrize(
    ("vary", "first", "second", "is_it"),
    [
        (b"Foo", FOO_1, request(b"Foo: 2"), False),
        (b"Foo", request(), FOO_1, False),
        (b"Foo", FOO_1, request(), False),
        (b"Foo", FOO_1, request(b"Foo:"), False),
        (b"Foo", request(), request(b"Foo:"), False),
        (b"Foo", request(b"Foo: a"), request(b"Foo: A"), False),
        (b"Foo", request(b"Foo: 1, 2"), request(b"Foo: 2, 1"), False),
        (b"Foo", request(b'Foo: "1,2"'), request(b'Foo: "1, 2"'), False),
        (b"Foo, Bar", request(b"Foo: 1", b"Bar: abc"), request(b"Foo: 2", b"Bar: abc"), False),
        (b"Foo, Bar", request(b"Foo: 1", b"Bar: abc"), request(), False),
        (b"Foo, Bar, Baz", THREE, request(b"Foo: 1", b"Baz: 789", b"Bar: abcde"), False),
        (b"Foo", FOO_1, FOO_1, True),
        (b"foo", FOO_1, request(b"FOO: 1", b"Other: 3"), True),
        (b"Foo, Bar, Baz", THREE, request(b"Baz: 789", b"Foo: 1", b"Bar: abc"), True),
        (b"Foo, Bar", FOO_1, FOO_1, True),
        (b"Foo", request(b"Foo: 1, 2"), request(b"Foo: 1", b"Foo: 2"), True),
        (b"Foo", request(b"Foo: 1,2"), request(b"Foo:  1, 2 "), True),
        (b"", FOO_1, request(), True),
    ],
)
def test_matching(vary: bytes, first: RequestHead, second: RequestHead, is_it: bool) -> None:
    """All fields that Vary names must be the same, but for lines and blanks."""
    assert is_selected(vary, first, second) is is_it


@pytest.mark.parametrize(
    ("name", "first", "second", "is_it"),
    [
        (b"Accept-Language", b"en, de", b"en", False),
        (b"Accept-Language", b"en, de", b"en, de;q=0.5", False),
        (b"Accept-Language", b"en, de;q=0", b"en", False),
        (b"Accept-Encoding", b"gzip", b"gzip;q=0", False),
        (b"Accept-Encoding", b"gzip", b"gzip, br", False),
        (b"Accept", b"a/b, c/d", b"c/d, a/b", False),
        (b"Accept-Language", b"en, de", b"de, en", True),
        (b"Accept-Language", b"en, de", b"eN, De", True),
        (b"Accept-Language", b"en, de", b" en ,   de", True),
        (b"Accept-Language", b"en;q=0.8, de", b"de;q=1.000,en ; Q=0.80", True),
        (b"Accept-Encoding", b"gzip, deflate, br", b"br,deflate,gzip,gzip", True),
        (b"Accept-Charset", b"utf-8, latin1;q=0.1", b"LATIN1;q=0.1, UTF-8", True),
        (b"Accept", b"a/b,c/d", b"a/b , c/d", True),
    ],
)
def test_preferences(name: bytes, first: bytes, second: bytes, is_it: bool) -> None:
    """Order, case and blanks don't count where the field's definition says so."""
    asked, asked_next = request(name + b": " + first), request(name + b": " + second)
    assert is_selected(name, asked, asked_next) is is_it


@pytest.mark.parametrize(
    ("language", "second", "is_it"),
    [
        (b"de", b"fr;q=0.5, en;q=1.0", False),
        (b"de", b"fr, de", False),
        (b"de", b"de;q=0.5, fr", False),
        (b"de", b"de;q=0", False),
        (b"de", b"de-AT, de;q=0.9", False),
        (b"de", b"*", False),
        (b"de", b"", False),
        (b"de, en", b"de", False),
        (b"de", b"fr;q=0.5, de;q=1.0", True),
        (b"DE", b"de", True),
    ],
)
def test_language(language: bytes, second: bytes, is_it: bool) -> None:
    """What is in the language that a client prefers to all others suits it."""
    first = request(b"Accept-Language: en, de")
    asked = request(b"Accept-Language: " + second)
    content = b"Content-Language: " + language
    assert is_selected(b"Accept-Language", first, asked, content) is is_it
    assert not is_selected(b"Accept-Language", first, request(), content)
    assert not is_selected(b"Accept-Language", first, asked)


def test_the_language_is_not_all() -> None:
    """A preferred language doesn't make up for another field, and an exact match goes before."""
    vary, content = b"Accept-Language, Foo", b"Content-Language: de"
    german = request(b"Accept-Language: de", b"Foo: 1")
    first = request(b"Accept-Language: en, de", b"Foo: 2")
    assert not is_selected(vary, first, german, content)
    lines = (AN_HOUR, b"Vary: Accept-Language", content)
    exact = stored(*lines, dated(b"Date", -50), asked=german)
    similar = stored(*lines, asked=first)
    assert varying.select(german, [exact, similar], itself) is exact


def test_the_latest_is_selected() -> None:
    """Of several variants that match, the one with the latest Date; of none, nothing."""
    entries = [
        stored(AN_HOUR, b"Vary: Foo", dated(b"Date", offset), asked=FOO_1)
        for offset in (-30, -10, -20)
    ]
    others = [stored(AN_HOUR, b"Vary: Foo", asked=request(b"Foo: 2"))]
    unvaried = stored(AN_HOUR, dated(b"Date", -40))
    assert varying.select(FOO_1, entries + others, itself) is entries[1]
    assert varying.select(request(), [*entries, unvaried], itself) is unvaried
    assert varying.select(request(), entries, itself) is None
    assert varying.select(request(), [], itself) is None
    assert varying.select(FOO_1, [unvaried], itself) is unvaried


@pytest.mark.parametrize(
    ("lines", "is_it"),
    [
        ((), False),
        ((b"Vary: ",), False),
        ((b"Vary: Foo, *x",), False),
        ((b"Vary: *",), True),
        ((b"Vary: *, *",), True),
        ((b"Vary: ,*",), True),
        ((b"Vary: ", b"Vary: *"), True),
        ((b"Vary: *, Foo",), True),
        ((b"Vary: Foo, *",), True),
    ],
)
def test_everything(lines: tuple[bytes, ...], is_it: bool) -> None:
    """`*` anywhere in Vary is for everything."""
    assert varying.is_everything(response(*lines)) is is_it


@given(st.sampled_from((b"foo", b"accept-language", b"accept-encoding")), st.binary(max_size=600))
def test_normalising_settles(name: bytes, value: bytes) -> None:
    """Any value can be normalised, and then stays what it is."""
    once = varying.normalised(name, value)
    assert varying.normalised(name, once) == once


@pytest.mark.parametrize(
    ("second", "values"),
    [
        (FOO_1, ()),
        (request(b"Foo: 1", b"Bar: 2"), ()),
        (request(b"Foo: 2", b"Bar: 2"), ((b"foo", b"2"),)),
        (request(b"Foo:  a,b"), ((b"foo", b"a, b"),)),
        (request(), ((b"foo", None),)),
    ],
)
def test_another_variant(
    second: RequestHead, values: tuple[tuple[bytes, bytes | None], ...]
) -> None:
    """It is named by what the request has in place of the stored one's fields, normalised."""
    assert varying.beside(second, stored(AN_HOUR, b"Vary: Foo", asked=FOO_1)) == values
