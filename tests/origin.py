"""An origin for the tests: threads and blocking sockets, told by each test how to behave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from tests.talk import Head, Talk

_JOIN = 10.0


# Carries one accepted connection; it is closed afterwards.
Serve = Callable[[Talk], None]
_Served = TypeVar("_Served", bound=Serve)


class Origin(Generic[_Served]):
    """A listening socket on loopback; *serve* gets each connection in a thread of its own."""

    def __init__(
        self, serve: _Served, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.served = serve
        self.connections = 0
        self.host = host
        self._tls = tls
        self._listening = socket.create_server((host, 0), family=family, backlog=512)
        self.port: int = self._listening.getsockname()[1]
        self._talks: list[Talk] = []
        self._threads: list[threading.Thread] = []
        self._mistakes: list[BaseException] = []

    def __enter__(self) -> Origin[_Served]:
        self._begin(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._shut()
        for thread in list(self._threads):
            thread.join(_JOIN)
        if self._mistakes and exception[0] is None:
            raise self._mistakes[0]

    def hang_up(self) -> None:
        """End every connection there is, and wait until that is done."""
        self._shut()
        self.wait_until_idle()

    def _shut(self) -> None:
        for talk in list(self._talks):
            with suppress(OSError):
                talk.socket.shutdown(socket.SHUT_RDWR)

    @property
    def open(self) -> int:
        """The number of connections that are being carried."""
        return sum(thread.is_alive() for thread in self._threads[1:])

    @property
    def authority(self) -> str:
        """host:port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> bytes:
        """The URL without a path."""
        return f"http://{self.authority}".encode("ascii")

    def wait_until_idle(self) -> None:
        """Wait until every connection so far has been carried to its end."""
        for thread in self._threads[1:]:
            thread.join(_JOIN)
            assert not thread.is_alive(), "a connection to the origin goes on and on"

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                self._begin(self._carry, connection)

    def _carry(self, connection: socket.socket) -> None:
        talk = Talk(connection)
        self._talks.append(talk)
        try:
            if self._tls is not None:
                secured = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                talk.socket = secured
                secured.do_handshake()
            self.served(talk)
        except (OSError, EOFError):
            pass  # the other end is gone, and what that means is the test's to say
        except BaseException as mistake:
            self._mistakes.append(mistake)
        finally:
            talk.close()


# What an origin says.


class Visit:
    """One request that has arrived at an origin, and the connection it came on."""

    def __init__(self, talk: Talk, head: Head) -> None:
        self.talk = talk
        self.head = head
        self.body = b""
        self.trailers: list[tuple[bytes, bytes]] = []
        self.is_last = False

    @property
    def method(self) -> bytes:
        """The method."""
        return self.head.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        """The request target."""
        return self.head.start.split(b" ")[1]

    def read_body(self) -> bytes:
        """Read the request's body."""
        self.body, self.trailers = self.talk.body(self.head, is_request=True)
        return self.body

    def answer(self, *pieces: bytes) -> None:
        """Send the pieces as one."""
        self.talk.send(*pieces)


Route = Callable[[Visit], None]


class Routes:
    """Speaks HTTP: answers each path by its route, and remembers every visit in order."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self._routes: dict[bytes, Route] = {}
        self._default = fixed(b"hello")

    def on(self, path: bytes, route: Route) -> None:
        """Answer *path* by *route* from now on."""
        self._routes[path] = route

    def __call__(self, talk: Talk) -> None:
        """See Serve."""
        while len((head := talk.head()).start.split(b" ")) == 3:
            visit = Visit(talk, head)
            self.visits.append(visit)
            path = visit.target.partition(b"?")[0]
            self._routes.get(path, self._default)(visit)
            if visit.is_last:
                return


def fixed(body: bytes, *fields: bytes, start: bytes = b"HTTP/1.1 200 OK") -> Route:
    """Answer with *body*, its length said, once the request's body has arrived."""

    def route(visit: Visit) -> None:
        visit.read_body()
        lines = [start, *fields, b"Content-Length: %d" % len(body), b"", b""]
        visit.answer(b"\r\n".join(lines), b"" if visit.method == b"HEAD" else body)

    return route


def exactly(answer: bytes, is_last: bool = False) -> Route:
    """Answer with just these bytes; close behind them if *is_last*."""

    def route(visit: Visit) -> None:
        visit.read_body()
        visit.is_last = is_last
        visit.answer(answer)

    return route


def chunked(pieces: Sequence[bytes], trailers: bytes = b"", fields: bytes = b"") -> Route:
    """Answer with a chunk for each piece; *trailers* and *fields* are lines with their ends."""

    def route(visit: Visit) -> None:
        visit.read_body()
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", fields, b"\r\n")
        for piece in pieces:
            visit.answer(b"%x\r\n%b\r\n" % (len(piece), piece))
        visit.answer(b"0\r\n", trailers, b"\r\n")

    return route


def silent(visit: Visit) -> None:
    """Say nothing until the other end has had enough."""
    visit.talk.rest()
    visit.is_last = True


def stalling(visit: Visit) -> None:
    """Begin an answer and fall silent inside it."""
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
    silent(visit)


def switching(visit: Visit) -> None:
    """Switch to a protocol in which every byte comes back in upper case, `bye` first."""
    visit.answer(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: loud\r\nConnection: Upgrade\r\n\r\nwelcome"
    )
    visit.is_last = True
    shout(visit.talk)


def refusing_early(visit: Visit) -> None:
    """Refuse a body before it has come, and close."""
    visit.answer(
        b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
    )
    visit.is_last = True
    visit.talk.half_close()
    visit.talk.rest()


# What speaks no HTTP.


def shout(talk: Talk) -> None:
    """Send everything back in upper case, and the end of it too."""
    while data := talk.socket.recv(65536):
        talk.send(data.upper())
    talk.half_close()
