"""shared: what several processes count, each by itself and all together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxyapp.net.shared import NOWHERE, ROWS, Rows, SharedMemory, make_memory
from tests.appliance import environ


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    """Yield memory of which nobody has anything yet."""
    made = make_memory()
    yield made
    os.close(made.descriptor)
    made.close()


def test_others_count(memory: SharedMemory) -> None:
    """Each knows what all others have counted, and not its own."""
    rows = Rows(memory)
    first, second, third = (memory.counts(0, rows.take()) for _ in range(3))
    for _ in range(3):
        first.add("a", 1)
    second.add("a", 1)
    second.add("b", 1)
    assert (third.of("a"), third.of("b"), third.of("c"), third.total()) == (4, 1, 0, 5)
    assert (first.of("a"), first.total()) == (1, 2)
    first.add("a", -1)
    assert third.of("a") == 3
    assert repr(third) == "<SharedCounts row 2, 4 elsewhere>"


def test_tables_are_apart(memory: SharedMemory) -> None:
    """Clients are not tunnels."""
    rows = Rows(memory)
    mine, yours = rows.take(), rows.take()
    memory.counts(0, mine).add("a", 1)
    assert memory.counts(0, yours).of("a") == 1
    assert memory.counts(1, yours).of("a") == 0


def test_another_process(memory: SharedMemory) -> None:
    """What one process counts the other one sees."""
    rows = Rows(memory)
    ours, theirs = rows.take(), rows.take()
    count = (
        "import sys; from proxyapp.net.shared import SharedMemory;"
        "SharedMemory(int(sys.argv[1])).counts(0, int(sys.argv[2])).add('a', 2)"
    )
    command = [sys.executable, "-c", count, str(memory.descriptor), str(theirs)]
    subprocess.run(command, check=True, pass_fds=[memory.descriptor], env=environ())
    assert memory.counts(0, ours).of("a") == 2


def test_who_is_gone(memory: SharedMemory) -> None:
    """The row of a dead process is empty, and is given to the next one."""
    rows = Rows(memory)
    mine, dead = rows.take(), rows.take()
    memory.counts(0, dead).add("a", 5)
    rows.give_back(dead)
    assert memory.counts(0, mine).total() == 0
    assert rows.take() == dead
    assert repr(rows) == "<Rows [0, 1]>"


def test_no_row_left(memory: SharedMemory) -> None:
    """More processes than rows count by themselves, and see the others."""
    rows = Rows(memory)
    taken = [rows.take() for _ in range(ROWS)]
    assert len(set(taken)) == ROWS
    assert rows.take() == ROWS
    surplus = memory.counts(0, ROWS)
    surplus.add("a", 1)
    memory.counts(0, 7).add("a", 1)
    assert surplus.of("a") == 1
    assert memory.counts(0, 0).of("a") == 1


def test_nowhere() -> None:
    """Where there are no others nobody else has counted."""
    NOWHERE.add("a", 1)
    assert (NOWHERE.of("a"), NOWHERE.total()) == (0, 0)


def test_cells(memory: SharedMemory) -> None:
    """A pair of numbers stands for a key until its time, and may be written over."""
    cells = memory.cells()
    assert cells.get("a", 0.0) is None
    assert cells.put("a", 1.5, -2.0, until=10.0, now=0.0)
    assert memory.cells().get("a", 9.9) == (1.5, -2.0)
    assert cells.put("a", 3.0, 4.0, until=20.0, now=5.0)
    assert cells.get("a", 15.0) == (3.0, 4.0)
    assert cells.get("a", 20.0) is None
    assert cells.get("b", 0.0) is None


def test_full_cells(memory: SharedMemory) -> None:
    """Where there is no room it is said, and what is over makes room."""
    cells = memory.cells()
    kept = [f"{n}" for n in range(40_000) if cells.put(f"{n}", n, 0.0, until=10.0, now=0.0)]
    assert 10_000 < len(kept) < 40_000
    assert all(cells.get(key, 5.0) == (float(key), 0.0) for key in kept)
    assert all(cells.put(f"x{n}", 1.0, 1.0, until=30.0, now=11.0) for n in range(1000))


@given(some.text(max_size=40))
def test_any_key(key: str) -> None:
    """Any text is a key, also one that is no Unicode."""
    made = make_memory()
    assert made.cells().put(key, 1.0, 2.0, 3.0, 0.0)
    assert made.cells().get(key, 1.0) == (1.0, 2.0)
    os.close(made.descriptor)
    made.close()
