"""valve: who may not go on stops, is woken once, and not if he has gone."""

from __future__ import annotations

import pytest

from proxyapp.net.valve import UNLIMITED, Valve, Wake


class Switches:
    """A transport's reading and writing, on or off."""

    def __init__(self) -> None:
        self.connected = 1
        self.disconnecting = 0
        self.reads = self.writes = True

    def startReading(self) -> None:
        self.reads = True

    def stopReading(self) -> None:
        self.reads = False

    def startWriting(self) -> None:
        self.writes = True

    def stopWriting(self) -> None:
        self.writes = False


class ManualGate:
    """A gate that the test opens."""

    def __init__(self) -> None:
        self.allowed = 0
        self.spent = 0
        self.waiting: dict[Wake, None] = {}

    def allow(self, wake: Wake) -> int:
        if not self.allowed:
            self.waiting[wake] = None
        return self.allowed

    def spend(self, amount: int) -> None:
        self.spent += amount

    def open(self) -> list[bool]:
        """Let all go on that wait; return what they said."""
        self.allowed = 100
        waiting, self.waiting = self.waiting, {}
        return [wake() for wake in waiting]


@pytest.fixture
def switches() -> Switches:
    """Return a connection that reads and writes."""
    return Switches()


@pytest.fixture
def gate() -> ManualGate:
    """Return a closed gate."""
    return ManualGate()


@pytest.fixture
def valve(switches: Switches, gate: ManualGate) -> Valve:
    """Return the valve between the two."""
    made = Valve(switches)
    made.open_by(gate)
    return made


def test_without_gate(switches: Switches) -> None:
    """A valve that nobody closes lets all pass and counts nothing."""
    valve = Valve(switches)
    assert (valve.may_send(), valve.may_read()) == (UNLIMITED, UNLIMITED)
    valve.sent(5)
    valve.read(5)
    assert repr(valve) == "<Valve open>"


def test_waits_and_goes_on(valve: Valve, switches: Switches, gate: ManualGate) -> None:
    """Either way stops while nothing may pass, and starts when the gate opens."""
    assert (valve.may_send(), valve.may_read()) == (0, 0)
    assert not switches.writes
    assert not switches.reads
    assert valve.holds_back
    assert repr(valve) == "<Valve waits to send and read>"
    assert gate.open() == [True, True]
    assert switches.writes
    assert switches.reads
    assert not valve.holds_back
    assert valve.may_send() == 100


def test_asking_again_waits_once(valve: Valve, gate: ManualGate) -> None:
    """Who is told to wait twice has one place in the line."""
    valve.may_send()
    valve.may_send()
    assert len(gate.waiting) == 1


def test_counts_both_ways(valve: Valve, gate: ManualGate) -> None:
    """The gate hears of all bytes; an error's negative number is none."""
    valve.sent(3)
    valve.read(4)
    valve.sent(-1)
    valve.read(0)
    assert gate.spent == 7


def test_gone_meanwhile(valve: Valve, switches: Switches, gate: ManualGate) -> None:
    """A lost connection isn't started again, and takes nobody's turn."""
    valve.may_send()
    valve.may_read()
    switches.connected = 0
    assert gate.open() == [False, False]
    assert not switches.writes
    assert not switches.reads


def test_closing_meanwhile(valve: Valve, switches: Switches, gate: ManualGate) -> None:
    """A connection that is about to close sends what it has, and doesn't read."""
    valve.may_send()
    valve.may_read()
    switches.disconnecting = 1
    assert sorted(gate.open()) == [False, True]
    assert switches.writes
    assert not switches.reads


def test_end_lets_input_pass(valve: Valve, switches: Switches) -> None:
    """After the end reading goes on at once, and what is left to send still asks."""
    valve.may_read()
    valve.end()
    assert switches.reads
    assert valve.may_read() == UNLIMITED
    assert valve.may_send() == 0
    assert valve.is_ending


def test_next_exchange(valve: Valve, gate: ManualGate) -> None:
    """Another gate takes over; who waits at the first one is woken by it."""
    valve.may_send()
    valve.end()
    other = ManualGate()
    valve.open_by(other)
    assert not valve.is_ending
    assert gate.open() == [True]
    assert valve.may_send() == 0
    assert len(other.waiting) == 1
