"""What was asked for before a change is known to all processes, and what was afterwards isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyapp.store.sharing import Outdated

KEY = b"http://example.com/a"


@pytest.mark.parametrize(
    ("then", "now", "is_old"),
    [(0.0, 9.0, True), (5.0, 5.0, True), (5.1, 9.0, False), (0.0, 4.9, False)],
    ids=["before", "at once", "afterwards", "the clock was ahead"],
)
@pytest.mark.parametrize("is_shared", [True, False])
def test_moments(tmp_path: Path, then: float, now: float, is_old: bool, is_shared: bool) -> None:
    """What counts is whether the change was since it was asked for."""
    outdated = Outdated(str(tmp_path / "outdated") if is_shared else None)
    assert not outdated.is_since(KEY, 0.0, now)
    outdated.note(KEY, 5.0)
    assert outdated.is_since(KEY, then, now) is is_old
    assert not outdated.is_since(KEY + b"/other", then, now)
    outdated.close()


def test_elsewhere(tmp_path: Path) -> None:
    """Another process knows of it, until one of the two has let go."""
    here, there = (Outdated(str(tmp_path / "outdated")) for _ in range(2))
    there.note(KEY, 5.0)
    assert here.is_since(KEY, 1.0, 9.0)
    here.close()
    here.close()
    assert not here.is_since(KEY, 1.0, 9.0)
    here.note(KEY, 8.0)
    assert not there.is_since(KEY, 6.0, 9.0)
    there.close()


def test_the_folder_is_gone(tmp_path: Path) -> None:
    """Where there can be no file the store can't be, either."""
    with pytest.raises(FileNotFoundError):
        Outdated(str(tmp_path / "no" / "outdated"))
