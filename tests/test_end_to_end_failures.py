"""What clients are told when something goes wrong: status, page, Proxy-Status, and the log."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, exactly, silent, stalling
from tests.talk import Response, Talk

# Short enough for a test, long enough for a slow machine.
_IMPATIENT = """\
[limits]
head_timeout = 500ms
idle_timeout = 1500ms
request_head = 4KiB
headers = 20
body = 1000
[pool]
response_timeout = 500ms
read_timeout = 500ms
connect_timeout = 2s
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with short time-outs and small limits."""
    with start(tmp_path_factory.mktemp("impatient"), _IMPATIENT) as started:
        yield started


@pytest.fixture
def talk(impatient: Running, connect: Connect) -> Talk:
    """Return a connection to the proxy."""
    return connect(impatient.proxy)


def get(origin: Origin[Routes], path: str = "/", *lines: str, method: str = "GET") -> bytes:
    """Return a request for *path* at *origin*."""
    url = f"http://{origin.authority}{path}"
    return request(f"{method} {url} HTTP/1.1", f"Host: {origin.authority}", *lines)


def request(*lines: str) -> bytes:
    """Return the request with these lines."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# --- The client's fault ---

TOO_MANY = tuple(f"X-{number}: 1" for number in range(30))
CLIENT_FAULTS = {
    "not HTTP": (400, b"\x00\x01\x02\x03\r\n\r\n"),
    "TLS to a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "no Host": (400, request("GET http://h/ HTTP/1.1")),
    "two Hosts": (400, request("GET http://h/ HTTP/1.1", "Host: h", "Host: h")),
    "another Host": (400, request("GET http://h/ HTTP/1.1", "Host: other")),
    "two lengths": (
        400,
        request("POST http://h/ HTTP/1.1", "Host: h", "Content-Length: 1", "Content-Length: 2"),
    ),
    "length and chunks": (
        400,
        request(
            "POST http://h/ HTTP/1.1", "Host: h", "Content-Length: 1", "Transfer-Encoding: chunked"
        ),
    ),
    "folded field": (400, request("GET http://h/ HTTP/1.1", "Host: h", "A: b", " c")),
    "blank before colon": (400, request("GET http://h/ HTTP/1.1", "Host : h")),
    "bare LF": (400, b"GET http://h/ HTTP/1.1\nHost: h\n\n"),
    "user in URL": (400, request("GET http://me:secret@h/ HTTP/1.1", "Host: h")),
    "another scheme": (400, request("GET ftp://h/ HTTP/1.1", "Host: h")),
    "body too long": (413, request("POST http://h/ HTTP/1.1", "Host: h", "Content-Length: 1001")),
    "target too long": (414, b"GET http://h/" + b"a" * 5000),
    "head too long": (431, request("GET http://h/ HTTP/1.1", "Host: h", "A: " + "a" * 5000)),
    "too many fields": (431, request("GET http://h/ HTTP/1.1", "Host: h", *TOO_MANY)),
    "not chunked": (400, request("POST http://h/ HTTP/1.1", "Host: h", "Transfer-Encoding: gzip")),
    "unknown coding": (
        501,
        request("POST http://h/ HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked"),
    ),
    "version 2": (505, request("GET http://h/ HTTP/2.0", "Host: h")),
}


@pytest.mark.parametrize(("status", "sent"), CLIENT_FAULTS.values(), ids=CLIENT_FAULTS)
def test_client_faults(talk: Talk, impatient: Running, status: int, sent: bytes) -> None:
    """A fault of the client's is answered, logged and ends the connection."""
    before, port = impatient.logged, talk.socket.getsockname()[1]
    talk.send(sent)
    answer = talk.response()
    assert (answer.status, answer.head.one(b"connection")) == (status, b"close")
    assert answer.head.one(b"content-type") == b"text/plain; charset=utf-8"
    assert talk.rest() == b""
    line = json.loads(impatient.line_with(f'"client_port":{port},', before))
    assert (line["status"], bool(line["reason"])) == (status, True)
    assert "secret" not in json.dumps(line)


