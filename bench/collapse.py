"""Many clients that ask for one long response at once: the origin should be asked once."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bench import client, figures, loads, nginx, origin, servers, subjects, table

OURS = "proxyapp"
CLIENTS = 200
NAME = "50m.bin"
# An origin this slow is what a LAN shares; nobody can have it in less time.
LEAST_SECONDS = origin.SIZES[NAME] / (nginx.SLOW_MB_PER_SECOND << 20)
ROW = f"{CLIENTS} clients at once, 50 MiB that come in {LEAST_SECONDS:.0f} s"
_MOST_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_READ_BYTES = 1 << 20
_MAX_HEAD_BYTES = 16 * 1024


class Played(NamedTuple):
    """One round of one subject: the origin was asked *fetched* times, *whole* clients have it all.

    *seconds* is until the last of them had; *peak_bytes* how much resident memory grew meanwhile.
    """

    subject: str
    fetched: int
    whole: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def play(
    entered: Sequence[subjects.Subject], source: origin.Origin, rounds: int
) -> Iterator[Played]:
    """Let the subjects take turns, each time with a URL that is new."""
    for subject in entered:
        _round(subject, source)  # what the first clients set up isn't measured
    for number in range(rounds):
        first = number % len(entered)
        for subject in (*entered[first:], *entered[:first]):
            yield _round(subject, source)


def _round(subject: subjects.Subject, source: origin.Origin) -> Played:
    route = loads.Route(subject.port, source.port)
    url = loads.new_url(route, f"slow/{NAME}")
    asking = f"GET {url} HTTP/1.1\r\nHost: {route.authority}\r\nConnection: close\r\n\r\n".encode()
    counts, base = source.counts(), subject.server.resident_bytes()
    cpu_seconds = subject.server.cpu_seconds()
    crowd = Crowd([client.Connection(subject.port) for _ in range(CLIENTS)])
    began = time.monotonic()
    peak = crowd.ask(asking, subject.server, began + _MOST_SECONDS)
    taken = time.monotonic() - began
    cpu_seconds = subject.server.cpu_seconds() - cpu_seconds
    fetched = source.counts().since(counts).requests
    return Played(subject.key, fetched, crowd.whole, taken, cpu_seconds, max(0, peak - base))


class Crowd:
    """Clients that ask at once, and read as fast as it comes."""

    def __init__(self, connections: Sequence[client.Connection]) -> None:
        self._connections = connections
        self.whole = 0

    def ask(self, asking: bytes, server: servers.Server, until: float) -> int:
        """Ask, and read all answers; return the most resident bytes that *server* had."""
        poller = select.epoll()
        readers = {each.socket.fileno(): Reader(each.socket) for each in self._connections}
        for connection in self._connections:
            connection.socket.sendall(asking)
            connection.socket.setblocking(False)
            poller.register(connection.socket, select.EPOLLIN)
        peak, looked = 0, 0.0
        while readers and (now := time.monotonic()) < until:
            if now - looked > _LOOK_SECONDS:
                peak, looked = max(peak, server.resident_bytes()), now
            for number, _ in poller.poll(_LOOK_SECONDS):
                if not readers[number].read():
                    self.whole += readers.pop(number).is_whole
                    poller.unregister(number)
        poller.close()
        for connection in self._connections:
            connection.close()
        return peak


class Reader:
    """Reads one answer and throws its body away, without so much as a copy of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._head: bytearray | None = bytearray()
        self._room = bytearray(_READ_BYTES)
        self._left = origin.SIZES[NAME]

    @property
    def is_whole(self) -> bool:
        """Is all of the body here, and no more?"""
        return self._head is None and self._left == 0

    def read(self) -> bool:
        """Read once; False once there is nothing more to come."""
        try:
            if self._head is None:
                # Linux doesn't copy what is read so (tcp(7)).
                count = self._socket.recv_into(self._room, _READ_BYTES, socket.MSG_TRUNC)
                self._left -= count
                return count > 0 and self._left > 0
            return self._read_head(self._head)
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _read_head(self, head: bytearray) -> bool:
        piece = self._socket.recv(_MAX_HEAD_BYTES)
        head += piece
        before, end, early = head.partition(b"\r\n\r\n")
        if end and client.status_in(bytes(before)) == 200:
            self._head = None
            self._left -= len(early)
            return True
        return bool(piece) and not end and len(head) < _MAX_HEAD_BYTES


# What it came to.


def collapse_table(rounds: Sequence[Played], names: Mapping[str, str]) -> str:
    """Return the table of all rounds: a row for each subject in *names*, key to name."""
    rows = [["", "fetches", "whole", "seconds", "CPU s", "peak MiB", "proxyapp/it", "bar"]]
    for key, name in names.items():
        mine = [played for played in rounds if played.subject == key]
        most = max((played.fetched for played in mine), default=0)
        rows.append(
            [
                name,
                str(most),
                str(sum(played.whole for played in mine)),
                str(figures.spread(played.seconds for played in mine) or "-"),
                str(figures.spread(played.cpu_seconds for played in mine) or "-"),
                str(figures.spread(played.peak_bytes / 2**20 for played in mine) or "-"),
                "" if key == OURS else share(rounds, key),
                f"<= 1 {'ok' if most == 1 else 'MISSED'}" if key == OURS else "",
            ]
        )
    return table.render(ROW, rows)


def share(rounds: Sequence[Played], rival: str) -> str:
    """Return our CPU time as a share of the *rival*'s; nothing where one is missing."""
    mine, theirs = (
        figures.spread(each.cpu_seconds for each in rounds if each.subject == key)
        for key in (OURS, rival)
    )
    if mine is None or theirs is None or not theirs.median:
        return ""
    return f"{mine.median / theirs.median:.2f}"


def failures(rounds: Sequence[Played]) -> list[str]:
    """Return what makes the figures worthless, or mustn't be with us."""
    found = []
    for each in rounds:
        if each.whole != CLIENTS:
            found.append(f"collapse, {each.subject}: {CLIENTS - each.whole} without their answer")
        if each.subject == OURS and each.fetched != 1:
            found.append(f"collapse, {each.subject}: the origin was asked {each.fetched} times")
    return found
