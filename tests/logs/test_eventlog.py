"""Promises of proxyapp.logs.eventlog."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.application.service import Application, IService, IServiceCollection, Service
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from proxyapp.logs.eventlog import EventLog, EventLogged, Output, open_output
from proxyapp.logs.logfile import Rotating
from proxyapp.logs.sinks import LogError
from proxyapp.rules.events import Events
from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import NEVER, Rotation


def given(target: str, level: Level = Level.INFO) -> Events:
    """Return what a section [log] says."""
    return Events(target, level)


class Pipe:
    """Standard output, and what was read from it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        found = os.fstat(self.writer)
        self.stream = f"{found.st_dev}:{found.st_ino}"

    def read(self) -> str:
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a pipe."""
    made = Pipe()
    yield made
    os.close(made.reader)
    os.close(made.writer)


Open = Callable[..., EventLog]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return what opens an event log, which is closed afterwards."""
    logs: list[EventLog] = []

    def open_one(events: Events, output: int = 1, stream: str = "", size: int = 0) -> EventLog:
        def open_it(wanted: Events) -> Output:
            rotation = Rotation(size=size) if size else NEVER
            rotating = Rotating(rotation, 0, lambda: 1.0e9 + 100 * len(logs), lambda job: job())
            return open_output(wanted, output, stream, rotating)

        logs.append(EventLog(events, open_it))
        return logs[-1]

    yield open_one
    for log in logs:
        if log._outlet is not None:
            log._outlet.close(lambda: 0.0)


def logger(log: EventLog) -> Logger:
    """Return a logger whose events go to *log* alone."""
    return Logger("proxyapp.test", observer=log)


def test_levels(opened: Open, pipe: Pipe) -> None:
    """What matters less than the level isn't there; what has none is information."""
    for level in Level:
        log = opened(given("-", level), pipe.writer)
        said = logger(log)
        for known in LogLevel.iterconstants():
            said.emit(known, known.name)
        log({"log_format": "untold", "log_time": 0.0, "log_namespace": "x"})
        words = [each.value for each in Level]
        expected = words[words.index(level.value) :]
        expected += ["untold"] if "info" in expected else []
        assert [line.split()[-1] for line in pipe.read().splitlines()] == expected


