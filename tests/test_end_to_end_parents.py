"""Parent proxies, on real sockets: branch gateway -> regional gateway -> origin."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import certificates
from tests.appliance import Running, start, wait_for
from tests.conftest import Connect
from tests.origin import Origin, Routes, chunked, fixed, shout, stalling, switching
from tests.parentproxy import ESTABLISHED, ParentProxy
from tests.talk import Response, Talk

BIG = bytes(range(256)) * 4096
PASSWORD = "s3cret:pass,word"  # to be looked for where it must not be
QUOTED = "s3cret%3Apass%2Cword"
NO_CACHE = "[cache]\nmemory = 0\ndisk = 0\n"

StartIn = Callable[..., AbstractContextManager[Running]]
Played = Origin[ParentProxy]


@pytest.fixture
def start_in(tmp_path: Path) -> StartIn:
    """Return what starts one of several products: its name, and its settings."""

    @contextmanager
    def start_one(name: str, ini: str = "") -> Iterator[Running]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with start(folder, ini) as started:
            yield started

    return start_one


def by(*parents: Running | Played, direct: str = "", user: str = "") -> str:
    """Return the settings of a gateway with *parents*."""
    ports = [each.proxy if isinstance(each, Running) else each.port for each in parents]
    urls = " ".join(f"http://{user}127.0.0.1:{port}" for port in ports)
    return f"[upstream]\nproxy = {urls}\ndirect = {direct}\n"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


# What most tests share. The rules of the regional gateway are about what only one test asks for.


@pytest.fixture(scope="module")
def regional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a gateway that others have as their parent."""
    rules = "[rule no]\naction = deny\ndomains = no.example\n"
    with start(tmp_path_factory.mktemp("regional"), rules) as started:
        yield started


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return the context of servers that speak TLS, and the file of who vouches for them."""
    return certificates.server_context(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def branch(
    regional: Running, tls: tuple[ssl.SSLContext, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Yield a gateway with *regional* as its parent."""
    settings = f"[proxy]\ntls_ca_file = {tls[1]}\n" + by(regional)
    with start(tmp_path_factory.mktemp("branch"), settings) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a gateway that asks everybody for a password."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "users").write_text(f"branch7:{PASSWORD}\n")
    with start(folder, f"[auth]\nusers = file:{folder}/users\n") as started:
        yield started


class Family(NamedTuple):
    """A gateway and the parent that is played for it."""

    branch: Running
    parent: Played


@pytest.fixture(scope="module")
def _family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    with Origin(ParentProxy()) as parent:
        settings = by(parent, direct="127.0.0.0/8, localhost", user="ann:pw@") + NO_CACHE
        with start(tmp_path_factory.mktemp("played"), settings) as started:
            yield Family(started, parent)


@pytest.fixture
def family(_family: Family) -> Iterator[Family]:
    """Yield a gateway whose parent has heard nothing yet, and that goes direct to loopback."""
    parent = _family.parent
    parent.served.heads.clear()
    parent.served.answer = ESTABLISHED
    parent.connections = 0
    yield _family
    parent.hang_up()


def ask(
    talk: Talk, url: bytes, *lines: bytes, method: bytes = b"GET", body: bytes = b""
) -> Response:
    """Send a request to a proxy, and read its answer."""
    host = url.split(b"/")[2]
    head = [b"%b %b HTTP/1.1" % (method, url), b"Host: " + host, *lines]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    talk.send(b"\r\n".join([*head, b"", body]))
    return talk.response(method)


def tunnel(talk: Talk, authority: str, *lines: bytes) -> Response:
    """Ask a proxy for a tunnel."""
    where = authority.encode()
    head = [b"CONNECT %b HTTP/1.1" % where, b"Host: " + where, *lines, b"", b""]
    talk.send(b"\r\n".join(head))
    return talk.response(b"CONNECT")


# --- Three in a row ---


