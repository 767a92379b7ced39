"""A blocking HTTP/1.1 client on one connection: as little as the loads need."""

from __future__ import annotations

import re
import socket
from types import TracebackType
from typing import NamedTuple

from bench import servers

READ_SECONDS = 20.0
MAX_HEAD_BYTES = 65536
CHUNK_BYTES = 65536
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\n(?:proxy-)?connection:[ \t]*close", re.IGNORECASE)


class Unexpected(Exception):
    """The answer isn't the one the load counts on; what follows would measure something else."""


class Answer(NamedTuple):
    """A whole response; *persists* tells whether the connection can be asked again."""

    status: int
    body: bytes
    persists: bool


class Connection:
    """One connection to *port* on loopback, from the loopback address *source*."""

    def __init__(self, port: int, source: str = servers.LOOPBACK) -> None:
        self.socket = socket.create_connection(
            (servers.LOOPBACK, port), timeout=READ_SECONDS, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def ask(self, request: bytes) -> Answer:
        """Send *request*, read the whole answer; raises OSError or Unexpected."""
        self.socket.sendall(request)
        head, early = self._read_head()
        length = _LENGTH.search(head)
        body = self._read_body(early, int(length[1]) if length else None)
        persists = length is not None and head[:8] == b"HTTP/1.1" and not _CLOSE.search(head)
        return Answer(status_in(head), body, persists)

    def connect(self, host: str) -> None:
        """Open a tunnel to *host*, a name with its port; raises OSError or Unexpected."""
        self.socket.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head, early = self._read_head()
        if status_in(head) != 200 or early:
            raise Unexpected(f"CONNECT was answered {head[:60]!r}")

    def _read_head(self) -> tuple[bytes, bytes]:
        """Return the response head and the bytes that came after it."""
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.socket.recv(CHUNK_BYTES)
            if not more or len(received) > MAX_HEAD_BYTES:
                raise Unexpected(f"no response head, but {received[:60]!r}")
            received += more
        head, _, early = received.partition(b"\r\n\r\n")
        return head, early

    def _read_body(self, early: bytes, length: int | None) -> bytes:
        """Return the body: *length* bytes, or everything until the connection closes."""
        parts, got = [early], len(early)
        while length is None or got < length:
            more = self.socket.recv(CHUNK_BYTES)
            if not more:
                break
            parts.append(more)
            got += len(more)
        if length is not None and got != length:
            raise Unexpected(f"a body of {got} bytes that should have {length}")
        return b"".join(parts)


def status_in(head: bytes) -> int:
    """Return the status code of a response head; raises Unexpected."""
    code = head[9:12]
    if not head.startswith(b"HTTP/1.") or not code.isdigit():
        raise Unexpected(f"not a response: {head[:60]!r}")
    return int(code)
