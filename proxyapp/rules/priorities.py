"""How much an event matters, in our words and in those of syslog and the journal."""

from __future__ import annotations

import enum


class Level(enum.Enum):
    """How much an event matters; the words are Twisted's."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


# RFC 5424 section 6.2.1: less is worse.
_PRIORITIES = {
    Level.DEBUG: 7,
    Level.INFO: 6,
    Level.WARN: 4,
    Level.ERROR: 3,
    Level.CRITICAL: 2,
}


def priority(level: Level) -> int:
    """Return the number that syslog has for *level*."""
    return _PRIORITIES[level]


def prefixed(text: str, level: Level) -> str:
    """Tell the journal how much *text* matters, on each of its lines (sd-daemon(3))."""
    prefix = f"<{_PRIORITIES[level]}>"
    return prefix + text.replace("\n", "\n" + prefix)
