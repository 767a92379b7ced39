"""The origin server: an nginx with four files and a count of the connections it accepted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import certificates, client, nginx, servers

KIB = 1024
MIB = 1024 * KIB
# The folder of the files, beside those of the servers.
FILES = "files"
SIZES = {"1k.bin": KIB, "64k.bin": 64 * KIB, "1m.bin": MIB, "256m.bin": 256 * MIB}


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
        self.server = servers.Server("the origin", argv, folder, cpu, os.environ)

    def await_start(self) -> None:
        """Wait until it listens; raises servers.StartFailed."""
        self.server.await_port(self.port)

    def accepted(self) -> int:
        """Return how many connections were accepted so far, the one that asks included."""
        with client.Connection(self.port) as connection:
            answer = connection.ask(b"GET /status HTTP/1.1\r\nHost: origin\r\n\r\n")
        return accepted_in(answer.body)


def accepted_in(status: bytes) -> int:
    """Return the count of accepted connections in a page of nginx's stub_status module."""
    return int(status.splitlines()[2].split()[0])
