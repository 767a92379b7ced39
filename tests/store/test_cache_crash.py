"""Nothing that is served after a kill differs from what was stored."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxyapp.store.entry import EntryGone
from tests.store import crashing
from tests.store.stores import Bench, bench

ROOT = Path(__file__).parents[2]
ROUNDS = 10


Kill = Callable[[Path, int, int, int], None]


@pytest.fixture(scope="module")
def fill_and_kill() -> Iterator[Kill]:
    """What fills the store in a folder, from a seed, and kills who does it after so many steps."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.crashing"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def ask(folder: Path, seed: int, steps: int, workers: int) -> None:
            asked.write(json.dumps([str(folder), seed, steps, workers]) + "\n")
            asked.flush()
            assert answers.readline() == "killed\n", "it has said why on standard error"

        yield ask
        asked.close()


def served_right(running: Bench) -> int:
    """Check everything that can be served; return how many entries that is."""
    count = 0
    entries = list(running.store.entries())
    keys = {b"http://example.com/%d" % number for number in range(crashing.KEYS)}
    assert {entry.key for entry in entries} <= keys
    for key in sorted(keys):
        for entry in running.store.variants(key):
            try:
                assert crashing.is_right(entry, running.read(entry)), entry
            except EntryGone:
                continue
            count += 1
    return count


@pytest.mark.parametrize("workers", [1, 2])
def test_everything_served_after_kills_is_as_it_was_stored(
    tmp_path: Path, fill_and_kill: Kill, workers: int
) -> None:
    """kill -9 amid fills and evictions, again and again on the same folder, damages nothing."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    found = 0
    for number in range(ROUNDS):
        steps = chance.randrange(1, 2 * crashing.STEPS)
        fill_and_kill(tmp_path, seed + 100 * number, steps, workers)
        with bench(tmp_path, crashing.LIMITS) as running:
            running.settle(3)
            found += served_right(running)
            left = list((tmp_path / "growing").iterdir())
            assert not left, f"seed {seed}"
            usage = running.store.statistics()
            assert usage.disk <= usage.disk_limit * 1.5
    assert found > ROUNDS, f"seed {seed}"


def test_rows_and_files_agree_after_a_kill(tmp_path: Path, fill_and_kill: Kill) -> None:
    """After the start has put things in order, each body has a row and each row has a body."""
    fill_and_kill(tmp_path, 7, 120, 1)
    with bench(tmp_path, crashing.LIMITS) as running:
        running.settle(3)
        rows = {entry.id for entry in running.store.entries()}
    files = {int(path.name, 16) for path in (tmp_path / "bodies").glob("*/*")}
    assert rows == files
