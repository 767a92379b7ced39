"""Promises of proxyapp.logs.logfile."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from proxyapp.logs import logfile
from proxyapp.logs.logfile import LOOK_INTERVAL, LogFile, Rotating, open_file, remove_surplus
from proxyapp.logs.sinks import DescriptorSink, Sink
from proxyapp.rules.rotation import NEVER, Rotation

NOON = datetime(2026, 1, 7, 12).timestamp()
HOURS = 3600.0
DAILY = Rotation(is_daily=True)


class Process:
    """One of several that share a log: what it writes goes where its sink has come to."""

    def __init__(self, path: Path, rotating: Rotating) -> None:
        self.sink: Sink = open_file(str(path), rotating)

    def write(self, text: str) -> None:
        fresh = self.sink.current()
        if fresh is not self.sink:
            self.sink.close()
            self.sink = fresh
        octets = memoryview(text.encode())
        assert self.sink.send(octets, 0) == len(octets)


class Stage:
    """A folder with a log, a clock that is set by hand, and processes."""

    def __init__(self, folder: Path) -> None:
        self.now = NOON
        self.path = folder / "log"
        self.jobs: list[Callable[[], None]] = []
        self.processes: list[Process] = []

    def process(self, rotation: Rotation, keep: int = 0) -> Process:
        rotating = Rotating(rotation, keep, lambda: self.now, self.jobs.append)
        self.processes.append(Process(self.path, rotating))
        return self.processes[-1]

    def touch(self, when: float) -> None:
        """Say that the log was last written to at *when*; its clock is the kernel's."""
        os.utime(self.path, (when, when))

    def found(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.path.parent.iterdir())}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a stage, and close what was opened there."""
    stage = Stage(tmp_path)
    yield stage
    for process in stage.processes:
        process.sink.close()


def test_without_rotation_nothing_changes(stage: Stage) -> None:
    """`no` leaves a file alone, whatever its age and size."""
    process = stage.process(NEVER)
    for _ in range(3):
        process.write("x" * 100_000)
        stage.now += 48 * HOURS
    assert set(stage.found()) == {"log"}


def test_daily(stage: Stage) -> None:
    """The first line of a day begins a new file; the old one has the name of its own day."""
    process = stage.process(DAILY)
    process.write("Wed 1\n")
    stage.now += 11.99 * HOURS
    process.write("Wed 2\n")
    stage.now += 0.02 * HOURS
    process.write("Thu\n")
    stage.now += 72 * HOURS
    process.write("Sun\n")
    expected = {"log": "Sun\n", "log.2026-01-07": "Wed 1\nWed 2\n", "log.2026-01-08": "Thu\n"}
    assert stage.found() == expected


def test_midnight_does_not_wait_for_the_next_look(stage: Stage) -> None:
    """A look right before midnight doesn't keep a line of the new day in the old file."""
    process = stage.process(DAILY)
    stage.now = datetime(2026, 1, 7, 23, 59, 59).timestamp() + 0.9
    process.write("old\n")
    stage.now += LOOK_INTERVAL / 5
    process.write("new\n")
    assert stage.found() == {"log": "new\n", "log.2026-01-07": "old\n"}


def test_a_restart_on_another_day(stage: Stage) -> None:
    """What was last written to on another day is put aside by who comes later."""
    stage.path.write_text("old\n")
    stage.touch(NOON - 48 * HOURS)
    stage.process(DAILY).write("new\n")
    assert stage.found() == {"log": "new\n", "log.2026-01-05": "old\n"}


def test_a_restart_on_the_same_day(stage: Stage) -> None:
    """A restart alone puts nothing aside, and an empty file never is."""
    stage.path.write_text("")
    process = stage.process(DAILY)
    stage.now += 24 * HOURS
    process.write("one\n")
    stage.touch(stage.now)
    stage.process(DAILY).write("two\n")
    assert stage.found() == {"log": "one\ntwo\n"}


def test_by_size(stage: Stage) -> None:
    """Past its size a file is put aside, at most once in LOOK_INTERVAL."""
    process = stage.process(Rotation(size=6))
    for text in ("123\n", "456\n", "789\n"):
        process.write(text)
    assert set(stage.found()) == {"log"}
    for text in ("abc\n", "def\n", "ghi\n"):
        stage.now += LOOK_INTERVAL
        process.write(text)
    found = {"log": "ghi\n", "log.2026-01-07": "123\n456\n789\n", "log.2026-01-07.2": "abc\ndef\n"}
    assert stage.found() == found


def test_a_clock_that_is_set_back_stops_no_looks(stage: Stage) -> None:
    """Looks go on even if the last one is in the future now."""
    process = stage.process(Rotation(size=6))
    process.write("123456\n")
    stage.now -= 5 * HOURS
    process.write("7\n")
    assert stage.found()["log"] == "7\n"


@pytest.mark.parametrize("rotation", [DAILY, Rotation(size=1000)])
def test_others_follow(stage: Stage, rotation: Rotation) -> None:
    """One process renames; the others go on in its new file, and rename nothing themselves."""
    first, second, third = (stage.process(rotation) for _ in range(3))
    for process in (first, second, third):
        process.write("old\n" * 100)
    stage.now += 24 * HOURS
    for process in (second, first, third):
        process.write("new\n")
    assert stage.found() == {"log": "new\n" * 3, "log.2026-01-07": "old\n" * 300}


