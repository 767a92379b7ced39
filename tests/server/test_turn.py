"""turn: judged, answered, and written down once, however it goes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from proxyapp import errors
from proxyapp.exchange import ANSWERED, Client, Reply, Request
from proxyapp.net.transport import Transport
from proxyapp.rules.challenges import NOBODY, Claim, Finding
from proxyapp.rules.question import Decision, Question, RuleLimits
from proxyapp.rules.record import Record
from proxyapp.server.admission import Admission
from proxyapp.server.doors import Door
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.target import Form, parse_target
from tests.conftest import LoggedErrors
from tests.server.conftest import CLIENT, NOW, Scene, hang_up

GET = b"GET http://h/a HTTP/1.1\r\nHost: h\r\nReferer: r\r\nUser-Agent: u\r\n\r\n"
OK = OutgoingResponse(200, b"OK", [])


# --- Who may ---


def test_denied(scene: Scene) -> None:
    """Whom the judge turns away gets 403, its responder isn't asked, and the rule is logged."""
    scene.is_allowed = False
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    assert wire.sent.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert wire.sent.endswith(b"\r\n\r\nnot you")
    assert scene.script.requests == []
    (record,) = scene.records
    assert (record.status, record.rule, record.reason) == (403, "the rule", "not you")


def test_refusals_of_others(scene: Scene) -> None:
    """Whoever refuses names the rule with the error, and the log has it."""
    scene.script.acts.append(raising(errors.DestinationDenied("r", rule="[access] destinations")))
    connection, _ = scene.connect()
    connection.dataReceived(GET)
    assert scene.records[0].rule == "[access] destinations"


@pytest.mark.parametrize(("is_allowed", "status"), [(False, b"403"), (True, b"502")])
def test_fields_of_every_error(scene: Scene, is_allowed: bool, status: bytes) -> None:
    """A door adds its fields to the page, whether its responder has failed or wasn't even asked."""
    added = [(b"X-Door", b"1")]
    scene.doors[Form.ABSOLUTE] = Door("fetch", scene.script, error_fields=lambda head: added)
    scene.is_allowed = is_allowed
    scene.script.acts.append(raising(errors.ConnectRefused("r")))
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    assert wire.sent.startswith(b"HTTP/1.1 " + status)
    assert wire.sent.count(b"\r\nX-Door: 1\r\n") == 1


# --- What is meant ---


def canonised(scene: Scene, canonical: Callable[[Request], Request]) -> None:
    """Let the door of absolute targets have *canonical*."""
    scene.doors[Form.ABSOLUTE] = Door("proxy", scene.script, canonical)


def test_what_is_meant_is_judged(scene: Scene) -> None:
    """The judge, the responder and the log get the canonical request; what was sent stays known."""
    asked: list[Question] = []

    class Witness:
        def judge(self, question: Question, minute: int) -> Decision:
            """See Judge."""
            asked.append(question)
            return Decision(True, "", "")

    admission = Admission(Witness(), None, False, lambda seconds: 0)
    scene.around = replace(scene.around, admission=admission)
    meant = parse_target(b"GET", b"https://meant/b")
    canonised(scene, lambda request: replace(request, target=meant))
    connection, wire = scene.connect()
    connection.dataReceived(GET + GET)
    assert {(question.host, question.port) for question in asked} == {("meant", 443)}
    assert wire.sent.count(b"\r\n\r\n/b") == 2
    assert [request.target for request in scene.script.requests] == [meant, meant]
    assert {record.url for record in scene.records} == {b"https://meant/b"}
    assert scene.records[0].asked.target == b"http://h/a"


def test_what_is_meant_already(scene: Scene) -> None:
    """A request that is canonical goes on, and its target is the URL."""
    canonised(scene, lambda request: request)
    connection, _ = scene.connect()
    connection.dataReceived(GET)
    assert (scene.records[0].status, scene.records[0].url) == (200, b"")


