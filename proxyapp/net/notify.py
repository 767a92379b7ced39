"""Tells systemd how we are (sd_notify(3)): one datagram each, and nobody waits for an answer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

# What only the process that systemd has started may use, and what it started may not inherit.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDNAMES")
_MICROSECOND = 1e-6


class Notifier:
    """Speaks to whoever listens at *address*; to nobody if it is empty.

    *watchdog* is after how many seconds of silence systemd takes us for dead, 0 for never.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog
        self._address = address
        self._status = ""

    def __repr__(self) -> str:
        return f"<Notifier {self._address or 'of nobody'}>"

    def ready(self) -> None:
        """We serve, or serve again after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        # systemd tells by the time which reload it is that is over.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """We stop."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The main loop goes round."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line, for an admin, what is going on; the same again is said once."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message.encode("utf-8"), address)
        except OSError:
            pass  # whoever wanted to know isn't there any more, or is too slow for us to wait


def notifier(environ: Mapping[str, str]) -> Notifier:
    """Return what tells those that *environ* names, if it names anybody."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return Notifier()
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(os.getpid()))
    watches = microseconds.isdecimal() and meant == str(os.getpid())
    return Notifier(address, int(microseconds) * _MICROSECOND if watches else 0.0)
