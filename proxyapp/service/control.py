"""The control socket: where the admin's commands reach the service that runs.

It is in the state folder, and only the account of the service and root may open it, so whoever is
there may do everything: no rule is asked, and the request log isn't told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from proxyapp import errors
from proxyapp.cache.control import CacheControl
from proxyapp.cache.prefetch import Prefetch, RecordLog
from proxyapp.exchange import Responder
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.net.unixsocket import SocketTaken, listen_private
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.server.admission import Admission
from proxyapp.server.connection import Listener
from proxyapp.server.doors import Clients, Door, ServerLimits, Surroundings
from proxyapp.service.caching import Cache
from proxyapp.wire.headers import RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Form

FILE = "control.sock"
# A few programs at once, each with a few connections.
_MOST = 64
# How often, and after how many seconds each, the socket is asked for that another process has.
_ATTEMPTS, _PAUSE = 20, 0.25
_LIMITS = ServerLimits(
    head=HeadLimits(),
    clients=_MOST,
    per_client=_MOST,
    body=1 << 20,
    head_timeout=20.0,
    idle_timeout=60.0,
    write_timeout=60.0,
    read_timeout=20.0,
)

_log = Logger()


class RunningCache:
    """The cache, if there is one, while the service runs, and the control socket in front of it.

    *judge* says what may be prefetched, and *log* gets the records of that.
    """

    def __init__(
        self,
        folder: Path,
        cache: Cache | None,
        judge: Callable[[Question], Decision],
        log: RecordLog,
        sweep: Sweep,
        reactor: IApplianceReactor,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._judge = judge
        self._log = log
        self._sweep = sweep
        self._reactor = reactor
        self._socket: ControlSocket | None = None

    def start(self, chain: Responder, has_socket: bool) -> None:
        """Open the store, then the socket, if it is ours; *chain* answers what is prefetched."""
        if self._cache is None:
            return
        store, rules = self._cache.store, self._cache.rules
        store.start()
        if not has_socket:
            return
        prefetch = Prefetch(chain, self._judge, self._log, time.time, self._reactor)
        control = CacheControl(store, rules, prefetch, time.time, self._reactor)
        self._socket = ControlSocket(self._folder, control, self._sweep, self._reactor)
        self._socket.start()

    async def stop_listening(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            await self._socket.stop()

    async def stop(self) -> None:
        """Close the socket, then the store."""
        await self.stop_listening()
        if self._cache is not None:
            await self._cache.store.stop()


class ControlSocket:
    """Listens in *folder*, and has *responder* answer."""

    def __init__(
        self, folder: Path, responder: Responder, sweep: Sweep, reactor: IApplianceReactor
    ) -> None:
        self.path = folder / FILE
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self._attempts = 0
        self._again: IDelayedCall | None = None
        admission = Admission(_Everybody(), None, False, lambda seconds: 0)
        around = Surroundings(admission, _NoLog(), _page, sweep, _LIMITS, time.time)
        doors = {form: Door("control", responder) for form in Form}
        self._listener = Listener(around, doors, Clients(_LIMITS))

    def __repr__(self) -> str:
        return f"<ControlSocket {self.path}{'' if self._port else ' closed'}>"

    def start(self) -> None:
        """Open it; where that can't be, the event log says so, and all else goes on without."""
        self._again = None
        try:
            self._port = listen_private(self.path, self._listener, self._reactor)
        except SocketTaken:
            self._attempts += 1
            if self._attempts < _ATTEMPTS:
                # After a reload it is our predecessor's for a moment.
                self._again = self._reactor.callLater(_PAUSE, self.start)
                return
            _log.warn(
                "another process has {path}; --cache-list and the like reach that one, not this",
                path=self.path,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it isn't a path for a socket"
            _log.warn(
                "no control socket, so --cache-list and the like don't work: {path}: {why}",
                path=self.path,
                why=why,
            )

    async def stop(self) -> None:
        """Close it."""
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        port, self._port = self._port, None
        if port is not None:
            stopping = port.stopListening()
            if stopping is not None:
                await stopping


class _Everybody:
    """The judge of those whom the permissions of the socket let in."""

    def judge(self, question: Question, minute: int) -> Decision:
        """See admission.Judge."""
        return Decision(True, "", "")


class _NoLog:
    """What the admin asks us is no exchange with the world."""

    def identify(self, record: Record) -> None:
        """See doors.RecordLog."""

    def write(self, record: Record) -> None:
        """See doors.RecordLog."""


def _page(
    error: errors.ExchangeError, head: RequestHead | None, record: Record
) -> tuple[RawFields, bytes]:
    """See doors.MakePage."""
    body = json.dumps({"error": error.reason}).encode("ascii") + b"\n"
    return [(b"Content-Type", b"application/json")], body
