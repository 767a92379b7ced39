"""Opens bodies on a disk for reading."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from proxyapp.store import bodyhead
from proxyapp.store.bodies import OpenBody, in_memory, read_whole
from proxyapp.store.bodyhead import Damaged
from proxyapp.store.entry import Entry, EntryGone
from proxyapp.store.folder import BodyFolder
from proxyapp.store.kept import KeptBodies
from proxyapp.store.memory import SHORT
from proxyapp.store.writing import InThread

# What is read ahead of a body that is about to be sent.
_AHEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A body that was opened in a thread, and its content if it is short."""

    body: OpenBody
    content: bytes | None


class Opening:
    """Opens bodies in *folder*; what turns out to be gone is given to *remove*.

    Short contents that had to be read are given to *load*, and long bodies to *kept*.
    """

    def __init__(
        self,
        folder: BodyFolder,
        in_thread: InThread,
        remove: Callable[[Entry], None],
        load: Callable[[Entry, bytes], None],
        kept: KeptBodies,
    ) -> None:
        self.close = kept.close
        self._kept = kept
        self._folder = folder
        self._in_thread = in_thread
        self._remove = remove
        self._load = load

    def open(self, entry: Entry) -> OpenBody:
        """See CacheStore."""
        if entry.content is not None:
            return in_memory(entry.content)
        try:
            return self._open(entry)
        except (Damaged, FileNotFoundError) as error:
            self._remove(entry)
            raise EntryGone from error
        except OSError as error:
            raise EntryGone from error

    def _open(self, entry: Entry) -> OpenBody:
        descriptor = self._folder.open(entry.id)
        try:
            return OpenBody(descriptor, bodyhead.offset_of(descriptor, entry.extents))
        except BaseException:
            os.close(descriptor)
            raise

    def opened(self, entry: Entry) -> Deferred[OpenBody]:
        """See CacheStore."""
        again = self._kept.again(entry.id) if entry.content is None else None
        return self._opened_in_thread(entry) if again is None else succeed(again)

    def _opened_in_thread(self, entry: Entry) -> Deferred[OpenBody]:
        outcome: Deferred[OpenBody] = Deferred()

        def deliver(found: Found) -> None:
            if outcome.called:  # nobody waits for it any more
                found.body.close()
                return
            if found.content is not None:
                self._load(entry, found.content)
            elif entry.content is None:
                self._kept.keep(entry.id, found.body)
            outcome.callback(found.body)

        def fail(failure: Failure) -> None:
            if failure.check(Damaged, FileNotFoundError):
                self._remove(entry)
            if not outcome.called:
                known = failure.check(Damaged, OSError) is not None
                outcome.errback(Failure(EntryGone()) if known else failure)

        self._in_thread(lambda: self._find(entry)).addCallback(deliver).addErrback(fail)
        return outcome

    def _find(self, entry: Entry) -> Found:
        """Open the body of *entry*, with what is needed of it first; in a thread."""
        if entry.content is not None:
            return Found(in_memory(entry.content), None)
        body = self._open(entry)
        try:
            if entry.size > SHORT or not entry.is_complete:
                os.posix_fadvise(body.descriptor, body.offset, _AHEAD, os.POSIX_FADV_WILLNEED)
                return Found(body, None)
            content = read_whole(body.descriptor, entry.size, body.offset)
            checksum = bodyhead.read(body.descriptor).checksum
            if checksum and checksum != zlib.crc32(content):
                raise Damaged("a content is damaged")
        except BaseException:
            body.close()
            raise
        return Found(body, content)