def test_a_late_follower_cuts_nothing(stage: Stage) -> None:
    """Until its next look a process goes on in the old file, which is still whole."""
    first, second = stage.process(Rotation(size=14)), stage.process(Rotation(size=14))
    first.write("123456\n")
    stage.now += LOOK_INTERVAL / 2
    second.write("second\n")
    stage.now += LOOK_INTERVAL / 2
    first.write("new\n")
    second.write("late\n")
    stage.now += LOOK_INTERVAL / 2
    second.write("new\n")
    assert stage.found() == {"log": "new\nnew\n", "log.2026-01-07": "123456\nsecond\nlate\n"}


def test_who_has_the_lock_renames(stage: Stage) -> None:
    """While another process is about to rename, this one goes on, and looks again later."""
    process = stage.process(Rotation(size=6))
    process.write("123456\n")
    with stage.path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        stage.now += LOOK_INTERVAL
        process.write("on\n")
        assert stage.found() == {"log": "123456\non\n"}
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert stage.found() == {"log": "new\n", "log.2026-01-07": "123456\non\n"}


def test_renamed_while_waiting_for_the_lock(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets the lock looks once more: what was renamed meanwhile isn't renamed again."""
    process = stage.process(Rotation(size=6))
    process.write("123456\n")

    def rename(descriptor: int, operation: int) -> None:
        if operation != fcntl.LOCK_UN:
            stage.path.rename(stage.path.with_name("log.2026-01-07"))

    monkeypatch.setattr(logfile.fcntl, "flock", rename)
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert stage.found() == {"log": "new\n", "log.2026-01-07": "123456\n"}


@pytest.mark.parametrize("away", ["rename", "unlink"])
def test_what_others_do_is_followed(stage: Stage, away: str) -> None:
    """A file that an admin or logrotate took away is opened anew, even without a signal."""
    process = stage.process(NEVER)
    process.write("old\n")
    if away == "rename":
        stage.path.rename(stage.path.with_name("log.1"))
    else:
        stage.path.unlink()
    process.write("still old\n")
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert stage.found()["log"] == "new\n"


def test_a_folder_that_cannot_be_written(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be renamed the sink says so, and isn't locked by that."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    process = stage.process(Rotation(size=6))
    process.write("123456\n")
    stage.now += LOOK_INTERVAL
    with monkeypatch.context() as patched:
        patched.setattr(logfile.os, "rename", refuse)
        with pytest.raises(PermissionError):
            process.sink.current()
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert set(stage.found()) == {"log", "log.2026-01-07"}


# --- What is kept ---


def old_files(folder: Path, count: int) -> None:
    """Make old files of a log in *folder*."""
    for day in range(count):
        (folder / f"log.{datetime(2025, 1, 1) + timedelta(days=day):%Y-%m-%d}").touch()
    (folder / "unrelated").touch()


def changed(folder: Path) -> float:
    """Return when the last file in *folder* was changed."""
    return max(path.stat().st_ctime for path in folder.iterdir())


def test_the_oldest_are_removed_in_a_thread(stage: Stage) -> None:
    """Who renames has the old ones removed, elsewhere: the disk may take its time."""
    old_files(stage.path.parent, 5)
    process = stage.process(Rotation(size=6), keep=3)
    process.write("123456\n")
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert len(stage.jobs) == 1
    assert len(stage.found()) == 8
    stage.now = changed(stage.path.parent) + 60
    stage.jobs[0]()
    kept = {"log", "unrelated", "log.2025-01-04", "log.2025-01-05", "log.2026-01-07"}
    assert set(stage.found()) == kept


def test_what_somebody_may_still_write_to_stays(tmp_path: Path) -> None:
    """A file that was put aside, or written to, seconds ago isn't removed yet."""
    old_files(tmp_path, 5)
    before = set(tmp_path.iterdir())
    remove_surplus(str(tmp_path), "log", 1, lambda: changed(tmp_path) + 2 * LOOK_INTERVAL)
    assert set(tmp_path.iterdir()) == before


def test_all_are_kept(stage: Stage) -> None:
    """With keep = 0 nobody even looks."""
    process = stage.process(Rotation(size=6), keep=0)
    process.write("123456\n")
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert not stage.jobs


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    """A folder of the name of an old file, or a folder that is gone, is an event."""
    (tmp_path / "log.2025-01-01").mkdir()
    (tmp_path / "log.2025-01-02").touch()
    with capturedLogs() as events:
        remove_surplus(str(tmp_path), "log", 1, lambda: changed(tmp_path) + 60)
        remove_surplus(str(tmp_path / "none"), "log", 1, lambda: 0.0)
    texts = [formatEvent(event) for event in events]
    assert texts[0].startswith(f"Old files of the log {tmp_path}/log can't be removed (")
    assert texts[1].endswith("/none/log can't be removed (No such file or directory)")


# --- Opening ---


def test_what_is_opened(tmp_path: Path) -> None:
    """Regular files are rotated; devices and pipes only take lines, and can be opened again."""
    rotating = Rotating(DAILY, 3, lambda: NOON, lambda job: job())
    file = open_file(str(tmp_path / "log"), rotating)
    device = open_file("/dev/null", rotating)
    again = device.reopened()
    assert isinstance(file, LogFile)
    assert repr(file) == f"<LogFile {tmp_path}/log begun 2026-01-07>"
    assert isinstance(device, DescriptorSink)
    assert device.current() is device
    assert (again is not device, again.name) == (True, "/dev/null")
    for sink in (file, device, again):
        sink.close()


def test_a_relative_name(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log in the current folder is rotated there."""
    monkeypatch.chdir(tmp_path)
    stage.path = Path("log")
    process = stage.process(Rotation(size=1))
    process.write("old\n")
    stage.now += LOOK_INTERVAL
    process.write("new\n")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.2026-01-07"}
