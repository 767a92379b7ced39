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

    def connect(self) -> None:
        """See HTTPConnection; raises Unreachable."""
        self.sock = socket.socket(socket.AF_UNIX)
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
        """Yield the lines of the answer; raises Rejected and Unreachable."""
        target = f"/{command}?{quote(what, safe='', errors='surrogateescape')}"
        try:
            # One at a time: a service that has waited too long for the next one hangs up.
            self._connection.request(method, target, headers={"Connection": "close"})
            response = self._connection.getresponse()
            if response.status >= _BAD_REQUEST:
                raise Rejected(response.status, _reason(response.read()))
            yield from response
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("proxyapp ended before its answer was complete") from error
        finally:
            self._connection.close()

    def line(self, command: str, what: str) -> bytes:
        """Give an order; return the line that answers it."""
        # While it takes its time, empty lines say that it's still there.
        return b"".join(line for line in self.ask("POST", command, what) if line.strip())

    def interrupt(self) -> None:
        """End what another thread waits for."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "the service has failed; its event log says more"
