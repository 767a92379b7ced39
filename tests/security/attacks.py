"""What the attacks share: bytes with places to fill in, and the questions that follow each."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.origin import Origin, Routes
from tests.talk import Response, Talk

# A table's rows say where they go by these; `filled` puts the real ones in.
ORIGIN, PORT, PROXY, SITE = b"{origin}", b"{port}", b"{proxy}", b"{site}"
NEXT = b"GET http://{origin}/next HTTP/1.1\r\nHost: {origin}\r\n\r\n"
# A request for whoever takes the end of a body to be earlier than it is.
SMUGGLED = b"GET http://{origin}/smuggled HTTP/1.1\r\nHost: {origin}\r\n\r\n"


def filled(data: bytes, origin: Origin[Routes], proxy: int = 0, site: int = 0) -> bytes:
    """Return *data* with the places of this test in it."""
    data = data.replace(ORIGIN, origin.authority.encode("ascii"))
    data = data.replace(PORT, b"%d" % origin.port)
    return data.replace(PROXY, b"%d" % proxy).replace(SITE, b"%d" % site)


def talk_to(port: int) -> Talk:
    """Connect to *port* on loopback."""
    return Talk(socket.create_connection(("127.0.0.1", port), timeout=10))


def ask(port: int, data: bytes) -> Response:
    """Send *data* on a connection of its own; return the first answer, which ends the connection.

    What comes behind *data* was not read as a request: there is no second answer.
    """
    with talk_to(port) as talk:
        # It may have had enough before the end, and is to be heard all the same.
        with suppress(ConnectionError):
            talk.send(data)
        answer = talk.response()
        assert answer.head.one(b"Connection") == b"close"
        assert rest_of(talk) == b""
    return answer


def rest_of(talk: Talk) -> bytes:
    """Return everything until the connection ends, in whatever way."""
    try:
        return talk.rest()
    except ConnectionResetError:
        return b""


def is_well(port: int, origin: Origin[Routes]) -> bool:
    """Is a good request still answered by *origin*, and nobody else?"""
    with talk_to(port) as talk:
        talk.send(filled(NEXT.replace(b"/next", b"/well"), origin))
        return talk.response().body == b"hello"


def seen(origin: Origin[Routes]) -> list[bytes]:
    """Return the targets that *origin* was asked for, in order."""
    return [visit.target for visit in origin.served.visits]


def named(value: object) -> str | None:
    """Return the name of a row's value for pytest: short, and printable."""
    if isinstance(value, bytes):
        text = value.decode("ascii", "backslashreplace")
        return (text[:40] + "..." if len(text) > 40 else text).encode("unicode_escape").decode()
    return None
