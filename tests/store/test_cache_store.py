"""What is stored is found and read as it was, on a disk, in memory, and on both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store.entry import EntryGone, StoreFull
from proxyapp.store.memory import SHORT
from proxyapp.store.store import CacheStore, StoreLimits
from tests.store.stores import (
    DISK_ONLY,
    KEY,
    LIMITS,
    MEMORY_ONLY,
    Bench,
    at_once,
    bench,
    flood,
    result,
    stored,
)

EVERYWHERE = pytest.mark.parametrize(
    "running", [LIMITS, MEMORY_ONLY, DISK_ONLY], indirect=True, ids=["both", "memory", "disk"]
)
GERMAN = ((b"accept-language", b"de"),)
FRENCH = ((b"accept-language", b"fr"),)


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path, getattr(request, "param", LIMITS)) as started:
        yield started


@EVERYWHERE
@pytest.mark.parametrize("size", [0, 1, SHORT, SHORT + 1, 300_000])
def test_a_content_is_found_at_once_and_later(running: Bench, size: int) -> None:
    """What was put is served before it's written, and afterwards."""
    content = os.urandom(size)
    entry = running.store.put(KEY, stored(), content)
    assert entry.is_complete
    assert running.read_key(KEY) == [content]
    running.settle()
    assert running.read_key(KEY) == [content]
    assert [each.stored for each in running.store.variants(KEY)] == [stored(total=size)]


@EVERYWHERE
@pytest.mark.parametrize("size", [0, 1, SHORT, SHORT + 1, 300_000])
def test_a_body_grows_and_is_found(running: Bench, size: int) -> None:
    """What came in pieces, of unknown length, is served as a whole."""
    content = os.urandom(size)
    entry = running.fill(KEY, content)
    assert (entry.is_complete, entry.size, entry.stored.total) == (True, size, size)
    assert running.read_key(KEY) == [content]
    running.settle()
    assert running.read_key(KEY) == [content]


@EVERYWHERE
def test_short_bodies_are_in_memory(running: Bench) -> None:
    """The content of a short body that has grown can be sent without opening it."""
    assert running.fill(KEY, b"short").content == b"short"
    assert running.fill(KEY, bytes(SHORT + 1)).content is None


@EVERYWHERE
def test_a_newer_one_replaces(running: Bench) -> None:
    """The same variant is there once; others stay."""
    running.store.put(KEY, stored(varying=GERMAN), b"alt")
    running.store.put(KEY, stored(varying=FRENCH), b"bon")
    running.fill(KEY, b"neu" * 50_000, varying=GERMAN)
    for _ in range(2):
        assert sorted(running.read_key(KEY)) == [b"bon", b"neu" * 50_000]
        running.settle()
    assert len(list(running.store.entries())) == 2


def test_replaced_and_removed_bodies_leave_no_file(running: Bench, tmp_path: Path) -> None:
    """What nobody can find takes no room."""
    for number in range(3):
        running.fill(KEY, b"%d" % number)
        running.settle()
    assert len(list((tmp_path / "bodies").glob("*/*"))) == 1
    running.store.remove(running.store.variants(KEY)[0])
    running.settle()
    assert not list((tmp_path / "bodies").glob("*/*"))
    assert not list((tmp_path / "growing").iterdir())


@EVERYWHERE
def test_variants_are_bounded(running: Bench) -> None:
    """An origin that varies endlessly has some variants, the latest."""
    for number in range(100):
        running.store.put(KEY, stored(varying=((b"cookie", b"%d" % number),)), b"%d" % number)
        running.settle(0.2)
    served = running.read_key(KEY)
    assert b"99" in served
    assert len(served) <= 32
    running.settle()
    assert len(list(running.store.entries())) <= 32


@EVERYWHERE
def test_update(running: Bench) -> None:
    """Another head, the same content."""
    running.fill(KEY, b"x" * 100_000)
    running.settle()
    entry = running.store.update(running.store.variants(KEY)[0], stored(b'"2"'))
    assert entry.is_complete
    for _ in range(2):
        (found,) = running.store.variants(KEY)
        assert found.stored.fields.get(b"etag") == b'"2"'
        assert running.read(found) == b"x" * 100_000
        running.settle()


@EVERYWHERE
def test_invalidate(running: Bench) -> None:
    """All variants must be validated, until one is replaced or updated."""
    for language in (GERMAN, FRENCH):
        running.store.put(KEY, stored(varying=language), b"x")
    running.store.invalidate(KEY)
    for _ in range(2):
        assert [each.stored.is_invalid for each in running.store.variants(KEY)] == [True, True]
        running.settle()
    running.store.update(running.store.variants(KEY)[0], stored(varying=GERMAN))
    running.settle()
    assert sorted(each.stored.is_invalid for each in running.store.variants(KEY)) == [False, True]


