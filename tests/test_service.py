"""service: an ini becomes a running whole, and nothing of it stays when it stops."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from proxyapp import config, service
from proxyapp.net.reactor import ApplianceReactor, IApplianceReactor
from proxyapp.service import Appliance
from tests.appliance import merged
from tests.origin import Origin, Routes
from tests.talk import Response, Talk

_INI = """\
[proxyapp]
state_dir = /var/empty
[proxy]
listen = tcp:0:interface=127.0.0.1
[site]
listen = tcp:0:interface=127.0.0.1
[access]
destinations = *
[log]
requests =
"""

Serve = Callable[..., Appliance]
awaiting = pytest_twisted.ensureDeferred


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Give the process back the limit of descriptors, which a start raises."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def build(tmp_path: Path, reactor: ApplianceReactor) -> Serve:
    """Return what builds the service from further settings."""
    needed = cast(IApplianceReactor, reactor)

    def make(ini: str = "") -> Appliance:
        path = tmp_path / "proxyapp.ini"
        path.write_text(merged(_INI, ini))
        return service.build(config.load(path, [], {}), needed)

    return make


@pytest.fixture
def serve(build: Serve, _as_before: None) -> Iterator[Serve]:
    """Return what builds and starts the service; all of them are stopped afterwards."""
    started: list[Appliance] = []

    def begin(ini: str = "") -> Appliance:
        made = build(ini)
        made.privilegedStartService()
        made.startService()
        started.append(made)
        return made

    yield begin
    for each in started:
        if each.running:
            pytest_twisted.blockon(each.stopService())


def port_of(appliance: Appliance, section: str) -> int:
    """Return the port that *section* listens on."""
    (port,) = appliance.ports[section]
    address = port.getHost()
    assert isinstance(address, IPv4Address)
    number: int = address.port
    return number


def ask(port: int, *requests: bytes) -> Deferred[list[Response]]:
    """Return the answers to *requests*, sent in a thread, where waiting is allowed."""

    def converse() -> list[Response]:
        with Talk(socket.create_connection(("127.0.0.1", port))) as talk:
            talk.send(*requests)
            return [talk.response() for _ in requests]

    return deferToThread(converse)


def get(origin: Origin[Routes], *lines: bytes) -> bytes:
    """Return a request for the origin."""
    start = b"GET " + origin.url + b"/ HTTP/1.1"
    return b"\r\n".join([start, b"Host: " + origin.authority.encode("ascii"), *lines, b"", b""])


# --- What can't be ---


@pytest.mark.parametrize(
    ("ini", "sentence"),
    [
        ("[log]\nrequests = {folder}/pipe\n", "[log] requests: {folder}/pipe can't be opened: "),
        ("[proxy]\ntls_ca_file = {folder}/pem\n", "[proxy] tls_ca_file holds no certificates"),
    ],
)
def test_what_cannot_be_built(build: Serve, tmp_path: Path, ini: str, sentence: str) -> None:
    """What turns out unusable only now ends the start with a sentence for the admin."""
    os.mkfifo(tmp_path / "pipe")
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "pem").write_text(pem)
    with pytest.raises(SystemExit) as caught:
        build(ini.format(folder=tmp_path))
    assert str(caught.value).startswith("proxyapp: " + sentence.format(folder=tmp_path))


def test_port_that_is_taken(build: Serve) -> None:
    """A port that somebody else has, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        made = build(f"[proxy]\nlisten = {endpoint}\n")
        with pytest.raises(SystemExit) as caught:
            made.privilegedStartService()
    assert str(caught.value).startswith(f"proxyapp: cannot listen on {endpoint}: ")


# --- Start and stop ---


def test_building_opens_nothing(build: Serve) -> None:
    """Nothing listens before the service is started."""
    assert build().ports == {"proxy": [], "site": []}


@awaiting  # type: ignore[untyped-decorator]
async def test_start_and_stop(serve: Serve) -> None:
    """A started service answers; a stopped one doesn't listen, and leaves nothing behind."""
    appliance = serve()
    for section in ("proxy", "site"):
        (answer,) = await ask(port_of(appliance, section), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.status == 200
    port = port_of(appliance, "proxy")
    await appliance.stopService()
    assert appliance.ports == {"proxy": [], "site": []}
    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"")


@awaiting  # type: ignore[untyped-decorator]
async def test_stop_closes_idle_connections(serve: Serve, origin: Origin[Routes]) -> None:
    """Connections to origins that nobody uses are closed with the service."""
    appliance = serve()
    await ask(port_of(appliance, "proxy"), get(origin))
    assert origin.connections == 1
    await appliance.stopService()
    await deferToThread(origin.wait_until_idle)


