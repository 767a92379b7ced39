"""The origin server: an nginx with five files and a count of what it was asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from bench import certificates, client, nginx, servers

KIB = 1024
MIB = 1024 * KIB
# The folder of the files, beside those of the servers.
FILES = "files"
SIZES = {
    "1k.bin": KIB,
    "64k.bin": 64 * KIB,
    "1m.bin": MIB,
    "50m.bin": 50 * MIB,
    "256m.bin": 256 * MIB,
}


class Counts(NamedTuple):
    """How many connections were accepted, and how many requests came on them."""

    accepted: int
    requests: int

    def since(self, before: Counts) -> Counts:
        """Return what came after *before*, without the request that asks."""
        return Counts(self.accepted - before.accepted - 1, self.requests - before.requests - 1)


class Origin:
    """The running origin; it listens on loopback, on *port*, and with TLS on *tls_port*."""

    def __init__(self, base: Path, cpu: int) -> None:
        program = shutil.which("nginx")
        if program is None:
            raise servers.StartFailed("nginx is not installed, and it is the origin of every load")
        folder, files = base / "origin", base / FILES
        folder.mkdir()
        files.mkdir()
        for name, size in SIZES.items():
            (files / name).touch()
            os.truncate(files / name, size)  # sparse: read as zeros, from memory
        certificates.make(base)
        self.port, self.tls_port = servers.free_ports(2)
        http = nginx.origin(self.port, self.tls_port, files, base / certificates.SERVER)
        argv = nginx.argv(program, folder, http)
        self.server = servers.Server("the origin", argv, folder, {cpu}, os.environ)

    def await_start(self) -> None:
        """Wait until it listens; raises servers.StartFailed."""
        self.server.await_port(self.port)

    def counts(self) -> Counts:
        """Return what came so far, the connection and the request that ask included."""
        with client.Connection(self.port) as connection:
            answer = connection.ask(b"GET /status HTTP/1.1\r\nHost: origin\r\n\r\n")
        return counts_in(answer.body)


def counts_in(status: bytes) -> Counts:
    """Return the counts in a page of nginx's stub_status module."""
    accepted, _, requests = status.splitlines()[2].split()
    return Counts(int(accepted), int(requests))
