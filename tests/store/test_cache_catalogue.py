"""What is known of a key is what was changed last, whoever has written it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from proxyapp.store.catalogue import MOST_VARIANTS, Catalogue
from proxyapp.store.changes import Removal
from proxyapp.store.entry import Entry
from proxyapp.store.lookup import Lookup
from proxyapp.store.memory import SHORT, Entries, Memory, weight_of
from proxyapp.store.tokens import Tokens
from tests.store.stores import KEY, stored


class Rows(Lookup):
    """An index that holds what a test says, and counts who asks."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Entries] = {}
        self.asked = 0
        self.error: sqlite3.Error | None = None
        self.close = lambda: None
        self.looked: Callable[[], None] = lambda: None

    def find(self, key: bytes) -> Entries:
        self.asked += 1
        if self.error is not None:
            raise self.error
        found = self.rows.get(key, ())
        self.looked()
        return found


class Scene:
    """A catalogue on such an index."""

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.errors: list[sqlite3.Error] = []
        memory = Memory(capacity, weight_of, lambda entries: None, keeps_pinned=False)
        self.catalogue = Catalogue(memory, self.errors.append)
        self.rows = Rows()
        self.catalogue.attach(self.rows, None)

    def ids(self) -> list[int]:
        """Return the ids that are found."""
        return [entry.id for entry in self.catalogue.find(KEY)]


def entry(number: int, variant: bytes = b"", content: bytes | None = b"x") -> Entry:
    """Return an entry."""
    varying = ((b"accept", variant),) if variant else ()
    size = len(content or b"")
    return Entry(KEY, number, stored(varying=varying, total=size), size, ((0, size),), content)


@pytest.fixture(params=[1 << 20, 0], ids=["memory", "none"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Return a scene, with memory and without."""
    return Scene(request.param)


def test_rows_are_read_once(tmp_path: Path) -> None:
    """Neither what is in memory is looked up again nor what nobody has, until that is changed."""
    scene, tokens = Scene(), Tokens(str(tmp_path / "tokens"))
    scene.catalogue.attach(scene.rows, tokens)
    assert (scene.ids(), scene.ids(), scene.rows.asked) == ([], [], 1)
    scene.rows.rows[KEY] = (entry(1),)
    tokens.renew([KEY])
    assert (scene.ids(), scene.ids(), scene.rows.asked) == ([1], [1], 2)
    scene.catalogue.attach(None, None)
    tokens.close()


@pytest.mark.parametrize("is_put", [False, True])
def test_what_another_adds_meanwhile_is_found(tmp_path: Path, is_put: bool) -> None:
    """Just behind our look another process stores a variant: neither look nor put may hide it."""
    scene, tokens = Scene(), Tokens(str(tmp_path / "tokens"))
    scene.catalogue.attach(scene.rows, tokens)

    def add() -> None:
        scene.rows.rows[KEY] = (entry(2, b"x"),)
        scene.rows.looked = lambda: None
        tokens.renew([KEY])

    scene.rows.looked = add
    if is_put:
        scene.catalogue.put(entry(1), is_pending=False)
    else:
        assert scene.ids() == []
    assert scene.ids() == [2]
    scene.catalogue.attach(None, None)
    tokens.close()


def test_that_there_is_nothing_is_forgotten() -> None:
    """It holds until something is put there, and for one index."""
    scene = Scene()
    assert (scene.ids(), scene.rows.asked) == ([], 1)
    scene.catalogue.put(entry(1), is_pending=False)
    scene.catalogue.forget(lambda each: True)  # only the index knows it now
    scene.rows.rows[KEY] = (entry(1),)
    assert (scene.ids(), scene.rows.asked) == ([1], 2)
    scene.catalogue.forget(lambda each: True)
    scene.rows.rows.clear()
    assert (scene.ids(), scene.ids(), scene.rows.asked) == ([], [], 3)
    scene.catalogue.attach(scene.rows, None)
    assert (scene.ids(), scene.rows.asked) == ([], 4)


def test_long_keys_without_anything_are_looked_up() -> None:
    """Clients choose them; what is remembered of each is bounded."""
    scene = Scene()
    key = b"http://a.example/" + bytes(1000)
    assert (scene.catalogue.find(key), scene.catalogue.find(key), scene.rows.asked) == ((), (), 2)


def test_unwritten_changes_count(scene: Scene) -> None:
    """Until they're written, the index says what was; then it's right."""
    scene.rows.rows[KEY] = (entry(1), entry(2, b"x"))
    changes = [Removal(KEY, 1), Removal(KEY, 2)]
    scene.catalogue.put(entry(3), is_pending=True)
    assert scene.ids() == [2, 3]
    scene.catalogue.remove(entry(2, b"x"), is_pending=True)
    assert scene.ids() == [3]
    scene.catalogue.settle(changes[:1])
    assert scene.ids() == [3]
    scene.rows.rows[KEY] = (entry(3),)
    scene.catalogue.settle(changes[1:])
    assert scene.ids() == [3]


def test_put_says_what_it_replaces(scene: Scene) -> None:
    """The same variant, the same body, and the oldest of too many."""
    assert scene.catalogue.put(entry(1), is_pending=True) == ()
    assert [each.id for each in scene.catalogue.put(entry(2), is_pending=True)] == [1]
    assert scene.catalogue.put(entry(2, b"other"), is_pending=True) == ()
    for number in range(3, MOST_VARIANTS + 2):
        assert scene.catalogue.put(entry(number, b"%d" % number), is_pending=True) == ()
    gone = scene.catalogue.put(entry(99, b"99"), is_pending=True)
    assert [each.id for each in gone] == [2]
    assert len(scene.ids()) == MOST_VARIANTS


def test_what_is_gone_stays_gone(scene: Scene) -> None:
    """A head for an entry that isn't there brings it back for nobody."""
    scene.catalogue.revise(entry(1), is_pending=True)
    assert scene.ids() == []


def test_long_contents_are_not_remembered() -> None:
    """They have a file."""
    scene = Scene()
    long = bytes(SHORT + 1)
    scene.catalogue.put(entry(1, content=long), is_pending=False)
    assert scene.catalogue.find(KEY)[0].content is None
    scene.catalogue.load(entry(1), b"short")
    assert scene.catalogue.find(KEY)[0].content == b"short"
    scene.catalogue.load(entry(2), b"not there")
    assert scene.ids() == [1]


def test_too_many_contents_leave_the_rows() -> None:
    """Where the contents of a key are more than its share, its rows are remembered alone."""
    scene = Scene(100_000)
    for number in range(8):
        scene.catalogue.put(entry(number, b"%d" % number, bytes(6000)), is_pending=False)
    found = scene.catalogue.find(KEY)
    assert len(found) == 8
    assert 0 < sum(each.content is not None for each in found) < 5
    assert scene.rows.asked == 1


def test_errors_are_misses() -> None:
    """An index that fails is told of, and nothing is found; nor is that remembered."""
    scene = Scene()
    scene.rows.error = sqlite3.DatabaseError("database disk image is malformed")
    assert scene.ids() == []
    assert scene.errors == [scene.rows.error]
    scene.rows.error, scene.rows.rows[KEY] = None, (entry(1),)
    assert scene.ids() == [1]


def test_without_an_index_memory_is_all() -> None:
    """What isn't there isn't anywhere."""
    scene = Scene()
    scene.catalogue.put(entry(1), is_pending=False)
    scene.catalogue.attach(None, None)
    assert scene.ids() == [1]
    scene.catalogue.forget(lambda each: each.id == 1)
    assert scene.ids() == []
