"""A worker as the master sees it: a process, what it has said, and what it is still to say."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp.net.reactor import IApplianceReactor
from proxyapp.workers.channel import Channel, open_channel
from proxyapp.workers.events import log_event
from proxyapp.workers.inherited import CHANNEL, MEMORY, VARIABLE
from proxyapp.workers.member import Counts, Outline, Patience, outline_from
from proxyapp.workers.messages import Json, Message
from proxyapp.workers.slots import Opened, Place
from proxyapp.workers.tunnels import Refusal, Tunnel, refusals_from, tunnels_from

# How long a worker may take to be ready, and to do what it was told (seconds). Both are generous: a
# small board with a slow card takes ten seconds for its imports.
START_TIMEOUT = 60.0
_END_TIMEOUT = 10.0

_log = Logger()


class NotStarted(Exception):
    """A worker can't serve; *mistakes* say why, one a line."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Command:
    """How a worker is started: as twistd was, from where, and in which environment."""

    arguments: tuple[str, ...]
    folder: str
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Common:
    """What all workers of a master have: the descriptor of the shared memory, and a secret."""

    memory: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker is told at its start: its number, and the text of its configuration.

    *ini* is None where there is no file, or it can't be read. It counts in *row*.
    """

    number: int
    ini: bytes | None
    row: int


class _Process(protocol.ProcessProtocol):
    """Tells the worker of the end of its process."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    def processEnded(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        self._worker.process_ended(_how(reason))


