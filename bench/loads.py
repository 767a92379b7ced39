"""The loads: each keeps one subject busy for some seconds and says what came back."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import client, origin, servers

LUA = Path(__file__).with_name("absolute_form.lua")
# A load that only meets errors ends early instead of waiting for a time-out each time.
MAX_ERRORS = 5
# Tunnels leave two sockets in TIME_WAIT each; three rounds of all stay below the port range.
MAX_TUNNELS = 1500
DOWNLOAD = "256m.bin"
DOWNLOAD_SECONDS = 120
# They are written to a disk, which has to take them: 1 GiB a load.
MAX_FILLS = 4
_NUMBERS = itertools.count()


class Route(NamedTuple):
    """Where a load goes: the subject's port and the origin's, both on loopback.

    *keeps* is no for a subject that ends each connection after one answer, without saying so.
    """

    proxy_port: int
    origin_port: int
    keeps: bool = True
    tls_port: int = 0

    @property
    def authority(self) -> str:
        """Host and port of the origin."""
        return f"{servers.LOOPBACK}:{self.origin_port}"

    def url(self, name: str) -> str:
        """Return the URL of the origin's file *name*."""
        return f"http://{self.authority}/{name}"


class Size(NamedTuple):
    """How much load: for how long, and over how many connections where there are several."""

    seconds: int
    connections: int


class Load(NamedTuple):
    """What came back; *p50* and *p99* are seconds a request, zero where nobody took them."""

    requests: int
    octets: int
    seconds: float
    errors: int
    p50: float = 0.0
    p99: float = 0.0


def missing_tools() -> list[str]:
    """Return the load programs that aren't installed."""
    return [name for name in ("wrk", "curl") if shutil.which(name) is None]


def forward(name: str, route: Route, size: Size) -> Load:
    """Ask the origin for the file *name* over keep-alive connections, with wrk."""
    return _wrk(route, size, route.url(name), route.authority)


def upgrade(name: str, route: Route, size: Size) -> Load:
    """Ask for the file *name* in plain text, by the URL that it has at the origin over TLS."""
    host = f"{servers.LOOPBACK}:{route.tls_port}"
    return _wrk(route, size, f"https://{host}/{name}", host)


def static(name: str, route: Route, size: Size) -> Load:
    """Ask the subject itself for the file *name*, with wrk."""
    return _wrk(route, size, f"/{name}", f"{servers.LOOPBACK}:{route.proxy_port}")


def _wrk(route: Route, size: Size, target: str, host: str) -> Load:
    argv = ["wrk", "-t1", f"-c{size.connections}", f"-d{size.seconds}s", "--timeout", "10s"]
    argv += ["-s", str(LUA), f"http://{servers.LOOPBACK}:{route.proxy_port}/"]
    argv += ["--", target, host]
    finished = subprocess.run(
        argv, capture_output=True, text=True, timeout=size.seconds + 60, check=False
    )
    if finished.returncode != 0:  # not one connection succeeded
        return Load(0, 0, size.seconds, 1)
    return parse_wrk(finished.stderr, route.keeps)


def parse_wrk(text: str, keeps: bool) -> Load:
    """Return the load in the line of figures that our wrk script writes.

    Where the subject *keeps* connections, each one that ended is an error.
    """
    requests, octets, duration, failed, ended, p50, p99 = map(int, text.split())
    errors = failed + ended if keeps else failed
    return Load(requests, octets, duration / 1e6, errors, p50 / 1e6, p99 / 1e6)


def downloads(route: Route, size: Size) -> Load:
    """Fetch a large file through one tunnel after the other, with curl, until time is up."""

    def download() -> int:
        return _curl(route, route.url(DOWNLOAD), 200, "--proxytunnel")

    return repeat(download, size.seconds)


def fills(route: Route, size: Size) -> Load:
    """Fetch a large file that is to be cached, each time by a URL that is new, with curl."""

    def fill() -> int:
        return _curl(route, new_url(route, f"kept/{DOWNLOAD}"), 0)

    return repeat(fill, size.seconds, MAX_FILLS)


def new_url(route: Route, name: str) -> str:
    """Return a URL of the file *name* that nobody has asked for yet."""
    return route.url(f"{name}?{next(_NUMBERS)}")


def _curl(route: Route, url: str, connected: int, *options: str) -> int:
    """Fetch the large file and return its size; *connected* is the status of CONNECT."""
    argv = ["curl", "-q", "-sS", "--noproxy", "", "-m", str(DOWNLOAD_SECONDS), *options]
    argv += ["-x", f"http://{servers.LOOPBACK}:{route.proxy_port}", "-o", os.devnull]
    argv += ["-w", "%{http_connect} %{http_code} %{size_download}", url]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False)
    if finished.stdout != f"{connected:03d} 200 {origin.SIZES[DOWNLOAD]}":
        raise client.Unexpected(f"curl: {finished.stdout} {finished.stderr.strip()}")
    return origin.SIZES[DOWNLOAD]


def tunnels(route: Route, size: Size) -> Load:
    """Open one tunnel after the other, for one small GET each."""
    get = f"GET /1k.bin HTTP/1.1\r\nHost: {route.authority}\r\nConnection: close\r\n\r\n".encode()

    def tunnel() -> int:
        with client.Connection(route.proxy_port) as connection:
            connection.connect(route.authority)
            return _whole(connection.ask(get))

    return repeat(tunnel, size.seconds, MAX_TUNNELS)


def one_at_a_time(route: Route, size: Size) -> Load:
    """Ask for 1 KiB again and again on one connection, which is made anew if it must be."""
    get = f"GET {route.url('1k.bin')} HTTP/1.1\r\nHost: {route.authority}\r\n\r\n".encode()
    kept: list[client.Connection] = []

    def request() -> int:
        connection = kept.pop() if kept else client.Connection(route.proxy_port)
        answer = connection.ask(get)
        if answer.persists and route.keeps:
            kept.append(connection)
        else:
            connection.close()
        return _whole(answer)

    load = repeat(request, size.seconds)
    for connection in kept:
        connection.close()
    return load


def repeat(once: Callable[[], int], seconds: float, at_most: int | None = None) -> Load:
    """Call *once*, which returns the bytes it got, until time is up; time every call."""
    taken: list[float] = []
    octets = errors = 0
    begun = now = time.monotonic()
    while now - begun < seconds and errors < MAX_ERRORS and len(taken) != at_most:
        before = now
        try:
            octets += once()
        except (OSError, client.Unexpected):
            errors += 1
        now = time.monotonic()
        taken.append(now - before)
    taken.sort()
    p50, p99 = percentile(taken, 50), percentile(taken, 99)
    return Load(len(taken) - errors, octets, now - begun, errors, p50, p99)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that *percent* of the *ordered* values don't exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _whole(answer: client.Answer) -> int:
    """Return the length of a good answer's body; raises client.Unexpected for any other."""
    if answer.status != 200 or len(answer.body) != origin.KIB:
        raise client.Unexpected(f"status {answer.status}, {len(answer.body)} bytes")
    return len(answer.body)
