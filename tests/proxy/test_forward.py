"""Promises of proxyapp.proxy.forward: what of a request reaches the origin, and of the answer us.

Clients and origins are played here; what is between them is the product, from the first byte of a
request to the line in the log.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyapp import errors
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.record import Record
from proxyapp.wire.heads import HeadLimits
from tests.support import (
    HEAD,
    OK,
    OK_PASSED_ON,
    TIMEOUTS,
    VIA,
    MemoryTransport,
    Stage,
    get,
    passed_on,
    pool_of,
    request,
    response,
    script,
)

CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"


def ask(stage: Stage, *lines: bytes, method: bytes = b"GET") -> MemoryTransport:
    """Let a client ask for something without a body, and the origin hear it; return the client."""
    client = stage.client()
    client.says(request(method, b"/", *lines))
    stage.origin.hears(passed_on(b"/", *lines, method=method))
    return client


def warm_up(stage: Stage) -> MemoryTransport:
    """Leave one used, idle connection in the pool; return its far end."""
    ask(stage).hears_nothing()
    stage.origin.says(OK)
    stage.clients[-1].hears(OK_PASSED_ON)
    return stage.origin


def last(stage: Stage) -> Record:
    """Return the record of the exchange that ended last."""
    return stage.records[-1]


# --- There and back ---


def test_there_and_back() -> None:
    """A request goes out in origin-form, its answer comes back, and one line is logged."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/a?b", b"Accept: x", b"accept: y"))
        stage.origin.hears(passed_on(b"/a?b", b"Accept: x", b"accept: y"))
        stage.origin.says(response(b"200 Fine", b"Content-Length: 2", b"x-Odd: 1", body=b"hi"))
        client.hears(response(b"200 Fine", b"Content-Length: 2", b"x-Odd: 1", body=b"hi", via=True))
        (record,) = stage.records
        assert (record.status, record.sent, record.received) == (200, 2, 0)
        assert (record.upstream, record.reuse, record.error) == ("192.0.2.7:80", "new", "")
        assert not client.is_gone


def test_reuse_is_logged() -> None:
    """The second request takes the same connection, and the log says so."""
    with script() as stage:
        warm_up(stage)
        warm_up(stage)
        assert [record.reuse for record in stage.records] == ["new", "reused"]
        assert len(stage.origins) == 1


@pytest.mark.parametrize("method", [b"PURGE", b"get", b"M-SEARCH", b"PROPFIND", b"DELETE"])
def test_any_method(method: bytes) -> None:
    """Every token is a method, and is passed on as it is."""
    with script() as stage:
        client = ask(stage, method=method)
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


def test_pipelined_requests() -> None:
    """Requests sent at once are answered one after the other, in their order."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/1") + get(b"/2"))
        stage.origin.hears(passed_on(b"/1"))
        stage.origin.says(OK)
        stage.origin.hears(passed_on(b"/2"))
        client.hears(OK_PASSED_ON)
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


def test_hop_by_hop_both_ways() -> None:
    """What is for one hop, or named by Connection, doesn't cross; neither do our credentials."""
    with script() as stage:
        client = stage.client()
        ours = [b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"Keep-Alive: 5", b"TE: trailers"]
        secret = [b"Proxy-Authorization: Basic eDp5", b"Proxy-Connection: keep-alive"]
        client.says(get(b"/", *ours, b"X-End: 1", *secret))
        stage.origin.hears(passed_on(b"/", b"X-End: 1"))
        theirs = [b"Connection: x-hop", b"X-Hop: 1", b"Keep-Alive: 5", b"Proxy-Authenticate: x"]
        stage.origin.says(response(b"204 No Content", *theirs, b"X-End: 1"))
        client.hears(response(b"204 No Content", b"X-End: 1", via=True))


def test_the_same_fields_again() -> None:
    """What a client repeats is remembered, but never for another method, origin or body."""
    plain, upload = [b"X-A: 1"], [b"X-A: 1", b"Content-Length: 0"]
    with script() as stage:
        client = stage.client()
        for path, lines, host, method in [
            (b"/1", plain, b"a.example", b"GET"),
            (b"/2", plain, b"a.example", b"GET"),
            (b"/3", plain, b"a.example", b"PURGE"),
            (b"/4", plain, b"b.example", b"GET"),
            (b"/5", upload, b"a.example", b"POST"),
            (b"/6", plain, b"a.example", b"GET"),
        ]:
            client.says(request(method, path, *lines, host=host))
            origin = stage.origins[host == b"b.example"]
            origin.hears(passed_on(path, *lines, host=host, method=method))
            origin.says(OK)
            client.hears(OK_PASSED_ON)


