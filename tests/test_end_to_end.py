"""The forward proxy from outside: real clients, a real process, a real origin."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tests import certificates
from tests.appliance import Running, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import (
    Origin,
    Routes,
    Visit,
    chunked,
    exactly,
    fixed,
    refusing_early,
    switching,
)
from tests.talk import Talk

METHODS = (
    "GET POST PUT DELETE PATCH OPTIONS TRACE PROPFIND REPORT BREW get x-Y_1 M-SEARCH !".split()
)


def asking(
    origin: Origin[Routes], path: bytes = b"/", *lines: bytes, method: bytes = b"GET"
) -> bytes:
    """Return a request to the proxy for *path* at *origin*, with further field lines."""
    start = method + b" " + origin.url + path + b" HTTP/1.1"
    host = b"Host: " + origin.authority.encode("ascii")
    return b"\r\n".join([start, host, *lines, b"", b""])


@pytest.fixture
def talk(running: Running, connect: Connect) -> Talk:
    """Return a connection to the proxy."""
    return connect(running.proxy)


# --- Heads ---


@pytest.mark.parametrize("method", METHODS)
def test_every_method(talk: Talk, origin: Origin[Routes], method: str) -> None:
    """A method goes on as it was spelled, known or not."""
    spelled = method.encode("ascii")
    talk.send(asking(origin, b"/m", method=spelled))
    assert talk.response(spelled).status == 200
    assert origin.served.visits[0].head.start == spelled + b" /m HTTP/1.1"


def test_head_has_no_body(talk: Talk, origin: Origin[Routes]) -> None:
    """The answer to HEAD keeps its Content-Length and brings no body."""
    talk.send(asking(origin, method=b"HEAD"), asking(origin))
    answer = talk.response(b"HEAD")
    assert answer.head.all(b"content-length") == [b"5"]
    assert talk.response().body == b"hello"


REQUEST_FIELDS = (b"X-a: 1", b"x-A: 2", b"Accept: */*", b"X-A: 1", b"COOKIE: a=b", b"cookie: c")
ANSWER_FIELDS = (b"x-One: 1", b"Set-Cookie: a", b"SET-COOKIE: b", b"x-one: ", b"Date: never")


def test_fields_keep_order_case_and_repetition(talk: Talk, origin: Origin[Routes]) -> None:
    """Both ways, fields arrive as they were written."""
    origin.served.on(b"/", fixed(b"", *ANSWER_FIELDS))
    talk.send(asking(origin, b"/", *REQUEST_FIELDS))
    answer = talk.response()
    arrived = [b"%b: %b" % field for field in origin.served.visits[0].head.fields]
    assert arrived[0] == b"Host: " + origin.authority.encode("ascii")
    assert tuple(arrived[1 : 1 + len(REQUEST_FIELDS)]) == REQUEST_FIELDS
    returned = [b"%b: %b" % field for field in answer.head.fields]
    assert tuple(returned[: len(ANSWER_FIELDS)]) == ANSWER_FIELDS


def test_hop_by_hop_fields_stay_here(talk: Talk, origin: Origin[Routes]) -> None:
    """What belongs to one hop, or is named in Connection, crosses neither way."""
    hop = (b"Connection: close, X-Mine", b"Keep-Alive: timeout=1", b"X-Mine: 1", b"X-Other: 2")
    origin.served.on(b"/", fixed(b"", *hop))
    secret = (b"Proxy-Authorization: Basic eDp5", b"Proxy-Connection: keep-alive", b"TE: trailers")
    talk.send(asking(origin, b"/", b"Connection: keep-alive, X-Mine", b"X-Mine: 1", *secret))
    answer = talk.response()
    names = {name.lower() for name, _ in origin.served.visits[0].head.fields}
    assert names <= {b"host", b"via"}
    assert answer.head.one(b"x-other") == b"2"
    assert not {b"x-mine", b"keep-alive"} & {name.lower() for name, _ in answer.head.fields}
    assert not answer.head.all(b"connection"), "the client's connection goes on"


def test_via_both_ways(talk: Talk, origin: Origin[Routes]) -> None:
    """Via names us, in both directions, behind those that were there."""
    origin.served.on(b"/", fixed(b"", b"Via: 1.0 far"))
    talk.send(asking(origin, b"/", b"Via: 1.1 near"))
    answer = talk.response()
    sent = origin.served.visits[0].head.all(b"via")
    assert sent[0] == b"1.1 near"
    assert sent[1].startswith(b"1.1 proxyapp")
    assert answer.head.all(b"via") == [b"1.0 far", sent[1]]


def test_max_forwards(talk: Talk, origin: Origin[Routes]) -> None:
    """Max-Forwards is counted down, and at 0 we answer in the origin's place."""
    talk.send(asking(origin, b"/", b"Max-Forwards: 2", method=b"TRACE"))
    talk.response(b"TRACE")
    assert origin.served.visits[0].head.one(b"max-forwards") == b"1"
    talk.send(asking(origin, b"/", b"Max-Forwards: 0", b"Cookie: s", method=b"TRACE"))
    traced = talk.response(b"TRACE")
    assert traced.body.startswith(b"TRACE " + origin.url)
    assert b"Cookie" not in traced.body
    assert len(origin.served.visits) == 1


