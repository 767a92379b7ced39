"""Those who serve one configuration, and how they are mustered: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from proxyapp.workers.member import Member, Outline, Patience
from proxyapp.workers.process import NotStarted, WorkerProcess
from proxyapp.workers.slots import NotListening, Opened, Slots

_BRIEF = Patience(30.0, 30.0)


@dataclass(slots=True)
class Generation:
    """The *members* that serve the configuration *ini*, on the sockets *opened* of its places."""

    outline: Outline
    ini: bytes | None
    opened: Sequence[Opened]
    members: list[Member] = field(default_factory=list)

    def listen(self, worker: WorkerProcess, number: int) -> None:
        """Let *worker* accept whom the kernel leads to the worker *number*."""
        worker.listen(number, self.outline.places, self.opened, self.outline.workers)


# Starts the worker with this number and this configuration; raises OSError.
Spawn = Callable[[int, bytes | None], WorkerProcess]


# Raises NotStarted where the master can't do what a configuration asks of it.
Check = Callable[[Outline], None]


async def muster(spawn: Spawn, slots: Slots, ini: bytes | None, check: Check) -> Generation:
    """Return a generation that serves *ini*; raises NotStarted, and then nothing has changed."""
    fresh: list[WorkerProcess] = []
    before = slots.counts
    try:
        # The first one reads the configuration, so that it's the installed version that does.
        fresh.append(spawn(0, ini))
        outline = await fresh[0].startup.configured
        check(outline)
        fresh += [spawn(number, ini) for number in range(1, outline.workers)]
        for worker in fresh[1:]:
            await worker.startup.configured
        # Only now: a socket that nobody accepts on would keep clients waiting.
        generation = Generation(outline, ini, slots.open(outline.places, outline.workers), [*fresh])
        for worker in fresh:
            generation.listen(worker, worker.part.number)
        for worker in fresh:
            await worker.startup.ready
    except (NotStarted, NotListening, OSError) as error:
        slots.back_to(before)
        for worker in fresh:
            worker.startup.forget()
            worker.drain(_BRIEF)  # some may have begun to serve
        raise NotStarted(_mistakes(error)) from error
    return generation


def _mistakes(error: Exception) -> Sequence[str]:
    if isinstance(error, NotStarted):
        return error.mistakes
    if isinstance(error, OSError):
        return [f"no process can be started: {error.strerror}"]
    return [str(error)]


def text_of(path: Path | None) -> bytes | None:
    """Return what the ini at *path* holds now; None if there is none, or it can't be read."""
    if path is not None:
        with suppress(OSError):  # whoever has to use it will say so
            return path.read_bytes()
    return None
