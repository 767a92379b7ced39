"""After a start, files and index agree, whatever happened before."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.store import bodyhead, index, restoring
from proxyapp.store.entry import EntryGone
from tests.store.stores import KEY, Bench, Said, bench, listening, stored

OTHER = b"http://example.com/other"


def bodies(folder: Path) -> list[Path]:
    """Return the files of the bodies."""
    return sorted((folder / "bodies").glob("*/*"))


def index_of(folder: Path) -> Path:
    """Return the index in use."""
    return max(folder.glob("index.*.sqlite3"))


def fill(folder: Path) -> None:
    """Store three bodies, and stop."""
    with bench(folder) as running:
        running.store.put(KEY, stored(tags=b"one"), b"hello")
        running.fill(OTHER, b"x" * 200_000)
        running.fill(OTHER + b"/part", b"y" * 100_000, start=50_000, total=500_000)
        running.settle()


def check(running: Bench) -> None:
    """See that the three are there, with all that is known of them."""
    running.settle(2)
    assert running.read_key(KEY) == [b"hello"]
    assert running.read_key(OTHER) == [b"x" * 200_000]
    (part,) = running.store.variants(OTHER + b"/part")
    assert (part.extents, part.stored.total) == (((50_000, 150_000),), 500_000)
    assert running.read(part) == b"y" * 100_000
    assert [entry.key for entry in running.store.entries(tag=b"one")] == [KEY]


@pytest.fixture
def events() -> Iterator[Said]:
    """Yield what is said."""
    with listening() as said:
        yield said


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database " * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(20_000)),
    ],
    ids=["missing", "empty", "nonsense", "truncated", "random"],
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: object, events: Said) -> None:
    """Everything is found again from the files, and one line says what happened."""
    fill(tmp_path)
    path = index_of(tmp_path)
    for rest in ("-wal", "-shm"):
        Path(f"{path}{rest}").unlink(missing_ok=True)
    assert callable(damage)
    damage(path)
    with bench(tmp_path) as running:
        check(running)
    assert sum("damaged" in each for each in events.formats) <= 1
    assert sum("put in order" in each for each in events.formats) == 1
    with bench(tmp_path) as running:
        check(running)


def test_an_index_of_another_version_is_left(tmp_path: Path) -> None:
    """Who goes back to an older release finds the bodies again."""
    fill(tmp_path)
    with sqlite3.connect(index_of(tmp_path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with bench(tmp_path) as running:
        check(running)
    assert len(list(tmp_path.glob("index.*.sqlite3"))) == 2


def test_damage_inside_is_found_after_a_kill(tmp_path: Path) -> None:
    """Pages that a start doesn't read are read all the same, if nobody stopped in order."""
    fill(tmp_path)
    path = index_of(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE mark SET value = 'open' WHERE name = 'state'")
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry_key'")
    ((page,),) = root.fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    with bench(tmp_path) as running:
        check(running)


def test_damage_while_it_runs(tmp_path: Path) -> None:
    """What is damaged later is noticed when it's read or written, and made anew."""
    fill(tmp_path)
    with bench(tmp_path) as running:
        running.settle(2)
        path = index_of(tmp_path)
        with open(path, "r+b") as file:
            file.write(os.urandom(path.stat().st_size))
        Path(f"{path}-wal").write_bytes(b"")
        running.store.put(KEY + b"/new", stored(), b"new")
        running.settle(3)
        check(running)
        assert running.read_key(KEY + b"/new") == [b"new"]


def test_rows_without_files_go(tmp_path: Path) -> None:
    """What was deleted by hand isn't found."""
    fill(tmp_path)
    shutil.rmtree(tmp_path / "bodies")
    with bench(tmp_path) as running:
        running.settle(2)
        assert not list(running.store.entries())


@pytest.mark.parametrize("size", [0, 10, 300, 450, 5000])
def test_truncated_bodies_go(tmp_path: Path, size: int) -> None:
    """A file that ends too early is no body, with a row or without."""
    for is_index_lost in (False, True):
        fill(tmp_path)
        for path in bodies(tmp_path):
            os.truncate(path, min(size, path.stat().st_size - 1))
        if is_index_lost:
            index_of(tmp_path).unlink()
        with bench(tmp_path) as running:
            running.settle(2)
            for key in (KEY, OTHER):
                for entry in running.store.variants(key):
                    with pytest.raises(EntryGone):
                        running.read(entry)
                assert not running.store.variants(key)


def forget_row(folder: Path, key: bytes) -> None:
    """Delete the row of *key*, as if it had never been written."""
    with sqlite3.connect(index_of(folder)) as connection:
        connection.execute("DELETE FROM entry WHERE key = ?", (key,))
    connection.close()


def test_a_body_without_a_row_gets_one(tmp_path: Path) -> None:
    """Killed between name and row: the body is found all the same."""
    fill(tmp_path)
    forget_row(tmp_path, OTHER)
    with bench(tmp_path) as running:
        check(running)


@pytest.mark.parametrize(("age", "expected"), [(-10.0, b"row"), (10.0, b"file")])
def test_the_newer_of_two_stays(tmp_path: Path, age: float, expected: bytes) -> None:
    """A body without a row replaces an older one, and goes if it's older itself."""
    with bench(tmp_path) as running:
        head = stored()
        running.store.put(KEY, stored(arrived_at=head.arrived_at + age), b"file")
        running.settle()
        kept = bodies(tmp_path)[0]
        aside = tmp_path / "aside"
        os.link(kept, aside)
        running.store.put(KEY, head, b"row")
        running.settle()
        os.rename(aside, kept)
    with bench(tmp_path) as running:
        running.settle(2)
        assert running.read_key(KEY) == [expected]
        assert len(bodies(tmp_path)) == 1


def leave_growing(folder: Path, total: int, size: int, etag: bytes = b'"1"') -> None:
    """Leave what a killed process leaves of a body of *total* bytes when it had *size*."""
    with bench(folder) as running:
        body = running.store.begin(KEY, stored(etag), total)
        assert body is not None
        body.write(b"z" * size)
        (path,) = (folder / "growing").iterdir()
        copy = folder / "copy"
        shutil.copy(path, copy)
        body.abandon()
    shutil.move(copy, path)


@pytest.mark.parametrize(
    ("total", "size", "etag", "expected"),
    [
        (200_000, 0, b'"1"', None),
        (200_000, 1000, b'"1"', None),
        (200_000, 100_000, b'W/"1"', None),
        (200_000, 100_000, b'"1"', (100_000, False)),
        (200_000, 200_000, b'W/"1"', (200_000, True)),
    ],
)
def test_what_a_killed_process_was_loading(
    tmp_path: Path, total: int, size: int, etag: bytes, expected: tuple[int, bool] | None
) -> None:
    """It's a part to go on with, if it's worth it and a validator says what of."""
    leave_growing(tmp_path, total, size, etag)
    with bench(tmp_path) as running:
        running.settle(2)
        found = [(each.size, each.is_complete) for each in running.store.variants(KEY)]
        assert found == ([] if expected is None else [expected])
        assert running.read_key(KEY) == [b"z" * entry[0] for entry in found]
        assert not list((tmp_path / "growing").iterdir())


def test_growing_bodies_of_the_living_are_left_alone(tmp_path: Path) -> None:
    """A worker that starts doesn't take what another one is loading."""
    with bench(tmp_path) as running:
        body = running.store.begin(KEY, stored(), 200_000)
        assert body is not None
        body.write(bytes(100_000))
        other = running.another()
        other.settle(2)
        assert len(list((tmp_path / "growing").iterdir())) == 1
        body.write(bytes(100_000))
        assert body.finish().is_complete
        third = running.another()  # before it has got its name
        third.settle(2)
        running.settle()
        for each in (running, other, third):
            assert [entry.size for entry in each.store.variants(KEY)] == [200_000]
        other.stop()
        third.stop()


def test_an_invalidation_survives_the_index(tmp_path: Path) -> None:
    """What must be validated must be when the index is lost, too; a pin stays as well."""
    fill(tmp_path)
    with bench(tmp_path) as running:
        running.store.invalidate(KEY)
        running.store.pin(OTHER)
        running.settle()
    index_of(tmp_path).unlink()
    with bench(tmp_path) as running:
        running.settle(2)
        assert running.store.variants(KEY)[0].stored.is_invalid
        assert running.store.variants(OTHER)[0].is_pinned
        assert not running.store.variants(OTHER)[0].stored.is_invalid


def leave_open(root: Path) -> None:
    """Let it look as if nobody had stopped in order."""
    with sqlite3.connect(index_of(root)) as connection:
        connection.execute("UPDATE mark SET value = 'open' WHERE name = 'state'")
    connection.close()


def boot_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have been started once more."""
    boot = root / "another boot"
    boot.write_text("2", encoding="ascii")
    monkeypatch.setattr(restoring, "_BOOT", boot)


@pytest.mark.parametrize("has_stopped", [False, True])
def test_after_a_power_cut_the_last_bodies_go(
    tmp_path: Path, has_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not have reached the disk isn't served; what is older, or was stopped, is."""
    fill(tmp_path)
    (old,) = (path for path in bodies(tmp_path) if path.stat().st_size < 10_000)
    os.utime(old, (1e9, 1e9))
    if not has_stopped:
        leave_open(tmp_path)
    boot_again(tmp_path, monkeypatch)
    for _ in range(2):
        with bench(tmp_path) as running:
            running.settle(2)
            keys = {entry.key for entry in running.store.entries()}
            assert KEY in keys
            assert len(keys) == (3 if has_stopped else 1)


def test_what_is_new_after_a_power_cut_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored while the index is read is kept, and doesn't make older bodies look safe."""
    fill(tmp_path)
    for path in bodies(tmp_path):
        moment = 1e9 if path.stat().st_size < 10_000 else 1e9 + 1000
        os.utime(path, (moment, moment))
    leave_open(tmp_path)
    boot_again(tmp_path, monkeypatch)
    new = KEY + b"/new"

    def read_while_another_stores(path: str) -> bool:
        with bench(tmp_path) as another:
            another.store.put(new, stored(), b"new")
        return True

    monkeypatch.setattr(index, "is_sound", read_while_another_stores)
    with bench(tmp_path) as running:
        running.settle(2)
        assert sorted(entry.key for entry in running.store.entries()) == [KEY, new]


def test_strange_files_do_no_harm(tmp_path: Path) -> None:
    """What isn't ours is no body; what has a body's name and isn't one goes."""
    fill(tmp_path)
    folder = tmp_path / "bodies" / "00"
    folder.mkdir()
    (folder / "README").write_text("hello")
    (tmp_path / "bodies" / "file").write_text("hello")
    (folder / f"{5:016x}").write_bytes(b"x" * 1000)
    (tmp_path / "growing" / f"{6:016x}").write_bytes(b"x" * bodyhead.FIXED)
    with bench(tmp_path) as running:
        check(running)
    assert not (folder / f"{5:016x}").exists()
    assert not list((tmp_path / "growing").iterdir())
