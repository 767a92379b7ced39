"""Users from outside: who is asked for a password, by curl and by hand, and what leaks nowhere."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, shout, switching
from tests.talk import Response, Talk

USERS = """\
[auth]
users = file:htpasswd
[site]
root = {folder}/htdocs
upload = yes
[rule staff]
services = site
users = ann
action = allow
[rule others]
services = site
action = deny
message = Staff only.
"""
ANN = b"Proxy-Authorization: Basic " + b64encode(b"ann:open sesame") + b"\r\n"
BOB = b"Proxy-Authorization: Basic " + b64encode(b"bob:two") + b"\r\n"
WRONG = b"Proxy-Authorization: Basic " + b64encode(b"ann:hunter2") + b"\r\n"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_wget = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")


def settled(folder: Path) -> str:
    """Make the files of a gateway with users in *folder*; return its settings."""
    (folder / "htdocs").mkdir()
    (folder / "htdocs" / "index.html").write_text("welcome\n")
    (folder / "htpasswd").write_text("ann:open sesame\nbob:two\n")
    return USERS.format(folder=folder)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a gateway whose proxy is for users, and whose site for one of them."""
    folder = tmp_path_factory.mktemp("guarded")
    with start(folder, settled(folder)) as started:
        yield started


@pytest.fixture
def talk(guarded: Running, connect: Connect) -> Talk:
    """Return a connection to its proxy."""
    return connect(guarded.proxy)


def get(origin: Origin[Routes], *lines: bytes) -> bytes:
    """Return a request through the proxy; each of *lines* has its end."""
    host = origin.authority.encode()
    return b"GET http://%b/a HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, host, b"".join(lines))


def tunnel(authority: str, *lines: bytes) -> bytes:
    """Return a request for a tunnel; each of *lines* has its end."""
    host = authority.encode()
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, host, b"".join(lines))


# --- Who isn't a user ---

NOBODY = [
    b"",
    b"Proxy-Authorization:\r\n",
    b"Proxy-Authorization: Basic\r\n",
    b"Proxy-Authorization: Basic =\r\n",
    b"Proxy-Authorization: Basic YW5uOm9wZW4gc2VzYW1l, Basic YW5uOm9wZW4gc2VzYW1l\r\n",
    ANN + ANN,
    ANN + WRONG,
    ANN[:-3] + b"\r\n",
    ANN.replace(b"Basic", b"Bearer"),
    ANN.replace(b"Basic", b"Digest"),
    ANN.replace(b"Basic ", b"Basic"),
    ANN.replace(b"Proxy-", b""),
    b"Proxy-Authorization: Digest\r\n",
    b"Proxy-Authorization: Digest ,\r\n",
    b'Proxy-Authorization: Digest username="ann\r\n',
    b'Proxy-Authorization: Digest username="ann", realm="proxyapp", nonce="", uri="", qop=auth,'
    b' nc=00000001, cnonce="", response="' + b"0" * 32 + b'"\r\n',
    b'Proxy-Authorization: Digest username="ann", realm="proxyapp", nonce="x", uri="/a"\r\n',
    b"Proxy-Authorization: Negotiate YIIB\r\n",
    b"Proxy-Authorization: " + b"A" * 20000 + b"\r\n",
    b"Proxy-Authorization: Basic " + b"A" * 20000 + b"\r\n",
    b"Proxy-Authorization: Digest " + b"a=b, " * 4000 + b"\r\n",
    b"Proxy-Authorization: Digest " + b'"' * 20000 + b"\r\n",
]


@pytest.mark.parametrize("lines", NOBODY)
def test_nobody(talk: Talk, origin: Origin[Routes], lines: bytes) -> None:
    """What proves nothing is 407, on a connection that goes on, and reaches no origin."""
    for request, method in ((get(origin, lines), b"GET"), (tunnel("h:443", lines), b"CONNECT")):
        talk.send(request)
        answer = talk.response(method)
        assert answer.status == 407
        schemes = [each.split()[0] for each in answer.head.all(b"proxy-authenticate")]
        assert schemes == [b"Digest", b"Digest", b"Basic"]
        assert answer.body
    talk.send(get(origin, ANN))
    assert talk.response().body == b"hello"
    assert origin.connections == 1


