"""The content proxy from outside: real clients, real origins, and a browser if there is one."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from proxyapp.rules.fetch import signature
from tests.appliance import Running, start
from tests.certificates import server_context
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit, chunked, exactly, fixed, silent
from tests.talk import Response, Talk

KEY = "sixteen characters and more"
# Clients at 127.0.0.2 may not fetch, and those at 127.0.0.3 not often.
LIMITED = """\
[proxy]
tls_upgrade_clients =
tls_upgrade_hosts = localhost
tls_ca_file = {trusted}
[access]
clients = 127.0.0.1, 127.0.0.3
[fetch]
deny = denied.localhost
max_size = 100000
types = text/plain
cors = http://app.test
max_cache = 1h
[rule no-port]
action = deny
services = fetch
domains = 127.0.0.2
message = Not there.
[rule slow]
action = allow
services = fetch
clients = 127.0.0.3
rate = 1/m
"""


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return the context of servers that `limited` trusts, and the file of who vouches for them."""
    return server_context(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, trusted: tuple[ssl.SSLContext, Path]
) -> Iterator[Running]:
    """Yield the product with limits on what may be fetched."""
    ini = LIMITED.format(trusted=trusted[1])
    with start(tmp_path_factory.mktemp("limited"), ini) as started:
        yield started


def path_of(url: str, further: str = "") -> bytes:
    """Return the path that fetches *url*."""
    return f"/fetch?url={quote(url, safe='')}{further}".encode("ascii")


def fetch(
    connect: Connect,
    port: int,
    url: str,
    further: str = "",
    *lines: bytes,
    method: bytes = b"GET",
) -> Response:
    """Fetch *url* as a small device does: over a plain socket, with as few fields as possible."""
    talk = connect(port)
    start_line = b"%b %b HTTP/1.1" % (method, path_of(url, further))
    talk.send(b"\r\n".join([start_line, b"Host: gateway", *lines, b"", b""]))
    return talk.response(method)