@EVERYWHERE
def test_remove(running: Bench) -> None:
    """What was removed isn't found, also if it wasn't written yet."""
    for seconds in (0.0, 1.0):
        for size in (5, 100_000):
            entry = running.fill(KEY, bytes(size))
            running.settle(seconds)
            running.store.remove(entry)
            assert not running.store.variants(KEY)
            running.settle()
            assert not running.store.variants(KEY)


@EVERYWHERE
def test_gone_entries_say_so(running: Bench) -> None:
    """An entry that was removed meanwhile can't be opened; who has opened it reads on."""
    entry = running.fill(KEY, b"x" * 100_000)
    running.settle()
    body = running.store.open(entry)
    running.store.remove(entry)
    running.settle()
    with pytest.raises(EntryGone):
        running.store.open(entry)
    assert os.pread(body.descriptor, 9, body.offset + 99_998) == b"xx"
    body.close()
    body.close()


@EVERYWHERE
def test_opened_in_a_thread(running: Bench) -> None:
    """A body is opened in a thread as well, and a short content is in memory then."""
    running.fill(KEY, b"x" * 100)
    running.fill(KEY + b"/long", b"y" * 100_000)
    running.settle()
    for key, content in ((KEY, b"x" * 100), (KEY + b"/long", b"y" * 100_000)):
        (entry,) = running.store.variants(key)
        body = result(running.store.opened(entry))
        assert os.pread(body.descriptor, len(content), body.offset) == content
        body.close()
    if running.limits.memory:
        assert running.store.variants(KEY)[0].content == b"x" * 100


def test_content_comes_back_to_memory(running: Bench) -> None:
    """After a restart nothing is in memory; what is opened is, then."""
    running.store.put(KEY, stored(), b"hello")
    (entry,) = running.restart().variants(KEY)
    assert entry.content is None
    result(running.store.opened(entry)).close()
    assert running.store.variants(KEY)[0].content == b"hello"


@EVERYWHERE
def test_too_long_bodies_are_not_begun(running: Bench) -> None:
    """A total beyond max_object is refused, one that turns out longer is given up once."""
    store = running.store
    most = running.limits.max_object if running.limits.disk else running.limits.memory // 4
    assert store.begin(KEY, stored(), running.limits.max_object + 1) is None
    body = store.begin(KEY, stored(), None)
    assert body is not None
    follower = os.dup(body.descriptor)
    with pytest.raises(StoreFull):
        flood(body, most + 1_000_000)
    body.write(b"ignored")
    with pytest.raises(StoreFull):
        body.finish()
    assert body.suspend() is None
    body.abandon()
    assert os.pread(follower, 1, body.offset) == b"\x00"
    os.close(follower)
    assert not store.variants(KEY)
    assert store.statistics().growing == 0


@EVERYWHERE
def test_abandoned_bodies_are_forgotten(running: Bench, tmp_path: Path) -> None:
    """Nothing of it is left."""
    body = running.store.begin(KEY, stored(), 100)
    assert body is not None
    body.write(b"x" * 50)
    assert running.store.statistics().growing == 50
    body.abandon()
    running.settle()
    assert not running.store.variants(KEY)
    assert running.store.statistics().growing == 0
    assert not running.limits.disk or not list((tmp_path / "growing").iterdir())


# --- Parts ---


@EVERYWHERE
def test_an_interrupted_body_is_continued(running: Bench) -> None:
    """What was suspended is a part; what is missing makes it whole."""
    content = os.urandom(200_000)
    body = running.store.begin(KEY, stored(), len(content))
    assert body is not None
    body.write(content[:120_000])
    entry = body.suspend()
    assert entry is not None
    assert (entry.is_complete, entry.size, entry.extents) == (False, 120_000, ((0, 120_000),))
    running.settle()
    (part,) = running.store.variants(KEY)
    assert running.read(part) == content[:120_000]
    body = running.store.begin(KEY, stored(), len(content), part, 120_000)
    assert body is not None
    body.write(content[120_000:])
    assert body.finish().is_complete
    running.settle()
    assert running.read_key(KEY) == [content]


@EVERYWHERE
def test_parts_are_joined(running: Bench) -> None:
    """Ranges in any order become one content."""
    content = os.urandom(300_000)
    store = running.store
    for start, end in ((200_000, 300_000), (0, 50_000), (50_000, 220_000)):
        known = [each for each in store.variants(KEY) if not each.is_complete]
        part = known[0] if known else None
        body = store.begin(KEY, stored(), len(content), part, start)
        assert body is not None
        body.write(content[start:end])
        entry = body.finish()
        assert running.read(entry) == b"".join(content[a:b] for a, b in entry.extents)
        running.settle(0.5)
    assert running.read_key(KEY) == [content]
    assert running.store.variants(KEY)[0].is_complete