def test_many_wrong_passwords(
    start_appliance: StartAppliance, tmp_path: Path, connect: Connect, origin: Origin[Routes]
) -> None:
    """They are answered 429 with Retry-After after some; who was right before goes on."""
    with start_appliance(settled(tmp_path)) as running:
        talk = connect(running.proxy)
        answers = []
        for number in range(8):
            guess = b64encode(b"ann:guess %d" % number)
            for line in (ANN, b"Proxy-Authorization: Basic " + guess + b"\r\n"):
                talk.send(get(origin, line))
                answers.append(talk.response())
        assert {answer.status for answer in answers[::2]} == {200}
        assert [answer.status for answer in answers[1::2]] == [407] * 5 + [429] * 3
        assert answers[-1].head.one(b"retry-after") == b"1"
        assert "guess" not in running.log.read_text()


# --- Who is one ---


def test_basic(guarded: Running, talk: Talk, origin: Origin[Routes]) -> None:
    """The user is in the log; no password is, and none reaches the origin."""
    talk.send(get(origin, ANN, b"Connection: Proxy-Authorization\r\n", b"X-Mark: 1\r\n"))
    assert talk.response().body == b"hello"
    fields = origin.served.visits[-1].head.raw.lower()
    assert b"x-mark" in fields
    assert b"authorization" not in fields
    line = json.loads(guarded.line_with(f'"http://{origin.authority}/a"'))
    assert (line["status"], line["user"]) == (200, "ann")
    for secret in ("sesame", ANN.decode().split()[-1]):
        assert secret not in guarded.log.read_text()


def test_tunnel_on_the_same_connection(guarded: Running, talk: Talk) -> None:
    """A client may come back with its password where it got the 407."""
    with Origin(shout) as far:
        talk.send(tunnel(far.authority))
        assert talk.response(b"CONNECT").status == 407
        talk.send(tunnel(far.authority, BOB))
        assert talk.response(b"CONNECT").status == 200
        talk.send(b"hello")
        assert talk.exactly(5) == b"HELLO"
        talk.close()

        def logged() -> list[tuple[int, str]]:
            mine = [line for line in guarded.lines(2) if f'"{far.authority}"' in line]
            found = [json.loads(line) for line in mine]
            return [(line["status"], line["user"]) for line in found] if len(found) > 1 else []

        assert wait_for(logged, "second line") == [(407, None), (200, "bob")]


def test_switch_of_protocols(talk: Talk, origin: Origin[Routes]) -> None:
    """An upgrade needs a user as well."""
    origin.served.on(b"/a", switching)
    upgrade = b"Connection: upgrade\r\nUpgrade: loud\r\n"
    talk.send(get(origin, upgrade))
    assert talk.response().status == 407
    talk.send(get(origin, upgrade, ANN))
    assert talk.head().start == b"HTTP/1.1 101 Switching Protocols"
    assert talk.exactly(7) == b"welcome"
    talk.close()


def test_refused_upload(talk: Talk, origin: Origin[Routes]) -> None:
    """Its body isn't waited for; the client gets to read why, and the connection ends."""
    request = get(origin, b"Content-Length: 1000000000\r\n", b"Expect: 100-continue\r\n")
    talk.send(request.replace(b"GET", b"PUT", 1))
    answer = talk.response()
    assert (answer.status, answer.head.one(b"connection")) == (407, b"close")
    talk.send(b"a" * 100_000)
    assert talk.rest() == b""
    assert origin.connections == 0


