"""A parent proxy for the tests: what it is asked is kept, and it answers as each test has it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.origin import Route, Visit, fixed
from tests.talk import Head, Talk

ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


class ParentProxy:
    """See origin.Serve; answers every URL itself, and connects where CONNECT says.

    *password* is what it wants as Proxy-Authorization; *answer* stands in for what it says to
    CONNECT, *route* answers all other requests.
    """

    def __init__(self, password: bytes = b"", answer: bytes = b"", route: Route | None = None):
        self.heads: list[Head] = []
        self.password = password
        self.answer = answer
        self.route = route or fixed(b"by the parent")

    def __call__(self, talk: Talk) -> None:
        """Serve one connection."""
        while len((head := talk.head()).start.split(b" ")) == 3:
            visit = Visit(talk, head)
            self.heads.append(head)
            if self.password and head.all(b"proxy-authorization") != [self.password]:
                visit.read_body()
                visit.answer(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n"
                    b'Proxy-Authenticate: Basic realm="parent"\r\n\r\nno'
                )
            elif visit.method == b"CONNECT":
                self._connect(visit)
                return
            else:
                self.route(visit)
                if visit.is_last:
                    return

    @property
    def asked(self) -> list[bytes]:
        """The start lines of what it was asked, but for the question whether it is there."""
        return [head.start for head in self.heads if not head.start.startswith(b"OPTIONS *")]

    def _connect(self, visit: Visit) -> None:
        if self.answer:
            visit.answer(self.answer)
            visit.talk.rest()
            return
        host, _, port = visit.target.decode().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as far:
            visit.answer(ESTABLISHED)
            back = threading.Thread(target=_pump, args=(far, visit.talk.socket), daemon=True)
            back.start()
            _pump(visit.talk.socket, far)
            back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