@EVERYWHERE
def test_without_a_strong_validator_nothing_is_left(running: Bench) -> None:
    """Nobody could go on with a part of who knows what."""
    body = running.store.begin(KEY, stored(b'W/"1"'), 100)
    assert body is not None
    body.write(b"x")
    assert body.suspend() is None
    assert not running.store.variants(KEY)


@EVERYWHERE
def test_only_one_continues_a_part(running: Bench) -> None:
    """A second one has to wait for the first one's end, whoever still reads."""
    body = running.store.begin(KEY, stored(), 200_000)
    assert body is not None
    body.write(bytes(100_000))
    part = body.suspend()
    running.settle()
    first = running.store.begin(KEY, stored(), 200_000, part, 100_000)
    assert first is not None
    follower = os.dup(first.descriptor)
    assert running.store.begin(KEY, stored(), 200_000, part, 100_000) is None
    first.abandon()
    running.settle()
    second = running.store.begin(KEY, stored(), 200_000, part, 100_000)
    assert second is not None
    second.write(bytes(100_000))
    second.finish()
    os.close(follower)
    assert running.store.variants(KEY)[0].is_complete


@EVERYWHERE
def test_an_abandoned_continuation_leaves_the_part(running: Bench) -> None:
    """The part is what it was before."""
    running.fill(KEY, b"x" * 90_000, start=10_000, total=200_000)
    running.settle()
    (part,) = running.store.variants(KEY)
    body = running.store.begin(KEY, stored(), 200_000, part, 100_000)
    assert body is not None
    body.write(b"y" * 50_000)
    body.abandon()
    assert running.read_key(KEY) == [b"x" * 90_000]
    assert running.store.variants(KEY)[0].extents == ((10_000, 100_000),)


@EVERYWHERE
def test_a_part_that_is_gone_is_not_continued(running: Bench) -> None:
    """None, and nothing else happens."""
    part = running.fill(KEY, b"x" * 90_000, total=200_000)
    running.settle()
    running.store.remove(part)
    assert running.store.begin(KEY, stored(), 200_000, part, 90_000) is None


def test_a_part_survives_a_restart(running: Bench) -> None:
    """A stop suspends what grows, with a strong validator."""
    body = running.store.begin(KEY, stored(), 200_000)
    assert body is not None
    body.write(b"x" * 90_000)
    (part,) = running.restart().variants(KEY)
    body.write(b"ignored")
    assert (part.size, part.is_complete) == (90_000, False)
    assert running.read(part) == b"x" * 90_000


# --- Others ---


@pytest.mark.parametrize("running", [StoreLimits(0, 0, 100)], indirect=True)
def test_without_any_room_nothing_is_stored(running: Bench) -> None:
    """The cache is off."""
    assert running.store.put(KEY, stored(), b"x").content == b"x"
    assert running.store.begin(KEY, stored(), 5) is None
    assert not running.store.variants(KEY)


def test_a_folder_that_can_not_be_used(tmp_path: Path) -> None:
    """The cache is in memory then."""
    (tmp_path / "file").write_bytes(b"")
    with bench(tmp_path / "file" / "cache") as running:
        running.store.put(KEY, stored(), b"x")
        assert running.read_key(KEY) == [b"x"]
        assert running.store.statistics().disk_limit == 0


def test_before_the_start_and_after_the_stop_it_is_empty(tmp_path: Path) -> None:
    """Nothing is found or stored, and nothing fails."""
    with bench(tmp_path) as running:
        running.store.put(KEY, stored(), b"x")
        late = running.store.begin(KEY, stored(b'W/"2"'), None)
        assert late is not None
    store = running.store
    late.write(b"y")
    late.abandon()
    with pytest.raises(StoreFull):
        late.finish()
    fresh = CacheStore(tmp_path, LIMITS, at_once, running.clock, running.clock.seconds)
    for each in (store, fresh):
        assert not each.variants(KEY)
        entry = each.put(KEY, stored(), b"x")
        each.used(entry)
        each.invalidate(KEY)
        assert each.begin(KEY, stored(), 5) is None
        assert result(each.purge(key=KEY)) == 0
        assert "0 keys" in repr(each)


def test_files_are_nobody_elses_business(running: Bench, tmp_path: Path) -> None:
    """What people read can be read by the account of the service alone."""
    running.store.put(KEY, stored(), b"x")
    running.settle()
    for path in tmp_path.glob("**/*"):
        assert not path.stat().st_mode & 0o077, path


def test_statistics(running: Bench) -> None:
    """Sizes and counts are those of what is stored."""
    running.fill(KEY, bytes(100_000))
    running.store.put(KEY + b"2", stored(), b"x")
    running.settle(6)
    found = running.store.statistics()
    assert found.entries == 2
    assert 100_000 < found.disk < 130_000
    assert found.written_today >= 100_000
    assert (found.disk_limit, found.memory_limit) == (LIMITS.disk, LIMITS.memory)
    assert not found.is_failing
