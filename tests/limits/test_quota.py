"""quota: counted at once, written in batches, renewed by the calendar, and never lost twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from proxyapp.limits import quota
from proxyapp.limits.ledger import Ledger
from proxyapp.limits.quota import FLUSH_DELAY, RETRY_DELAY, Quotas
from proxyapp.limits.rates import Share
from proxyapp.rules.question import Period
from tests.conftest import LoggedErrors

_T = TypeVar("_T")

ANN, BOB = Share("kids", "user ann"), Share("kids", "192.0.2.7")


class Scene:
    """Quotas over a real file, with time and threads that the test moves."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.folder = folder
        self.clock = Clock()
        self.now = now.timestamp()
        self.error: Exception | None = None
        self.is_slow = False
        self.jobs: list[Callable[[], None]] = []
        self.runs = 0
        self.quotas = self.open()

    def open(self) -> Quotas:
        """Return what a new process would have."""
        return Quotas(Ledger(self.folder), self.in_thread, self.clock, lambda: self.now)

    def in_thread(self, job: Callable[[], _T], /) -> Deferred[_T]:
        """See quota.InThread."""
        self.runs += 1
        if self.error is not None:
            return fail(self.error)
        if not self.is_slow:
            return succeed(job())
        done: Deferred[_T] = Deferred()
        self.jobs.append(lambda: done.callback(job()))
        return done

    def pass_time(self, seconds: float) -> None:
        """Let time go by, for the clock and on the wall."""
        self.now += seconds
        self.clock.advance(seconds)

    def close(self) -> None:
        """Stop, with all that this entails."""
        self.error = None
        done: Deferred[None] = Deferred.fromCoroutine(self.quotas.close())
        while self.jobs:
            self.jobs.pop(0)()
        assert done.called
        assert not self.clock.getDelayedCalls()

    def restart(self) -> None:
        """Stop, and start again."""
        self.close()
        self.quotas = self.open()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return the scene, on a Monday at noon."""
    made = Scene(tmp_path, datetime(2026, 1, 5, 12, 0))
    yield made
    made.close()


@pytest.fixture(params=["Europe/Berlin", "America/St_Johns", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the test run in several time zones."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_counts(scene: Scene) -> None:
    """Each share has its own account for each period."""
    scene.quotas.account(ANN, "day").count(5)
    scene.quotas.account(ANN, "day").count(6)
    scene.quotas.account(BOB, "day").count(7)
    scene.quotas.account(ANN, "week").count(8)
    used = [scene.quotas.account(*of).used for of in ((ANN, "day"), (BOB, "day"), (ANN, "week"))]
    assert used == [11, 7, 8]
    assert "user ann under kids: 11 bytes" in repr(scene.quotas.account(ANN, "day"))


def test_survives_a_restart(scene: Scene) -> None:
    """What was counted, written or not, is there after a stop and a start."""
    scene.quotas.account(ANN, "month").count(5)
    scene.pass_time(FLUSH_DELAY)
    scene.quotas.account(ANN, "month").count(6)
    scene.restart()
    assert scene.quotas.account(ANN, "month").used == 11
    scene.quotas.account(ANN, "month").count(1)
    scene.restart()
    assert scene.quotas.account(ANN, "month").used == 12


def test_crash_costs_seconds(scene: Scene) -> None:
    """Without a stop, what was counted up to the last batch is there."""
    scene.quotas.account(ANN, "day").count(5)
    scene.pass_time(FLUSH_DELAY)
    scene.quotas.account(ANN, "day").count(6)
    assert scene.open().account(ANN, "day").used == 5


def test_batches(scene: Scene) -> None:
    """Much counting is little writing, and without counting there is none."""
    for _ in range(1000):
        scene.quotas.account(ANN, "day").count(1)
        scene.quotas.account(BOB, "day").count(1)
    assert scene.runs == 0
    scene.pass_time(FLUSH_DELAY)
    assert scene.runs == 1
    assert not scene.clock.getDelayedCalls()
    scene.pass_time(3600)
    assert scene.runs == 1


# Period, and moments just before and after it is renewed.
RENEWALS = [
    ("day", datetime(2026, 1, 5, 23, 59, 59), 1.0),
    ("day", datetime(2026, 3, 29, 0, 0), 23.0 * 3600),  # summer time begins in Europe
    ("day", datetime(2026, 10, 25, 0, 0), 25.0 * 3600),  # and ends
    ("week", datetime(2026, 1, 11, 23, 59, 0), 60.0),
    ("month", datetime(2026, 2, 28, 23, 0, 0), 3600.0),
]


@pytest.mark.parametrize(("period", "before", "seconds"), RENEWALS)
def test_renewal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    period: Period,
    before: datetime,
    seconds: float,
) -> None:
    """At midnight, local time, an account begins anew, for whoever holds it already, too."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        scene = Scene(tmp_path, before)
        account = scene.quotas.account(ANN, period)
        account.count(5)
        assert account.seconds_left == seconds
        assert account.renewal.time() == datetime.min.time()
        scene.pass_time(seconds - 0.5)
        account.count(6)
        assert account.used == 11
        scene.pass_time(0.5)
        account.count(1)
        assert account.used == 1
        assert scene.quotas.account(ANN, period) is account
        scene.restart()
        assert scene.quotas.account(ANN, period).used == 1
        scene.close()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_zones(zone: None, tmp_path: Path) -> None:
    """The day is the wall clock's, wherever that hangs."""
    scene = Scene(tmp_path, datetime(2026, 7, 1, 18, 0))
    assert scene.quotas.account(ANN, "day").seconds_left == 6 * 3600
    scene.close()


