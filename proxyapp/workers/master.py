"""The process that twistd started: it has the sockets, and sees to it that somebody serves on them.

With one worker that is this process itself, and there is no other. At the first reload a worker
takes its place: this one finishes what it has begun and keeps its tunnels, and only watches from
then on. So the process that systemd knows is always the same one, and each reload is served by what
is installed at that time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from proxyapp import service
from proxyapp.config import Config
from proxyapp.config.judge import make_ways
from proxyapp.logs.eventlog import EventLog
from proxyapp.logs.sinks import LogError
from proxyapp.net.notify import Notifier
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.service import Appliance
from proxyapp.workers import signals
from proxyapp.workers.asking import MasterSocket
from proxyapp.workers.crew import Crew
from proxyapp.workers.generation import text_of
from proxyapp.workers.inhouse import InHouse
from proxyapp.workers.member import Outline, outline_of
from proxyapp.workers.process import Command, NotStarted, WorkerProcess
from proxyapp.workers.reloads import Outcome, Reloads
from proxyapp.workers.rounds import Rounds
from proxyapp.workers.slots import Handed, NotListening, Slots

_log = Logger()


class Master(Service):
    """Serves *config*, or has it served by what *command* starts.

    Raises SystemExit where something that is named in the configuration can't be used. There is no
    *event_log* where twistd was told where events go. *fail* is called, once the reactor has
    stopped, where nothing could ever be served.
    """

    def __init__(
        self,
        config: Config,
        command: Command,
        reactor: IApplianceReactor,
        notifier: Notifier,
        event_log: EventLog | None,
        fail: Callable[[], None],
    ) -> None:
        self._config = config
        self._command = command
        self._reactor = reactor
        self._notifier = notifier
        self._event_log = event_log
        self._fail = fail
        self._outline = outline_of(config)
        self._slots = Slots()
        self._handed: Handed | None = None
        self._appliance: Appliance | None = None
        self._crew = Crew(reactor, command, self._slots, self._outline, self._check)
        if config.proxyapp.workers == 1:
            me = self._crew.among()
            self._appliance = service.build(config, reactor, self._listen, me)
        self._reloads = Reloads(self._reload)
        self._rounds = Rounds(reactor, notifier, self._crew.everybody)
        self._socket = MasterSocket(config.proxyapp.state_dir, self._reloads, reactor)
        self._is_stopping = False
        # Fires when somebody serves for the first time.
        self._has_begun: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Master of {self._crew!r}, {self._slots!r}>"

    # IService.

    def privilegedStartService(self) -> None:
        """Open every socket, while low ports may still be opened; SystemExit where one can't be."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        places, count = self._outline.places, self._outline.workers
        try:
            opened = self._slots.open(places, count)
        except NotListening as error:
            raise SystemExit(f"proxyapp: {error}") from error
        if self._appliance is not None:
            handed = [each.of(0, 1) for each in opened]
            self._handed = Handed(self._reactor, places, handed)
            self._appliance.privilegedStartService()

    def startService(self) -> None:
        """Begin to serve, and heed signals."""
        super().startService()  # type: ignore[no-untyped-call]
        calls: signals.Calls = {
            signal.SIGHUP: self._reloads.ask,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGTERM: self._on_terminate,
            signal.SIGINT: self._on_terminate,
        }
        # First: once the service says that it has started, it may be told to reload or to stop.
        signals.heed(self._reactor, calls)
        self._reactor.callWhenRunning(self._begin)
        if self._appliance is not None:
            self._appliance.startService()
            ways = make_ways(self._config)
            self._crew.enter(InHouse(self._appliance, ways, self._reactor))

    def stopService(self) -> Deferred[list[None]] | None:
        """Stop at once, whatever still runs."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._rounds.stop()
        self._crew.stop_looking()
        self._socket.stop()
        self._slots.close()
        for member in self._crew.everybody:
            if isinstance(member, WorkerProcess):
                member.kill()
        appliance = self._appliance
        return appliance.stopService() if appliance is not None and appliance.running else None

    def _listen(self, description: str, factory: IProtocolFactory) -> IListeningPort:
        assert self._handed is not None
        return self._handed.listen(description, factory)

    def _begin(self) -> None:
        self._socket.start()
        if self._appliance is not None:
            self._is_serving()
        else:
            Deferred.fromCoroutine(self._begin_with_workers())

    async def _begin_with_workers(self) -> None:
        try:
            await self._crew.replace_all(text_of(self._config.path))
        except NotStarted as error:
            if not self._is_stopping:
                for mistake in error.mistakes:
                    _log.critical("{mistake}", mistake=mistake)
                self._reactor.addSystemEventTrigger("after", "shutdown", self._fail)
                self._reactor.stop()
            return
        _log.info("started: {count} workers", count=self._outline.workers)
        self._is_serving()

    def _is_serving(self) -> None:
        self._notifier.ready()
        self._rounds.start()
        self._has_begun.callback(None)

    def _reopen_logs(self) -> None:
        for member in list(self._crew.everybody):
            member.reopen_log()
        if self._event_log is not None:
            self._event_log.reopen()

    # Reload.

    def _check(self, outline: Outline) -> None:
        """Raise NotStarted where a reload can't bring about what *outline* says."""
        if outline.state_dir != self._outline.state_dir:
            raise NotStarted(["[proxyapp] state_dir: a reload can't change it, a restart can"])
        if self._event_log is not None and outline.events is not None:
            try:
                self._event_log.check(outline.events)
            except LogError as error:
                raise NotStarted([str(error)]) from error

    def _change_event_log(self, former: Outline) -> None:
        events = self._crew.outline.events
        if events is None:
            return
        if self._event_log is None:
            if events != former.events:
                _log.warn("[log] level and events: twistd was told at its start where events go")
            return
        try:
            self._event_log.change(events)
        except LogError as error:
            _log.error("{error}; events go where they went before", error=error)

    async def _reload(self) -> Outcome:
        await self._has_begun
        if self._is_stopping:
            return Outcome(("proxyapp is about to stop",))
        self._notifier.reloading()
        former = self._crew.outline
        try:
            count = await self._crew.replace_all(text_of(self._config.path))
        except NotStarted as error:
            for mistake in error.mistakes:
                _log.error("not reloaded: {mistake}", mistake=mistake)
            self._rounds.say(f"not reloaded: {error.mistakes[0]}")
            return Outcome(error.mistakes)
        finally:
            self._notifier.ready()
        self._rounds.say("")
        self._change_event_log(former)
        _log.info("reloaded: {count} worker{s}", count=count, s="" if count == 1 else "s")
        return Outcome()

    # Stop.

    def _on_terminate(self) -> None:
        if self._is_stopping:
            self._crew.end()
        else:
            self._is_stopping = True
            Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notifier.stopping()
        self._rounds.say("stopping")
        self._socket.stop()
        await self._crew.stop()
        self._reactor.stop()
