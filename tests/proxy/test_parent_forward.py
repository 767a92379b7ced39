"""Forwarding to parents, in memory: absolute URLs, one pool, and the next where one fails."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.net.parents import ParentLost, Parents
from proxyapp.net.task import Task, Wakeup
from proxyapp.net.timers import Sweep
from proxyapp.proxy.byparent import LoopCheck, ParentConnections, ParentForward
from proxyapp.proxy.forward import ForwardProxyResource
from proxyapp.proxy.pool import Dials, HTTPConnectionPool
from proxyapp.proxy.upstream import Upstream
from proxyapp.rules import hops
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.parents import DirectHosts, Parent, Ways
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.target import Origin
from tests.support import (
    HEAD,
    POOL,
    TIMEOUTS,
    TUNNELS,
    MemoryDialler,
    MemorySource,
    MemoryTransport,
    RecordedReply,
    connect,
    request_of,
)
from tests.support import Witness as Idle

ONE = Parent("http", "one.example", 3128, b"Basic c2VjcmV0")
TWO = Parent("http", "two.example", 3128)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Direct:
    """The responder of what goes to no parent."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        self.asked.append(request)


def run(
    responder: Responder, request: Request, reply: RecordedReply, ends: list[Exception | None]
) -> None:
    """Let *responder* begin as the server does."""
    work = responder.respond(request, cast(Reply, reply))
    Task(cast(Coroutine[Wakeup, None, None], work), ends.append).resume()


class Play:
    """A forwarder before two parents, whose far ends are the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.dialler = MemoryDialler(self.clock)
        self.pool = HTTPConnectionPool(
            cast(Dials, self.dialler), self.sweep, POOL, self._make_upstream
        )
        self.knocked: list[Parent] = []
        self.parents = Parents((ONE, TWO), self.clock, self._knock)
        self.direct = Direct()
        hop = hops.hop(b"px", Forwarding.OFF, b"")
        forwards = {
            parent: ForwardProxyResource(
                ParentConnections(self.pool, parent),
                replace(hop, credentials=parent.lines),
                1,
                self.sweep,
                TUNNELS,
            )
            for parent in (ONE, TWO)
        }
        ways = Ways((ONE, TWO), DirectHosts((".corp.example",)))
        self.forward = ParentForward(self.direct, ways, self.parents, forwards, self._judge)
        self.outcomes: list[Exception | None] = []

    def _make_upstream(self, pool: HTTPConnectionPool, origin: Origin) -> Upstream:
        return Upstream(origin, pool, self.sweep, TIMEOUTS, HEAD)

    def _knock(self, parent: Parent) -> Deferred[None]:
        self.knocked.append(parent)
        return succeed(None)

    def _judge(self, host: str, port: int) -> None:
        if host == "denied.example":
            raise errors.DestinationDenied("no")

    def ask(self, request: Request) -> RecordedReply:
        """Begin to forward *request*."""
        reply = RecordedReply(connect(self.clock, Idle()))
        run(self.forward, request, reply, self.outcomes)
        return reply

    @property
    def far(self) -> MemoryTransport:
        """The parent's end of the connection that was dialled last."""
        return self.dialler.connections[-1]

    @property
    def hosts(self) -> list[str]:
        """Who was dialled."""
        return [origin.host for origin in self.dialler.asked]

    def turn(self) -> None:
        for _ in range(4):
            self.clock.advance(0)


@contextmanager
def play() -> Iterator[Play]:
    """Yield a play; nothing of it is left at its end."""
    stage = Play()
    yield stage
    stage.parents.stop()
    stage.pool.closeCachedConnections()
    for transport in stage.dialler.connections:
        transport.resets()
    stage.turn()
    assert repr(stage.pool) == "<HTTPConnectionPool 0 open, 0 idle>"
    stage.sweep.stop()
    assert not stage.clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("method", "target", "line"),
    [
        (b"GET", b"http://A.example:80/x?y=1", b"GET http://a.example/x?y=1 HTTP/1.1"),
        (b"GET", b"http://a.example", b"GET http://a.example/ HTTP/1.1"),
        (b"GET", b"http://a.example:8080/", b"GET http://a.example:8080/ HTTP/1.1"),
        (b"HEAD", b"http://[FD00::1]/", b"HEAD http://[fd00::1]/ HTTP/1.1"),
        (b"OPTIONS", b"http://a.example", b"OPTIONS http://a.example HTTP/1.1"),
    ],
)
def test_the_whole_url_goes_on(method: bytes, target: bytes, line: bytes) -> None:
    """A parent gets absolute-form, in one spelling, and the line that is for it alone."""
    with play() as stage:
        stage.ask(request_of(method, target, [(b"Proxy-Authorization", b"Basic theirs")]))
        heard = stage.far.all_heard()
        assert heard.startswith(line + b"\r\nHost: ")
        assert heard.endswith(b"\r\nVia: 1.1 px\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n")
        assert b"theirs" not in heard


def test_what_is_not_for_parents() -> None:
    """https and direct hosts go on as they came, whatever parents there are."""
    with play() as stage:
        given = [
            request_of(b"GET", b"https://a.example/"),
            request_of(b"GET", b"http://x.corp.example/"),
        ]
        for request in given:
            stage.ask(request)
        assert stage.direct.asked == given
        assert stage.outcomes == [None, None]
        assert not stage.hosts


