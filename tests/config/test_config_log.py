"""Promises of proxyapp.config.logvalues, and of the section [log]."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config import ConfigError
from proxyapp.config.sections import Config
from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import NEVER, Rotation


def load(folder: Path, *lines: str) -> Config:
    """Read an ini whose section [log] has *lines*."""
    path = folder / "proxyapp.ini"
    path.write_text("\n".join(["[log]", *lines, ""]))
    return config.load(path, (), {})


def mistake(folder: Path, *lines: str) -> str:
    """Return the one thing that is wrong with *lines*."""
    with pytest.raises(ConfigError) as caught:
        load(folder, *lines)
    (found,) = caught.value.mistakes
    return found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("weekly", "'weekly' is not known; daily, a size such as 50MiB, or no is right"),
        ("yes", "'yes' is not known; daily"),
        ("-1", "'-1' is not known; daily"),
        ("50 MiB", "'50 MiB' is not a number with a unit"),
        ("1d", "'1d' has an unknown unit; a size such as 4096"),
        ("1023", "'1023' is out of range"),
        ("2000TiB", "'2000TiB' is out of range"),
    ],
)
def test_wrong_rotations(tmp_path: Path, text: str, reason: str) -> None:
    """What isn't understood is explained."""
    assert f"[log] rotate: {reason}" in mistake(tmp_path, f"rotate = {text}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NEVER),
        ("no", NEVER),
        ("Off", NEVER),
        ("0", NEVER),
        ("daily", Rotation(is_daily=True)),
        ("DAILY", Rotation(is_daily=True)),
        ("50MiB", Rotation(size=50 << 20)),
        ("1024", Rotation(size=1024)),
    ],
)
def test_rotations(tmp_path: Path, text: str, expected: Rotation) -> None:
    """Daily, by size, or not at all."""
    assert load(tmp_path, f"rotate = {text}").log.rotate == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("keep = -1", "keep: '-1' is not a whole number"),
        ("hostnames = maybe", "hostnames: 'maybe' is neither on nor off"),
        ("level = loud", "level: 'loud' is not known; one of debug, info, warn, error, critical"),
        ("events = syslog:", "events: 'syslog:' is not for events; twistd --syslog does that"),
        ("events = none/events.log", "events: "),
    ],
)
def test_wrong_values(tmp_path: Path, line: str, reason: str) -> None:
    """Each option says what would be right."""
    assert f"[log] {reason}" in mistake(tmp_path, line)


def test_values(tmp_path: Path) -> None:
    """A file is relative to the ini, and words may be written large."""
    lines = ("keep = 0", "hostnames = yes", "level = WARN", "events = events.log")
    given = load(tmp_path, *lines).log
    assert (given.keep, given.hostnames, given.level) == (0, True, Level.WARN)
    assert given.events == str(tmp_path / "events.log")


def test_defaults(tmp_path: Path) -> None:
    """Nothing is rotated, nobody is looked up, and events are for standard output."""
    given = load(tmp_path).log
    assert (given.rotate, given.keep, given.hostnames) == (NEVER, 14, False)
    assert (given.level, given.events) == (Level.INFO, "-")
    assert load(tmp_path, "events =", "level =").log.events == ""


def test_two_logs_in_one_file(tmp_path: Path) -> None:
    """Each log has a file of its own."""
    found = mistake(tmp_path, "requests = a.log", "events = a.log")
    assert "[log] events: " in found
    assert "is the request log" in found