def test_the_same_answer_again() -> None:
    """What an origin repeats is remembered, but never for another status, version or client."""
    with script() as stage:
        client = stage.client()
        fields = [b"Content-Length: 2", b"Connection: keep-alive", b"X-A: 1"]
        for status in (b"200 OK", b"200 OK", b"404 OK", b"200 Fine", b"206 OK", b"200 OK"):
            client.says(get())
            stage.origin.hears(passed_on(b"/"))
            stage.origin.says(response(status, *fields, body=b"hi"))
            expected = [b"Content-Length: 2", b"X-A: 1"]
            client.hears(response(status, *expected, body=b"hi", via=True))
        client.says(get())
        stage.origin.hears(passed_on(b"/"))
        stage.origin.says(response(b"200 OK", *fields, body=b"hi").replace(b"/1.1", b"/1.0", 1))
        assert b"\r\nVia: 1.0 px\r\n" in client.all_heard()


def test_a_loop_is_not_forgotten() -> None:
    """The second request with the Via of a loop is refused like the first."""
    with script() as stage:
        for _ in range(2):
            client = stage.client()
            client.says(get(b"/", b"Via: 1.1 px") * 2)
            assert client.all_heard().count(b"HTTP/1.1 508 ") == 2
        assert not stage.origins


def test_forwarded_for() -> None:
    """Where the ini says so, the origin learns the client's address."""
    with script(forwarding=Forwarding.X_FORWARDED_FOR) as stage:
        stage.client("192.0.2.9").says(get())
        assert b"\r\nX-Forwarded-For: 192.0.2.9\r\n" in stage.origin.all_heard()


# --- Loops and the last hop ---


def test_loop() -> None:
    """A request that has been here already is refused, and goes nowhere."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/", b"Via: 1.0 other, 1.1 px"))
        assert client.all_heard().startswith(b"HTTP/1.1 508 Loop Detected\r\n")
        assert stage.origins == []
        assert last(stage).error == errors.LoopDetected.token


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        (b"OPTIONS", b"204 No Content", b""),
        (b"TRACE", b"200 OK", b"TRACE http://a.example/ HTTP/1.1\r\nHost: a.example\r\n"),
    ],
)
def test_last_hop(method: bytes, status: bytes, body: bytes) -> None:
    """TRACE and OPTIONS with Max-Forwards 0 are answered here."""
    with script() as stage:
        client = stage.client()
        client.says(request(method, b"/", b"Max-Forwards: 0", b"Cookie: secret"))
        answer = client.all_heard()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert body in answer
        assert b"secret" not in answer
        assert stage.origins == []


def test_max_forwards_is_counted_down() -> None:
    """On its way, Max-Forwards becomes one less."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"TRACE", b"/", b"Max-Forwards: 3"))
        stage.origin.hears(passed_on(b"/", b"Max-Forwards: 2", method=b"TRACE"))
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


# --- Once more ---


@pytest.mark.parametrize("end", ["closes", "resets", "ends"])
def test_a_lost_request_is_sent_again(end: str) -> None:
    """When a used connection dies before a byte of the answer, GET goes out on another one."""
    with script() as stage:
        used = warm_up(stage)
        client = stage.client()
        client.says(get())
        used.hears(passed_on())
        getattr(used, end)()
        assert stage.origin is not used
        stage.origin.hears(passed_on())
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)
        assert (last(stage).status, last(stage).reuse) == (200, "new")


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"PROPFIND"])
def test_not_what_is_not_idempotent(method: bytes) -> None:
    """What might be done twice is not sent twice: 502."""
    with script() as stage:
        used = warm_up(stage)
        client = stage.client()
        client.says(request(method, b"/"))
        used.hears(passed_on(method=method))
        used.closes()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert len(stage.origins) == 1


def test_not_with_a_body() -> None:
    """A request whose body has left can't be sent again."""
    with script() as stage:
        used = warm_up(stage)
        client = stage.client()
        client.says(request(b"PUT", b"/", b"Content-Length: 2", body=b"hi"))
        used.hears(passed_on(b"/", b"Content-Length: 2", method=b"PUT", body=b"hi"))
        used.closes()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_not_after_a_byte(begun: bytes) -> None:
    """An origin that began to answer has had the request."""
    with script() as stage:
        used = warm_up(stage)
        client = ask(stage)
        used.says(begun)
        used.closes()
        assert b"HTTP/1.1 502 " in client.all_heard()
        assert len(stage.origins) == 1


