"""Several workers from outside: all of them serve, the dead are replaced, and limits are shared."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import Load, children, get, said, wait_for_children
from tests.origin import Origin, Routes, shout
from tests.talk import Talk

ConnectFrom = Callable[[str, int], Talk]

_TWO = "[proxyapp]\nworkers = 2\n"
_SETTINGS = f"""\
{_TWO}
[limits]
per_client = 16
[tunnel]
max_per_client = 3
[auth]
users = file:{{folder}}/users
required = no
[rule slow]
action = allow
clients = 127.0.0.4
rate = 4/m
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield two workers, with a limit of every kind; each test that meets one has an address."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "users").write_text("ann:secret\n")
    with start(folder, _SETTINGS.format(folder=folder)) as running:
        wait_for_workers(running)
        yield running


@pytest.fixture
def connect_from() -> Iterator[ConnectFrom]:
    """Return what connects to a port from an address of loopback."""
    with ExitStack() as opened:

        def open_talk(address: str, port: int) -> Talk:
            made = socket.create_connection(("127.0.0.1", port), 20, (address, 0))
            return opened.enter_context(Talk(made))

        yield open_talk


def wait_for_workers(running: Running) -> list[int]:
    """Return the two workers, once they serve."""
    said(running, "started: 2 workers")
    return wait_for_children(running, 2)


def seconds_used(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_all_of_them_serve(pair: Running) -> None:
    """The kernel spreads clients over the workers, and every exchange has its whole line."""
    workers = children(pair)
    before = [seconds_used(pid) for pid in workers]
    since = pair.logged
    with Load(pair.site, 8) as load:
        wait_for(lambda: load.answered > 400, "answers")
    assert load.failures == []
    used = [seconds_used(pid) - start for pid, start in zip(workers, before, strict=True)]
    assert min(used) > 0, used
    lines = pair.lines(load.answered, since=since)
    assert len(lines) == load.answered
    assert {json.loads(line)["status"] for line in lines} == {200}


def test_workers_are_replaced(start_appliance: StartAppliance, connect: Connect) -> None:
    """Another one takes the place of each that dies, and whoever waited there is served.

    One that dies again has to wait, and the other one serves its clients meanwhile.
    """
    with start_appliance(_TWO) as running:
        first, second = wait_for_workers(running)
        third = kill(running, first, signal.SIGKILL, connect)
        fourth = kill(running, second, signal.SIGTERM, connect)
        assert not any("another one starts in" in line for line in running.said)
        kill(running, third, signal.SIGSEGV, connect)
        said(running, "another one starts in 1 s")
        assert fourth in children(running)


def kill(running: Running, pid: int, number: signal.Signals, connect: Connect) -> int:
    """End the worker *pid*, ask as its clients, and return who takes its place."""
    others = {each for each in children(running) if each != pid}
    since = len(running.said)
    os.kill(pid, number)
    # Half of these are led to the socket that nobody accepts on for the moment.
    talks = [connect(running.site) for _ in range(8)]
    for talk in talks:
        assert get(talk).status == 200
    said(running, "another one starts", since)
    wait_for(lambda: pid not in children(running), "end of the worker")
    (replacement,) = set(wait_for_children(running, 2)) - others
    said(running, f"({replacement}) serves", since)
    return replacement


def test_workers_without_a_master(start_appliance: StartAppliance) -> None:
    """Where the master is killed the workers end, and the ports are free."""
    with start_appliance(_TWO) as running:
        workers = wait_for_workers(running)
        running.send_signal(signal.SIGKILL)
        running.process.wait(60)
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


def test_connections_of_one_client(pair: Running, connect_from: ConnectFrom) -> None:
    """[limits] per_client counts what a client has at all workers."""
    statuses = [get(connect_from("127.0.0.2", pair.site)).status for _ in range(22)]
    assert sorted(statuses) == [200] * 16 + [503] * 6


def test_tunnels_of_one_client(pair: Running, connect_from: ConnectFrom) -> None:
    """So does [tunnel] max_per_client."""
    with Origin(shout) as far:
        target = far.authority.encode("ascii")
        talks = [connect_from("127.0.0.3", pair.proxy) for _ in range(6)]
        statuses = []
        for talk in talks:
            talk.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: ", target, b"\r\n\r\n")
            statuses.append(talk.response(b"CONNECT").status)
        assert sorted(statuses) == [200] * 3 + [503] * 3
        for talk in talks:
            talk.close()


def fetch(talk: Talk, origin: Origin[Routes], fields: bytes = b"") -> int:
    """Ask the proxy for / of the origin, and return the status."""
    talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode())
    talk.send(b"\r\n", fields, b"\r\n")
    return talk.response().status


def test_request_rate(pair: Running, connect_from: ConnectFrom, origin: Origin[Routes]) -> None:
    """A rule's rate is what a client gets of all workers together."""
    statuses = [fetch(connect_from("127.0.0.4", pair.proxy), origin) for _ in range(8)]
    # Always one at once, and less than one more in the time that this takes.
    assert sorted(statuses) == [200] + [429] * 7


def test_wrong_passwords(pair: Running, connect_from: ConnectFrom, origin: Origin[Routes]) -> None:
    """Wrong passwords count wherever they were given."""
    statuses = []
    for guess in range(9):
        field = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(b"ann:%d" % guess)
        statuses.append(fetch(connect_from("127.0.0.5", pair.proxy), origin, field))
    assert statuses[:5] == [407] * 5
    assert 429 in statuses[5:7]


def test_log_is_reopened(pair: Running, connect: Connect) -> None:
    """SIGUSR1 for the master is one for all workers."""
    get(connect(pair.site))
    pair.lines(1)
    aside = pair.log.with_suffix(".1")
    pair.log.rename(aside)
    pair.send_signal(signal.SIGUSR1)
    wait_for(pair.log.exists, "new log")
    for pid in children(pair):
        wait_for(partial(_has_left, pid, aside), "end of the old log")
    before = aside.read_text()
    get(connect(pair.site))
    pair.lines(1)
    assert aside.read_text() == before


def _has_left(pid: int, path: Path) -> bool:
    """Has the process written its last to the file?"""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it may be closed just now
            if os.readlink(each) == str(path):
                return False
    return True
