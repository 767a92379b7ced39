"""The event log: starts, errors and what the admin ought to know, apart from the requests.

It takes the place of twistd's own log. On standard output its lines are those of twistd; where the
journal reads it, they begin with their priority and leave the time to the journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, LogEvent, eventAsText, formatEventAsClassicLogText
from twisted.python.components import Componentized
from zope.interface import implementer

from proxyapp.logs.logfile import Rotating, open_file
from proxyapp.logs.outlet import Outlet
from proxyapp.logs.sinks import DescriptorSink, LogError, Sink, is_journal
from proxyapp.rules.events import Events
from proxyapp.rules.priorities import Level, prefixed, priority

# Events are few; a thousand that nobody reads are no news.
_MAX_WAITING = 256 * 1024
# How long (ms) an event waits for its reader, as long as the one before didn't wait in vain.
_PATIENCE = 100

FormatEvent = Callable[[LogEvent, Level], str]


class Output(NamedTuple):
    """Where events go, and how they are written; without a *sink* nowhere."""

    sink: Sink | None
    format_event: FormatEvent


@implementer(ILogObserver)
class EventLog:
    """Writes *events* to what *open_output* opens for them; raises what that raises.

    Events may come from any thread.
    """

    def __init__(self, events: Events, open_output: Callable[[Events], Output]) -> None:
        self._open_output = open_output
        self._lock = threading.RLock()
        self._take(events, open_output(events))

    def __repr__(self) -> str:
        return f"<EventLog {'off' if self._outlet is None else self._outlet}>"

    def _take(self, events: Events, output: Output) -> None:
        sink = output.sink
        self._events = events
        self._outlet = None if sink is None else Outlet(sink, "event log", _say, _MAX_WAITING)
        self._least = priority(events.level)
        self._format_event = output.format_event

    def check(self, events: Events) -> None:
        """Raise LogError where *events* couldn't go where they are to go."""
        if events != self._events:
            sink = self._open_output(events).sink
            if sink is not None:
                sink.close()

    def change(self, events: Events) -> None:
        """Go on as *events* say; raises LogError, and then nothing has changed."""
        if events == self._events:
            return
        output = self._open_output(events)
        with self._lock:
            former = self._outlet
            self._take(events, output)
            if former is not None:
                former.close(time.monotonic)

    def reopen(self) -> None:
        """Go on in what has the file's name now, after a rotation."""
        with self._lock:
            if self._outlet is not None:
                self._outlet.reopen()

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        level = _level_of(event)
        if self._outlet is None or priority(level) > self._least:
            return
        text = self._format_event(event, level)
        if not text:
            return
        with self._lock:
            if self._outlet is None:
                return  # another thread has turned it off
            patience = 0 if self._outlet.has_waiting else _PATIENCE
            self._outlet.put(text.encode("utf-8", "backslashreplace"), 1)
            self._outlet.push(patience)


def _say(text: str) -> None:
    """What is wrong with the event log can't be told there."""


def _level_of(event: LogEvent) -> Level:
    level = event.get("log_level")
    return Level.INFO if level is None else Level(level.name)


def _as_twistd(event: LogEvent, _: Level) -> str:
    return formatEventAsClassicLogText(event) or ""


def _for_journal(event: LogEvent, level: Level) -> str:
    text = eventAsText(event, includeTimestamp=False).rstrip("\n")
    return prefixed(text, level) + "\n" if text else ""


def open_output(
    events: Events, standard_output: int, journal_stream: str, rotating: Rotating
) -> Output:
    """Open what *events* ask for; *journal_stream* is $JOURNAL_STREAM. Raises LogError."""
    target = events.target
    try:
        if not target:
            return Output(None, _as_twistd)
        if target != "-":
            return Output(open_file(target, rotating), _as_twistd)
        sink = DescriptorSink("standard output", os.dup(standard_output))
    except OSError as error:
        name = "standard output" if target == "-" else target
        raise LogError(f"[log] events: {name} can't be opened: {error.strerror}") from error
    in_journal = is_journal(standard_output, journal_stream)
    return Output(sink, _for_journal if in_journal else _as_twistd)


class EventLogged(MultiService):
    """A service whose events go to *event_log* from the time when twistd begins to log."""

    def __init__(self, service: IService, event_log: EventLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._event_log = event_log
        service.setServiceParent(self)

    def setServiceParent(self, parent: object) -> None:
        """Give the application, which is the parent of what twistd runs, its log as well."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._event_log)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # as above
