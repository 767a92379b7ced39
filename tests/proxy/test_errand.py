"""Promises of proxyapp.proxy.errand: work that can be stopped from inside, and from outside."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.net.task import Task, Wakeup
from proxyapp.proxy.errand import Errand

TOO_LARGE = errors.BodyTooLarge("too large")
GONE = errors.ConnectionEnded("gone")


class Work:
    """Work that waits until it *may_end*, and notes how it *ended*."""

    def __init__(self) -> None:
        self.may_end = Wakeup()
        self.ended: str = ""

    async def __call__(self) -> None:
        try:
            await self.may_end
            self.ended = "done"
        except CancelledError:
            self.ended = "cancelled"
            raise
        except errors.ExchangeError:
            self.ended = "failed"
            raise


class Play:
    """One errand whose work is begun, and the *ends* it came to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.work = Work()
        self.errand = Errand(self.clock)
        self.ends: list[Exception | None] = []
        self.task = Task(self.errand.run(self.work()), self.ends.append)
        self.task.resume()


def test_done() -> None:
    """Work that ends by itself ends the errand."""
    play = Play()
    assert repr(play.errand) == "<Errand running>"
    play.work.may_end.happen()
    assert (play.ends, play.work.ended) == ([None], "done")
    play.errand.stop(TOO_LARGE)
    assert not play.clock.getDelayedCalls()
    assert repr(play.errand) == "<Errand done>"


def test_failed() -> None:
    """What the work raises, the errand does."""
    play = Play()
    play.work.may_end.happen(GONE)
    assert play.ends == [GONE]


@pytest.mark.parametrize("error", [None, TOO_LARGE])
def test_stopped(error: errors.ExchangeError | None) -> None:
    """It is stopped in a later turn of the loop, and ends as it was told."""
    play = Play()
    play.errand.stop(error)
    play.errand.stop(GONE)
    assert (play.ends, repr(play.errand)) == ([], "<Errand stopped>")
    play.clock.advance(0)
    assert play.work.ended == "cancelled"
    assert play.ends == [error or GONE]


def test_stopped_later() -> None:
    """Patience ends with the work, with its time, or when somebody has none left."""
    play = Play()
    play.errand.stop(delay=1.0)
    play.clock.advance(0.5)
    assert play.ends == []
    play.errand.stop()
    play.clock.advance(0)
    assert (play.ends, play.work.ended) == ([None], "cancelled")
    patient = Play()
    patient.errand.stop(delay=1.0)
    patient.work.may_end.happen()
    assert patient.ends == [None]
    assert not patient.clock.getDelayedCalls()


def test_an_error_of_work_that_is_to_stop() -> None:
    """How work fails that nobody wants any more is nobody's concern."""
    play = Play()
    play.errand.stop(delay=1.0)
    play.work.may_end.happen(GONE)
    assert play.ends == [None]
    assert not play.clock.getDelayedCalls()


@pytest.mark.parametrize("is_stopping", [False, True])
def test_cancelled_from_outside(is_stopping: bool) -> None:
    """Whoever leaves takes the work along, and isn't told that it went well."""
    play = Play()
    if is_stopping:
        play.errand.stop()
    play.task.cancel()
    assert [type(end) for end in play.ends] == [CancelledError]
    assert play.work.ended == "cancelled"
    assert not play.clock.getDelayedCalls()
