"""The admin lists, purges and pins by key, prefix and tag, whatever is on a disk or in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store.changes import tags_of
from proxyapp.wire.headers import Fields
from tests.store.stores import (
    DISK_ONLY,
    LIMITS,
    MEMORY_ONLY,
    Bench,
    bench,
    result,
    stored,
)

A = b"http://a.example/"
B = b"http://b.example/"
KEYS = (A, A + b"x", A + b"x/y", A + b"\xc3\xbc", B + b"x")


@pytest.fixture(params=[LIMITS, MEMORY_ONLY, DISK_ONLY], ids=["both", "memory", "disk"])
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield a store with some entries, whose tags are their hosts and `x`."""
    with bench(tmp_path, request.param) as started:
        for key in KEYS:
            tags = key[7:8] + b" all, x" if key.endswith(b"x") else key[7:8]
            started.store.put(key, stored(tags=tags), key)
        started.settle()
        yield started


@pytest.mark.parametrize(
    ("prefix", "tag", "expected"),
    [
        (b"", b"", KEYS),
        (b"http://", b"", KEYS),
        (A, b"", KEYS[:4]),
        (A + b"x", b"", (A + b"x", A + b"x/y")),
        (A + b"X", b"", ()),
        (b"ftp://", b"", ()),
        (b"", b"a", KEYS[:4]),
        (b"", b"x", (A + b"x", B + b"x")),
        (B, b"x", (B + b"x",)),
        (b"", b"al", ()),
    ],
)
def test_entries(running: Bench, prefix: bytes, tag: bytes, expected: tuple[bytes, ...]) -> None:
    """Those are listed whose keys begin so and that have the tag."""
    found = [entry.key for entry in running.store.entries(prefix, tag)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"key": A}, {A}),
        ({"key": A + b"none"}, set()),
        ({"prefix": A + b"x"}, {A + b"x", A + b"x/y"}),
        ({"prefix": b"http"}, set(KEYS)),
        ({"tag": b"x"}, {A + b"x", B + b"x"}),
        ({"tag": b"none"}, set()),
    ],
)
def test_purge(running: Bench, given: dict[str, bytes], expected: set[bytes]) -> None:
    """What is purged is gone, the rest is there, and the number is right."""
    assert result(running.store.purge(**given)) == len(expected)
    for key in KEYS:
        assert running.read_key(key) == ([] if key in expected else [key])
    assert {entry.key for entry in running.store.entries()} == set(KEYS) - expected


def test_purge_reaches_what_is_not_written_yet(running: Bench) -> None:
    """What was stored a moment ago is purged as well."""
    running.store.put(A + b"new", stored(), b"new")
    assert result(running.store.purge(prefix=A + b"new")) == 1
    running.settle()
    assert not running.store.variants(A + b"new")


def test_purged_bodies_leave_no_files(running: Bench, tmp_path: Path) -> None:
    """The room is free again."""
    for number in range(200):
        running.store.put(A + b"many/%d" % number, stored(), b"x")
    assert result(running.store.purge(prefix=b"http://")) == 200 + len(KEYS)
    assert not list(tmp_path.glob("bodies/*/*"))


def test_long_lists(running: Bench) -> None:
    """More than a page is listed whole, each once."""
    for number in range(350):
        running.store.put(B + b"many/%d" % number, stored(tags=b"many"), b"x")
    running.settle()
    for found in (running.store.entries(B + b"many/"), running.store.entries(tag=b"many")):
        keys = [entry.key for entry in found]
        assert len(keys) == len(set(keys)) == 350


def test_pin(running: Bench) -> None:
    """A pin stays when the entry is replaced, and until it's taken off."""
    assert result(running.store.pin(A)) == 1
    assert result(running.store.pin(A + b"none")) == 0
    assert running.store.variants(A)[0].is_pinned
    running.store.put(A, stored(), b"newer")
    assert running.store.variants(A)[0].is_pinned
    running.settle()
    assert running.store.variants(A)[0].is_pinned
    running.fill(A, b"newest" * 20_000)
    running.settle()
    assert running.store.variants(A)[0].is_pinned
    assert result(running.store.pin(A, False)) == 1
    assert not running.store.variants(A)[0].is_pinned


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], []),
        ([(b"Cache-Tag", b"")], []),
        ([(b"Cache-Tag", b"a,b , c")], [b"a", b"b", b"c"]),
        ([(b"Surrogate-Key", b"a b  c")], [b"a", b"b", b"c"]),
        ([(b"cache-tag", b"a"), (b"Cache-Tag", b"b"), (b"xkey", b"c")], [b"a", b"b", b"c"]),
    ],
)
def test_tags_of(fields: list[tuple[bytes, bytes]], expected: list[bytes]) -> None:
    """Tags are separated by commas or blanks, in any of the usual fields."""
    assert tags_of(Fields(fields)) == expected


def test_tags_are_bounded() -> None:
    """An origin can't fill the index with tags."""
    assert len(tags_of(Fields([(b"Cache-Tag", b"a " * 1000)]))) == 64
