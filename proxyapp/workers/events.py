"""The event log of a worker: the master writes it, among its own."""

from __future__ import annotations

from twisted.logger import (
    ILogObserver,
    InvalidLogLevelError,
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
)
from zope.interface import implementer

from proxyapp.workers.channel import Channel
from proxyapp.workers.messages import BadMessage, Message

# Twisted has a lot to say about ports that open, factories that start, and itself.
_OURS = "proxyapp."
# What is longer belongs into no log.
_LONGEST = 64 * 1024
# Until the channel is open.
_MOST_WAITING = 1000

_log = Logger()


@implementer(ILogObserver)
class EventSender:
    """Takes the events of this process, and sends them once there is a channel."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._waiting: list[tuple[str, str]] = []
        self._is_sending = False

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        level: LogLevel = event.get("log_level") or LogLevel.info
        namespace = str(event.get("log_namespace", ""))
        failure = event.get("log_failure")
        if level < LogLevel.warn and not namespace.startswith(_OURS) and failure is None:
            return
        text = formatEvent(event)
        if failure is not None:
            text += "\n" + str(failure.getTraceback())
        self._send(level.name, text[:_LONGEST])

    def _send(self, level: str, text: str) -> None:
        if self._is_sending:
            return  # a mistake in what sends events
        if self._channel is None:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append((level, text))
            return
        self._is_sending = True
        self._channel.say("event", level=level, text=text)
        self._is_sending = False

    def open(self, channel: Channel) -> None:
        """Send to *channel*, what was said so far first."""
        self._channel = channel
        waiting, self._waiting = self._waiting, []
        for level, text in waiting:
            self._send(level, text)


# The one of this process: twistd makes it by name, and the worker opens it.
_sender = EventSender()


def observer() -> EventSender:
    """Return the one of this process; `twistd --logger` wants a function."""
    return _sender


def log_event(message: Message, who: str) -> None:
    """Log what the worker called *who* has logged; raises BadMessage."""
    try:
        level = LogLevel.levelWithName(message.text("level"))
    except InvalidLogLevelError as error:
        raise BadMessage("there is no such level") from error
    _log.emit(level, "{text}", text=message.text("text"), log_system=who)
