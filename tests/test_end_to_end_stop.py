"""The end from outside: what runs is finished, nobody waits for ever, and every line is logged."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.appliance import is_refused, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import said, wait_for_children, write_ini
from tests.origin import Origin, Routes, Visit, fixed, shout, silent
from tests.talk import Talk

_SHORT = "[proxyapp]\ndrain_timeout = 500ms\nworkers = {workers}\n[tunnel]\ndrain_timeout = 500ms\n"
_LONG = "[proxyapp]\nworkers = {workers}\n"
each_way = pytest.mark.parametrize("workers", [1, 2])


def ask(talk: Talk, origin: Origin[Routes], path: str = "/slow") -> None:
    """Send a request for *path* of the origin, and wait until it has got there."""
    before = len(origin.served.visits)
    url = origin.url + path.encode("ascii")
    talk.send(b"GET ", url, b" HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n\r\n")
    wait_for(lambda: len(origin.served.visits) > before, "visit")


def open_tunnel(talk: Talk, authority: str) -> None:
    """Have the proxy open a tunnel."""
    target = authority.encode("ascii")
    talk.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: ", target, b"\r\n\r\n")
    assert talk.response(b"CONNECT").status == 200


@each_way
def test_all_comes_to_an_end(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], workers: int
) -> None:
    """A request gets its answer, the last one; a tunnel goes on; who is idle holds up nobody."""
    go_on = threading.Event()

    def slow(visit: Visit) -> None:
        go_on.wait(20)
        fixed(b"done")(visit)

    origin.served.on(b"/slow", slow)
    with start_appliance(_LONG.format(workers=workers)) as running, Origin(shout) as far:
        talk, tunnel, idle = (connect(running.proxy) for _ in range(3))
        ask(talk, origin)
        open_tunnel(tunnel, far.authority)
        running.send_signal(signal.SIGTERM)
        wait_for(lambda: is_refused(running.proxy), "refusal")
        assert idle.rest() == b""
        go_on.set()
        answer = talk.response()
        assert (answer.status, answer.body) == (200, b"done")
        assert answer.head.all(b"connection") == [b"close"]
        assert talk.rest() == b""
        tunnel.send(b"hello")
        assert tunnel.exactly(5) == b"HELLO"
        tunnel.half_close()
        assert tunnel.rest() == b""
        assert running.process.wait(60) == 0
        assert {"/slow" in line for line in running.lines(2)} == {True, False}


@each_way
def test_deadline(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], workers: int
) -> None:
    """What isn't over by drain_timeout is ended, is told so where it can be, and is logged."""
    origin.served.on(b"/slow", silent)
    with start_appliance(_SHORT.format(workers=workers)) as running, Origin(shout) as far:
        talk, tunnel = connect(running.proxy), connect(running.proxy)
        ask(talk, origin)
        open_tunnel(tunnel, far.authority)
        running.send_signal(signal.SIGTERM)
        assert talk.response().status == 503
        with pytest.raises((EOFError, ConnectionResetError)):
            tunnel.exactly(1)
        assert running.process.wait(60) == 0
        for line in running.lines(2):
            assert "waited for it long enough to stop" in line


@each_way
def test_second_signal(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], workers: int
) -> None:
    """A second SIGTERM ends everything at once, still with status 0 and the log complete."""
    origin.served.on(b"/slow", silent)
    with start_appliance(_LONG.format(workers=workers)) as running, Origin(shout) as far:
        talk, tunnel = connect(running.proxy), connect(running.proxy)
        ask(talk, origin)
        open_tunnel(tunnel, far.authority)
        running.send_signal(signal.SIGTERM)
        wait_for(lambda: is_refused(running.proxy), "refusal")
        running.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        running.lines(2)


def test_stop_after_a_reload(start_appliance: StartAppliance, connect: Connect) -> None:
    """What an older generation still carries has no longer than all others at a stop."""
    with start_appliance() as running, Origin(shout) as far:
        tunnel = connect(running.proxy)
        open_tunnel(tunnel, far.authority)
        write_ini(running, "[tunnel]\ndrain_timeout = 500ms\n")
        running.send_signal(signal.SIGHUP)
        said(running, "reloaded")
        running.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        assert far.authority in running.lines(1)[0]


def test_stop_while_reloading(start_appliance: StartAppliance) -> None:
    """A stop in the middle of a reload is a stop."""
    with start_appliance() as running:
        running.send_signal(signal.SIGHUP)
        wait_for_children(running, 1)
        running.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
