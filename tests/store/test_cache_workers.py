"""Several processes share a folder: each has its own store, and they see what the others do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store.entry import EntryGone
from proxyapp.store.folder import BodyFolder
from proxyapp.store.tokens import SLOTS, Tokens, slot_of
from tests.store.stores import KEY, Bench, bench, result, stored

LONG = b"x" * 100_000


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Bench, Bench]]:
    """Yield two stores on one folder."""
    with bench(tmp_path) as first, bench(tmp_path) as second:
        yield first, second


def test_what_one_stores_the_other_finds(workers: tuple[Bench, Bench]) -> None:
    """Rows are visible as soon as they're written."""
    first, second = workers
    first.store.put(KEY, stored(), b"hello")
    first.fill(KEY + b"/long", LONG)
    assert not second.store.variants(KEY)
    first.settle()
    assert second.read_key(KEY) == [b"hello"]
    assert second.read_key(KEY + b"/long") == [LONG]


def test_what_one_replaces_the_other_sees(workers: tuple[Bench, Bench]) -> None:
    """What the other one remembers is looked up again when it was changed."""
    first, second = workers
    for content in (b"one", b"two", b"three"):
        first.store.put(KEY, stored(), content)
        first.settle()
        assert second.read_key(KEY) == [content]
        assert second.store.variants(KEY) is second.store.variants(KEY)
    second.store.put(KEY, stored(varying=((b"accept", b"x"),)), b"four")
    second.settle()
    assert sorted(first.read_key(KEY)) == [b"four", b"three"]


