"""The works that subjects are put to, the figures each yields, and the bars proxyapp must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench import figures, loads, origin, subjects
from bench.figures import Measure, Round
from bench.subjects import OURS

DIRECT = "direct"
WARM_UP_SECONDS = 1
# A cache may look once more at what it has; what it fetches again and again isn't stored.
MOST_FETCHED = 2


@dataclass(frozen=True)
class Work:
    """One load and how it is judged: *bars* holds, for a rival, the most of its cost we may have.

    *cost* is the figure the ratios are made of. A *pooled* work must reuse upstream connections. A
    work *on_site* asks the subjects for files of their own; one that *upgrades* has them speak TLS;
    one that *hits* is answered from their caches.
    """

    name: str
    load: Callable[[loads.Route, loads.Size], loads.Load]
    measures: tuple[Measure, ...]
    cost: Measure
    bars: Mapping[str, float] = field(default_factory=dict)
    pooled: bool = False
    tunnels: bool = False
    beside_origin: bool = False
    on_site: bool = False
    upgrades: bool = False
    hits: bool = False


_RATE = Measure("requests/s", figures.requests_per_second)
_CPU_REQUEST = Measure("CPU us/request", figures.cpu_us_per_request)
_CPU_GB = Measure("CPU ms/GB", figures.cpu_ms_per_gb)
_SPEED = Measure("MB/s", figures.mb_per_second)
_P50 = Measure("p50 us", figures.p50_us)
_P99 = Measure("p99 us", figures.p99_us)
_CPU_TUNNEL = Measure("CPU us/tunnel", figures.cpu_us_per_request)
_TUNNEL_RATE = Measure("tunnels/s", figures.requests_per_second)

FORWARD = (
    Work(
        "forward 1 KiB",
        partial(loads.forward, "1k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"squid": 0.6},
        pooled=True,
    ),
    Work(
        "forward 1 MiB",
        partial(loads.forward, "1m.bin"),
        (_SPEED, _CPU_GB),
        _CPU_GB,
        {"squid": 0.6},
        pooled=True,
    ),
)
TUNNEL = (
    Work(
        "tunnel 256 MiB",
        loads.downloads,
        (_SPEED, _CPU_GB),
        _CPU_GB,
        {"squid": 0.4},
        tunnels=True,
    ),
    Work(
        "tunnel set-up",
        loads.tunnels,
        (_TUNNEL_RATE, _CPU_TUNNEL),
        _CPU_TUNNEL,
        {"squid": 1.2},
        tunnels=True,
    ),
)
STATIC = (
    Work(
        "static 1 KiB",
        partial(loads.static, "1k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"nginx": 2.0},
        on_site=True,
    ),
    Work(
        "static 64 KiB",
        partial(loads.static, "64k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        on_site=True,
    ),
    Work(
        "static 1 MiB",
        partial(loads.static, "1m.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"nginx": 1.3},
        on_site=True,
    ),
)
UPGRADE = (
    Work(
        "upgrade 1 KiB",
        partial(loads.upgrade, "1k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"squid": 1.3},
        pooled=True,
        upgrades=True,
    ),
)
LATENCY = (
    Work(
        "one at a time",
        loads.one_at_a_time,
        (_P50, _P99, _CPU_REQUEST),
        _P50,
        {"squid": 1.0},
        pooled=True,
        beside_origin=True,
    ),
)
CACHE = (
    Work(
        "hit 1 KiB",
        partial(loads.forward, "kept/1k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"squid": 0.8},
        hits=True,
    ),
    Work(
        "hit 1 MiB",
        partial(loads.forward, "kept/1m.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        {"squid": 0.8},
        hits=True,
    ),
    Work(
        "no hit, 1 KiB that isn't stored",
        partial(loads.forward, "unkept/1k.bin"),
        (_RATE, _CPU_REQUEST),
        _CPU_REQUEST,
        pooled=True,
    ),
    Work("fill 256 MiB", loads.fills, (_SPEED, _CPU_GB), _CPU_GB),
)
COMMANDS: dict[str, tuple[Work, ...]] = {
    "forward": FORWARD,
    "tunnel": TUNNEL,
    "static": STATIC,
    "upgrade": UPGRADE,
    "latency": LATENCY,
    "cache": (),
    "fetch": (),
    "idle": (),
    "workers": (),
    "all": FORWARD + TUNNEL + STATIC + UPGRADE + LATENCY,
}


def wanted(of: Sequence[Work], row: str) -> list[Work]:
    """Return those whose names have *row* in them."""
    return [work for work in of if row in work.name]


def entrants(
    work: Work, running: Sequence[subjects.Subject], source: origin.Origin
) -> list[subjects.Subject]:
    """Return who takes part in *work*; the origin itself where it is the yardstick."""
    able = [each for each in running if _is_able(subjects.KINDS[each.key], work)]
    if work.beside_origin:
        able.append(subjects.Subject(DIRECT, "(no proxy)", source.port, source.server))
    return able


def _is_able(kind: subjects.Kind, work: Work) -> bool:
    return (
        (kind.tunnels or not work.tunnels)
        and (kind.serves_files or not work.on_site)
        and (kind.upgrades or not work.upgrades)
    )


def route(work: Work, subject: subjects.Subject, source: origin.Origin) -> loads.Route:
    """Return the way a load takes through *subject*."""
    keeps = subject.key == DIRECT or subjects.KINDS[subject.key].keeps_clients
    port = subject.site_port if work.on_site else subject.port
    return loads.Route(port, source.port, keeps, source.tls_port)


def play(
    work: Work,
    entered: Sequence[subjects.Subject],
    source: origin.Origin,
    size: loads.Size,
    rounds: int,
) -> Iterator[Round]:
    """Put the subjects to *work* in turn, *rounds* times, and yield each round as it is played."""
    for subject in entered:
        work.load(route(work, subject, source), size._replace(seconds=WARM_UP_SECONDS))
    for turn in range(rounds):
        first = turn % len(entered)  # nobody always comes after the same neighbour
        for subject in (*entered[first:], *entered[:first]):
            yield measure(work, subject, source, size)


def measure(
    work: Work, subject: subjects.Subject, source: origin.Origin, size: loads.Size
) -> Round:
    """Put one subject to *work* once."""
    counts, cpu_seconds = source.counts(), subject.server.cpu_seconds()
    load = work.load(route(work, subject, source), size)
    cpu_seconds = subject.server.cpu_seconds() - cpu_seconds
    counts = source.counts().since(counts)
    return Round(
        work.name,
        subject.key,
        load.requests,
        load.octets,
        load.seconds,
        cpu_seconds,
        load.errors,
        counts.accepted,
        load.p50,
        load.p99,
        counts.requests,
    )


def failures(work: Work, rounds: Iterable[Round], connections: int) -> list[str]:
    """Return what makes the figures of *work* worthless: errors, or a pool or cache not used."""
    found = []
    for played in rounds:
        who = f"{work.name}, {played.subject}"
        if played.errors or not played.requests:
            found.append(f"{who}: {played.errors} errors beside {played.requests} requests")
        pooled = work.pooled and played.subject == OURS
        if work.hits and played.fetched > MOST_FETCHED:
            found.append(f"{who}: the origin was asked {played.fetched} times for what is stored")
        if pooled and not figures.pool_is_reused(played, connections):
            found.append(f"{who}: {played.dialled} dials for {played.requests} requests")
    return found
