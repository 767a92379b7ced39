"""Several workers from outside: all of them serve, the dead are replaced, and limits are shared."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.appliance import Running, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import Load, children, said, wait_for_children
from tests.origin import Origin, Routes, shout
from tests.talk import Response, Talk

_GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
_TWO = "[proxyapp]\nworkers = 2\n"


def seconds_used(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(talk: Talk) -> Response:
    """Return the site's answer for /."""
    talk.send(_GET)
    return talk.response()


@contextmanager
def both_busy(running: Running) -> Iterator[list[int]]:
    """Yield the two workers, and see to it that both of them work meanwhile."""
    workers = wait_for_children(running, 2)
    before = [seconds_used(pid) for pid in workers]
    yield workers
    used = [seconds_used(pid) - start for pid, start in zip(workers, before, strict=True)]
    assert min(used) > 0, used


def test_all_of_them_serve(start_appliance: StartAppliance) -> None:
    """The kernel spreads clients over the workers, and the master does nothing."""
    with start_appliance(_TWO) as running, both_busy(running):
        with Load(running.site, 8) as load:
            wait_for(lambda: load.answered > 400, "answers")
        assert load.failures == []


def test_lines_are_whole(start_appliance: StartAppliance) -> None:
    """Both write to one log: every exchange has its line, and none is torn."""
    with start_appliance(_TWO) as running:
        with Load(running.site, 8) as load:
            wait_for(lambda: load.answered > 400, "answers")
        lines = running.lines(load.answered)
        assert len(lines) == load.answered
        assert {json.loads(line)["status"] for line in lines} == {200}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_worker_is_replaced(
    start_appliance: StartAppliance, connect: Connect, number: signal.Signals
) -> None:
    """Another one takes its place and its sockets, and whoever waited there is served."""
    with start_appliance(_TWO) as running:
        first, second = wait_for_children(running, 2)
        os.kill(first, number)
        # Half of these are led to the socket that nobody accepts on for the moment.
        talks = [connect(running.site) for _ in range(8)]
        for talk in talks:
            assert ask(talk).status == 200
        said(running, "another one starts now")
        wait_for(lambda: first not in children(running), "end of the worker")
        assert second in wait_for_children(running, 2)


def test_worker_that_dies_again(start_appliance: StartAppliance, connect: Connect) -> None:
    """While a worker that died twice has to wait, the other one serves its clients."""
    with start_appliance(_TWO) as running:
        first, second = wait_for_children(running, 2)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in children(running), "end of the worker")
        _, again = sorted(wait_for_children(running, 2), key=lambda pid: pid != second)
        wait_for(lambda: sum("proxy: http" in line for line in running.said) > 1, "start")
        os.kill(again, signal.SIGKILL)
        said(running, "another one starts in 1 s")
        for _ in range(8):
            assert ask(connect(running.site)).status == 200


def test_workers_without_a_master(start_appliance: StartAppliance) -> None:
    """Where the master is killed the workers end, and the ports are free."""
    with start_appliance(_TWO) as running:
        workers = wait_for_children(running, 2)
        running.send_signal(signal.SIGKILL)
        running.process.wait(10)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "end")
        ports = dict(running.ports)
    with start_appliance(f"[site]\nlisten = tcp:{ports['site']}:interface=127.0.0.1\n") as again:
        assert again.site == ports["site"]


def test_nothing_can_be_served(tmp_path: Path, start_appliance: StartAppliance) -> None:
    """Workers that can't be built end the service with a sentence."""
    (tmp_path / "none").mkdir()
    ini = f"{_TWO}[log]\nrequests = {tmp_path}/none/fifo\n"
    os.mkfifo(tmp_path / "none" / "fifo")
    with pytest.raises(AssertionError, match=r"\[log\] requests: "), start_appliance(ini):
        pass


def test_connections_of_one_client(start_appliance: StartAppliance, connect: Connect) -> None:
    """[limits] per_client counts what a client has at all workers."""
    with start_appliance(f"{_TWO}[limits]\nper_client = 6\n") as running:
        statuses = [ask(connect(running.site)).status for _ in range(12)]
        assert sorted(statuses) == [200] * 6 + [503] * 6


def test_tunnels_of_one_client(start_appliance: StartAppliance, connect: Connect) -> None:
    """So does [tunnel] max_per_client."""
    with start_appliance(f"{_TWO}[tunnel]\nmax_per_client = 3\n") as running, Origin(shout) as far:
        target = far.authority.encode("ascii")
        talks = [connect(running.proxy) for _ in range(6)]
        statuses = []
        for talk in talks:
            talk.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: ", target, b"\r\n\r\n")
            statuses.append(talk.response(b"CONNECT").status)
        assert sorted(statuses) == [200] * 3 + [503] * 3
        for talk in talks:
            talk.close()


def test_request_rate(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A rule's rate is what a client gets of all workers together."""
    with start_appliance(f"{_TWO}[rule slow]\naction = allow\nrate = 4/m\n") as running:
        statuses = []
        for _ in range(8):
            talk = connect(running.proxy)
            talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode())
            talk.send(b"\r\n\r\n")
            statuses.append(talk.response().status)
        # Always one at once, and less than one more in the time that this takes.
        assert statuses.count(200) == 1
        assert statuses.count(429) == 7


def test_wrong_passwords(
    start_appliance: StartAppliance, connect: Connect, tmp_path: Path, origin: Origin[Routes]
) -> None:
    """Wrong passwords count wherever they were given."""
    (tmp_path / "users").write_text("ann:secret\n")
    with start_appliance(f"{_TWO}[auth]\nusers = file:{tmp_path}/users\n") as running:
        statuses = []
        for guess in range(9):
            told = base64.b64encode(b"ann:%d" % guess)
            talk = connect(running.proxy)
            talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode())
            talk.send(b"\r\nProxy-Authorization: Basic ", told, b"\r\n\r\n")
            statuses.append(talk.response().status)
        assert statuses[:5] == [407] * 5
        assert 429 in statuses[5:7]


def test_log_is_reopened(start_appliance: StartAppliance, connect: Connect) -> None:
    """SIGUSR1 for the master is one for all workers."""
    with start_appliance(_TWO) as running:
        for _ in range(4):
            ask(connect(running.site))
        running.lines(4)
        aside = running.log.with_suffix(".1")
        running.log.rename(aside)
        running.send_signal(signal.SIGUSR1)
        wait_for(running.log.exists, "new log")
        workers = children(running)
        for pid in workers:
            wait_for(partial(_has_open, pid, running.log), "open log")
        ask(connect(running.site))
        running.lines(1)
        assert len(aside.read_text().splitlines()) == 4


def _has_open(pid: int, path: Path) -> bool:
    targets = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return str(path) in targets
