"""https for clients without TLS, on real sockets: four spellings, one handshake, the same rules."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import certificates
from tests.appliance import Running
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Route, Routes, Visit, fixed
from tests.talk import Response, Talk

READING = b'{"celsius": 21.5}'
RUNS = 200
FIELD = b"X-Real-Protocol: https"
NAMES = ["URL", "prefix", "listed", "field"]


class Secure(NamedTuple):
    """An origin with TLS, what it has counted, and what the gateway has to be told of it."""

    origin: Origin[Routes]
    trusted: Path

    @property
    def host(self) -> str:
        """The name by which it is asked; its certificate is for it."""
        return f"localhost:{self.origin.port}"

    @property
    def ini(self) -> str:
        """What has the gateway trust it, and upgrade what is for it."""
        return f"[proxy]\ntls_ca_file = {self.trusted}\ntls_upgrade_hosts = localhost\n"


def _context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    return certificates.server_context(folder)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    """Yield an origin with TLS that answers /reading."""
    context, trusted = _context(tmp_path)
    with Origin(Routes(), tls=context) as origin:
        origin.served.on(b"/reading", fixed(READING, b"Content-Type: application/json"))
        yield Secure(origin, trusted)


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


def tls_of(running: Running, count: int) -> list[str]:
    """Return what the log says of TLS in each of *count* exchanges."""
    return [json.loads(line)["tls"] for line in running.lines(count)[:count]]


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
    start_appliance: StartAppliance, connect: Connect, secure: Secure, spelling: str
) -> None:
    """A client that knows nothing but a socket reads JSON from an https API."""
    with start_appliance(secure.ini) as running:
        talk = connect(running.proxy)
        for _ in range(2):
            answer = ask(talk, asking(secure.host, spelling))
            assert answer.status == 200
            assert answer.head.one(b"content-type") == b"application/json"
            assert json.loads(answer.body) == {"celsius": 21.5}
        line = json.loads(running.lines(2)[1])
    assert line["url"] == f"https://{secure.host}/reading"
    assert (line["tls"], line["reuse"]) == ("warm", "reused")


def test_one_connection_for_all(
    start_appliance: StartAppliance, connect: Connect, secure: Secure
) -> None:
    """All spellings share one connection, and the origin can't tell them apart."""
    with start_appliance(secure.ini) as running:
        for spelling in NAMES:
            said = asking(secure.host, spelling, "/x?y", b"User-Agent: device")
            assert ask(connect(running.proxy), said).body == b"hello"
        assert tls_of(running, 4) == ["full", "warm", "warm", "warm"]
    assert secure.origin.connections == 1
    assert len({visit.head.raw for visit in secure.origin.served.visits}) == 1
    assert b"real-protocol" not in secure.origin.served.visits[-1].head.raw.lower()


def test_one_entry_in_the_cache(
    start_appliance: StartAppliance, connect: Connect, secure: Secure
) -> None:
    """What one spelling has brought is there for all of them, and rewritten for each."""
    location = f"Location: https://{secure.host}/reading".encode()
    moved = fixed(b"", location, b"Cache-Control: max-age=600", start=b"HTTP/1.1 301 Moved")
    secure.origin.served.on(b"/old", moved)
    with start_appliance(secure.ini) as running:
        for spelling in NAMES:
            answer = ask(connect(running.proxy), asking(secure.host, spelling, "/old"))
            assert asking(secure.host, spelling).startswith(
                b"GET %b HTTP" % answer.head.one(b"location")
            )
        lines = [json.loads(line) for line in running.lines(4)]
    assert [line["cache"] for line in lines] == ["miss", "hit", "hit", "hit"]
    assert len(secure.origin.served.visits) == 1