def test_bytes_behind_a_refused_tunnel(talk: Talk) -> None:
    """What was meant for the tunnel is never read as a request."""
    talk.send(tunnel("h:443"), b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
    assert talk.response(b"CONNECT").status == 407
    assert talk.rest() == b""


# --- Digest by hand ---


def digest(answer: Response, uri: bytes, count: int, name: bytes = b"Proxy-Authorization") -> bytes:
    """Return ann's line for a GET of *uri*, from the SHA-256 challenge of *answer*."""
    challenge = answer.head.all(b"proxy-authenticate")[0]
    assert b"algorithm=SHA-256" in challenge
    (nonce,) = re.findall(rb'nonce="([^"]+)"', challenge)

    def hashed(*parts: bytes) -> bytes:
        return hashlib.sha256(b":".join(parts)).hexdigest().encode()

    first = hashed(b"ann", b"proxyapp", b"open sesame")
    used = b"%08x" % count
    response = hashed(first, nonce, used, b"c", b"auth", hashed(b"GET", uri))
    return (
        b'%b: Digest username="ann", realm="proxyapp", nonce="%b", uri="%b", qop=auth, nc=%b,'
        b' cnonce="c", algorithm=SHA-256, response="%b"\r\n'
    ) % (name, nonce, uri, used, response)


def test_digest_counts_once(talk: Talk, origin: Origin[Routes]) -> None:
    """A response that was heard can't be used again, nor for another URL; the client is told."""
    talk.send(get(origin))
    asked = talk.response()
    for line, status in [
        (digest(asked, b"/a", 1), 200),
        (digest(asked, origin.url + b"/a", 2), 200),
        (digest(asked, b"/a", 2), 407),
        (digest(asked, b"/b", 3), 407),
        (digest(asked, b"/a", 3), 200),
    ]:
        talk.send(get(origin, line))
        answer = talk.response()
        assert answer.status == status
        if status == 407:
            is_stale = any(b"stale=true" in each for each in answer.head.all(b"proxy-authenticate"))
            assert is_stale == (b'"/b"' not in line)


# --- The site ---


def test_site_asks_with_401(guarded: Running, connect: Connect) -> None:
    """It goes by Authorization, and by the rule; the page has the rule's words."""
    for line, status in [
        (b"", 401),
        (ANN, 401),
        (BOB.replace(b"Proxy-", b""), 403),
        (ANN.replace(b"Proxy-", b""), 200),
    ]:
        talk = connect(guarded.site)
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n", line, b"\r\n")
        answer = talk.response()
        assert answer.status == status
        assert len(answer.head.all(b"www-authenticate")) == (3 if status == 401 else 0)
        assert (b"Staff only." in answer.body) == (status == 403)


def test_site_through_the_proxy(guarded: Running, connect: Connect) -> None:
    """Who is no user of the site doesn't become one by asking the proxy for it."""
    url = b"http://127.0.0.1:%d/" % guarded.site
    for line, status in [(b"", 407), (BOB, 403), (ANN, 200)]:
        talk = connect(guarded.proxy)
        host = b"Host: 127.0.0.1:%d\r\n" % guarded.site
        talk.send(b"GET ", url, b" HTTP/1.1\r\n", host, line, b"\r\n")
        assert talk.response().status == status


# --- Real clients ---


def curl(*arguments: str) -> tuple[str, str]:
    """Run curl; return what it got, and the status codes of proxy and origin, one a line."""
    done = subprocess.run(
        ["curl", "-sS", "-m", "20", "-w", "%{stderr}%{http_connect} %{http_code}\n", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    return done.stdout, done.stderr


@needs_curl
@pytest.mark.parametrize("way", [(), ("-p",)], ids=["forward", "tunnel"])
@pytest.mark.parametrize("scheme", ["--proxy-basic", "--proxy-digest", "--proxy-anyauth"])
def test_curl(guarded: Running, origin: Origin[Routes], scheme: str, way: tuple[str, ...]) -> None:
    """Every way in which curl can prove its user works, for two URLs in a row."""
    proxy = ["-x", f"http://127.0.0.1:{guarded.proxy}", scheme, *way]
    url = origin.url.decode()
    got, codes = curl(*proxy, "-U", "ann:open sesame", f"{url}/a?b=c,d", f"{url}/e")
    assert got == "hellohello", codes
    assert [line.split()[1] for line in codes.splitlines()] == ["200", "200"]
    assert codes.startswith("200 " if way else "000 ")


@needs_curl
def test_curl_of_nobody(guarded: Running) -> None:
    """Without a password curl reports the 407."""
    proxy = f"http://127.0.0.1:{guarded.proxy}"
    assert curl("-x", proxy, "http://127.0.0.1:1/")[1] == "000 407\n"
    assert "407 000\n" in curl("-x", proxy, "-p", "http://127.0.0.1:1/")[1]


@needs_curl
@pytest.mark.parametrize("scheme", ["--basic", "--digest", "--anyauth"])
def test_curl_on_the_site(guarded: Running, tmp_path: Path, scheme: str) -> None:
    """Reading and uploading work, where the rule asked already."""
    (tmp_path / "new").write_text("new\n")
    site, name = f"http://127.0.0.1:{guarded.site}", scheme.strip("-")
    user = [scheme, "-u", "ann:open sesame"]
    assert curl(*user, f"{site}/", f"{site}/?a=b,c")[0] == "welcome\n" * 2
    upload = curl(*user, "-T", str(tmp_path / "new"), f"{site}/{name}.txt")
    assert upload[1] == "000 201\n", upload
    assert curl(*user, f"{site}/{name}.txt")[0] == "new\n"


@needs_wget
def test_wget(guarded: Running, origin: Origin[Routes]) -> None:
    """It speaks Basic to proxies."""
    url = origin.url.decode()
    done = subprocess.run(
        [*"wget -q -O - --proxy-user=ann --proxy-password".split(), "open sesame", url],
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "http_proxy": f"http://127.0.0.1:{guarded.proxy}"},
    )
    assert (done.returncode, done.stdout) == (0, b"hello")


# --- Settings ---


def test_required_is_no(
    start_appliance: StartAppliance, tmp_path: Path, connect: Connect, origin: Origin[Routes]
) -> None:
    """Then only those whom a rule about users may let in are asked."""
    rules = "required = no\n[rule admin]\nusers = ann\nmethods = PUT\naction = allow\n"
    rules += "[rule nobody]\nmethods = PUT\naction = deny\n"
    (tmp_path / "htpasswd").write_text("ann:open sesame\nbob:two\n")
    with start_appliance("[auth]\nusers = file:htpasswd\n" + rules) as running:
        for method, line, status in [
            (b"GET", b"", 200),
            (b"GET", ANN, 200),
            (b"GET", WRONG, 407),
            (b"PUT", b"", 407),
            (b"PUT", BOB, 403),
            (b"PUT", ANN, 200),
        ]:
            talk = connect(running.proxy)
            talk.send(get(origin, line).replace(b"GET", method, 1))
            assert talk.response().status == status, (method, line)
        users = [json.loads(line)["user"] for line in running.lines(6)]
    assert users == [None, "ann", None, None, "bob", "ann"]


def test_users_of_the_command(tmp_path: Path, connect: Connect, origin: Origin[Routes]) -> None:
    """Hashes of htdigest are users as well, and what they can't be asked for isn't offered."""
    kept = hashlib.md5(b"ann:proxyapp:open sesame").hexdigest()
    (tmp_path / "htdigest").write_text(f"ann:proxyapp:{kept}\n")
    with start(tmp_path, "[auth]\nusers = file:htdigest\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin))
        schemes = talk.response().head.all(b"proxy-authenticate")
        assert [b"algorithm=MD5" in each for each in schemes] == [True, False]
        talk.send(get(origin, ANN))
        assert talk.response().status == 200