class Startup:
    """The way of a worker until it serves: *configured* fires, then *ready*, or they fail.

    They fail with NotStarted; *on_timeout* is called where it takes too long.
    """

    def __init__(self, clock: IReactorTime, on_timeout: Callable[[], None]) -> None:
        self.configured: Deferred[Outline] = Deferred()
        self.ready: Deferred[None] = Deferred()
        self._on_timeout = on_timeout
        self._deadline: IDelayedCall | None = clock.callLater(START_TIMEOUT, self._too_slow)

    @property
    def is_over(self) -> bool:
        """Does it serve, or did it fail?"""
        return self.ready.called

    def succeed(self) -> None:
        """It serves."""
        self.stop_waiting()
        if not self.ready.called:
            self.ready.callback(None)

    def fail(self, mistakes: Sequence[str]) -> None:
        """It can't serve; nothing happens where it does."""
        self.stop_waiting()
        if not self.configured.called:
            self.configured.errback(NotStarted(mistakes))
        elif not self.ready.called:
            self.ready.errback(NotStarted(mistakes))

    def forget(self) -> None:
        """Nobody wants to know any more how it ends."""
        for deferred in (self.configured, self.ready):
            deferred.addErrback(lambda _: None)

    def stop_waiting(self) -> None:
        """It may take its time."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self.fail([f"a new worker was not ready after {START_TIMEOUT:.0f} seconds"])
        self._on_timeout()


class WorkerProcess:
    """See Member."""

    def __init__(
        self,
        reactor: IApplianceReactor,
        command: Command,
        common: Common,
        part: Part,
        on_leaving: Callable[[WorkerProcess], None],
    ) -> None:
        """Start it; *on_leaving* is called where it begins to end by itself. Raises OSError."""
        self.part = part
        self._on_leaving = on_leaving
        self.startup = Startup(reactor, self.kill)
        self.gone: Deferred[None] = Deferred()
        self.counts = Counts()
        self.is_draining = False
        self.how = ""  # it ended
        self.started_at = reactor.seconds()
        # How often it was asked since it last said something.
        self.unanswered = 0
        self._served: set[int] = set()
        self._reactor = reactor
        self._answers: dict[str, list[Deferred[Message]]] = {"tunnels": [], "judged": []}
        self._channel = Channel(self._heard, lambda: None)
        self._start(command, common)

    def __repr__(self) -> str:
        state = "draining" if self.is_draining else self.how or "serving"
        return f"<WorkerProcess {self.name} {state}>"

    def _start(self, command: Command, common: Common) -> None:
        ours, theirs = socket.socketpair()
        given = {0: 0, 1: 1, 2: 2, CHANNEL: theirs.fileno(), MEMORY: common.memory}
        environ = {**command.environ, VARIABLE: str(CHANNEL)}
        process = self._reactor.spawnProcess(
            _Process(self),
            sys.executable,
            command.arguments,
            environ,
            command.folder,
            childFDs=given,
        )
        theirs.close()
        self._process = process
        self.pid = int(process.pid or 0)
        # What it is called in the event log.
        self.name = f"worker {self.part.number + 1} ({self.pid})"
        open_channel(self._reactor, ours, self._channel)
        ini = self.part.ini
        text = None if ini is None else ini.decode("latin-1")
        self._channel.say(
            "hello",
            number=self.part.number,
            row=self.part.row,
            secret=common.secret.hex(),
            ini=text,
        )

    # What it says.

    def _heard(self, message: Message) -> None:
        self.unanswered = 0
        match message.word:
            case "configured":
                self.startup.configured.callback(outline_from(message))
            case "ready":
                self.startup.succeed()
            case "mistaken":
                self.startup.fail(message.texts("mistakes"))
            case "pong":
                self.counts = Counts(message.count("clients"), message.count("tunnels"))
            case "leaving" if not self.is_draining:
                self.is_draining = True
                self._on_leaving(self)
            case "event":
                log_event(message, self.name)
            case word if self._answers.get(word):
                self._answers[word].pop(0).callback(message)

    @property
    def is_serving(self) -> bool:
        """Does it accept clients?"""
        return self.startup.is_over and not self.is_draining and not self.how

    def process_ended(self, how: str) -> None:
        """The process is gone."""
        self.how = how
        self.startup.fail([f"{self.name} {how} before it was ready"])
        self._channel.close()
        for waiting in self._answers.values():
            for deferred in waiting:
                deferred.errback(NotStarted([f"{self.name} {how}"]))
            waiting.clear()
        self.gone.callback(None)

    # What it is told.

    def listen(
        self, number: int, places: Sequence[Place], opened: Sequence[Opened], count: int
    ) -> None:
        """Hand over what the worker *number* of *count* has of *opened*, the sockets of *places*.

        With its own number it begins to serve; another one's it serves as well, from the first time
        on.
        """
        if number in self._served:
            return
        self._served.add(number)
        descriptors: list[int] = []
        told: list[Json] = []
        for (section, description), each in zip(places, opened, strict=True):
            found = [one.fileno() for one in each.of(number, count)]
            descriptors += found
            told.append({"section": section, "description": description, "sockets": len(found)})
        word = "listen" if number == self.part.number else "also"
        self._channel.hand(word, descriptors, places=told)

    def ask_counts(self) -> None:
        """Ask what is going on; `unanswered` tells whether it answers."""
        self.unanswered += 1
        self._channel.say("ping")

    async def tunnels(self) -> Sequence[Tunnel]:
        """See Member; raises NotStarted where it is gone."""
        return tunnels_from(await self._ask("tunnels", "tunnels"))

    async def judge(self, tunnels: Sequence[Tunnel]) -> Sequence[Refusal]:
        """Return those of *tunnels* that its configuration denies; raises NotStarted."""
        told: list[Json] = [tunnel.to_json() for tunnel in tunnels]
        return refusals_from(await self._ask("judge", "judged", tunnels=told))

    def _ask(self, word: str, answer: str, **fields: Json) -> Deferred[Message]:
        asked: Deferred[Message] = Deferred()
        if self.how:
            asked.errback(NotStarted([f"{self.name} {self.how}"]))
            return asked
        self._answers[answer].append(asked)
        self._channel.say(word, **fields)
        return asked

    def cut(self, refused: Sequence[Refusal]) -> None:
        """See Member."""
        self._channel.say("cut", refused=[each.to_json() for each in refused])

    def drain(self, patience: Patience) -> None:
        """See Member; it is killed if it doesn't end long after it should have."""
        self.is_draining = True
        self.startup.stop_waiting()
        if not self.how:
            self._channel.say("drain", requests=patience.requests, tunnels=patience.tunnels)
            self._kill_after(patience.longest + _END_TIMEOUT)

    def reopen_log(self) -> None:
        """See Member."""
        self._channel.say("reopen")

    def end(self) -> None:
        """See Member."""
        self.is_draining = True
        self.startup.stop_waiting()
        if not self.how:
            self._channel.say("end")
            self._kill_after(_END_TIMEOUT)

    def _kill_after(self, seconds: float) -> None:
        call = self._reactor.callLater(seconds, self.kill)
        self.gone.addCallback(lambda _: call.cancel() if call.active() else None)

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")


def _how(reason: Failure) -> str:
    ended = reason.value
    if not isinstance(ended, ProcessTerminated):
        return "ended"
    if ended.signal is not None:
        return f"was ended by {signal.Signals(ended.signal).name}"
    return f"ended with exit status {ended.exitCode}"


def command_line(started: Sequence[str], given: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Return what starts a worker, as this process was *started* by Python.

    *given* is what twistd was given, after its name, and *ours* what of it is behind `proxyapp`.
    """
    front = started[: len(started) - len(given)]
    logger = "--logger=proxyapp.workers.events.observer"
    return [*front, "-n", "--pidfile=", logger, "proxyapp", *ours]
