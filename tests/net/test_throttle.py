"""throttle: the rate is kept, smoothly, shared fairly, and nothing ticks while nobody waits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from proxyapp.net.throttle import BURST, MAX_STEP, MIN_STEP, TICK, Pacer, Throttle

KIB = 1024
MIB = 1024 * KIB


class Mover:
    """A connection that moves as much as it may, in steps of at most *appetite* bytes."""

    def __init__(self, clock: Clock, throttle: Throttle, appetite: int = MAX_STEP) -> None:
        self.clock = clock
        self.throttle = throttle
        self.appetite = appetite
        self.moved: list[tuple[float, int]] = []
        self.is_awake = True
        self.is_gone = False

    def wake(self) -> bool:
        """See valve.Wake."""
        self.is_awake = not self.is_gone
        return self.is_awake

    def step(self) -> bool:
        """Move once, as one event of the loop would; False if it has to wait."""
        allowed = self.throttle.allow(self.wake) if self.is_awake else 0
        if not allowed:
            self.is_awake = False
            return False
        amount = min(allowed, self.appetite)
        self.throttle.spend(amount)
        self.moved.append((self.clock.seconds(), amount))
        return True

    @property
    def total(self) -> int:
        """Bytes moved altogether."""
        return sum(amount for _, amount in self.moved)


class Scene:
    """A throttle, its connections, and time."""

    def __init__(self, rate: float, *appetites: int) -> None:
        self.clock = Clock()
        self.pacer = Pacer(self.clock)
        self.throttle = Throttle(rate, self.pacer)
        self.movers = [Mover(self.clock, self.throttle, each) for each in appetites]

    def run(self, seconds: float, every: float = 0.01) -> None:
        """Let time pass; in each moment everybody steps in turn until all have to wait."""
        for _ in range(round(seconds / every)):
            while sum(mover.step() for mover in self.movers):
                pass
            self.clock.advance(every)

    @property
    def total(self) -> int:
        """Bytes moved by all."""
        return sum(mover.total for mover in self.movers)


RATES = [100, 5 * KIB, 64 * KIB, MIB, 2 * MIB + 1, 200 * MIB]


@pytest.mark.parametrize("rate", RATES)
def test_rate(rate: int) -> None:
    """Over ten seconds it's the rate, but for what had been saved up at first."""
    scene = Scene(rate, MAX_STEP)
    scene.run(10)
    spare = max(rate * BURST, scene.throttle.step) + scene.throttle.step
    assert rate * 9.8 <= scene.total <= rate * 10 + spare


@pytest.mark.parametrize("rate", RATES[1:])
def test_smooth(rate: int) -> None:
    """After the first moment, no half second brings more than a step above its part."""
    scene = Scene(rate, MAX_STEP, 1500)
    scene.run(5)
    halves: Counter[int] = Counter()
    for mover in scene.movers:
        for when, amount in mover.moved:
            halves[int(when * 2)] += amount
    for half in range(1, 10):
        assert abs(halves[half] - rate / 2) <= 2 * scene.throttle.step + rate * TICK


@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("rate", RATES[1:-1])
def test_fair(rate: int, count: int) -> None:
    """Connections that all want more get the same, within a step or two."""
    scene = Scene(rate, *[MAX_STEP] * count)
    scene.run(20)
    totals = [mover.total for mover in scene.movers]
    assert max(totals) - min(totals) <= 3 * scene.throttle.step


def test_a_small_appetite_costs_the_others_nothing() -> None:
    """What one doesn't want, the others get."""
    scene = Scene(MIB, MAX_STEP, 100)
    scene.run(10)
    assert scene.total >= MIB * 9.8


def test_late_joiner() -> None:
    """Who comes later shares from then on."""
    scene = Scene(MIB, MAX_STEP)
    scene.run(5)
    before = scene.movers[0].total
    late = Mover(scene.clock, scene.throttle)
    scene.movers.append(late)
    scene.run(10)
    assert abs(late.total - (scene.movers[0].total - before)) <= 4 * scene.throttle.step


def test_gone_ones_take_no_turn() -> None:
    """Connections that were lost while they waited don't slow the others down."""
    scene = Scene(64 * KIB, *[MAX_STEP] * 20)
    scene.run(1)
    for mover in scene.movers[1:]:
        mover.is_gone = True
    before = scene.movers[0].total
    scene.run(10)
    assert scene.movers[0].total - before >= 64 * KIB * 9.5


@pytest.mark.parametrize(
    ("rate", "step"), [(1, MIN_STEP), (MIB, int(MIB * TICK)), (100 * MIB, MAX_STEP)]
)
def test_step(rate: int, step: int) -> None:
    """A step is worth a tick, within bounds."""
    assert Throttle(rate, Pacer(Clock())).step == step


def test_no_ticks_without_need() -> None:
    """Nothing is scheduled before somebody waits, nor after the last one was served."""
    scene = Scene(MIB, MAX_STEP)
    assert not scene.clock.getDelayedCalls()
    scene.run(1)
    assert len(scene.clock.getDelayedCalls()) == 1
    scene.movers.clear()
    scene.clock.advance(1)
    assert not scene.clock.getDelayedCalls()
    assert scene.throttle.is_at_rest
    assert repr(scene.pacer) == "<Pacer of 0 throttles>"


def test_one_tick_for_all() -> None:
    """Any number of throttles shares one call of the clock."""
    clock = Clock()
    pacer = Pacer(clock)
    for _ in range(100):
        Mover(clock, throttle := Throttle(KIB, pacer)).step()
        assert throttle.allow(lambda: True) == 0
    assert len(clock.getDelayedCalls()) == 1
    pacer.stop()
    assert not clock.getDelayedCalls()
    pacer.stop()


def test_state() -> None:
    """A throttle that owes or has somebody in line isn't at rest, and says so."""
    scene = Scene(KIB, MAX_STEP)
    assert scene.throttle.is_at_rest
    scene.run(0.1)
    assert not scene.throttle.is_at_rest
    assert "1 waiting" in repr(scene.throttle)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1 * KIB, 10 * MIB),
    st.lists(st.integers(1, MAX_STEP), min_size=1, max_size=8),
    st.sampled_from((0.005, 0.02, 0.07)),
)
def test_never_faster(rate: int, appetites: list[int], every: float) -> None:
    """However many there are and whatever they want, together they don't pass the rate."""
    scene = Scene(rate, *appetites)
    # A mover with an appetite of one byte takes very many turns.
    for mover in scene.movers:
        mover.appetite = max(mover.appetite, rate // 200)
    scene.run(3, every)
    spare = max(rate * BURST, scene.throttle.step) + scene.throttle.step
    assert scene.total <= rate * scene.clock.seconds() + spare
