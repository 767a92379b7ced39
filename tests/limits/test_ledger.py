"""ledger: what was written is there after a restart, also beside another process; a wreck isn't."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxyapp.limits import ledger as ledger_module
from proxyapp.limits.ledger import FILE, Key, Ledger, LedgerError
from tests.conftest import LoggedErrors

ANN = Key("kids", "user ann", "day", "2026-01-05", 2000.0)
BOB = Key("kids", "192.0.2.7", "day", "2026-01-05", 2000.0)
MONTH = Key("guests", "192.0.2.7", "month", "2026-01-01", 9000.0)

Open = Callable[[], Ledger]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Open]:
    """Return what opens the ledger in the test's folder; all are closed at the end."""
    opened: list[Ledger] = []

    def open_one() -> Ledger:
        opened.append(Ledger(tmp_path))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def test_totals(reopen: Open) -> None:
    """Amounts are added up for each key, and the totals returned in order."""
    ledger = reopen()
    assert ledger.add([(ANN, 5), (BOB, 7)], 1000.0) == [5, 7]
    assert ledger.add([(BOB, 1), (ANN, 0), (MONTH, 3)], 1000.0) == [8, 5, 3]


def test_survives(reopen: Open) -> None:
    """What was added is there when the ledger is opened again, the greatest first."""
    first = reopen()
    first.add([(ANN, 5), (BOB, 7), (MONTH, 6)], 1000.0)
    first.close()
    assert reopen().load(1000.0, 10) == [(BOB, 7), (MONTH, 6), (ANN, 5)]


def test_survives_a_crash(reopen: Open, tmp_path: Path) -> None:
    """It needs no close: what a process wrote before it was killed counts."""
    child = os.fork()
    if not child:
        Ledger(tmp_path).add([(ANN, 5)], 1000.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert reopen().load(1000.0, 10) == [(ANN, 5)]


def test_two_processes(reopen: Open) -> None:
    """Two that have it open add to the same totals."""
    one, other = reopen(), reopen()
    one.add([(ANN, 5)], 1000.0)
    assert other.add([(ANN, 6)], 1000.0) == [11]
    assert one.add([(ANN, 0)], 1000.0) == [11]


def test_old_periods_are_forgotten(reopen: Open) -> None:
    """What is over isn't loaded, and doesn't stay in the file."""
    ledger = reopen()
    ledger.add([(ANN, 5), (MONTH, 6)], 1000.0)
    assert ledger.load(2000.0, 10) == [(MONTH, 6)]
    assert ledger.load(1000.0, 10) == [(MONTH, 6)]
    ledger.add([(ANN, 1)], 3000.0)
    ledger.add([], 3000.0)
    assert ledger.load(1000.0, 10) == [(MONTH, 6)]


def test_no_more_than_asked_for(reopen: Open) -> None:
    """Of very many, those that used the most are loaded."""
    ledger = reopen()
    ledger.add([(ANN._replace(who=f"10.0.0.{n}"), n) for n in range(100)], 1000.0)
    assert [used for _, used in ledger.load(1000.0, 3)] == [99, 98, 97]


def test_all_or_nothing(reopen: Open) -> None:
    """If one amount can't be added, none is."""
    ledger = reopen()
    broken = (ANN._replace(who=None), 1)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        ledger.add([(BOB, 7), broken], 1000.0)
    assert ledger.load(1000.0, 10) == []
    assert ledger.add([(BOB, 7)], 1000.0) == [7]


def test_nobody_else_may_read_it(reopen: Open, tmp_path: Path) -> None:
    """The file, and what SQLite puts beside it, are for our account alone."""
    reopen().add([(ANN, 5)], 1000.0)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_wreck(reopen: Open, tmp_path: Path, logged_errors: LoggedErrors) -> None:
    """A file that can't be read is put aside, and a new one begun."""
    wreck = b"not a database, but long enough to be one" * 100
    (tmp_path / FILE).write_bytes(wreck)
    ledger = reopen()
    assert ledger.add([(ANN, 5)], 1000.0) == [5]
    assert (tmp_path / FILE).with_suffix(".broken").read_bytes() == wreck
    logged_errors.flush()


def test_folder_is_made(tmp_path: Path) -> None:
    """State folders that aren't there yet are made."""
    Ledger(tmp_path / "state" / "proxyapp").close()
    assert (tmp_path / "state" / "proxyapp" / FILE).exists()


def test_no_folder(tmp_path: Path) -> None:
    """Where nothing can be kept, the admin is told which option says where."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LedgerError, match=r"\[proxyapp\] state_dir"):
        Ledger(tmp_path / "file")


def test_busy(reopen: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody holds for ever isn't put aside: it may be sound."""
    reopen().add([(ANN, 5)], 1000.0)
    monkeypatch.setattr(ledger_module, "_PATIENCE", 0.1)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    late = reopen()
    with pytest.raises(sqlite3.OperationalError):
        late.add([(ANN, 1)], 1000.0)
    other.close()
    assert late.add([(ANN, 1)], 1000.0) == [6]
    assert not (tmp_path / FILE).with_suffix(".broken").exists()
