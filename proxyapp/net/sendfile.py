"""A piece of a file onto a connection: by sendfile(2), or copied where that can't be.

Nothing keeps others from writing to the file meanwhile, and half of the old bytes with half of the
new ones would pass for the file. So its status is looked at again before the last step is sent,
and if it isn't the same, that step isn't sent: the client finds the connection cut. What remains
are the bytes that the kernel has taken and not sent yet: they are the file's own pages.
"""

from __future__ import annotations

import os
from typing import Protocol

from twisted.internet import main
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from proxyapp.net.transport import ImmediateTransport, Transport

# Bytes that one fast client gets in one turn of the loop.
SENDFILE_STEP = 1 << 20
COPY_STEP = 1 << 16


class File(Protocol):
    """An open file."""

    @property
    def descriptor(self) -> int:
        """Its descriptor."""

    @property
    def status(self) -> os.stat_result | None:
        """Its status when it was opened; None where nobody changes what is sent, but for more."""


class FileChanged(Exception):
    """The file isn't any more what was announced, or can't be read any more."""


class FileShrank(FileChanged):
    """It ended before the bytes that were announced."""


def _is_changed(file: File) -> bool:
    # Not the change time: replaced by a rename, or linked, the file itself stays what it is.
    then = file.status
    if then is None:
        return False
    try:
        now = os.fstat(file.descriptor)
    except OSError:
        return True
    return (now.st_mtime_ns, now.st_size) != (then.st_mtime_ns, then.st_size)


class SendFile:
    """Sends a piece of a file; *done* fires with None, or with FileChanged or ConnectionError."""

    def __init__(self, transport: ImmediateTransport, file: File, offset: int, size: int) -> None:
        self._transport = transport
        self._file = file
        self._offset = offset
        self.remaining = size
        self.done: Deferred[None] = Deferred(lambda _: self.stop())

    def drain(self) -> Exception | None:
        """See Job."""
        transport = self._transport
        step = self._step()
        if not step and self.remaining:
            return None
        if step == self.remaining and _is_changed(self._file):
            self._end(FileChanged())
            return main.CONNECTION_LOST
        try:
            sent = os.sendfile(transport.fileno(), self._file.descriptor, self._offset, step)
        except BlockingIOError:
            transport.startWriting()
            return None
        except OSError as error:
            self._end(ConnectionError(error.errno))
            return main.CONNECTION_LOST
        return self._sent(sent, step)

    def _step(self) -> int:
        """Return how much goes at once; 0 while the transport waits for its share."""
        step, valve = min(self.remaining, SENDFILE_STEP), self._transport.valve
        return step if valve is None or not step else min(step, valve.may_send())

    def _sent(self, amount: int, step: int) -> Exception | None:
        """Count what was sent of *step* bytes; say what follows, as drain does."""
        self._offset += amount
        self.remaining -= amount
        if self._transport.valve is not None:
            self._transport.valve.sent(amount)
        if not amount and step:
            self._end(FileShrank())
            return main.CONNECTION_LOST
        if self.remaining:
            self._transport.startWriting()
        else:
            self._end(None)
        return None

    def lost(self) -> None:
        """See Job."""
        if not self.done.called:
            self.done.errback(ConnectionError())

    def stop(self) -> None:
        """Send no more; the descriptor of the file may be closed from now on."""
        if self._transport.job is self:
            self._transport.end_job()

    def _end(self, error: Exception | None) -> None:
        self.stop()
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)


@implementer(IPullProducer)
class CopyFile:
    """What SendFile does, for a transport that sendfile(2) can't reach: a piece at a time."""

    def __init__(self, transport: Transport, file: File, offset: int, size: int) -> None:
        self._transport = transport
        self._file = file
        self._offset = offset
        self.remaining = size
        self.done: Deferred[None] = Deferred(lambda _: self.stop())

    def resumeProducing(self) -> None:
        """The transport has nothing left to send."""
        if not self.remaining:
            self._end(None)
            return
        step = min(self.remaining, COPY_STEP)
        try:
            piece = os.pread(self._file.descriptor, step, self._offset)
        except OSError:
            self._end(FileChanged())
            return
        is_whole = step < self.remaining or not _is_changed(self._file)
        if not piece or not is_whole:
            self._end(FileChanged() if piece else FileShrank())
            return
        self._offset += len(piece)
        self.remaining -= len(piece)
        self._transport.write(piece)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._end(ConnectionError())

    def stop(self) -> None:
        """Send no more; the descriptor of the file may be closed from now on."""
        self._transport.unregisterProducer()

    def _end(self, error: Exception | None) -> None:
        if self.done.called:
            return
        self.stop()
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)


def send_file(transport: Transport, file: File, offset: int, size: int) -> SendFile | CopyFile:
    """Send *size* bytes of *file* from *offset*, by sendfile(2) where it can be."""
    if isinstance(transport, ImmediateTransport) and not transport.TLS:
        job = SendFile(transport, file, offset, size)
        transport.start_job(job)
        return job
    copy = CopyFile(transport, file, offset, size)
    transport.registerProducer(copy, False)
    return copy
