"""Writes the request log: one line an exchange, gathered and appended without making anyone wait.

Lines are gathered for a quarter of a second or 64 KiB, and written by one call to a descriptor
opened with O_APPEND; so workers share a file without cutting each other's lines. What can't be
written waits in memory up to a bound; beyond it lines are dropped, and the event log says how many.
"""

from __future__ import annotations

import os
import secrets
import select
import stat
import syslog
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.rules.logformat import FormatLine, Identified, compile_format, identified
from proxyapp.rules.record import Record, RequestIds

# A reader of the log sees a line soon; a call per line would cost ten times as much.
FLUSH_DELAY = 0.25
BATCH = 64 * 1024
# After an error, such as a full disk, there is no hurry.
RETRY_DELAY = 1.0
# Half a minute at a thousand requests a second; more would only delay the loss.
MAX_WAITING = 4 * 1024 * 1024
# How long `close` waits for a reader that takes nothing, and for one that takes little at a time.
_CLOSE_STEP = 100
_CLOSE_STEPS = 10
_CLOSE_DEADLINE = 5.0

_STANDARD_OUTPUT = 1


class LogError(Exception):
    """The request log can't be opened; the message is for the admin."""


class Sink(Protocol):
    """Where lines go."""

    name: str

    def send(self, octets: memoryview, patience: int) -> int:
        """Take as much as goes at once and return how much; wait *patience* ms for the first.

        Raises OSError.
        """

    def reopened(self) -> Sink:
        """Open what now has the name, or return itself where that means nothing. Raises OSError."""

    def close(self) -> None:
        """Take no more."""


class DescriptorSink:
    """A file by its *name*, or a descriptor that was given to us and is only called *name*."""

    def __init__(self, name: str, descriptor: int, is_file: bool) -> None:
        """Own *descriptor* from now on; *is_file* says that *name* is a path to open again."""
        self.name = name
        self._descriptor = descriptor
        self._is_file = is_file
        self._never_blocks = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._poll = select.poll()
        if not self._never_blocks:
            self._poll.register(descriptor, select.POLLOUT)

    def send(self, octets: memoryview, patience: int) -> int:
        """See Sink."""
        if self._never_blocks:
            return os.write(self._descriptor, octets)
        sent = 0
        try:
            # Standard output is shared with our parent, so it can't be made non-blocking. What poll
            # calls writable takes PIPE_BUF bytes without blocking (pipe(7)), and maybe no more.
            while sent < len(octets) and self._poll.poll(0 if sent else patience):
                sent += os.write(self._descriptor, octets[sent : sent + select.PIPE_BUF])
        except BlockingIOError:
            return sent
        except OSError:
            if not sent:
                raise
        return sent

    def reopened(self) -> Sink:
        """See Sink."""
        return open_file(self.name) if self._is_file else self

    def close(self) -> None:
        """See Sink."""
        os.close(self._descriptor)


class SyslogSink:
    """The host's syslog, facility daemon."""

    name = "syslog:"

    def send(self, octets: memoryview, patience: int) -> int:
        """See Sink; the C library keeps the connection and gives no account of it."""
        for line in bytes(octets).splitlines():
            syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_INFO, line.decode("utf-8"))
        return len(octets)

    def reopened(self) -> Sink:
        """See Sink."""
        return self

    def close(self) -> None:
        """See Sink."""


