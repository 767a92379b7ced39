"""The limits of rules over real sockets: request rate, bandwidth and quota, whatever moves."""

from __future__ import annotations

import itertools
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from proxyapp.limits import ledger
from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit, fixed
from tests.talk import Talk

KIB = 1024
MIB = 1024 * KIB
RATE = 2 * MIB
SIZE = 3 * MIB // 2
CONTENT = bytes(range(256)) * (SIZE // 256)
# What may be saved up, and how much slower than the rate a busy machine may be.
BURST = 0.2
PATIENCE = 6.0

_THROTTLED = f"""\
[site]
root = {{folder}}
[rule all]
action = allow
rate = {RATE // MIB}MiB/s
"""


@pytest.fixture(scope="module")
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with one bandwidth for everything."""
    folder = tmp_path_factory.mktemp("throttled")
    (folder / "content").write_bytes(CONTENT)
    with start(folder, _THROTTLED.format(folder=folder)) as started:
        yield started


class Scene(NamedTuple):
    """The product, an origin, and a client's connections."""

    running: Running
    origin: Origin[Routes]
    connect: Connect

    def asking(self, method: bytes, path: bytes, *lines: bytes) -> bytes:
        """Return a request to the origin."""
        host = self.origin.authority.encode()
        first = method + b" " + self.origin.url + path + b" HTTP/1.1"
        return b"\r\n".join([first, b"Host: " + host, *lines, b"", b""])

    def tunnel(self) -> Talk:
        """Return a connection through a tunnel."""
        talk = self.connect(self.running.proxy)
        host = self.origin.authority.encode()
        talk.send(b"CONNECT ", host, b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n")
        assert talk.response(b"CONNECT").status == 200
        return talk


@pytest.fixture
def scene(throttled: Running, origin: Origin[Routes], connect: Connect) -> Scene:
    """Return the scene; what went before has been paid."""
    origin.served.on(b"/content", fixed(CONTENT))
    origin.served.on(b"/chunked", _chunked)
    time.sleep(2 * BURST)  # until the bucket is full
    return Scene(throttled, origin, connect)


def _chunked(visit: Visit) -> None:
    visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, SIZE, 100_000):
        piece = CONTENT[at : at + 100_000]
        visit.answer(b"%x\r\n%b\r\n" % (len(piece), piece))
    visit.answer(b"0\r\n\r\n")


# Each way moves CONTENT once, and returns what came of it.


def file_of_the_site(scene: Scene) -> bytes:
    """By sendfile."""
    talk = scene.connect(scene.running.site)
    talk.send(b"GET /content HTTP/1.1\r\nHost: here\r\n\r\n")
    return talk.response().body


def download(scene: Scene) -> bytes:
    """By splice."""
    talk = scene.connect(scene.running.proxy)
    talk.send(scene.asking(b"GET", b"/content"))
    return talk.response().body


def chunked_download(scene: Scene) -> bytes:
    """By copying."""
    talk = scene.connect(scene.running.proxy)
    talk.send(scene.asking(b"GET", b"/chunked"))
    return talk.response().body


def upload(scene: Scene) -> bytes:
    """By splice, the other way."""
    talk = scene.connect(scene.running.proxy)
    talk.send(scene.asking(b"PUT", b"/", b"Content-Length: %d" % SIZE), CONTENT)
    assert talk.response().status == 200
    return scene.origin.served.visits[-1].body


def chunked_upload(scene: Scene) -> bytes:
    """By copying, the other way."""
    talk = scene.connect(scene.running.proxy)
    talk.send(scene.asking(b"PUT", b"/", b"Transfer-Encoding: chunked"))
    talk.send(b"%x\r\n" % SIZE, CONTENT, b"\r\n0\r\n\r\n")
    assert talk.response().status == 200
    return scene.origin.served.visits[-1].body


def tunnel_down(scene: Scene) -> bytes:
    """Through a tunnel, which changes from copying to splice on the way."""
    talk = scene.tunnel()
    talk.send(b"GET /content HTTP/1.1\r\nHost: there\r\n\r\n")
    return talk.response().body


def tunnel_up(scene: Scene) -> bytes:
    """Through a tunnel, the other way."""
    talk = scene.tunnel()
    talk.send(b"PUT / HTTP/1.1\r\nHost: there\r\nContent-Length: %d\r\n\r\n" % SIZE, CONTENT)
    assert talk.response().status == 200
    return scene.origin.served.visits[-1].body


Way = Callable[[Scene], bytes]
WAYS: list[Way] = [
    file_of_the_site,
    download,
    chunked_download,
    upload,
    chunked_upload,
    tunnel_down,
    tunnel_up,
]


def timed(scene: Scene, ways: list[Way]) -> list[float]:
    """Go *ways*, all at once; return how long each took, in seconds."""
    seconds: list[float] = []
    wrong: list[Way] = []

    def go(way: Way) -> None:
        if way(scene) != CONTENT:
            wrong.append(way)
        seconds.append(time.monotonic() - begun)

    begun = time.monotonic()
    threads = [threading.Thread(target=go, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seconds) == len(ways)
    return seconds


@pytest.mark.parametrize("way", WAYS)
def test_bandwidth(scene: Scene, way: Way) -> None:
    """Whatever moves it, it moves at the rate, and arrives whole."""
    (seconds,) = timed(scene, [way])
    assert seconds > SIZE / RATE - BURST - 0.1
    assert seconds < SIZE / RATE * PATIENCE


def test_shared_and_fair(scene: Scene) -> None:
    """Connections of one client share the bandwidth, and none gets it all."""
    seconds = timed(scene, [download, file_of_the_site, chunked_download, tunnel_down])
    # Without sharing, the first would be through after SIZE / RATE.
    assert min(seconds) > 2.5 * SIZE / RATE - BURST
    assert max(seconds) < 4 * SIZE / RATE * PATIENCE


def test_smooth_and_idle(scene: Scene) -> None:
    """Bytes come all the time, and between them the process sleeps."""
    talk = scene.connect(scene.running.site)
    before, begun = _cpu(scene.running), time.monotonic()
    talk.send(b"GET /content HTTP/1.1\r\nHost: here\r\n\r\n")
    seen = [begun]
    left = SIZE
    while left > 0:
        left -= len(talk.socket.recv(MIB))
        seen.append(time.monotonic())
    gaps = [after - earlier for earlier, after in itertools.pairwise(seen)]
    assert max(gaps) < 0.5
    assert _cpu(scene.running) - before < 0.3 * (seen[-1] - begun)


def _cpu(running: Running) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_source_is_held_up(scene: Scene) -> None:
    """What the client may not have yet isn't in the process, but at the origin."""
    sent: list[int] = []

    def endless(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sent.append(visit.talk.socket.send(b"10000\r\n" + bytes(65536) + b"\r\n"))

    scene.origin.served.on(b"/endless", endless)
    before = scene.running.memory()
    talk = scene.connect(scene.running.proxy)
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    talk.send(scene.asking(b"GET", b"/endless"))
    begun = time.monotonic()
    talk.skip(2 * MIB)
    assert sum(sent) < RATE * (time.monotonic() - begun + 1) + 16 * MIB
    assert scene.running.grown(before) < 10 * MIB
    talk.reset()


def test_time_outs_wait(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A client that waits for its share isn't taken for one that doesn't read or send."""
    origin.served.on(b"/content", fixed(CONTENT[: 40 * KIB]))
    limits = "[limits]\nwrite_timeout = 300ms\n[pool]\nread_timeout = 300ms\n"
    rule = "[rule slow]\naction = allow\nrate = 40KiB/s\n"
    with start_appliance(limits + rule) as running:
        scene = Scene(running, origin, connect)
        talks = [connect(running.proxy) for _ in range(3)]
        for talk in talks:
            talk.send(scene.asking(b"GET", b"/content"))
        assert {talk.response().body for talk in talks} == {CONTENT[: 40 * KIB]}
        talk = talks[0]
        talk.send(scene.asking(b"PUT", b"/", b"Content-Length: 40960"), bytes(40960))
        assert talk.response().status == 200


def test_unthrottled_beside(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A rule's limits are for what it matches, on the same connection too."""
    origin.served.on(b"/content", fixed(CONTENT))
    rule = "[rule slow]\naction = allow\nmethods = POST\nrate = 200KiB/s\n"
    with start_appliance(rule) as running:
        scene = Scene(running, origin, connect)
        talk = connect(running.proxy)
        for _ in range(2):
            begun = time.monotonic()
            talk.send(scene.asking(b"POST", b"/", b"Content-Length: 204800"), bytes(204800))
            assert talk.response().status == 200
            assert time.monotonic() - begun > 0.6
            begun = time.monotonic()
            talk.send(scene.asking(b"GET", b"/content"))
            assert talk.response().body == CONTENT
            assert time.monotonic() - begun < 4  # at the rate it would be seven


# --- Request rate ---


def test_request_rate(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """One request too many is told how long to wait, and the connection goes on."""
    rule = "[rule few]\naction = allow\nrate = 5/s\nmessage = Slowly, please.\n"
    with start_appliance(rule) as running:
        scene = Scene(running, origin, connect)
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/") * 6)
        assert [talk.response().status for _ in range(5)] == [200] * 5
        refusal = talk.response()
        assert refusal.status == 429
        assert refusal.head.one(b"retry-after") == b"1"
        assert b"error=http_request_denied" in refusal.head.one(b"proxy-status")
        assert b"[rule few] allows 5 requests a second" in refusal.body
        assert b"Slowly, please." in refusal.body
        time.sleep(1)
        talk.send(scene.asking(b"GET", b"/"))
        assert talk.response().status == 200
        assert '"rule":"[rule few]"' in running.line_with('"status":429')


# --- Quota ---

_QUOTA = "[rule little]\naction = allow\nservices = proxy, tunnel\nquota = 1MiB/month\n"


def test_quota(start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]) -> None:
    """What runs when the quota is used up is cut, what comes then refused, and both are logged."""
    origin.served.on(b"/content", fixed(CONTENT))
    with start_appliance(_QUOTA) as running:
        scene = Scene(running, origin, connect)
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/content"))
        with pytest.raises((EOFError, ConnectionResetError)):
            talk.response()
        assert '"rule":"[rule little]"' in running.line_with('"status":200')
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/"))
        refusal = talk.response()
        assert refusal.status == 429
        assert 0 < int(refusal.head.one(b"retry-after")) <= 31 * 86400 + 3600
        assert b"[rule little] allows 1 MiB a month" in refusal.body
        assert b"it is renewed on" in refusal.body
        site = connect(running.site)
        site.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert site.response().status != 429


def _written(running: Running) -> int:
    """Return the bytes that the ledger knows of."""
    with closing(sqlite3.connect(running.log.parent / ledger.FILE)) as database:
        used: int = database.execute("SELECT total(used) FROM usage").fetchone()[0]
    return used


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_quota_survives(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], end: str
) -> None:
    """Neither a restart nor a crash makes a quota new."""
    origin.served.on(b"/content", fixed(CONTENT[: MIB * 3 // 4]))
    with start_appliance(_QUOTA) as running:
        scene = Scene(running, origin, connect)
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/content"))
        assert talk.response().status == 200
        if end == "stop":
            running.stop()
        else:
            wait_for(lambda: _written(running) >= MIB * 3 // 4, "batch that is written")
            running.process.kill()
            running.process.wait(10)
    with start_appliance(_QUOTA) as running:
        scene = Scene(running, origin, connect)
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/content"))
        with pytest.raises((EOFError, ConnectionResetError)):
            talk.response()


def repeat(talk: Talk, request: bytes) -> None:
    """Ask for the same a few times more."""
    for _ in range(5):
        talk.send(request)
        talk.response()


def test_quota_of_a_tunnel(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A tunnel that has had enough is cut while it runs, at both ends; others hear of it."""
    with start_appliance(_QUOTA) as running:
        scene = Scene(running, origin, connect)
        talk = scene.tunnel()
        put = b"PUT / HTTP/1.1\r\nHost: there\r\nContent-Length: 262144\r\n\r\n" + bytes(262144)
        for _ in range(3):
            talk.send(put)
            assert talk.response().status == 200
        with pytest.raises((EOFError, OSError)):
            repeat(talk, put)
        origin.wait_until_idle()
        line = running.line_with('"method":"CONNECT"')
        assert "is used up" in line
        assert '"rule":"[rule little]"' in line
        talk = connect(running.proxy)
        talk.send(scene.asking(b"GET", b"/"))
        assert talk.response().status == 429