def fetch_from(client: str, port: int, url: str) -> Response:
    """Fetch *url* as the client at *client*, an address on loopback."""
    with Talk(socket.create_connection(("127.0.0.1", port), 10, (client, 0))) as talk:
        talk.send(b"GET ", path_of(url), b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
        return talk.response()


def logged(running: Running, since: int, origin: Origin[Routes]) -> dict[str, str]:
    """Return the first line about *origin* that was logged after *since*."""
    line: dict[str, str] = json.loads(running.lines(1, since=since, about=origin.authority)[0])
    assert line["service"] == "fetch"
    return line


# --- What it passes on ---


@pytest.mark.parametrize("port", ["site", "proxy"])
def test_from_both_ports(
    running: Running, origin: Origin[Routes], connect: Connect, port: str
) -> None:
    """The origin's type and validators come back, and nothing that says who asked goes there."""
    origin.served.on(b"/a", fixed(b"{}", b"Content-Type: a/b", b'ETag: "1"', b"Set-Cookie: x=y"))
    since = running.logged
    url = f"http://{origin.authority}/a?x=1&y=2"
    secrets = [b"Cookie: a=b", b"Authorization: Basic x", b"Proxy-Authorization: Basic y"]
    got = fetch(connect, running.ports[port], url, "", *secrets, b"Accept: a/b")
    assert (got.status, got.body) == (200, b"{}")
    assert (got.head.one(b"content-type"), got.head.one(b"etag")) == (b"a/b", b'"1"')
    assert got.head.one(b"x-content-type-options") == b"nosniff"
    assert got.head.one(b"access-control-allow-origin") == b"*"
    assert not got.head.all(b"set-cookie")
    (visit,) = origin.served.visits
    assert visit.target == b"/a?x=1&y=2"
    names = {name.lower() for name, _ in visit.head.fields}
    assert names == {b"host", b"accept", b"via"}
    line = logged(running, since, origin)
    assert (line["url"], line["status"]) == (url, 200)


def test_gzip_stays_gzip(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """What is compressed at the origin stays so to the client, to the byte."""
    packed = gzip.compress(b"hello" * 100)
    origin.served.on(b"/z", fixed(packed, b"Content-Encoding: gzip", b"Vary: Accept-Encoding"))
    url = f"http://{origin.authority}/z"
    got = fetch(connect, running.site, url, "", b"Accept-Encoding: gzip")
    assert (got.body, got.head.one(b"content-encoding")) == (packed, b"gzip")
    assert origin.served.visits[0].head.one(b"accept-encoding") == b"gzip"


def test_conditions_and_ranges(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """A part, and that nothing has changed, are the origin's answers."""
    part = b"HTTP/1.1 206 Partial Content"
    origin.served.on(b"/p", fixed(b"ell", b"Content-Range: bytes 1-3/5", start=part))
    origin.served.on(b"/n", exactly(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'))
    url = f"http://{origin.authority}"
    got = fetch(connect, running.site, url + "/p", "", b"Range: bytes=1-3")
    assert (got.status, got.body) == (206, b"ell")
    assert got.head.one(b"content-range") == b"bytes 1-3/5"
    got = fetch(connect, running.site, url + "/n", "&cache=1", b'If-None-Match: "1"')
    assert (got.status, got.head.one(b"cache-control")) == (304, b"public, max-age=60")
    assert origin.served.visits[0].head.one(b"range") == b"bytes=1-3"


def test_head(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """HEAD is asked as HEAD, and says what GET would bring."""
    got = fetch(connect, running.site, f"http://{origin.authority}/", method=b"HEAD")
    assert (got.status, got.head.one(b"content-length")) == (200, b"5")
    assert origin.served.visits[0].method == b"HEAD"


def test_minutes_and_types(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """The browser keeps it for the minutes asked for, as the type asked for."""
    url = f"http://{origin.authority}/"
    got = fetch(connect, running.site, url, "&cache=5&type=text/plain%3Bcharset%3Dutf-8")
    assert got.head.one(b"content-type") == b"text/plain; charset=utf-8"
    assert got.head.one(b"cache-control") == b"public, max-age=300"
    assert got.head.all(b"expires")


def test_minutes_are_for_everybody(
    running: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """What one has had kept, the next one gets without the origin; with 0 minutes nobody does."""
    url = f"http://{origin.authority}/kept"
    for _ in range(2):
        assert fetch(connect, running.site, url, "&cache=5").body == b"hello"
    assert len(origin.served.visits) == 1
    assert fetch(connect, running.proxy, url, "&cache=0").head.one(b"cache-control") == b"no-store"
    assert len(origin.served.visits) == 2


def test_first_byte_at_once(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """What the origin has sent is here while it still holds the rest back."""
    may_end = threading.Event()

    def slow(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert may_end.wait(20)
        visit.answer(b"4\r\nlast\r\n0\r\n\r\n")

    origin.served.on(b"/slow", slow)
    talk = connect(running.site)
    url = path_of(f"http://{origin.authority}/slow")
    talk.send(b"GET ", url, b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert talk.until(b"first\r\n").endswith(b"\r\n\r\n5\r\nfirst\r\n")
    may_end.set()
    assert talk.until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


def test_long_bodies(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """What is too long for memory comes whole, through memory that doesn't grow with it."""
    size = 30_000_000
    origin.served.on(b"/long", fixed(bytes(size)))
    before = running.memory()
    got = fetch(connect, running.site, f"http://{origin.authority}/long")
    assert len(got.body) == size
    assert running.grown(before) < size / 2


def test_the_client_leaves(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """When nobody wants it any more, the origin is left alone."""
    ended = threading.Event()

    def endless(visit: Visit) -> None:
        visit.is_last = True
        visit.answer(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        try:
            visit.talk.rest()
        finally:
            ended.set()

    origin.served.on(b"/endless", endless)
    talk = connect(running.site)
    url = path_of(f"http://{origin.authority}/endless")
    talk.send(b"GET ", url, b" HTTP/1.1\r\nHost: x\r\n\r\n")
    talk.until(b"begun")
    talk.reset()
    assert ended.wait(20)


def test_redirects(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """Redirects are followed here, and the log has where they led."""
    start_line = b"HTTP/1.1 302 Found"
    origin.served.on(b"/1", fixed(b"over there", b"Location: /2", start=start_line))
    lines = b"HTTP/1.1 301 Gone on", b"Location: %b/3" % origin.url, b"Transfer-Encoding: chunked"
    origin.served.on(b"/2", exactly(b"\r\n".join([*lines, b"", b"1", b"x", b"0", b"", b""])))
    since = running.logged
    got = fetch(connect, running.site, f"http://{origin.authority}/1")
    assert (got.status, got.body) == (200, b"hello")
    assert [visit.target for visit in origin.served.visits] == [b"/1", b"/2", b"/3"]
    assert origin.connections == 1
    assert logged(running, since, origin)["url"] == f"http://{origin.authority}/3"


# --- https for devices without TLS ---


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_https(
    limited: Running, connect: Connect, trusted: tuple[ssl.SSLContext, Path], scheme: str
) -> None:
    """TLS is spoken for hosts of [proxy] tls_upgrade_hosts too, to clients of whatever address."""
    with Origin(Routes(), tls=trusted[0]) as secured:
        for _ in range(2):
            got = fetch(connect, limited.site, f"{scheme}://localhost:{secured.port}/x")
            assert (got.status, got.body) == (200, b"hello")
        assert secured.connections == 1


def test_https_is_verified(limited: Running, connect: Connect, tmp_path: Path) -> None:
    """A certificate of nobody we know is no certificate."""
    context, _ = server_context(tmp_path, "nobody")
    with Origin(Routes(), tls=context) as strange:
        got = fetch(connect, limited.site, f"https://localhost:{strange.port}/x")
    assert got.status == 502
    assert b"tls_certificate_error" in got.head.one(b"proxy-status")


# --- What it refuses ---


@pytest.mark.parametrize(
    ("further", "status", "words"),
    [
        ("&cache=61", 400, b"at most 60 minutes"),
        ("&cache=x", 400, b"whole number of minutes"),
        ("&type=x", 400, b"media type"),
        ("&type=text/html", 403, b"[fetch] types"),
        ("&foo=1", 400, b"no parameter"),
    ],
)
def test_what_is_wrong_is_told(
    limited: Running,
    origin: Origin[Routes],
    connect: Connect,
    further: str,
    status: int,
    words: bytes,
) -> None:
    """Each mistake has its status and its reason, for pages of other sites, too."""
    app = b"Origin: http://app.test"
    got = fetch(connect, limited.site, f"http://{origin.authority}/", further, app)
    assert got.status == status
    assert words in got.body
    assert got.head.one(b"access-control-allow-origin") == b"http://app.test"
    assert not origin.served.visits


@pytest.mark.parametrize(
    ("host", "rule"), [("denied.localhost", b"[fetch] deny"), ("127.0.0.2", b"[rule no-port]")]
)
def test_where_nobody_may_go(
    limited: Running, origin: Origin[Routes], connect: Connect, host: str, rule: bytes
) -> None:
    """The ini and the one judge decide about the first URL and about where it leads."""
    url = f"http://{host}:{origin.port}/"
    start_line = b"HTTP/1.1 302 Found"
    origin.served.on(b"/r", fixed(b"", b"Location: " + url.encode(), start=start_line))
    for first in (url, f"http://{origin.authority}/r"):
        got = fetch(connect, limited.site, first)
        assert got.status == 403
        assert rule in got.body
    assert [visit.target for visit in origin.served.visits] == [b"/r"]


def test_pages_that_may_not_read(
    limited: Running, origin: Origin[Routes], connect: Connect
) -> None:
    """A page that isn't listed gets no leave to read."""
    got = fetch(connect, limited.site, f"http://{origin.authority}/", "", b"Origin: http://b.test")
    assert got.status == 200
    assert not got.head.all(b"access-control-allow-origin")
    assert got.head.all(b"vary") == [b"Origin"]


@pytest.mark.parametrize("is_known", [True, False])
def test_too_long(
    limited: Running, origin: Origin[Routes], connect: Connect, is_known: bool
) -> None:
    """Past max_size it is a 413 at once, or a cut connection where the length wasn't told."""
    piece = bytes(60_000)
    origin.served.on(b"/", fixed(piece * 2) if is_known else chunked([piece, piece]))
    since = limited.logged
    if is_known:
        assert fetch(connect, limited.site, f"http://{origin.authority}/").status == 413
    else:
        with pytest.raises((EOFError, ConnectionResetError)):
            fetch(connect, limited.site, f"http://{origin.authority}/")
    assert "max_size" in logged(limited, since, origin)["reason"]


def test_our_own_ports(running: Running, start_appliance: StartAppliance, connect: Connect) -> None:
    """The proxy doesn't fetch from itself, and by default from no private address."""
    got = fetch(connect, running.site, f"http://127.0.0.1:{running.proxy}/fetch?url=http://a/")
    assert got.status == 508
    with start_appliance("[access]\ndestinations = public\n") as careful:
        for host in ("127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254"):
            assert fetch(connect, careful.site, f"http://{host}/").status == 403


def test_failures_of_origins(running: Running, origin: Origin[Routes], connect: Connect) -> None:
    """Nobody there is a 502, as it is for the proxy."""
    with Origin(silent) as gone:
        port = gone.port
    got = fetch(connect, running.site, f"http://127.0.0.1:{port}/")
    assert got.status == 502
    assert b"connection_refused" in got.head.one(b"proxy-status")


def test_off(start_appliance: StartAppliance, connect: Connect) -> None:
    """Without a path there is neither content proxy nor page."""
    with start_appliance("[fetch]\npath =\n") as running:
        for path in (b"/fetch?url=http://a/", b"/fetch/"):
            talk = connect(running.site)
            talk.send(b"GET ", path, b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert talk.response().status == 404


# --- Who may ---


def test_signed_urls(
    start_appliance: StartAppliance, origin: Origin[Routes], connect: Connect
) -> None:
    """Only what was signed is fetched, and the log doesn't give signatures away."""
    url = f"http://{origin.authority}/"
    expires = int(time.time()) + 60
    good = signature(KEY.encode(), url.encode(), expires).decode()
    signed = f"&expires={expires}&signature={good}"
    with start_appliance(f"[fetch]\nsign_key = {KEY}\n") as running:
        assert fetch(connect, running.site, url).status == 403
        assert fetch(connect, running.site, url + "x", signed).status == 403
        refused = fetch(connect, running.site, url, signed + "0")
        assert refused.status == 403
        assert good.encode() not in refused.body
        assert fetch(connect, running.site, url, signed).status == 200
        assert not [line for line in running.lines(4) if good in line]


def test_users(
    start_appliance: StartAppliance, tmp_path: Path, origin: Origin[Routes], connect: Connect
) -> None:
    """Where passwords are asked for, it asks as the site does; the question beforehand is free."""
    (tmp_path / "users").write_text("ann:secret\n")
    ann = b"Authorization: Basic " + base64.b64encode(b"ann:secret")
    url = f"http://{origin.authority}/"
    with start_appliance("[auth]\nusers = file:users\n") as running:
        for port in (running.site, running.proxy):
            unknown = fetch(connect, port, url)
            assert unknown.status == 401
            assert unknown.head.one(b"access-control-allow-origin") == b"*"
            assert fetch(connect, port, url, method=b"OPTIONS").status == 204
            since = running.logged
            assert fetch(connect, port, url, "", ann).status == 200
            assert running.line_with('"user":"ann"', since)
        # The same with a complete URL, of the site's port and through the proxy.
        for port in (running.site, running.proxy):
            talk = connect(port)
            path = b"http://127.0.0.1:%d%b" % (running.site, path_of(url))
            host = b"Host: 127.0.0.1:%d\r\n" % running.site
            talk.send(b"GET ", path, b" HTTP/1.1\r\n", host, b"\r\n")
            assert talk.response().status == 401
    assert {visit.target for visit in origin.served.visits} == {b"/"}


def test_clients_and_rates(limited: Running, origin: Origin[Routes]) -> None:
    """It is for [access] clients, as the proxy is, and has its rates."""
    url = f"http://{origin.authority}/"
    got = fetch_from("127.0.0.2", limited.site, url)
    assert (got.status, b"[access] clients" in got.body) == (403, True)
    statuses = [fetch_from("127.0.0.3", limited.site, url).status for _ in range(70)]
    assert (statuses[0], statuses[-1]) == (200, 429)


# --- A browser ---


@pytest.fixture
def browser(tmp_path: Path) -> str:
    """Return the program of a browser."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        program = shutil.which(name)
        if program is not None:
            return program
    pytest.skip("no Chromium is installed")


def shown(browser: str, folder: Path, url: str) -> str:
    """Return the page at *url* as the browser has it once its scripts have run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={folder}/profile", "--no-first-run", "--disable-extensions"]
    options += ["--disable-background-networking", "--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run(
        [browser, *options, url], capture_output=True, text=True, timeout=90, check=False
    )
    return done.stdout


def test_a_page_elsewhere_reads_json(
    running: Running, origin: Origin[Routes], browser: str, tmp_path: Path
) -> None:
    """A page of another origin loads JSON that its server lets nobody read, by way of /fetch."""
    origin.served.on(b"/data", fixed(b'{"answer": 42}', b"Content-Type: application/json"))
    target = path_of(f"http://{origin.authority}/data", "&cache=1").decode()
    script = f"""fetch("http://127.0.0.1:{running.site}{target}", {{headers: {{"X-Asked": "1"}}}})
        .then(response => response.json())
        .then(data => document.body.textContent = "the answer is " + data.answer)
        .catch(error => document.body.textContent = "failed: " + error)"""
    page = f"<!DOCTYPE html><body><script>{script}</script>".encode()
    with Origin(Routes()) as elsewhere:
        elsewhere.served.on(b"/page", fixed(page, b"Content-Type: text/html"))
        dom = shown(browser, tmp_path, f"http://{elsewhere.authority}/page")
    assert "the answer is 42" in dom


def test_pages_of_others_run_nothing(
    running: Running, origin: Origin[Routes], browser: str, tmp_path: Path
) -> None:
    """A fetched page is shown, and its scripts stay text."""
    page = b"<!DOCTYPE html><body><p>still</p><script>document.body.textContent='ran'</script>"
    origin.served.on(b"/page", fixed(page, b"Content-Type: text/html"))
    path = path_of(f"http://{origin.authority}/page").decode()
    dom = shown(browser, tmp_path, f"http://127.0.0.1:{running.site}{path}")
    assert "<p>still</p>" in dom


def test_the_page_to_try_it(
    running: Running, origin: Origin[Routes], browser: str, tmp_path: Path
) -> None:
    """The page draws when which bytes came, and shows them."""
    origin.served.on(b"/data", fixed(b"<b>some text</b>", b"Content-Type: text/plain"))
    url = quote(f"http://{origin.authority}/data", safe="")
    dom = shown(browser, tmp_path, f"http://127.0.0.1:{running.site}/fetch/#{url}")
    output = re.search(r'<output data-status="(\d+)">(.*?)</output>', dom, re.DOTALL)
    assert output is not None, dom
    assert output[1] == "200"
    assert "<b>some text</b>" in html.unescape(output[2])
    assert dom.count("<rect") == 4
    assert "regular</text>" in dom
    assert "streaming</text>" in dom
    assert re.search(r"<tbody><tr>(<td>[0-9.-]+</td>){5}</tr></tbody>", dom)
