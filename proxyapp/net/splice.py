"""Bytes from one socket to another without reading them, by splice(2).

Whoever asks gets None under TLS, with another reactor, or when descriptors are short, and copies.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet import main

from proxyapp.net import pipes
from proxyapp.net.transport import ImmediateTransport, Transport
from proxyapp.net.valve import UNLIMITED

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Splice:
    """Moves bytes from one socket to another through a pipe, without reading them.

    *on_drained* is called when everything that was taken from the source has been given to the
    target and no more is to come: *count* bytes moved, or the source's input ended. A connection
    that breaks reports that to its protocol, as ever; whoever owns the splice then stops it.
    """

    def __init__(
        self,
        source: ImmediateTransport,
        target: ImmediateTransport,
        count: int | None,
        pipe: pipes.Pipe,
        on_drained: Callable[[], None],
    ) -> None:
        self._source = source
        self._target = target
        self._remaining = count
        self._pipe: pipes.Pipe | None = pipe
        self._on_drained = on_drained
        self._in_pipe = 0
        self._has_ended = False
        self.moved = 0

    def __repr__(self) -> str:
        return f"<Splice {self.moved} moved, {self._in_pipe} in the pipe>"

    @property
    def is_blocked(self) -> bool:
        """Does the target take less than the source has brought?"""
        return self._in_pipe > 0

    def start(self) -> None:
        """Take over the source's input."""
        self._source.input_splice = self
        self._source.startReading()

    def fill(self) -> Exception | None:
        """The source has bytes: take them into the pipe, and pass them on."""
        if self._pipe is None:
            return None
        if self._in_pipe:
            self._source.stopReading()  # drain starts it again
            return None
        step = self._step(self._pipe.size)
        if not step:
            return None
        try:
            taken = os.splice(self._source.fileno(), self._pipe.write_end, step, flags=_FLAGS)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not taken:
            return self._input_ended()
        self._taken(taken)
        return None

    def _taken(self, taken: int) -> None:
        self._in_pipe = taken
        if self._source.valve is not None:
            self._source.valve.read(taken)
        if self._remaining is not None:
            self._remaining -= taken
        self._pass_on()

    def _step(self, size: int) -> int:
        """Return how much may go into the pipe; 0 while a side waits for its share."""
        step = size if self._remaining is None else min(size, self._remaining)
        if self._source.valve is None and self._target.valve is None:
            return step
        return min(step, self._let_through())

    def _let_through(self) -> int:
        """Return how much the valves on both sides let through, before it is in the pipe."""
        source, target = self._source, self._target
        allowed = UNLIMITED if source.valve is None else source.valve.may_read()
        if not allowed or target.valve is None:
            return allowed
        allowed = min(allowed, target.valve.may_send())
        if not allowed:
            source.stopReading()
            target.job = self  # when the valve opens, drain starts reading again
        return allowed

    def _input_ended(self) -> Exception | None:
        if self._source.is_broken:
            return main.CONNECTION_LOST
        self._has_ended = True
        self._finish()
        # Whoever was told may have closed the source; that can't be done twice.
        is_closing = self._source.disconnecting or not self._source.connected
        return None if is_closing else main.CONNECTION_DONE

    def drain(self) -> Exception | None:
        """See Job: the target takes bytes again."""
        if not self._give():
            return main.CONNECTION_LOST
        if not self._in_pipe:
            self._target.end_job()
            if not self._finished() and self._source.connected:
                self._source.startReading()
        return None

    def lost(self) -> None:
        """See Job; the owner hears of it from the target's protocol."""

    def _pass_on(self) -> None:
        target = self._target
        if not target.unsent and self._give() and not self._in_pipe:
            self._finished()
            return
        self._source.stopReading()
        if target.connected:
            # Even if it is broken: what it sent before that is read first, then drain reports it.
            target.job = self
            target.startWriting()

    def _give(self) -> bool:
        """Empty the pipe into the target as far as it takes it; False if the target is broken."""
        pipe = self._pipe
        try:
            while self._in_pipe and pipe is not None:
                given = os.splice(pipe.read_end, self._target.fileno(), self._in_pipe, flags=_FLAGS)
                self._in_pipe -= given
                self.moved += given
                if self._target.valve is not None:
                    self._target.valve.sent(given)
        except BlockingIOError:
            self._target.startWriting()
        except OSError:
            self._target.is_broken = True
            return False
        return True

    def _finished(self) -> bool:
        if not self._has_ended and self._remaining != 0:
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        self.stop()
        self._on_drained()

    def stop(self) -> None:
        """Move no more: the source's input goes to its protocol again."""
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return
        pipes.release(pipe, is_empty=not self._in_pipe)
        if self._source.input_splice is self:
            self._source.input_splice = None
        if self._target.job is self:
            self._target.end_job()


def splice(
    source: Transport,
    target: Transport,
    count: int | None,
    on_drained: Callable[[], None],
) -> Splice | None:
    """Move *count* bytes, or all until the input ends, from *source* to *target*.

    None where that can't be done in the kernel; then nothing has happened.
    """
    if count == 0:
        return None
    for transport in (source, target):
        if not isinstance(transport, ImmediateTransport) or transport.TLS:
            return None
        if not transport.connected:
            return None
    pipe = pipes.take()
    if pipe is None:
        return None
    assert isinstance(source, ImmediateTransport)
    assert isinstance(target, ImmediateTransport)
    job = Splice(source, target, count, pipe, on_drained)
    job.start()
    return job