def test_what_means_nothing(scene: Scene) -> None:
    """Where it can't be told what is meant nobody is asked; the connection leads on."""

    def canonical(request: Request) -> Request:
        raise errors.BadRequest("what?")

    canonised(scene, canonical)
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    assert wire.take().startswith(b"HTTP/1.1 400 ")
    assert scene.script.requests == []
    canonised(scene, lambda request: request)
    connection.dataReceived(GET)
    assert wire.take().startswith(b"HTTP/1.1 200 ")
    assert scene.statuses == [400, 200]


# --- Who asks ---


class SlowUsers:
    """Users whose passwords take time; *answers* are fired by the test."""

    def __init__(self) -> None:
        self.answers: list[Deferred[Finding]] = []

    def at_once(self, claim: Claim) -> Finding | None:
        """See admission.Users."""
        return None

    async def check(self, claim: Claim) -> Finding:
        """See admission.Users."""
        self.answers.append(Deferred())
        return await self.answers[-1]

    def unauthorized(self, rule: str, is_stale: bool) -> errors.Refused:
        """See admission.Users."""
        raise AssertionError(rule)

    def proxy_authentication_required(self, rule: str, is_stale: bool) -> errors.Refused:
        """See admission.Users."""
        return errors.ProxyAuthenticationRequired("who?", ((b"Proxy-Authenticate", b"x"),), rule)


@pytest.fixture
def users(scene: Scene) -> SlowUsers:
    """Return the users of the scene, who have to prove that they are."""
    slow = SlowUsers()
    admission = Admission(scene, slow, True, lambda seconds: 0)
    scene.around = replace(scene.around, admission=admission)
    return slow


CONNECT = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"


@pytest.mark.parametrize("asked", [GET, CONNECT])
def test_who_asks_is_found_out_first(scene: Scene, users: SlowUsers, asked: bytes) -> None:
    """The responder isn't asked before; 407 has a body of known length, and leads on."""
    connection, wire = scene.connect()
    connection.dataReceived(asked)
    assert (wire.sent, scene.script.requests) == (b"", [])
    users.answers.pop().callback(NOBODY)
    refusal = wire.take()
    assert refusal.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b"\r\nProxy-Authenticate: x\r\nContent-Length: 4\r\n" in refusal
    assert b"Connection: close" not in refusal
    connection.dataReceived(asked)
    users.answers.pop().callback(Finding("ann"))
    assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")
    refused, admitted = scene.records
    assert (refused.status, refused.user, refused.rule) == (407, None, "[auth] required")
    assert (admitted.status, admitted.user, admitted.rule) == (200, "ann", "")


@pytest.mark.parametrize("early", [b"\x16\x03\x01", GET])
def test_a_refused_tunnel_with_bytes_behind(scene: Scene, users: SlowUsers, early: bytes) -> None:
    """What came along was meant for the tunnel: it is no request, and the connection closes."""
    connection, wire = scene.connect()
    connection.dataReceived(CONNECT + early)
    users.answers.pop().callback(NOBODY)
    assert b"\r\nConnection: close\r\n" in wire.sent
    assert wire.sent.count(b"HTTP/1.1 ") == 1
    assert not users.answers


def test_client_that_leaves_while_it_is_checked(scene: Scene, users: SlowUsers) -> None:
    """Nobody waits for what a user who has gone would have been told."""
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    hang_up(connection, wire)
    assert scene.statuses == [499]
    assert scene.script.requests == []


def test_users_that_cannot_be_asked(scene: Scene, users: SlowUsers) -> None:
    """What goes wrong there is an error like any other."""
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    users.answers.pop().errback(errors.TooManyRequests("later", ((b"Retry-After", b"2"),)))
    assert wire.sent.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 2\r\n" in wire.sent
    assert scene.script.requests == []


# --- What is found again ---


def test_the_page_has_the_id_of_the_line(scene: Scene) -> None:
    """Refused, failed, unreadable: the page is told the id that the log gets; answers need none."""
    scene.script.acts.append(raising(errors.ConnectRefused("r")))
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    connection.dataReceived(GET)
    assert wire.take().count(b"Request-Id: id0\r\n") == 1
    connection.dataReceived(b"what?\r\n\r\n")
    assert b"\r\nRequest-Id: id2\r\n" in wire.take()
    assert [record.request_id for record in scene.records] == ["id0", "", "id2"]


