"""Where lines go: descriptors that may be slow to take them, and syslog."""

from __future__ import annotations

import os
import select
import stat
import syslog
from collections.abc import Callable
from typing import Protocol


class LogError(Exception):
    """A log can't be opened; the message is for the admin."""


class Sink(Protocol):
    """Where lines go."""

    name: str

    def send(self, octets: memoryview, patience: int) -> int:
        """Take as much as goes at once and return how much; wait *patience* ms for the first.

        Raises OSError.
        """

    def current(self) -> Sink:
        """Return what lines are for by now: itself, or what has followed it. Raises OSError."""

    def reopened(self) -> Sink:
        """Open what now has the name, or return itself where that means nothing. Raises OSError."""

    def close(self) -> None:
        """Take no more."""


class DescriptorSink:
    """A descriptor called *name*, such as standard output; nothing to rotate."""

    def __init__(self, name: str, descriptor: int, again: Callable[[], Sink] | None = None) -> None:
        """Own *descriptor* from now on; *again* opens what has its name, if it's only a name."""
        self.name = name
        self._descriptor = descriptor
        self._again = again
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

    def current(self) -> Sink:
        """See Sink."""
        return self

    def reopened(self) -> Sink:
        """See Sink."""
        return self if self._again is None else self._again()

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

    def current(self) -> Sink:
        """See Sink."""
        return self

    def reopened(self) -> Sink:
        """See Sink."""
        return self

    def close(self) -> None:
        """See Sink."""


def is_journal(descriptor: int, journal_stream: str) -> bool:
    """Does systemd's journal read *descriptor*?

    *journal_stream* is $JOURNAL_STREAM, device and inode of what the journal gave us
    (systemd.exec(5)); a redirection makes it stale.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"
