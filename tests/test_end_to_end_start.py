"""Starting and stopping from outside, and the site: what an admin sees first."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Running, command, environ, merged, wait_for
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
            tmp_path,
            f"--set={section}.listen={endpoint}",
            f"--set={other}.listen=",
            "--set=log.requests=",
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
        talk.send(
            b"GET ", origin.url, b"/ HTTP/1.1\r\nHost: ", origin.authority.encode(), b"\r\n\r\n"
        )
        assert talk.response().status == 200
        port = running.proxy
        running.stop()
    with start_appliance(f"[proxy]\nlisten = tcp:{port}:interface=127.0.0.1\n") as again:
        assert again.proxy == port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_signals(start_appliance: StartAppliance, connect: Connect, number: int) -> None:
    """It closes its connections and ends with exit status 0."""
    with start_appliance() as running:
        talk = connect(running.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert talk.response().status == 200
        running.send_signal(number)
        assert talk.rest() == b""
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
    assert "[proxy] lissen" in done.stderr
    assert "[pool] retries" in done.stderr
    assert done.stdout == ""


def test_a_daemon_leaves_the_terminal(tmp_path: Path) -> None:
    """Without -n nothing keeps standard output open, so the command ends for who reads that."""
    line = [each for each in command("--listen=tcp:0:interface=127.0.0.1") if each != "-n"]
    line[line.index("--pidfile=")] = f"--pidfile={tmp_path}/pid"
    settings = [f"--set=proxyapp.state_dir={tmp_path}/state", "--set=site.listen="]
    try:
        done = subprocess.run(
            [*line, *settings], cwd=tmp_path, env=environ(), capture_output=True, timeout=30
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        log = tmp_path / "twistd.log"
        wait_for(lambda: "request log: off" in log.read_text(), "word of the request log")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


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
def site(start_appliance: StartAppliance, tmp_path: Path) -> Iterator[Running]:
    """Yield the product with a few files to serve, the folder found beside the ini."""
    folder = tmp_path / "htdocs"
    folder.mkdir()
    (folder / "index.html").write_bytes(INDEX)
    (folder / "letters.txt").write_bytes(b"abcdefghij")
    os.utime(folder / "letters.txt", (1_000_000_000, 1_000_000_000))
    (tmp_path / "secret.txt").write_bytes(b"secret")
    with start_appliance() as running:
        yield running


def ask(talk: Talk, target: bytes, *lines: bytes, method: bytes = b"GET") -> Response:
    """Return the site's answer for *target*."""
    talk.send(b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: h", *lines, b"", b""]))
    return talk.response(method)


@pytest.mark.parametrize("service", ["site", "proxy"])
def test_files_on_both_ports(site: Running, connect: Connect, service: str) -> None:
    """A path gets a file from the site's port and from the proxy's; in full, in part, or not."""
    talk = connect(site.ports[service])
    whole = ask(talk, b"/letters.txt")
    assert (whole.status, whole.body) == (200, b"abcdefghij")
    modified = whole.head.one(b"last-modified")
    assert modified == b"Sun, 09 Sep 2001 01:46:40 GMT"
    unchanged = ask(talk, b"/letters.txt", b"If-Modified-Since: " + modified)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert ask(talk, b"/letters.txt", b"If-None-Match: " + whole.head.one(b"etag")).status == 304
    part = ask(talk, b"/letters.txt", b"Range: bytes=2-4")
    assert (part.status, part.body) == (206, b"cde")
    assert part.head.one(b"content-range") == b"bytes 2-4/10"
    assert ask(talk, b"/letters.txt", b"Range: bytes=10-").status == 416
    assert ask(talk, b"/", method=b"HEAD").head.one(b"content-length") == b"%d" % len(INDEX)
    assert ask(talk, b"/").body == INDEX


@pytest.mark.parametrize(
    "target", [b"/../secret.txt", b"/%2e%2e/secret.txt", b"/..%2fsecret.txt", b"/./../secret.txt"]
)
def test_no_way_out(site: Running, connect: Connect, target: bytes) -> None:
    """Nothing above the root can be read."""
    answer = ask(connect(site.site), target)
    assert answer.status in (400, 404)
    assert b"secret" not in answer.body.replace(b"secret.txt", b"")


@pytest.mark.parametrize(("service", "method"), [("site", b"GET, HEAD"), ("proxy", b"CONNECT")])
def test_options_for_the_server(
    running: Running, connect: Connect, service: str, method: bytes
) -> None:
    """OPTIONS * says what the port can do."""
    answer = ask(connect(running.ports[service]), b"*", method=b"OPTIONS")
    assert answer.status == 204
    assert method in answer.head.one(b"allow")
    assert not answer.head.all(b"content-length")


def absolute(talk: Talk, url: str, method: bytes = b"GET") -> Response:
    """Return the answer for *url* in absolute form."""
    host = url.partition("//")[2].rstrip("/").encode("ascii")
    talk.send(method, b" ", url.encode("ascii"), b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n")
    return talk.response(method)


def test_absolute_urls_on_the_site(site: Running, connect: Connect) -> None:
    """The site answers URLs of its own port, and sends those for the proxy there."""
    talk = connect(site.site)
    assert absolute(talk, f"http://127.0.0.1:{site.site}/").body == INDEX
    for url in (f"http://127.0.0.1:{site.proxy}/", "http://example.com/", "https://example.com/"):
        answer = absolute(talk, url)
        assert answer.status == 421
        assert f"the proxy is on port {site.proxy}".encode() in answer.body
    talk.send(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
    assert talk.response().status == 421


def test_welcome(running: Running, connect: Connect) -> None:
    """Without files there is a page that says how to use the proxy."""
    for port in (running.site, running.proxy):
        page = ask(connect(port), b"/")
        assert page.status == 200
        assert f"http://h:{running.proxy}".encode() in page.body
