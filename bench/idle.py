"""Thousands of idle keep-alive connections: what they cost in memory and processor time."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench import client, loads, servers, subjects, table

WINDOW_SECONDS = 10.0
SETTLE_SECONDS = 1.5
LEAVE_SECONDS = 10.0
# Each source address has its own ports: this many stays far from the end of the range.
PER_SOURCE = 2000
MAX_KIB = 12.0
MAX_CPU_PERCENT = 0.05  # 0.0 when it is rounded
FIRST = 200


class Idle(NamedTuple):
    """What *opened* connections did to a subject; bytes are growth of resident memory.

    *dropped* were closed by the subject meanwhile. *descriptors_left* stayed open at its side.
    """

    subject: str
    opened: int
    dropped: int
    errors: int
    cpu_seconds: float
    held_bytes: int
    left_bytes: int
    descriptors_left: int

    @property
    def kib_each(self) -> float:
        """KiB of memory for each connection."""
        return self.held_bytes / 1024 / self.opened if self.opened else 0.0

    @property
    def cpu_percent(self) -> float:
        """Share of one processor over the window."""
        return 100 * self.cpu_seconds / WINDOW_SECONDS


def measure(subject: subjects.Subject, origin_port: int, count: int) -> Idle:
    """Hold *count* connections open to *subject*, each after one GET through it; then close."""
    server, route = subject.server, loads.Route(subject.port, origin_port)
    _close(open_many(route, FIRST)[0])  # what the first connections set up isn't theirs
    time.sleep(SETTLE_SECONDS)
    base_bytes, base_descriptors = server.resident_bytes(), server.descriptors()
    held, errors = open_many(route, count)
    try:
        time.sleep(SETTLE_SECONDS)
        held_bytes = server.resident_bytes() - base_bytes
        cpu_seconds = server.cpu_seconds()
        time.sleep(WINDOW_SECONDS)
        cpu_seconds = server.cpu_seconds() - cpu_seconds
        dropped = closed_among(held)
    finally:
        _close(held)
    left = _await_leave(server, base_descriptors)
    left_bytes = server.resident_bytes() - base_bytes
    return Idle(subject.key, len(held), dropped, errors, cpu_seconds, held_bytes, left_bytes, left)


def open_many(route: loads.Route, count: int) -> tuple[list[client.Connection], int]:
    """Open *count* connections with one GET on each; return them and the number of errors."""
    get = f"GET {route.url('1k.bin')} HTTP/1.1\r\nHost: {route.authority}\r\n\r\n".encode()
    held: list[client.Connection] = []
    errors = 0
    while len(held) < count and errors < loads.MAX_ERRORS:
        source = f"127.0.0.{2 + len(held) // PER_SOURCE % 250}"
        try:
            connection = client.Connection(route.proxy_port, source)
            held.append(connection)
            if connection.ask(get).status != 200:
                errors += 1
        except (OSError, client.Unexpected):
            errors += 1
    return held, errors


def closed_among(held: Sequence[client.Connection]) -> int:
    """Return how many connections the other side has closed; an idle one has nothing to read."""
    poller = select.poll()
    for connection in held:
        poller.register(connection.socket, select.POLLIN)
    return len(poller.poll(0))


def failures(idle: Idle) -> list[str]:
    """Return what makes the figures worthless, or is a leak of ours."""
    found = []
    if idle.errors or idle.dropped:
        found.append(f"idle, {idle.subject}: {idle.errors} errors, {idle.dropped} dropped")
    if idle.subject == "proxyapp" and idle.descriptors_left > 0:
        found.append(f"idle, {idle.subject}: {idle.descriptors_left} descriptors left open")
    return found


def idle_table(played: Sequence[Idle], names: dict[str, str]) -> str:
    """Return the table of the idle connections."""
    rows = [["", "open", "dropped", "errors", "KiB each", "CPU %", "left KiB", "left fds", "bar"]]
    for idle in played:
        good = idle.kib_each <= MAX_KIB and idle.cpu_percent < MAX_CPU_PERCENT
        bar = f"<= {MAX_KIB:.0f} KiB, 0.0 % {'ok' if good else 'MISSED'}"
        rows.append(
            [
                names[idle.subject],
                f"{idle.opened:,}",
                str(idle.dropped),
                str(idle.errors),
                f"{idle.kib_each:.1f}",
                f"{idle.cpu_percent:.1f}",
                f"{idle.left_bytes / 1024:,.0f}",
                str(idle.descriptors_left),
                bar if idle.subject == "proxyapp" else "",
            ]
        )
    return table.render(f"idle keep-alive connections over {WINDOW_SECONDS:.0f} s", rows)


def _close(held: Sequence[client.Connection]) -> None:
    for connection in held:
        connection.close()


def _await_leave(server: servers.Server, base: int) -> int:
    """Wait until the server has let go of its descriptors; return how many it has kept."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while (left := server.descriptors() - base) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(SETTLE_SECONDS)
    return left
