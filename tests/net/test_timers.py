"""timers: nothing expires early, nothing later than a tick, and what is dropped is forgotten."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from proxyapp.net.timers import NEVER, TICK, Sweep
from tests.conftest import LoggedErrors


class Item:
    """Something with a time-out; notes when it expired."""

    def __init__(self, clock: Clock, then: Callable[[], object] = lambda: None) -> None:
        self.deadline = NEVER
        self.slot = 0
        self.expired: list[float] = []
        self._clock = clock
        self.then = then

    def expire(self) -> None:
        self.expired.append(self._clock.seconds())
        self.then()


def started(at: float = 1000.0) -> tuple[Clock, Sweep]:
    """Return a clock that shows *at*, and a sweep that ticks on it."""
    clock = Clock()
    clock.advance(at)
    sweep = Sweep(clock)
    sweep.start()
    return clock, sweep


def run(clock: Clock, seconds: float, step: float = TICK / 8) -> None:
    """Let *seconds* pass in small steps, as they do."""
    clock.pump([step] * round(seconds / step))


@pytest.mark.parametrize("at", [0.0, 0.1, 0.25, 1000.0, 1000.2, 86400.13])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.25, 0.26, 1.0, 1.1, 59.99])
def test_on_time(at: float, seconds: float) -> None:
    """An item expires once, not before its deadline, and at most a tick after it."""
    clock, sweep = started(at)
    item = Item(clock)
    sweep.set(item, seconds)
    deadline = item.deadline
    assert deadline == pytest.approx(at + seconds)
    run(clock, seconds + 3 * TICK)
    (when,) = item.expired
    assert deadline <= when <= deadline + TICK + TICK / 8
    assert item.deadline == NEVER
    sweep.stop()


ADVANCE = st.tuples(st.just("advance"), st.floats(0.001, 3.0))
SET = st.tuples(st.just("set"), st.integers(0, 4), st.floats(0.0, 5.0))
DROP = st.tuples(st.just("drop"), st.integers(0, 4))


@given(
    at=st.floats(0.0, 1e6),
    script=st.lists(st.one_of(ADVANCE, SET, DROP), max_size=40),
)
def test_any_history(at: float, script: list[tuple[str, float, float]]) -> None:
    """Whatever is set, moved and dropped: only due items expire, and all within a tick."""
    clock, sweep = started(at)
    items = [Item(clock) for _ in range(5)]
    due: dict[int, float] = {}
    for action, *details in script:
        if action == "set":
            sweep.set(items[int(details[0])], details[1])
            due[int(details[0])] = items[int(details[0])].deadline
        elif action == "drop":
            sweep.drop(items[int(details[0])])
            due.pop(int(details[0]), None)
        else:
            run(clock, details[0])
        for number, item in enumerate(items):
            now = clock.seconds()
            if item.expired:
                assert due.pop(number) <= item.expired.pop() <= now
                assert not item.expired
            elif number in due:
                assert now <= due[number] + TICK + TICK / 4
    sweep.stop()


def test_moved_later() -> None:
    """Traffic moves the deadline, and the old one passes unnoticed."""
    clock, sweep = started()
    item = Item(clock)
    sweep.set(item, 1.0)
    for _ in range(20):
        run(clock, 0.5)
        sweep.set(item, 1.0)
    assert item.expired == []
    run(clock, 1.0 + 2 * TICK)
    assert len(item.expired) == 1
    sweep.stop()


@pytest.mark.parametrize("sooner", [0.0, 0.3, 1.0, 9.8])
def test_moved_earlier(sooner: float) -> None:
    """An earlier deadline counts from the moment it is set."""
    clock, sweep = started()
    item = Item(clock)
    sweep.set(item, 10.0)
    sweep.set(item, sooner)
    run(clock, sooner + TICK)
    assert len(item.expired) == 1
    run(clock, 20.0)
    assert len(item.expired) == 1
    sweep.stop()


def test_never() -> None:
    """NEVER is a deadline that does not come, from the start or later on."""
    clock, sweep = started()
    fresh, moved = Item(clock), Item(clock)
    sweep.set(fresh, NEVER)
    sweep.set(moved, 1.0)
    sweep.set(moved, NEVER)
    run(clock, 10.0)
    assert fresh.expired == moved.expired == []
    sweep.set(moved, 1.0)
    run(clock, 2.0)
    assert len(moved.expired) == 1
    sweep.stop()


def test_set_again_while_expiring() -> None:
    """An item may set itself again in `expire`, even to now, and gets its next turn."""
    clock, sweep = started()
    item = Item(clock)
    item.then = lambda: sweep.set(item, 0.0) if len(item.expired) < 4 else None
    sweep.set(item, 0.0)
    run(clock, 3.0)
    assert len(item.expired) == 4
    assert len(set(item.expired)) == 4
    sweep.stop()


@pytest.mark.parametrize("seconds", [1.0, 1.3])
def test_dropped_while_another_expires(seconds: float) -> None:
    """Of two due items, the first to expire may drop the other: in its own tick or the next."""
    clock, sweep = started()
    items = [Item(clock), Item(clock)]
    items[0].then = lambda: sweep.drop(items[1])
    items[1].then = lambda: sweep.drop(items[0])
    sweep.set(items[0], 1.0)
    sweep.set(items[1], seconds)
    clock.advance(5.0)
    assert len(items[0].expired + items[1].expired) == 1
    run(clock, 5.0)
    assert len(items[0].expired + items[1].expired) == 1
    sweep.stop()


def test_moved_while_another_expires() -> None:
    """Of two items due at once, the first to expire may give the other more time."""
    clock, sweep = started()
    items = [Item(clock), Item(clock)]
    items[0].then = lambda: sweep.set(items[1], 2.0)
    items[1].then = lambda: sweep.set(items[0], 2.0)
    for item in items:
        sweep.set(item, 1.0)
    run(clock, 2.0)
    assert len(items[0].expired + items[1].expired) == 1
    first, second = sorted(items, key=lambda item: -len(item.expired))
    first.then = lambda: None
    second.then = lambda: None
    run(clock, 3.0)
    assert len(second.expired) == 1
    sweep.stop()


def test_no_reference_after_drop() -> None:
    """What was dropped, or has expired, is not kept alive."""
    clock, sweep = started()
    dropped, moved, expired = Item(clock), Item(clock), Item(clock)
    for item in (dropped, moved, expired):
        sweep.set(item, 1.0)
    sweep.set(moved, 0.1)
    sweep.set(moved, 60.0)
    sweep.drop(dropped)
    sweep.drop(moved)
    run(clock, 2.0)
    gone = [weakref.ref(item) for item in (dropped, moved, expired)]
    assert repr(sweep) == "<Sweep of 0>"
    del dropped, moved, expired, item
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    sweep.stop()


def test_drop_twice() -> None:
    """Dropping what is not watched does nothing."""
    clock, sweep = started()
    item = Item(clock)
    sweep.drop(item)
    sweep.set(item, 1.0)
    sweep.drop(item)
    sweep.drop(item)
    run(clock, 2.0)
    assert item.expired == []
    sweep.stop()


@pytest.mark.parametrize("jump", [10.0, 3600.0, 86400.0 * 365])
def test_clock_jumps_forward(jump: float) -> None:
    """After a jump (a suspended machine) everything due expires, in order, and nothing else."""
    clock, sweep = started()
    order: list[int] = []
    items = []
    for number, seconds in enumerate((1.0, 2.0, 3.0, 4.0)):
        items.append(Item(clock, lambda number=number: order.append(number)))  # type: ignore[misc]
        sweep.set(items[-1], seconds)
    later = Item(clock)
    sweep.set(later, jump + 5.0)
    clock.advance(jump)
    assert order == [0, 1, 2, 3]
    assert later.expired == []
    run(clock, 5.0 + TICK)
    assert len(later.expired) == 1
    sweep.stop()


def test_mistake_in_expire(logged_errors: LoggedErrors) -> None:
    """An exception in one item's expiry is logged, and costs nobody else a time-out."""
    clock, sweep = started()
    bad = [Item(clock, lambda: 1 / 0) for _ in range(3)]
    good = [Item(clock) for _ in range(20)]
    for item in bad + good:
        sweep.set(item, 1.0)
    late = Item(clock)
    sweep.set(late, 2.0)
    run(clock, 3.0)
    assert [len(item.expired) for item in [*bad, *good, late]] == [1] * 24
    assert len(logged_errors.flush(ZeroDivisionError)) == 3
    sweep.stop()


