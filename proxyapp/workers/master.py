"""The process that twistd started: it has the sockets, and sees to it that somebody serves on them.

With one worker that is this process itself, and there is no other. At the first reload a worker
takes its place: this one finishes what it has begun and keeps its tunnels, and only watches from
then on. So the process that systemd knows is always the same one, and each reload is served by what
is installed at that time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from proxyapp import service
from proxyapp.config import Config
from proxyapp.net.notify import Notifier
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.service import Appliance
from proxyapp.workers import signals
from proxyapp.workers.asking import MasterSocket
from proxyapp.workers.generation import Generation, muster, text_of
from proxyapp.workers.inhouse import InHouse
from proxyapp.workers.member import Member, outline_of
from proxyapp.workers.process import Command, NotStarted, Part, WorkerProcess
from proxyapp.workers.reloads import Outcome, Reloads
from proxyapp.workers.replacing import Replacing
from proxyapp.workers.rounds import Rounds
from proxyapp.workers.slots import Handed, NotListening, Slots
from proxyapp.workers.takeover import Leaving

_log = Logger()


class Master(Service):
    """Serves *config*, or has it served by what *command* starts.

    Raises SystemExit where something that is named in the configuration can't be used. *fail* is
    called, once the reactor has stopped, where nothing could ever be served.
    """

    def __init__(
        self,
        config: Config,
        command: Command,
        reactor: IApplianceReactor,
        notifier: Notifier,
        fail: Callable[[], None],
    ) -> None:
        self._config = config
        self._command = command
        self._reactor = reactor
        self._notifier = notifier
        self._fail = fail
        self._outline = outline_of(config)
        self._slots = Slots()
        self._handed: Handed | None = None
        self._appliance: Appliance | None = None
        if config.proxyapp.workers == 1:
            self._appliance = service.build(config, reactor, self._listen)
        self._generation = Generation(self._outline, None, ())
        self._everybody: set[Member] = set()
        self._leaving = Leaving(reactor)
        self._replacing = Replacing(reactor, self._replace)
        self._reloads = Reloads(self._reload)
        self._rounds = Rounds(reactor, notifier, self._everybody)
        self._socket = MasterSocket(config.proxyapp.state_dir, self._reloads, reactor)
        self._is_stopping = False
        self._all_gone: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Master of {self._everybody}, {self._slots!r}>"

    # IService.

    def privilegedStartService(self) -> None:
        """Open every socket, while low ports may still be opened; SystemExit where one can't be."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        places, count = self._outline.places, self._outline.workers
        try:
            opened = self._slots.open(places, count)
        except NotListening as error:
            raise SystemExit(f"proxyapp: {error}") from error
        self._generation.opened = opened
        if self._appliance is not None:
            handed = [each.of(0, 1) for each in opened]
            self._handed = Handed(self._reactor, places, handed)
            self._appliance.privilegedStartService()

    def startService(self) -> None:
        """Begin to serve, and heed signals."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._appliance is not None:
            self._appliance.startService()
            self._enter(InHouse(self._appliance, self._reactor))
            self._generation.members = list(self._everybody)
        calls: signals.Calls = {
            signal.SIGHUP: self._reloads.ask,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGTERM: self._on_terminate,
            signal.SIGINT: self._on_terminate,
        }
        signals.heed(self._reactor, calls)
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[list[None]] | None:
        """Stop at once, whatever still runs."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._rounds.stop()
        self._leaving.stop()
        self._replacing.stop()
        self._socket.stop()
        self._slots.close()
        for member in self._everybody:
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
            self._generation = await self._muster()
        except NotStarted as error:
            if not self._is_stopping:
                for mistake in error.mistakes:
                    _log.critical("{mistake}", mistake=mistake)
                self._reactor.addSystemEventTrigger("after", "shutdown", self._fail)
                self._reactor.stop()
            return
        self._is_serving()

    def _is_serving(self) -> None:
        self._notifier.ready()
        self._rounds.start()

    # Members come and go.

    def _muster(self) -> Deferred[Generation]:
        ini, state_dir = text_of(self._config.path), self._outline.state_dir
        return Deferred.fromCoroutine(muster(self._spawn, self._slots, ini, state_dir))

    def _spawn(self, number: int, ini: bytes | None) -> WorkerProcess:
        part = Part(number, ini)
        worker = WorkerProcess(self._reactor, self._command, part, self._on_leaving)
        self._enter(worker)
        return worker

    def _enter(self, member: Member) -> None:
        self._everybody.add(member)
        member.gone.addCallback(lambda _: self._is_gone(member))

    def _is_gone(self, member: Member) -> None:
        self._everybody.discard(member)
        self._leaving.discard(member)
        if isinstance(member, WorkerProcess) and member in self._generation.members:
            self._lost(member, member.how)
        if self._is_stopping and not self._everybody and not self._all_gone.called:
            self._all_gone.callback(None)

    def _on_leaving(self, worker: WorkerProcess) -> None:
        if worker in self._generation.members:
            self._lost(worker, "was told to end")

    def _lost(self, worker: WorkerProcess, how: str) -> None:
        """One of those who serve doesn't any more: find another one for its sockets."""
        generation = self._generation
        generation.members.remove(worker)
        if self._is_stopping:
            return
        lived = self._reactor.seconds() - worker.started_at
        pause = self._replacing.died(worker.part.number, lived)
        when = f"in {pause:.0f} s" if pause else "now"
        _log.error("{name} {how}; another one starts {when}", name=worker.name, how=how, when=when)
        if pause:
            # Clients that the kernel leads there are served by somebody else until then.
            for other in generation.members[:1]:
                if isinstance(other, WorkerProcess):
                    generation.listen_also(other, worker.part.number)

    def _replace(self, number: int) -> None:
        Deferred.fromCoroutine(self._start_again(number))

    async def _start_again(self, number: int) -> None:
        generation = self._generation
        try:
            worker = self._spawn(number, generation.ini)
        except OSError as error:
            _log.error("no process can be started: {why}", why=error.strerror)
            self._replacing.died(number, 0.0)
            return
        generation.members.append(worker)  # if it dies it's replaced, too
        try:
            await worker.startup.configured
            generation.listen(worker)
            await worker.startup.ready
        except NotStarted as error:
            for mistake in error.mistakes:
                _log.error("{name}: {mistake}", name=worker.name, mistake=mistake)

    def _reopen_logs(self) -> None:
        for member in list(self._everybody):
            member.reopen_log()

    # Reload.

    async def _reload(self) -> Outcome:
        if self._is_stopping:
            return Outcome(("proxyapp is about to stop",))
        self._notifier.reloading()
        try:
            fresh = await self._muster()
        except NotStarted as error:
            for mistake in error.mistakes:
                _log.error("not reloaded: {mistake}", mistake=mistake)
            self._rounds.say(f"not reloaded: {error.mistakes[0]}")
            return Outcome(error.mistakes)
        finally:
            self._notifier.ready()
        self._rounds.say("")
        if not self._is_stopping:
            self._take_over(fresh)
        _log.info("reloaded: {count} workers", count=len(fresh.members))
        return Outcome()

    def _take_over(self, fresh: Generation) -> None:
        """Let *fresh* serve in place of those who did; they finish what they have begun."""
        former, self._generation = self._generation, fresh
        self._outline = fresh.outline
        self._replacing.stop()
        self._slots.keep_only(fresh.opened)
        self._handed = None
        for member in former.members:
            self._leaving.add(member)
        workers = [each for each in fresh.members if isinstance(each, WorkerProcess)]
        self._leaving.relieved_by(workers[0], fresh.outline.at_reload)
        lost = [worker for worker in workers if worker.how]
        for worker in lost:  # before we were looking
            self._lost(worker, worker.how)

    # Stop.

    def _on_terminate(self) -> None:
        if self._is_stopping:
            self._end_now(list(self._everybody))
        else:
            self._is_stopping = True
            Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notifier.stopping()
        self._rounds.say("stopping")
        self._replacing.stop()
        self._leaving.stop()
        self._socket.stop()
        for member in list(self._everybody):
            member.drain(self._outline.at_stop)
        self._slots.close()
        if self._everybody:
            await self._all_gone
        self._reactor.stop()

    def _end_now(self, everybody: Sequence[Member]) -> None:
        for member in everybody:
            member.end()
