"""URLs are fetched as if a client had asked, a few at a time, and nothing of them is kept here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.cache.prefetch import A_TURN, AT_ONCE, DiscardingReply, Nowhere, Prefetch
from proxyapp.exchange import Client, Reply, Request
from proxyapp.net import sendfile
from proxyapp.rules.caching.report import Outcome
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire.framing import NO_BODY, UNTIL_CLOSE
from proxyapp.wire.headers import NO_FIELDS
from tests.cache.cachestage import NOW, OK, Act, Chain
from tests.support import RecordList

URL = b"http://a.example/x?y"


class Stage:
    """A prefetch, and all that it was given."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.chain = Chain()
        self.records = RecordList()
        self.questions: list[Question] = []
        self.decision = Decision(True, "", "")
        self.prefetch = Prefetch(
            self.chain, self._judge, self.records, self.clock.seconds, self.clock
        )

    def _judge(self, question: Question) -> Decision:
        self.questions.append(question)
        return self.decision

    def fetch(self, url: bytes = URL) -> Deferred[Outcome]:
        """Begin to fetch *url*."""
        work: Coroutine[Deferred[Any], Any, Outcome] = self.prefetch.fetch(url)
        return Deferred.fromCoroutine(work)


@pytest.fixture
def stage() -> Stage:
    """Return a prefetch with nothing before it."""
    return Stage()


def error_of(fetching: Deferred[Outcome]) -> BaseException:
    """Return the error that it came to; it is over."""
    found: list[BaseException] = []

    def note(failure: Failure) -> None:
        found.append(failure.value)

    fetching.addErrback(note)
    (error,) = found
    return error


def result(fetching: Deferred[Outcome]) -> Outcome:
    """Return what it came to; it is over."""
    found: list[Outcome] = []
    fetching.addCallback(found.append)
    (outcome,) = found
    return outcome


def test_it_asks_as_a_client_would(stage: Stage) -> None:
    """The chain gets a GET without a body from nobody's address, and the log a line."""
    outcome = result(stage.fetch())
    (request,) = stage.chain.requests
    assert (request.head.method, request.head.target) == (b"GET", URL)
    assert request.head.fields.get(b"host") == b"a.example"
    assert (request.client, request.framing) == (Client("", 0), NO_BODY)
    assert request.target.path == b"/x?y"
    assert outcome == Outcome(URL.decode(), 200, 2, 0.0, "miss", False, False)
    (record,) = stage.records
    assert (record.service, record.client_host, record.status, record.sent) == ("proxy", "", 200, 2)


def test_the_judge_is_asked(stage: Stage) -> None:
    """What the rules deny to this machine is not fetched, and the log has the rule."""
    stage.decision = Decision(False, "[rule games]", "no games", reported="[rule x]")
    outcome = result(stage.fetch())
    assert stage.questions == [Question("proxy", "", None, b"GET", "a.example", 80)]
    assert stage.chain.requests == []
    assert (outcome.status, outcome.reason) == (403, "no games")
    (record,) = stage.records
    assert (record.rule, record.reported, record.error) == (
        "[rule games]",
        "[rule x]",
        "http_request_denied",
    )


@pytest.mark.parametrize("url", [b"", b"x", b"/x", b"http://a b/", b"ftp://a.example/"])
def test_what_is_no_url(stage: Stage, url: bytes) -> None:
    """It is refused before anybody is asked."""
    assert isinstance(error_of(stage.fetch(url)), errors.BadRequest)
    assert not stage.records


def test_a_failure_is_an_outcome(stage: Stage) -> None:
    """What goes wrong with one URL is told of that URL, also inside the body."""

    async def cut(request: Request, reply: Reply) -> None:
        reply.begin(OK, UNTIL_CLOSE).write(b"h")
        raise errors.ResponseIncomplete("it ended early")

    async def unknown(request: Request, reply: Reply) -> None:
        raise errors.NameUnknown("no such name")

    stage.chain.acts = [cut, unknown]
    first, second = result(stage.fetch()), result(stage.fetch())
    assert (first.status, first.size, first.reason) == (200, 1, "it ended early")
    assert (second.status, second.size, second.reason) == (502, 0, "no such name")
    assert [record.error for record in stage.records] == ["http_response_incomplete", "dns_error"]


def test_our_own_mistakes_pass(stage: Stage) -> None:
    """What is no error of the exchange goes up, to the event log, and the record says so."""

    async def wrong(request: Request, reply: Reply) -> None:
        raise ZeroDivisionError

    stage.chain.acts = [wrong]
    assert isinstance(error_of(stage.fetch()), ZeroDivisionError)
    assert [record.error for record in stage.records] == ["proxy_internal_error"]
    result(stage.fetch())


