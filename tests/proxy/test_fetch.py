"""Promises of proxyapp.proxy.fetch: who is asked for what, and what of the answer gets out.

The chain is played here: each of its scenes answers one request, as the pool or the cache would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.net.task import Task
from proxyapp.proxy.fetch import FetchOptions, FetchProxy, Guards, Permit, Terms
from proxyapp.proxy.fetchreply import DISCARD_SECONDS, MOST_DISCARDED, Measured
from proxyapp.rules.domains import Domains
from proxyapp.rules.fetch import FetchRules
from proxyapp.rules.fetchfields import SAFETY, CrossOrigin
from proxyapp.rules.question import Decision, Question, RuleLimits
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire.framing import CHUNKED, NO_BODY, Framing, Kind
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import OutgoingResponse
from tests.support import MemoryTransport, RecordedReply, request_of

Scene = Callable[[Request, Reply], Awaitable[None]]
OK = OutgoingResponse(200, b"OK", [], [b"Content-Type: a/b", b"Set-Cookie: x=y"])
CORS = {b"Access-Control-Allow-Origin": b"*"}
TRAILERS = Fields([(b"Set-Cookie", b"a=b")])


def moved(location: bytes, status: int = 302) -> OutgoingResponse:
    """Return the head of a redirect."""
    return OutgoingResponse(status, b"", [], [b"Location: " + location])


def passing(head: OutgoingResponse, body: bytes = b"") -> Scene:
    """Answer with *head* and *body*, all at once."""

    async def scene(request: Request, reply: Reply) -> None:
        reply.pass_on(head, body)

    return scene


class CountedPermit:
    """A permit that knows whether it was let go."""

    def __init__(self) -> None:
        self.is_finished = False

    def finish(self, record: Record) -> None:
        """See Permit."""
        self.is_finished = True


class Play:
    """A FetchProxy before *scenes*, and what it came to."""

    def __init__(self, *scenes: Scene, max_size: int = 0, cors: bytes = b"*") -> None:
        self.clock = Clock()
        self.scenes = list(scenes)
        self.asked: list[Request] = []
        self.questions: list[Question] = []
        self.decisions: dict[str, Decision] = {}
        self.permits: list[CountedPermit] = []
        types = frozenset((b"text/plain",))
        denied, secured = Domains([b"denied.test"]), Domains([b"tls.test"])
        rules = FetchRules(Domains([b"*"]), denied, None, 3600.0, types, b"", secured)
        terms = Terms(rules, CrossOrigin(frozenset((cors,) if cors else ())), max_size)
        guards = Guards(self._judge, self._admit)
        self.fetch = FetchProxy(self, terms, guards, self.clock, lambda: 0.0)
        self.reply = RecordedReply(MemoryTransport(self.clock))
        self.task: Task | None = None
        self.ends: list[Exception | None] = []

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        self.asked.append(request)
        await self.scenes.pop(0)(request, reply)

    def _judge(self, question: Question) -> Decision:
        self.questions.append(question)
        return self.decisions.get(question.host, Decision(True, "", ""))

    def _admit(self, question: Question, decision: Decision) -> Permit | None:
        self.permits.append(CountedPermit())
        return self.permits[-1]

    def ask(
        self,
        query: bytes = b"url=http://a.test/x",
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
    ) -> Exception | None:
        """Ask for *query*; return the error that it ended with, if it has."""
        request = request_of(method, b"/fetch?" + query, list(fields))
        try:
            request = self.fetch.canonical(request)
        except errors.ExchangeError as error:
            return error
        self.task = Task(self.fetch.respond(request, self.reply), self.ends.append)
        self.task.resume()
        return self.ends[0] if self.ends else None

    def field(self, name: bytes) -> bytes | None:
        """Return the value of a field that the client got."""
        assert self.reply.head is not None
        return dict(self.reply.head.fields).get(name)


@pytest.fixture(autouse=True)
def _reply_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recorded reply take whole answers of others as it takes ours."""

    async def pieces(
        self: RecordedReply,
        head: OutgoingResponse,
        file: object,
        pieces: object,
        is_ours: bool = True,
    ) -> None:
        assert not is_ours
        self.answer(head, b"pieces")

    monkeypatch.setattr(RecordedReply, "pass_on", RecordedReply.answer, raising=False)
    monkeypatch.setattr(RecordedReply, "answer_pieces", pieces)


# --- There ---


