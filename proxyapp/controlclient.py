"""Asks a service that runs, by the control socket in its state folder; everything blocks."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

FILE = "control.sock"
_BAD_REQUEST = 400
_STEP = 64 * 1024


class Unreachable(Exception):
    """The service can't be asked; the message says why, and what helps."""


class Rejected(Exception):
    """The service has answered with an error: its *status*, and its words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path
        # *sock* is gone when the answer begins, and the answer may take long.
        self.opened: socket.socket | None = None

    def connect(self) -> None:
        """See HTTPConnection; raises Unreachable."""
        self.sock = self.opened = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            self.sock.close()
            raise Unreachable(_why(error, self._path)) from error


def _why(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"{path} isn't there: no proxyapp runs with this state_dir, or its cache is off."
            " --config FILE says where it is"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {path}: proxyapp has ended, and not in an orderly way"
    if isinstance(error, PermissionError):
        return (
            f"{path} may be opened by root and the account that proxyapp runs as;"
            " sudo -u ACCOUNT, in front of the command, makes you that"
        )
    return f"{path} can't be reached: {error.strerror or error}"


class Service:
    """The service behind the socket at *path*; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = _Connection(path)

    def ask(self, method: str, command: str, what: str) -> Iterator[bytes]:
        """Yield the lines of the answer, but for empty ones; raises Rejected and Unreachable."""
        target = f"/{command}?{quote(what, safe='', errors='surrogateescape')}"
        try:
            # One at a time: a service that has waited too long for the next one hangs up.
            self._connection.request(method, target, headers={"Connection": "close"})
            response = self._connection.getresponse()
            if response.status >= _BAD_REQUEST:
                raise Rejected(response.status, _reason(response.read()))
            yield from _lines_of(response)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("proxyapp ended before its answer was complete") from error
        finally:
            self._connection.close()

    def line(self, command: str, what: str) -> bytes:
        """Give an order; return the line that answers it."""
        return b"".join(self.ask("POST", command, what))

    def interrupt(self) -> None:
        """End what another thread waits for."""
        opened = self._connection.opened
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


def _lines_of(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the lines; raises IncompleteRead where the end is missing.

    An HTTPResponse, read line by line by itself, keeps that a secret.
    """
    rest, size = b"", 0
    while data := response.read1(_STEP):
        size += len(data)
        *lines, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in lines if line)
    announced = response.headers.get("Content-Length", str(size))
    if rest or announced != str(size):
        raise http.client.IncompleteRead(rest)


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "the service has failed; its event log says more"