def test_clock_set_back(scene: Scene) -> None:
    """A clock that was wrong and is set back to yesterday counts for yesterday."""
    account = scene.quotas.account(ANN, "day")
    account.count(5)
    scene.now -= 24 * 3600
    account.count(3)
    assert account.used == 3
    assert account.renewal == datetime(2026, 1, 5)


def test_full_disk(scene: Scene, logged_errors: LoggedErrors) -> None:
    """What can't be written is kept, tried again at leisure, and complained of once."""
    account = scene.quotas.account(ANN, "day")
    account.count(5)
    scene.error = sqlite3.OperationalError("database or disk is full")
    scene.pass_time(FLUSH_DELAY)
    account.count(6)
    scene.pass_time(RETRY_DELAY)
    assert scene.runs == 2
    assert len(logged_errors.flush(sqlite3.Error)) == 1
    scene.error = None
    scene.pass_time(RETRY_DELAY)
    assert account.used == 11
    assert scene.open().account(ANN, "day").used == 11


def test_counting_while_it_is_written(scene: Scene) -> None:
    """What comes while a batch is on its way is in the next one, and nothing counts twice."""
    scene.is_slow = True
    account = scene.quotas.account(ANN, "day")
    account.count(5)
    scene.pass_time(FLUSH_DELAY)
    account.count(6)
    assert account.used == 11
    scene.jobs.pop(0)()
    assert account.used == 11
    scene.pass_time(FLUSH_DELAY)
    scene.jobs.pop(0)()
    assert account.used == 11
    assert scene.open().account(ANN, "day").used == 11


def test_stop_while_it_is_written(scene: Scene) -> None:
    """A stop waits for the batch that is on its way, and writes the rest behind it."""
    scene.is_slow = True
    scene.quotas.account(ANN, "day").count(5)
    scene.pass_time(FLUSH_DELAY)
    scene.quotas.account(ANN, "day").count(6)
    scene.restart()
    assert scene.quotas.account(ANN, "day").used == 11


def test_counting_after_the_stop(scene: Scene) -> None:
    """A straggler's bytes go nowhere, and schedule nothing."""
    account = scene.quotas.account(ANN, "day")
    scene.close()
    account.count(5)
    assert not scene.clock.getDelayedCalls()
    scene.quotas = scene.open()


def test_another_process(scene: Scene) -> None:
    """What another worker counted is known with the next batch."""
    other = scene.open()
    other.account(ANN, "day").count(100)
    account = scene.quotas.account(ANN, "day")
    account.count(1)
    scene.pass_time(FLUSH_DELAY)
    scene.pass_time(FLUSH_DELAY)
    account.count(1)
    scene.pass_time(FLUSH_DELAY)
    assert account.used == 102


def test_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many accounts the oldest is forgotten, and comes back with the next batch."""
    monkeypatch.setattr(quota, "REMEMBERED", 10)
    first = Share("kids", "10.0.0.0")
    scene.quotas.account(first, "day").count(5)
    for number in range(1, 100):
        scene.quotas.account(Share("kids", f"10.0.0.{number}"), "day").count(1)
    assert "Quotas of 10," in repr(scene.quotas)
    assert scene.quotas.account(first, "day").used == 0
    scene.pass_time(FLUSH_DELAY)
    assert scene.quotas.account(first, "day").used == 5
