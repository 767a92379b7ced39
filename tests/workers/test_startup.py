"""The way of a worker until it serves, and how the command that starts it is made."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp.rules.events import Events
from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import Rotation
from proxyapp.workers import process
from proxyapp.workers.member import Outline, outline_from
from proxyapp.workers.messages import BadMessage, Json, Message, from_line, to_line
from proxyapp.workers.process import START_TIMEOUT, NotStarted, Startup, command_line

_OUTLINE = Outline((("proxy", "tcp:1"), ("site", "tcp:2")), 3, "/var/lib/x", 30.0, 3600.0)


class Scene:
    """A startup, and what was told of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.startup = Startup(self.clock, lambda: self.told.append("killed"))
        self._tell("configured", self.startup.configured)
        self._tell("ready", self.startup.ready)

    def _tell(self, what: str, deferred: object) -> None:
        def failed(failure: Failure) -> None:
            failure.trap(NotStarted)
            self.told.append(f"{what}: {failure.getErrorMessage()}")

        deferred.addCallbacks(lambda _: self.told.append(what), failed)  # type: ignore[attr-defined]


def test_a_good_start() -> None:
    """First it's configured, then it's ready, and then it may take its time."""
    scene = Scene()
    scene.startup.configured.callback(_OUTLINE)
    assert not scene.startup.is_over
    scene.startup.succeed()
    scene.clock.advance(2 * START_TIMEOUT)
    scene.startup.fail(["too late"])
    assert scene.told == ["configured", "ready"]
    assert scene.startup.is_over


def test_failures() -> None:
    """It fails once, at the stage where it is."""
    scene = Scene()
    scene.startup.fail(["one", "two"])
    assert scene.told == ["configured: one; two"]
    scene = Scene()
    scene.startup.configured.callback(_OUTLINE)
    scene.startup.fail(["it ended"])
    scene.startup.fail(["again"])
    assert scene.told == ["configured", "ready: it ended"]


def test_too_slow() -> None:
    """One that takes too long is given up."""
    scene = Scene()
    scene.clock.advance(START_TIMEOUT)
    (failed, killed) = scene.told
    assert failed.startswith("configured: a new worker was not ready after 60 seconds")
    assert killed == "killed"


def test_forgotten() -> None:
    """What nobody waits for any more fails in silence."""
    clock = Clock()
    startup = Startup(clock, lambda: None)
    startup.forget()
    startup.fail(["nobody cares"])


@pytest.mark.parametrize(
    ("started", "given", "front"),
    [
        ("py /bin/twistd -n proxyapp", "-n proxyapp", "py /bin/twistd"),
        ("py -c run() -n proxyapp -c x", "-n proxyapp -c x", "py -c run()"),
        ("py -X dev /t proxyapp", "proxyapp", "py -X dev /t"),
    ],
)
def test_command(started: str, given: str, front: str) -> None:
    """A worker is started as its master was, but in the foreground and without a log of its own."""
    line = command_line(started.split(), given.split(), ["--config", "x"])
    assert line == [
        *front.split(),
        "-n",
        "--pidfile=",
        "--logger=proxyapp.workers.events.observer",
        "proxyapp",
        "--config",
        "x",
    ]


def test_orig_argv() -> None:
    """Python tells how it was started, script and options at the end."""
    assert sys.orig_argv[len(sys.orig_argv) - len(sys.argv) + 1 :] == sys.argv[1:]


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (ProcessDone(0), "ended"),
        (ProcessTerminated(3), "ended with exit status 3"),
        (ProcessTerminated(signal=9), "was ended by SIGKILL"),
    ],
)
def test_how_it_ended(reason: Exception, how: str) -> None:
    """The end of a process is told in words."""
    assert process._how(Failure(reason)) == how


def test_outline_travels() -> None:
    """The outline of a configuration arrives as it was."""
    events = Events("/var/log/events", Level.WARN, Rotation(is_daily=True, size=9), 3)
    for outline in (_OUTLINE, replace(_OUTLINE, events=events)):
        assert outline_from(from_line(to_line("configured", outline.to_fields()))) == outline


def test_outlines_of_other_versions() -> None:
    """A worker that is older says nothing of events; a level that nobody knows isn't guessed."""
    fields = _OUTLINE.to_fields()
    del fields["events"]
    assert outline_from(Message("configured", fields)) == _OUTLINE
    told: dict[str, Json] = {"target": "-", "level": "shrill", "is_daily": 0, "size": 0, "keep": 0}
    with pytest.raises(BadMessage):
        outline_from(Message("configured", {**fields, "events": told}))


def test_patience() -> None:
    """Tunnels have less time at a stop than after a reload."""
    assert _OUTLINE.at_reload == (30.0, 3600.0)
    assert _OUTLINE.at_stop == (30.0, 30.0)
    assert _OUTLINE.at_reload.longest == 3600.0
