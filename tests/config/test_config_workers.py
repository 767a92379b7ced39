"""Options of workers and of their end; the state folder, whatever else is wrong; text as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxyapp import config

_ENVIRON = {"STATE_DIRECTORY": "/var/lib/x"}


def load(tmp_path: Path, ini: str) -> config.Config:
    """Load the text of an ini."""
    path = tmp_path / "x.ini"
    path.write_text(ini)
    return config.load(path, [], {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "from 1 to 64"),
        ("65", "from 1 to 64"),
        ("-1", "is not a whole number"),
        ("many", "is not a whole number"),
        ("2.5", "is not a whole number"),
    ],
)
def test_wrong_numbers(tmp_path: Path, text: str, reason: str) -> None:
    """A number of workers that can't be is a mistake."""
    with pytest.raises(config.ConfigError, match=reason):
        load(tmp_path, f"[proxyapp]\nworkers = {text}\n")


def test_numbers(tmp_path: Path) -> None:
    """So many, or as many as there are CPUs for us."""
    assert load(tmp_path, "[proxyapp]\nworkers = 3\n").proxyapp.workers == 3
    cpus = len(os.sched_getaffinity(0))
    for word in ("auto", "AUTO"):
        assert load(tmp_path, f"[proxyapp]\nworkers = {word}\n").proxyapp.workers == cpus


def test_times(tmp_path: Path) -> None:
    """Requests and tunnels each have their time; none at all is one, too."""
    given = load(tmp_path, "[proxyapp]\ndrain_timeout = 0s\n[tunnel]\ndrain_timeout = 2h\n")
    assert (given.proxyapp.drain_timeout, given.tunnel.drain_timeout) == (0.0, 7200.0)
    with pytest.raises(config.ConfigError, match="drain_timeout"):
        load(tmp_path, "[proxyapp]\ndrain_timeout = 2h\n")


@pytest.mark.parametrize(
    ("ini", "overrides", "folder"),
    [
        ("", [], "/var/lib/x"),
        ("[proxyapp]\nstate_dir = /s\n", [], "/s"),
        ("[proxyapp]\nstate_dir = s\n", [], "{here}/s"),
        ("[proxyapp]\nstate_dir = /s\n[bad]\n[pool]\nretries = x\nnonsense\n", [], "/s"),
        ("[proxyapp]\nstate_dir = /s\n", ["proxyapp.state_dir=/t"], "/t"),
        ("[proxyapp]\nstate_dir =\n", [], "/var/lib/x"),
    ],
)
def test_state_folder(tmp_path: Path, ini: str, overrides: list[str], folder: str) -> None:
    """It is found in an ini that is full of mistakes, so that somebody can be told of them."""
    path = tmp_path / "x.ini"
    path.write_text(ini)
    found = config.state_folder(path, overrides, _ENVIRON)
    assert found == Path(folder.format(here=tmp_path))


def test_state_folder_without_an_ini(tmp_path: Path) -> None:
    """Where the ini can't be read, or isn't given, it is the default."""
    assert config.state_folder(tmp_path / "none", [], _ENVIRON) == Path("/var/lib/x")
    assert config.state_folder(None, [], _ENVIRON) == Path("/var/lib/x")


def test_text_as_it_was(tmp_path: Path) -> None:
    """With a text of its own the file doesn't matter, but its folder does, and its name."""
    path = tmp_path / "x.ini"
    path.write_text("[nonsense]\n")
    given = config.load(path, [], {}, b"[proxyapp]\nstate_dir = here\n")
    assert given.proxyapp.state_dir == tmp_path / "here"
    assert given.path == path
    with pytest.raises(config.ConfigError, match=r"x\.ini:1: "):
        config.load(path, [], {}, b"[bad]\n")
