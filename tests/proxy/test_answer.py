"""Promises of proxyapp.proxy.answer."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.net.task import Task
from proxyapp.net.timers import Sweep
from proxyapp.proxy.answer import MAX_INTERIM, Answer
from proxyapp.stream import HOLD
from proxyapp.wire.framing import Kind
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import ResponseHead
from proxyapp.wire.parser import ResponseParser
from tests.support import MemorySource, RecordedReply, Witness, connect, response

CHUNKED = b"Transfer-Encoding: chunked"
SWITCHING = response(b"101 Switching Protocols", b"Upgrade: websocket", b"Connection: upgrade")


class Awaited:
    """An answer that somebody awaits."""

    def __init__(self, method: bytes = b"GET", limits: HeadLimits | None = None) -> None:
        clock = Clock()
        self.source = MemorySource(connect(clock, Witness()), Sweep(clock))
        self.interims: list[int] = []
        self.answer = Answer(
            self.source, method, self._note, ResponseParser(limits or HeadLimits())
        )
        self.has_arrived = False
        self.error: Exception | None = None
        self.sink = RecordedReply(connect(clock, Witness()))
        self._task = Task(self._wait(), self._end)
        self._task.resume()

    def _note(self, head: ResponseHead) -> None:
        self.interims.append(head.status)

    async def _wait(self) -> None:
        await self.answer.arrived
        self.has_arrived = True
        if self.status != 101:
            await self.answer.deliver(self.sink)

    def _end(self, error: Exception | None) -> None:
        self.error = error

    @property
    def status(self) -> int:
        assert self.answer.head is not None
        return self.answer.head.status

    def received(self, *pieces: bytes) -> Awaited:
        """Let *pieces* arrive one after the other."""
        for piece in pieces:
            self.answer.received(piece)
        return self


@pytest.mark.parametrize(
    ("method", "said", "kind", "persists"),
    [
        (b"GET", response(b"200 OK", b"Content-Length: 2"), Kind.LENGTH, True),
        (b"GET", response(b"200 OK", CHUNKED), Kind.CHUNKED, True),
        (b"GET", response(b"200 OK"), Kind.CLOSE, False),
        (b"GET", response(b"200 OK", CHUNKED, b"Connection: close"), Kind.CHUNKED, False),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Kind.LENGTH, False),
        (
            b"GET",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n",
            Kind.LENGTH,
            True,
        ),
        (b"HEAD", response(b"200 OK", b"Content-Length: 2"), Kind.NONE, True),
        (b"GET", response(b"204 No Content"), Kind.NONE, True),
        (b"GET", response(b"304 Not Modified", b"Content-Length: 2"), Kind.NONE, True),
        (b"GET", SWITCHING, Kind.NONE, False),
    ],
)
def test_framing_and_persistence(method: bytes, said: bytes, kind: Kind, persists: bool) -> None:
    """With the head it is known how long the body is, and whether the connection stays."""
    awaited = Awaited(method).received(said)
    assert awaited.has_arrived
    assert awaited.answer.framing.kind is kind
    assert awaited.answer.persists is persists
    assert awaited.answer.is_complete is (kind is Kind.NONE)


@pytest.mark.parametrize(
    "said",
    [
        response(b"200 OK", b"Content-Length: 2", body=b"hi"),
        response(b"200 OK", CHUNKED, body=b"2\r\nhi\r\n0\r\n\r\n"),
        response(b"100 Continue") + response(b"200 OK", b"Content-Length: 2", body=b"hi"),
    ],
)
def test_byte_by_byte(said: bytes) -> None:
    """An answer is the same in one piece and byte by byte."""
    for pieces in ([said], [said[at : at + 1] for at in range(len(said))]):
        awaited = Awaited().received(*pieces)
        assert awaited.status == 200
        assert awaited.answer.is_complete
        assert awaited.sink.body == b"hi"


@given(st.lists(st.integers(0, 200), max_size=6))
def test_any_cut_into_pieces(cuts: list[int]) -> None:
    """Wherever the bytes are cut, interim heads, head, body and excess are told apart."""
    hints = response(b"103 Early Hints", b"Link: </a>")
    said = hints + response(b"200 OK", CHUNKED, body=b"2\r\nhi\r\n0\r\n\r\n") + b"excess"
    edges = [0, *sorted(cut % len(said) for cut in cuts), len(said)]
    pieces = [said[start:end] for start, end in pairwise(edges) if start < end]
    awaited = Awaited().received(*pieces)
    assert awaited.interims == [103]
    assert awaited.sink.body == b"hi"
    assert not awaited.answer.is_complete


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.5"])
@pytest.mark.parametrize("apart", [True, False])
def test_interim_responses(version: bytes, apart: bool) -> None:
    """1xx are never taken for the answer, of whatever minor version, alone or with others."""
    pieces = [version + b" 100 Continue\r\n\r\n", version + b" 103 Hints\r\n\r\n"]
    awaited = Awaited().received(*pieces if apart else [b"".join(pieces)])
    assert awaited.interims == [100, 103]
    assert not awaited.has_arrived
    assert awaited.answer.has_begun
    awaited.received(response(b"200 OK", b"Content-Length: 0"))
    assert awaited.answer.is_complete


def test_too_many_interim_responses() -> None:
    """An origin that only announces is not answering."""
    awaited = Awaited().received(*[response(b"102 Processing")] * (MAX_INTERIM - 1))
    with pytest.raises(errors.BadResponse):
        awaited.received(response(b"102 Processing"))


@pytest.mark.parametrize("pieces", [[SWITCHING + b"\x81\x00"], [SWITCHING, b""]])
def test_switching(pieces: list[bytes]) -> None:
    """What stands behind a 101 belongs to the next protocol, and is handed over."""
    awaited = Awaited().received(pieces[0])
    assert awaited.status == 101
    assert awaited.answer.take_rest() == pieces[0][len(SWITCHING) :]
    assert not awaited.answer.persists


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        response(b"200 OK", b" folded"),
        response(b"200 OK", b"Content-Length: -1"),
        response(b"200 OK", b"Transfer-Encoding: chunked, gzip"),
        response(b"200 OK", b"X: \0"),
        b"x" * 70_000,
    ],
)
def test_malformed_heads(said: bytes) -> None:
    """What isn't a response head is the origin's fault, in our words."""
    with pytest.raises(errors.BadResponse) as raised:
        Awaited().received(said)
    assert raised.value.status == 502
    assert raised.value.reason.startswith("the origin's response is malformed: ")


@pytest.mark.parametrize("limits", [HeadLimits(size=60), HeadLimits(fields=2)])
def test_head_limits(limits: HeadLimits) -> None:
    """A head past its limits is refused, whole or in pieces."""
    said = response(b"200 OK", b"A: 1", b"B: 2", b"C: " + b"3" * 40)
    for pieces in ([said], [said[:30], said[30:]], [said[:-2], said[-2:]]):
        with pytest.raises(errors.BadResponse):
            Awaited(limits=limits).received(*pieces)


@pytest.mark.parametrize("is_late", [True, False])
def test_malformed_body(is_late: bool) -> None:
    """A broken body fails whoever reads it, and the connection isn't trusted any more."""
    awaited = Awaited()
    head, body = response(b"200 OK", CHUNKED), b"2\r\nhi!\r\n"
    awaited.received(*([head, body] if is_late else [head + body]))
    assert isinstance(awaited.error, errors.BadResponse)
    assert not awaited.answer.is_complete
    awaited.received(b"more")