def test_slow_head(talk: Talk, impatient: Running) -> None:
    """A head that doesn't come to its end in time is answered 408."""
    before = impatient.logged
    talk.send(b"GET http://h/ HTTP/1.1\r\nHo")
    answer = talk.response()
    assert (answer.status, answer.head.one(b"connection")) == (408, b"close")
    port = talk.socket.getsockname()[1]
    assert json.loads(impatient.line_with(f'"client_port":{port},', before))["status"] == 408


def test_slow_second_head(talk: Talk, origin: Origin[Routes]) -> None:
    """It is so for every head on a connection."""
    talk.send(get(origin), b"GET")
    assert talk.response().status == 200
    assert talk.response().status == 408


def test_stalled_upload(talk: Talk, origin: Origin[Routes]) -> None:
    """A request body that stops arriving is answered 408."""
    talk.send(get(origin, "/", "Content-Length: 10", method="POST"), b"12345")
    assert talk.response().status == 408


def test_broken_upload(talk: Talk, origin: Origin[Routes]) -> None:
    """A body whose chunks are broken is answered 400, and what follows isn't a request."""
    talk.send(get(origin, "/", "Transfer-Encoding: chunked", method="POST"))
    talk.send(b"5\r\nhello\r\nZZ\r\n", get(origin, "/smuggled"))
    assert talk.response().status == 400
    assert talk.rest() == b""
    assert b"/smuggled" not in [visit.target for visit in origin.served.visits]