def test_now() -> None:
    """The time is that of the last tick, and that of the start before the first."""
    clock = Clock()
    sweep = Sweep(clock)
    clock.advance(500.1)
    sweep.start()
    assert sweep.now == 500.1
    run(clock, 1.0)
    assert clock.seconds() - TICK <= sweep.now <= clock.seconds()
    sweep.stop()


def test_start_after_a_while() -> None:
    """What is watched before the start, or set after a late start, keeps its time."""
    clock = Clock()
    sweep = Sweep(clock)
    early, late = Item(clock), Item(clock)
    sweep.set(early, 1.0)
    clock.advance(100.0)
    sweep.start()
    sweep.set(late, 1.0)
    run(clock, 2.0)
    assert len(early.expired) == 1
    assert late.expired[0] >= 101.0
    sweep.stop()


def test_stop() -> None:
    """A stopped sweep leaves no call behind and tells nobody; started again, it works."""
    clock, sweep = started()
    item = Item(clock)
    sweep.set(item, 1.0)
    sweep.stop()
    sweep.stop()
    assert clock.getDelayedCalls() == []
    run(clock, 5.0)
    assert item.expired == []
    sweep.start()
    sweep.set(item, 1.0)
    run(clock, 2.0)
    assert len(item.expired) == 1
    sweep.stop()


def test_repr() -> None:
    """It tells how many it watches."""
    clock, sweep = started()
    for _ in range(3):
        sweep.set(Item(clock), 5.0)
    assert repr(sweep) == "<Sweep of 3>"
    sweep.stop()
