"""Where clients come in: the ports of each section, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from proxyapp.net.sockets import Listen, ListenError


class Entrances:
    """The ports that *listen* opens; *numbers* fill as they open, 0 for what has none."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self.ports: dict[str, list[IListeningPort]] = {"proxy": [], "site": []}
        self._factories: dict[str, IProtocolFactory] = {}
        self.numbers: dict[str, list[int]] = {"proxy": [], "site": []}

    def __repr__(self) -> str:
        return f"<Entrances {self.numbers}>"

    def open(self, section: str, descriptions: Iterable[str], factory: IProtocolFactory) -> None:
        """Open those of *section*; raises SystemExit where one can't be."""
        self._factories[section] = factory
        for description in descriptions:
            try:
                port = self.open_also(section, description)
            except ListenError as error:
                raise SystemExit(f"proxyapp: cannot listen on {description}: {error}") from error
            self.numbers[section].append(getattr(port.getHost(), "port", 0))

    def open_also(self, section: str, description: str) -> IListeningPort:
        """Open one more port of a *section* that is open; raises ListenError."""
        port = self._listen(description, self._factories[section])
        self.ports[section].append(port)
        return port

    def close(self) -> Deferred[list[None]]:
        """Close them; fires when they are closed. What is known of their numbers stays."""
        every = [port for ports in self.ports.values() for port in ports]
        self.ports = {section: [] for section in self.ports}
        return gatherResults([Deferred.fromCoroutine(_stop_listening(port)) for port in every])


async def _stop_listening(port: IListeningPort) -> None:
    stopping = port.stopListening()
    if stopping is not None:
        await stopping
