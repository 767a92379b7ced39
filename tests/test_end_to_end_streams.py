"""Big bodies and stubborn clients: memory stays where it was, and both ends set the pace."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.appliance import Running
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit
from tests.talk import Talk

MIB = 1024 * 1024
# What passes in each of the tests below; PROXYAPP_TEST_BODY_MIB=10240 makes it 10 GiB.
SIZE = int(os.environ.get("PROXYAPP_TEST_BODY_MIB", "100")) * MIB
GROWTH = 30 * MIB
_PIECE = bytes(range(256)) * 1024


def pour(talk: Talk, size: int, is_chunked: bool) -> None:
    """Send a body of *size* bytes."""
    for _ in range(size // len(_PIECE)):
        if is_chunked:
            talk.send(b"%x\r\n" % len(_PIECE), _PIECE, b"\r\n")
        else:
            talk.send(_PIECE)
    if is_chunked:
        talk.send(b"0\r\n\r\n")


def framing(size: int, is_chunked: bool) -> bytes:
    """Return the field that announces the body."""
    return b"Transfer-Encoding: chunked\r\n" if is_chunked else b"Content-Length: %d\r\n" % size


def drink(talk: Talk, size: int, is_chunked: bool) -> None:
    """Read a body of *size* bytes, and check its pieces on the way where they aren't framed."""
    if not is_chunked:
        for _ in range(size // len(_PIECE)):
            assert talk.exactly(len(_PIECE)) == _PIECE
        return
    taken = 0
    while length := int(talk.until(b"\r\n"), 16):
        talk.skip(length + 2)
        taken += length
    assert talk.until(b"\r\n") == b"\r\n"
    assert taken == size


each_framing = pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])