def test_not_on_a_fresh_connection() -> None:
    """An origin that closes a new connection does so because of the request."""
    with script() as stage:
        client = ask(stage)
        stage.origin.closes()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert last(stage).error == errors.ConnectionEnded.token
        assert len(stage.origins) == 1


def leave_idle(stage: Stage, count: int) -> list[MemoryTransport]:
    """Leave *count* used, idle connections in the pool; return their far ends."""
    clients = [ask(stage) for _ in range(count)]
    for client, origin in zip(clients, stage.origins[-count:], strict=True):
        origin.says(OK)
        client.hears(OK_PASSED_ON)
    return stage.origins[-count:]


def test_not_on_one_that_is_as_dead() -> None:
    """All that have been idle for longer than the one that died are given up with it."""
    with script() as stage:
        *older, used = leave_idle(stage, 4)
        client = stage.client()
        client.says(get())
        used.hears(passed_on())
        used.resets()
        stage.origin.hears(passed_on())
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)
        stage.turn()
        assert len(stage.origins) == 5
        assert all(origin.is_gone for origin in older)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_only_so_many_times(retries: int) -> None:
    """A request is sent again *retries* times, whatever becomes of its connections."""
    with script(retries=retries, pool=pool_of(max_per_host=1)) as stage:
        warm_up(stage)
        client = ask(stage)
        for _ in range(retries):
            ahead = stage.client()
            ahead.says(get(b"/ahead"))
            stage.origin.resets()
            stage.origin.hears(passed_on(b"/ahead"))
            stage.origin.says(OK)
            ahead.hears(OK_PASSED_ON)
            stage.origin.hears(passed_on())
        stage.origin.resets()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert len(stage.origins) == retries + 1


# --- Bodies of requests ---


@pytest.mark.parametrize("how", [b"Content-Length: 6", CHUNKED])
def test_upload_streams(how: bytes) -> None:
    """A request's body is passed on piece by piece, as it comes, in the framing it came in."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", how))
        stage.origin.hears(passed_on(b"/", how, method=b"POST"))
        for piece in (b"abc", b"def"):
            framed = piece if how != CHUNKED else b"3\r\n%b\r\n" % piece
            client.says(framed)
            stage.origin.hears(framed)
        if how == CHUNKED:
            client.says(b"0\r\nX-Sum: 1\r\nContent-Type: forged\r\n\r\n")
            stage.origin.hears(b"0\r\nX-Sum: 1\r\n\r\n")
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)
        assert last(stage).received == 6
        warm_up(stage)
        assert len(stage.origins) == 1


def test_empty_upload_keeps_its_length() -> None:
    """Content-Length 0 is not nothing."""
    with script() as stage:
        client = ask(stage, b"Content-Length: 0", method=b"POST")
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


def test_upload_has_back_pressure() -> None:
    """A client is read no faster than the origin reads."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 300000"))
        stage.origin.all_heard()
        stage.origin.takes = False
        for _ in range(3):
            client.says(b"x" * 100_000)
        assert not client.is_reading
        assert stage.origin.unsent < 200_000
        stage.origin.takes_all()
        stage.turn()
        stage.origin.hears(b"x" * 300_000)
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)
        stage.turn()
        assert client.is_reading


def test_expectation_is_passed_on() -> None:
    """Expect goes to the origin, its 100 to the client, and then the body."""
    with script() as stage:
        client = stage.client()
        lines = [b"Expect: 100-continue", b"Content-Length: 2"]
        client.says(request(b"PUT", b"/", *lines))
        stage.origin.hears(passed_on(b"/", *lines, method=b"PUT"))
        stage.origin.says(response(b"100 Continue"))
        client.hears(response(b"100 Continue", via=True))
        client.says(b"hi")
        stage.origin.hears(b"hi")
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


@pytest.mark.parametrize(("limit", "status"), [(0, b"200 "), (5, b"413 ")])
def test_body_limit(limit: int, status: bytes) -> None:
    """A body past [limits] body is not passed on any further."""
    with script(body=limit) as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", CHUNKED))
        client.says(b"3\r\nabc\r\n")
        client.says(b"3\r\ndef\r\n0\r\n\r\n")
        if not limit:
            stage.origin.says(OK)
        assert client.all_heard().startswith(b"HTTP/1.1 " + status)
        assert stage.origin.all_heard().endswith(b"0\r\n\r\n") is not bool(limit)
        stage.turn()
        assert stage.origin.is_gone is bool(limit)


