"""Mustering a generation: all of it serves, or nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from unittest import mock

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from proxyapp.workers.generation import Generation, muster, text_of
from proxyapp.workers.member import Outline
from proxyapp.workers.process import NotStarted, Startup, WorkerProcess
from proxyapp.workers.slots import Slots

_PLACES = (("site", "tcp:0:interface=127.0.0.1"),)


def outline(workers: int, state_dir: str = "/s") -> Outline:
    """Return that of a configuration with so many workers."""
    return Outline(_PLACES, workers, state_dir, 30.0, 60.0)


def check(outline: Outline) -> None:
    """Refuse another folder."""
    if outline.state_dir != "/s":
        raise NotStarted(["state_dir: not that"])


class Stage:
    """Workers that do what the test says; *done* is the generation, or why there is none."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.workers: list[mock.Mock] = []
        self.done: list[object] = []
        self.clock = Clock()

    def begin(self) -> None:
        """Muster."""
        mustering = Deferred.fromCoroutine(muster(self._spawn, self.slots, b"[x]", check))
        mustering.addBoth(lambda result: self.done.append(getattr(result, "value", result)))

    def _spawn(self, number: int, ini: bytes | None) -> WorkerProcess:
        assert ini == b"[x]"
        if number == 9:
            raise OSError(11, "Resource temporarily unavailable")
        made = mock.Mock(spec=WorkerProcess)
        made.part = mock.Mock(number=number)
        made.startup = Startup(self.clock, lambda: None)
        self.workers.append(made)
        return cast(WorkerProcess, made)

    def configured(self, *numbers: int, workers: int = 2) -> None:
        """Let these workers have read the configuration."""
        for number in numbers:
            self.workers[number].startup.configured.callback(outline(workers))

    def close(self) -> None:
        """Let nothing run on."""
        for worker in self.workers:
            worker.startup.stop_waiting()
            worker.startup.forget()
        self.slots.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Yield a stage."""
    made = Stage(Slots())
    yield made
    made.close()


def test_all_of_them(stage: Stage) -> None:
    """The first reads how many there are, and nobody listens before all could serve."""
    stage.begin()
    assert len(stage.workers) == 1
    stage.configured(0, workers=3)
    assert len(stage.workers) == 3
    stage.configured(1, workers=3)
    assert not any(worker.listen.called for worker in stage.workers)
    stage.configured(2, workers=3)
    assert [worker.listen.call_args.args[0] for worker in stage.workers] == [0, 1, 2]
    for worker in stage.workers:
        assert stage.done == []
        worker.startup.succeed()
    (generation,) = stage.done
    assert isinstance(generation, Generation)
    assert generation.members == stage.workers
    assert (generation.ini, generation.outline.workers) == (b"[x]", 3)
    (opened,) = generation.opened
    assert len(opened.sockets) == 3


@pytest.mark.parametrize("stages", ["", "0", "01"])
def test_one_fails(stage: Stage, stages: str) -> None:
    """Where one can't serve, all of them are sent away, and no socket is left."""
    stage.begin()
    for number in stages:
        stage.configured(int(number))
    stage.workers[-1].startup.fail(["[x] y: wrong"])
    for worker in stage.workers:
        worker.startup.succeed()
    (error,) = stage.done
    assert isinstance(error, NotStarted)
    assert error.mistakes == ("[x] y: wrong",)
    assert all(worker.drain.called for worker in stage.workers)
    assert stage.slots.counts == {}


def test_address_that_cannot_be(stage: Stage) -> None:
    """An address that is taken is a mistake like any other."""
    (taken,) = stage.slots.open(_PLACES, 1)
    other = Stage(Slots())
    other.begin()
    places = (("site", f"tcp:{taken.port}:interface=127.0.0.1"),)
    wanted = Outline(places, 1, "/s", 30.0, 60.0)
    other.workers[0].startup.configured.callback(wanted)
    (error,) = other.done
    assert isinstance(error, NotStarted)
    assert "Address already in use" in error.mistakes[0]
    other.close()


def test_what_the_master_cannot_do(stage: Stage) -> None:
    """It's asked before anybody serves, says so, and nothing is changed."""
    stage.begin()
    stage.workers[0].startup.configured.callback(outline(1, "/other"))
    (error,) = stage.done
    assert isinstance(error, NotStarted)
    assert error.mistakes == ("state_dir: not that",)


def test_no_process(stage: Stage) -> None:
    """Where no process can be started any more, those that were are sent away."""
    stage.begin()
    stage.workers[0].startup.configured.callback(outline(12))
    (error,) = stage.done
    assert isinstance(error, NotStarted)
    assert "no process can be started: Resource temporarily unavailable" in error.mistakes
    assert len(stage.workers) == 9


def test_text(tmp_path: Path) -> None:
    """The text is what the file holds now; whoever needs one that is missing says so himself."""
    (tmp_path / "x").write_bytes(b"[a]\xff")
    assert text_of(tmp_path / "x") == b"[a]\xff"
    assert text_of(tmp_path / "none") is None
    assert text_of(None) is None