def test_there_and_back() -> None:
    """The chain is asked for the URL, as nobody, and the answer comes back without its traps."""
    play = Play(passing(OK, b"hi"))
    play.reply.record.user = "ann"
    secrets = [(b"Cookie", b"a=b"), (b"Authorization", b"x"), (b"Accept", b"c/d")]
    assert play.ask(b"url=https://A.test/x?y=%26&cache=2", *secrets) is None
    (inner,) = play.asked
    assert inner.head.target == b"https://A.test/x?y=&"
    assert (inner.target.origin, inner.target.path) == (("https", "a.test", 443), b"/x?y=&")
    assert (list(inner.head.fields), inner.ttl) == ([(b"Accept", b"c/d")], 120.0)
    assert inner.framing is NO_BODY
    assert play.questions == [Question("fetch", "192.0.2.1", "ann", b"GET", "a.test", 443)]
    assert play.reply.head is not None
    assert list(play.reply.head.lines) == [b"Content-Type: a/b"]
    assert set(SAFETY) <= set(play.reply.head.fields)
    assert play.field(b"Cache-Control") == b"public, max-age=120"
    assert (play.reply.body, play.reply.record.url) == (b"hi", b"https://A.test/x?y=&")


def test_canonical() -> None:
    """What is judged is what is fetched, and the request stays the client's."""
    play = Play()
    request = request_of(target=b"/fetch?url=http://a.test:81/x")
    meant = play.fetch.canonical(request)
    assert (meant.target.origin, meant.head) == (("http", "a.test", 81), request.head)


def test_hosts_that_are_never_asked_without_tls() -> None:
    """They are judged and asked by https, and so are redirects to them."""
    play = Play(passing(moved(b"http://tls.test/y")), passing(OK))
    assert play.ask(b"url=http://TLS.test/x") is None
    assert [inner.target.url for inner in play.asked] == [
        b"https://tls.test/x",
        b"https://tls.test/y",
    ]
    assert {(each.host, each.port) for each in play.questions} == {("tls.test", 443)}


@pytest.mark.parametrize("query", [b"cache=1", b"url=ftp://a/", b"url=http://a/&type=x", b"x=1"])
def test_what_cannot_be_read(query: bytes) -> None:
    """A mistake is told before anybody is asked."""
    assert isinstance(Play().ask(query), errors.BadRequest)


def test_who_may_read_errors() -> None:
    """Pages of other sites, where they may read what is fetched; whoever has refused or failed."""
    head = request_of().head
    assert CORS.items() <= dict(Play().fetch.error_fields(head)).items()
    assert Play(cors=b"").fetch.error_fields(head) == []


@pytest.mark.parametrize(
    ("query", "rule"),
    [(b"url=http://denied.test/", "[fetch] deny"), (b"url=http://a/&type=a/b", "[fetch] types")],
)
def test_what_is_not_allowed(query: bytes, rule: str) -> None:
    """What the ini forbids isn't asked for."""
    play = Play()
    error = play.ask(query)
    assert isinstance(error, errors.AccessDenied)
    assert error.rule == rule


def test_methods() -> None:
    """Nothing can be sent through, and a HEAD stays one."""
    play = Play(passing(OK))
    error = play.ask(method=b"POST")
    assert isinstance(error, errors.MethodNotAllowed)
    assert (b"Allow", b"GET, HEAD, OPTIONS") in error.fields
    play.ends.clear()
    assert play.ask(method=b"HEAD") is None
    assert play.asked[0].head.method == b"HEAD"


def test_service_workers() -> None:
    """No script of another site is installed for ours."""
    assert isinstance(Play().ask(b"url=http://a/", (b"Service-Worker", b"script")), errors.Refused)


def test_failures_of_the_chain() -> None:
    """What fails in it is told as it is."""

    async def failing(request: Request, reply: Reply) -> None:
        raise errors.ConnectRefused("nobody there")

    assert isinstance(Play(failing).ask(), errors.ConnectRefused)


# --- Redirects ---


def test_redirects_are_followed() -> None:
    """The client gets what is at the end, and each step is judged and asked for like the first."""
    play = Play(
        passing(moved(b"https://b.test/y"), b"over there"),
        passing(moved(b"z", 308)),
        passing(OK, b"hi"),
    )
    assert play.ask(b"url=http://a.test/x&cache=1", (b"Range", b"bytes=1-")) is None
    urls = [b"http://a.test/x", b"https://b.test/y", b"https://b.test/z"]
    assert [request.head.target for request in play.asked] == urls
    assert {tuple(request.head.fields) for request in play.asked} == {((b"Range", b"bytes=1-"),)}
    assert {request.ttl for request in play.asked} == {60.0}
    assert [question.host for question in play.questions] == ["a.test", "b.test", "b.test"]
    assert (play.reply.body, play.reply.record.url) == (b"hi", urls[-1])


