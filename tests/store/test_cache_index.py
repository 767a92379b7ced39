"""The index: rows are replaced, found and ordered as eviction needs them, from indexes alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store import index, lookup
from proxyapp.store.changes import row_of
from proxyapp.store.entry import Entry
from proxyapp.store.index import Index, Marks, Row
from proxyapp.store.lookup import Lookup
from tests.store.stores import KEY, stored


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a new index."""
    opened = index.make(str(tmp_path / "index"))
    yield opened
    opened.close()


def row(number: int, varying: bytes = b"", size: int = 100, **given: object) -> Row:
    """Return a row."""
    variant = ((b"accept", varying),) if varying else ()
    entry = Entry(KEY, number, stored(varying=variant, total=size), size, ((0, size),))
    return row_of(entry, 300, float(number))._replace(**given)  # type: ignore[arg-type]


def test_a_row_replaces_its_variant(connection: sqlite3.Connection) -> None:
    """The same variant is there once; a part that grew keeps its id."""
    kept = Index(connection)
    assert kept.insert(row(1), [b"t"]) == []
    assert kept.insert(row(2, b"x"), []) == []
    assert kept.insert(row(3), []) == [1]
    assert kept.insert(row(3), []) == []
    assert kept.ids() == {2, 3}
    assert (kept.has(3), kept.has(1)) == (True, False)
    assert len(kept.heads(KEY, b"")) == 1


def test_a_transaction_is_all_or_nothing(connection: sqlite3.Connection) -> None:
    """What fails in the middle leaves nothing."""
    kept = Index(connection)

    def fail() -> None:
        with kept.transaction():
            kept.insert(row(1), [])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not kept.ids()


def test_order_of_eviction(connection: sqlite3.Connection) -> None:
    """The least recently used come first, pinned ones never; uses and second chances move them."""
    kept = Index(connection)
    for number in range(1, 6):
        kept.insert(row(number, b"%d" % number), [])
    kept.insert(row(9, b"9", pinned=True), [])
    assert [each.id for each in kept.oldest(3)] == [1, 2, 3]
    kept.note_uses([(1, 8, 100.0), (2, 1, 0.5)])
    assert [each.id for each in kept.oldest(9)] == [2, 3, 4, 5, 1]
    kept.second_chance([2], 200.0)
    assert [(each.id, each.hits) for each in kept.oldest(9)][-2:] == [(1, 8), (2, 0)]
    count, room = kept.totals()
    assert (count, room) == (6, 6 * row(1).room)


@pytest.mark.parametrize(
    ("statement", "used"),
    [
        ("SELECT count(*), total(room) FROM entry WHERE NOT pinned", "COVERING INDEX entry_used"),
        ("SELECT count(*), total(room) FROM entry WHERE pinned", "COVERING INDEX entry_pinned"),
        ("SELECT id, key FROM entry WHERE NOT pinned ORDER BY used LIMIT 5", "INDEX entry_used"),
        (lookup._OF_KEY, "INDEX entry_key"),
        (lookup._BY_KEY, "INDEX entry_key"),
        (lookup._BY_TAG, "PRIMARY KEY (tag=? AND id>?)"),
    ],
)
def test_no_statement_reads_the_whole_table(
    connection: sqlite3.Connection, statement: str, used: str
) -> None:
    """What runs often, or on the reactor, goes by an index, and doesn't sort."""
    wanted = statement.replace("?1", "x'00'").replace("?2", "x'00'").replace("?3", "x'00'")
    wanted = wanted.replace("?4", "0").replace("?", "x'00'")
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {wanted}"))
    assert used in plan
    assert "TEMP B-TREE" not in plan


def test_a_reader_can_not_write(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """The reactor's connection only reads, and doesn't wait for a writer."""
    kept = Index(connection)
    kept.insert(row(1), [])
    reader = lookup.open_to_read(str(tmp_path / "index"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM entry")
    with kept.transaction():
        kept.delete([1])
        assert len(Lookup(reader).find(KEY)) == 1
    assert Lookup(reader).find(KEY) == ()
    reader.close()


def test_a_damaged_row_is_none(connection: sqlite3.Connection) -> None:
    """One head that can't be read doesn't hide the others."""
    kept = Index(connection)
    kept.insert(row(1, head=b"nonsense"), [])
    kept.insert(row(2, b"x", extents=b"123"), [])
    kept.insert(row(3, b"y"), [])
    assert [entry.id for entry in Lookup(connection).find(KEY)] == [3]


def test_marks_and_days(connection: sqlite3.Connection) -> None:
    """Words stay; days are counted together, and reported once when they're over."""
    marks = Marks(connection)
    assert marks.get("state") == ""
    marks.set("state", "open")
    marks.set("state", "open")
    assert marks.get("state") == "open"
    marks.add_written("2030-01-01", 5)
    marks.add_written("2030-01-01", 6)
    marks.add_written("2030-01-02", 7)
    assert marks.written("2030-01-01") == 11
    assert marks.take_days("2030-01-02") == [("2030-01-01", 11)]
    assert marks.take_days("2030-01-02") == []
    assert marks.written("2030-01-03") == 0


def test_tags_of_gone_rows_go(connection: sqlite3.Connection) -> None:
    """They aren't found meanwhile."""
    kept = Index(connection)
    kept.insert(row(1), [b"a", b"a", b"b"])
    kept.insert(row(2, b"x"), [b"a"])
    kept.delete([1])
    assert [entry.id for entry in Lookup(connection).all_of(b"", b"a")] == [2]
    Marks(connection).forget_tags()
    assert connection.execute("SELECT count(*) FROM tag").fetchall() == [(1,)]


def test_soundness(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """A sound index is; nonsense isn't."""
    assert index.is_sound(str(tmp_path / "index"))
    (tmp_path / "broken").write_bytes(b"nonsense " * 1000)
    assert not index.is_sound(str(tmp_path / "broken"))