@pytest.mark.parametrize(
    ("cache", "is_found"),
    [("hit", True), ("stale", True), ("revalidated", True), ("miss", False), ("", False)],
)
def test_what_was_there(stage: Stage, cache: str, is_found: bool) -> None:
    """The outcome tells what came from the cache."""

    async def answer(request: Request, reply: Reply) -> None:
        reply.record.cache = cache
        reply.answer(OK, b"hi")

    stage.chain.acts = [answer]
    outcome = result(stage.fetch())
    assert (outcome.cache, outcome.is_found, outcome.is_stored) == (cache, is_found, is_found)


def waiting(turns: list[Deferred[None]]) -> Act:
    """Return what waits until the test says so."""

    async def wait(request: Request, reply: Reply) -> None:
        turn: Deferred[None] = Deferred()
        turns.append(turn)
        await turn
        reply.answer(OK, b"hi")

    return wait


def test_a_few_at_a_time(stage: Stage) -> None:
    """The next one begins when one has ended."""
    turns: list[Deferred[None]] = []
    stage.chain.acts = [waiting(turns)] * (AT_ONCE + 2)
    fetching = [stage.fetch() for _ in range(AT_ONCE + 2)]
    assert len(turns) == AT_ONCE
    turns[1].callback(None)
    assert len(turns) == AT_ONCE + 1
    for turn in turns:
        if not turn.called:
            turn.callback(None)
    assert [result(each).size for each in fetching] == [2] * (AT_ONCE + 2)


@pytest.mark.parametrize("number", [0, AT_ONCE])
def test_giving_up(stage: Stage, number: int) -> None:
    """Whoever leaves ends what runs, or what waits in line; the others go on."""
    turns: list[Deferred[None]] = []
    stage.chain.acts = [waiting(turns)] * (AT_ONCE + 1)
    fetching = [stage.fetch() for _ in range(AT_ONCE + 1)]
    fetching[number].cancel()
    assert isinstance(error_of(fetching[number]), CancelledError)
    assert len(stage.records) == (number == 0)
    for turn in turns:
        if not turn.called:
            turn.callback(None)
    assert len(stage.records) == AT_ONCE + (number == 0)
    assert repr(stage.prefetch) == "<Prefetch of 0, 0 wait>"


# --- The reply that keeps nothing ---


class Source:
    """A producer, pushed or pulled, that writes what is left of it as long as it may."""

    def __init__(self, reply: DiscardingReply, left: int) -> None:
        self.reply = reply
        self.left = left
        self.asked = 0
        self.is_paused = False

    def resumeProducing(self) -> None:
        self.is_paused = False
        self.asked += 1
        if self.left:
            self.left -= 1
            self.reply.transport.write(b"x" * 1000)
        else:
            self.reply.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.is_paused = True


def test_one_that_is_pulled() -> None:
    """It is asked once in each turn of the loop, until it has no more."""
    clock = Clock()
    reply = DiscardingReply(Record(), clock)
    source = Source(reply, 3)
    reply.transport.registerProducer(source, False)
    assert source.asked == 0
    for _ in range(10):
        clock.advance(0)
    assert (source.asked, source.left) == (4, 0)
    assert not clock.getDelayedCalls()


def test_one_that_pushes() -> None:
    """After so many bytes it has to wait for the next turn."""
    clock = Clock()
    reply = DiscardingReply(Record(), clock)
    source = Source(reply, 0)
    sink = reply.begin(OK, UNTIL_CLOSE)
    sink.transport.registerProducer(source, True)
    sink.write(b"x" * (A_TURN - 1))
    assert not source.is_paused
    sink.write(b"x")
    assert source.is_paused
    clock.advance(0)
    assert not source.is_paused
    sink.transport.unregisterProducer()
    sink.finish(NO_FIELDS)
    assert reply.record.sent == A_TURN
    assert not clock.getDelayedCalls()


@contextmanager
def open_file(content: bytes) -> Iterator[sendfile.File]:
    """Yield a file that is open."""

    class Opened:
        def __init__(self, descriptor: int) -> None:
            self.descriptor = descriptor
            self.status = os.fstat(descriptor)

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Opened(file.fileno())


def test_files() -> None:
    """A file is sent nowhere by the same means as to a client, and its pieces are counted."""
    clock = Clock()
    reply = DiscardingReply(Record(), clock)
    with open_file(b"x" * 200_000) as file:
        job = sendfile.send_file(reply.transport, file, 0, 200_000)
        while not job.done.called:
            clock.advance(0)
        assert job.remaining == 0
        work = reply.answer_pieces(OK, file, [b"ab", ByteRange(5, 1000)])
        Deferred.fromCoroutine(work)
    assert reply.record.sent == 1002
    assert not clock.getDelayedCalls()


def test_it_leads_nowhere_else() -> None:
    """It can't become a tunnel, and neither stalls nor is anywhere."""
    reply = DiscardingReply(Record(), Clock())
    with pytest.raises(errors.BadResponse):
        reply.take_over(OK, None)  # type: ignore[arg-type]  # nobody would receive
    assert (reply.local_host, reply.local_port, reply.has_begun) == ("", 0, False)
    assert isinstance(reply.stalled(), errors.InternalError)
    assert repr(Nowhere(Clock())) == "<Nowhere idle>"