def test_redirects_end() -> None:
    """Five are enough for everybody."""
    play = Play(*[passing(moved(b"/%d" % number)) for number in range(6)], passing(OK))
    error = play.ask()
    assert isinstance(error, errors.BadResponse)
    assert "more than 5" in error.reason
    assert (len(play.asked), play.reply.head) == (6, None)
    play = Play(*[passing(moved(b"/%d" % number)) for number in range(5)], passing(OK))
    assert play.ask() is None


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        (b"http://denied.test/", errors.AccessDenied),
        (b"http://judged.test/", errors.AccessDenied),
        (b"ftp://a.test/", errors.BadResponse),
        (b"http://u:p@a.test/", errors.BadResponse),
    ],
)
def test_redirects_to_where_nobody_may_go(location: bytes, kind: type[Exception]) -> None:
    """A redirect opens no door that is closed to who asks."""
    play = Play(passing(moved(location)))
    play.decisions["judged.test"] = Decision(False, "[rule x]", "not there", "Please ask.")
    error = play.ask()
    assert type(error) is kind
    assert isinstance(error, errors.ExchangeError)
    if isinstance(error, errors.AccessDenied) and error.rule == "[rule x]":
        assert (error.reason, error.message) == ("not there", "Please ask.")
    assert len(play.asked) == 1


def test_limits_of_redirects() -> None:
    """Another rule's limits are kept to, once; those of the first the server keeps."""
    scenes = [passing(moved(b"http://%b/" % host)) for host in (b"b.test", b"c.test", b"a.test")]
    play = Play(*scenes, passing(OK))
    for host, name in (("a.test", "one"), ("b.test", "two"), ("c.test", "two")):
        play.decisions[host] = Decision(True, "", "", limits=RuleLimits(name), reported="[rule r]")
    assert play.ask() is None
    assert [permit.is_finished for permit in play.permits] == [True]
    assert play.reply.record.reported == "[rule r]"


class Streamed:
    """A scene that begins a body, and goes on when it is told."""

    def __init__(self, head: OutgoingResponse, how: Framing = CHUNKED) -> None:
        self.head = head
        self.how = how
        self.go_on: Deferred[bytes] = Deferred()
        self.ended = ""

    async def __call__(self, request: Request, reply: Reply) -> None:
        try:
            sink = reply.begin(self.head, self.how)
            assert reply.has_begun
            sink.write(b"begun")
            sink.flush()
            sink.transport.registerProducer(self, True)
            sink.write(await self.go_on)
            sink.transport.unregisterProducer()
            sink.passed(0)
            sink.finish(TRAILERS)
            self.ended = "done"
        except CancelledError:
            self.ended = "cancelled"
            raise

    def stopProducing(self) -> None:
        """See IPushProducer."""


def test_a_redirect_s_body_is_read() -> None:
    """A short one is read to its end, so that its connection can be used again."""
    scene = Streamed(moved(b"/y"))
    play = Play(scene, passing(OK))
    play.ask()
    scene.go_on.callback(b"x" * (MOST_DISCARDED - 5))
    assert (scene.ended, play.ends, play.reply.body) == ("done", [None], b"")
    assert not play.clock.getDelayedCalls()


@pytest.mark.parametrize("is_long", [False, True])
def test_a_redirect_s_body_that_takes_long(is_long: bool) -> None:
    """Nobody waits for a long or slow one."""
    scene = Streamed(moved(b"/y"))
    play = Play(scene, passing(OK))
    play.ask()
    if is_long:
        play.clock.callLater(0, scene.go_on.callback, b"x" * MOST_DISCARDED)
        play.clock.advance(0)
        assert scene.ended == "done"
    play.clock.advance(DISCARD_SECONDS)
    assert scene.ended == ("done" if is_long else "cancelled")
    assert play.ends == [None]
    assert not play.clock.getDelayedCalls()


# --- How it comes back ---


def test_streams() -> None:
    """Each piece goes on as it comes, without trailers that nobody has looked at."""
    scene = Streamed(OK)
    play = Play(scene)
    play.ask()
    assert (play.reply.body, play.reply.flushes, play.ends) == (b"begun", 1, [])
    scene.go_on.callback(b" and done")
    assert (play.reply.body, play.ends) == (b"begun and done", [None])
    assert play.reply.trailers is not None
    assert not len(play.reply.trailers)


def test_known_lengths_pass_the_kernel() -> None:
    """A body of known length goes straight to the client, where it may be spliced."""
    seen: list[object] = []

    async def scene(request: Request, reply: Reply) -> None:
        seen.append(reply.begin(OK, Framing(Kind.LENGTH, 5)))

    play = Play(scene, max_size=5)
    assert play.ask() is None
    assert seen == [play.reply]