# --- Connections ---


def test_fifty_pipelined(talk: Talk, origin: Origin[Routes]) -> None:
    """Requests sent in one go are answered in order, on one connection to the origin."""
    count = 50
    for number in range(count):
        body = b"%d" % number * (number + 1)
        origin.served.on(b"/%d" % number, chunked([body]) if number % 3 else fixed(body))
    talk.send(*(asking(origin, b"/%d" % number) for number in range(count)))
    for number in range(count):
        assert talk.response().body == b"%d" % number * (number + 1)
    assert origin.connections == 1


def test_pipelined_behind_a_body(talk: Talk, origin: Origin[Routes]) -> None:
    """What follows a request's body is the next request, whichever way the body is framed."""
    post = asking(origin, b"/a", b"Transfer-Encoding: chunked", method=b"POST")
    put = asking(origin, b"/b", b"Content-Length: 3", method=b"PUT")
    talk.send(post, b"3\r\nabc\r\n0\r\n\r\n", put, b"def", asking(origin, b"/c"))
    assert [talk.response().status for _ in range(3)] == [200] * 3
    assert [visit.body for visit in origin.served.visits] == [b"abc", b"def", b""]


def test_pipelined_then_half_closed(talk: Talk, origin: Origin[Routes]) -> None:
    """A client that has said all it wants still reads every answer, and then the end."""
    talk.send(asking(origin), asking(origin, b"/2"), asking(origin, b"/3"))
    talk.half_close()
    assert [talk.response().body for _ in range(3)] == [b"hello"] * 3
    assert talk.rest() == b""


