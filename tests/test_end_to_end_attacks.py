"""What clients do to wear the gateway down: its memory stays bounded, and others are served.

Each attack is run against a process of its own kind, over real sockets; bounds are generous, and
far below what the attack would cost if it worked.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit, fixed, silent
from tests.talk import PATIENCE, Talk

KIB = 1024
MIB = 1024 * KIB

_INI = """\
[site]
root = {folder}
[limits]
per_client = 5000
head_timeout = 5s
write_timeout = 20s
idle_timeout = 20s
[tunnel]
max_per_client = 1000
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product; a client may have as many connections as it takes."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "small").write_bytes(bytes(60 * KIB))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # ours are as many as theirs
    with start(folder, _INI.format(folder=folder)) as started:
        yield started


@pytest.fixture(autouse=True)
def _others_are_served(attacked: Running) -> Iterator[None]:
    """After each attack a plain request is answered."""
    yield
    with Talk(socket.create_connection(("127.0.0.1", attacked.site))) as talk:
        talk.send(b"GET /small HTTP/1.1\r\nHost: here\r\n\r\n")
        assert talk.response().status == 200
    attacked.wait_for_sockets(most=40)


def get(origin: Origin[Routes], path: str, *lines: str, method: str = "GET") -> bytes:
    """Return a request for *path* at *origin*."""
    first = f"{method} http://{origin.authority}{path} HTTP/1.1"
    return "\r\n".join([first, f"Host: {origin.authority}", *lines, "", ""]).encode("ascii")


