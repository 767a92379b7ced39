"""The master's rounds: who is asked, who is ended, and what systemd is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast
from unittest import mock

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from proxyapp.net.notify import Notifier
from proxyapp.workers.member import Counts, Member
from proxyapp.workers.process import WorkerProcess
from proxyapp.workers.rounds import HUNG_AFTER, INTERVAL, Rounds


class Told(Notifier):
    """Remembers what systemd would be told."""

    def __init__(self, watchdog: float = 0.0) -> None:
        super().__init__("", watchdog)
        self.said: list[str] = []

    def _send(self, message: str) -> None:
        self.said.append(message)


def worker(is_over: bool = True) -> mock.Mock:
    """Return a worker that answers nothing."""
    made = mock.Mock(spec=WorkerProcess)
    made.name, made.unanswered, made.counts = "worker 1 (7)", 0, Counts(5, 2)
    made.startup = SimpleNamespace(is_over=is_over)

    def ask() -> None:
        made.unanswered += 1

    made.ask_counts.side_effect = ask
    return made


def rounds(clock: Clock, told: Told, *members: mock.Mock) -> Rounds:
    """Return rounds that have begun."""
    made = Rounds(clock, told, [cast(Member, each) for each in members])
    made.start()
    return made


def test_workers_are_asked() -> None:
    """Every worker is asked, each time."""
    clock, one, two = Clock(), worker(), worker()
    going = rounds(clock, Told(), one, two)
    clock.advance(INTERVAL)
    assert (one.ask_counts.call_count, two.ask_counts.call_count) == (2, 2)
    going.stop()
    assert clock.getDelayedCalls() == []


def test_worker_that_hangs() -> None:
    """One that says nothing for too long is ended, and the event log says so."""
    clock, hung, fine = Clock(), worker(), worker()
    rounds(clock, Told(), hung, fine)
    with capturedLogs() as events:
        while clock.seconds() <= HUNG_AFTER:
            fine.unanswered = 0
            clock.advance(INTERVAL)
    assert hung.kill.called
    assert not fine.kill.called
    assert [event["name"] for event in events] == ["worker 1 (7)"]


def test_master_that_hung() -> None:
    """Where the master itself couldn't run for long, no worker is to blame."""
    clock, one = Clock(), worker()
    rounds(clock, Told(), one)
    clock.advance(10 * HUNG_AFTER)
    assert not one.kill.called


def test_worker_that_starts() -> None:
    """One that isn't ready yet is left alone."""
    clock, starting = Clock(), worker(is_over=False)
    rounds(clock, Told(), starting)
    for _ in range(20):
        clock.advance(INTERVAL)
    assert not starting.kill.called
    assert not starting.ask_counts.called


def test_status() -> None:
    """The status counts all of them, once for as long as it stays the same."""
    clock, told, one = Clock(), Told(), worker()
    going = rounds(clock, told, one, worker())
    clock.advance(INTERVAL)
    assert told.said == ["STATUS=10 connections of clients, 4 of them tunnels; 2 processes"]
    one.counts = Counts(6, 2)
    clock.advance(INTERVAL)
    going.say("not reloaded: why")
    assert told.said[1:] == [
        "STATUS=11 connections of clients, 4 of them tunnels; 2 processes",
        "STATUS=not reloaded: why; 11 connections of clients, 4 of them tunnels; 2 processes",
    ]


def test_one_process() -> None:
    """Alone it says so."""
    told = Told()
    alone = mock.Mock()
    alone.counts = Counts(1, 0)
    rounds(Clock(), told, alone)
    assert told.said == ["STATUS=1 connections of clients, 0 of them tunnels; 1 process"]


def test_watchdog() -> None:
    """systemd gets a sign of life twice in its time, and none where it wants none."""
    clock, told = Clock(), Told(watchdog=3.0)
    rounds(clock, told)
    clock.pump([0.5] * 6)
    assert told.said.count("WATCHDOG=1") == 3
    quiet = Told()
    rounds(Clock(), quiet)
    assert "WATCHDOG=1" not in quiet.said
