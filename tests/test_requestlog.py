"""Promises of proxyapp.requestlog."""

from __future__ import annotations

import errno
import os
import select
import syslog
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from proxyapp import requestlog
from proxyapp.logs import outlet
from proxyapp.logs.logfile import Rotating
from proxyapp.logs.sinks import DescriptorSink, LogError, Sink
from proxyapp.requestlog import RequestLogger
from proxyapp.rules.record import Record
from proxyapp.rules.rotation import NEVER


class ScriptedSink:
    """Does with each call what *script* says: takes so many bytes, or raises; at its end, all."""

    name = "scripted"

    def __init__(self, *script: int | OSError) -> None:
        self.script = list(script)
        self.received = bytearray()
        self.calls = 0
        self.is_closed = False
        self.successor: Sink | OSError = self
        self.follower: Sink | OSError = self

    def send(self, octets: memoryview, patience: int) -> int:
        assert len(octets)
        self.calls += 1
        step = self.script.pop(0) if self.script else len(octets)
        if isinstance(step, OSError):
            raise step
        self.received += octets[:step]
        return min(step, len(octets))

    def current(self) -> Sink:
        if isinstance(self.follower, OSError):
            raise self.follower
        return self.follower

    def reopened(self) -> Sink:
        if isinstance(self.successor, OSError):
            raise self.successor
        return self.successor

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def events() -> Iterator[Sequence[LogEvent]]:
    """Catch what the event log is told."""
    with capturedLogs() as captured:
        yield captured


