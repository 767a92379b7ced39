"""What is remembered of files: for how long, how much, and what is forgotten first."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.conditions import Validators
from proxyapp.site import memory as module
from proxyapp.site.memory import LOOK_EVERY, SETTLED_AFTER, Memory
from proxyapp.site.representations import IDENTITY, Representation, Resource
from proxyapp.wire.messages import OutgoingResponse

NOW = 1_000_000_000.0
OVERHEAD = module._OVERHEAD


class Time:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def resource(size: int = 10, changed_at: float = 0.0) -> Resource:
    """Return a resource with *size* bytes of content."""
    head = OutgoingResponse(200, b"OK", [])
    validators = Validators(None, None)
    found = Representation(validators, size, b"", [], [], head, bytes(size))
    return Resource({IDENTITY: found}, (), (), changed_at)


def capacity_for(count: int, size: int) -> int:
    """Return room for *count* resources with *size* bytes each, under paths of two bytes."""
    return count * (size + OVERHEAD + 2)


def test_nothing_is_known_at_first() -> None:
    """An unknown path is unknown in every way, and may be forgotten."""
    memory = Memory(Time())
    assert memory.get(b"/a") is None
    assert memory.recall(b"/a") is None
    memory.trust(b"/a")
    memory.forget(b"/a")
    memory.doubt()
    assert memory.get(b"/a") is None


@pytest.mark.parametrize(
    ("passed", "is_sure"),
    [
        (LOOK_EVERY, False),
        (1e9, False),
        (-0.001, False),  # the clock was set back
        (-1e9, False),
        (LOOK_EVERY - 0.001, True),
        (0.0, True),
    ],
)
def test_what_is_known_is_sure_for_a_second(passed: float, is_sure: bool) -> None:
    """After a second, and after the clock was set back, the file is looked at again."""
    time = Time()
    memory, known = Memory(time), resource()
    memory.put(b"/a", known)
    time.now += passed
    assert memory.get(b"/a") is (known if is_sure else None)
    assert memory.recall(b"/a") is known


def test_looking_again_makes_it_sure_again() -> None:
    """Another second begins when the same is put again, and while somebody looks."""
    time = Time()
    memory, known = Memory(time), resource()
    memory.put(b"/a", known)
    time.now += LOOK_EVERY
    memory.trust(b"/a")
    assert memory.get(b"/a") is known
    time.now += LOOK_EVERY
    assert memory.get(b"/a") is None
    memory.put(b"/a", known)
    assert memory.get(b"/a") is known


def test_doubt() -> None:
    """When files were changed through us, everything is looked at again, but not forgotten."""
    memory = Memory(Time())
    known = resource()
    for path in (b"/a", b"/b"):
        memory.put(path, known)
    memory.doubt()
    for path in (b"/a", b"/b"):
        assert memory.get(path) is None
        assert memory.recall(path) is known


@pytest.mark.parametrize(
    ("age", "is_kept"),
    [
        (0.0, False),
        (SETTLED_AFTER - 0.01, False),
        (-SETTLED_AFTER + 0.01, False),
        (SETTLED_AFTER, True),
        (1e9, True),
        (-1e9, True),
    ],
)
def test_young_files_are_not_trusted(age: float, is_kept: bool) -> None:
    """A file that just changed may change again without its times showing it."""
    memory = Memory(Time())
    memory.put(b"/a", resource(changed_at=NOW - age))
    assert (memory.get(b"/a") is not None) is is_kept


def test_a_young_file_takes_the_place_of_what_was_known() -> None:
    """What can't be remembered still ends what was remembered before."""
    memory = Memory(Time())
    memory.put(b"/a", resource())
    memory.put(b"/a", resource(changed_at=NOW))
    assert memory.recall(b"/a") is None
    assert repr(memory) == f"<Memory of 0 paths, 0 of {module.CAPACITY} bytes>"


def test_the_one_asked_for_longest_ago_goes_first() -> None:
    """Room is made by forgetting what nobody asked for since."""
    memory = Memory(Time(), capacity_for(3, 100))
    for path in (b"/a", b"/b", b"/c"):
        memory.put(path, resource(100))
    memory.get(b"/a")
    memory.put(b"/d", resource(100))
    assert [path for path in (b"/a", b"/b", b"/c", b"/d") if memory.get(path)] == [
        b"/a",
        b"/c",
        b"/d",
    ]


def test_what_is_too_large_is_not_remembered() -> None:
    """One that has no room at all doesn't drive out the others."""
    memory = Memory(Time(), capacity_for(1, 100))
    memory.put(b"/a", resource(100))
    memory.put(b"/b", resource(101))
    assert memory.get(b"/a") is not None
    assert memory.get(b"/b") is None


def test_empty_files_take_room_too() -> None:
    """Even paths of files without content are bounded in number."""
    memory = Memory(Time(), 10 * OVERHEAD)
    for number in range(1000):
        memory.put(b"/%d" % number, resource(0))
    assert sum(memory.recall(b"/%d" % number) is not None for number in range(1000)) < 10


@given(
    st.lists(st.tuples(st.sampled_from([b"/a", b"/b", b"/c", b"/d"]), st.integers(-1, 20_000))),
    st.integers(0, 30_000),
)
def test_the_bound_holds(puts: list[tuple[bytes, int]], capacity: int) -> None:
    """Whatever is put and forgotten, the bytes in memory are counted right and bounded."""
    memory = Memory(Time(), capacity)
    for path, size in puts:
        if size < 0:
            memory.forget(path)
        else:
            memory.put(path, resource(size))
        known = [(each, memory.recall(each)) for each in (b"/a", b"/b", b"/c", b"/d")]
        total = sum(len(each) + found.weight + OVERHEAD for each, found in known if found)
        count = sum(found is not None for _, found in known)
        assert total <= capacity
        assert repr(memory) == f"<Memory of {count} paths, {total} of {capacity} bytes>"


def test_the_capacity_is_for_thousands() -> None:
    """The largest files that are remembered fit in by the hundred, small ones by the thousand."""
    assert module.CAPACITY == 32 << 20
    assert math.floor(module.CAPACITY / (64 * 1024 + OVERHEAD)) > 400
    assert math.floor(module.CAPACITY / (1024 + OVERHEAD)) > 6000
