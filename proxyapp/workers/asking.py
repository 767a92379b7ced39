"""The socket on which a program asks the master for a reload, and is told what came of it."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver

from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.unixsocket import SocketTaken, listen_private
from proxyapp.reloading import SOCKET
from proxyapp.workers.messages import BadMessage, from_line, to_line
from proxyapp.workers.reloads import Reloads

_log = Logger()


class _Asker(LineOnlyReceiver):
    """Somebody who asks; only the owner of the state folder can."""

    delimiter = b"\n"

    def __init__(self, reloads: Reloads) -> None:
        self._reloads = reloads

    def lineReceived(self, line: bytes) -> None:
        """See LineOnlyReceiver."""
        try:
            asked = from_line(line).word
        except BadMessage:
            asked = ""
        if asked == "reload":
            Deferred.fromCoroutine(self._reload())
        else:
            self._answer("unknown", [])

    async def _reload(self) -> None:
        outcome = await self._reloads.ask()
        self._answer("refused" if outcome.mistakes else "reloaded", outcome.mistakes)

    def _answer(self, word: str, mistakes: tuple[str, ...] | list[str]) -> None:
        if self.transport is not None and self.connected:
            self.transport.write(to_line(word, {"mistakes": list(mistakes)}))
            self.transport.loseConnection()


class _Askers(protocol.Factory):
    """Makes the protocols."""

    noisy = False

    def __init__(self, reloads: Reloads) -> None:
        self._reloads = reloads

    def buildProtocol(self, addr: object) -> _Asker:
        """See IProtocolFactory."""
        return _Asker(self._reloads)


class MasterSocket:
    """Listens in *folder*, which only the account of the service may open."""

    def __init__(self, folder: Path, reloads: Reloads, reactor: IApplianceReactor) -> None:
        self.path = folder / SOCKET
        self._reactor = reactor
        self._factory = _Askers(reloads)
        self._port: IListeningPort | None = None

    def __repr__(self) -> str:
        return f"<MasterSocket {self.path}{'' if self._port else ' closed'}>"

    def start(self) -> None:
        """Open it; where that can't be, the event log says so, and SIGHUP still works."""
        try:
            self._port = listen_private(self.path, self._factory, self._reactor)
        except SocketTaken:
            _log.warn("another process has {path}; --reload reaches that one", path=self.path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it isn't a path for a socket"
            _log.warn(
                "no socket for --reload, only SIGHUP reloads: {path}: {why}",
                path=self.path,
                why=why,
            )

    def stop(self) -> None:
        """Close it."""
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()