@pytest.mark.parametrize("is_restored", [False, True])
def test_what_is_replaced_goes_last(
    workers: tuple[Bench, Bench], is_restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks for a body that another one takes away: who remembers it knows of the new one.

    Be that written by a worker, or found by the one that compares files and index.
    """
    first, second = workers
    new = stored(arrived_at=stored().arrived_at + 10)
    entry = first.store.put(KEY, new, b"new")
    first.settle()
    kept = BodyFolder(first.folder, first.clock.seconds).body_path(entry.id)
    aside = first.folder / "aside"
    os.link(kept, aside)
    first.store.put(KEY, stored(), b"old")
    first.settle()
    assert second.read_key(KEY) == [b"old"]
    found = []
    unlink = BodyFolder.unlink

    def look_and_unlink(folder: BodyFolder, number: int) -> None:
        found.append(second.read_key(KEY))
        unlink(folder, number)

    monkeypatch.setattr(BodyFolder, "unlink", look_and_unlink)
    if is_restored:
        os.rename(aside, kept)
        first.store._library._restoring.start()  # type: ignore[attr-defined]
    else:
        first.store.put(KEY, new, b"new")
        first.settle()
    assert found == [[b"new"]]


def test_contents_stay_in_memory_when_rows_are_read_again(workers: tuple[Bench, Bench]) -> None:
    """A change of one variant doesn't have the others' contents read again."""
    first, second = workers
    first.store.put(KEY, stored(), b"hello")
    first.settle()
    (entry,) = second.store.variants(KEY)
    result(second.store.opened(entry)).close()
    first.store.invalidate(KEY)
    first.settle()
    (entry,) = second.store.variants(KEY)
    assert entry.stored.is_invalid
    assert entry.content == b"hello"


@pytest.mark.parametrize("change", ["update", "invalidate", "remove", "purge", "pin"])
def test_changes_reach_the_other(workers: tuple[Bench, Bench], change: str) -> None:
    """Nobody serves what another one has changed."""
    first, second = workers
    entry = first.store.put(KEY, stored(), b"hello")
    first.settle()
    assert second.store.variants(KEY)[0].stored.fields.get(b"etag") == b'"1"'
    if change == "update":
        first.store.update(entry, stored(b'"2"'))
    elif change == "invalidate":
        first.store.invalidate(KEY)
    elif change == "remove":
        first.store.remove(entry)
    elif change == "purge":
        first.store.purge(key=KEY)
    else:
        first.store.pin(KEY)
    first.settle()
    found = [
        (each.stored.fields.get(b"etag"), each.stored.is_invalid, each.is_pinned)
        for each in second.store.variants(KEY)
    ]
    assert found == {
        "update": [(b'"2"', False, False)],
        "invalidate": [(b'"1"', True, False)],
        "pin": [(b'"1"', False, True)],
    }.get(change, [])


@pytest.mark.parametrize("is_new", [True, False])
def test_a_change_before_the_others_see_it(workers: tuple[Bench, Bench], is_new: bool) -> None:
    """What waits to be written when another worker sees a change is invalid all the same."""
    first, second = workers
    now = first.clock.seconds()
    entry = first.store.put(KEY, stored(arrived_at=now - 1), b"hello")
    if not is_new:
        first.settle()
        now = first.clock.seconds()
        first.store.update(entry, stored(b'"2"', arrived_at=now))
    assert second.store.sharing is not None
    second.store.sharing.outdated.note(KEY, now)
    second.store.invalidate(KEY)
    second.settle()
    first.settle()
    for each in workers:
        assert each.store.variants(KEY)[0].stored.is_invalid
    first.store.update(entry, stored(b'"3"', arrived_at=first.clock.seconds()))
    first.settle()
    for each in workers:
        assert not each.store.variants(KEY)[0].stored.is_invalid


def test_eviction_by_one_is_harmless_to_the_other(workers: tuple[Bench, Bench]) -> None:
    """Who still knows an entry that is gone has a miss, and forgets it."""
    first, second = workers
    first.fill(KEY, LONG)
    first.settle()
    (entry,) = second.store.variants(KEY)
    opened = second.store.open(entry)
    disk = first.store._library._disk  # type: ignore[attr-defined]
    disk.remove([(entry.id, entry.key)], is_said=False)
    assert os.pread(opened.descriptor, 5, opened.offset) == b"xxxxx"
    opened.close()
    assert second.store.variants(KEY)
    with pytest.raises(EntryGone):
        second.store.open(entry)
    assert not second.store.variants(KEY)
    second.settle()


def test_one_continues_what_the_other_has_begun(workers: tuple[Bench, Bench]) -> None:
    """A part is continued by one worker at a time."""
    first, second = workers
    body = first.store.begin(KEY, stored(), 200_000)
    assert body is not None
    body.write(LONG)
    body.suspend()
    first.settle()
    (part,) = second.store.variants(KEY)
    again = second.store.begin(KEY, stored(), 200_000, part, 100_000)
    assert again is not None
    assert first.store.begin(KEY, stored(), 200_000, part, 100_000) is None
    again.write(LONG)
    again.finish()
    second.settle()
    assert first.read_key(KEY) == [LONG + LONG]
    assert first.store.variants(KEY)[0].is_complete


def test_both_store_the_same(workers: tuple[Bench, Bench], tmp_path: Path) -> None:
    """The last one stays, with its file, and both find it."""
    first, second = workers
    first.store.put(KEY, stored(), b"first")
    second.store.put(KEY, stored(), b"second")
    first.settle()
    second.settle()
    assert first.read_key(KEY) == second.read_key(KEY) == [b"second"]
    assert len(list((tmp_path / "bodies").glob("*/*"))) == 1


def test_when_one_makes_a_new_index_the_other_goes_over(
    workers: tuple[Bench, Bench],
) -> None:
    """A broken index is left by all."""
    first, second = workers
    first.store.put(KEY, stored(), b"hello")
    first.settle()
    first.store._library._disk.renew()  # type: ignore[attr-defined]
    first.store._library._renewed()  # type: ignore[attr-defined]
    first.settle()
    second.store.put(KEY + b"/2", stored(), b"second")
    second.settle(2)
    assert first.read_key(KEY) == [b"hello"]
    assert first.read_key(KEY + b"/2") == [b"second"]
    first.store.put(KEY + b"/3", stored(), b"third")
    first.settle()
    assert second.read_key(KEY + b"/3") == [b"third"]


def test_tokens(tmp_path: Path) -> None:
    """A token changes for everybody when it is renewed, and only then."""
    path = str(tmp_path / "tokens")
    mine, yours = Tokens(path), Tokens(path)
    keys = [b"http://example.com/%d" % number for number in range(100)]
    before = {key: yours.slots[slot_of(key)] for key in keys}
    assert {key: mine.slots[slot_of(key)] for key in keys} == before
    mine.renew([keys[0]])
    assert yours.slots[slot_of(keys[0])] == mine.slots[slot_of(keys[0])] != before[keys[0]]
    assert sum(yours.slots[slot_of(key)] != before[key] for key in keys) <= 3
    yours.renew_all()
    assert all(mine.slots[slot_of(key)] != before[key] for key in keys)
    mine.close()
    yours.close()
    assert os.path.getsize(path) == 8 * SLOTS
