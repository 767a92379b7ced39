"""permits: who may come in, and what ends an exchange that has had its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.limits import LedgerError, Permit, build_limits
from proxyapp.net import transport as net_transport
from proxyapp.net.throttle import MIN_STEP
from proxyapp.net.valve import UNLIMITED
from proxyapp.rules.question import Decision, Question, RuleLimits
from proxyapp.rules.record import Record
from tests.support import MemoryTransport

_T = TypeVar("_T")

KIB = 1024
ANYBODY = Question("proxy", "192.0.2.7", None, b"GET", "a.example", 80)
OTHER = ANYBODY._replace(client="192.0.2.8")
RATE = RuleLimits("kids", requests_per_second=2)
BANDWIDTH = RuleLimits("kids", bytes_per_second=100 * KIB)
QUOTA = RuleLimits("kids", quota_bytes=5 * KIB, quota_period="day")


def decision(limits: RuleLimits | None) -> Decision:
    """Return what the judge says of a request that *limits* hold for."""
    return Decision(True, "[rule kids]", "it matched", "Go out and play.", limits=limits)


class Scene:
    """Limits, and time."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.now = datetime(2026, 1, 5, 12, 0).timestamp()
        self.limits = build_limits(folder, self.clock, in_thread, lambda: self.now)
        self.limits.start()
        self.ended: list[errors.ExchangeError] = []

    def permit(self, limits: RuleLimits, question: Question = ANYBODY) -> Permit:
        """Return a permit; it is one that there has to be."""
        found = self.limits.admit(question, decision(limits))
        assert found is not None
        return found

    def begin(self, limits: RuleLimits) -> tuple[Permit, MemoryTransport]:
        """Return a permit that has begun, and its connection."""
        permit, transport = self.permit(limits), MemoryTransport(self.clock)
        permit.begin(transport, 0, self.ended.append)
        return permit, transport


def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
    """See quota.InThread."""
    return succeed(job())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return the scene, on a Monday at noon."""
    made = Scene(tmp_path)
    yield made
    made.clock.advance(0)
    assert Deferred.fromCoroutine(made.limits.stop()).called
    assert not made.clock.getDelayedCalls()


# --- Admission ---


def test_without_limits(scene: Scene) -> None:
    """Most requests need no permit, and nothing is remembered of them."""
    assert scene.limits.admit(ANYBODY, decision(None)) is None
    assert scene.limits.admit(ANYBODY, decision(RuleLimits("kids"))) is None
    assert repr(scene.limits).startswith("<Limits <RequestRates of 0>, <Bandwidths of 0>, ")


def test_request_rate(scene: Scene) -> None:
    """One request too many is answered 429 with the rule's words, and waiting helps."""
    for _ in range(2):
        assert scene.limits.admit(ANYBODY, decision(RATE)) is None
    with pytest.raises(errors.TooManyRequests) as raised:
        scene.limits.admit(ANYBODY, decision(RATE))
    assert raised.value.status == 429
    assert raised.value.fields == ((b"Retry-After", b"1"),)
    assert (raised.value.rule, raised.value.message) == ("[rule kids]", "Go out and play.")
    assert "[rule kids] allows 2 requests a second" in raised.value.reason
    assert scene.limits.admit(OTHER, decision(RATE)) is None
    scene.clock.advance(0.5)
    assert scene.limits.admit(ANYBODY, decision(RATE)) is None


def test_slow_request_rate(scene: Scene) -> None:
    """Rates below one a second are said by the minute, and the wait is told."""
    slow = decision(RuleLimits("kids", requests_per_second=0.1))
    scene.limits.admit(ANYBODY, slow)
    with pytest.raises(errors.TooManyRequests, match="6 requests a minute") as raised:
        scene.limits.admit(ANYBODY, slow)
    assert raised.value.fields == ((b"Retry-After", b"10"),)


def test_users_have_their_own(scene: Scene) -> None:
    """A user is the same one from everywhere, and not the address that he comes from."""
    ann = ANYBODY._replace(user="ann")
    for question in (ann, ann._replace(client="192.0.2.9"), ANYBODY, ANYBODY):
        assert scene.limits.admit(question, decision(RATE)) is None
    for question in (ann._replace(client="192.0.2.10"), ANYBODY):
        with pytest.raises(errors.TooManyRequests):
            scene.limits.admit(question, decision(RATE))
    assert scene.limits.admit(ann._replace(user="bob"), decision(RATE)) is None


def test_quota(scene: Scene) -> None:
    """A quota that is used up is answered 429, and the page says when it is renewed."""
    scene.permit(QUOTA).spend(5 * KIB)
    with pytest.raises(errors.QuotaExhausted) as raised:
        scene.limits.admit(ANYBODY, decision(QUOTA))
    error = raised.value
    assert error.status == 429
    assert error.fields == ((b"Retry-After", b"%d" % (12 * 3600)),)
    assert error.reason == (
        "[rule kids] allows 5 KiB a day, and that is used up;"
        " it is renewed on Tuesday, 6 January 2026 at 00:00"
    )
    assert (error.rule, error.message) == ("[rule kids]", "Go out and play.")
    scene.permit(QUOTA, OTHER)
    scene.now += 12 * 3600
    scene.permit(QUOTA)


