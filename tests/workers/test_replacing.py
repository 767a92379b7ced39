"""Dead workers: replaced at once, and then after longer and longer."""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyapp.workers.replacing import FIRST_PAUSE, LONGEST_PAUSE, Replacing


class Scene:
    """A clock, and the numbers of the workers that were started."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.started: list[int] = []
        self.replacing = Replacing(self.clock, self.started.append)

    def dies(self, number: int, lived: float) -> float:
        """Let a worker die; return after how long it's replaced."""
        return self.replacing.died(number, lived)


def test_first_death() -> None:
    """Nobody waits for the first one, not even in the same turn of the loop."""
    scene = Scene()
    assert scene.dies(1, lived=0.1) == 0.0
    assert scene.started == []
    scene.clock.advance(0)
    assert scene.started == [1]


def test_pauses_grow() -> None:
    """Each further death costs twice the time, up to a limit."""
    scene = Scene()
    pauses = []
    for _ in range(9):
        pauses.append(scene.dies(0, lived=1.0))
        scene.clock.advance(pauses[-1])
    assert pauses[:4] == [0.0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert scene.started == [0] * 9


def test_who_lived_long() -> None:
    """A worker that served for long has a fresh start."""
    scene = Scene()
    for _ in range(4):
        scene.clock.advance(scene.dies(0, lived=1.0))
    assert scene.dies(0, lived=3600.0) == 0.0


def test_others_count_apart() -> None:
    """The deaths of one are not held against another."""
    scene = Scene()
    scene.clock.advance(scene.dies(0, lived=1.0))
    assert scene.dies(0, lived=1.0) == FIRST_PAUSE
    assert scene.dies(1, lived=1.0) == 0.0
    assert repr(scene.replacing) == "<Replacing [0, 1]>"


def test_stop() -> None:
    """Nobody is started any more, and what was is forgotten."""
    scene = Scene()
    scene.dies(0, lived=1.0)
    scene.replacing.stop()
    scene.clock.advance(LONGEST_PAUSE)
    assert scene.started == []
    assert scene.dies(0, lived=1.0) == 0.0
