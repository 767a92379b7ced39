"""rates: each share has its own bucket and throttle, and only so many of them."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from proxyapp.limits import rates
from proxyapp.limits.rates import Bandwidths, RequestRates, Share
from proxyapp.net.throttle import Pacer

ONE, OTHER = Share("kids", "192.0.2.1"), Share("kids", "192.0.2.2")


class Scene:
    """Both kinds, and time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pacer = Pacer(self.clock)
        self.requests = RequestRates(self.pacer)
        self.bandwidths = Bandwidths(self.pacer)

    def admitted(self, share: Share, rate: float, count: int) -> int:
        """Return how many of *count* requests at once are admitted."""
        return sum(not self.requests.wait(share, rate) for _ in range(count))


@pytest.fixture
def scene() -> Scene:
    """Return the scene."""
    return Scene()


@pytest.mark.parametrize(("rate", "at_once"), [(0.1, 1), (0.5, 1), (1, 1), (50, 50)])
def test_at_once(scene: Scene, rate: float, at_once: int) -> None:
    """One second's requests may come at once, and always one."""
    assert scene.admitted(ONE, rate, 100) == at_once


@pytest.mark.parametrize("rate", [0.5, 1, 7, 50])
def test_over_time(scene: Scene, rate: float) -> None:
    """Over a minute it's the rate, however often somebody tries."""
    admitted = 0
    for _ in range(600):
        admitted += scene.admitted(ONE, rate, 10)
        scene.clock.advance(0.1)
    assert rate * 60 - 1 <= admitted <= rate * 60 + max(1.0, rate)


def test_wait_is_honest(scene: Scene) -> None:
    """After the time that it says, and not before, the next one is admitted."""
    assert scene.admitted(ONE, 0.5, 2) == 1
    assert scene.requests.wait(ONE, 0.5) == pytest.approx(2.0)
    scene.clock.advance(1.9)
    assert scene.requests.wait(ONE, 0.5) == pytest.approx(0.1)
    scene.clock.advance(0.11)
    assert not scene.requests.wait(ONE, 0.5)


def test_shares(scene: Scene) -> None:
    """What one takes, the other has left, and so it is under another rule."""
    assert scene.admitted(ONE, 5, 10) == 5
    assert scene.admitted(OTHER, 5, 10) == 5
    assert scene.admitted(Share("guests", ONE.who), 5, 10) == 5
    assert scene.bandwidths.throttle(ONE, 1000) is scene.bandwidths.throttle(ONE, 1000)
    assert scene.bandwidths.throttle(ONE, 1000) is not scene.bandwidths.throttle(OTHER, 1000)


def test_another_rate(scene: Scene) -> None:
    """A rule that was changed holds from the next request on."""
    assert scene.admitted(ONE, 5, 10) == 5
    assert scene.admitted(ONE, 6, 10) == 6
    before = scene.bandwidths.throttle(ONE, 1000)
    assert scene.bandwidths.throttle(ONE, 2000) is not before


def test_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients without number are forgotten again, who came last as the last."""
    monkeypatch.setattr(rates, "REMEMBERED", 100)
    for number in range(1000):
        share = Share("kids", str(number))
        assert not scene.requests.wait(share, 1)
        scene.bandwidths.throttle(share, 1000)
    assert repr(scene.requests) == "<RequestRates of 100>"
    assert repr(scene.bandwidths) == "<Bandwidths of 100>"
    assert scene.requests.wait(Share("kids", "999"), 1)
    assert not scene.requests.wait(Share("kids", "0"), 1)


def test_busy_throttles_are_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is being throttled isn't forgotten for others that do nothing."""
    monkeypatch.setattr(rates, "REMEMBERED", 10)
    busy = scene.bandwidths.throttle(ONE, 1000)
    busy.spend(100_000)
    for number in range(50):
        scene.bandwidths.throttle(Share("kids", str(number)), 1000)
    assert scene.bandwidths.throttle(ONE, 1000) is busy


def test_all_busy(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all are, the oldest goes: the bound holds."""
    monkeypatch.setattr(rates, "REMEMBERED", 10)
    for number in range(50):
        scene.bandwidths.throttle(Share("kids", str(number)), 1000).spend(100_000)
    assert repr(scene.bandwidths) == "<Bandwidths of 10>"
