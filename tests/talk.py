"""One end of a connection in a test: blocking, exact to the byte, and able to read HTTP."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

# Longer than anything that a healthy test waits for.
PATIENCE = 20.0
_READ = 256 * 1024


class Head(NamedTuple):
    """The head of a message: the exact bytes, its start line, and its fields in order."""

    raw: bytes
    start: bytes
    fields: list[tuple[bytes, bytes]]

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every field called *name*, in any case."""
        return [value for each, value in self.fields if each.lower() == name.lower()]

    def one(self, name: bytes) -> bytes:
        """Return the value of the one field called *name*."""
        (value,) = self.all(name)
        return value


class Response(NamedTuple):
    """A response, its body without its framing."""

    head: Head
    body: bytes
    trailers: list[tuple[bytes, bytes]]

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head.start.split(b" ")[1])


class Talk:
    """A connected socket, and what was read from it but not used yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._read = b""

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Sending.

    def send(self, *pieces: bytes) -> None:
        """Send the pieces as one."""
        self.socket.sendall(b"".join(pieces))

    def half_close(self) -> None:
        """Say that no more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Reading.

    def _more(self) -> bytes:
        data = self.socket.recv(_READ)
        if not data:
            raise EOFError(f"the connection ended behind {self._read!r}")
        return data

    def until(self, end: bytes) -> bytes:
        """Return everything up to and with the next *end*; raises EOFError."""
        while end not in self._read:
            self._read += self._more()
        found, _, self._read = self._read.partition(end)
        return found + end

    def exactly(self, size: int) -> bytes:
        """Return the next *size* bytes; raises EOFError."""
        pieces = [self._read[:size]]
        self._read = self._read[size:]
        missing = size - len(pieces[0])
        while missing:
            data = self.socket.recv(min(missing, _READ))
            if not data:
                raise EOFError(f"{missing} of {size} bytes are missing")
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Read *size* bytes and forget them, in constant memory; raises EOFError."""
        held = min(size, len(self._read))
        self._read = self._read[held:]
        size -= held
        while size:
            data = self.socket.recv(min(size, _READ))
            if not data:
                raise EOFError(f"{size} bytes are missing")
            size -= len(data)

    def rest(self) -> bytes:
        """Return everything until the connection ends."""
        pieces = [self._read]
        self._read = b""
        while data := self.socket.recv(_READ):
            pieces.append(data)
        return b"".join(pieces)

    def head(self) -> Head:
        """Return the next head; raises EOFError."""
        raw = self.until(b"\r\n\r\n")
        start, *lines = raw[:-4].split(b"\r\n")
        return Head(raw, start, [_field(line) for line in lines])

    def response(self, method: bytes = b"GET") -> Response:
        """Return the next response, which answers a request with *method*; raises EOFError."""
        head = self.head()
        status = int(head.start.split(b" ")[1])
        if method == b"HEAD" or status in (204, 304) or status < 200:
            return Response(head, b"", [])
        if method == b"CONNECT" and status == 200:
            return Response(head, b"", [])
        body, trailers = self.body(head, is_request=False)
        return Response(head, body, trailers)

    def body(self, head: Head, is_request: bool) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return the body behind *head*, and its trailers."""
        if head.all(b"transfer-encoding"):
            return self._chunks()
        if lengths := head.all(b"content-length"):
            return self.exactly(int(lengths[0])), []
        return (b"" if is_request else self.rest()), []

    def _chunks(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        pieces = []
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            pieces.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        trailers = []
        while (line := self.until(b"\r\n")) != b"\r\n":
            trailers.append(_field(line[:-2]))
        return b"".join(pieces), trailers


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()
