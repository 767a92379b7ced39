"""All who serve: the generation that does now, and those of former ones that are about to end."""

from __future__ import annotations

import secrets

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.shared import Rows, make_memory
from proxyapp.service.among import Among
from proxyapp.workers.generation import Check, Generation, muster
from proxyapp.workers.member import Member, Outline
from proxyapp.workers.process import Command, Common, NotStarted, Part, WorkerProcess
from proxyapp.workers.replacing import Replacing
from proxyapp.workers.sharing import among
from proxyapp.workers.slots import Slots
from proxyapp.workers.takeover import Leaving

_SECRET_SIZE = 32

_log = Logger()


class Crew:
    """Serves *outline* on the sockets of *slots*, with what *command* starts.

    *check* is asked of what is to be served instead.
    """

    def __init__(
        self,
        reactor: IApplianceReactor,
        command: Command,
        slots: Slots,
        outline: Outline,
        check: Check,
    ) -> None:
        self.everybody: set[Member] = set()
        self.outline = outline
        self._reactor = reactor
        self._command = command
        self._slots = slots
        self._check = check
        self._memory = make_memory()
        self._rows = Rows(self._memory)
        self._secret = secrets.token_bytes(_SECRET_SIZE)
        self._generation = Generation(outline, None, ())
        self._leaving = Leaving(reactor)
        self._replacing = Replacing(reactor, self._replace)
        # The numbers of those who died, and aren't replaced yet.
        self._vacant: set[int] = set()
        self._is_stopping = False
        self._all_gone: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Crew {self.everybody}>"

    def among(self) -> Among:
        """Return what the master is where it serves by itself."""
        return among(self._memory, self._rows.take(), 0, 1, self._secret)

    def enter(self, member: Member) -> None:
        """Have *member* serve with the others, or alone."""
        self._generation.members.append(member)
        self._register(member)

    def _register(self, member: Member) -> None:
        self.everybody.add(member)
        member.gone.addCallback(lambda _: self._is_gone(member))

    async def replace_all(self, ini: bytes | None) -> int:
        """Have *ini* served by new workers, in place of all others; return how many they are.

        Raises NotStarted, and then nothing has changed.
        """
        self._take_over(await muster(self._spawn, self._slots, ini, self._check))
        return self.outline.workers

    def _take_over(self, fresh: Generation) -> None:
        former, self._generation = self._generation, fresh
        self.outline = fresh.outline
        if self._is_stopping:
            return
        self._replacing.stop()
        self._vacant.clear()
        self._slots.keep_only(fresh.opened)
        for member in former.members:
            self._leaving.add(member)
        workers = [each for each in fresh.members if isinstance(each, WorkerProcess)]
        self._leaving.relieved_by(workers[0], fresh.outline.at_reload)
        for worker in workers:
            if worker.how:  # and nobody was looking yet
                self._lost(worker, worker.how)

    async def stop(self) -> None:
        """Accept nobody any more; return when all that was begun is over."""
        self._is_stopping = True
        self.stop_looking()
        for member in list(self.everybody):
            member.drain(self.outline.at_stop)
        self._slots.close()
        if self.everybody:
            await self._all_gone

    def stop_looking(self) -> None:
        """Replace nobody, and judge nothing any more."""
        self._replacing.stop()
        self._leaving.stop()

    def end(self) -> None:
        """End everything now."""
        for member in list(self.everybody):
            member.end()

    # Members come and go.

    def _spawn(self, number: int, ini: bytes | None) -> WorkerProcess:
        if self._is_stopping:
            raise NotStarted(["proxyapp is about to stop"])
        part = Part(number, ini, self._rows.take())
        common = Common(self._memory.descriptor, self._secret)
        try:
            worker = WorkerProcess(self._reactor, self._command, common, part, self._on_leaving)
        except OSError:
            self._rows.give_back(part.row)
            raise
        worker.gone.addCallback(lambda _: self._rows.give_back(part.row))
        self._register(worker)
        return worker

    def _is_gone(self, member: Member) -> None:
        self.everybody.discard(member)
        self._leaving.discard(member)
        if isinstance(member, WorkerProcess):
            self._lost(member, member.how)
        if self._is_stopping and not self.everybody and not self._all_gone.called:
            self._all_gone.callback(None)

    def _on_leaving(self, worker: WorkerProcess) -> None:
        self._lost(worker, "was told to end")

    def _lost(self, worker: WorkerProcess, how: str) -> None:
        """If *worker* is one of those who serve, find another one for its sockets."""
        generation = self._generation
        if worker not in generation.members:
            return
        generation.members.remove(worker)
        if self._is_stopping:
            return
        lived = self._reactor.seconds() - worker.started_at
        pause = self._replacing.died(worker.part.number, lived)
        when = f"in {pause:.0f} s" if pause else "now"
        _log.error("{name} {how}; another one starts {when}", name=worker.name, how=how, when=when)
        self._vacant.add(worker.part.number)
        self._fill_in()

    def _fill_in(self) -> None:
        """Until those who died are replaced, have somebody serve whom the kernel leads there."""
        members = self._generation.members
        serving = [each for each in members if isinstance(each, WorkerProcess) and each.is_serving]
        for number in self._vacant if serving else ():
            self._generation.listen(serving[0], number)

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
            if worker.is_draining:
                return  # a reload has relieved it meanwhile, and its sockets may be closed
            generation.listen(worker, number)
            await worker.startup.ready
            _log.info("{name} serves", name=worker.name)
            if generation is self._generation:
                self._vacant.discard(number)
                self._fill_in()
        except NotStarted as error:
            for mistake in error.mistakes:
                _log.error("{name}: {mistake}", name=worker.name, mistake=mistake)
            worker.end()  # it may run, and serve nobody; once it's gone, it is replaced
