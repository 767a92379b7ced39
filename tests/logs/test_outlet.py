"""Promises of proxyapp.logs.outlet."""

from __future__ import annotations

import errno

import pytest

from proxyapp.logs.outlet import Outlet
from proxyapp.logs.sinks import Sink


class Scripted:
    """Takes so many bytes with each call, or raises; at the end of its script, all."""

    def __init__(self, name: str, *script: int | OSError) -> None:
        self.name = name
        self.script = list(script)
        self.received = b""
        self.is_closed = False
        self.next: Sink | OSError | None = None

    def send(self, octets: memoryview, patience: int) -> int:
        step = self.script.pop(0) if self.script else len(octets)
        if isinstance(step, OSError):
            raise step
        self.received += octets[:step]
        return min(step, len(octets))

    def current(self) -> Sink:
        if isinstance(self.next, OSError):
            raise self.next
        return self.next or self

    reopened = current

    def close(self) -> None:
        self.is_closed = True


class Said(list[str]):
    """What an outlet said to the admin."""

    def outlet(self, sink: Sink, bound: int = 1000) -> Outlet:
        return Outlet(sink, "log", self.append, bound)


@pytest.fixture
def said() -> Said:
    """Give an admin to whom nothing was said yet."""
    return Said()


def refused() -> OSError:
    """Return what a folder says that may not be written."""
    return OSError(errno.EACCES, "Permission denied")


def test_whole_lines_go_on_in_the_next_file(said: Said) -> None:
    """What waits goes where lines are for by now, and the old sink is closed."""
    old, new = Scripted("old", 0), Scripted("new")
    outlet = said.outlet(old)
    outlet.put(b"one\n", 1)
    outlet.push()
    old.next = new
    outlet.put(b"two\n", 1)
    outlet.push()
    assert (old.received, new.received) == (b"", b"one\ntwo\n")
    assert (old.is_closed, outlet.name, outlet.has_waiting) == (True, "new", False)


def test_a_line_that_was_begun_is_whole_in_the_next_file(said: Said) -> None:
    """The rest of a line alone would be of no use."""
    old, new = Scripted("old", 6), Scripted("new")
    outlet = said.outlet(old)
    outlet.put(b"one\ntwo\n", 2)
    outlet.push()
    old.next = new
    outlet.push()
    assert (old.received, new.received) == (b"one\ntw", b"two\n")


def test_nothing_to_write_no_look(said: Said) -> None:
    """An idle log asks nobody for another file."""
    sink = Scripted("log")
    sink.next = refused()
    said.outlet(sink).push()
    assert said == []


def test_the_old_file_goes_on(said: Said) -> None:
    """Where the next file can't be had, lines stay with the old one; that is said once."""
    sink = Scripted("log")
    sink.next = refused()
    outlet = said.outlet(sink)
    for _ in range(3):
        outlet.put(b"x\n", 1)
        outlet.push()
    outlet.reopen()
    assert sink.received == b"x\n" * 3
    text = "The log log can't go on in a new file (Permission denied); the old one goes on"
    assert said == [text]
    sink.next = None
    outlet.put(b"y\n", 1)
    outlet.push()
    sink.next = refused()
    outlet.reopen()
    assert said == [text, text]


def test_the_bound(said: Said) -> None:
    """Beyond it lines are lost and counted, but one batch always has room."""
    sink = Scripted("log", 0, 0)
    outlet = said.outlet(sink, bound=8)
    outlet.put(b"longer than that\n", 1)
    outlet.push()
    outlet.put(b"1\n2\n", 2)
    outlet.put(b"3\n", 1)
    assert repr(outlet) == "<Outlet to log, 1 lines waiting, 3 lost>"
    outlet.push()
    outlet.push()
    assert sink.received == b"longer than that\n"
    assert said == [
        "The log log takes nothing: 17 bytes wait, lines are dropped",
        "3 lines of the log log were lost",
    ]


def test_close_goes_where_lines_are_for(said: Said) -> None:
    """The last lines don't go to a file that was put aside days ago."""
    old, new = Scripted("old"), Scripted("new")
    outlet = said.outlet(old)
    outlet.put(b"last\n", 1)
    old.next = new
    outlet.close(lambda: 0.0)
    assert (old.received, new.received) == (b"", b"last\n")
    assert new.is_closed
    assert said == []


def test_close_ends(said: Said) -> None:
    """A sink that takes a byte at a time isn't waited for beyond the deadline."""
    sink = Scripted("log", *[1] * 1000)
    outlet = said.outlet(sink)
    outlet.put(b"x" * 99 + b"\n", 1)
    times = iter(range(1000))
    outlet.close(lambda: float(next(times)))
    assert len(sink.received) < 10
    assert said == ["1 lines of the log log were lost"]
