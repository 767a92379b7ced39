"""The SHA-256 of a file, computed in a thread and remembered while the file stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules.negotiation import preferred
from proxyapp.site.confinement import OpenFile, file_errors
from proxyapp.site.places import Places
from proxyapp.site.representations import added, response
from proxyapp.site.threads import InThread
from proxyapp.wire.headers import RawFields

# Both disks and processors do little more with more of them.
AT_ONCE, WAITING = 2, 64
# Digests kept: some 2 MB.
REMEMBERED = 4096
# Long enough that a thread seldom needs the interpreter.
_BLOCK = 1 << 20
_TEXT, _JSON = b"text/plain", b"application/json"

# What tells this state of a file from any other; the change time is one that nobody can set back.
_State = tuple[int, int, int, int, int]


def _state(status: os.stat_result) -> _State:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


class Digests:
    """Answers `?hash`, with the line that sha256sum writes and checks, or JSON."""

    def __init__(self, in_thread: InThread) -> None:
        self._places = Places(in_thread, AT_ONCE, WAITING, "too many files wait to be hashed")
        self._known: OrderedDict[_State, str] = OrderedDict()
        self._running: dict[_State, _Computation] = {}

    def __repr__(self) -> str:
        return f"<Digests {len(self._known)} known, {len(self._running)} under way>"

    async def respond(
        self,
        request: Request,
        reply: Reply,
        file: OpenFile,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer a GET or HEAD with the digest of the open *file*, which the caller closes.

        *given* are the fields that the configuration adds. Raises NotFound for a folder,
        Overloaded, ClientGone, and InternalError where the file changes meanwhile.
        """
        if file.is_folder:
            raise errors.NotFound("a folder has no digest, only the files in it have")
        digest = await self.digest(file)
        fields: RawFields = [
            (b"Cache-Control", b"no-cache"),
            (b"Vary", b"Accept"),
            (b"X-Content-Type-Options", b"nosniff"),
        ]
        if preferred(request.head.fields.get(b"accept"), (_TEXT, _JSON)) == _JSON:
            fields.append((b"Content-Type", _JSON))
            body = _as_json(file, digest)
        else:
            fields.append((b"Content-Type", _TEXT + b"; charset=utf-8"))
            body = as_line(file.name, digest)
        reply.answer(response(200, added(fields, given)), body)

    async def digest(self, file: OpenFile) -> str:
        """Return the SHA-256 of the open *file* in hexadecimal; raises like `respond`."""
        state = _state(file.status)
        known = self._known.get(state)
        if known is not None:
            self._known.move_to_end(state)
            return known
        running = self._running.get(state)
        if running is not None:
            return await running.wait()
        # Whoever asks first may leave, and close the file, while others wait for the digest.
        with file_errors():
            own = os.dup(file.descriptor)
        running = self._running[state] = _Computation()
        waiting = running.wait()
        running.begin(self._compute(own, state))
        return await waiting

    async def _compute(self, own: int, state: _State) -> str:
        try:
            digest = await self._places.run(own, partial(sha256, state))
        finally:
            os.close(own)
            del self._running[state]
        self._remember(state, digest)
        return digest

    def _remember(self, state: _State, digest: str) -> None:
        self._known[state] = digest
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


class _Computation:
    """One digest under way, and all who wait for it: given up when the last of them leaves."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[str]] = []
        self._work: Deferred[None] | None = None

    def wait(self) -> Deferred[str]:
        """Return what fires with the digest, or with what prevented it."""
        waiting: Deferred[str] = Deferred(self._leave)
        self._waiting.append(waiting)
        return waiting

    def begin(self, work: Coroutine[Deferred[object], object, str]) -> None:
        """Let *work* find the digest."""
        self._work = Deferred.fromCoroutine(work).addCallbacks(self._tell, self._fail)

    def _leave(self, waiting: Deferred[str]) -> None:
        self._waiting.remove(waiting)
        if not self._waiting and self._work is not None:
            self._work.cancel()

    def _tell(self, digest: str) -> None:
        for waiting in self._take_all():
            waiting.callback(digest)

    def _fail(self, failure: Failure) -> None:
        for waiting in self._take_all():
            waiting.errback(failure)

    def _take_all(self) -> list[Deferred[str]]:
        waiting, self._waiting = self._waiting, []
        return waiting


def sha256(state: _State, descriptor: int, halt: threading.Event) -> str:
    """Return the SHA-256 of the open file in hexadecimal.

    Raises InternalError where the file is not, or no longer, in *state*; ClientGone once halted.
    """
    digest = hashlib.sha256()
    offset = 0
    with file_errors():
        while block := os.pread(descriptor, _BLOCK, offset):
            if halt.is_set():
                raise errors.ClientGone("nobody waits for the digest any more")
            digest.update(block)
            offset += len(block)
        if _state(os.fstat(descriptor)) != state:
            raise errors.InternalError("the file changed while it was read; try again")
    return digest.hexdigest()


def as_line(name: bytes, digest: str) -> bytes:
    """Return the line that `sha256sum -c` reads; a backslash before it marks an escaped name."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return b"%b%b  %b\n" % (mark, digest.encode("ascii"), escaped)


def _as_json(file: OpenFile, digest: str) -> bytes:
    document = {
        "name": file.name.decode("utf-8", "replace"),
        "size": file.status.st_size,
        "sha256": digest,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"