def test_on_standard_output_lines_are_twistd_s(opened: Open, pipe: Pipe) -> None:
    """Time, part and level, as everybody knows them; further lines are indented."""
    logger(opened(given("-"), pipe.writer)).info("one\ntwo")
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[proxyapp.test#info\] one\n\ttwo\n"
    assert re.fullmatch(pattern, pipe.read())


def test_in_the_journal_lines_have_priorities(opened: Open, pipe: Pipe) -> None:
    """Each line has one, those of a traceback too, and the time is the journal's."""
    said = logger(opened(given("-", Level.DEBUG), pipe.writer, pipe.stream))
    said.debug("some")
    said.warn("more\n<0>forged")
    said.failure("most", Failure(ValueError("why")))
    lines = pipe.read().splitlines()
    assert lines[0] == "<7>[proxyapp.test#debug] some"
    assert lines[1:3] == ["<4>[proxyapp.test#warn] more", "<4><0>forged"]
    assert all(line.startswith("<2>") for line in lines[3:])
    assert lines[3] == "<2>[proxyapp.test#critical] most"
    assert lines[-1] == "<2>Failure: builtins.ValueError: why"


def test_what_says_nothing_is_no_line(opened: Open, pipe: Pipe) -> None:
    """An event without a text leaves no empty line."""
    opened(given("-"), pipe.writer)({"log_level": LogLevel.error, "log_format": None})
    opened(given(""), pipe.writer)({"log_level": LogLevel.error, "log_format": "off"})
    assert pipe.read() == ""


def test_empty_is_off(opened: Open, pipe: Pipe) -> None:
    """An empty [log] events turns the log off."""
    log = opened(given(""), pipe.writer)
    logger(log).critical("nobody hears")
    assert repr(log) == "<EventLog off>"
    assert pipe.read() == ""


def test_a_file_is_rotated_as_others(opened: Open, tmp_path: Path) -> None:
    """The event log follows [log] rotate, and takes up a file that was renamed."""
    path = tmp_path / "events.log"
    said = logger(opened(given(str(path)), size=10))
    said.info("one")
    opened(given(""))  # the clock goes on
    said.info("two")
    path.rename(tmp_path / "elsewhere")
    opened(given(""))
    said.info("three")
    texts = {each.name: each.read_text() for each in tmp_path.iterdir()}
    words = {name: [line.split()[-1] for line in text.splitlines()] for name, text in texts.items()}
    aged = [name for name in words if name not in ("events.log", "elsewhere")]
    assert (words["events.log"], words["elsewhere"], len(aged)) == (["three"], ["two"], 1)
    assert words[aged[0]] == ["one"]


def test_a_reader_that_sleeps_stops_nobody(opened: Open, pipe: Pipe) -> None:
    """What doesn't go at once waits for the next event, in order and within a bound."""
    log = opened(given("-"), pipe.writer)
    said = logger(log)
    for number in range(400):
        said.info("{number:0999d}", number=number)
    assert 200 < int(re.findall(r"([0-9]+) lines waiting", repr(log))[0]) < 300
    text = ""
    while " 0 lines waiting" not in repr(log):
        text += pipe.read()
        said.info("go on")
    numbers = [int(line) for line in re.findall(r" (\d{999})\n", text)]
    assert numbers == list(range(len(numbers)))
    assert 200 < len(numbers) < 400


def test_a_reader_that_left_is_no_error(opened: Open) -> None:
    """Nobody can be told, so nothing happens."""
    reader, writer = os.pipe()
    os.close(reader)
    said = logger(opened(given("-"), writer))
    said.info("one")
    said.info("two")
    os.close(writer)


def test_threads_may_log(opened: Open, tmp_path: Path) -> None:
    """Lines from several threads are whole."""
    path = tmp_path / "events.log"
    said = logger(opened(given(str(path))))

    def work(name: str) -> None:
        for number in range(200):
            said.info("{name}-{number}", name=name, number=number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = [line.split()[-1] for line in path.read_text().splitlines()]
    assert sorted(words) == sorted(f"{name}-{number}" for name in "abc" for number in range(200))


@pytest.mark.parametrize("events", ["/nonexistent/events.log", "/dev"])
def test_what_cannot_be_opened(opened: Open, events: str) -> None:
    """The admin reads which option it was."""
    with pytest.raises(LogError, match=rf"\[log\] events: {events} can't be opened: "):
        opened(given(events))


def test_standard_output_that_is_closed(opened: Open) -> None:
    """Without a standard output there's nothing to write to."""
    with pytest.raises(LogError, match="standard output can't be opened: Bad file"):
        opened(given("-"), 999)


# --- Another configuration ---


def test_it_goes_on_elsewhere(opened: Open, pipe: Pipe, tmp_path: Path) -> None:
    """Level and target change together, nothing is lost, and what was there is closed."""
    path = tmp_path / "events.log"
    log = opened(given("-"), pipe.writer)
    said = logger(log)
    said.info("one")
    log.check(given(str(path), Level.WARN))
    said.info("two")
    before = len(os.listdir("/proc/self/fd"))
    log.change(given(str(path), Level.WARN))
    assert len(os.listdir("/proc/self/fd")) == before
    said.info("hidden")
    said.error("three")
    log.change(given(""))
    said.error("nobody hears")
    log.change(given("-", Level.DEBUG))
    said.debug("four")
    assert [line.split()[-1] for line in pipe.read().splitlines()] == ["one", "two", "four"]
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["three"]


def test_what_cannot_be_changed(opened: Open, pipe: Pipe) -> None:
    """If that can't be opened, it goes on as before; checking it changes nothing either way."""
    log = opened(given("-"), pipe.writer)
    for change in (log.check, log.change):
        with pytest.raises(LogError, match=r"\[log\] events: /dev can't be opened: "):
            change(given("/dev", Level.DEBUG))
    logger(log).info("here")
    logger(log).debug("hidden")
    assert pipe.read().count("\n") == 1


def test_the_same_again_changes_nothing(opened: Open, pipe: Pipe) -> None:
    """The file isn't even opened again."""
    log = opened(given("-"), pipe.writer)
    outlet = log._outlet
    log.change(given("-"))
    assert log._outlet is outlet


def test_reopened(opened: Open, tmp_path: Path) -> None:
    """After another program has renamed the file, it goes on in a new one at once."""
    path = tmp_path / "events.log"
    log = opened(given(str(path)))
    path.rename(tmp_path / "old.log")
    log.reopen()
    assert path.exists()
    log.change(given(""))
    log.reopen()  # nothing to reopen


# --- As twistd takes it ---


def test_twistd_finds_it_at_the_application(opened: Open) -> None:
    """What twistd asks its application for, before it logs, is the event log."""
    log = opened(given(""))
    verifyObject(ILogObserver, log)
    inner = Service()
    application = Application("proxyapp")
    logged = EventLogged(inner, log)
    logged.setServiceParent(application)
    assert application.getComponent(ILogObserver) is log
    assert list(IServiceCollection(application)) == [logged]
    IService(application).privilegedStartService()
    IService(application).startService()
    assert inner.running


def test_elsewhere_it_is_a_service_like_others(opened: Open) -> None:
    """Inside another service it only passes starts and stops on."""
    logged = EventLogged(Service(), opened(given("")))
    outer = EventLogged(logged, opened(given("")))
    assert list(outer) == [logged]