def test_pool_is_shared(running: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Clients that come one after the other use one connection to the origin."""
    for _ in range(20):
        talk = connect(running.proxy)
        talk.send(asking(origin))
        assert talk.response().body == b"hello"
        talk.close()
    assert origin.connections == 1


def test_idle_connections_are_bounded(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """No more than max_idle_per_host connections outlive the requests that opened them."""
    gate = threading.Barrier(6)

    def together(visit: Visit) -> None:
        gate.wait(10)
        fixed(b"done")(visit)

    origin.served.on(b"/together", together)
    with start_appliance("[pool]\nmax_idle_per_host = 2\n") as running:
        talks = [connect(running.proxy) for _ in range(6)]
        for number, talk in enumerate(talks):
            # Different ones: what is the same would be fetched once.
            talk.send(asking(origin, b"/together?%d" % number))
        assert [talk.response().body for talk in talks] == [b"done"] * 6
        wait_for(lambda: origin.open == 2, "time with two idle connections")
        talks[0].send(asking(origin))
        assert talks[0].response().body == b"hello"
    assert origin.connections == 6


def test_origin_that_closes(talk: Talk, origin: Origin[Routes]) -> None:
    """A connection that the origin gave up is not used again, and nobody notices."""
    origin.served.on(b"/", exactly(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", is_last=True))
    for _ in range(5):
        talk.send(asking(origin))
        assert talk.response().body == b"x"
    assert origin.connections == 5


@pytest.mark.parametrize(
    ("version", "lines", "persists"),
    [
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [], True),
    ],
)
def test_client_persistence(
    talk: Talk, origin: Origin[Routes], version: bytes, lines: list[bytes], persists: bool
) -> None:
    """A connection lasts as long as the client wants, and the answer says so (section 9.3)."""
    origin.served.on(b"/", fixed(b"one"))
    talk.send(asking(origin, b"/", *lines).replace(b"HTTP/1.1", b"HTTP/" + version))
    answer = talk.response()
    assert answer.body == b"one"
    expected = {(b"1.0", True): [b"keep-alive"], (b"1.1", True): []}.get((version, persists))
    assert answer.head.all(b"connection") == (expected if expected is not None else [b"close"])
    if not persists:
        assert talk.rest() == b""
        return
    talk.send(asking(origin))
    assert talk.response().body == b"one"


def test_old_client_gets_no_chunks(talk: Talk, origin: Origin[Routes]) -> None:
    """HTTP/1.0 has no chunks: a body of unknown length ends with the connection."""
    origin.served.on(b"/", chunked([b"a", b"b"], b"X-T: 1\r\n"))
    talk.send(asking(origin, b"/", b"Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = talk.response()
    assert not answer.head.all(b"transfer-encoding")
    assert answer.body == b"ab"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nold",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nold",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
    ],
)
def test_old_origin(talk: Talk, origin: Origin[Routes], answer: bytes) -> None:
    """A body that ends with the origin's connection doesn't end the client's."""
    origin.served.on(b"/", exactly(answer, is_last=True))
    for _ in range(2):
        talk.send(asking(origin))
        assert talk.response().body == b"old"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_body(talk: Talk, origin: Origin[Routes], status: bytes) -> None:
    """204 and 304 end with their heads, whatever else they say."""
    head = b"HTTP/1.1 " + status + b'\r\nETag: "e"\r\n\r\n'
    origin.served.on(b"/", exactly(head))
    talk.send(asking(origin), asking(origin, b"/next"))
    answer = talk.response()
    assert answer.head.start == b"HTTP/1.1 " + status
    assert answer.head.one(b"etag") == b'"e"'
    assert talk.response().body == b"hello"
    assert origin.connections == 1


# --- Bodies ---


def test_trailers_cross(talk: Talk, origin: Origin[Routes]) -> None:
    """Trailer fields cross both ways, but for those that may not stand there."""
    origin.served.on(b"/", chunked([b"abc"], b"X-Sum: 6\r\nSet-Cookie: no\r\nX-Sum: 7\r\n"))
    talk.send(asking(origin, b"/", b"Transfer-Encoding: chunked", method=b"POST"))
    talk.send(b"3\r\nxyz\r\n0\r\nX-Up: 1\r\nCookie: no\r\n\r\n")
    answer = talk.response()
    assert (answer.body, answer.trailers) == (b"abc", [(b"X-Sum", b"6"), (b"X-Sum", b"7")])
    (visit,) = origin.served.visits
    assert (visit.body, visit.trailers) == (b"xyz", [(b"X-Up", b"1")])


def test_chunks_arrive_when_they_are_sent(talk: Talk, origin: Origin[Routes]) -> None:
    """No piece of a body waits for the next one."""
    taken = threading.Event()

    def slowly(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert taken.wait(10)
        visit.answer(b"6\r\nsecond\r\n0\r\n\r\n")

    origin.served.on(b"/", slowly)
    talk.send(asking(origin))
    talk.head()
    assert talk.exactly(10) == b"5\r\nfirst\r\n"
    taken.set()
    assert talk.until(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"


def test_expectation_is_passed_on(talk: Talk, origin: Origin[Routes]) -> None:
    """100 (Continue) comes from the origin, and the body goes only then."""

    def continuing(visit: Visit) -> None:
        assert visit.head.one(b"expect") == b"100-continue"
        visit.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        fixed(b"thanks")(visit)

    origin.served.on(b"/", continuing)
    talk.send(asking(origin, b"/", b"Content-Length: 4", b"Expect: 100-continue", method=b"POST"))
    assert talk.response().head.start == b"HTTP/1.1 100 Continue"
    talk.send(b"body")
    assert talk.response().body == b"thanks"
    assert origin.served.visits[0].body == b"body"


def test_interim_responses(running: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """1xx responses cross in order before the final one; HTTP/1.0 clients see none."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    origin.served.on(b"/", exactly(early + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    talk = connect(running.proxy)
    talk.send(asking(origin))
    answers = [talk.response() for _ in range(3)]
    assert [answer.status for answer in answers] == [103, 102, 200]
    assert answers[0].head.one(b"link") == b"</a>"
    old = connect(running.proxy)
    old.send(asking(origin).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert old.response().status == 200


def test_refusal_during_an_upload(talk: Talk, origin: Origin[Routes]) -> None:
    """A final answer that comes early reaches the client, whose upload then goes nowhere."""
    origin.served.on(b"/", refusing_early)
    talk.send(asking(origin, b"/", b"Content-Length: 1000000000", method=b"POST"), b"x" * 100_000)
    answer = talk.response()
    assert (answer.status, answer.body) == (413, b"large")
    assert talk.rest() == b"", "the connection can't be used again"


def test_answer_before_the_upload_has_ended(talk: Talk, origin: Origin[Routes]) -> None:
    """An origin that answers early and reads on gets the whole body, and the client goes on."""

    def eager(visit: Visit) -> None:
        visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        visit.read_body()

    origin.served.on(b"/eager", eager)
    talk.send(asking(origin, b"/eager", b"Content-Length: 500000", method=b"POST"), b"x" * 1000)
    assert talk.response().body == b"early"
    talk.send(b"x" * 499_000, asking(origin))
    assert talk.response().body == b"hello"
    assert len(origin.served.visits[0].body) == 500_000
    assert origin.connections == 1


def test_half_closed_client_gets_its_answer(talk: Talk, origin: Origin[Routes]) -> None:
    """shutdown(SHUT_WR) behind a request means that it was the last one, not that nobody reads."""
    talk.send(asking(origin, b"/", b"Content-Length: 3", method=b"POST"), b"abc")
    talk.half_close()
    assert talk.response().body == b"hello"
    assert talk.rest() == b""


def test_upgrade_over_plain_http(talk: Talk, origin: Origin[Routes]) -> None:
    """101 makes a tunnel; what comes right behind either head isn't lost."""
    origin.served.on(b"/chat", switching)
    talk.send(asking(origin, b"/chat", b"Upgrade: loud", b"Connection: upgrade"), b"early ")
    answer = talk.response()
    assert answer.status == 101
    assert answer.head.one(b"upgrade") == b"loud"
    assert answer.head.one(b"connection") == b"Upgrade"
    assert talk.exactly(7) == b"welcome"
    talk.send(b"bird")
    assert talk.exactly(10) == b"EARLY BIRD"
    talk.half_close()
    assert talk.rest() == b""


# --- TLS spoken for the client ---


def test_tls_upgrade_shakes_hands_once(
    start_appliance: StartAppliance, connect: Connect, tmp_path: Path
) -> None:
    """X-Real-Protocol: https fetches over TLS; the second request makes no handshake."""
    context, authority = certificates.server_context(tmp_path)
    with (
        Origin(Routes(), tls=context) as secure,
        start_appliance(f"[proxy]\ntls_ca_file = {authority}\n") as running,
    ):
        for path in (b"/one", b"/two"):
            talk = connect(running.proxy)
            talk.send(asking(secure, path, b"X-Real-Protocol: https"))
            assert talk.response().body == b"hello"
        assert secure.connections == 1
        lines = running.lines(2)
    assert ['"tls":"full"' in lines[0], '"tls":"warm"' in lines[1]] == [True, True]
    assert f'"url":"https://{secure.authority}/two"' in lines[1]
    assert not secure.served.visits[0].head.all(b"x-real-protocol")


def test_untrusted_certificate(running: Running, connect: Connect, tmp_path: Path) -> None:
    """An origin whose certificate nobody vouches for is told apart, in a 502."""
    context, _ = certificates.server_context(tmp_path)
    with Origin(Routes(), tls=context) as secure:
        talk = connect(running.proxy)
        talk.send(asking(secure, b"/", b"X-Real-Protocol: https"))
        answer = talk.response()
    assert answer.status == 502
    assert b"tls_certificate_error" in answer.head.one(b"proxy-status")
    assert secure.served.visits == []


# --- Real clients ---


def test_python_client(running: Running, origin: Origin[Routes]) -> None:
    """http.client uses one connection for many requests of several kinds."""
    client = http.client.HTTPConnection("127.0.0.1", running.proxy, timeout=10)
    for method, body in (("GET", None), ("POST", b"x" * 70_000), ("PUT", b""), ("HEAD", None)):
        client.request(method, f"http://{origin.authority}/", body=body)
        answer = client.getresponse()
        assert answer.status == 200
        assert answer.read() == (b"" if method == "HEAD" else b"hello")
    client.request("POST", f"http://{origin.authority}/", body=iter([b"a", b"b"]))
    assert client.getresponse().read() == b"hello"
    assert origin.served.visits[-1].body == b"ab"
    client.close()
    assert origin.connections == 1


def curl(running: Running, *arguments: str) -> bytes:
    """Return what curl prints, with the product as its proxy."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "--max-time", "20", "-x", f"http://127.0.0.1:{running.proxy}"]
    return subprocess.run([*command, *arguments], capture_output=True, check=True).stdout


def test_curl(running: Running, origin: Origin[Routes], tmp_path: Path) -> None:
    """curl fetches, uploads with an expectation, and goes through a tunnel."""
    upload = tmp_path / "upload"
    upload.write_bytes(b"u" * 2_000_000)
    url = f"http://{origin.authority}/"
    assert curl(running, url, url) == b"hellohello"
    assert curl(running, "-T", str(upload), "-H", "Expect:", url) == b"hello"
    assert origin.served.visits[-1].body == b"u" * 2_000_000
    assert curl(running, "--proxytunnel", url) == b"hello"


def test_curl_over_tls_in_a_tunnel(running: Running, tmp_path: Path) -> None:
    """https through CONNECT is between curl and the origin."""
    context, authority = certificates.server_context(tmp_path)
    with Origin(Routes(), tls=context) as secure:
        url = f"https://{secure.authority}/"
        assert curl(running, "--cacert", str(authority), url) == b"hello"
    assert isinstance(context, ssl.SSLContext)
