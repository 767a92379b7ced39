"""What a worker gets from the master before anything else: its end of the channel, and its part.

All of this happens before the reactor runs, and blocks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress

from proxyapp.net.shared import SharedMemory
from proxyapp.workers.messages import BadMessage, Message, from_line, to_line

# Names the descriptor of the channel.
VARIABLE = "PROXYAPP_WORKER"
# Where the master puts it, and the memory that all share.
CHANNEL, MEMORY = 3, 4
_READ = 1 << 16
# The master speaks at once; one that doesn't is not the one who started us (seconds).
_PATIENCE = 60.0


class NoMaster(Exception):
    """Whoever started us is gone, or no master of ours."""


class Inherited:
    """What came over the channel with this *descriptor*, which is its own from now on.

    *ini* is the text of the configuration, None where there is no file.
    """

    def __init__(self, descriptor: int) -> None:
        """Wait for the master's first word; raises NoMaster."""
        self.channel = socket.socket(fileno=descriptor)
        self.channel.settimeout(_PATIENCE)
        os.set_inheritable(descriptor, False)
        try:
            hello = self._read()
            ini = hello.fields.get("ini")
            self.ini = None if ini is None else hello.text("ini").encode("latin-1")
            self.number = hello.count("number")
            self.row = hello.count("row")
            self.secret = bytes.fromhex(hello.text("secret"))
            self.memory = SharedMemory(MEMORY)
        except (OSError, ValueError, BadMessage) as error:
            raise NoMaster("there is no proxyapp that this process is a worker of") from error

    def __repr__(self) -> str:
        return f"<Inherited by worker {self.number + 1}>"

    def _read(self) -> Message:
        line = b""
        while not line.endswith(b"\n"):
            # Not a byte more than the line: what follows is for who speaks when the reactor runs.
            there = self.channel.recv(_READ, socket.MSG_PEEK)
            if not there:
                raise BadMessage("it ended")
            line += self.channel.recv(there.find(b"\n") + 1 or len(there))
        return from_line(line)

    def give_up(self, mistakes: Sequence[str]) -> None:
        """Say why this configuration can't be served."""
        with suppress(OSError):  # or nobody wants to know any more
            self.channel.sendall(to_line("mistaken", {"mistakes": list(mistakes)}))


def inherited(environ: MutableMapping[str, str]) -> Inherited:
    """Return what the master that started us has for us; raises NoMaster.

    What we start ourselves shall not take itself for a worker.
    """
    descriptor = environ.pop(VARIABLE, "")
    if not descriptor.isdecimal():
        raise NoMaster(f"{VARIABLE} is for proxyapp itself to set")
    return Inherited(int(descriptor))