def test_broken_upload() -> None:
    """A chunk that isn't one ends the exchange: the client's fault, and said so."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", CHUNKED))
        client.says(b"3\r\nabcdef\r\n")
        assert client.all_heard().startswith(b"HTTP/1.1 400 ")
        stage.origin.all_heard()
        stage.turn()
        assert stage.origin.is_gone
        assert last(stage).error == errors.BadRequest.token


def test_body_broken_before_it_is_wanted() -> None:
    """A body that breaks while its request waits for a connection is the client's fault too."""
    with script() as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(request(b"POST", b"/", CHUNKED))
        client.says(b"zz\r\n")
        stage.dialler.waiting.pop().callback(None)
        assert client.all_heard().startswith(b"HTTP/1.1 400 ")
        stage.origin.all_heard()


def test_upload_cut_by_the_client() -> None:
    """A client that ends inside its body is told, if it still listens."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 9", body=b"abc"))
        client.ends()
        assert client.all_heard().startswith(b"HTTP/1.1 400 ")
        stage.origin.all_heard()
        stage.turn()
        assert stage.origin.is_gone


def test_silent_upload() -> None:
    """A client that stops sending its body is timed out; the origin isn't blamed."""
    with script(timeouts=replace(TIMEOUTS, read=5.0)) as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 9", body=b"abc"))
        stage.wait(4.0)
        client.says(b"d")
        stage.wait(4.0)
        client.hears_nothing()
        stage.wait(3.0)
        assert client.all_heard().startswith(b"HTTP/1.1 408 ")
        stage.origin.all_heard()


def test_origin_that_does_not_read_the_upload() -> None:
    """An origin that stops reading the body is given up after read_timeout: 504."""
    with script(timeouts=replace(TIMEOUTS, read=5.0, response=2.0)) as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 300000"))
        stage.origin.all_heard()
        stage.origin.takes = False
        client.says(b"x" * 100_000)
        stage.wait(7.0)
        assert client.all_heard().startswith(b"HTTP/1.1 504 ")
        assert last(stage).error == errors.ReadTimeout.token


def test_origin_lost_during_the_upload() -> None:
    """An origin that goes away inside the request's body: 502, and the client is read again."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 300000"))
        stage.origin.all_heard()
        stage.origin.takes = False
        client.says(b"x" * 100_000)
        assert not client.is_reading
        stage.origin.resets()
        stage.turn()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert client.is_reading  # so that the client gets to read the answer


# --- Early answers ---


def early_answer(stage: Stage, *lines: bytes) -> MemoryTransport:
    """Let the origin answer in the middle of an upload of nine bytes; return the client."""
    client = stage.client()
    client.says(request(b"POST", b"/", b"Content-Length: 9", body=b"abc"))
    stage.origin.hears(passed_on(b"/", b"Content-Length: 9", method=b"POST", body=b"abc"))
    stage.origin.says(response(b"403 No", b"Content-Length: 2", *lines, body=b"hi"))
    # What closes at the origin closes here as well, and is announced behind the Via.
    lengths, via = b"Content-Length: 2", b"Via: 1.1 px"
    client.hears(response(b"403 No", lengths, via, *lines, body=b"hi"))
    return client


def test_early_answer_and_the_origin_reads_on() -> None:
    """An origin that keeps the connection gets the whole request; both connections live on."""
    with script() as stage:
        client = early_answer(stage)
        client.says(b"defghi")
        stage.origin.hears(b"defghi")
        assert (last(stage).status, last(stage).received) == (403, 9)
        client.says(get())
        stage.origin.hears(passed_on())
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


def test_early_answer_and_the_origin_closes() -> None:
    """An origin that closes gets no more of it, and the client's connection closes as well."""
    with script() as stage:
        client = early_answer(stage, CLOSE)
        stage.turn()
        assert stage.origin.is_gone
        assert last(stage).status == 403
        client.says(b"defghi")
        client.closes()
        stage.origin.hears_nothing()


@pytest.mark.parametrize("end", ["ends", "resets"])
def test_early_answer_and_the_origin_leaves(end: str) -> None:
    """An origin that leaves all the same doesn't keep the client for the rest of its body."""
    with script() as stage:
        client = early_answer(stage)
        assert stage.records == []
        getattr(stage.origin, end)()
        stage.turn()
        assert last(stage).status == 403
        assert client.is_half_closed
        assert stage.origin.is_gone


def test_early_answer_and_the_client_leaves() -> None:
    """A client that leaves after an early answer takes the upload with it."""
    with script() as stage:
        early_answer(stage).resets()
        stage.turn()
        assert last(stage).status == 403
        assert stage.origin.is_gone