def test_requests_go_all_the_way(branch: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Bodies in both directions, of all kinds, come through two gateways unharmed."""
    origin.served.on(b"/big", fixed(BIG))
    origin.served.on(b"/chunks", chunked([b"one", b"two"], b"X-Sum: 2\r\n"))
    talk = connect(branch.proxy)
    assert ask(talk, origin.url + b"/big").body == BIG
    assert ask(talk, origin.url + b"/chunks").body == b"onetwo"
    assert ask(talk, origin.url + b"/up", method=b"PUT", body=BIG).status == 200
    assert origin.served.visits[-1].body == BIG
    assert len(origin.served.visits[0].head.all(b"via")) == 2


def test_upgrades_go_all_the_way(branch: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Another protocol is switched to through two gateways."""
    origin.served.on(b"/", switching)
    talk = connect(branch.proxy)
    lines = [b"GET %b/ HTTP/1.1" % origin.url, b"Host: %b" % origin.authority.encode()]
    talk.send(b"\r\n".join([*lines, b"Connection: upgrade", b"Upgrade: loud", b"", b""]))
    assert talk.head().start.startswith(b"HTTP/1.1 101")
    assert talk.exactly(7) == b"welcome"
    talk.send(b"quiet")
    assert talk.exactly(5) == b"QUIET"


def test_tunnels_go_all_the_way(branch: Running, regional: Running, connect: Connect) -> None:
    """What is sent right behind CONNECT isn't lost, and a half-close crosses both gateways."""
    since = branch.logged
    with Origin(shout) as loud:
        talk = connect(branch.proxy)
        where = loud.authority.encode()
        talk.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\nearly" % (where, where))
        assert talk.response(b"CONNECT").status == 200
        talk.send(BIG.lower())
        talk.half_close()
        assert talk.rest() == b"EARLY" + BIG.lower().upper()
    line = json.loads(branch.line_with(loud.authority, since))
    assert line["upstream"] == f"127.0.0.1:{regional.proxy}"


def test_https_is_upgraded_here_and_tunnelled_there(
    branch: Running,
    regional: Running,
    connect: Connect,
    tls: tuple[ssl.SSLContext, Path],
) -> None:
    """The TLS is between branch and origin: the parent sees one CONNECT for all requests."""
    since = branch.logged, regional.logged
    with Origin(Routes(), tls=tls[0]) as origin:
        origin.served.on(b"/", fixed(b"hello", b"Cache-Control: no-store"))
        talk = connect(branch.proxy)
        url = b"https://127.0.0.1:%d/" % origin.port
        assert [ask(talk, url).body for _ in range(3)] == [b"hello"] * 3
        lines = branch.lines(3, since=since[0], about=origin.authority)
        assert [json.loads(line)["tls"] for line in lines] == ["full", "warm", "warm"]
    # It ends the tunnel, which is in the log then.
    (line,) = regional.lines(1, since=since[1], about=origin.authority)
    assert origin.connections == 1
    assert json.loads(line)["service"] == "tunnel"


def test_two_that_have_each_other_as_parents(start_in: StartIn, connect: Connect) -> None:
    """A request that comes back ends with 508, with a cache on the way and without."""
    port = free_port()
    second = f"[upstream]\nproxy = http://127.0.0.1:{port}\n"
    with start_in("two", second) as two:
        first = f"[proxy]\nlisten = tcp:{port}:interface=127.0.0.1\n" + by(two)
        with start_in("one", first) as one:
            talk = connect(one.proxy)
            for url in (b"http://x.example/", b"https://x.example/"):
                assert ask(talk, url).status == 508
            assert ask(talk, b"http://x.example/", method=b"POST", body=b"x").status == 508
            assert tunnel(connect(one.proxy), "x.example:443").status == 508
            assert len(two.lines(4)) == 4


# --- What a parent gets to see ---


def test_what_a_parent_is_asked(family: Family, connect: Connect) -> None:
    """Absolute URLs and our own password; the client's password is for us alone."""
    branch, parent = family
    talk = connect(branch.proxy)
    theirs = b"Proxy-Authorization: Basic Y2xpZW50OnB3"
    ask(talk, b"http://A.example:80/x?y", theirs)
    ask(talk, b"http://b.example:8080/", theirs)
    ask(talk, b"http://b.example", b"Max-Forwards: 3", method=b"OPTIONS")
    tunnel(connect(branch.proxy), "c.example:443", theirs)
    heads = parent.served.heads
    assert parent.served.asked == [
        b"GET http://a.example/x?y HTTP/1.1",
        b"GET http://b.example:8080/ HTTP/1.1",
        b"OPTIONS http://b.example HTTP/1.1",
        b"CONNECT c.example:443 HTTP/1.1",
    ]
    assert [head.one(b"host") for head in heads] == [
        b"a.example",
        b"b.example:8080",
        b"b.example",
        b"c.example:443",
    ]
    assert {head.one(b"proxy-authorization") for head in heads} == {b"Basic YW5uOnB3"}
    assert len({head.one(b"via") for head in heads}) == 1
    # Requests for all origins share a connection.
    assert parent.connections == 2


def test_a_tunnel_tells_where_it_has_been(family: Family, connect: Connect) -> None:
    """The Via of a client's CONNECT goes on to the parent, or nobody could see a loop."""
    talk = connect(family.branch.proxy)
    assert tunnel(talk, "x.example:443", b"Via: 1.1 far").status == 200
    (head,) = family.parent.served.heads
    assert head.all(b"via")[0] == b"1.1 far"
    assert len(head.all(b"via")) == 2


def test_who_speaks_first(family: Family, connect: Connect) -> None:
    """A greeting that comes in one piece with the parent's answer gets to the client."""
    family.parent.served.answer = ESTABLISHED + b"220 ready\r\n"
    talk = connect(family.branch.proxy)
    assert tunnel(talk, "mail.example:25").status == 200
    assert talk.exactly(11) == b"220 ready\r\n"


def test_direct_hosts_are_dialled_here(
    family: Family, connect: Connect, origin: Origin[Routes]
) -> None:
    """What [upstream] direct lists goes to no parent, in all three manners."""
    branch, parent = family
    talk = connect(branch.proxy)
    assert ask(talk, origin.url + b"/").body == b"hello"
    assert ask(talk, b"http://localhost:%d/" % origin.port).body == b"hello"
    assert ask(talk, b"http://x.example/").body == b"by the parent"
    with Origin(shout) as loud:
        far = connect(branch.proxy)
        assert tunnel(far, loud.authority).status == 200
        far.send(b"quiet")
        assert far.exactly(5) == b"QUIET"
    assert parent.served.asked == [b"GET http://x.example/ HTTP/1.1"]


def test_names_are_for_the_parent_to_find(start_in: StartIn, connect: Connect) -> None:
    """Without any DNS here, and by the default of [access] destinations, names are served."""
    settings = "[dns]\nservers = 127.0.0.1:1\n[access]\ndestinations = public\n"
    with (
        Origin(ParentProxy(answer=ESTABLISHED)) as parent,
        start_in("branch", by(parent) + settings) as branch,
    ):
        assert ask(connect(branch.proxy), b"http://www.example/").body == b"by the parent"
        assert tunnel(connect(branch.proxy), "www.example:443").status == 200
        # What is an address already is judged as ever.
        for host in ("127.0.0.1:81", "10.1.2.3", "localhost", "a.localhost", "[::1]:82"):
            answer = ask(connect(branch.proxy), f"http://{host}/".encode())
            assert answer.status == 403, host
            assert tunnel(connect(branch.proxy), f"{host.partition(':8')[0]}:443").status == 403
    assert len(parent.served.asked) == 2


def test_a_parent_that_wants_tls(
    start_in: StartIn, connect: Connect, tls: tuple[ssl.SSLContext, Path], origin: Origin[Routes]
) -> None:
    """https:// in front of a parent: requests, tunnels, a greeting, and TLS inside of TLS."""
    context, trusted = tls
    with Origin(ParentProxy(), tls=context) as parent, Origin(Routes(), tls=context) as secure:
        settings = f"[proxy]\ntls_ca_file = {trusted}\n{NO_CACHE}"
        settings += f"[upstream]\nproxy = https://localhost:{parent.port}\n"
        with start_in("branch", settings) as branch:
            talk = connect(branch.proxy)
            assert ask(talk, b"http://x.example/").body == b"by the parent"
            assert ask(talk, b"https://127.0.0.1:%d/" % secure.port).body == b"hello"
            far = connect(branch.proxy)
            assert tunnel(far, origin.authority).status == 200
            far.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert far.response().body == b"hello"
            parent.served.answer = ESTABLISHED + b"220 ready\r\n"
            mail = connect(branch.proxy)
            assert tunnel(mail, "mail.example:25").status == 200
            assert mail.exactly(11) == b"220 ready\r\n"
    methods = [start.split(b" ")[0] for start in parent.served.asked]
    assert methods == [b"GET", b"CONNECT", b"CONNECT", b"CONNECT"]


# --- Passwords ---


def test_the_password_of_the_ini(
    start_in: StartIn, connect: Connect, origin: Origin[Routes], guarded: Running
) -> None:
    """A regional gateway that asks everybody for a password serves the branch by its user."""
    since = guarded.logged
    with start_in("branch", by(guarded, user=f"branch7:{QUOTED}@")) as branch:
        assert ask(connect(branch.proxy), origin.url + b"/").body == b"hello"
        assert tunnel(connect(branch.proxy), origin.authority).status == 200
        assert json.loads(guarded.line_with(origin.authority, since))["user"] == "branch7"
        assert PASSWORD not in "\n".join(branch.said) + branch.log.read_text()


@pytest.mark.parametrize("user", ["", f"branch7:{QUOTED}x@"])
def test_a_wrong_password_is_ours(
    start_in: StartIn, connect: Connect, guarded: Running, user: str
) -> None:
    """The client gets a 502 and no challenge; the event log says it once, nothing the password."""
    with start_in("branch", by(guarded, user=user)) as branch:
        talk = connect(branch.proxy)
        answers = [ask(talk, b"http://x.example/") for _ in range(2)]
        answers += [ask(talk, b"http://x.example/", method=b"POST", body=b"x")]
        answers += [ask(talk, b"https://x.example/")]
        answers += [tunnel(connect(branch.proxy), "x.example:443")]
        for answer in answers:
            assert answer.status == 502
            assert not answer.head.all(b"proxy-authenticate")
            assert b"[upstream] proxy" in answer.body
            assert b"s3cret" not in answer.head.raw + answer.body
        branch.stop()
        events = [line for line in branch.said if "the parent proxy" in line]
        assert len(events) == 1, events
        assert "s3cret" not in "\n".join(branch.said) + branch.log.read_text()


def test_a_refusal_of_the_parent(branch: Running, connect: Connect) -> None:
    """What the parent's rules deny is a 403 that names the parent, by each way."""
    since = branch.logged
    refused = tunnel(connect(branch.proxy), "no.example:443")
    assert refused.status == 403
    assert b"the parent proxy" in refused.body.lower()
    assert ask(connect(branch.proxy), b"http://no.example/").status == 403
    line = json.loads(branch.line_with("no.example:443", since))
    assert (line["status"], line["rule"]) == (403, "[upstream] proxy")


# --- Parents that fail ---


def events_of(running: Running) -> list[str]:
    """Return what the event log says of parents."""
    said = [line.partition("the parent proxy ")[2] for line in list(running.said)]
    return [line for line in said if line]


def test_the_next_one_takes_over(
    start_in: StartIn, connect: Connect, origin: Origin[Routes], regional: Running
) -> None:
    """A parent that dies costs no request, and is asked again when it is back."""
    fixed_port = f"[proxy]\nlisten = tcp:{free_port()}:interface=127.0.0.1\n"
    since = regional.logged
    with (
        start_in("first", fixed_port) as first,
        start_in("branch", by(first, regional) + NO_CACHE) as branch,
    ):
        talk = connect(branch.proxy)
        assert ask(talk, origin.url + b"/").status == 200
        first.close()
        statuses = [ask(talk, origin.url + b"/").status for _ in range(10)]
        statuses += [ask(talk, origin.url + b"/", method=b"POST", body=b"x").status]
        statuses += [tunnel(connect(branch.proxy), origin.authority).status]
        assert statuses == [200] * 12
        assert regional.lines(11, since=since, about=origin.authority)
        with start_in("first", fixed_port) as again:
            wait_for(lambda: [e for e in events_of(branch) if "answers again" in e], "recovery")
            before = again.logged
            assert ask(talk, origin.url + b"/back").status == 200
            assert again.line_with("/back", before)
        passed_over = [each for each in events_of(branch) if "passed over" in each]
        assert len(passed_over) == 1


def test_a_parent_that_dies_in_the_middle(
    start_in: StartIn, connect: Connect, origin: Origin[Routes]
) -> None:
    """A request that was sent and not answered goes to the next one, if it may be repeated."""

    def dying(visit: object) -> None:
        raise EOFError

    with (
        Origin(ParentProxy(route=dying)) as first,
        Origin(ParentProxy()) as second,
        start_in("branch", by(first, second) + NO_CACHE) as branch,
    ):
        assert ask(connect(branch.proxy), b"http://x.example/").body == b"by the parent"
        lost = ask(connect(branch.proxy), b"http://x.example/", method=b"POST", body=b"x")
        assert lost.status == 502


def test_a_silent_parent_is_found_out(start_in: StartIn, connect: Connect) -> None:
    """One that takes connections and says nothing costs the first request only."""
    with Origin(lambda talk: talk.rest() and None) as silent, Origin(ParentProxy()) as second:
        urls = f"http://127.0.0.1:{silent.port} http://127.0.0.1:{second.port}"
        settings = f"[upstream]\nproxy = {urls}\n[pool]\nresponse_timeout = 500ms\n"
        with start_in("branch", settings + NO_CACHE) as branch:
            assert ask(connect(branch.proxy), b"http://x.example/").status == 504
            wait_for(lambda: [e for e in events_of(branch) if "does not answer" in e], "suspicion")
            assert ask(connect(branch.proxy), b"http://x.example/").body == b"by the parent"


def test_no_parent_at_all(start_in: StartIn, connect: Connect) -> None:
    """Where none can be asked, all ways end in a 502 that says why; a stored answer is served."""
    route = fixed(
        b"kept", b"Cache-Control: max-age=0", b"Last-Modified: Sat, 21 Nov 2020 10:00:00 GMT"
    )
    with Origin(ParentProxy(route=route)) as parent:
        port, settings = parent.port, by(parent)
        running = start_in("branch", settings)
        branch = running.__enter__()
        assert ask(connect(branch.proxy), b"http://x.example/").body == b"kept"
    try:
        assert ask(connect(branch.proxy), b"http://x.example/").body == b"kept"
        for answer in (
            ask(connect(branch.proxy), b"http://y.example/"),
            ask(connect(branch.proxy), b"https://y.example/"),
            tunnel(connect(branch.proxy), "y.example:443"),
        ):
            assert answer.status == 502
            assert b"127.0.0.1:%d can't be asked: it refuses connections" % port in answer.body
            assert b"error=destination_unavailable" in answer.head.one(b"proxy-status")
    finally:
        running.__exit__(None, None, None)


def test_offline_asks_no_parent(start_in: StartIn, connect: Connect) -> None:
    """[cache] offline = on is about the internet, by whatever way."""
    with (
        Origin(ParentProxy()) as parent,
        start_in("branch", by(parent) + "[cache]\noffline = on\n") as branch,
    ):
        assert ask(connect(branch.proxy), b"http://x.example/").status == 504
        assert tunnel(connect(branch.proxy), "x.example:443").status == 504
    assert not parent.connections


def test_a_body_that_stalls(
    start_in: StartIn, connect: Connect, origin: Origin[Routes], regional: Running
) -> None:
    """Time-outs inside a body are as without a parent, and no parent is blamed for them."""
    origin.served.on(b"/stall", stalling)
    settings = "[pool]\nread_timeout = 500ms\n" + NO_CACHE
    with start_in("branch", by(regional) + settings) as branch:
        talk = connect(branch.proxy)
        talk.send(
            b"GET %b/stall HTTP/1.1\r\nHost: %b\r\n\r\n" % (origin.url, origin.authority.encode())
        )
        with pytest.raises((EOFError, ConnectionResetError)):
            talk.response()
        assert json.loads(branch.lines(1)[0])["error"] == "connection_read_timeout"
        assert not events_of(branch)