# --- How it goes wrong ---

ERRORS = [
    errors.BadRequest("r"),
    errors.MethodNotAllowed("r", ((b"Allow", b"GET"),)),
    errors.LoopDetected("r"),
    errors.Overloaded("r", ((b"Retry-After", b"1"),)),
    errors.ConnectRefused("r"),
    errors.ResponseTimeout("r"),
]


def raising(error: BaseException) -> Callable[[Request, Reply], Deferred[None]]:
    """Return an act that raises *error* before the answer has begun."""

    async def act(request: Request, reply: Reply) -> None:
        raise error

    return act  # type: ignore[return-value]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_become_pages(scene: Scene, error: errors.ExchangeError) -> None:
    """An error that comes before the answer is the answer, with the fields it brings."""
    connection, wire = scene.connect()
    scene.script.acts.append(raising(error))
    connection.dataReceived(GET)
    head, _, body = wire.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % error.status)
    for name, value in error.fields:
        assert b"\r\n%b: %b" % (name, value) in head
    assert body == b"r"
    (record,) = scene.records
    assert (record.status, record.error, record.reason) == (error.status, error.token, "r")
    connection.dataReceived(GET)
    assert wire.take().startswith(b"HTTP/1.1 200 "), "the connection goes on"


def test_our_own_mistakes(scene: Scene, logged_errors: LoggedErrors) -> None:
    """An exception that nobody foresaw is 500, logged as an event, and never shown."""
    connection, wire = scene.connect()
    scene.script.acts.append(raising(RuntimeError("secret")))
    connection.dataReceived(GET)
    assert wire.sent.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"secret" not in wire.sent
    assert len(logged_errors.flush(RuntimeError)) == 1
    (record,) = scene.records
    assert (record.status, record.error) == (500, "proxy_internal_error")
    assert "secret" not in record.reason


def begun(error: BaseException) -> Callable[[Request, Reply], Deferred[None]]:
    """Return an act that raises *error* inside the body of its answer."""

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, Framing(Kind.CHUNKED))
        sink.write(b"some")
        sink.flush()
        raise error

    return act  # type: ignore[return-value]


class AtOnce:
    """Answers, or raises *error*, without a coroutine."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def respond(self, request: Request, reply: Reply) -> Coroutine[object, object, None]:
        if self._error is not None:
            raise self._error
        reply.answer(OK, b"at once")
        return ANSWERED


def test_answered_at_once(scene: Scene) -> None:
    """Who has nothing to wait for answers like all others."""
    scene.doors[Form.ABSOLUTE] = Door("proxy", AtOnce(None))
    connection, wire = scene.connect()
    connection.dataReceived(GET * 3)
    assert wire.sent.count(b"\r\n\r\nat once") == 3
    assert (scene.statuses, scene.records[0].sent) == ([200] * 3, 7)


def test_failed_at_once(scene: Scene, logged_errors: LoggedErrors) -> None:
    """An error before there is a coroutine ends in a page, too, be it foreseen or not."""
    connection, wire = scene.connect()
    for error, status in ((errors.NotStored("r"), 504), (RuntimeError("secret"), 500)):
        scene.doors[Form.ABSOLUTE] = Door("proxy", AtOnce(error))
        connection.dataReceived(GET)
        assert wire.take().startswith(b"HTTP/1.1 %d " % status)
    assert len(logged_errors.flush(RuntimeError)) == 1
    assert scene.statuses == [504, 500]


@pytest.mark.parametrize("error", [errors.ResponseIncomplete("r"), errors.ReadTimeout("r")])
def test_errors_inside_an_answer(scene: Scene, error: errors.ExchangeError) -> None:
    """What has begun can't be taken back: the connection is cut, and the log knows why."""
    connection, wire = scene.connect()
    scene.script.acts.append(begun(error))
    connection.dataReceived(GET)
    assert wire.sent.count(b"HTTP/1.1") == 1
    assert wire.ending == "aborted"
    (record,) = scene.records
    assert (record.status, record.error, record.sent) == (200, error.token, 4)