def test_chunks_beyond_the_limit(talk: Talk, origin: Origin[Routes]) -> None:
    """[limits] body holds for bodies that don't say their length, too."""
    talk.send(get(origin, "/", "Transfer-Encoding: chunked", method="POST"))
    talk.send(b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
    assert talk.response().status == 413


def test_idle_client(talk: Talk, origin: Origin[Routes], impatient: Running) -> None:
    """An idle connection is closed without a word, and without a line."""
    before = impatient.logged
    talk.send(get(origin, "/idle"))
    assert talk.response().status == 200
    assert talk.rest() == b""
    assert f"{origin.authority}/idle" in impatient.line_with(
        f"{talk.socket.getsockname()[1]},", before
    )


def test_client_that_leaves(impatient: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """A client that goes before its answer is there leaves a line with status 499."""
    origin.served.on(b"/left", silent)
    talk = connect(impatient.proxy)
    talk.send(get(origin, "/left"))
    wait_for(lambda: origin.served.visits, "visit")
    talk.reset()
    line = json.loads(impatient.line_with("/left"))
    assert line["status"] == 499


# --- The origin's fault ---


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


ORIGIN_FAULTS = {
    "silent": (504, b"http_response_timeout", silent),
    "closes": (502, b"connection_terminated", exactly(b"", is_last=True)),
    "speaks no HTTP": (502, b"http_protocol_error", exactly(b"220 mail.example ESMTP\r\n\r\n")),
    "speaks in part": (502, b"connection_terminated", exactly(b"HTTP/1.1 200 O", is_last=True)),
    "two lengths": (
        502,
        b"http_protocol_error",
        exactly(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ),
    "endless head": (
        502,
        b"http_protocol_error",
        exactly(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000),
    ),
}


@pytest.mark.parametrize(("status", "token", "route"), ORIGIN_FAULTS.values(), ids=ORIGIN_FAULTS)
def test_origin_faults(
    talk: Talk, origin: Origin[Routes], status: int, token: bytes, route: Callable[..., None]
) -> None:
    """An origin's failure is a gateway's answer, named in Proxy-Status; the client stays."""
    origin.served.on(b"/", route)
    talk.send(get(origin, method="POST"))
    answer = talk.response()
    assert answer.status == status
    assert answer.head.one(b"proxy-status").startswith(b"proxyapp; error=" + token)
    talk.send(get(origin, "/next"))
    assert talk.response().status == 200


def test_refused_connection(talk: Talk) -> None:
    """A port on which nobody listens is 502, with the address in plain words."""
    port = unused_port()
    talk.send(request(f"GET http://127.0.0.1:{port}/ HTTP/1.1", f"Host: 127.0.0.1:{port}"))
    answer = talk.response()
    assert answer.status == 502
    assert b"error=connection_refused" in answer.head.one(b"proxy-status")
    assert f"127.0.0.1:{port} refused the connection".encode() in answer.body


def test_unknown_name(talk: Talk) -> None:
    """A name without an address is 502."""
    talk.send(request("GET http://no-such-name.invalid/ HTTP/1.1", "Host: no-such-name.invalid"))
    answer = talk.response()
    assert answer.status in (502, 504), "504 where the machine's name servers don't answer"
    assert b"error=dns_" in answer.head.one(b"proxy-status")


@pytest.mark.parametrize(
    "body", [b"Content-Length: 10\r\n\r\nfive!", b"Transfer-Encoding: chunked\r\n\r\n5\r\nfive!"]
)
def test_cut_response(talk: Talk, origin: Origin[Routes], impatient: Running, body: bytes) -> None:
    """A body that ends too early must not look whole to the client."""
    origin.served.on(b"/cut", exactly(b"HTTP/1.1 200 OK\r\n" + body, is_last=True))
    talk.send(get(origin, "/cut"))
    with pytest.raises((EOFError, ConnectionResetError)):
        talk.response()
    line = json.loads(impatient.line_with(f"{origin.authority}/cut"))
    assert (line["status"], line["error"]) == (200, "http_response_incomplete")


def test_stalling_origin(talk: Talk, origin: Origin[Routes], impatient: Running) -> None:
    """An origin that falls silent inside a body costs the client its connection, in time."""
    origin.served.on(b"/stall", stalling)
    talk.send(get(origin, "/stall"))
    with pytest.raises((EOFError, ConnectionResetError)):
        talk.response()
    line = json.loads(impatient.line_with(f"{origin.authority}/stall"))
    assert line["error"] == "connection_read_timeout"


def test_lost_request_is_sent_again(talk: Talk, origin: Origin[Routes]) -> None:
    """An idempotent request that meets a dying connection is sent once more; a POST isn't."""
    dying = exactly(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    origin.served.on(b"/warm", dying)
    origin.served.on(b"/dies", exactly(b"", is_last=True))
    talk.send(get(origin, "/warm"))
    talk.response()
    talk.send(get(origin, "/dies"))
    assert talk.response().status == 502
    assert [visit.target for visit in origin.served.visits] == [b"/warm", b"/dies", b"/dies"]
    talk.send(get(origin, "/warm"))
    talk.response()
    talk.send(get(origin, "/dies", "Content-Length: 0", method="POST"))
    assert talk.response().status == 502
    assert len(origin.served.visits) == 5


# --- What the rules refuse ---


def test_loops(talk: Talk, impatient: Running, origin: Origin[Routes]) -> None:
    """A request to ourselves, or one that has our name in Via, is 508."""
    talk.send(
        request(
            f"GET http://127.0.0.1:{impatient.proxy}/ HTTP/1.1",
            f"Host: 127.0.0.1:{impatient.proxy}",
        )
    )
    answer = talk.response()
    assert answer.status == 508
    assert b"error=proxy_loop_detected" in answer.head.one(b"proxy-status")
    talk.send(get(origin))
    (via,) = [value for name, value in talk.response().head.fields if name == b"Via"]
    talk.send(get(origin, "/", f"Via: 1.1 x, {via.decode()}"))
    assert talk.response().status == 508


def test_denied_client_and_destination(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """403 tells a client that may not use the proxy from a place that may not be reached."""
    with start_appliance("[access]\ndestinations = public\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin))
        answer = talk.response()
        assert answer.status == 403
        assert b"error=destination_ip_prohibited" in answer.head.one(b"proxy-status")
        talk.close()
    with start_appliance("[access]\nclients = 192.0.2.1\nsite_clients = 192.0.2.1\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin), request("GET / HTTP/1.1", "Host: h"))
        answers = [talk.response(), talk.response()]
    assert [answer.status for answer in answers] == [403, 403]
    assert b"error=http_request_denied" in answers[0].head.one(b"proxy-status")
    assert not answers[1].head.all(b"proxy-status"), "the site is no proxy"
    assert origin.connections == 0


@pytest.mark.parametrize("limit", ["clients", "per_client"])
def test_too_many_clients(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], limit: str
) -> None:
    """One connection too many is turned away with 503; when another one goes there is room."""
    with start_appliance(f"[limits]\n{limit} = 2\n") as running:
        first, second = connect(running.proxy), connect(running.site)
        first.send(get(origin))
        assert first.response().status == 200
        second.send(request("GET / HTTP/1.1", "Host: h"))
        assert second.response().status == 200
        before = running.sockets - 1
        third = connect(running.proxy)
        assert third.response().status == 503
        third.close()
        second.close()
        running.wait_for_sockets(most=before)
        fourth = connect(running.proxy)
        fourth.send(get(origin))
        assert fourth.response().status == 200


def test_queue_for_an_origin(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A request that waits too long for a connection to a busy origin is 503."""
    origin.served.on(b"/slow", silent)
    with start_appliance("[pool]\nmax_per_host = 1\nqueue_timeout = 500ms\n") as running:
        first, second = connect(running.proxy), connect(running.proxy)
        first.send(get(origin, "/slow"))
        second.send(get(origin))
        answer = second.response()
        assert answer.status == 503
        assert b"error=connection_limit_reached" in answer.head.one(b"proxy-status")
        first.close()


# --- Pages ---

PAGES = {
    400: ("GET http://h/ HTTP/1.1", "Host: other"),
    403: ("GET http://192.0.2.1/ HTTP/1.1", "Host: 192.0.2.1"),
    404: ("GET /<b>&amp; HTTP/1.1", "Host: h"),
    405: ("DELETE / HTTP/1.1", "Host: h"),
    408: ("GET http://h/ HTTP/1.1", "Host: h", "A"),
    413: ("PUT http://h/ HTTP/1.1", "Host: h", "Content-Length: 1001"),
    414: ("GET http://h/" + "a" * 5000 + " HTTP/1.1", "Host: h"),
    431: ("GET http://h/ HTTP/1.1", "Host: h", *TOO_MANY),
    501: ("PUT http://h/ HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked"),
    502: ("GET http://127.0.0.1:{unused}/ HTTP/1.1", "Host: 127.0.0.1:{unused}"),
    504: ("GET http://{origin}/ HTTP/1.1", "Host: {origin}"),
    505: ("GET http://h/ HTTP/2.0", "Host: h"),
    508: ("GET http://127.0.0.1:{own}/ HTTP/1.1", "Host: 127.0.0.1:{own}"),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with short time-outs, for whom only this machine may be reached."""
    ini = _IMPATIENT + "[access]\ndestinations = 127.0.0.1\n"
    with start(tmp_path_factory.mktemp("strict"), ini) as started:
        yield started


def fault(strict: Running, connect: Connect, origin: Origin[Routes], lines: list[str]) -> Response:
    """Return the answer to a request with *lines*, which is closed unless it is about time."""
    origin.served.on(b"/", silent)
    places = {"own": strict.proxy, "origin": origin.authority, "unused": unused_port()}
    sent = request(*(line.format(**places) for line in lines))
    talk = connect(strict.proxy)
    talk.send(sent.removesuffix(b"\r\n\r\n") if lines[-1] == "A" else sent)
    return talk.response()


@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "*/*"], ids=["html", "text"])
@pytest.mark.parametrize("status", PAGES)
def test_pages(
    strict: Running, connect: Connect, origin: Origin[Routes], status: int, accept: str
) -> None:
    """Each failure has a page in the form that the client prefers, and no exception's words."""
    start_line, *lines = PAGES[status]
    answer = fault(strict, connect, origin, [start_line, f"Accept: {accept}", *lines])
    media_type, title = (b"html", b"<h1>%d ") if "html" in accept else (b"plain", b"%d ")
    assert answer.status == status
    assert answer.head.one(b"content-type") == b"text/" + media_type + b"; charset=utf-8"
    assert title % status in answer.body
    assert (b"<b>" in answer.body) == (status == 404 and media_type == b"plain")
    for foreign in (b"Error", b"Exception", b"Errno", b"twisted"):
        assert foreign not in answer.body
    # The proxy's own failures are named by RFC 9209; the site's aren't.
    assert bool(answer.head.all(b"proxy-status")) == (status not in (404, 405))
