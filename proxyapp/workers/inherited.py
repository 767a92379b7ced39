"""What a worker gets from the master before anything else: its end of the channel, and its part.

All of this happens before the reactor runs, and blocks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress

from proxyapp.workers.messages import BadMessage, Message, from_line, to_line

# Names the descriptor of the channel.
VARIABLE = "PROXYAPP_WORKER"
# Where the master puts it.
CHANNEL = 3
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
        except (OSError, BadMessage) as error:
            raise NoMaster("there is no proxyapp that this process is a worker of") from error

    def __repr__(self) -> str:
        return f"<Inherited by worker {self.number + 1}>"

    def _read(self) -> Message:
        # It says no more before it is answered.
        line = b""
        while not line.endswith(b"\n"):
            read = self.channel.recv(_READ)
            if not read:
                raise BadMessage("it ended")
            line += read
        return from_line(line)

    def give_up(self, mistakes: Sequence[str]) -> None:
        """Say why this configuration can't be served."""
        with suppress(OSError):  # or nobody wants to know any more
            self.channel.sendall(to_line("mistaken", {"mistakes": list(mistakes)}))


def inherited(environ: MutableMapping[str, str]) -> Inherited | None:
    """Return what the master that started us has for us; None where nobody did.

    Raises NoMaster. What we start ourselves shall not take itself for a worker.
    """
    descriptor = environ.pop(VARIABLE, "")
    return Inherited(int(descriptor)) if descriptor.isdecimal() else None