@awaiting  # type: ignore[untyped-decorator]
async def test_several_ports(serve: Serve) -> None:
    """A section may listen on several ports, or on none."""
    endpoint = " tcp:0:interface=127.0.0.1\n"
    ini = f"[proxy]\nlisten =\n{endpoint}{endpoint}[site]\nlisten =\n"
    appliance = serve(ini)
    assert [len(appliance.ports[section]) for section in ("proxy", "site")] == [2, 0]
    for port in appliance.ports["proxy"]:
        address = port.getHost()
        assert isinstance(address, IPv4Address)
        (answer,) = await ask(address.port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"So do the ports " in answer.body or b"So does" in answer.body


@awaiting  # type: ignore[untyped-decorator]
async def test_unix_socket(serve: Serve, tmp_path: Path) -> None:
    """A listener may be a Unix socket, whose clients have no address."""
    appliance = serve(f"[site]\nlisten = unix:{tmp_path}/site\n[access]\nsite_clients = *\n")

    def converse() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"{tmp_path}/site")
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(65536)

    assert (await deferToThread(converse)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert appliance.clients.open == 0


def test_introduction(serve: Serve, tmp_path: Path) -> None:
    """What it says at its start names every address, and what is off."""
    with capturedLogs() as events:
        appliance = serve("[site]\nlisten =\n")
    said = [formatEvent(event) for event in events if "line" in event]
    assert said == [
        f"proxy: http://127.0.0.1:{port_of(appliance, 'proxy')}",
        "site: off",
        "request log: off (combined)",
        "state: /var/empty",
        f"configuration: {tmp_path}/proxyapp.ini",
    ]


def test_descriptors(serve: Serve) -> None:
    """A start takes all the descriptors it may have."""
    serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


# --- What the ini says reaches the part that it is for ---

SENT = (b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=192.0.2.1")


@pytest.mark.parametrize(
    ("ini", "name", "values"),
    [
        ("[proxy]\nvia = off\n", b"via", []),
        ("[proxy]\nvia = on gate\n", b"via", [b"1.1 gate"]),
        ("", b"x-forwarded-for", []),
        ("", b"forwarded", []),
        ("[proxy]\nforwarded = transparent\n", b"x-forwarded-for", [b"192.0.2.1"]),
        (
            "[proxy]\nforwarded = x-forwarded-for\n",
            b"x-forwarded-for",
            [b"192.0.2.1", b"127.0.0.1"],
        ),
        ("[proxy]\ntls_upgrade_header =\n", b"x-real-protocol", [b"http"]),
        ("[proxy]\ntls_upgrade_header = X-Up\n", b"x-real-protocol", [b"http"]),
        ("", b"x-real-protocol", []),
    ],
)
@awaiting  # type: ignore[untyped-decorator]
async def test_fields_at_the_origin(
    serve: Serve, origin: Origin[Routes], ini: str, name: bytes, values: list[bytes]
) -> None:
    """What an origin gets to read is settled in [proxy]."""
    port = port_of(serve(ini), "proxy")
    (answer,) = await ask(port, get(origin, *SENT, b"X-Real-Protocol: http"))
    assert answer.status == 200
    assert origin.served.visits[0].head.all(name) == values


@awaiting  # type: ignore[untyped-decorator]
async def test_made_up_names_differ(serve: Serve, origin: Origin[Routes]) -> None:
    """Two gateways in a row don't take each other for themselves."""
    for appliance in (serve(), serve()):
        await ask(port_of(appliance, "proxy"), get(origin))
    first, second = (visit.head.one(b"via") for visit in origin.served.visits)
    assert first != second
    assert first.startswith(b"1.1 proxyapp-")


@pytest.mark.parametrize(
    ("ini", "request_", "status"),
    [
        ("[limits]\nrequest_head = 1KiB\n", b"A: " + b"a" * 2000, 431),
        ("[limits]\nheaders = 2\n", b"A: a\r\nB: b", 431),
        ("[limits]\nbody = 1KiB\n", b"Content-Length: 1025", 413),
        ("[access]\nclients = 192.0.2.1\n", b"A: a", 403),
        ("[access]\ndestinations = public\n", b"A: a", 403),
        ("[proxy]\ntls_upgrade_clients = 192.0.2.1\n", b"X-Real-Protocol: https", 403),
        ("", b"A: a", 200),
    ],
)
@awaiting  # type: ignore[untyped-decorator]
async def test_limits_and_access(
    serve: Serve, origin: Origin[Routes], ini: str, request_: bytes, status: int
) -> None:
    """Limits and rules hold as they stand in the ini."""
    (answer,) = await ask(port_of(serve(ini), "proxy"), get(origin, request_))
    assert answer.status == status


@awaiting  # type: ignore[untyped-decorator]
async def test_root(serve: Serve, tmp_path: Path) -> None:
    """[site] root and index are what is served, on either port."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "start.html").write_text("begin")
    appliance = serve("[site]\nroot = files\nindex = start.html\n")
    for section in ("site", "proxy"):
        (answer,) = await ask(port_of(appliance, section), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.body == b"begin"
