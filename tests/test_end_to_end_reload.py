"""Reloads from outside: nothing is lost, mistakes change nothing, and tunnels go on."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.appliance import Running, wait_for
from tests.conftest import Connect, StartAppliance
from tests.fleet import (
    Load,
    children,
    fixed_ports,
    reload,
    said,
    wait_for_children,
    write_ini,
)
from tests.origin import Origin, shout
from tests.talk import Talk


def connect_through(talk: Talk, authority: str) -> int:
    """Ask for a tunnel, and return the status."""
    target = authority.encode("ascii")
    talk.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: ", target, b"\r\n\r\n")
    return talk.response(b"CONNECT").status


def echoes(talk: Talk) -> bool:
    """Does the tunnel to `shout` still carry bytes both ways?"""
    talk.send(b"hello")
    return talk.exactly(5) == b"HELLO"


def is_refused(port: int) -> bool:
    """Does nobody listen on *port* any more?"""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(("workers", "times"), [(1, 10), (2, 3)])
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
                done = reload(running)
                assert (done.returncode, done.stderr) == (0, "")
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
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert talk.response().status == 200
        running.line_with('"status":200')
        running.stop()
        assert not Path(f"/proc/{worker}").exists()


def test_mistake(start_appliance: StartAppliance, connect: Connect) -> None:
    """A mistake is told to whoever asked and to the event log, and the old settings go on."""
    with start_appliance() as running:
        write_ini(running, "[pool]\nretries = many\n[site]\nlisten = tcp:1x\n")
        done = reload(running)
        assert done.returncode == 1
        complaints = done.stderr.splitlines()
        assert [line.partition(": not reloaded: ")[0] for line in complaints] == ["proxyapp"] * 2
        assert "[pool] retries: 'many' is not a whole number" in done.stderr
        said(running, "not reloaded: ")
        wait_for_children(running, 0)
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert talk.response().status == 200
        write_ini(running, "")
        assert reload(running).returncode == 0


@pytest.mark.parametrize(
    ("ini", "complaint"),
    [
        ("[log]\nrequests = {folder}/pipe/x\n", "[log] requests: "),
        ("[site]\nlisten = tcp:{busy}:interface=127.0.0.1\n", "Address already in use"),
        ("[proxyapp]\nstate_dir = {folder}/other\n", "state_dir: a reload can't change it"),
    ],
)
def test_what_cannot_be_served(
    start_appliance: StartAppliance, connect: Connect, ini: str, complaint: str
) -> None:
    """What only shows when it is tried keeps the old settings, too."""
    with start_appliance() as running, Origin(shout) as busy:
        (running.log.parent / "pipe").mkdir(exist_ok=True)
        (running.log.parent / "pipe" / "x").mkdir()
        folder = running.log.parent
        write_ini(running, ini.format(folder=folder, busy=busy.port))
        done = ask_for_reload(running, folder)
        assert done == 1
        said(running, complaint)
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert talk.response().status == 200


def ask_for_reload(running: Running, folder: Path) -> int:
    """Return the exit status of `--reload`, of the service whose state is in *folder*."""
    ini = folder / "proxyapp.ini"
    kept = ini.read_text()
    done = reload(running)
    if done.returncode == 3:
        # It looks in the state folder of the new settings, where nobody listens.
        assert "no proxyapp runs with this state_dir" in done.stderr
        ini.write_text(kept)
        running.send_signal(signal.SIGHUP)
        return 1
    return done.returncode


def test_nobody_to_reload(tmp_path: Path, start_appliance: StartAppliance) -> None:
    """Where no service runs, --reload says so."""
    with start_appliance() as running:
        running.stop()
        done = reload(running)
    assert done.returncode == 3
    assert "no proxyapp runs with this state_dir" in done.stderr


def test_denied_tunnels_are_cut(start_appliance: StartAppliance, connect: Connect) -> None:
    """What the new rules deny ends, with the rule in the log; what they allow goes on."""
    with start_appliance() as running, Origin(shout) as kept, Origin(shout) as denied:
        stays, goes = connect(running.proxy), connect(running.proxy)
        assert connect_through(stays, kept.authority) == 200
        assert connect_through(goes, denied.authority) == 200
        write_ini(running, f"[rule strict]\naction = deny\nports = {denied.port}\n")
        assert reload(running).returncode == 0
        with pytest.raises((EOFError, ConnectionResetError)):
            goes.exactly(1)
        line = running.line_with(denied.authority)
        assert '"rule":"[rule strict]"' in line
        assert "a new configuration denies this tunnel" in line
        assert echoes(stays)
        said(running, "1 tunnels cut")


def test_a_password_that_is_wanted_now(start_appliance: StartAppliance, connect: Connect) -> None:
    """Tunnels of nobody end where everybody has to be a user from now on."""
    with start_appliance() as running, Origin(shout) as far:
        tunnel = connect(running.proxy)
        assert connect_through(tunnel, far.authority) == 200
        (running.log.parent / "users").write_text("ann:secret\n")
        write_ini(running, f"[auth]\nusers = file:{running.log.parent}/users\n")
        assert reload(running).returncode == 0
        with pytest.raises((EOFError, ConnectionResetError)):
            tunnel.exactly(1)


def test_addresses_come_and_go(start_appliance: StartAppliance, connect: Connect) -> None:
    """A reload opens what is new, closes what is gone, and keeps the port of what stays."""
    with Origin(shout) as free:
        extra = free.port
    with start_appliance() as running:
        site = f"tcp:{running.site}:interface=127.0.0.1"
        more = f"[site]\nlisten = {site}\n tcp:{extra}:interface=127.0.0.1\n"
        write_ini(running, fixed_ports(running) + more)
        done = reload(running)
        assert done.returncode == 0, done.stderr
        for port in (running.site, extra):
            talk = connect(port)
            talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert talk.response().status == 200
        write_ini(running, fixed_ports(running))
        assert reload(running).returncode == 0
        wait_for(lambda: is_refused(extra), "refusal")
        connect(running.site)


def test_more_and_fewer_workers(start_appliance: StartAppliance) -> None:
    """The number of workers may change, under load."""
    with start_appliance() as running, Load(running.site, 4) as load:
        for workers in (3, 1, 2):
            write_ini(running, f"[proxyapp]\nworkers = {workers}\n")
            assert reload(running).returncode == 0
            wait_for_children(running, workers)
        assert load.failures == []
    assert load.answered > 10


def test_long_request_is_finished(start_appliance: StartAppliance, connect: Connect) -> None:
    """A request that runs at the reload gets all of its answer."""
    with start_appliance("[site]\nupload = no\n") as running, Origin(shout):
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHo")
        assert reload(running).returncode == 0
        talk.send(b"st: h\r\n\r\n")
        answer = talk.response()
        assert answer.status == 200
        assert answer.head.all(b"connection") == [b"close"]
        assert talk.rest() == b""