def test_mistake_inside_an_answer(scene: Scene, logged_errors: LoggedErrors) -> None:
    """That holds for our own mistakes, too."""
    connection, wire = scene.connect()
    scene.script.acts.append(begun(RuntimeError()))
    connection.dataReceived(GET)
    assert wire.ending == "aborted"
    assert len(logged_errors.flush(RuntimeError)) == 1
    assert scene.statuses == [200]


@pytest.mark.parametrize(("act", "status"), [(raising, 499), (begun, 200)])
def test_client_gone(
    scene: Scene, act: Callable[[BaseException], Callable[..., Deferred[None]]], status: int
) -> None:
    """Nobody is told that the client has left, but for the log."""
    connection, wire = scene.connect()
    scene.script.acts.append(act(errors.WriteTimeout("r")))
    connection.dataReceived(GET)
    assert wire.ending == "aborted"
    (record,) = scene.records
    assert (record.status, record.error) == (status, "connection_write_timeout")


def test_client_that_leaves_meanwhile(scene: Scene) -> None:
    """What runs for a client that has left is cancelled; its connection isn't cut once more."""
    cancelled: list[bool] = []
    waiting: Deferred[None] = Deferred(lambda _: cancelled.append(True))

    async def act(request: Request, reply: Reply) -> None:
        await waiting

    scene.script.acts.append(act)
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    hang_up(connection, wire)
    assert cancelled == [True]
    assert scene.statuses == [499]
    assert not wire.ending


# --- What is written down ---


