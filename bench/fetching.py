"""The content proxy beside one that downloads first: when clients on slow lines have their answer.

Origin and clients have lines of one speed, on which the body takes BODY_SECONDS. Who downloads
first and delivers then lets the client wait for both; who streams, for one of them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from bench import client, figures, options, servers, slow, subjects, table
from bench.subjects import OURS

ROOT = Path(__file__).resolve().parent.parent
REGULAR = "download first"
DIRECT = "(no proxy)"
# What the article of 2007 measured for streaming, and what an answer may lose on its way.
LEAST_SHORTER = 29.0  # per cent
MOST_BEHIND = 5.0  # ms
# A slow line doesn't bring 64 KiB at once.
_READ_BYTES = 2048
_REQUEST_SECONDS = 20.0


class Way(NamedTuple):
    """Where clients ask, and what for."""

    name: str
    port: int
    path: str


class Played(NamedTuple):
    """One round of one way. *mean* is that of the response times, *behind* the median of how long
    after the origin sent it the first byte of the body was there; both in seconds.
    """

    way: str
    requests: int
    seconds: float
    mean: float
    behind: float
    errors: int


class Answer(NamedTuple):
    """One answer: when it was whole, and how long its first byte was on the way (s)."""

    taken: float
    behind: float


def measure(chosen: options.Options, base: Path, cpus: servers.Cpus) -> list[Played]:
    """Play all rounds; raises servers.StartFailed."""
    with ExitStack() as stack:

        def start(module: str) -> int:
            """Run *module* of the bench as a process; return its port."""
            port = servers.free_ports(1)[0]
            folder = Path(tempfile.mkdtemp(prefix="fetch-", dir=base))
            argv = [sys.executable, "-m", f"bench.{module}", str(port)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            server = servers.Server(f"bench.{module}", argv, folder, {cpus.load}, environment)
            stack.callback(server.stop)
            server.await_port(port)
            return port

        origin = start("slow")
        subject = subjects.start(OURS, base, {cpus.subject}, origin, chosen)
        stack.callback(subject.server.stop)
        subject.server.await_port(subject.site_port)
        path = "/fetch?url=" + quote(f"http://{servers.LOOPBACK}:{origin}/", safe="")
        ways = [
            Way(OURS, subject.site_port, path),
            Way(REGULAR, start("regular"), path),
            Way(DIRECT, origin, "/"),
        ]
        return list(play(ways, chosen))


def play(ways: Sequence[Way], chosen: options.Options) -> Iterator[Played]:
    """Let the ways take turns."""
    for number in range(chosen.rounds):
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            yield asyncio.run(load(way, chosen.connections, chosen.seconds))


async def load(way: Way, clients: int, seconds: float) -> Played:
    """Let *clients* ask one request after the other for *seconds*, and end the last ones."""
    began = time.monotonic()
    results = await asyncio.gather(*(one(way, began + seconds) for _ in range(clients)))
    answers = [answer for found, _ in results for answer in found]
    errors = sum(failed for _, failed in results)
    taken = time.monotonic() - began
    mean = statistics.fmean(each.taken for each in answers) if answers else 0.0
    behind = statistics.median(each.behind for each in answers) if answers else 0.0
    return Played(way.name, len(answers), taken, mean, behind, errors)


async def one(way: Way, until: float) -> tuple[list[Answer], int]:
    """Be one client on a connection of its own; return its answers, and how many failed."""
    answers: list[Answer] = []
    try:
        reader, writer = await asyncio.open_connection(servers.LOOPBACK, way.port)
        try:
            while time.monotonic() < until:
                answers.append(await asyncio.wait_for(ask(way, reader, writer), _REQUEST_SECONDS))
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError, client.Unexpected, TimeoutError):
        return answers, 1
    return answers, 0


async def ask(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    """Ask once, and read the answer as fast as the line lets it in; raises Unexpected."""
    asked = time.monotonic()
    writer.write(f"GET {way.path} HTTP/1.1\r\nHost: {servers.LOOPBACK}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if client.status_in(head) != 200:
        raise client.Unexpected(f"the answer is {head[:60]!r}")
    stamp = await reader.readexactly(slow.STAMP_BYTES)
    begun = time.monotonic()
    got = slow.STAMP_BYTES
    while got < slow.BODY_BYTES:
        got += len(await reader.readexactly(min(_READ_BYTES, slow.BODY_BYTES - got)))
        due = begun + slow.BODY_SECONDS * got / slow.BODY_BYTES
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return Answer(time.monotonic() - asked, begun - float(stamp))


# What it came to.


def fetch_table(rounds: Sequence[Played]) -> str:
    """Return the table of all rounds."""
    headings = ["", "requests/s", "response ms", "first byte ms behind", "errors", "shorter", "bar"]
    rows = [headings]
    for name in dict.fromkeys(played.way for played in rounds):
        mine = [played for played in rounds if played.way == name]
        rows.append(
            [
                name,
                _spread(mine, lambda each: figures.ratio(each.requests, each.seconds)),
                _spread(mine, lambda each: each.mean * 1e3),
                _spread(mine, lambda each: each.behind * 1e3),
                str(sum(each.errors for each in mine)),
                f"{shorter(rounds):.0f} %" if name == OURS else "",
                verdict(rounds) if name == OURS else "",
            ]
        )
    return table.render("fetch, 300 ms think and 700 ms body", rows)


def _spread(rounds: Sequence[Played], of: Callable[[Played], float | None]) -> str:
    return str(figures.spread(map(of, rounds)) or "-")


def shorter(rounds: Sequence[Played]) -> float:
    """Return by how many per cent our response time is shorter than that of downloading first."""
    means = {name: [each.mean for each in rounds if each.way == name] for name in (OURS, REGULAR)}
    if not all(means.values()) or not statistics.median(means[REGULAR]):
        return 0.0
    return 100 * (1 - statistics.median(means[OURS]) / statistics.median(means[REGULAR]))


def verdict(rounds: Sequence[Played]) -> str:
    """Return the two bars, and whether they are passed."""
    behind = statistics.median(each.behind for each in rounds if each.way == OURS) * 1e3
    is_good = shorter(rounds) >= LEAST_SHORTER and behind <= MOST_BEHIND
    bars = f">= {LEAST_SHORTER:.0f} %, <= {MOST_BEHIND:.0f} ms"
    return f"{bars} {'ok' if is_good else 'MISSED'}"


def failures(rounds: Sequence[Played]) -> list[str]:
    """Return what makes the figures worthless."""
    return [
        f"fetch, {each.way}: {each.errors} errors beside {each.requests} requests"
        for each in rounds
        if each.errors or not each.requests
    ]