def test_what_may_not_be_asked_for() -> None:
    """The judge is asked for each request, for connections are shared by all origins."""
    with play() as stage:
        stage.ask(request_of(b"GET", b"http://denied.example/"))
        assert isinstance(stage.outcomes[0], errors.DestinationDenied)
        assert not stage.hosts


def test_origins_share_connections() -> None:
    """One connection to the parent carries requests for whatever origin, one after the other."""
    with play() as stage:
        for number in range(3):
            stage.ask(request_of(b"HEAD", b"http://h%d.example/" % number))
            assert b"HEAD http://h%d.example/ " % number in stage.far.all_heard()
            stage.far.says(b"HTTP/1.1 204 No Content\r\n\r\n")
            stage.turn()
        assert stage.outcomes == [None] * 3
        assert len(stage.hosts) == 1
        assert stage.pool.counters.reused == 2


def test_a_parent_that_is_lost() -> None:
    """The next one gets the request, its body too, for none of it had been sent."""
    with play() as stage:
        stage.dialler.refusals = [ParentLost("one can't be asked")]
        how = Framing(Kind.LENGTH, 4)
        source = MemorySource(connect(stage.clock, Idle()), stage.sweep)
        request = request_of(b"POST", b"http://a.example/", how=how, source=source)
        stage.ask(request)
        request.body.push(b"data")
        stage.turn()
        heard = stage.far.all_heard()
        assert heard.endswith(b"\r\n\r\ndata")
        assert b"Proxy-Authorization" not in heard
        assert stage.hosts == ["one.example", "two.example"]
        stage.far.says(b"HTTP/1.1 204 No Content\r\n\r\n")
        stage.turn()
        assert stage.outcomes == [None]


def test_all_parents_are_lost() -> None:
    """Each was tried once, and the client hears of the first."""
    with play() as stage:
        stage.dialler.refusals = [ParentLost("one can't be asked"), ParentLost("two can't")]
        stage.ask(request_of(b"GET", b"http://a.example/"))
        (error,) = stage.outcomes
        assert type(error) is errors.ParentFailed
        assert error.reason == "one can't be asked"
        assert stage.hosts == ["one.example", "two.example"]


def test_a_parent_that_ends_under_a_request() -> None:
    """What may be repeated goes to the next one; the first is looked at. What may not ends."""
    with play() as stage:
        stage.ask(request_of(b"GET", b"http://a.example/"))
        stage.far.all_heard()
        stage.far.closes()
        stage.turn()
        assert stage.hosts == ["one.example", "two.example"]
        assert stage.knocked == [ONE]
        stage.far.all_heard()
        stage.ask(request_of(b"POST", b"http://a.example/"))
        stage.far.all_heard()
        stage.far.closes()
        stage.turn()
        assert any(isinstance(each, errors.ConnectionEnded) for each in stage.outcomes)


def test_a_parent_that_does_not_answer() -> None:
    """The request ends as it does without parents, since somebody may have done what it says."""
    with play() as stage:
        stage.ask(request_of(b"GET", b"http://a.example/"))
        stage.far.all_heard()
        for _ in range(244):
            stage.clock.advance(0.25)
        assert isinstance(stage.outcomes[0], errors.ResponseTimeout)
        assert stage.knocked == [ONE]
        assert stage.hosts == ["one.example"]


@pytest.mark.parametrize("length", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
def test_a_challenge_of_the_parent(length: bytes) -> None:
    """It isn't for the client, however it is framed: a mistake in our ini, not the client's."""
    with play() as stage:
        reply = stage.ask(request_of(b"GET", b"http://a.example/"))
        stage.far.all_heard()
        head = b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\n'
        stage.far.says(head + length + b"\r\n\r\n")
        stage.turn()
        if length.startswith(b"Content"):
            stage.far.says(b"no")
        stage.turn()
        (error,) = stage.outcomes
        assert type(error) is errors.ParentFailed
        assert "one.example:3128 doesn't accept the user and password" in error.reason
        assert not reply.has_begun
        assert stage.hosts == ["one.example"]


def test_an_answer_of_the_last_resort() -> None:
    """A parent that was passed over and answers a request is asked in its turn again."""
    with play() as stage:
        stage.parents.failed(ONE, "x")
        stage.parents.failed(TWO, "x")
        stage.ask(request_of(b"GET", b"http://a.example/"))
        stage.far.all_heard()
        stage.far.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        stage.turn()
        assert stage.outcomes == [None]
        assert stage.parents.order == (ONE, TWO)
        assert stage.hosts == ["one.example"]


def test_a_request_that_came_back() -> None:
    """It goes no further than the look for loops, whatever stands behind."""
    direct = Direct()
    check = LoopCheck(direct, b"px")
    reply = RecordedReply(connect(Clock(), Idle()))
    outcomes: list[Exception | None] = []
    with pytest.raises(errors.LoopDetected):
        run(check, request_of(fields=[(b"Via", b"1.1 x, 1.1 px")]), reply, outcomes)
    request = request_of(fields=[(b"Via", b"1.1 x")])
    run(check, request, reply, outcomes)
    assert outcomes == [None]
    assert direct.asked == [request]