def test_broken_upload_during_the_answer() -> None:
    """A body that breaks while the answer streams ends both connections: nobody can trust them."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", CHUNKED))
        stage.origin.says(response(b"200 OK", b"Content-Length: 9", body=b"abc"))
        client.says(b"zz\r\n")
        stage.turn()
        assert client.is_aborted
        assert stage.origin.is_gone
        assert last(stage).error == errors.BadRequest.token
        client.all_heard(), stage.origin.all_heard()


# --- Interim responses ---


def test_interim_responses() -> None:
    """1xx responses are passed on as they come, as often as they come."""
    with script() as stage:
        client = ask(stage)
        hints = b"103 Early Hints"
        for _ in range(2):
            stage.origin.says(response(hints, b"Link: </a>", b"Keep-Alive: 1"))
            client.hears(response(hints, b"Link: </a>", via=True))
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)
        assert last(stage).status == 200


def test_no_interim_responses_for_http_1_0() -> None:
    """An HTTP/1.0 client can't read them, and gets none; nor does its Expect go out."""
    with script() as stage:
        client = stage.client()
        client.says(b"POST http://a.example/ HTTP/1.0\r\nExpect: 100-continue\r\n")
        client.says(b"Content-Length: 2\r\n\r\nhi")
        asked = stage.origin.all_heard()
        assert b"Expect" not in asked
        assert b"\r\nVia: 1.0 px\r\n" in asked
        stage.origin.says(response(b"100 Continue") + response(b"102 Processing") + OK)
        assert client.all_heard().startswith(b"HTTP/1.1 200 OK\r\n")


def test_endless_interim_responses() -> None:
    """An origin that never comes to its point is cut off."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"102 Processing") * 100)
        assert client.all_heard().count(b"HTTP/1.1 102 ") < 100
        assert last(stage).status == 502


# --- Bodies of responses ---


@pytest.mark.parametrize(
    ("method", "status", "lines"),
    [
        (b"HEAD", b"200 OK", [b"Content-Length: 1000"]),
        (b"HEAD", b"200 OK", [CHUNKED]),
        (b"GET", b"204 No Content", []),
        (b"GET", b"204 No Content", [b"Content-Length: 5"]),
        (b"GET", b"304 Not Modified", [b"Content-Length: 1000", b'ETag: "x"']),
    ],
)
def test_responses_without_body(method: bytes, status: bytes, lines: list[bytes]) -> None:
    """HEAD, 204 and 304 have no body, whatever their fields say; the connection is used again."""
    with script() as stage:
        client = ask(stage, method=method)
        stage.origin.says(response(status, *lines))
        kept = [line for line in lines if line != CHUNKED and not status.startswith(b"204")]
        client.hears(response(status, *kept, via=True))
        stage.turn()
        assert not stage.origin.is_gone
        assert not client.is_gone


@pytest.mark.parametrize("how", [b"Content-Length: 6", CHUNKED])
def test_download_streams(how: bytes) -> None:
    """A response's body is passed on piece by piece, as it comes."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", how))
        heard = client.all_heard()
        assert how in heard
        for piece in (b"abc", b"def"):
            framed = piece if how != CHUNKED else b"3\r\n%b\r\n" % piece
            stage.origin.says(framed)
            client.hears(framed)
        if how == CHUNKED:
            stage.origin.says(b"0\r\n\r\n")
            client.hears(b"0\r\n\r\n")
        assert last(stage).sent == 6


def test_trailers() -> None:
    """Trailers cross; those that would frame, route or authenticate don't."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", CHUNKED))
        client.all_heard()
        stage.origin.says(b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nVia: forged\r\n\r\n")
        client.hears(b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_body_until_close(version: bytes) -> None:
    """A body that ends with the origin's connection is whole, and the client's lives on."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(version + b" 200 OK\r\n\r\nabc")
        stage.origin.closes()
        stage.turn()
        heard = client.all_heard()
        assert CHUNKED in heard
        assert heard.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        assert (last(stage).sent, last(stage).error) == (3, "")
        assert not client.is_gone
        assert stage.origin.is_gone


