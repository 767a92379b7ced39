"""A piece of a file onto a connection: by sendfile(2), or copied where that can't be."""

from __future__ import annotations

import os

from twisted.internet import main
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from proxyapp.net.transport import ImmediateTransport, Transport

# Bytes that one fast client gets in one turn of the loop.
SENDFILE_STEP = 1 << 20
COPY_STEP = 1 << 16


class FileShrank(Exception):
    """The file ended before the bytes that were announced."""


class SendFile:
    """Sends a piece of a file; *done* fires with None, or with FileShrank or ConnectionError."""

    def __init__(self, transport: ImmediateTransport, file: int, offset: int, size: int) -> None:
        self._transport = transport
        self._file = file
        self._offset = offset
        self.remaining = size
        self.done: Deferred[None] = Deferred(lambda _: self.stop())

    def drain(self) -> Exception | None:
        """See Job."""
        transport = self._transport
        step = min(self.remaining, SENDFILE_STEP)
        try:
            sent = os.sendfile(transport.fileno(), self._file, self._offset, step)
        except BlockingIOError:
            transport.startWriting()
            return None
        except OSError as error:
            self._end(ConnectionError(error.errno))
            return main.CONNECTION_LOST
        self._offset += sent
        self.remaining -= sent
        if not sent and step:
            self._end(FileShrank())
            return main.CONNECTION_LOST
        if self.remaining:
            transport.startWriting()
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

    def __init__(self, transport: Transport, file: int, offset: int, size: int) -> None:
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
        piece = os.pread(self._file, min(self.remaining, COPY_STEP), self._offset)
        if not piece:
            self._end(FileShrank())
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


def send_file(transport: Transport, file: int, offset: int, size: int) -> SendFile | CopyFile:
    """Send *size* bytes of the descriptor *file* from *offset*, by sendfile(2) where it can be."""
    if isinstance(transport, ImmediateTransport) and not transport.TLS:
        job = SendFile(transport, file, offset, size)
        transport.start_job(job)
        return job
    copy = CopyFile(transport, file, offset, size)
    transport.registerProducer(copy, False)
    return copy