@pytest.mark.parametrize("excess", [b"x", response(b"200 OK", b"Content-Length: 0")])
@pytest.mark.parametrize("is_late", [True, False])
def test_excess(excess: bytes, is_late: bool) -> None:
    """Bytes behind the answer are noticed, whenever they come (RFC 9112 section 9.2)."""
    said = response(b"200 OK", b"Content-Length: 2", body=b"hi")
    awaited = Awaited().received(*([said, excess] if is_late else [said + excess]))
    assert awaited.sink.body == b"hi"
    assert awaited.error is None
    assert not awaited.answer.is_complete


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", response(b"100 Continue")])
@pytest.mark.parametrize("is_clean", [True, False])
def test_ended_without_an_answer(said: bytes, is_clean: bool) -> None:
    """An origin that leaves before its head is complete hasn't answered."""
    awaited = Awaited()
    if said:
        awaited.received(said)
    awaited.answer.input_ended(is_clean)
    assert isinstance(awaited.error, errors.ConnectionEnded)
    assert awaited.answer.has_begun is bool(said)


@pytest.mark.parametrize(
    ("said", "is_clean", "expected"),
    [
        (response(b"200 OK", b"Content-Length: 9", body=b"abc"), True, errors.ResponseIncomplete),
        (response(b"200 OK", b"Content-Length: 9", body=b"abc"), False, errors.ResponseIncomplete),
        (response(b"200 OK", CHUNKED, body=b"3\r\nabc\r\n"), True, errors.ResponseIncomplete),
        (response(b"200 OK", body=b"abc"), False, errors.ResponseIncomplete),
        (response(b"200 OK", body=b"abc"), True, None),
        (response(b"200 OK", b"Content-Length: 3", body=b"abc"), False, None),
    ],
)
def test_ended_inside_the_body(said: bytes, is_clean: bool, expected: type[Exception]) -> None:
    """Only a body that is delimited by the end may end so, and only in an orderly way."""
    awaited = Awaited().received(said)
    awaited.answer.input_ended(is_clean)
    awaited.answer.input_ended(False)
    assert isinstance(awaited.error, expected) if expected else awaited.error is None
    assert awaited.sink.body == b"abc"


def test_failing() -> None:
    """Whoever waits hears of the first failure, and of none once the answer is complete."""
    awaited = Awaited()
    awaited.answer.fail(errors.ResponseTimeout("first"))
    awaited.answer.fail(errors.ResponseTimeout("second"))
    assert isinstance(awaited.error, errors.ResponseTimeout)
    assert awaited.error.reason == "first"
    complete = Awaited().received(response(b"204 No Content"))
    complete.answer.fail(errors.ResponseTimeout("late"))
    assert complete.error is None


def test_nobody_reads() -> None:
    """A body that comes faster than it is wanted pauses its connection."""
    clock = Clock()
    source = MemorySource(connect(clock, Witness()), Sweep(clock))
    answer = Answer(source, b"GET", lambda head: None, ResponseParser(HeadLimits()))
    answer.received(response(b"200 OK", b"Content-Length: 300000", body=b"x" * HOLD))
    assert not source.far.is_reading