class RequestLogger:
    """Gathers the lines of all services for one sink."""

    _events = Logger()

    def __init__(
        self,
        format_line: FormatLine,
        sink: Sink | None,
        clock: IReactorTime,
        ids: RequestIds | None = None,
        names_all: bool = False,
    ) -> None:
        """Write to *sink*; None turns the log off.

        *ids* are for a format that shows them; *names_all* gives one to every record.
        """
        self._format_line = format_line
        self._sink = sink
        self._ids = None if sink is None else ids
        self._names_all = names_all
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._lines: list[str] = []
        self._gathered = 0
        # Begins at the beginning of a line, of which *_written* bytes are already in the sink.
        self._waiting = b""
        self._written = 0
        self._lost = 0
        self._is_failing = False
        self._is_closed = False

    def __repr__(self) -> str:
        if self._sink is None:
            return f"<RequestLogger {'closed' if self._is_closed else 'off'}>"
        waiting = len(self._lines) + self._waiting.count(b"\n")
        return f"<RequestLogger {self._sink.name}, {waiting} lines waiting, {self._lost} lost>"

    def identify(self, record: Record) -> None:
        """Give *record* the id that its line will show; none where that shows no id."""
        if self._ids is not None and not record.request_id:
            record.request_id = self._ids.next()

    def write(self, record: Record) -> None:
        """Log *record*, as it is now, within FLUSH_DELAY seconds."""
        if self._sink is None:
            if self._is_closed:
                self._events.warn("A request ended after the request log was closed: no line")
            return
        if self._names_all:
            self.identify(record)
        line = self._format_line(record)
        self._lines.append(line)
        self._gathered += len(line) + 1
        if self._timer is None:
            self._timer = self._clock.callLater(FLUSH_DELAY, self._on_time)
        if self._gathered >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand to the sink what it takes now."""
        self._gather()
        if self._sink is not None and self._waiting:
            self._send(self._sink, 0)

    def reopen(self) -> None:
        """Go on in a new file of the same name, after a rotation; no line is lost or cut."""
        if self._sink is None:
            return
        try:
            fresh = self._sink.reopened()
        except OSError as error:
            self._events.error(
                "The request log {name} can't be opened again ({reason}); the old one goes on",
                name=self._sink.name,
                reason=error.strerror,
            )
            return
        if fresh is self._sink:
            return
        self.flush()
        self._close_sink(self._sink)
        self._sink = fresh
        self._written = 0  # a line that the old file has a part of is written whole to the new one
        self.flush()

    def close(self) -> None:
        """Write what waits, patiently but not for ever, and close the sink."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sink, self._is_closed = self._sink, True
        if sink is None:
            return
        self._gather()
        self._drain(sink)
        self._sink = None
        self._close_sink(sink)
        self._lost += self._waiting.count(b"\n")
        self._waiting = b""
        self._report_lost(sink.name)

    def _on_time(self) -> None:
        self._timer = None
        self.flush()
        if self._waiting:
            delay = RETRY_DELAY if self._is_failing else FLUSH_DELAY
            self._timer = self._clock.callLater(delay, self._on_time)

    def _gather(self) -> None:
        """Move the lines to what waits, or drop them if that's too much."""
        if not self._lines:
            return
        if len(self._waiting) + self._gathered > MAX_WAITING and self._waiting:
            self._drop()
        else:
            self._lines.append("")
            self._waiting += "\n".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines = []
        self._gathered = 0

    def _drop(self) -> None:
        if not self._lost and self._sink is not None:
            self._events.error(
                "The request log {name} takes nothing: {size} bytes wait, lines are dropped",
                name=self._sink.name,
                size=len(self._waiting),
            )
        self._lost += len(self._lines)

    def _send(self, sink: Sink, patience: int) -> int:
        """Hand over what waits, and keep what's left from the beginning of its line."""
        try:
            taken = sink.send(memoryview(self._waiting)[self._written :], patience)
        except OSError as error:
            self._report_failure(sink.name, error)
            return 0
        position = self._written + taken
        begin = self._waiting.rfind(b"\n", 0, position) + 1
        self._waiting = self._waiting[begin:]
        self._written = position - begin
        if not self._waiting:
            self._is_failing = False
            self._report_lost(sink.name)
        return taken

    def _drain(self, sink: Sink) -> None:
        deadline = self._clock.seconds() + _CLOSE_DEADLINE
        idle_steps = 0
        while self._waiting and idle_steps < _CLOSE_STEPS and self._clock.seconds() < deadline:
            if not self._send(sink, _CLOSE_STEP):
                idle_steps = _CLOSE_STEPS if self._is_failing else idle_steps + 1

    def _close_sink(self, sink: Sink) -> None:
        try:
            sink.close()
        except OSError as error:  # some file systems tell only now that they are full
            self._report_failure(sink.name, error)

    def _report_failure(self, name: str, error: OSError) -> None:
        if not self._is_failing:
            self._events.error(
                "The request log {name} can't be written ({reason}); lines wait in memory",
                name=name,
                reason=error.strerror,
            )
        self._is_failing = True

    def _report_lost(self, name: str) -> None:
        if self._lost:
            self._events.error(
                "{count} lines of the request log {name} were lost", count=self._lost, name=name
            )
        self._lost = 0


def open_log(requests: str, format_text: str, clock: IReactorTime) -> RequestLogger:
    """Open what [log] requests and format ask for; raises LogError."""
    try:
        format_line = compile_format(format_text)
        shown = identified(format_text)
        ids = None if shown is Identified.NONE else RequestIds(secrets.randbits(30))
        names_all = shown is Identified.ALL
        return RequestLogger(format_line, _open_sink(requests), clock, ids, names_all)
    except ValueError as error:
        raise LogError(f"[log] format: {error}") from error
    except OSError as error:
        name = "standard output" if requests == "-" else requests
        raise LogError(f"[log] requests: {name} can't be opened: {error.strerror}") from error


def _open_sink(requests: str) -> Sink | None:
    if not requests:
        return None
    if requests == "-":
        return DescriptorSink("standard output", os.dup(_STANDARD_OUTPUT), is_file=False)
    if requests == "syslog:":
        return SyslogSink()
    return open_file(requests)


def open_file(path: str) -> DescriptorSink:
    """Open the file *path* to append to it, readable by its group; raises OSError."""
    # O_NONBLOCK is for named pipes: without a reader they are an error rather than a wait.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return DescriptorSink(path, os.open(path, flags, 0o640), is_file=True)
