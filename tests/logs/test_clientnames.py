"""Promises of proxyapp.logs.clientnames."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from proxyapp.logs import clientnames
from proxyapp.logs.clientnames import MAX_ASKED, NAME_TTL, NAMELESS_TTL, ClientNames


class Asked:
    """What was asked for, to be answered by the test."""

    def __init__(self) -> None:
        self.open: dict[str, Deferred[str]] = {}
        self.count = 0
        self.is_stopped = False
        self.now = 0.0

    def __call__(self, address: str) -> Deferred[str]:
        assert address not in self.open, "asked for twice"
        self.count += 1
        self.open[address] = Deferred()
        return self.open[address]

    def stop(self) -> None:
        self.is_stopped = True

    def answer(self, address: str, name: str | Exception) -> None:
        waiting = self.open.pop(address)
        if isinstance(name, Exception):
            waiting.errback(name)
        else:
            waiting.callback(name)


@pytest.fixture
def asked() -> Asked:
    """Give somebody to ask."""
    return Asked()


@pytest.fixture
def names(asked: Asked) -> ClientNames:
    """Give names, of which none is known yet."""
    return ClientNames(asked, lambda: asked.now)


def test_a_name_is_not_waited_for(names: ClientNames, asked: Asked) -> None:
    """Nothing is known at once; the name is there when the answer is, and asked for once."""
    assert [names.of("10.0.0.7") for _ in range(3)] == [None] * 3
    assert repr(names) == "<ClientNames 0 known, 1 being asked>"
    asked.answer("10.0.0.7", "panel.lan")
    assert [names.of("10.0.0.7") for _ in range(3)] == ["panel.lan"] * 3
    assert asked.count == 1


@pytest.mark.parametrize("answer", ["", OSError("no such thing")])
def test_none_is_remembered(names: ClientNames, asked: Asked, answer: str | Exception) -> None:
    """Who has no name isn't asked for with each line."""
    names.of("10.0.0.7")
    asked.answer("10.0.0.7", answer)
    asked.now = NAMELESS_TTL - 1
    assert names.of("10.0.0.7") == ""
    assert asked.count == 1
    asked.now = NAMELESS_TTL
    assert names.of("10.0.0.7") == ""
    asked.answer("10.0.0.7", "new.lan")
    assert names.of("10.0.0.7") == "new.lan"


def test_a_name_is_asked_for_again(names: ClientNames, asked: Asked) -> None:
    """A lease may have moved; until the answer comes the old name holds."""
    names.of("10.0.0.7")
    asked.answer("10.0.0.7", "old.lan")
    asked.now = NAME_TTL
    assert [names.of("10.0.0.7") for _ in range(2)] == ["old.lan"] * 2
    assert asked.count == 2
    asked.answer("10.0.0.7", "new.lan")
    assert names.of("10.0.0.7") == "new.lan"


def test_questions_are_bounded(names: ClientNames, asked: Asked) -> None:
    """A flood of new clients isn't passed on to the name server."""
    for number in range(MAX_ASKED + 50):
        assert names.of(f"10.0.0.{number}") is None
    assert asked.count == MAX_ASKED
    asked.answer("10.0.0.0", "a.lan")
    names.of("10.9.9.9")
    assert asked.count == MAX_ASKED + 1


def test_memory_is_bounded(
    names: ClientNames, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that came first go first."""
    monkeypatch.setattr(clientnames, "MAX_KNOWN", 3)
    for number in range(5):
        names.of(f"10.0.0.{number}")
        asked.answer(f"10.0.0.{number}", f"n{number}")
    assert repr(names) == "<ClientNames 3 known, 0 being asked>"
    assert names.of("10.0.0.4") == "n4"
    assert names.of("10.0.0.1") is None


def test_after_the_end_nobody_is_asked(names: ClientNames, asked: Asked) -> None:
    """What is known stays known."""
    names.of("10.0.0.7")
    asked.answer("10.0.0.7", "panel.lan")
    names.stop()
    assert asked.is_stopped
    assert (names.of("10.0.0.7"), names.of("10.0.0.8")) == ("panel.lan", None)
    assert asked.count == 1
