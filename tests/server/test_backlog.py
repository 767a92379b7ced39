"""backlog: whoever doesn't take answers is held up, and gets all of them later."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.task import Clock

from proxyapp.net.timers import Sweep
from proxyapp.net.valve import Valve
from proxyapp.server.backlog import MAX_UNSENT, Backlog
from tests.server.conftest import Scene, hang_up
from tests.support import MemoryTransport, Witness

STALL = 8.0


class PulledTransport(MemoryTransport):
    """One that takes pull producers; the test asks them."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert not streaming
        cast(Backlog, producer).resumeProducing()


class Setting:
    """A backlog on a connection in memory, and time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.far = PulledTransport(self.clock)
        self.far.protocol = Witness()
        self.rooms = 0
        self.backlog = Backlog(self.far, self.sweep, STALL, self.room)

    def room(self) -> None:
        """Count that there is room again."""
        self.rooms += 1

    def fill(self) -> None:
        """Write more than the far end takes."""
        self.far.takes = False
        self.far.write(bytes(MAX_UNSENT))

    def wait(self, seconds: int) -> None:
        """Let time pass, as the sweep sees it."""
        for _ in range(seconds * 4):
            self.clock.advance(0.25)


@pytest.fixture
def setting() -> Setting:
    """Return the setting."""
    return Setting()


def test_open(setting: Setting) -> None:
    """With less than the bound nobody is held up, and nothing is watched."""
    setting.far.takes = False
    setting.far.write(bytes(MAX_UNSENT - 1))
    assert not setting.backlog.holds_up()
    assert repr(setting.backlog) == "<Backlog open>"
    assert repr(setting.sweep) == "<Sweep of 0>"


def test_held_up_and_on_again(setting: Setting) -> None:
    """From the bound on the next one waits, until all has been taken."""
    setting.fill()
    assert setting.backlog.holds_up()
    assert setting.backlog.holds_up()
    assert repr(setting.backlog) == "<Backlog too long>"
    setting.backlog.resumeProducing()
    assert setting.rooms == 0, "nothing was taken yet"
    setting.far.takes_all()
    setting.backlog.resumeProducing()
    assert setting.rooms == 1
    assert not setting.backlog.holds_up()
    assert repr(setting.sweep) == "<Sweep of 0>"


def test_stall(setting: Setting) -> None:
    """Who takes nothing for the time-out is cut off."""
    setting.fill()
    setting.backlog.holds_up()
    setting.wait(int(STALL) + 4)
    assert setting.far.is_gone
    assert setting.rooms == 0


def test_throttled_is_no_stall(setting: Setting) -> None:
    """Who can't take anything because of a limit of ours isn't."""
    setting.far.valve = Valve(setting.far)
    setting.far.valve.waits_to_send = True
    setting.fill()
    setting.backlog.holds_up()
    setting.wait(5 * int(STALL))
    assert not setting.far.is_gone
    setting.backlog.stop()


def test_gone(setting: Setting) -> None:
    """With the connection goes the watch."""
    setting.fill()
    setting.backlog.holds_up()
    setting.backlog.stopProducing()
    assert repr(setting.sweep) == "<Sweep of 0>"
    setting.backlog.stop()


def test_connection_holds_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's next request waits for room, and head time-outs begin only then."""
    far = PulledTransport(scene.clock)
    connection, wire = scene.connect()
    backlog = connection._backlog
    monkeypatch.setattr(backlog, "_below", far)
    far.takes = False
    far.write(bytes(MAX_UNSENT))
    connection.dataReceived(b"GET http://h/1 HTTP/1.1\r\nHost: h\r\n\r\nGET http://h/2")
    assert not scene.script.requests
    assert wire.is_paused
    scene.pass_time(6)
    assert not wire.ending, "there is no head to be slow"
    far.takes_all()
    backlog.resumeProducing()
    assert len(scene.script.requests) == 1
    assert not wire.is_paused
    scene.pass_time(6)
    assert scene.statuses == [200, 408]
    hang_up(connection, wire)
