"""Runs the bench: starts origin and subjects, plays the rounds, prints the tables."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import (
    client,
    collapse,
    fetching,
    figures,
    idle,
    loads,
    options,
    origin,
    scaling,
    servers,
    subjects,
    table,
    works,
)


@dataclasses.dataclass
class Results:
    """All that was measured, and what must not have happened."""

    rounds: list[figures.Round] = dataclasses.field(default_factory=list)
    idles: list[idle.Idle] = dataclasses.field(default_factory=list)
    collapses: list[collapse.Played] = dataclasses.field(default_factory=list)
    fetches: list[fetching.Played] = dataclasses.field(default_factory=list)
    scalings: list[scaling.Played] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def write(self, path: Path, chosen: options.Options) -> None:
        """Write the raw rounds to *path* as JSON, after the options that shaped them."""
        raw = {
            "options": dataclasses.asdict(dataclasses.replace(chosen, json=None)),
            "rounds": [played._asdict() for played in self.rounds],
            "collapse": [played._asdict() for played in self.collapses],
            "idle": [played._asdict() for played in self.idles],
            "fetch": [played._asdict() for played in self.fetches],
            "workers": [played._asdict() for played in self.scalings],
            "failures": self.failures,
        }
        path.write_text(json.dumps(raw, indent=1) + "\n")


def main(arguments: Sequence[str]) -> int:
    """Run the bench as *arguments* say; return the exit status: 0, or 1 after any error."""
    chosen = options.parse(arguments)
    missing = loads.missing_tools()
    if missing:
        print("not installed:", ", ".join(missing), file=sys.stderr)
        return 1
    # A plain kill must pass through the finally clauses too, or the servers would stay.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    results = Results()
    with ExitStack() as stack:
        try:
            run(chosen, stack, results)
        except (servers.StartFailed, client.Unexpected) as error:
            results.failures.append(str(error))
    if chosen.json is not None:
        results.write(chosen.json, chosen)
    for failure in results.failures:
        print("FAILED", failure, file=sys.stderr)
    return 1 if results.failures else 0


def run(chosen: options.Options, stack: ExitStack, results: Results) -> None:
    """Start the origin on *stack*, which ends it, and measure into *results*."""
    cpus, allowed = servers.choose_cpus(), os.sched_getaffinity(0)
    print(placement(cpus), flush=True)
    base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxyapp-bench-")))
    base.chmod(0o755)  # servers that give up root must reach their folders
    os.sched_setaffinity(0, {cpus.load})
    source = origin.Origin(base, cpus.load)
    stack.callback(source.server.stop)
    source.await_start()
    if wanted := works.wanted(works.COMMANDS[chosen.command], chosen.row):
        with start_subjects(chosen, base, cpus.subject, source.port, results) as running:
            for work in wanted:
                measure_work(work, chosen, running, source, results)
    if chosen.command in ("cache", "all"):
        # In all other works nobody has a cache.
        with start_subjects(chosen, base, cpus.subject, source.port, results, True) as running:
            measure_caches(chosen, running, source, results)
    if chosen.command in ("fetch", "all"):
        results.fetches += fetching.measure(chosen, base, cpus)
        results.failures += fetching.failures(results.fetches)
        print("\n" + fetching.fetch_table(results.fetches), flush=True)
    if chosen.command in ("idle", "all"):
        # Fresh processes: memory freed by earlier loads would hide what a connection takes.
        with start_subjects(chosen, base, cpus.subject, source.port, results) as running:
            measure_idle(chosen, running, source, results)
    if chosen.command in ("workers", "all"):
        results.scalings += scaling.measure(chosen, base, allowed, source)
        results.failures += scaling.failures(results.scalings)
        print("\n" + scaling.scaling_table(results.scalings), flush=True)


def placement(cpus: servers.Cpus) -> str:
    """Return a sentence that says who runs where."""
    if cpus.subject == cpus.load:
        return (
            f"ONLY ONE PROCESSOR ({cpus.load}): subjects, load and origin share it; "
            "trust CPU times, not rates."
        )
    return f"subjects on processor {cpus.subject}, load and origin on processor {cpus.load}"


@contextmanager
def start_subjects(
    chosen: options.Options,
    base: Path,
    cpu: int,
    origin_port: int,
    results: Results,
    caches: bool = False,
) -> Iterator[list[subjects.Subject]]:
    """Run the chosen subjects for a while; a rival that can't start is named and left out.

    With *caches*, only those that can have one, and they have.
    """
    running = []
    with ExitStack() as stack:
        for key in chosen.subjects:
            if caches and not subjects.KINDS[key].caches:
                continue
            try:
                subject = subjects.start(key, base, {cpu}, origin_port, chosen, caches)
            except servers.StartFailed as error:
                print(error, flush=True)
                if key == subjects.OURS:
                    results.failures.append(str(error))
                continue
            stack.callback(subject.server.stop)
            running.append(subject)
        if not running:
            raise servers.StartFailed("there is no subject to measure")
        yield running


def measure_work(
    work: works.Work,
    chosen: options.Options,
    running: Sequence[subjects.Subject],
    source: origin.Origin,
    results: Results,
) -> None:
    """Play all rounds of *work* and print its table."""
    entered = works.entrants(work, running, source)
    if not entered:
        return
    size = loads.Size(chosen.seconds, chosen.connections)
    rounds = list(works.play(work, entered, source, size, chosen.rounds))
    results.rounds += rounds
    results.failures += works.failures(work, rounds, chosen.connections)
    names = {subject.key: subject.name for subject in entered}
    print("\n" + table.work_table(work, rounds, names), flush=True)


def measure_caches(
    chosen: options.Options,
    running: Sequence[subjects.Subject],
    source: origin.Origin,
    results: Results,
) -> None:
    """Play what only those can do that have a cache."""
    for work in works.wanted(works.CACHE, chosen.row):
        measure_work(work, chosen, running, source, results)
    if chosen.row in collapse.ROW:
        measure_collapse(chosen, running, source, results)


def measure_collapse(
    chosen: options.Options,
    running: Sequence[subjects.Subject],
    source: origin.Origin,
    results: Results,
) -> None:
    """Let many clients ask each subject for one long response at once, and print the table."""
    played = list(collapse.play(running, source, chosen.rounds))
    results.collapses += played
    results.failures += collapse.failures(played)
    names = {subject.key: subject.name for subject in running}
    print("\n" + collapse.collapse_table(played, names), flush=True)


def measure_idle(
    chosen: options.Options,
    running: Sequence[subjects.Subject],
    source: origin.Origin,
    results: Results,
) -> None:
    """Hold idle connections to each subject that keeps clients, and print the table."""
    spare = 500
    count = min(chosen.idle_connections, servers.allow_descriptors() - spare)
    if count < chosen.idle_connections:
        print(f"the limit of open descriptors allows {count} idle connections only")
    able = [each for each in running if subjects.KINDS[each.key].keeps_clients]
    played = [idle.measure(each, source.port, count) for each in able]
    results.idles += played
    for each in played:
        results.failures += idle.failures(each)
    print("\n" + idle.idle_table(played, {each.key: each.name for each in able}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