def is_served(running: Running, connect: Connect) -> bool:
    """Is somebody else answered meanwhile?"""
    talk = connect(running.site)
    talk.send(b"GET /small HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    return talk.response().status == 200


def test_slowloris(attacked: Running, connect: Connect) -> None:
    """Heads that never end cost little each, and their time runs out."""
    before = attacked.memory()
    talks = [connect(attacked.proxy) for _ in range(500)]
    for round_ in range(3):
        for talk in talks:
            talk.send(b"GET http://h/ HTTP/1.1\r\n" if not round_ else b"X-Drop: by-drop\r\n")
    assert is_served(attacked, connect)
    assert attacked.grown(before) < 20 * MIB
    for talk in talks:
        assert talk.response().status == 408


def test_endless_heads(attacked: Running, connect: Connect) -> None:
    """A head may be as long as [limits] request_head, and no connection holds more."""
    before = attacked.memory()
    talks = [connect(attacked.proxy) for _ in range(200)]
    for talk in talks:
        talk.send(b"GET http://h/ HTTP/1.1\r\nX-Long: ", b"a" * 63 * KIB)
    assert attacked.grown(before) < 200 * 64 * KIB * 3
    for talk in talks:
        with suppress(ConnectionError):
            talk.send(b"a" * 2 * KIB)
        assert talk.response().status == 431
        talk.close()


def test_many_fields(attacked: Running, connect: Connect) -> None:
    """Nor can the number of fields go beyond [limits] headers."""
    before = attacked.memory()
    bomb = b"GET http://h/ HTTP/1.1\r\nHost: h\r\n" + b"a:\r\n" * 16_000 + b"\r\n"
    for _ in range(100):
        talk = connect(attacked.proxy)
        talk.send(bomb)
        assert talk.response().status == 431
        talk.close()
    assert attacked.grown(before) < 20 * MIB


def test_heads_without_number(attacked: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """What is remembered of requests is bounded, however many kinds of them there are."""
    talk = connect(attacked.proxy)

    def ask(first: int, last: int) -> None:
        for number in range(first, last):
            talk.send(get(origin, f"/{number}", f"Cookie: {number}{'c' * 8 * KIB}"))
            assert talk.response().status == 200

    ask(0, 300)
    before = attacked.memory()
    ask(300, 2300)
    assert attacked.grown(before) < 10 * MIB


def test_hosts_without_number(attacked: Running, connect: Connect) -> None:
    """The same for names: 127.x.y.z all lead here, where nobody listens."""
    talk = connect(attacked.proxy)

    def ask(numbers: range) -> None:
        for number in numbers:
            host = b"127.1.%d.%d:9" % divmod(number, 256)
            talk.send(b"GET http://", host, b"/ HTTP/1.1\r\nHost: ", host, b"\r\n\r\n")
        assert {talk.response().status for _ in numbers} <= {502, 508}

    ask(range(100))
    before = attacked.memory()
    for first in range(100, 2100, 100):
        ask(range(first, first + 100))
    assert attacked.grown(before) < 7 * MIB


def test_answers_that_nobody_reads(attacked: Running, connect: Connect) -> None:
    """Whoever asks on and on, and doesn't read, is held up; who reads again gets everything."""
    before = attacked.memory()
    asking = b"GET /small HTTP/1.1\r\nHost: here\r\n\r\n"
    talks = [connect(attacked.site) for _ in range(10)]
    sent = [_push(talk, asking * 100, 50) for talk in talks]
    assert is_served(attacked, connect)
    assert attacked.grown(before) < 20 * MIB
    for talk in talks[1:]:
        talk.reset()
    # The first one was patient: every request that it got rid of in full is answered.
    talks[0].socket.settimeout(20)
    for _ in range(sent[0] // len(asking)):
        assert len(talks[0].response().body) == 60 * KIB


def _push(talk: Talk, data: bytes, times: int) -> int:
    """Send *data* as often as the other end takes it; return how many bytes that was."""
    talk.socket.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        for _ in range(times):
            view = memoryview(data)
            while view:
                count = talk.socket.send(view)
                sent += count
                view = view[count:]
    return sent


def _endless(visit: Visit) -> None:
    visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        visit.answer(b"10000\r\n" + bytes(65536) + b"\r\n")


def test_slow_readers(attacked: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Downloads that nobody takes wait at the origin."""
    origin.served.on(b"/endless", _endless)
    before = attacked.memory()
    talks = [connect(attacked.proxy) for _ in range(50)]
    for talk in talks:
        talk.send(get(origin, "/endless"))
        talk.head()
    time.sleep(1)  # there is no event for what must not happen
    assert is_served(attacked, connect)
    assert attacked.grown(before) < 50 * 512 * KIB
    for talk in talks:
        talk.reset()


def test_uploads_that_nobody_takes(
    attacked: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """Uploads to an origin that doesn't read wait at the clients."""
    over = threading.Event()
    origin.served.on(b"/silent", lambda visit: _ignore(visit, over))
    before = attacked.memory()
    talks = [connect(attacked.proxy) for _ in range(50)]
    for talk in talks:
        talk.send(get(origin, "/silent", "Transfer-Encoding: chunked", method="PUT"))
        talk.socket.settimeout(0.02)
        with suppress(TimeoutError):
            for _ in range(200):
                talk.send(b"10000\r\n", bytes(65536), b"\r\n")
    grown = attacked.grown(before)
    over.set()
    assert grown < 50 * 512 * KIB
    for talk in talks:
        talk.reset()


def _ignore(visit: Visit, over: threading.Event) -> None:
    """Leave all that comes behind the head unread, until it is *over*."""
    over.wait(PATIENCE)
    visit.is_last = True


def test_tunnels_that_nobody_reads(attacked: Running, connect: Connect) -> None:
    """Tunnels hold what is in the pipes of the kernel, and little more."""

    def pour(talk: Talk) -> None:
        while True:
            talk.send(bytes(65536))

    with Origin(pour) as far:
        host = far.authority.encode()
        before = attacked.memory()
        talks = [connect(attacked.proxy) for _ in range(50)]
        for talk in talks:
            talk.send(b"CONNECT ", host, b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n")
            assert talk.response(b"CONNECT").status == 200
        time.sleep(1)  # there is no event for what must not happen
        assert attacked.grown(before) < 50 * 512 * KIB
        for talk in talks:
            talk.reset()


def test_many_connections(attacked: Running, connect: Connect) -> None:
    """Connections that do nothing cost some KiB each."""
    before = attacked.memory()
    talks = [connect(attacked.proxy) for _ in range(2000)]
    assert is_served(attacked, connect)
    assert attacked.grown(before) < 2000 * 12 * KIB
    for talk in talks:
        talk.close()


def test_slow_body(start_appliance: StartAppliance, connect: Connect) -> None:
    """A body of which nothing comes for [pool] read_timeout ends its request; drops don't."""
    with (
        Origin(Routes()) as origin,
        start_appliance("[pool]\nread_timeout = 1500ms\n") as running,
    ):
        dropping, slow = connect(running.proxy), connect(running.proxy)
        for talk in (dropping, slow):
            talk.send(get(origin, "/", "Content-Length: 5", method="POST"))
        slow.send(b"x")
        for _ in range(5):
            time.sleep(0.5)
            dropping.send(b"x")
        assert dropping.response().status == 200
        assert slow.response().status == 408


def test_answers_that_nobody_reads_time_out(
    start_appliance: StartAppliance, connect: Connect, tmp_path: Path
) -> None:
    """Who asks on and on and never reads is cut off after [limits] write_timeout."""
    (tmp_path / "small").write_bytes(bytes(60 * KIB))
    ini = f"[site]\nroot = {tmp_path}\n[limits]\nwrite_timeout = 500ms\n"
    with start_appliance(ini) as running:
        talk = connect(running.site)
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        _push(talk, b"GET /small HTTP/1.1\r\nHost: here\r\n\r\n" * 100, 50)
        running.wait_for_sockets(most=10)


# --- Descriptors ---

LIMIT = 100


@pytest.fixture
def scarce(start_appliance: StartAppliance, tmp_path: Path) -> Iterator[Running]:
    """Yield the product with LIMIT descriptors."""
    (tmp_path / "file").write_bytes(b"content")
    with start_appliance(f"[site]\nroot = {tmp_path}\n") as running:
        limit = (LIMIT, LIMIT)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limit)
        yield running


def crowd(connect: Connect, port: int, count: int) -> list[Talk]:
    """Return so many connections; the kernel takes them even where the process doesn't."""
    return [connect(port) for _ in range(count)]


def test_descriptor_limit(scarce: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Who is there is served, also with what takes descriptors; who comes is refused."""
    old, site, tunnel = connect(scarce.proxy), connect(scarce.site), connect(scarce.proxy)
    host = origin.authority.encode()
    tunnel.send(b"CONNECT ", host, b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n")
    assert tunnel.response(b"CONNECT").status == 200
    talks = crowd(connect, scarce.proxy, 200)
    refused = _first_refused(talks)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"descriptors" in refused
    # An origin that nobody is connected to yet, a file, and bytes both ways.
    with Origin(Routes()) as another:
        old.send(get(another, "/"))
        assert old.response().status == 200
    site.send(b"GET /file HTTP/1.1\r\nHost: here\r\n\r\n")
    assert site.response().body == b"content"
    tunnel.send(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n")
    assert tunnel.response().status == 200
    assert '"error":"connection_limit_reached"' in "".join(scarce.lines(1))
    for talk in talks:
        talk.close()
    wait_for(lambda: _is_welcome(scarce, connect), "room for new clients")
    assert not [line for line in scarce.said if "EMFILE" in line], "accept never fails"


def _first_refused(talks: list[Talk]) -> bytes:
    """Return what one of *talks* was told in vain, at last."""
    for talk in talks:
        talk.socket.settimeout(0.05)
        with suppress(TimeoutError):
            return talk.rest()
    raise AssertionError("nobody was refused")


def _is_welcome(running: Running, connect: Connect) -> bool:
    talk = connect(running.site)
    talk.send(b"GET /file HTTP/1.1\r\nHost: here\r\n\r\n")
    return talk.response().status == 200


def test_no_busy_loop_at_the_limit(scarce: Running, connect: Connect) -> None:
    """While clients wait that can't be accepted, the process sleeps."""
    crowd(connect, scarce.proxy, 300)
    time.sleep(0.5)
    before = _cpu(scarce)
    time.sleep(1.5)
    assert _cpu(scarce) - before < 0.3


def _cpu(running: Running) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_descriptor_to_dial(scarce: Running, connect: Connect) -> None:
    """Requests that need another descriptor when there is none are answered 503, and go on."""
    with Origin(Routes()) as origin:
        origin.served.on(b"/wait", silent)
        clients = crowd(connect, scarce.proxy, 60)
        for talk in clients:
            talk.send(get(origin, "/wait"))
        statuses: Counter[int] = Counter()
        for talk in clients:
            talk.socket.settimeout(0.05)
            with suppress(TimeoutError):
                answer = talk.response()
                statuses[answer.status] += 1
                if answer.head.all(b"connection") != [b"close"]:
                    _again(talk, origin)
        assert set(statuses) == {503}
        for talk in clients:
            talk.reset()  # a mere end of input might be a half-close: those wait for their answer
        wait_for(lambda: _is_welcome(scarce, connect), "room for new clients")


def _again(talk: Talk, origin: Origin[Routes]) -> None:
    """Ask once more, on the same connection."""
    talk.socket.settimeout(10)
    talk.send(get(origin, "/"))
    assert talk.response().status in (200, 503)


def test_no_descriptor_for_splice(scarce: Running, connect: Connect) -> None:
    """Long bodies and tunnels are copied where there are no pipes left, and arrive whole."""
    body = os.urandom(2 * MIB)
    with Origin(Routes()) as origin:
        origin.served.on(b"/body", fixed(body))
        talks = crowd(connect, scarce.proxy, 34)
        bodies: list[bytes] = []

        def load(talk: Talk) -> None:
            talk.send(get(origin, "/body"))
            bodies.append(talk.response().body)

        threads = [threading.Thread(target=load, args=(talk,)) for talk in talks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    whole = [each for each in bodies if each == body]
    assert len(bodies) == len(talks)
    assert len(whole) > 20
    assert all(b"descriptor" in each or b"socket" in each for each in bodies if each != body)
