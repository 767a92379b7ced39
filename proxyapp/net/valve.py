"""Where a connection waits for its share: between its buffers and its socket, either way.

Everything that a connection sends or reads comes by here, however it does it: what is written,
sendfile, splice, TLS. A valve asks its gate before each step how much may pass, and tells it how
much did. When that is nothing, the connection stops there until the gate wakes it; what feeds it
sees a slow connection, and pauses as it would for any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

# More than anybody has.
UNLIMITED = sys.maxsize

# Lets a connection go on that was told to wait; False if it is gone, or wants nothing any more.
Wake = Callable[[], bool]


class Gate(Protocol):
    """Decides how much may pass."""

    def allow(self, wake: Wake) -> int:
        """Return how many bytes may pass now; if none, *wake* is called when there may be some.

        The same *wake* given again waits only once.
        """

    def spend(self, amount: int) -> None:
        """Note that *amount* bytes have passed."""


class Gated(Protocol):
    """The transport that a valve belongs to."""

    connected: int
    disconnecting: int

    def startReading(self) -> None:
        """See FileDescriptor."""

    def stopReading(self) -> None:
        """See FileDescriptor."""

    def startWriting(self) -> None:
        """See FileDescriptor."""

    def stopWriting(self) -> None:
        """See FileDescriptor."""


class Valve:
    """Lets *transport* send as *output* allows, and read as *input* does; None lets all pass.

    A valve that *is_ending* isn't needed any more when the transport has sent what it holds.
    """

    __slots__ = ("_transport", "input", "is_ending", "output", "waits_to_read", "waits_to_send")

    def __init__(self, transport: Gated) -> None:
        self._transport = transport
        self.output: Gate | None = None
        self.input: Gate | None = None
        self.is_ending = False
        self.waits_to_send = False
        self.waits_to_read = False

    def __repr__(self) -> str:
        waits = [
            name
            for name, waits in (("send", self.waits_to_send), ("read", self.waits_to_read))
            if waits
        ]
        return f"<Valve waits to {' and '.join(waits)}>" if waits else "<Valve open>"

    @property
    def holds_back(self) -> bool:
        """Does the connection wait for its gate, either way?"""
        return self.waits_to_send or self.waits_to_read

    def open_by(self, gate: Gate) -> None:
        """Ask *gate* from now on, both ways."""
        self.output = self.input = gate
        self.is_ending = False

    def end(self) -> None:
        """Let input pass again; what is left to send still asks."""
        self.input = None
        self.is_ending = True
        self._read_again()

    # What the transport asks before it moves bytes.

    def may_send(self) -> int:
        """Return how many bytes may be sent; if none, writing has stopped until there are some."""
        if self.output is None:
            return UNLIMITED
        allowed = self.output.allow(self._send_again)
        if not allowed:
            self._transport.stopWriting()
            self.waits_to_send = True
        return allowed

    def may_read(self) -> int:
        """Return how many bytes may be read; if none, reading has stopped until there are some."""
        if self.input is None:
            return UNLIMITED
        allowed = self.input.allow(self._read_again)
        if not allowed:
            self._transport.stopReading()
            self.waits_to_read = True
        return allowed

    def sent(self, amount: int) -> None:
        """Note what was sent."""
        if self.output is not None and amount > 0:
            self.output.spend(amount)

    def read(self, amount: int) -> None:
        """Note what was read."""
        if self.input is not None and amount > 0:
            self.input.spend(amount)

    # What the gate wakes.

    def _send_again(self) -> bool:
        is_waiting, self.waits_to_send = self.waits_to_send, False
        if not is_waiting or not self._transport.connected:
            return False
        self._transport.startWriting()
        return True

    def _read_again(self) -> bool:
        is_waiting, self.waits_to_read = self.waits_to_read, False
        if not is_waiting or not self._transport.connected or self._transport.disconnecting:
            return False
        self._transport.startReading()
        return True
