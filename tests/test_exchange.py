"""exchange: an answer that was given at once."""

from __future__ import annotations

import pytest

from proxyapp.exchange import ANSWERED
from proxyapp.net.task import Task


def test_nothing_is_left_to_do() -> None:
    """Whoever awaits it goes on, as often as there is somebody."""
    steps: list[str] = []

    async def outer() -> None:
        await ANSWERED
        steps.append("went on")

    ends: list[Exception | None] = []
    for _ in range(2):
        Task(outer(), ends.append).resume()
    Task(ANSWERED, ends.append).resume()
    assert (steps, ends) == (["went on"] * 2, [None] * 3)


def test_nothing_can_happen_to_it() -> None:
    """It's at its end before somebody gives it up, and stays so."""
    ANSWERED.close()
    with pytest.raises(StopIteration):
        ANSWERED.throw(RuntimeError())
    with pytest.raises(StopIteration):
        ANSWERED.send(None)