@each_framing
def test_download_in_constant_memory(
    running: Running, connect: Connect, origin: Origin[Routes], is_chunked: bool
) -> None:
    """A long answer leaves no trace in the process's memory."""

    def download(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\n", framing(SIZE, is_chunked), b"\r\n")
        pour(visit.talk, SIZE, is_chunked)

    origin.served.on(b"/", download)
    before, logged = running.memory(), running.logged
    talk = connect(running.proxy)
    talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n\r\n")
    talk.head()
    drink(talk, SIZE, is_chunked)
    assert running.grown(before) < GROWTH
    assert f'"sent":{SIZE}' in running.line_with(f'"url":"{origin.url.decode()}/"', logged)


@each_framing
def test_upload_in_constant_memory(
    running: Running, connect: Connect, origin: Origin[Routes], is_chunked: bool
) -> None:
    """A long request body doesn't either."""

    def upload(visit: Visit) -> None:
        drink(visit.talk, SIZE, is_chunked)
        visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot")

    origin.served.on(b"/", upload)
    before, logged = running.memory(), running.logged
    talk = connect(running.proxy)
    talk.send(b"PUT ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n")
    talk.send(framing(SIZE, is_chunked), b"\r\n")
    pour(talk, SIZE, is_chunked)
    assert talk.response().body == b"got"
    assert running.grown(before) < GROWTH
    assert f'"received":{SIZE}' in running.line_with(f'"url":"{origin.url.decode()}/"', logged)


def test_tunnel_in_constant_memory(running: Running, connect: Connect) -> None:
    """Bytes through a tunnel go by, both ways at once."""
    size = SIZE // 2

    def both(talk: Talk) -> None:
        pouring = threading.Thread(target=pour, args=(talk, size, False))
        pouring.start()
        drink(talk, size, False)
        pouring.join()

    with Origin(both) as far:
        before, logged = running.memory(), running.logged
        talk = connect(running.proxy)
        authority = far.authority.encode()
        talk.send(b"CONNECT ", authority, b" HTTP/1.1\r\nHost: ", authority, b"\r\n\r\n")
        assert talk.response(b"CONNECT").status == 200
        both(talk)
        assert running.grown(before) < GROWTH
        talk.close()
        line = running.line_with(far.authority, logged)
    assert f'"sent":{size},"received":{size}' in line


def standstill(count: list[int]) -> int:
    """Return the last of *count* once it has stopped growing for a while."""
    last = -1
    while last != (last := sum(count)) or not last:
        time.sleep(0.3)  # there is no event for what must not happen
    return last


@each_framing
def test_client_that_does_not_read(
    running: Running, connect: Connect, origin: Origin[Routes], is_chunked: bool
) -> None:
    """The origin is held up, and what waits in this process is bounded."""
    poured: list[int] = []
    piece = (b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE)) if is_chunked else _PIECE

    def endless(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\n", framing(1 << 40, is_chunked), b"\r\n")
        while True:
            poured.append(visit.talk.socket.send(piece))

    origin.served.on(b"/", endless)
    before = running.memory()
    talk = connect(running.proxy)
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n\r\n")
    assert standstill(poured) < 64 * MIB
    assert running.grown(before) < GROWTH
    talk.reset()


def test_origin_that_does_not_read(
    running: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """The client is held up likewise."""
    done = threading.Event()

    def wait(visit: Visit) -> None:
        done.wait(20)

    origin.served.on(b"/", wait)
    talk = connect(running.proxy)
    before = running.memory()
    talk.send(b"PUT ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n")
    talk.send(framing(1 << 40, is_chunked=False), b"\r\n")
    talk.socket.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < 64 * MIB:
            sent += talk.socket.send(_PIECE)
    assert sent < 64 * MIB
    assert running.grown(before) < GROWTH
    done.set()


def test_connection_goes_on_behind_a_slow_upload(
    running: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """Behind an upload that was held up to its last byte more may be asked."""
    size = 8 * MIB

    def slowly(visit: Visit) -> None:
        time.sleep(0.2)  # until every buffer on the way is full
        drink(visit.talk, size, is_chunked=True)
        visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot")

    origin.served.on(b"/slow", slowly)
    talk = connect(running.proxy)
    host = b"Host: " + origin.authority.encode() + b"\r\n"
    for _ in range(3):
        talk.send(b"PUT ", origin.url, b"/slow HTTP/1.1\r\n", host, framing(size, is_chunked=True))
        talk.send(b"\r\n")
        pour(talk, size, is_chunked=True)
        talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\n", host, b"\r\n")
        assert talk.response().body == b"got"
        assert talk.response().body == b"hello"
    assert origin.connections == 1


def test_client_that_does_not_read_is_cut_off(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """One that takes nothing for [limits] write_timeout loses its connection, and it's logged."""

    def long(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\n", framing(SIZE, is_chunked=False), b"\r\n")
        pour(visit.talk, SIZE, is_chunked=False)

    origin.served.on(b"/", long)
    with start_appliance("[limits]\nwrite_timeout = 500ms\n") as running:
        talk = connect(running.proxy)
        authority = origin.authority.encode()
        talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", authority, b"\r\n\r\n")
        (line,) = running.lines(1)
        assert '"error":"connection_write_timeout"' in line
        with pytest.raises((ConnectionResetError, EOFError)):
            talk.skip(SIZE)


def test_many_at_once(running: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Two hundred clients are answered side by side, and leave no descriptor behind."""
    talks = [connect(running.proxy) for _ in range(200)]
    request = b"GET %b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (origin.url, origin.authority.encode())
    for _ in range(3):
        for talk in talks:
            talk.send(request)
        assert {talk.response().body for talk in talks} == {b"hello"}
    for talk in talks:
        talk.close()
    running.wait_for_sockets(most=20)  # ten of them idle, in the pool


def test_static_file_of_any_size(
    start_appliance: StartAppliance, connect: Connect, tmp_path: Path
) -> None:
    """A file goes out whole and exact, in constant memory."""
    (tmp_path / "htdocs").mkdir()
    size = min(SIZE, 100 * MIB)
    with open(tmp_path / "htdocs" / "big", "wb") as file:
        for _ in range(size // len(_PIECE)):
            file.write(_PIECE)
    with start_appliance() as running:
        before = running.memory()
        talk = connect(running.site)
        talk.send(b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n")
        assert talk.head().one(b"content-length") == b"%d" % size
        drink(talk, size, is_chunked=False)
        assert running.grown(before) < GROWTH
    (tmp_path / "htdocs" / "big").unlink()