def test_record(scene: Scene) -> None:
    """A record holds who asked for what, when, for how long, and how much went either way."""

    async def act(request: Request, reply: Reply) -> None:
        scene.now += 1.5
        reply.answer(OK, b"12345")

    scene.script.acts.append(act)
    connection, _ = scene.connect()
    connection.dataReceived(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nab"))
    (record,) = scene.records
    assert Client(record.client_host, record.client_port) == CLIENT
    assert (record.started, record.duration) == (NOW, 1.5)
    asked = record.asked
    assert (record.service, asked.method, asked.target) == ("proxy", b"GET", b"http://h/a")
    assert (asked.fields.get(b"referer"), asked.fields.get(b"user-agent")) == (b"r", b"u")
    assert (record.status, record.sent, record.received) == (200, 5, 2)
    assert (record.error, record.reason) == ("", "")


def test_clock_that_is_set_back(scene: Scene) -> None:
    """No exchange takes less than no time."""

    async def act(request: Request, reply: Reply) -> None:
        scene.now -= 3600
        reply.answer(OK, b"")

    scene.script.acts.append(act)
    connection, _ = scene.connect()
    connection.dataReceived(GET)
    assert scene.records[0].duration == 0


# --- What can't be read ---

UNREADABLE = [
    (b"\0\r\n\r\n", b"", b""),
    (b"GET / HTTP/1.1\r\n\r\n", b"GET", b"/"),
    (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET", b""),
    (b"GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", b"", b"/"),
    (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", b"GET", b"/\xff"),
    (b"GET /long HTTP/1.1\r\nA: " + b"a" * 1000, b"GET", b"/long"),
    (b"GET /" + b"a" * 1000, b"", b""),
]


@pytest.mark.parametrize(("sent", "method", "target"), UNREADABLE)
def test_refusals(scene: Scene, sent: bytes, method: bytes, target: bytes) -> None:
    """A record of what can't be read holds of it what can be told, if it's safe."""
    connection, wire = scene.connect()
    connection.dataReceived(sent)
    (record,) = scene.records
    assert (record.asked.method, record.asked.target) == (method, target)
    assert Client(record.client_host, record.client_port) == CLIENT
    assert (record.service, record.started) == ("-", NOW)
    assert record.reason.encode() in wire.sent
    assert b"\r\nConnection: close\r\n" in wire.sent


@pytest.mark.parametrize(
    "spelled", [b"Accept: text/html", b"accept:text/html", b"ACCEPT:\ttext/html"]
)
def test_refusals_know_the_form_that_is_wanted(scene: Scene, spelled: bytes) -> None:
    """A browser that sends something broken gets a page that it can show."""
    connection, wire = scene.connect()
    connection.dataReceived(b"GET http://h/ HTTP/1.1\r\nHost: other\r\n" + spelled + b"\r\n\r\n")
    assert b"\r\nContent-Type: text/html\r\n" in wire.sent


# --- What may be taken ---


class OnePermit:
    """A limiter, and the permit that it gives."""

    def __init__(self) -> None:
        self.refusal: errors.ExchangeError | None = None
        self.said: list[str] = []
        self.exhaust: Callable[[errors.ExchangeError], None] = lambda error: None

    def admit(self, question: Question, decision: Decision) -> OnePermit:
        """See doors.Limiter."""
        assert question.client == CLIENT.host
        assert decision.limits is not None
        if self.refusal is not None:
            raise self.refusal
        return self

    def begin(
        self,
        transport: Transport,
        arrived: int,
        on_exhausted: Callable[[errors.ExchangeError], None],
    ) -> None:
        """See doors.Permit."""
        self.said.append(f"begun with {arrived}")
        self.exhaust = on_exhausted

    def finish(self, record: Record, is_cut: bool = False) -> None:
        """See doors.Permit."""
        self.said.append(f"finished with {record.received}")


class Limited:
    """A judge whose every decision has limits."""

    def judge(self, question: Question, minute: int) -> Decision:
        """See admission.Judge."""
        return Decision(True, "[rule few]", "", limits=RuleLimits("few", 1))


@pytest.fixture
def permit(scene: Scene) -> OnePermit:
    """Return the one permit of the scene."""
    found = OnePermit()
    admission = Admission(Limited(), None, False, lambda seconds: 0)
    scene.around = replace(scene.around, admission=admission, limiter=found)
    return found


def test_permit(scene: Scene, permit: OnePermit) -> None:
    """An exchange with limits has a permit from its beginning to its end."""
    connection, wire = scene.connect()
    connection.dataReceived(b"POST http://h/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
    assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert permit.said == ["begun with 2", "finished with 2"]
    connection.dataReceived(GET)
    assert permit.said[2:] == ["begun with 0", "finished with 0"]


def test_too_many(scene: Scene, permit: OnePermit) -> None:
    """Without a permit the responder isn't asked, and the connection goes on."""
    retry = (b"Retry-After", b"7")
    permit.refusal = errors.TooManyRequests("too many", (retry,), "[rule few]")
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    assert wire.sent.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 7\r\n" in wire.take()
    assert scene.script.requests == []
    assert (scene.records[0].status, scene.records[0].rule) == (429, "[rule few]")
    permit.refusal = None
    connection.dataReceived(GET)
    assert wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert permit.said == ["begun with 0", "finished with 0"]


@pytest.mark.parametrize("has_begun", [False, True])
def test_exhausted(scene: Scene, permit: OnePermit, has_begun: bool) -> None:
    """What runs when a quota is used up is ended: by a page, or a cut if it's too late for that."""

    async def act(request: Request, reply: Reply) -> None:
        if has_begun:
            reply.begin(OK, Framing(Kind.LENGTH, 10)).flush()
        await Deferred()

    scene.script.acts.append(act)
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    permit.exhaust(errors.QuotaExhausted("used up", rule="[rule few]"))
    (record,) = scene.records
    assert (record.error, record.reason) == ("http_request_denied", "used up")
    assert record.rule == "[rule few]"
    assert record.status == (200 if has_begun else 429)
    assert wire.ending == ("aborted" if has_begun else "")
    assert permit.said == ["begun with 0", "finished with 0"]


def test_exhausted_at_the_end(scene: Scene, permit: OnePermit) -> None:
    """An exchange that came to its end before it heard of it was a whole one."""
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    permit.exhaust(errors.QuotaExhausted("used up"))
    assert scene.statuses == [200]
    assert wire.ending == ""


def test_client_that_leaves_finishes_its_permit(scene: Scene, permit: OnePermit) -> None:
    """Whatever ends an exchange, its permit hears of it."""

    async def act(request: Request, reply: Reply) -> None:
        await Deferred()

    scene.script.acts.append(act)
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    hang_up(connection, wire)
    assert scene.statuses == [499]
    assert permit.said == ["begun with 0", "finished with 0"]