def test_body_for_http_1_0() -> None:
    """For an HTTP/1.0 client a body of unknown length ends with its connection."""
    with script() as stage:
        client = stage.client()
        client.says(b"GET http://a.example/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        stage.origin.all_heard()
        stage.origin.says(response(b"200 OK", CHUNKED, body=b"2\r\nhi\r\n0\r\n\r\n"))
        stage.turn()
        heard = client.all_heard()
        assert CHUNKED not in heard
        assert heard.endswith(b"\r\n\r\nhi")
        assert client.is_gone


@pytest.mark.parametrize("how", [b"Content-Length: 300000", CHUNKED])
def test_download_has_back_pressure(how: bytes) -> None:
    """An origin is read no faster than the client reads, and both go on as if nothing was."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", how))
        client.all_heard()
        client.takes = False
        size = b"%x\r\n" % 100_000 if how == CHUNKED else b""
        for _ in range(3):
            stage.origin.says(size + b"y" * 100_000 + (b"\r\n" if size else b""))
        if how == CHUNKED:
            stage.origin.says(b"0\r\n\r\n")
        assert not stage.origin.is_reading
        assert client.unsent < 200_000
        client.takes_all()
        stage.turn()
        assert client.all_heard().count(b"y") == 300_000
        assert stage.origin.is_reading
        warm_up(stage)
        assert len(stage.origins) == 1


@pytest.mark.parametrize("how", [b"Content-Length: 100000", CHUNKED])
def test_connection_is_read_again_after_the_last_piece(how: bytes) -> None:
    """A last piece that fills the client's buffer doesn't leave the origin's connection paused."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", how))
        client.takes = False
        size, end = (b"186a0\r\n", b"\r\n0\r\n\r\n") if how == CHUNKED else (b"", b"")
        stage.origin.says(size + b"y" * 100_000 + end)
        assert last(stage).status == 200
        assert stage.origin.is_reading
        client.takes_all()
        assert client.all_heard().count(b"y") == 100_000
        warm_up(stage)
        assert len(stage.origins) == 1


# --- Answers that fail ---


@pytest.mark.parametrize(
    ("lines", "body", "end"),
    [
        ([b"Content-Length: 9"], b"abc", "closes"),
        ([b"Content-Length: 9"], b"abc", "resets"),
        ([CHUNKED], b"3\r\nabc\r\n", "closes"),
        ([CHUNKED], b"9\r\nabc", "ends"),
        ([CHUNKED], b"3\r\nabc\r\n0\r\n", "resets"),
        ([], b"abc", "resets"),
    ],
)
def test_truncated_response(lines: list[bytes], body: bytes, end: str) -> None:
    """A response that was cut cuts the client's connection, and is logged as incomplete."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", *lines, body=body))
        getattr(stage.origin, end)()
        stage.turn()
        assert client.is_aborted
        assert b"0\r\n\r\n" not in client.all_heard()
        assert last(stage).error == errors.ResponseIncomplete.token
        assert (last(stage).status, last(stage).sent) == (200, 3)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Odd\r\n\r\n",
        response(b"200 OK", b"no colon"),
        response(b"200 OK", b"Content-Length: x"),
        response(b"200 OK", b"Content-Length: 1", b"Content-Length: 2"),
        response(b"200 OK", b"Content-Length: 1", CHUNKED),
        response(b"200 OK", b"Transfer-Encoding: gzip"),
        response(b"200 OK", CHUNKED, body=b"zz\r\n"),
        response(b"200 OK", b"X-Long: " + b"x" * 70_000),
    ],
)
def test_malformed_response(said: bytes) -> None:
    """What isn't an HTTP response is not passed on: 502, and the connection goes."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(said)
        stage.turn()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert last(stage).error == errors.BadResponse.token
        assert stage.origin.is_gone
        assert not client.is_gone


@pytest.mark.parametrize("limits", [replace(HEAD, fields=3), HeadLimits(100, 128)])
def test_response_head_limits(limits: HeadLimits) -> None:
    """A response head that is too long, or has too many fields, is the origin's fault."""
    with script(head=limits) as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", *[b"X: %b" % (b"x" * 30)] * 4))
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")


def test_response_broken_on_the_way() -> None:
    """A body that turns out malformed after its head was passed on cuts the client's connection."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", CHUNKED, body=b"2\r\nhi\r\n"))
        client.all_heard()
        stage.origin.says(b"zz\r\n")
        stage.turn()
        assert client.is_aborted
        assert stage.origin.is_gone
        assert last(stage).error == errors.BadResponse.token


@pytest.mark.parametrize("excess", [b"x", OK])
def test_bytes_behind_the_response(excess: bytes) -> None:
    """Bytes that nobody asked for reach nobody, and the connection they came on is closed."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(OK + excess)
        client.hears(OK_PASSED_ON)
        stage.turn()
        assert stage.origin.is_gone
        warm_up(stage)
        assert len(stage.origins) == 2


@pytest.mark.parametrize("excess", [b"x", OK])
@pytest.mark.parametrize(
    ("how", "begun", "end"),
    [
        (b"Content-Length: 4", b"ab", b"cd"),
        (CHUNKED, b"2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"),
    ],
)
def test_bytes_behind_a_streamed_response(
    how: bytes, begun: bytes, end: bytes, excess: bytes
) -> None:
    """They come with the end of a long body as well: whoever waits gets another connection."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        client, waiting = ask(stage), stage.client()
        waiting.says(get(b"/next"))
        stage.origin.says(response(b"200 OK", how, body=begun))
        stage.origin.says(end + excess)
        assert client.all_heard().endswith(begun + end)
        stage.turn()
        assert stage.origins[0].is_gone
        stage.origins[1].hears(passed_on(b"/next"))


def test_close_by_the_origin() -> None:
    """A response that ends the origin's connection doesn't end the client's."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", b"Content-Length: 2", CLOSE, body=b"hi"))
        client.hears(OK_PASSED_ON)
        stage.turn()
        assert stage.origin.is_gone
        assert not client.is_gone


# --- Time ---


def test_response_timeout() -> None:
    """An origin that doesn't answer: 504, and it isn't asked again."""
    with script(timeouts=replace(TIMEOUTS, response=5.0)) as stage:
        warm_up(stage)
        client = ask(stage)
        stage.wait(4.5)
        client.hears_nothing()
        stage.wait(1.0)
        assert client.all_heard().startswith(b"HTTP/1.1 504 ")
        assert last(stage).error == errors.ResponseTimeout.token
        assert stage.origin.is_gone
        assert len(stage.origins) == 1


def test_response_timeout_begins_behind_the_upload() -> None:
    """While the request is on its way nobody can expect an answer."""
    with script(timeouts=replace(TIMEOUTS, response=3.0)) as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", b"Content-Length: 2"))
        stage.wait(10.0)
        client.hears_nothing()
        client.says(b"hi")
        stage.wait(2.5)
        client.hears_nothing()
        stage.wait(1.0)
        assert client.all_heard().startswith(b"HTTP/1.1 504 ")
        stage.origin.all_heard()


def test_read_timeout() -> None:
    """An origin that falls silent inside a body never pins a client."""
    with script(timeouts=replace(TIMEOUTS, read=4.0)) as stage:
        client = ask(stage)
        stage.origin.says(response(b"200 OK", b"Content-Length: 9", body=b"abc"))
        stage.wait(3.0)
        stage.origin.says(b"d")
        stage.wait(3.0)
        assert not client.is_gone
        stage.wait(3.0)
        assert client.is_aborted
        assert last(stage).error == errors.ReadTimeout.token
        assert client.all_heard().endswith(b"abcd")


def test_client_that_does_not_read() -> None:
    """A client that takes nothing for write_timeout is cut off; the origin isn't blamed."""
    with script(write_timeout=4.0) as stage:
        client = ask(stage)
        client.takes = False
        stage.origin.says(response(b"200 OK", b"Content-Length: 300000", body=b"x" * 100_000))
        stage.origin.says(b"x" * 100_000)
        stage.wait(6.0)
        assert client.is_aborted
        assert stage.origin.is_gone
        assert (last(stage).status, last(stage).error) == (200, errors.WriteTimeout.token)


# --- Clients that leave ---


def test_client_leaves_in_line() -> None:
    """A request in the queue goes with its client, and its turn to the next."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        first = ask(stage)
        leaver, third = stage.client(), stage.client()
        leaver.says(get(b"/2"))
        third.says(get(b"/3"))
        leaver.resets()
        assert (last(stage).status, last(stage).error) == (499, errors.ClientGone.token)
        stage.origin.says(OK)
        first.hears(OK_PASSED_ON)
        stage.origin.hears(passed_on(b"/3"))
        stage.origin.says(OK)
        third.hears(OK_PASSED_ON)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_client_leaves_during_the_exchange(said: bytes) -> None:
    """A client that leaves ends its exchange, and the connection that carried it."""
    with script() as stage:
        client = ask(stage)
        stage.origin.says(said)
        client.all_heard()
        client.resets()
        stage.turn()
        assert stage.origin.is_gone
        assert last(stage).error == errors.ClientGone.token


def test_client_leaves_while_dialling() -> None:
    """A dial is given up with its client."""
    with script() as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(get())
        client.resets()
        assert stage.dialler.waiting.pop().called
        assert last(stage).status == 499


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (errors.NameUnknown("no such name"), b"502"),
        (errors.ConnectRefused("refused"), b"502"),
        (errors.ConnectTimeout("no answer"), b"504"),
        (errors.DestinationDenied("not there"), b"403"),
    ],
)
def test_failed_dials(refusal: errors.ExchangeError, status: bytes) -> None:
    """A dial that fails is answered with its reason; the client may go on asking."""
    with script() as stage:
        stage.dialler.refusals = [refusal]
        client = stage.client()
        client.says(get())
        heard = client.all_heard()
        assert heard.startswith(b"HTTP/1.1 " + status)
        assert refusal.reason.encode("ascii") in heard
        assert last(stage).error == refusal.token
        client.says(get())
        stage.origin.hears(passed_on())


# --- Upgrades ---

OFFER = [b"Connection: Upgrade", b"Upgrade: websocket"]
SWITCHING = response(b"101 Switching Protocols", *OFFER)


def upgrade(stage: Stage, said: bytes = SWITCHING) -> MemoryTransport:
    """Let a client offer WebSocket, and the origin answer; return the client."""
    client = stage.client()
    client.says(get(b"/", *OFFER, b"Sec-WebSocket-Key: x"))
    stage.origin.hears(passed_on(b"/", b"Sec-WebSocket-Key: x", *OFFER))
    stage.origin.says(said)
    return client


def test_switch() -> None:
    """After a 101 bytes go both ways untouched, those behind its head first."""
    with script() as stage:
        client = upgrade(stage, SWITCHING + b"\x81\x02hi")
        client.hears(SWITCHING[:-2] + VIA + b"\r\n" + b"\x81\x02hi")
        client.says(b"\x81\x03yes")
        stage.origin.hears(b"\x81\x03yes")
        stage.origin.closes()
        stage.turn()
        assert client.is_gone
        assert (last(stage).status, last(stage).sent, last(stage).received) == (101, 4, 5)


def test_bytes_sent_before_the_switch() -> None:
    """What a hasty client sends behind its request goes out once the origin has switched."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/", *OFFER) + b"hasty")
        stage.origin.hears(passed_on(b"/", *OFFER))
        stage.origin.says(SWITCHING)
        stage.origin.hears(b"hasty")
        client.all_heard()