@pytest.mark.parametrize("way", ["begin", "pass_on", "answer", "pieces"])
def test_too_long_from_the_start(way: str) -> None:
    """What says that it is too long isn't begun."""

    async def scene(request: Request, reply: Reply) -> None:
        if way == "begin":
            reply.begin(OK, Framing(Kind.LENGTH, 6))
        elif way == "pieces":
            pieces = [b"abc", ByteRange(0, 3)]
            await reply.answer_pieces(OK, FILE, pieces, is_ours=False)
        else:
            getattr(reply, way)(OK, b"abcdef")

    play = Play(scene, max_size=5)
    assert isinstance(play.ask(), errors.BodyTooLarge)
    assert play.reply.head is None


class NoFile:
    """A file that nobody opens."""

    descriptor = -1

    @property
    def status(self) -> None:
        raise AssertionError


FILE = NoFile()


def test_pieces_of_the_cache() -> None:
    """What the cache has on disk is sent from there."""

    async def scene(request: Request, reply: Reply) -> None:
        await reply.answer_pieces(OK, FILE, [ByteRange(0, 5)], is_ours=False)

    play = Play(scene, max_size=5)
    assert play.ask() is None
    assert play.reply.body == b"pieces"
    assert play.field(b"X-Content-Type-Options") == b"nosniff"


def test_too_long_at_last() -> None:
    """What grows too long is cut, and the client never gets more than it may."""
    scene = Streamed(OK)
    play = Play(scene, max_size=8)
    play.ask()
    scene.go_on.callback(b"more")
    assert play.reply.body == b"begun"
    play.clock.advance(0)
    (error,) = play.ends
    assert isinstance(error, errors.BodyTooLarge)
    assert (scene.ended, play.reply.trailers) == ("done", None)


def test_the_client_leaves() -> None:
    """Nobody goes on fetching for who has left."""
    scene = Streamed(OK)
    play = Play(scene)
    play.ask()
    assert play.task is not None
    play.task.cancel()
    assert scene.ended == "cancelled"
    assert [type(end) for end in play.ends] == [CancelledError]


def test_measured_has_the_sink_s_ways() -> None:
    """It stalls as the client's connection does, and passes no byte uncounted."""
    sinks: list[object] = []

    async def scene(request: Request, reply: Reply) -> None:
        sinks.append(reply.begin(OK, CHUNKED))

    play = Play(scene)
    play.ask()
    (sink,) = sinks
    assert isinstance(sink, Measured)
    assert (sink.is_raw, sink.stall_timeout) == (False, play.reply.stall_timeout)
    assert sink.transport is play.reply.transport
    assert isinstance(sink.stalled(), errors.WriteTimeout)


def test_hints_and_switches() -> None:
    """What an origin says beside its answer isn't for the client; no other protocol is spoken."""

    async def scene(request: Request, reply: Reply) -> None:
        assert (reply.local_host, reply.local_port) == ("192.0.2.254", 3128)
        reply.interim(OutgoingResponse(103, b"", [(b"Link", b"</x>")]))
        reply.take_over(OutgoingResponse(101, b"", []), RECEIVER)

    play = Play(scene)
    assert isinstance(play.ask(), errors.BadResponse)
    assert play.reply.interims == []


class NoReceiver:
    """Takes over nothing."""

    def received(self, data: bytes) -> None: ...

    def input_ended(self) -> None: ...

    def lost(self, is_clean: bool) -> None: ...


RECEIVER = NoReceiver()


# --- OPTIONS ---


@pytest.mark.parametrize(
    ("cors", "origin", "is_allowed"),
    [
        (b"*", b"https://x.test", True),
        (b"https://x.test", b"https://x.test", True),
        (b"https://x.test", b"https://y.test", False),
        (b"", b"https://x.test", False),
    ],
)
def test_preflight(cors: bytes, origin: bytes, is_allowed: bool) -> None:
    """A browser learns beforehand whether a page may ask, and with which fields."""
    given: RawFields = [(b"Origin", origin), (b"Access-Control-Request-Headers", b"range")]
    request = request_of(b"OPTIONS", b"/fetch", given)
    reply = RecordedReply(MemoryTransport(Clock()))
    options = FetchOptions(CrossOrigin(frozenset((cors,) if cors else ())))
    ends: list[Exception | None] = []
    Task(options.respond(request, reply), ends.append).resume()
    assert ends == [None]
    assert reply.head is not None
    fields = dict(reply.head.fields)
    assert (reply.head.status, fields[b"Allow"]) == (204, b"GET, HEAD, OPTIONS")
    assert (b"Access-Control-Allow-Headers" in fields) is is_allowed
