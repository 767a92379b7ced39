"""Tests of the one-coroutine runner."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import CancelledError, Deferred

from proxyapp.net.task import Task, Wakeup

Ends: TypeAlias = list[Exception | None]
Waited: TypeAlias = Wakeup | Deferred[None]


def started(coroutine: Coroutine[Any, None, None]) -> tuple[Task, Ends]:
    """Run *coroutine* up to its first wait; return its task, and the list that its end goes to."""
    ends: Ends = []
    task = Task(coroutine, ends.append)
    task.resume()
    return task, ends


async def wait_for(waited: Waited, seen: list[str]) -> None:
    """Await *waited*, and tell in *seen* how that went."""
    try:
        await waited
        seen.append("went on")
    except CancelledError:
        seen.append("cancelled")
        raise


def deferred_fire(waited: Waited, error: Exception | None) -> None:
    """Let *waited* happen, whatever kind it is."""
    if isinstance(waited, Wakeup):
        waited.happen(error)
    elif error is None:
        waited.callback(None)
    else:
        waited.errback(error)


@pytest.mark.parametrize("make", [Wakeup, Deferred])
def test_error_is_raised_inside(make: Callable[[], Waited]) -> None:
    """What is awaited may fail: the coroutine raises it, and the end tells of it."""
    waited, seen = make(), []  # type: tuple[Waited, list[str]]
    _, ends = started(wait_for(waited, seen))
    error = ValueError("broken")
    deferred_fire(waited, error)
    assert ends == [error]
    assert seen == []


@pytest.mark.parametrize("make", [Wakeup, Deferred])
def test_cancel_while_waiting(make: Callable[[], Waited]) -> None:
    """A cancelled task hears of it where it waits, and ends once."""
    waited, seen = make(), []  # type: tuple[Waited, list[str]]
    task, ends = started(wait_for(waited, seen))
    task.cancel()
    assert seen == ["cancelled"]
    assert [type(end) for end in ends] == [CancelledError]
    task.cancel()
    if isinstance(waited, Wakeup):
        waited.happen()  # nobody waits any more
    assert len(ends) == 1


@pytest.mark.parametrize("make", [Wakeup, Deferred])
def test_goes_on(make: Callable[[], Waited]) -> None:
    """The coroutine goes on in the same turn in which what it awaits happens."""
    waited, seen = make(), []  # type: tuple[Waited, list[str]]
    _, ends = started(wait_for(waited, seen))
    assert ends == []
    deferred_fire(waited, None)
    assert (seen, ends) == (["went on"], [None])


def test_what_has_happened_is_not_waited_for() -> None:
    """A wakeup that happened before it is awaited costs no wait."""
    wakeup, seen = Wakeup(), []  # type: tuple[Wakeup, list[str]]
    wakeup.happen()
    _, ends = started(wait_for(wakeup, seen))
    assert (seen, ends) == (["went on"], [None])


def test_exception_before_any_wait() -> None:
    """A coroutine that raises at once ends with what it raised."""

    async def fails() -> None:
        raise KeyError("x")

    _, ends = started(fails())
    assert [type(end) for end in ends] == [KeyError]