def test_refusals_cost_nothing(scene: Scene) -> None:
    """A request that the quota refuses doesn't count for the rate."""
    both = RuleLimits("kids", 1, 0, 5 * KIB, "day")
    scene.permit(both).spend(5 * KIB)
    for _ in range(5):
        with pytest.raises(errors.QuotaExhausted):
            scene.limits.admit(ANYBODY, decision(both))
        scene.clock.advance(1)


def test_without_state(tmp_path: Path) -> None:
    """Where no rule has a quota there is no file and no thread."""
    limits = build_limits(None, Clock(), in_thread, lambda: 0.0)
    limits.start()
    assert limits.admit(ANYBODY, decision(QUOTA)) is None
    assert not list(tmp_path.iterdir())
    assert Deferred.fromCoroutine(limits.stop()).called


def test_no_state_folder(tmp_path: Path) -> None:
    """A quota that can't be kept is a mistake at the start, not a surprise later."""
    (tmp_path / "file").touch()
    limits = build_limits(tmp_path / "file", Clock(), in_thread, lambda: 0.0)
    with pytest.raises(LedgerError):
        limits.start()


# --- While it runs ---


def test_shared_bandwidth(scene: Scene) -> None:
    """What one exchange takes, another one of the client has to wait for."""
    first, second = scene.permit(BANDWIDTH), scene.permit(BANDWIDTH)
    stranger = scene.permit(BANDWIDTH, OTHER)
    woken: list[str] = []
    assert first.allow(lambda: True) == 5 * KIB
    first.spend(100 * KIB)

    def wake() -> bool:
        woken.append("second")
        return True

    assert second.allow(wake) == 0
    assert stranger.allow(lambda: True) == 5 * KIB
    scene.clock.pump([0.05] * 30)
    assert woken == ["second"]
    assert second.allow(lambda: True) == 5 * KIB


def test_everything_counts(scene: Scene) -> None:
    """Both directions are one quota."""
    _, transport = scene.begin(QUOTA)
    assert transport.valve is not None
    transport.valve.sent(3 * KIB)
    transport.valve.read(KIB)
    assert transport.valve.may_send() == MIN_STEP
    assert not scene.ended
    transport.valve.sent(KIB)
    assert not scene.ended, "not in the middle of a step"
    scene.clock.advance(0)
    assert [type(error) for error in scene.ended] == [errors.QuotaExhausted]


def test_what_came_with_the_head(scene: Scene) -> None:
    """The part of a body that was there before the exchange counts like the rest."""
    scene.permit(QUOTA).begin(MemoryTransport(scene.clock), 5 * KIB, scene.ended.append)
    scene.clock.advance(0)
    assert len(scene.ended) == 1


def test_ended_once(scene: Scene) -> None:
    """However much is still counted until it has ended."""
    permit, _ = scene.begin(QUOTA)
    for _ in range(3):
        permit.spend(5 * KIB)
        scene.clock.advance(0)
    assert len(scene.ended) == 1


def test_ended_by_another(scene: Scene) -> None:
    """What is used up by one exchange ends the others with their next step."""
    permit, _ = scene.begin(QUOTA)
    scene.permit(QUOTA).spend(5 * KIB)
    scene.clock.advance(0)
    assert not scene.ended
    permit.spend(1)
    scene.clock.advance(0)
    assert len(scene.ended) == 1


@pytest.mark.parametrize("is_late", [False, True])
def test_finished(scene: Scene, is_late: bool) -> None:
    """An exchange that is over isn't ended again, and what is left to be sent still counts."""
    permit, transport = scene.begin(QUOTA)
    if is_late:
        permit.spend(5 * KIB)
    transport.takes = False
    transport.write(b"the rest")
    permit.finish(Record())
    assert transport.valve is not None
    transport.valve.sent(5 * KIB)
    scene.clock.advance(0)
    assert not scene.ended
    assert transport.valve.may_send(), "the end of an answer isn't held back for ever"
    assert transport.valve.may_read() == UNLIMITED
    with pytest.raises(errors.QuotaExhausted):
        scene.limits.admit(ANYBODY, decision(QUOTA))


def test_finished_and_sent(scene: Scene) -> None:
    """A connection that has sent everything is free for the next exchange."""
    permit, transport = scene.begin(BANDWIDTH)
    permit.finish(Record())
    assert transport.valve is None
    assert not net_transport.is_held_back(transport)


def test_foreign_connection(scene: Scene) -> None:
    """What can't be counted on its way is counted at its end."""
    permit = scene.permit(QUOTA)
    permit.begin(object(), 5, scene.ended.append)  # type: ignore[arg-type]  # not one of ours
    permit.finish(Record(sent=4 * KIB, received=KIB))
    with pytest.raises(errors.QuotaExhausted):
        scene.limits.admit(ANYBODY, decision(QUOTA))
    assert repr(permit) == "<Permit by [rule kids]>"


def test_nothing_is_opened_before_the_start(tmp_path: Path) -> None:
    """Before a daemon has forked and given up its rights no file is open."""
    limits = build_limits(tmp_path, Clock(), in_thread, lambda: 0.0)
    assert not list(tmp_path.iterdir())
    assert repr(limits).endswith(", None>")
