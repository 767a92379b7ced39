"""https for clients without TLS, on real sockets: four spellings, one handshake, the same rules."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import certificates
from tests.appliance import Running, start
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Route, Routes, Visit, fixed
from tests.talk import Response, Talk

READING = b'{"celsius": 21.5}'
RUNS = 200
FIELD = b"X-Real-Protocol: https"
NAMES = ["URL", "prefix", "listed", "field"]


# Every client of the tests but the one at 127.0.0.2 may have an upgrade, to what isn't denied.
SETTINGS = """\
[proxy]
tls_ca_file = {trusted}
tls_upgrade_hosts = localhost, .localhost, 127.0.0.1, 127.0.0.2
tls_upgrade_clients = 127.0.0.1
"""
RULES = """\
[access]
default = deny
[rule pages]
action = allow
services = site
[rule named]
action = deny
domains = named.localhost
[rule port]
action = deny
domains = port.localhost
ports = 443
[rule web]
action = allow
domains = web.localhost
ports = 80
[rule plain]
action = deny
ports = 80
[rule known]
action = allow
domains = localhost, 127.0.0.1, 127.0.0.2
"""


class Authority:
    """Who has signed the certificate for localhost and 127.0.0.1, and the origins that show it."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        self.context, trusted = certificates.server_context(folder, name)
        self.ini = SETTINGS.format(trusted=trusted)

    def origin(self, host: str = "127.0.0.1") -> Origin[Routes]:
        """Return an origin with TLS at *host*."""
        return Origin(Routes(), host, tls=self.context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that gateways trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with all of the above."""
    with start(tmp_path_factory.mktemp("upgrade"), authority.ini + RULES) as started:
        yield started


@pytest.fixture
def secure(authority: Authority) -> Iterator[Origin[Routes]]:
    """Yield an origin with TLS that answers /reading."""
    with authority.origin() as origin:
        origin.served.on(b"/reading", fixed(READING, b"Content-Type: application/json"))
        yield origin


def named(origin: Origin[Routes]) -> str:
    """Return the name by which *origin* is asked; its certificate is for it."""
    return f"localhost:{origin.port}"


def asking(host: str, spelling: str, path: str = "/reading", *lines: bytes) -> bytes:
    """Return a GET as a few lines of C on a micro-controller write it."""
    url = {
        "URL": f"https://{host}{path}",
        "prefix": f"http://HTTPS///{host}{path}",
        "listed": f"http://{host}{path}",
        "field": f"http://{host}{path}",
    }[spelling]
    added = [FIELD, *lines] if spelling == "field" else lines
    start = f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}".encode()
    return b"\r\n".join([start, *added, b"", b""])


def ask(talk: Talk, said: bytes) -> Response:
    """Send a request and read its answer."""
    talk.send(said)
    return talk.response()


def logged(
    running: Running, since: int, origin: Origin[Routes], what: str, count: int
) -> list[str]:
    """Return what the log says of *what* in each of *count* exchanges with *origin*."""
    lines = running.lines(count, since=since, about=f":{origin.port}/")
    return [json.loads(line)[what] for line in lines]


def resuming(resumed: list[bool], *fields: bytes) -> Route:
    """Answer, and note whether the connection's handshake has resumed a session.

    With *fields*, the connection ends behind it.
    """

    def route(visit: Visit) -> None:
        assert isinstance(visit.talk.socket, ssl.SSLSocket)
        resumed.append(bool(visit.talk.socket.session_reused))
        fixed(b"ok", *fields)(visit)
        visit.is_last = bool(fields)

    return route


# --- Reading an API ---


@pytest.mark.parametrize("spelling", NAMES)
def test_device_without_tls(
    gateway: Running, connect: Connect, secure: Origin[Routes], spelling: str
) -> None:
    """A client that knows nothing but a socket reads JSON from an https API."""
    talk, since = connect(gateway.proxy), gateway.logged
    for _ in range(2):
        answer = ask(talk, asking(named(secure), spelling))
        assert answer.status == 200
        assert answer.head.one(b"content-type") == b"application/json"
        assert json.loads(answer.body) == {"celsius": 21.5}
    line = json.loads(gateway.lines(2, since=since, about=named(secure))[1])
    assert line["url"] == f"https://{named(secure)}/reading"
    assert (line["tls"], line["reuse"]) == ("warm", "reused")


def test_one_connection_for_all(gateway: Running, connect: Connect, secure: Origin[Routes]) -> None:
    """All spellings share one connection, and the origin can't tell them apart."""
    since = gateway.logged
    for spelling in NAMES:
        said = asking(named(secure), spelling, "/x?y", b"User-Agent: device")
        assert ask(connect(gateway.proxy), said).body == b"hello"
    assert logged(gateway, since, secure, "tls", 4) == ["full", "warm", "warm", "warm"]
    assert secure.connections == 1
    assert len({visit.head.raw for visit in secure.served.visits}) == 1
    assert b"real-protocol" not in secure.served.visits[-1].head.raw.lower()


def test_one_entry_in_the_cache(gateway: Running, connect: Connect, secure: Origin[Routes]) -> None:
    """What one spelling has brought is there for all of them, and rewritten for each."""
    location = f"Location: https://{named(secure)}/reading".encode()
    moved = fixed(b"", location, b"Cache-Control: max-age=600", start=b"HTTP/1.1 301 Moved")
    secure.served.on(b"/old", moved)
    since = gateway.logged
    for spelling in NAMES:
        answer = ask(connect(gateway.proxy), asking(named(secure), spelling, "/old"))
        assert asking(named(secure), spelling).startswith(
            b"GET %b HTTP" % answer.head.one(b"location")
        )
    assert logged(gateway, since, secure, "cache", 4) == ["miss", "hit", "hit", "hit"]
    assert len(secure.served.visits) == 1


def test_redirects_can_be_followed(
    gateway: Running, connect: Connect, secure: Origin[Routes]
) -> None:
    """A redirect to https on the same host leads on in the client's own spelling."""
    location = f"Location: https://{named(secure)}/reading".encode()
    secure.served.on(b"/old", fixed(b"", location, start=b"HTTP/1.1 302 Found"))
    talk = connect(gateway.proxy)
    for spelling in NAMES:
        location = ask(talk, asking(named(secure), spelling, "/old")).head.one(b"location")
        assert asking(named(secure), spelling).startswith(b"GET %b HTTP" % location)
        assert ask(talk, asking(named(secure), spelling)).body == READING
    assert secure.connections == 1


def kept(talk: Talk, origin: Origin[Routes]) -> tuple[list[bytes], list[bytes]]:
    """Return which cookies and which HSTS are left of those that *origin* sends."""
    lines = [b"Set-Cookie: a=b; Secure", b"Strict-Transport-Security: max-age=9"]
    origin.served.on(b"/", fixed(b"", *lines))
    head = ask(talk, asking(named(origin), "field", "/")).head
    return head.all(b"set-cookie"), head.all(b"strict-transport-security")


def test_what_is_kept(gateway: Running, connect: Connect, secure: Origin[Routes]) -> None:
    """Unless [proxy] says else, Secure cookies stay as they are, and HSTS is dropped."""
    assert kept(connect(gateway.proxy), secure) == ([b"a=b; Secure"], [])


@pytest.mark.parametrize(
    ("ini", "cookie", "hsts"),
    [
        ("tls_upgrade_cookies = plain\ntls_upgrade_hsts = on\n", [b"a=b"], [b"max-age=9"]),
        ("tls_upgrade_cookies = drop\n", [], []),
    ],
)
def test_what_the_ini_keeps(
    start_appliance: StartAppliance,
    connect: Connect,
    authority: Authority,
    secure: Origin[Routes],
    ini: str,
    cookie: list[bytes],
    hsts: list[bytes],
) -> None:
    """Secure cookies and HSTS are kept or dropped as [proxy] has it."""
    with start_appliance(authority.ini + ini) as running:
        assert kept(connect(running.proxy), secure) == (cookie, hsts)


# --- Handshakes, counted ---


def test_second_connection_resumes(
    gateway: Running, connect: Connect, secure: Origin[Routes]
) -> None:
    """Where the origin keeps no connection, the session is kept: it and the log agree on that."""
    resumed: list[bool] = []
    secure.served.on(b"/", resuming(resumed, b"Connection: close"))
    since = gateway.logged
    for spelling in NAMES:
        assert ask(connect(gateway.proxy), asking(named(secure), spelling, "/")).status == 200
    assert logged(gateway, since, secure, "tls", 4) == ["full", "resumed", "resumed", "resumed"]
    assert resumed == [False, True, True, True]
    assert secure.connections == 4


def test_warm_requests_make_no_handshake(
    gateway: Running, connect: Connect, secure: Origin[Routes]
) -> None:
    """Fifty requests of one client, and of fifty, are one handshake and one connection."""
    talk, since = connect(gateway.proxy), gateway.logged
    for number in range(50):
        assert ask(talk, asking(named(secure), NAMES[number % 4])).body == READING
    for _ in range(50):
        with connect(gateway.proxy).socket as short:
            assert ask(Talk(short), asking(named(secure), "field")).body == READING
    assert logged(gateway, since, secure, "tls", 100) == ["full"] + ["warm"] * 99
    assert secure.connections == 1


def test_short_lived_clients(gateway: Running, secure: Origin[Routes]) -> None:
    """200 runs of curl, one process each as in a PHP request, cost one handshake upstream."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    resumed: list[bool] = []
    secure.served.on(b"/", resuming(resumed))
    since = gateway.logged
    command = ["curl", "-sS", "--max-time", "20", "-x", f"http://127.0.0.1:{gateway.proxy}"]
    field = ["-H", FIELD.decode(), f"http://{named(secure)}/"]
    prefix = [f"http://HTTPS///{named(secure)}/"]
    for number in range(RUNS):
        run = [*command, *(prefix if number % 2 else field)]
        assert subprocess.run(run, capture_output=True, check=True).stdout == b"ok"
    assert logged(gateway, since, secure, "tls", RUNS) == ["full"] + ["warm"] * (RUNS - 1)
    assert resumed == [False] * RUNS
    assert secure.connections == 1


# --- Checks ---


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that nobody knows."""
    return Authority(tmp_path_factory.mktemp("stranger"), "nobody")


@pytest.mark.parametrize("spelling", NAMES)
@pytest.mark.parametrize(
    ("host", "signer", "why"),
    [
        ("127.0.0.2", "authority", b"it is for another name"),
        ("127.0.0.1", "stranger", b"its issuer is not known"),
    ],
)
def test_failed_checks(
    gateway: Running,
    connect: Connect,
    request: pytest.FixtureRequest,
    host: str,
    signer: str,
    why: bytes,
    spelling: str,
) -> None:
    """The answer is 502 with the check that failed, and nothing is asked of the origin."""
    since = gateway.logged
    with request.getfixturevalue(signer).origin(host) as other:
        answer = ask(connect(gateway.proxy), asking(other.authority, spelling))
        (reason,) = logged(gateway, since, other, "reason", 1)
    assert answer.status == 502
    assert why in answer.body
    assert b"tls_certificate_error" in answer.head.one(b"proxy-status")
    assert why.decode() in reason
    assert other.served.visits == []


@pytest.mark.parametrize("spelling", NAMES)
def test_no_fall_back(gateway: Running, connect: Connect, spelling: str) -> None:
    """An origin without TLS isn't asked in clear text instead."""
    heard: list[bytes] = []

    def serve(talk: Talk) -> None:
        heard.append(talk.socket.recv(65536))
        talk.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with Origin(serve) as plain:
        answer = ask(connect(gateway.proxy), asking(plain.authority, spelling))
    assert answer.status == 502
    assert b"tls_protocol_error" in answer.head.one(b"proxy-status")
    assert heard
    assert all(said.startswith(b"\x16\x03") for said in heard)


# --- Who may, and for what ---


@pytest.mark.parametrize("spelling", NAMES)
@pytest.mark.parametrize(
    ("host", "client", "rule"),
    [
        ("named.localhost", "127.0.0.1", "[rule named]"),
        ("port.localhost", "127.0.0.1", "[rule port]"),
        ("web.localhost", "127.0.0.1", "[access] default"),
        ("localhost", "127.0.0.2", "[proxy] tls_upgrade_clients"),
    ],
)
def test_rules_see_what_is_dialled(
    gateway: Running, host: str, client: str, rule: str, spelling: str
) -> None:
    """No spelling gets around a rule: it is asked about the host, and port 443."""
    since = gateway.logged
    with Talk(socket.create_connection(("127.0.0.1", gateway.proxy), 10, (client, 0))) as talk:
        answer = ask(talk, asking(host, spelling))
    line = json.loads(gateway.line_with(f"//{host}/reading", since))
    assert answer.status == 403
    assert (line["rule"], line["url"]) == (rule, f"https://{host}/reading")


@pytest.mark.parametrize("spelling", NAMES)
def test_rules_about_port_80_are_none_of_it(
    gateway: Running, connect: Connect, spelling: str
) -> None:
    """A rule against plain http on port 80 lets an upgrade pass, which then finds nobody there."""
    assert ask(connect(gateway.proxy), asking("localhost", spelling)).status == 502


def test_own_pages_need_no_tls(gateway: Running, connect: Connect) -> None:
    """A client that adds the field to everything still reads the gateway's own pages."""
    for port in (gateway.proxy, gateway.site):
        said = asking(f"127.0.0.1:{port}", "field", "/proxy.pac")
        assert ask(connect(gateway.proxy), said).status == 200