def test_redirects_can_be_followed(
    start_appliance: StartAppliance, connect: Connect, secure: Secure
) -> None:
    """A redirect to https on the same host leads on in the client's own spelling."""
    moved = fixed(b"", f"Location: https://{secure.host}/reading".encode(), start=b"HTTP/1.1 302 F")
    secure.origin.served.on(b"/old", moved)
    with start_appliance(secure.ini) as running:
        talk = connect(running.proxy)
        for spelling in NAMES:
            location = ask(talk, asking(secure.host, spelling, "/old")).head.one(b"location")
            assert asking(secure.host, spelling).startswith(b"GET %b HTTP" % location)
            assert ask(talk, asking(secure.host, spelling)).body == READING
    assert secure.origin.connections == 1


@pytest.mark.parametrize(
    ("ini", "cookie", "hsts"),
    [
        ("", [b"a=b; Secure"], []),
        ("tls_upgrade_cookies = plain\ntls_upgrade_hsts = on\n", [b"a=b"], [b"max-age=9"]),
        ("tls_upgrade_cookies = drop\n", [], []),
    ],
)
def test_what_the_ini_keeps(
    start_appliance: StartAppliance,
    connect: Connect,
    secure: Secure,
    ini: str,
    cookie: list[bytes],
    hsts: list[bytes],
) -> None:
    """Secure cookies and HSTS are kept or dropped as [proxy] has it."""
    lines = [b"Set-Cookie: a=b; Secure", b"Strict-Transport-Security: max-age=9"]
    secure.origin.served.on(b"/", fixed(b"", *lines))
    with start_appliance(secure.ini + ini) as running:
        head = ask(connect(running.proxy), asking(secure.host, "field", "/")).head
    assert (head.all(b"set-cookie"), head.all(b"strict-transport-security")) == (cookie, hsts)


# --- Handshakes, counted ---


def test_second_connection_resumes(
    start_appliance: StartAppliance, connect: Connect, secure: Secure
) -> None:
    """Where the origin keeps no connection, the session is kept: it and the log agree on that."""
    resumed: list[bool] = []
    secure.origin.served.on(b"/", resuming(resumed, b"Connection: close"))
    with start_appliance(secure.ini) as running:
        for spelling in NAMES:
            assert ask(connect(running.proxy), asking(secure.host, spelling, "/")).status == 200
        assert tls_of(running, 4) == ["full", "resumed", "resumed", "resumed"]
    assert resumed == [False, True, True, True]
    assert secure.origin.connections == 4


def test_warm_requests_make_no_handshake(
    start_appliance: StartAppliance, connect: Connect, secure: Secure
) -> None:
    """Fifty requests of one client, and of fifty, are one handshake and one connection."""
    with start_appliance(secure.ini) as running:
        talk = connect(running.proxy)
        for number in range(50):
            assert ask(talk, asking(secure.host, NAMES[number % 4])).body == READING
        for _ in range(50):
            with connect(running.proxy).socket as short:
                assert ask(Talk(short), asking(secure.host, "field")).body == READING
        assert tls_of(running, 100) == ["full"] + ["warm"] * 99
    assert secure.origin.connections == 1