def test_no_switch() -> None:
    """An origin that doesn't want to switch just answers."""
    with script() as stage:
        client = upgrade(stage, OK)
        client.hears(OK_PASSED_ON)
        client.says(get())
        stage.origin.hears(passed_on())


def test_switched_connections_are_counted_and_never_kept() -> None:
    """A connection that was switched never comes back to the pool, however it ends."""
    with script() as stage:
        client = upgrade(stage)
        client.all_heard()
        client.resets()
        stage.turn()
        assert stage.origin.is_gone
        assert last(stage).status == 101
        warm_up(stage)
        assert len(stage.origins) == 2


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Upgrade: websocket"],
        [b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"],
        [b"Connection: Upgrade", b"Upgrade: TLS/1.3"],
    ],
)
def test_switch_that_nobody_offered(lines: list[bytes]) -> None:
    """An origin can't take a connection out of HTTP unless the client's offer went to it."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/", *lines))
        stage.origin.hears(passed_on())
        stage.origin.says(SWITCHING)
        stage.turn()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert stage.origin.is_gone


def test_switch_inside_the_request() -> None:
    """An origin can't switch before it has had the whole request."""
    with script() as stage:
        client = stage.client()
        client.says(request(b"POST", b"/", *OFFER, b"Content-Length: 9", body=b"abc"))
        stage.origin.all_heard()
        stage.origin.says(SWITCHING)
        stage.turn()
        assert client.all_heard().startswith(b"HTTP/1.1 502 ")
        assert stage.origin.is_gone


