"""nearby: while the line is down the LAN's names are found, and the others are not waited for."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.nearby import MOST_ASKED, PATIENCE, SILENT, NearbyNames
from proxyapp.net.resolver import Addresses, Resolver
from proxyapp.net.routes import Ways
from proxyapp.net.timers import TICK, Sweep
from proxyapp.net.uplink import Uplink

TIMEOUT = 10.0
HERE = ("192.168.7.5",)
AWAY = ("11.0.0.1",)


class Setting:
    """A resolver whose look-ups the test answers, while nothing beyond the LAN is dialled."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.answers: dict[str, Deferred[Addresses]] = {}
        self.asked: list[str] = []
        self.resolver = Resolver(self._look_up, self.sweep, 60.0, 5.0)
        uplink = Uplink(
            self.clock,
            "on",
            lambda place: fail(errors.ConnectTimeout("silence")),
            lambda: succeed(Ways("", ())),
            lambda: 0.0,
            lambda: None,
            self.resolver.forget_failures,
        )
        self.names = NearbyNames(self.clock, self.resolver, uplink, TIMEOUT)

    def _look_up(self, name: str) -> Deferred[Addresses]:
        self.asked.append(name)
        self.answers[name] = Deferred()
        return self.answers[name]

    def find(self, name: str) -> list[tuple[str, ...] | Failure]:
        """Look for *name*; returns where the outcome will be."""
        outcome: list[tuple[str, ...] | Failure] = []
        Deferred.fromCoroutine(self.names.find(name, 80)).addBoth(outcome.append)
        return outcome

    def remembers(self, name: str, addresses: tuple[str, ...]) -> None:
        """Let *name* have been looked up, long ago."""
        work = Deferred.fromCoroutine(self.resolver.resolve(name))
        self.answers.pop(name).callback(Addresses(addresses, 1.0))
        assert work.result == addresses
        self.wait(5.0)
        self.asked.clear()

    def wait(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.clock.pump([TICK / 2] * round(2 * seconds / TICK))


def is_refused(outcome: list[tuple[str, ...] | Failure]) -> bool:
    """Did it end with LineDown?"""
    (result,) = outcome
    return isinstance(result, Failure) and result.check(errors.LineDown) is not None


def test_an_old_address_beyond_the_lan() -> None:
    """It is known to be of no use, so nobody is asked."""
    setting = Setting()
    setting.remembers("example.com", AWAY)
    assert (setting.find("example.com"), setting.asked) == ([AWAY], [])


def test_a_new_name() -> None:
    """A name that nobody has heard of has a moment to turn out to be the LAN's."""
    setting = Setting()
    outcome = setting.find("files.example.com")
    setting.answers["files.example.com"].callback(Addresses(HERE, 60.0))
    assert outcome == [HERE]


def test_a_new_name_that_nobody_tells() -> None:
    """It is refused after that moment; the next time at once, and asked for again later."""
    setting = Setting()
    first = setting.find("example.com")
    setting.wait(PATIENCE)
    assert is_refused(first)
    setting.answers["example.com"].errback(errors.NameTimeout("silence"))
    setting.wait(6.0)
    assert is_refused(setting.find("example.com"))
    assert setting.asked == ["example.com"]
    setting.wait(SILENT)
    setting.find("example.com")
    assert setting.asked == ["example.com", "example.com"]


def test_a_late_answer_counts() -> None:
    """Nobody waits for it, but whoever comes after it has it."""
    setting = Setting()
    outcome = setting.find("files.example.com")
    setting.wait(PATIENCE)
    assert is_refused(outcome)
    setting.answers["files.example.com"].callback(Addresses(HERE, 60.0))
    assert setting.find("files.example.com") == [HERE]


@pytest.mark.parametrize("error", [errors.NameUnknown, errors.NameTimeout])
def test_a_failure_says_nothing(error: type[errors.ExchangeError]) -> None:
    """Whether the name exists nobody can tell now; also not from memory."""
    setting = Setting()
    outcome = setting.find("example.com")
    setting.answers["example.com"].errback(error("no"))
    assert is_refused(outcome)
    assert is_refused(setting.find("example.com"))


@pytest.mark.parametrize("name", ["nas", "nas.lan", "nas.local"])
def test_names_of_the_lan(name: str) -> None:
    """They have all the time there is, and fail as they do on any day."""
    setting = Setting()
    outcome = setting.find(name)
    setting.wait(PATIENCE + 1)
    assert outcome == []
    setting.wait(TIMEOUT)
    (result,) = outcome
    assert isinstance(result, Failure)
    assert result.check(errors.NameTimeout)


def test_an_old_address_on_the_lan() -> None:
    """The line may have been what led to its name server: an old answer is better than none."""
    setting = Setting()
    setting.remembers("files.example.com", HERE)
    outcome = setting.find("files.example.com")
    assert setting.asked == ["files.example.com"]
    setting.wait(PATIENCE)
    assert outcome == [HERE]


def test_few_are_asked_at_once() -> None:
    """Names that nobody tells leave room for the LAN's."""
    setting = Setting()
    outcomes = [setting.find(f"www.example{n}.com") for n in range(MOST_ASKED + 1)]
    assert len(setting.asked) == MOST_ASKED
    assert is_refused(outcomes[-1])
    assert outcomes[0] == []


def test_literals() -> None:
    """An address stands for itself."""
    setting = Setting()
    assert [*setting.find("11.0.0.1"), *setting.find("::1")] == [("11.0.0.1",), ("::1",)]


def test_failures_are_forgotten() -> None:
    """When the line is back, names that could not be found are asked for again; others aren't."""
    setting = Setting()
    known = Deferred.fromCoroutine(setting.resolver.resolve("a.example"))
    unknown = Deferred.fromCoroutine(setting.resolver.resolve("b.example"))
    unknown.addErrback(lambda failure: failure.trap(errors.NameUnknown))
    setting.answers["a.example"].callback(Addresses(AWAY, 60.0))
    setting.answers["b.example"].errback(errors.NameUnknown("no"))
    assert known.result == AWAY
    setting.resolver.forget_failures()
    assert setting.resolver.known("a.example") == AWAY
    assert setting.resolver.known("b.example") is None
    assert setting.resolver.remembered("b.example") == ()