def test_short_lived_clients(start_appliance: StartAppliance, secure: Secure) -> None:
    """200 runs of curl, one process each as in a PHP request, cost one handshake upstream."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    resumed: list[bool] = []
    secure.origin.served.on(b"/", resuming(resumed))
    with start_appliance(secure.ini) as running:
        command = ["curl", "-sS", "--max-time", "20", "-x", f"http://127.0.0.1:{running.proxy}"]
        field = ["-H", FIELD.decode(), f"http://{secure.host}/"]
        prefix = [f"http://HTTPS///{secure.host}/"]
        for number in range(RUNS):
            run = [*command, *(prefix if number % 2 else field)]
            assert subprocess.run(run, capture_output=True, check=True).stdout == b"ok"
        assert tls_of(running, RUNS) == ["full"] + ["warm"] * (RUNS - 1)
    assert resumed == [False] * RUNS
    assert secure.origin.connections == 1


# --- Checks ---


@contextmanager
def stranger(tmp_path: Path, host: str = "127.0.0.1") -> Iterator[Secure]:
    """Run an origin on *host*, and say whom to trust for it."""
    context, trusted = _context(tmp_path)
    with Origin(Routes(), host, tls=context) as origin:
        yield Secure(origin, trusted)


@pytest.mark.parametrize("spelling", NAMES)
@pytest.mark.parametrize(
    ("host", "trusts", "why"),
    [
        ("127.0.0.2", True, b"it is for another name"),
        ("127.0.0.1", False, b"its issuer is not known"),
    ],
)
def test_failed_checks(
    start_appliance: StartAppliance,
    connect: Connect,
    tmp_path: Path,
    host: str,
    trusts: bool,
    why: bytes,
    spelling: str,
) -> None:
    """The answer is 502 with the check that failed, and nothing is asked of the origin."""
    with stranger(tmp_path, host) as other:
        ini = f"[proxy]\ntls_upgrade_hosts = {host}\n"
        ini += f"tls_ca_file = {other.trusted}\n" if trusts else ""
        with start_appliance(ini) as running:
            said = asking(other.origin.authority, spelling)
            answer = ask(connect(running.proxy), said)
            line = json.loads(running.lines(1)[0])
    assert answer.status == 502
    assert why in answer.body
    assert b"tls_certificate_error" in answer.head.one(b"proxy-status")
    assert why.decode() in line["reason"]
    assert other.origin.served.visits == []


@pytest.mark.parametrize("spelling", NAMES)
def test_no_fall_back(start_appliance: StartAppliance, connect: Connect, spelling: str) -> None:
    """An origin without TLS isn't asked in clear text instead."""
    heard: list[bytes] = []

    def serve(talk: Talk) -> None:
        heard.append(talk.socket.recv(65536))
        talk.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    ini = "[proxy]\ntls_upgrade_hosts = 127.0.0.1\n"
    with Origin(serve) as plain, start_appliance(ini) as running:
        answer = ask(connect(running.proxy), asking(plain.authority, spelling))
    assert answer.status == 502
    assert b"tls_protocol_error" in answer.head.one(b"proxy-status")
    assert heard
    assert all(said.startswith(b"\x16\x03") for said in heard)


# --- Who may, and for what ---


@pytest.mark.parametrize("spelling", NAMES)
@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("[rule x]\naction = deny\ndomains = localhost\n", "[rule x]"),
        ("[rule x]\naction = deny\nports = 443\n", "[rule x]"),
        ("[rule x]\naction = allow\nports = 80\n[access]\ndefault = deny\n", "[access] default"),
        ("[proxy]\ntls_upgrade_clients = 192.0.2.1\n", "[proxy] tls_upgrade_clients"),
    ],
)
def test_rules_see_what_is_dialled(
    start_appliance: StartAppliance, connect: Connect, rule: str, name: str, spelling: str
) -> None:
    """No spelling gets around a rule: it is asked about the host, and port 443."""
    with start_appliance("[proxy]\ntls_upgrade_hosts = localhost\n" + rule) as running:
        answer = ask(connect(running.proxy), asking("localhost", spelling))
        line = json.loads(running.lines(1)[0])
    assert answer.status == 403
    assert (line["rule"], line["url"]) == (name, "https://localhost/reading")


@pytest.mark.parametrize("spelling", NAMES)
def test_rules_about_port_80_are_none_of_it(
    start_appliance: StartAppliance, connect: Connect, spelling: str
) -> None:
    """A rule against plain http on port 80 lets an upgrade pass, which then finds nobody there."""
    ini = "[proxy]\ntls_upgrade_hosts = localhost\n[rule x]\naction = deny\nports = 80\n"
    with start_appliance(ini) as running:
        assert ask(connect(running.proxy), asking("localhost", spelling)).status == 502


def test_own_pages_need_no_tls(start_appliance: StartAppliance, connect: Connect) -> None:
    """A client that adds the field to everything still reads the gateway's own pages."""
    with start_appliance("[proxy]\ntls_upgrade_hosts = *\n") as running:
        for port in (running.proxy, running.site):
            said = asking(f"127.0.0.1:{port}", "field", "/proxy.pac")
            assert ask(connect(running.proxy), said).status == 200