def test_http_1_0_cannot_switch() -> None:
    """An offer in HTTP/1.0 is ignored (RFC 9110 section 7.8)."""
    with script() as stage:
        stage.client().says(b"GET http://a/ HTTP/1.0\r\n" + b"\r\n".join([*OFFER, b"", b""]))
        assert b"Upgrade" not in stage.origin.all_heard()


# --- TLS for those who have none ---


def test_tls_upgrade() -> None:
    """The field asks for https: another origin, the same Host, and the log says which."""
    with script() as stage:
        stage.dialler.tls = "full"
        for _ in range(2):
            client = stage.client()
            client.says(get(b"/x", b"X-Real-Protocol: https"))
            stage.origin.hears(passed_on(b"/x"))
            stage.origin.says(OK)
            client.hears(OK_PASSED_ON)
        assert [str(asked.scheme) for asked in stage.dialler.asked] == ["https"]
        assert [record.tls for record in stage.records] == ["full", "warm"]
        assert {record.url for record in stage.records} == {b"https://a.example/x"}


def test_tls_upgrade_refused() -> None:
    """Who may not ask for it is told, and nothing is fetched."""
    with script(may_upgrade=False) as stage:
        client = stage.client()
        client.says(get(b"/", b"X-Real-Protocol: https"))
        assert client.all_heard().startswith(b"HTTP/1.1 403 ")
        assert stage.dialler.asked == []
