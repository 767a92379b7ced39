"""Starting and stopping from outside, and the site: what an admin sees first."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.appliance import Running, command, environ, merged
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes
from tests.talk import Response, Talk


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `twistd -n proxyapp` to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environ() | {"XDG_STATE_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# --- Starting ---


def test_introduction(start_appliance: StartAppliance, tmp_path: Path) -> None:
    """The first lines name the addresses, the log, the state, and the ini."""
    with start_appliance() as running:
        said = "\n".join(running.said)
    for told in (
        rf"proxy: http://127\.0\.0\.1:{running.proxy}$",
        rf"site: http://127\.0\.0\.1:{running.site}$",
        rf"request log: {tmp_path}/requests\.log \(json\)$",
        rf"state: {tmp_path}$",
        rf"configuration: {tmp_path}/proxyapp\.ini$",
    ):
        assert re.search(told, said, re.MULTILINE), said


@pytest.mark.parametrize("section", ["proxy", "site"])
def test_port_in_use(tmp_path: Path, section: str) -> None:
    """A port that somebody has is one clear sentence and status 1, and nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        endpoint = f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1"
        other = "site" if section == "proxy" else "proxy"
        done = run(
            tmp_path, f"--set={section}.listen={endpoint}", f"--set={other}.listen=", "--set=log.requests="
        )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"proxyapp: cannot listen on {endpoint}: " in said
    assert "Address already in use" in said
    assert "Traceback" not in said


def test_second_start(start_appliance: StartAppliance, tmp_path: Path) -> None:
    """Another one on the same ports says so, and leaves the first one alone."""
    with start_appliance() as running:
        listen = f"tcp:{running.proxy}:interface=127.0.0.1"
        done = run(tmp_path, f"--listen={listen}", "--set=site.listen=")
        assert done.returncode == 1
        assert f"cannot listen on {listen}" in done.stdout + done.stderr
        assert running.process.poll() is None


def test_restart_at_once(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """After a stop with open connections the ports can be had again immediately."""
    with start_appliance() as running:
        talk = connect(running.proxy)
        talk.send(b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n\r\n")
        assert talk.response().status == 200
        port = running.proxy
        assert running.stop() == 0
    with start_appliance(f"[proxy]\nlisten = tcp:{port}:interface=127.0.0.1\n") as again:
        assert again.proxy == port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_signals(start_appliance: StartAppliance, connect: Connect, number: int) -> None:
    """It ends in an orderly way, with status 0."""
    with start_appliance() as running:
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert talk.response().status == 200
        running.signal(number)
        assert running.process.wait(10) == 0


def test_check(tmp_path: Path) -> None:
    """--check opens nothing; it says that all is right, or everything that isn't."""
    path = tmp_path / "x.ini"
    path.write_text(merged("[proxy]\nlisten = tcp:0\n", ""))
    done = run(tmp_path, "--config", str(path), "--check")
    assert (done.returncode, done.stderr) == (0, "")
    path.write_text("[proxy]\nlissen = tcp:0\n[pool]\nretries = -1\n")
    done = run(tmp_path, "--config", str(path), "--check")
    assert done.returncode == 1
    assert "[proxy] lissen" in done.stdout
    assert "[pool] retries" in done.stdout


UNUSABLE = {
    "log.requests={folder}/none/log": "[log] requests: ",
    "log.requests={folder}": "[log] requests: ",
    "proxy.tls_ca_file={folder}/empty.pem": "tls_ca_file",
}


@pytest.mark.parametrize("setting", UNUSABLE)
def test_what_cannot_be_used(tmp_path: Path, setting: str) -> None:
    """What is named and can't be used is a sentence with the option's name, and status 1."""
    (tmp_path / "empty.pem").write_text("nothing\n")
    listeners = ["--listen=tcp:0:interface=127.0.0.1", "--set=site.listen="]
    done = run(tmp_path, *listeners, "--set", setting.format(folder=tmp_path))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert UNUSABLE[setting] in said
    assert "Traceback" not in said


# --- The site ---

INDEX = b"<!DOCTYPE html><title>home</title>"


@pytest.fixture
def site(start_appliance: StartAppliance, tmp_path: Path) -> Running:
    """Return the product with a few files to serve, the folder found beside the ini."""
    folder = tmp_path / "htdocs"
    folder.mkdir()
    (folder / "index.html").write_bytes(INDEX)
    (folder / "letters.txt").write_bytes(b"abcdefghij")
    os.utime(folder / "letters.txt", (1_000_000_000, 1_000_000_000))
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return start_appliance().__enter__()


def ask(talk: Talk, target: bytes, *lines: bytes, method: bytes = b"GET") -> Response:
    """Return the site's answer for *target*."""
    talk.send(b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: h", *lines, b"", b""]))
    return talk.response(method)