def _texts(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


def _full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def _logger(clock: Clock, sink: Sink | None) -> RequestLogger:
    return RequestLogger(lambda record: record.reason, sink, clock)


def open_log(
    requests: str, format_text: str, clock: Clock, journal_stream: str = ""
) -> RequestLogger:
    """Open a log that nobody rotates."""
    rotating = Rotating(NEVER, 0, lambda: 0.0, lambda job: job())
    return requestlog.open_log(requests, format_text, clock, rotating, None, journal_stream)


def _write(log: RequestLogger, *reasons: str) -> None:
    for reason in reasons:
        log.write(Record(started=1.0, reason=reason))


def test_lines_are_written_in_one_call_within_the_delay(clock: Clock) -> None:
    """Lines gather for FLUSH_DELAY, go out together, and then nothing is scheduled."""
    sink = ScriptedSink()
    log = _logger(clock, sink)
    _write(log, "one", "two")
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(requestlog.FLUSH_DELAY / 2)
    _write(log, "three")
    assert sink.calls == 0
    clock.advance(requestlog.FLUSH_DELAY / 2)
    assert (bytes(sink.received), sink.calls) == (b"one\ntwo\nthree\n", 1)
    assert clock.getDelayedCalls() == []


def test_a_full_batch_is_written_at_once(clock: Clock) -> None:
    """Nothing waits for the clock beyond BATCH bytes."""
    sink = ScriptedSink()
    log = _logger(clock, sink)
    _write(log, *["x" * 1023] * 63)
    assert sink.calls == 0
    _write(log, "x" * 1023)
    assert (len(sink.received), sink.calls) == (requestlog.BATCH, 1)
    clock.advance(requestlog.FLUSH_DELAY)
    assert sink.calls == 1
    assert clock.getDelayedCalls() == []


def test_the_line_is_made_when_it_is_written(clock: Clock) -> None:
    """A record that changes afterwards doesn't change its line."""
    sink = ScriptedSink()
    log = _logger(clock, sink)
    record = Record(reason="before")
    log.write(record)
    record.reason = "after"
    log.flush()
    assert bytes(sink.received) == b"before\n"


def test_off_does_nothing(clock: Clock) -> None:
    """With no sink nothing is formatted, gathered or scheduled."""
    log = RequestLogger(lambda record: 1 / 0, None, clock)  # type: ignore[arg-type, return-value]  # never called
    _write(log, "one")
    log.flush()
    log.reopen()
    assert repr(log) == "<RequestLogger off>"
    log.close()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("script", [(0,), (1,), (4,), (5,), (0, 2, 0, 3), (1, 1, 1, 1, 1)])
def test_partial_writes_go_on_where_they_stopped(clock: Clock, script: tuple[int, ...]) -> None:
    """Whatever the sink takes at a time, it ends up with every byte once and in order."""
    sink = ScriptedSink(*script)
    log = _logger(clock, sink)
    _write(log, "one", "two", "three")
    clock.pump([requestlog.FLUSH_DELAY] * 7)
    assert bytes(sink.received) == b"one\ntwo\nthree\n"
    assert clock.getDelayedCalls() == []


def test_a_full_disk_loses_nothing_and_is_told_once(
    clock: Clock, events: Sequence[LogEvent]
) -> None:
    """Lines wait out an error, tried again at a calmer pace."""
    sink = ScriptedSink(_full(), 2, _full())
    log = _logger(clock, sink)
    _write(log, "one")
    clock.advance(requestlog.FLUSH_DELAY)
    _write(log, "two")
    clock.advance(requestlog.RETRY_DELAY / 2)
    assert sink.calls == 1
    clock.pump([requestlog.RETRY_DELAY] * 4)
    assert bytes(sink.received) == b"one\ntwo\n"
    assert _texts(events) == [
        "The request log scripted can't be written (No space left on device); lines wait in memory"
    ]


def test_what_waits_is_bounded_and_the_loss_is_counted(
    clock: Clock, events: Sequence[LogEvent]
) -> None:
    """Beyond MAX_WAITING lines are dropped, the first loss and the sum reach the event log."""
    sink = ScriptedSink(*[0] * 200)
    log = _logger(clock, sink)
    _write(log, *["x" * 1023] * 5000)
    assert repr(log) == "<RequestLogger scripted, 4104 lines waiting, 896 lost>"
    sink.script.clear()
    clock.advance(requestlog.FLUSH_DELAY)
    assert len(sink.received) == outlet.MAX_WAITING
    log.close()
    lost = 5000 - sink.received.count(b"\n")
    assert _texts(events) == [
        "The request log scripted takes nothing: 4194304 bytes wait, lines are dropped",
        f"{lost} lines of the request log scripted were lost",
    ]


def test_close_writes_what_waits(clock: Clock) -> None:
    """No line is left behind at the end, and no call on the clock."""
    sink = ScriptedSink(0, 0, 3)
    log = _logger(clock, sink)
    _write(log, "one", "two")
    log.close()
    assert bytes(sink.received) == b"one\ntwo\n"
    assert sink.is_closed
    assert clock.getDelayedCalls() == []
    assert repr(log) == "<RequestLogger closed>"
    log.close()


@pytest.mark.parametrize("script", [[0] * 50, [_full()] * 50])
def test_close_gives_up_and_says_so(
    clock: Clock, events: Sequence[LogEvent], script: list[int | OSError]
) -> None:
    """A sink that takes nothing any more doesn't hold up the end, and the loss is told."""
    sink = ScriptedSink(*script)
    log = _logger(clock, sink)
    _write(log, "one", "two")
    log.close()
    assert sink.is_closed
    assert _texts(events)[-1] == "2 lines of the request log scripted were lost"


def test_a_line_after_the_end_is_told(clock: Clock, events: Sequence[LogEvent]) -> None:
    """A record that comes after close isn't lost silently."""
    log = _logger(clock, ScriptedSink())
    log.close()
    _write(log, "late")
    assert _texts(events) == ["A request ended after the request log was closed: no line"]


def test_reopen_writes_to_the_old_sink_first(clock: Clock) -> None:
    """Lines from before the rotation stay with the old file."""
    old, new = ScriptedSink(), ScriptedSink()
    old.successor = new
    log = _logger(clock, old)
    _write(log, "one")
    log.reopen()
    _write(log, "two")
    clock.advance(requestlog.FLUSH_DELAY)
    assert (bytes(old.received), old.is_closed) == (b"one\n", True)
    assert (bytes(new.received), new.is_closed) == (b"two\n", False)


def test_a_line_cut_by_a_full_disk_is_whole_in_the_new_file(clock: Clock) -> None:
    """What the old file couldn't take begins the new one, from the beginning of a line."""
    old, new = ScriptedSink(6, _full(), _full()), ScriptedSink()
    old.successor = new
    log = _logger(clock, old)
    _write(log, "one", "two")
    clock.advance(requestlog.FLUSH_DELAY)
    log.reopen()
    assert bytes(old.received) == b"one\ntw"
    assert bytes(new.received) == b"two\n"


def test_a_failed_reopen_keeps_the_old_sink(clock: Clock, events: Sequence[LogEvent]) -> None:
    """When the new file can't be opened the log goes on in the old one."""
    sink = ScriptedSink()
    sink.successor = PermissionError(errno.EACCES, "Permission denied")
    log = _logger(clock, sink)
    _write(log, "one")
    log.reopen()
    _write(log, "two")
    log.close()
    assert bytes(sink.received) == b"one\ntwo\n"
    assert _texts(events) == [
        "The request log scripted can't go on in a new file (Permission denied);"
        " the old one goes on"
    ]


@given(st.lists(st.sampled_from([0, 1, 2, 5, 9, 100, "error", "reopen", "write", "tick"])))
def test_no_line_is_lost_or_cut(steps: list[int | str]) -> None:
    """Through partial writes, errors and rotations every line is whole in one file, once."""
    clock = Clock()
    sinks = [ScriptedSink()]
    log = _logger(clock, sinks[0])
    written = []
    for number, step in enumerate(steps):
        if step == "reopen":
            sinks.append(ScriptedSink())
            sinks[-2].successor = sinks[-1]
            log.reopen()
        elif step == "write":
            written.append(f"line {number}")
            _write(log, written[-1])
        elif step == "tick":
            clock.advance(1)
        else:
            sinks[-1].script.append(step if isinstance(step, int) else _full())
    sinks[-1].script.clear()
    log.close()
    whole = [line for sink in sinks for line in bytes(sink.received).decode().split("\n")[:-1]]
    assert whole == written


# Real descriptors.


def test_file_is_appended_to_with_mode_0640(clock: Clock, tmp_path: Path) -> None:
    """A new file is for its group to read; one that exists keeps its lines."""
    path = tmp_path / "requests.log"
    before = os.umask(0)
    try:
        log = open_log(str(path), "{reason}", clock)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    _write(log, "one")
    log.close()
    log = open_log(str(path), "{reason}", clock)
    _write(log, "two é")
    log.close()
    assert path.read_text() == "one\ntwo\\x20\\xc3\\xa9\n"


def test_rotation_by_rename(clock: Clock, tmp_path: Path) -> None:
    """After a rename and reopen, lines go to a new file of the old name."""
    path = tmp_path / "requests.log"
    log = open_log(str(path), "{reason}", clock)
    _write(log, "one")
    path.rename(tmp_path / "requests.log.1")
    _write(log, "two")
    log.reopen()
    _write(log, "three")
    log.close()
    assert (tmp_path / "requests.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_workers_share_a_file(clock: Clock, tmp_path: Path) -> None:
    """Two logs on one file don't write over each other."""
    path = str(tmp_path / "requests.log")
    logs = [open_log(path, "{reason}", clock) for _ in range(2)]
    for number in range(100):
        _write(logs[number % 2], f"{number}")
        logs[number % 2].flush()
    for log in logs:
        log.close()
    assert Path(path).read_text().split() == [str(number) for number in range(100)]


def test_a_device_without_space(clock: Clock, events: Sequence[LogEvent]) -> None:
    """A real ENOSPC is survived and told."""
    log = open_log("/dev/full", "{reason}", clock)
    _write(log, "one")
    clock.advance(requestlog.FLUSH_DELAY)
    log.close()
    assert _texts(events) == [
        "The request log /dev/full can't be written (No space left on device);"
        " lines wait in memory",
        "1 lines of the request log /dev/full were lost",
    ]


def test_a_full_pipe_does_not_block(clock: Clock) -> None:
    """A reader that sleeps keeps nobody waiting, and gets every line when it wakes."""
    reader, writer = os.pipe()
    log = _logger(clock, DescriptorSink("pipe", writer))
    _write(log, *[f"{number:0999d}" for number in range(300)])
    assert os.get_blocking(writer)
    received = bytearray()
    while select.select([reader], [], [], 0)[0]:
        received += os.read(reader, 1 << 20)
        clock.advance(requestlog.FLUSH_DELAY)
    assert received.decode().split() == [f"{number:0999d}" for number in range(300)]
    log.close()
    os.close(reader)


def test_close_waits_for_a_slow_reader(clock: Clock) -> None:
    """At the end a pipe is given the time its reader needs."""
    reader, writer = os.pipe()
    log = _logger(clock, DescriptorSink("pipe", writer))
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 1 << 16):
            received.extend(chunk)

    _write(log, *["x" * 999] * 1000)
    thread = threading.Thread(target=read)
    thread.start()
    log.close()
    thread.join()
    os.close(reader)
    assert len(received) == 1_000_000


def test_a_reader_that_left(clock: Clock, events: Sequence[LogEvent]) -> None:
    """A broken pipe is an error like others, not the end of the process."""
    reader, writer = os.pipe()
    os.close(reader)
    log = _logger(clock, DescriptorSink("pipe", writer))
    _write(log, "one")
    clock.advance(requestlog.FLUSH_DELAY)
    assert _texts(events) == [
        "The request log pipe can't be written (Broken pipe); lines wait in memory"
    ]
    log.close()


def test_a_non_blocking_descriptor_is_tried_again(clock: Clock) -> None:
    """EAGAIN, from a descriptor somebody else made non-blocking, is only a delay."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    log = _logger(clock, DescriptorSink("pipe", writer))
    _write(log, *["x" * 999] * 100)
    log.flush()
    assert len(os.read(reader, 1 << 20)) == 65536
    log.flush()
    assert len(os.read(reader, 1 << 20)) == 100_000 - 65536
    log.close()
    os.close(reader)


def test_standard_output(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """`-` is a duplicate of descriptor 1: closing the log leaves standard output open."""
    log = open_log("-", "{status} {reason}", clock)
    _write(log, "one")
    assert repr(log) == "<RequestLogger standard output, 1 lines waiting, 0 lost>"
    log.reopen()
    log.close()
    os.write(1, b"still open\n")
    assert capfd.readouterr().out == "- one\nstill open\n"


def test_syslog_gets_one_message_a_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """`syslog:` speaks as a daemon, a message a line."""
    messages: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: messages.append((priority, line)))
    log = open_log("syslog:", "{reason} é", clock)
    _write(log, "one", "two")
    log.reopen()
    log.close()
    priority = syslog.LOG_DAEMON | syslog.LOG_INFO
    assert messages == [(priority, "one é"), (priority, "two é")]


# --- Request ids ---


def _identified(log: RequestLogger) -> str:
    record = Record()
    log.identify(record)
    return record.request_id


@pytest.mark.parametrize(("requests", "text"), [("", "json"), ("-", "common"), ("-", "{status}")])
def test_no_id_that_is_in_no_line(clock: Clock, requests: str, text: str) -> None:
    """Where nobody would find it, a record gets no id."""
    log = open_log(requests, text, clock)
    assert _identified(log) == ""
    log.close()


def test_a_record_has_one_id(clock: Clock, tmp_path: Path) -> None:
    """Who asked before the line is written was told the id that stands in it; all have one."""
    log = open_log(str(tmp_path / "log"), "{request_id}", clock)
    record = Record()
    log.identify(record)
    shown = record.request_id
    log.identify(record)
    log.write(record)
    log.write(Record())
    log.close()
    first, second = (tmp_path / "log").read_text().split()
    assert first == shown == record.request_id
    assert (len(first), first[:-1]) == (10, second[:-1])


def test_each_log_has_ids_of_its_own(clock: Clock, tmp_path: Path) -> None:
    """After a restart, ids go on elsewhere."""
    logs = [open_log(str(tmp_path / "log"), "json", clock) for _ in range(2)]
    assert len({_identified(log)[:6] for log in logs}) == 2
    for log in logs:
        log.close()


def test_empty_is_off(clock: Clock) -> None:
    """An empty [log] requests turns the log off."""
    assert repr(open_log("", "combined", clock)) == "<RequestLogger off>"


@pytest.mark.parametrize(
    ("requests", "format_text", "message"),
    [
        (
            "/nonexistent/requests.log",
            "combined",
            r"requests: /nonexistent/requests.log .* No such",
        ),
        ("/dev", "combined", r"requests: /dev can't be opened: Is a directory"),
        ("-", "{nonsense}", r"\[log\] format: unknown {nonsense}"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    clock: Clock, requests: str, format_text: str, message: str
) -> None:
    """A mistake in [log] names the option and the reason."""
    with pytest.raises(LogError, match=message):
        open_log(requests, format_text, clock)


def test_a_named_pipe_without_reader_is_an_error(clock: Clock, tmp_path: Path) -> None:
    """Opening doesn't wait for a reader to come."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogError, match="No such device"):
        open_log(str(tmp_path / "pipe"), "combined", clock)


# --- Names of clients ---


class Known:
    """Names that are known, or will be."""

    def __init__(self, **names: str | None) -> None:
        self.names = names
        self.is_stopped = False

    def of(self, address: str) -> str | None:
        return self.names[address]

    def stop(self) -> None:
        self.is_stopped = True


def _named(clock: Clock, sink: Sink, names: Known) -> RequestLogger:
    return RequestLogger(
        lambda record: f"{record.client_name or record.client_host} {record.reason}",
        sink,
        clock,
        client_names=names,
    )


def test_names_in_time(clock: Clock) -> None:
    """A name that comes before the line is handed over is in it; later ones are for later lines."""
    sink, names = ScriptedSink(), Known(a="a.lan", b=None, c=None, d="")
    log = _named(clock, sink, names)
    for host in ("a", "b", "c", "d", ""):
        log.write(Record(client_host=host, reason="1"))
    assert names.names["b"] is None
    names.names["b"] = "b.lan"
    clock.advance(requestlog.FLUSH_DELAY)
    names.names["c"] = "c.lan"
    log.write(Record(client_host="c", reason="2"))
    log.close()
    assert bytes(sink.received) == b"a.lan 1\nb.lan 1\nc 1\nd 1\n 1\nc.lan 2\n"
    assert names.is_stopped


def test_a_late_name_changes_nothing_else(clock: Clock) -> None:
    """A line that waits for a name is still that of its record as it was."""
    sink, names = ScriptedSink(), Known(a=None)
    log = _named(clock, sink, names)
    record = Record(client_host="a", reason="before")
    log.write(record)
    record.reason = "after"
    names.names["a"] = "a.lan"
    log.flush()
    assert bytes(sink.received) == b"a.lan before\n"
    assert record.client_name == ""


# --- The journal ---


def test_the_journal_is_told_that_lines_are_information(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client can't write lines of a priority of its choice; elsewhere there is no prefix."""
    found = os.fstat(1)
    for stream in (f"{found.st_dev}:{found.st_ino}", "1:1"):
        log = open_log("-", "{reason}", clock, stream)
        _write(log, "<0>help!")
        log.close()
    assert capfd.readouterr().out == "<6><0>help!\n<0>help!\n"


def test_a_next_file_that_cannot_be_had(clock: Clock, events: Sequence[LogEvent]) -> None:
    """Where the log can't be rotated it goes on, and the admin is told once."""
    sink = ScriptedSink()
    sink.follower = PermissionError(errno.EACCES, "Permission denied")
    log = _logger(clock, sink)
    for word in ("one", "two"):
        _write(log, word)
        clock.advance(requestlog.FLUSH_DELAY)
    log.close()
    assert bytes(sink.received) == b"one\ntwo\n"
    assert len(events) == 1
