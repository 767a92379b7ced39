"""What stands in a body's file before the content is read as it was written, or not at all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching.stored import Stored
from proxyapp.store import bodyhead
from proxyapp.store.bodyhead import Damaged
from proxyapp.store.entry import MOST_EXTENTS
from proxyapp.wire.headers import Fields
from tests.store.stores import KEY, stored

_TEXT = st.binary(max_size=20).map(lambda raw: raw.translate(None, b"\r\n\x00").strip(b" \t"))
_NAME = st.text("abcXYZ-019", min_size=1, max_size=8).map(str.encode)
_TIME = st.floats(0, 4e9)
_STORED = st.builds(
    Stored,
    status=st.integers(200, 599),
    reason=_TEXT,
    fields=st.lists(st.tuples(_NAME, _TEXT), max_size=5).map(Fields),
    asked_at=_TIME,
    arrived_at=_TIME,
    varying=st.lists(st.tuples(_NAME, st.none() | _TEXT), max_size=3).map(tuple),
    ttl=st.none() | _TIME,
    is_invalid=st.booleans(),
    total=st.none() | st.integers(0, 1 << 60),
)


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Yield an empty file."""
    opened = os.memfd_create("test")
    yield opened
    os.close(opened)


@given(_STORED)
def test_head_survives(head: Stored) -> None:
    """Every field of a stored response comes back, spelled as it was."""
    again = bodyhead.decode(bodyhead.encode(head), head.is_invalid)
    assert again == head
    assert again.fields.lines == head.fields.lines


def test_every_field_is_thought_of() -> None:
    """Who adds to a stored response has to add here, too."""
    names = {field.name for field in dataclasses.fields(Stored)} - {"memo"}
    assert names == {
        *("status", "reason", "fields", "asked_at", "arrived_at"),
        *("varying", "ttl", "is_invalid", "total"),
    }


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\n", b"x\nOK", b"[]\nOK", b"[200,1]\nOK", b"{}\nOK", b"1\nOK", b"[1,2,3,4,5,6]\nOK"],
)
def test_what_is_no_head_is_damaged(encoded: bytes) -> None:
    """What can't be read is said to be damaged."""
    with pytest.raises(Damaged):
        bodyhead.decode(encoded)


def test_variants_are_told_apart() -> None:
    """A field that wasn't there isn't one that is empty."""
    absent = stored(varying=((b"accept", None),))
    empty = stored(varying=((b"accept", b""),))
    assert bodyhead.encode_varying(absent) != bodyhead.encode_varying(empty)


def write(descriptor: int, content: bytes = b"hello") -> bytes:
    """Write a body; return all of the file."""
    grown = bodyhead.progress(len(content), ((0, len(content)),), 7, is_pinned=True)
    whole = bodyhead.pack(KEY, bodyhead.encode(stored(total=5)), grown) + content
    os.pwrite(descriptor, whole, 0)
    return whole


def test_file_tells_all(descriptor: int) -> None:
    """Key, head, extents, check sum and pin are in the file."""
    write(descriptor)
    head = bodyhead.read(descriptor)
    assert (head.key, head.stored, head.size) == (KEY, stored(total=5), 5)
    assert (head.extents, head.checksum, head.is_pinned) == (((0, 5),), 7, True)
    assert os.pread(descriptor, 9, head.offset) == b"hello"
    assert bodyhead.offset_of(descriptor, head.extents) == head.offset


def test_marks_are_where_they_are_said_to_be(descriptor: int) -> None:
    """One byte makes a body invalid, another takes its pin off."""
    write(descriptor)
    os.pwrite(descriptor, b"\x01", bodyhead.INVALID_AT)
    os.pwrite(descriptor, b"\x00", bodyhead.PINNED_AT)
    head = bodyhead.read(descriptor)
    assert head.stored.is_invalid
    assert not head.is_pinned


def test_a_growing_body_has_no_size(descriptor: int) -> None:
    """Until it's finished nobody says how long it is."""
    grown = bodyhead.progress(bodyhead.UNFINISHED, ((9, 9),))
    os.pwrite(descriptor, bodyhead.pack(KEY, bodyhead.encode(stored()), grown), 0)
    head = bodyhead.read(descriptor)
    assert head.size is None
    assert head.extents == ((9, 9),)


def test_many_extents_fit(descriptor: int) -> None:
    """As many extents as there may be have their place."""
    extents = tuple((10 * number, 10 * number + 5) for number in range(MOST_EXTENTS))
    grown = bodyhead.progress(80, extents)
    os.pwrite(descriptor, bodyhead.pack(KEY, bodyhead.encode(stored()), grown), 0)
    assert bodyhead.read(descriptor).extents == extents


def test_a_damaged_head_is_noticed(descriptor: int) -> None:
    """No byte of magic, lengths, key and head can change, and no end be missing."""
    whole = write(descriptor)
    offset = len(whole) - 5
    for place in [*range(bodyhead.PROGRESS_AT), *range(bodyhead.FIXED, offset)]:
        os.pwrite(descriptor, bytes([whole[place] ^ 0x55]), place)
        with pytest.raises(Damaged):
            bodyhead.read(descriptor)
        os.pwrite(descriptor, whole[place : place + 1], place)
    for length in (0, 5, bodyhead.FIXED, offset - 1):
        os.ftruncate(descriptor, length)
        with pytest.raises(Damaged):
            bodyhead.read(descriptor)


def test_a_short_content_is_noticed(descriptor: int) -> None:
    """A file that ends before its content does isn't opened."""
    whole = write(descriptor)
    os.ftruncate(descriptor, len(whole) - 1)
    with pytest.raises(Damaged):
        bodyhead.offset_of(descriptor, ((0, 5),))


@pytest.mark.parametrize("is_whole", [True, False])
def test_whether_it_is_whole(descriptor: int, is_whole: bool) -> None:
    """The size of what came without one is known by its being whole, and only then."""
    grown = bodyhead.progress(5, ((0, 5),), is_whole=is_whole)
    os.pwrite(descriptor, bodyhead.pack(KEY, bodyhead.encode(stored()), grown), 0)
    head = bodyhead.read(descriptor)
    assert (head.size, head.stored.total) == (5, 5 if is_whole else None)
