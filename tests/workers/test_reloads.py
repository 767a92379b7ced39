"""Reloads one at a time, and who waits for which."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from proxyapp.workers.reloads import Outcome, Reloads


class Scene:
    """Reloads that end when the test says so."""

    def __init__(self) -> None:
        self.running: list[Deferred[Outcome]] = []
        self.told: list[str] = []
        self.reloads = Reloads(self._reload)

    def _reload(self) -> Deferred[Outcome]:
        begun: Deferred[Outcome] = Deferred()
        self.running.append(begun)
        return begun

    def ask(self, who: str) -> None:
        """Have *who* ask."""
        self.reloads.ask().addCallback(
            lambda outcome: self.told.append(f"{who} {' '.join(outcome.mistakes) or 'done'}")
        )


def test_one_at_a_time() -> None:
    """Who asks meanwhile waits for another one, and that is one for all of them."""
    scene = Scene()
    scene.ask("a")
    scene.ask("b")
    scene.ask("c")
    assert len(scene.running) == 1
    assert repr(scene.reloads) == "<Reloads running, 2 waiting>"
    scene.running[0].callback(Outcome())
    assert scene.told == ["a done"]
    assert len(scene.running) == 2
    scene.running[1].callback(Outcome(("wrong",)))
    assert scene.told == ["a done", "b wrong", "c wrong"]
    assert len(scene.running) == 2


def test_again() -> None:
    """The next one begins where nobody waits, after a failure, too."""
    scene = Scene()
    scene.ask("a")
    scene.running[0].callback(Outcome(("wrong",)))
    assert repr(scene.reloads) == "<Reloads idle, 0 waiting>"
    scene.ask("b")
    scene.running[1].callback(Outcome())
    assert scene.told == ["a wrong", "b done"]
