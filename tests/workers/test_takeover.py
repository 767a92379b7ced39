"""Those who were relieved: how long they have, and which of their tunnels may go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from proxyapp.rules.question import Question
from proxyapp.workers.member import Counts, Patience
from proxyapp.workers.process import NotStarted, WorkerProcess
from proxyapp.workers.takeover import Leaving
from proxyapp.workers.tunnels import Refusal, Tunnel

_PATIENCE = Patience(30.0, 3600.0)


def tunnel(number: int) -> Tunnel:
    """Return a tunnel."""
    return Tunnel(number, Question("tunnel", "::1", None, b"CONNECT", f"h{number}", 443), "")


class Former:
    """A member with these tunnels."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.gone: Deferred[None] = Deferred()
        self.counts = Counts()
        self.drained: list[Patience] = []
        self.cut_off: list[int] = []
        self.is_gone = False

    async def tunnels(self) -> Sequence[Tunnel]:
        """See Member."""
        if self.is_gone:
            raise NotStarted(["it ended"])
        return [tunnel(number) for number in self.numbers]

    def cut(self, refused: Sequence[Refusal]) -> None:
        """See Member."""
        self.cut_off += [refusal.number for refusal in refused]

    def drain(self, patience: Patience) -> None:
        """See Member."""
        self.drained.append(patience)

    def reopen_log(self) -> None:
        """See Member."""

    def end(self) -> None:
        """See Member."""


def judge(*denied: int) -> WorkerProcess:
    """Return a worker that denies these."""
    made = mock.Mock(spec=WorkerProcess)

    def verdict(tunnels: Sequence[Tunnel]) -> Deferred[list[Refusal]]:
        found = [each.number for each in tunnels if each.number in denied]
        return succeed([Refusal(number, "[rule r]", "no") for number in found])

    made.judge = verdict
    return cast(WorkerProcess, made)


def test_denied_tunnels() -> None:
    """Everybody accepts no more, and loses what is denied."""
    clock, one, two = Clock(), Former(1, 2), Former(2, 3)
    leaving = Leaving(clock)
    leaving.add(one)
    leaving.add(two)
    leaving.relieved_by(judge(2), _PATIENCE)
    assert (one.drained, two.drained) == ([_PATIENCE], [_PATIENCE])
    clock.advance(0)
    assert (one.cut_off, two.cut_off) == ([2], [2])


def test_second_look() -> None:
    """A tunnel that was being opened is found a little later."""
    clock, former = Clock(), Former()
    leaving = Leaving(clock)
    leaving.add(former)
    leaving.relieved_by(judge(5), _PATIENCE)
    clock.advance(0)
    former.numbers.append(5)
    clock.advance(20)
    assert former.cut_off == [5]
    assert clock.getDelayedCalls() == []


def test_next_reload() -> None:
    """Whoever is still there at the next one is judged by that."""
    clock, former = Clock(), Former(1)
    leaving = Leaving(clock)
    leaving.add(former)
    leaving.relieved_by(judge(), _PATIENCE)
    clock.advance(0)
    leaving.relieved_by(judge(1), Patience(1.0, 2.0))
    clock.advance(0)
    assert former.cut_off == [1]
    assert former.drained == [_PATIENCE, Patience(1.0, 2.0)]


def test_who_is_gone() -> None:
    """Nothing happens to who is gone, known or not yet known."""
    clock, known, unknown = Clock(), Former(1), Former(1)
    unknown.is_gone = True
    leaving = Leaving(clock)
    leaving.add(known)
    leaving.add(unknown)
    leaving.discard(known)
    leaving.discard(known)
    leaving.relieved_by(judge(1), _PATIENCE)
    clock.advance(20)
    assert (known.cut_off, unknown.cut_off) == ([], [])
    assert (known.drained, unknown.drained) == ([], [_PATIENCE])


def test_stop() -> None:
    """At a stop nobody is judged any more."""
    clock, former = Clock(), Former(1)
    leaving = Leaving(clock)
    leaving.add(former)
    leaving.relieved_by(judge(1), _PATIENCE)
    leaving.stop()
    clock.advance(60)
    assert former.cut_off == []
