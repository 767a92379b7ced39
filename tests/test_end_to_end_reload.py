"""Reloads from outside: nothing is lost, mistakes change nothing, and tunnels go on."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Running, is_refused, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import (
    Load,
    ask_for_reload,
    children,
    fixed_ports,
    get,
    refusal,
    reload,
    said,
    wait_for_children,
    write_ini,
)
from tests.origin import Origin, shout
from tests.talk import Talk


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product, for all that it outlives."""
    with start(tmp_path_factory.mktemp("reloaded")) as running:
        yield running


@pytest.fixture
def service(started: Running) -> Running:
    """Return the product; its ini is the tests' own, whatever it serves."""
    write_ini(started, "")
    return started


def connect_through(talk: Talk, authority: str) -> int:
    """Ask for a tunnel, and return the status."""
    target = authority.encode("ascii")
    talk.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: ", target, b"\r\n\r\n")
    return talk.response(b"CONNECT").status


def echoes(talk: Talk) -> bool:
    """Does the tunnel to `shout` still carry bytes both ways?"""
    talk.send(b"hello")
    return talk.exactly(5) == b"HELLO"


@pytest.mark.parametrize(("workers", "times"), [(1, 10), (2, 2)])
def test_reloads_lose_nothing(
    start_appliance: StartAppliance, connect: Connect, workers: int, times: int
) -> None:
    """Under load on kept and fresh connections every request is answered, and a tunnel lives."""
    ini = f"[proxyapp]\nworkers = {workers}\n"
    with start_appliance(ini) as running, Origin(shout) as far:
        tunnel = connect(running.proxy)
        assert connect_through(tunnel, far.authority) == 200
        with Load(running.site, 4) as load:
            for _ in range(times):
                ask_for_reload(running)
                assert echoes(tunnel)
        assert load.failures == []
        assert load.answered > 100
        assert echoes(tunnel)
        tunnel.close()
        wait_for_children(running, workers)


def test_main_process_stays(start_appliance: StartAppliance, connect: Connect) -> None:
    """SIGHUP is enough; a worker serves from then on, and the process that was started watches."""
    with start_appliance() as running:
        assert children(running) == []
        running.send_signal(signal.SIGHUP)
        said(running, "reloaded: 1 ")
        (worker,) = wait_for_children(running, 1)
        assert get(connect(running.site)).status == 200
        running.line_with('"status":200')
        running.stop()
        assert not Path(f"/proc/{worker}").exists()


def test_mistake(service: Running, connect: Connect) -> None:
    """A mistake is told to whoever asked and to the event log, and the old settings go on."""
    write_ini(service, "[pool]\nretries = many\n[site]\nlisten = tcp:1x\n")
    before, since = children(service), len(service.said)
    done = reload(service)
    assert done.returncode == 1
    complaints = done.stderr.splitlines()
    assert [line.partition(": not reloaded: ")[0] for line in complaints] == ["proxyapp"] * 2
    assert "[pool] retries: 'many' is not a whole number" in done.stderr
    said(service, "not reloaded: ", since)
    wait_for(lambda: set(children(service)) <= set(before), "time without new workers")
    assert get(connect(service.site)).status == 200
    write_ini(service, "")
    assert reload(service).returncode == 0


@pytest.mark.parametrize(
    ("ini", "complaint"),
    [
        ("[log]\nrequests = {folder}/pipe/x\n", "[log] requests: "),
        ("[site]\nlisten = tcp:{busy}:interface=127.0.0.1\n", "Address already in use"),
        ("[proxyapp]\nstate_dir = {folder}/other\n", "state_dir: a reload can't change it"),
        ("[log]\nevents = {folder}/pipe/x\n", "[log] events: "),
    ],
)
def test_what_cannot_be_served(
    service: Running, connect: Connect, ini: str, complaint: str
) -> None:
    """What only shows when it is tried keeps the old settings, too."""
    folder = service.log.parent
    (folder / "pipe" / "x").mkdir(parents=True, exist_ok=True)
    since = len(service.said)
    with Origin(shout) as busy:
        write_ini(service, ini.format(folder=folder, busy=busy.port))
        assert complaint in refusal(service)
    said(service, complaint, since)
    assert get(connect(service.site)).status == 200


