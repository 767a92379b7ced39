"""A worker process: it builds what the configuration describes, and serves on the master's sockets.

It ends when it is told to, by the master or by SIGTERM, and by itself when the master is gone:
nobody could take its sockets over then.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from proxyapp import service
from proxyapp.config import Config
from proxyapp.config.judge import make_ways
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.service import Appliance
from proxyapp.workers import signals
from proxyapp.workers.channel import Channel, open_channel
from proxyapp.workers.duty import Duty
from proxyapp.workers.events import EventSender
from proxyapp.workers.inherited import Inherited
from proxyapp.workers.member import Patience, outline_of
from proxyapp.workers.messages import Json, Message
from proxyapp.workers.sharing import among
from proxyapp.workers.slots import Handed, Place
from proxyapp.workers.tunnels import refusals_from, tunnels_from
from proxyapp.workers.verdicts import Verdicts

_NONE = Patience(0.0, 0.0)

_log = Logger()


class Worker(Service):
    """Serves as the master says; *sender* takes its event log to the master.

    Raises SystemExit where something that is named in the configuration can't be used.
    """

    def __init__(
        self, config: Config, reactor: IApplianceReactor, part: Inherited, sender: EventSender
    ) -> None:
        self._reactor = reactor
        self._part = part
        self._sender = sender
        self._outline = outline_of(config)
        self._handed: Handed | None = None
        self._sockets: list[socket.socket] = []
        self._is_ending = False
        self._channel = Channel(self._heard, self._lost_master)
        self._number = part.number
        count = config.proxyapp.workers
        me = among(part.memory, part.row, part.number, count, part.secret)
        try:
            self._appliance: Appliance = service.build(config, reactor, self._listen, me)
        except SystemExit as reason:
            part.give_up([str(reason)])
            raise
        self._duty = Duty(self._appliance, make_ways(config), reactor)
        self._verdicts = Verdicts(config, time.localtime)
        self._answers: dict[str, Callable[[Message], object]] = {
            "listen": self._begin,
            "also": self._go_on,
            "ping": self._tell_counts,
            "tunnels": self._tell_tunnels,
            "judge": self._judge,
            "cut": lambda message: self._duty.cut(refusals_from(message)),
            "drain": self._drain,
            "reopen": lambda message: self._appliance.log.reopen(),
            "end": lambda message: self._end(),
        }

    def __repr__(self) -> str:
        return f"<Worker {self._number + 1} {self._duty!r}>"

    # IService.

    def startService(self) -> None:
        """Tell the master, once the reactor runs, that we could serve."""
        super().startService()  # type: ignore[no-untyped-call]
        calls: signals.Calls = {
            signal.SIGTERM: self._on_terminate,
            signal.SIGUSR1: self._appliance.log.reopen,
            signal.SIGINT: None,
            signal.SIGHUP: None,
        }
        signals.heed(self._reactor, calls)
        self._reactor.callWhenRunning(self._open_channel)

    def stopService(self) -> Deferred[list[None]] | None:
        """Stop serving, if that hasn't been done."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._channel.close()
        return self._appliance.stopService() if self._appliance.running else None

    def _open_channel(self) -> None:
        inherited = self._part.channel
        open_channel(self._reactor, inherited, self._channel)
        self._sender.open(self._channel)
        self._channel.say("configured", **self._outline.to_fields())

    # What the master says.

    def _heard(self, message: Message) -> None:
        answer = self._answers.get(message.word)
        if answer is not None:
            answer(message)

    def _begin(self, message: Message) -> None:
        """Serve on the sockets that came with *message*."""
        self._take_sockets(message)
        try:
            self._appliance.privilegedStartService()
            self._appliance.startService()
        except SystemExit as reason:
            self._channel.say("mistaken", mistakes=[str(reason)])
            return
        self._channel.say("ready")

    def _go_on(self, message: Message) -> None:
        """Serve on the sockets of another worker as well."""
        for section, description in self._take_sockets(message):
            self._appliance.entrances.open_also(section, description)

    def _take_sockets(self, message: Message) -> list[Place]:
        places: list[Place] = []
        handed: list[list[socket.socket]] = []
        for each in message.each("places"):
            places.append((each.text("section"), each.text("description")))
            descriptors = self._channel.take_descriptors(each.count("sockets"))
            handed.append([socket.socket(fileno=descriptor) for descriptor in descriptors])
        self._sockets += [found for several in handed for found in several]
        self._handed = Handed(self._reactor, places, handed)
        return places

    def _listen(self, description: str, factory: IProtocolFactory) -> IListeningPort:
        assert self._handed is not None
        return self._handed.listen(description, factory)

    def _tell_counts(self, message: Message) -> None:
        clients, tunnels = self._duty.counts
        self._channel.say("pong", clients=clients, tunnels=tunnels)

    def _tell_tunnels(self, message: Message) -> None:
        told: list[Json] = [tunnel.to_json() for tunnel in self._duty.tunnels()]
        self._channel.say("tunnels", tunnels=told)

    def _judge(self, message: Message) -> None:
        refused = self._verdicts.on(tunnels_from(message), self._appliance.entrances.numbers)
        self._channel.say("judged", refused=[each.to_json() for each in refused])

    def _drain(self, message: Message) -> None:
        self._come_to_an_end(Patience(message.number("requests"), message.number("tunnels")))

    # The end.

    def _on_terminate(self) -> None:
        if self._is_ending:
            self._end()
        else:
            self._channel.say("leaving")
            self._come_to_an_end(self._outline.at_stop)

    def _lost_master(self) -> None:
        if not self._is_ending:
            self._come_to_an_end(self._outline.at_stop)

    def _come_to_an_end(self, patience: Patience) -> None:
        if self._is_ending:
            if self._appliance.running:
                Deferred.fromCoroutine(self._duty.drain(patience))  # it has less patience now
            return
        self._is_ending = True
        if self._appliance.running:
            Deferred.fromCoroutine(self._drain_and_stop(patience))
        else:
            self._reactor.stop()

    async def _drain_and_stop(self, patience: Patience) -> None:
        try:
            for each in self._sockets:
                each.close()
            await self._duty.drain(patience)
        except Exception:
            _log.failure("the end of a worker went wrong")
        self._reactor.stop()

    def _end(self) -> None:
        """End everything now; what was cut is logged before we are gone."""
        self._come_to_an_end(_NONE)
        self._duty.end()
