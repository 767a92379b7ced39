"""The gateway without its line: what is beyond the LAN is refused at once, the LAN is as ever."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.appliance import Running, command, environ, merged, start, wait_for
from tests.conftest import Connect
from tests.origin import Origin, Routes
from tests.talk import PATIENCE, Response

# Nobody answers there for us: it is in no test's reach, or never dialled.
_AWAY = ("11.0.0.1", "11.1.0.1", "11.2.0.1")
_CHOSEN = """\
[cache]
offline = on
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product, told to work offline."""
    with start(tmp_path_factory.mktemp("offline"), _CHOSEN) as started:
        yield started


def get(authority: str, *lines: str, method: str = "GET") -> bytes:
    """Return a request for the root at *authority*."""
    target = authority if method == "CONNECT" else f"http://{authority}/"
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", f"Host: {authority}", *lines, "", ""]
    ).encode()


class Answer(NamedTuple):
    """What an answer says of the line."""

    status: int
    proxy_status: bytes
    body: bytes

    @property
    def is_line_down(self) -> bool:
        """Is it the refusal because of the line?"""
        return self.status == 504 and b"error=destination_unavailable" in self.proxy_status


def answer_of(response: Response) -> Answer:
    """Return what matters of *response*."""
    return Answer(response.status, b"".join(response.head.all(b"proxy-status")), response.body)


# --- As the admin says ---


@pytest.mark.parametrize(
    ("method", "authority"), [("GET", _AWAY[0]), ("POST", _AWAY[0]), ("CONNECT", f"{_AWAY[0]}:443")]
)
def test_refused(offline: Running, connect: Connect, method: str, authority: str) -> None:
    """Requests and tunnels alike, with a page, and a line in the log."""
    talk, since = connect(offline.proxy), offline.logged
    talk.send(get(authority, "Accept: text/html", "Content-Length: 0", method=method))
    answer = answer_of(talk.response())
    assert answer.is_line_down
    assert b"The gateway is set to work offline, and this isn&#x27;t stored" in answer.body
    line = json.loads(offline.line_with(authority, since))
    assert (line["status"], line["error"]) == (504, "destination_unavailable")


def test_names_that_only_the_world_knows(offline: Running, connect: Connect) -> None:
    """They are refused as well, whatever a name server would say."""
    talk = connect(offline.proxy)
    talk.send(get("www.example.com"))
    assert answer_of(talk.response()).is_line_down


def test_the_lan(offline: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """What is on the LAN is reached, by address and by name."""
    talk = connect(offline.proxy)
    for host in ("127.0.0.1", "localhost"):
        talk.send(get(f"{host}:{origin.port}"))
        assert talk.response().body == b"hello"


def test_said_at_the_start(offline: Running) -> None:
    """An admin who forgot the option finds it in the event log."""
    said = "offline, as [cache] offline says: nothing beyond the LAN is dialled"
    wait_for(lambda: any(said in line for line in offline.said), said)


# --- Found out: in a network of its own, which has no way out ---

_ALONE = """\
[proxyapp]
state_dir = {folder}
[proxy]
listen = unix:{folder}/proxy.sock
[site]
listen = unix:{folder}/site.sock
[access]
destinations = *
[cache]
offline = {offline}
[log]
requests = {folder}/requests.log
format = json
"""
_SERVER = """\
import http.server
class Root(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"away")
http.server.HTTPServer(("{address}", 80), Root).serve_forever()
"""


def _unshare() -> list[str]:
    """Return the command that runs another one in a network of its own; empty if none does."""
    if not (shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")):
        return []
    wrapper = ["unshare", "--net", "--"]
    tried = subprocess.run([*wrapper, "true"], capture_output=True, check=False)
    return wrapper if os.geteuid() == 0 and not tried.returncode else []


class Alone:
    """The product in a network that has the loopback interface only, and a far end there."""

    def __init__(self, folder: Path, offline: str) -> None:
        ini = folder / "proxyapp.ini"
        ini.write_text(merged(_ALONE.format(folder=folder, offline=offline), ""))
        lifted = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        process = subprocess.Popen(
            [*_unshare(), *lifted, *command("--config", str(ini))],
            cwd=folder,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running = Running(folder, process)
        self._path = folder / "proxy.sock"
        self._servers: list[subprocess.Popen[bytes]] = []

    def get(self, host: str) -> Answer:
        """Ask the product for the root of *host*."""
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(PATIENCE)
            end.connect(str(self._path))
            end.sendall(get(host))
            response = http.client.HTTPResponse(end)
            response.begin()
            told = response.headers.get("Proxy-Status", "").encode()
            return Answer(response.status, told, response.read())

    def opens(self, address: str) -> None:
        """Let *address* be reached in the product's network, and answer."""
        inside = ["nsenter", f"--net=/proc/{self.running.process.pid}/ns/net"]
        subprocess.run([*inside, "ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        program = [sys.executable, "-c", _SERVER.format(address=address)]
        self._servers.append(subprocess.Popen([*inside, *program], stderr=subprocess.DEVNULL))

    def said(self, text: str) -> str:
        """Return the line of the event log that holds *text*, once there is one."""
        lines = wait_for(lambda: [line for line in self.running.said if text in line], text)
        return lines[0]

    def close(self) -> None:
        """End everything."""
        for server in self._servers:
            server.kill()
            server.wait()
        self.running.close()


@pytest.fixture
def alone(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Alone]:
    """Yield the product in a network of its own."""
    if not _unshare():
        pytest.skip("making a network needs root, unshare, nsenter and ip")
    started = Alone(tmp_path, getattr(request, "param", "auto"))
    yield started
    started.close()
    assert not [line for line in started.running.said if "Traceback" in line]


def goes_down(alone: Alone) -> None:
    """Ask until the line is found to be down."""
    for address in _AWAY[:2]:
        assert alone.get(address).status == 502
    alone.said("the line is down")


def test_found_out(alone: Alone) -> None:
    """Two hosts and no route: the line is down; names and addresses are refused at once."""
    goes_down(alone)
    line = alone.said("the line is down")
    assert line.endswith("nothing answers at 11.0.0.1, 11.1.0.1; there is no default route")
    for host in (_AWAY[0], _AWAY[2], "www.example.com"):
        answer = alone.get(host)
        assert answer.is_line_down
        assert b"The gateway's line has been down since 20" in answer.body
        assert b"isn't stored on the gateway" in answer.body
    assert alone.get("127.0.0.1:9").status == 502


def test_back_again(alone: Alone) -> None:
    """Nobody needs to ask: a probe finds out, and everything works again."""
    goes_down(alone)
    alone.opens(_AWAY[1])
    assert "it was down for" in alone.said("the line is back")
    assert alone.get(_AWAY[1]).body == b"away"


def test_one_dead_host(alone: Alone) -> None:
    """A host that never answers is that host's fault, however often it is asked for."""
    alone.opens(_AWAY[1])
    wait_for(lambda: alone.get(_AWAY[1]).status == 200, "server")
    for _ in range(20):
        assert alone.get(_AWAY[0]).status == 502
    assert alone.get(_AWAY[1]).body == b"away"
    assert not [line for line in alone.running.said if "line is down" in line]


@pytest.mark.parametrize("alone", ["off"], indirect=True)
def test_never(alone: Alone) -> None:
    """Where the admin doesn't want it, every request is tried."""
    for address in _AWAY * 3:
        assert alone.get(address).status == 502
    assert not [line for line in alone.running.said if "line is down" in line]