def test_event_log_changes(start_appliance: StartAppliance) -> None:
    """Where events go, and which, is as the new settings say, and back again."""
    with start_appliance() as running:
        path = running.log.parent / "events.log"
        since = len(running.said)
        write_ini(running, f"[log]\nevents = {path}\n")
        ask_for_reload(running)
        assert "reloaded: 1 worker" in path.read_text()
        write_ini(running, f"[log]\nevents = {path}\nlevel = error\n")
        ask_for_reload(running)
        quiet = path.read_text()
        write_ini(running, "[pool]\nretries = many\n")
        assert "retries" in refusal(running)
        assert [line.split()[2:4] for line in path.read_text()[len(quiet) :].splitlines()] == [
            ["not", "reloaded:"]
        ]
        assert quiet.count("reloaded") == 1
        path.rename(path.with_suffix(".old"))
        running.send_signal(signal.SIGUSR1)
        wait_for(path.exists, "new file")
        write_ini(running, "")
        ask_for_reload(running)
        said(running, "reloaded: 1 ", since)


def test_nobody_to_reload(tmp_path: Path, start_appliance: StartAppliance) -> None:
    """Where no service runs any more, --reload says so."""
    with start_appliance() as running:
        wait_for((tmp_path / "master.sock").exists, "socket")
        running.stop()
        done = reload(running)
    assert done.returncode == 3
    assert "no proxyapp runs with this state_dir" in done.stderr


def test_denied_tunnels_are_cut(service: Running, connect: Connect) -> None:
    """What the new rules deny ends, with the rule in the log; what they allow goes on."""
    ask_for_reload(service)
    since = len(service.said)
    with Origin(shout) as kept, Origin(shout) as denied:
        stays, goes = connect(service.proxy), connect(service.proxy)
        assert connect_through(stays, kept.authority) == 200
        assert connect_through(goes, denied.authority) == 200
        write_ini(service, f"[rule strict]\naction = deny\nports = {denied.port}\n")
        ask_for_reload(service)
        with pytest.raises((EOFError, ConnectionResetError)):
            goes.exactly(1)
        line = service.line_with(denied.authority)
        assert '"rule":"[rule strict]"' in line
        assert "a new configuration denies this tunnel" in line
        assert echoes(stays)
        said(service, "1 tunnels cut", since)


def test_a_password_that_is_wanted_now(service: Running, connect: Connect) -> None:
    """Tunnels of nobody end where everybody has to be a user from now on."""
    ask_for_reload(service)
    with Origin(shout) as far:
        tunnel = connect(service.proxy)
        assert connect_through(tunnel, far.authority) == 200
        (service.log.parent / "users").write_text("ann:secret\n")
        write_ini(service, f"[auth]\nusers = file:{service.log.parent}/users\n")
        ask_for_reload(service)
        with pytest.raises((EOFError, ConnectionResetError)):
            tunnel.exactly(1)


def test_addresses_come_and_go(service: Running, connect: Connect) -> None:
    """A reload opens what is new, closes what is gone, and keeps the port of what stays."""
    path = service.log.parent / "site.sock"
    with Origin(shout) as free:
        extra = free.port
    site = f"tcp:{service.site}:interface=127.0.0.1"
    more = f"[site]\nlisten = {site}\n tcp:{extra}:interface=127.0.0.1\n unix:{path}\n"
    write_ini(service, fixed_ports(service) + more)
    ask_for_reload(service)
    for port in (service.site, extra):
        assert get(connect(port)).status == 200
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(path))
    write_ini(service, fixed_ports(service))
    ask_for_reload(service)
    wait_for(lambda: is_refused(extra), "refusal")
    assert not path.exists()
    assert get(connect(service.site)).status == 200


def test_more_and_fewer_workers(service: Running) -> None:
    """The number of workers may change, under load."""
    with Load(service.site, 4) as load:
        for workers in (3, 1):
            write_ini(service, f"[proxyapp]\nworkers = {workers}\n")
            ask_for_reload(service)
            wait_for_children(service, workers)
        assert load.failures == []
    assert load.answered > 10


def test_long_request_is_finished(service: Running, connect: Connect) -> None:
    """A request that runs at the reload gets all of its answer."""
    talk = connect(service.site)
    talk.send(b"GET / HTTP/1.1\r\nHo")
    # Once this one is answered, that one was read.
    assert get(connect(service.site)).status == 200
    ask_for_reload(service)
    talk.send(b"st: h\r\n\r\n")
    answer = talk.response()
    assert answer.status == 200
    # The old worker may hear a moment later than we that it is relieved; it closes anyway.
    assert answer.head.all(b"connection") in ([], [b"close"])
    assert talk.rest() == b""
