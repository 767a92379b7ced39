"""Writes the request log: one line an exchange, gathered and appended without making anyone wait.

Lines are gathered for a quarter of a second or 64 KiB, and written by one call to a descriptor
opened with O_APPEND; so workers share a file without cutting each other's lines. What can't be
written waits in memory up to a bound; beyond it lines are dropped, and the event log says how many.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.logs.logfile import Rotating, open_file
from proxyapp.logs.outlet import Outlet
from proxyapp.logs.sinks import DescriptorSink, LogError, Sink, SyslogSink, is_journal
from proxyapp.rules.logformat import FormatLine, Identified, compile_format, identified
from proxyapp.rules.priorities import Level, prefixed
from proxyapp.rules.record import Record, RequestIds

# A reader of the log sees a line soon; a call per line would cost ten times as much.
FLUSH_DELAY = 0.25
BATCH = 64 * 1024
# After an error, such as a full disk, there is no hurry.
RETRY_DELAY = 1.0

_STANDARD_OUTPUT = 1

_events = Logger()


class Names(Protocol):
    """The names of clients; logs.clientnames.ClientNames is it."""

    def of(self, address: str) -> str | None:
        """Return the name, nothing if there's none, or None where it isn't known yet."""

    def stop(self) -> None:
        """Ask for no more."""


class RequestLogger:
    """Gathers the lines of all services for one sink."""

    def __init__(
        self,
        format_line: FormatLine,
        sink: Sink | None,
        clock: IReactorTime,
        ids: RequestIds | None = None,
        names_all: bool = False,
        client_names: Names | None = None,
    ) -> None:
        """Write to *sink*; None turns the log off.

        *ids* are for a format that shows them; *names_all* gives one to every record.
        *client_names* are shown by the formats that have a place for them.
        """
        self._format_line = format_line
        self._outlet = None if sink is None else Outlet(sink, "request log", _say)
        self._ids = None if sink is None else ids
        self._names_all = names_all
        self._client_names = client_names
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._lines: list[str] = []
        self._gathered = 0
        # Lines whose clients may yet get their names: where they are, and what they're made of.
        self._unnamed: list[tuple[int, Record]] = []
        self._is_closed = False

    def __repr__(self) -> str:
        outlet = self._outlet
        if outlet is None:
            return f"<RequestLogger {'closed' if self._is_closed else 'off'}>"
        waiting = len(self._lines) + outlet.waiting
        return f"<RequestLogger {outlet.name}, {waiting} lines waiting, {outlet.lost} lost>"

    def identify(self, record: Record) -> None:
        """Give *record* the id that its line will show; none where that shows no id."""
        if self._ids is not None and not record.request_id:
            record.request_id = self._ids.next()

    def write(self, record: Record) -> None:
        """Log *record*, as it is now, within FLUSH_DELAY seconds."""
        if self._outlet is None:
            if self._is_closed:
                _events.warn("A request ended after the request log was closed: no line")
            return
        if self._names_all:
            self.identify(record)
        if self._client_names is not None:
            self._name(self._client_names, record)
        line = self._format_line(record)
        self._lines.append(line)
        self._gathered += len(line) + 1
        if self._timer is None:
            self._timer = self._clock.callLater(FLUSH_DELAY, self._on_time)
        if self._gathered >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand to the sink what it takes now."""
        if self._outlet is not None:
            self._gather(self._outlet)
            self._outlet.push()

    def reopen(self) -> None:
        """Go on in a new file of the same name, after a rotation; no line is lost or cut."""
        if self._outlet is not None:
            self._gather(self._outlet)
            self._outlet.reopen()

    def close(self) -> None:
        """Write what waits, patiently but not for ever, and close the sink."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outlet, self._is_closed = self._outlet, True
        if outlet is None:
            return
        self._gather(outlet)
        self._outlet = None
        outlet.close(self._clock.seconds)
        if self._client_names is not None:
            self._client_names.stop()

    def _on_time(self) -> None:
        self._timer = None
        self.flush()
        if self._outlet is not None and self._outlet.has_waiting:
            delay = RETRY_DELAY if self._outlet.is_failing else FLUSH_DELAY
            self._timer = self._clock.callLater(delay, self._on_time)

    def _name(self, names: Names, record: Record) -> None:
        """Give *record* its client's name, or remember to do so when the line is handed over."""
        name = names.of(record.client_host) if record.client_host else ""
        if name is None:
            self._unnamed.append((len(self._lines), replace(record)))
        else:
            record.client_name = name

    def _name_late(self, names: Names) -> None:
        for index, record in self._unnamed:
            if name := names.of(record.client_host):
                record.client_name = name
                self._lines[index] = self._format_line(record)
        self._unnamed = []

    def _gather(self, outlet: Outlet) -> None:
        """Move the lines to what waits."""
        if not self._lines:
            return
        if self._unnamed and self._client_names is not None:
            self._name_late(self._client_names)
        count = len(self._lines)
        self._lines.append("")
        outlet.put("\n".join(self._lines).encode("utf-8", "backslashreplace"), count)
        self._lines = []
        self._gathered = 0


def _say(text: str) -> None:
    _events.error("{text}", text=text)


def open_log(
    requests: str,
    format_text: str,
    clock: IReactorTime,
    rotating: Rotating,
    client_names: Names | None = None,
    journal_stream: str = "",
) -> RequestLogger:
    """Open what [log] requests and format ask for; raises LogError.

    *journal_stream* is $JOURNAL_STREAM.
    """
    try:
        format_line = compile_format(format_text)
        shown = identified(format_text)
        ids = None if shown is Identified.NONE else RequestIds(secrets.randbits(30))
        if requests == "-" and is_journal(_STANDARD_OUTPUT, journal_stream):
            format_line = _for_journal(format_line)
        sink = _open_sink(requests, rotating)
        names_all = shown is Identified.ALL
        return RequestLogger(format_line, sink, clock, ids, names_all, client_names)
    except ValueError as error:
        raise LogError(f"[log] format: {error}") from error
    except OSError as error:
        name = "standard output" if requests == "-" else requests
        raise LogError(f"[log] requests: {name} can't be opened: {error.strerror}") from error


def _for_journal(format_line: FormatLine) -> FormatLine:
    # Without it, a line that a client had begin with <0> would be an emergency.
    return lambda record: prefixed(format_line(record), Level.INFO)


def _open_sink(requests: str, rotating: Rotating) -> Sink | None:
    if not requests:
        return None
    if requests == "-":
        return DescriptorSink("standard output", os.dup(_STANDARD_OUTPUT))
    if requests == "syslog:":
        return SyslogSink()
    return open_file(requests, rotating)
