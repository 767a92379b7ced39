"""What is remembered stays within its bound, and what was used last stays longest."""

from __future__ import annotations

import pytest

from proxyapp.store.entry import Entry
from proxyapp.store.memory import Entries, Memory, weight_of, weight_with_file
from tests.store.stores import stored

CAPACITY = 100_000
SIZE = 5000


def entry(number: int, size: int = SIZE, is_pinned: bool = False) -> Entry:
    """Return an entry with a content."""
    extents = ((0, size),)
    return Entry(b"%d" % number, number, stored(), size, extents, bytes(size), is_pinned)


class Forgotten:
    """A memory, and what it has forgotten."""

    def __init__(self, keeps_pinned: bool = False) -> None:
        self.ids: list[int] = []
        self.memory = Memory(CAPACITY, weight_of, self._forget, keeps_pinned)

    def _forget(self, entries: Entries) -> None:
        self.ids += [each.id for each in entries]

    def put(self, *entries: Entry) -> bool:
        return self.memory.put(entries[0].key, entries, 0)


def test_it_stays_within_its_bound() -> None:
    """However much is put, the weight is at most the capacity, and what goes is told."""
    kept = Forgotten()
    for number in range(50):
        assert kept.put(entry(number))
        assert kept.memory.weight <= CAPACITY
    assert kept.ids == list(range(len(kept.ids)))
    assert len(kept.memory.slots) + len(kept.ids) == 50
    assert len(kept.memory.slots) >= CAPACITY // (2 * SIZE)


def test_what_was_used_stays() -> None:
    """The one that was moved to the end outlives those put after it."""
    kept = Forgotten()
    for number in range(30):
        kept.put(entry(number))
        kept.memory.slots.move_to_end(b"0")
    assert 0 not in kept.ids
    assert 1 in kept.ids


def test_no_key_has_it_all() -> None:
    """What would take more than its share isn't remembered, and nothing goes for it."""
    kept = Forgotten()
    kept.put(entry(1))
    assert not kept.put(entry(2, CAPACITY // 2))
    assert not kept.put(*(entry(number) for number in range(3, 20)))
    assert list(kept.memory.slots) == [b"1"]


def test_replacing_and_dropping_give_room_back() -> None:
    """The weight is that of what is there."""
    kept = Forgotten()
    kept.put(entry(1))
    weight = kept.memory.weight
    kept.put(entry(1))
    assert kept.memory.weight == weight
    kept.memory.drop(b"1")
    kept.memory.drop(b"2")
    assert kept.memory.weight == 0


@pytest.mark.parametrize("keeps_pinned", [False, True])
def test_pinned_ones_stay_where_there_is_no_disk(keeps_pinned: bool) -> None:
    """Pinned ones go only where they can be found again."""
    kept = Forgotten(keeps_pinned)
    kept.put(entry(0, is_pinned=True))
    for number in range(1, 50):
        kept.put(entry(number))
    assert (0 in kept.ids) is not keeps_pinned


def test_full_of_pinned_ones_it_takes_nothing() -> None:
    """The bound holds, whatever is pinned."""
    kept = Forgotten(keeps_pinned=True)
    outcomes = [kept.put(entry(number, is_pinned=True)) for number in range(30)]
    assert (outcomes[0], outcomes[-1]) == (True, False)
    assert kept.memory.weight <= CAPACITY


def test_weights() -> None:
    """Where the body has another place it doesn't count."""
    long = Entry(b"k", 1, stored(), 10**9, ((0, 10**9),))
    assert weight_of(long) < 10**4
    assert weight_with_file(long) > 10**9


def test_clear() -> None:
    """Everything is forgotten, and told."""
    kept = Forgotten()
    kept.put(entry(1))
    kept.put(entry(2))
    kept.memory.clear()
    assert (kept.ids, kept.memory.weight, list(kept.memory.entries())) == ([1, 2], 0, [])
