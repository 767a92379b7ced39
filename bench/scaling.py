"""Two workers beside one: how much more they do when both processors are theirs.

Nobody is pinned to a processor here. The load shares them with the workers, so each row says how
much of them it took: what it takes of the second one, two workers can't have.
"""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import figures, loads, options, origin, subjects, table

LEAST_GAIN = 1.7
WORKERS = (1, 2)
WARM_UP_SECONDS = 1
# A folder of so many files makes a page that costs the subject far more than it costs wrk.
_FILES = 100


class Job(NamedTuple):
    """What is asked for: a path of the site, or an URL that the cache has."""

    name: str
    is_of_site: bool


class Played(NamedTuple):
    """One round of one job. Seconds of processor time are of all workers and of the load."""

    job: str
    workers: int
    requests: int
    seconds: float
    cpu_seconds: float
    load_seconds: float
    errors: int


LISTING = Job("site, the list of a folder", True)
HIT = Job("cache, a hit of 1 KiB", False)
JOBS = (LISTING, HIT)


def measure(
    chosen: options.Options, base: Path, allowed: Collection[int], source: origin.Origin
) -> list[Played]:
    """Play all rounds on the processors *allowed*; raises servers.StartFailed."""
    folder = base / "folder"
    folder.mkdir()
    for number in range(_FILES):
        (folder / f"{number}.txt").write_text("one of many\n")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed)
    try:
        with ExitStack() as stack:
            crews = []
            for workers in WORKERS:
                own = (f"proxyapp.workers={workers}", f"site.root={folder}", "site.listings=yes")
                several = dataclasses.replace(chosen, settings=(*chosen.settings, *own))
                crew = subjects.start(
                    subjects.OURS, base, allowed, source.port, several, caches=True
                )
                stack.callback(crew.server.stop)
                crew.server.await_port(crew.site_port)
                crews.append((workers, crew))
            return list(play(crews, source, chosen))
    finally:
        os.sched_setaffinity(0, before)


def play(
    crews: Sequence[tuple[int, subjects.Subject]], source: origin.Origin, chosen: options.Options
) -> Iterator[Played]:
    """Let one worker and two take turns at each job."""
    size = loads.Size(chosen.seconds, chosen.connections)
    for job in JOBS:
        for _, crew in crews:
            _load(job, crew, source, size._replace(seconds=WARM_UP_SECONDS))
        for turn in range(chosen.rounds):
            for workers, crew in crews[:: -1 if turn % 2 else 1]:
                own, ours = _load_seconds(), crew.server.cpu_seconds()
                load = _load(job, crew, source, size)
                ours = crew.server.cpu_seconds() - ours
                own = _load_seconds() - own
                yield Played(job.name, workers, load.requests, load.seconds, ours, own, load.errors)


def _load(job: Job, crew: subjects.Subject, source: origin.Origin, size: loads.Size) -> loads.Load:
    if job.is_of_site:
        return loads.static("", loads.Route(crew.site_port, source.port), size)
    return loads.forward("kept/1k.bin", loads.Route(crew.port, source.port), size)


def _load_seconds() -> float:
    """Return the processor time of the loads that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# What it came to.


def scaling_table(rounds: Sequence[Played]) -> str:
    """Return a table of all rounds, jobs below each other."""
    headings = ["", "workers", "requests/s", "CPU us/request", "processors busy", "by the load"]
    rows = [[*headings, "errors", "gain", "bar"]]
    for job in dict.fromkeys(played.job for played in rounds):
        for workers in WORKERS:
            mine = _of(rounds, job, workers)
            is_several = workers > 1
            rows.append(
                [
                    job,
                    str(workers),
                    _spread(mine, [each.requests / each.seconds for each in mine]),
                    _spread(mine, [_cost(each) for each in mine]),
                    _spread(mine, [each.cpu_seconds / each.seconds for each in mine]),
                    _spread(mine, [each.load_seconds / each.seconds for each in mine]),
                    str(sum(each.errors for each in mine)),
                    f"{gain(rounds, job):.2f}" if is_several else "",
                    verdict(rounds, job) if is_several and job == LISTING.name else "",
                ]
            )
    return table.render("two workers beside one", rows)


def _of(rounds: Sequence[Played], job: str, workers: int) -> list[Played]:
    return [each for each in rounds if (each.job, each.workers) == (job, workers)]


def _cost(played: Played) -> float | None:
    return figures.ratio(played.cpu_seconds * 1e6, played.requests)


def _spread(rounds: Sequence[Played], values: Sequence[float | None]) -> str:
    return str(figures.spread(values) or "-") if rounds else "-"


def gain(rounds: Sequence[Played], job: str) -> float:
    """Return how many times the requests of one worker two answer in the same time."""
    rates = []
    for workers in WORKERS:
        mine = _of(rounds, job, workers)
        found = figures.spread(figures.ratio(each.requests, each.seconds) for each in mine)
        rates.append(found.median if found else 0.0)
    return rates[1] / rates[0] if rates[0] else 0.0


def verdict(rounds: Sequence[Played], job: str) -> str:
    """Return the bar, and whether it is passed."""
    return f">= {LEAST_GAIN} {'ok' if gain(rounds, job) >= LEAST_GAIN else 'MISSED'}"


def failures(rounds: Sequence[Played]) -> list[str]:
    """Return what makes the figures worthless."""
    return [
        f"{each.job}, {each.workers} workers: {each.errors} errors beside {each.requests} requests"
        for each in rounds
        if each.errors or not each.requests
    ]
