"""Promises of proxyapp.stream, and of the Drain that watches what a stream leaves unsent.

That long bodies are spliced takes real connections: see proxy/test_relay.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.net.task import Task
from proxyapp.net.timers import NEVER, Drain, Sweep
from proxyapp.net.valve import Valve
from proxyapp.stream import EMPTY, HOLD, Body
from proxyapp.wire import bodies
from proxyapp.wire.framing import CHUNKED, UNTIL_CLOSE, Framing, Kind
from proxyapp.wire.headers import Fields
from tests.support import MemorySource, MemoryTransport, RecordedReply, Witness, connect


class Flow:
    """A body between a source and a sink in memory."""

    def __init__(self, how: Framing, limit: int = 0) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.source = MemorySource(connect(self.clock, Witness()), self.sweep)
        self.sink = RecordedReply(connect(self.clock, Witness()), is_raw=False)
        self.body = Body(bodies.decoder_for(how), self.source, limit)
        self.error: Exception | None = None
        self.is_over = False
        self._task: Task | None = None

    def _end(self, error: Exception | None) -> None:
        self.error = error
        self.is_over = True

    @property
    def near(self) -> MemoryTransport:
        """The source's connection."""
        return self.source.far

    @property
    def far(self) -> MemoryTransport:
        """The sink's connection."""
        return self.sink.far

    def deliver(self) -> Flow:
        """Begin to hand the body over."""
        self._task = Task(self.body.deliver(self.sink), self._end)
        self._task.resume()
        return self

    def cancel(self) -> None:
        """Give the delivery up."""
        assert self._task is not None
        self._task.cancel()

    def wait(self, seconds: int) -> None:
        """Let time pass, as the sweep sees it."""
        for _ in range(seconds * 4):
            self.clock.advance(0.25)


def chunked(data: bytes) -> bytes:
    """Return *data* as a chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = b"0\r\nX-Sum: 1\r\n\r\n"


# --- What goes through ---


def test_whole_before_anybody_takes_it() -> None:
    """A body that has arrived when it is asked for is handed over in one go."""
    flow = Flow(CHUNKED)
    assert flow.body.push(chunked(b"hi") + LAST + b"next") == b"next"
    assert flow.body.is_complete
    flow.deliver()
    assert flow.is_over
    assert (flow.sink.body, flow.sink.trailers) == (b"hi", Fields([(b"X-Sum", b"1")]))
    assert flow.sink.flushes == 0
    assert flow.body.size == 2


def test_pieces_as_they_come() -> None:
    """What was there goes first, then each piece at once; a pause flushes what was held back."""
    flow = Flow(Framing(Kind.LENGTH, 9))
    flow.body.push(b"abc")
    flow.deliver()
    assert (flow.sink.body, flow.sink.flushes) == (b"abc", 1)
    assert flow.body.push(b"def") == b""
    assert flow.sink.body == b"abcdef"
    assert not flow.is_over
    assert flow.body.push(b"ghiXYZ") == b"XYZ"
    assert flow.is_over
    assert (flow.sink.body, flow.error) == (b"abcdefghi", None)
    assert flow.body.size == 9


def test_until_close() -> None:
    """A body that ends with its connection is complete when that ends."""
    flow = Flow(UNTIL_CLOSE).deliver()
    flow.body.push(b"abc")
    assert not flow.is_over
    flow.body.end_input()
    assert flow.is_over
    assert flow.error is None
    assert flow.body.is_complete


def test_until_close_before_anybody_takes_it() -> None:
    """That holds as well when the end is there before the delivery begins."""
    flow = Flow(UNTIL_CLOSE)
    flow.body.push(b"abc")
    flow.body.end_input()
    flow.deliver()
    assert (flow.sink.body, flow.error) == (b"abc", None)


def test_none() -> None:
    """A body of nothing asks nobody, and is handed over at once."""
    flow = Flow(UNTIL_CLOSE)
    assert EMPTY.is_complete
    assert EMPTY.hand_over(flow.sink)
    assert repr(EMPTY) == "<Body complete, 0 bytes>"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.integers(0, 3))
def test_any_cut_into_pieces(data: bytes, cuts: list[int], before: int) -> None:
    """However the bytes are cut, and whenever the delivery begins, the body is the same."""
    coded = (chunked(data) if data else b"") + LAST + b"rest"
    flow = Flow(CHUNKED)
    edges = [0, *sorted(min(cut, len(coded)) for cut in cuts), len(coded)]
    rest = b""
    for number, (start, end) in enumerate(pairwise(edges)):
        if number == before:
            flow.deliver()
        rest += coded[start:end] if flow.body.is_complete else flow.body.push(coded[start:end])
    if before >= len(edges) - 1:
        flow.deliver()
    assert flow.is_over
    assert (flow.sink.body, rest) == (data, b"rest")


# --- Back-pressure ---


def test_nobody_takes_it() -> None:
    """Without a sink a body's source is paused once HOLD bytes are there, and goes on later."""
    flow = Flow(Framing(Kind.LENGTH, HOLD + 10))
    flow.body.push(b"x" * (HOLD - 1))
    assert flow.near.is_reading
    flow.body.push(b"x")
    assert not flow.near.is_reading
    flow.deliver()
    assert flow.near.is_reading
    assert len(flow.sink.body) == HOLD


def test_the_end_behind_a_pause() -> None:
    """TLS delivers what it has read even to the paused; the source mustn't stay paused for ever."""
    flow = Flow(Framing(Kind.LENGTH, HOLD + 10))
    flow.body.push(b"x" * HOLD)
    flow.body.push(b"x" * 10)
    assert flow.near.is_reading


def test_the_sink_is_full() -> None:
    """A sink that takes nothing pauses the source, and resumes it when it takes something."""
    flow = Flow(Framing(Kind.LENGTH, 300_000)).deliver()
    flow.far.takes = False
    flow.body.push(b"x" * 100_000)
    assert not flow.near.is_reading
    flow.far.takes_all()
    assert flow.near.is_reading


def test_the_last_piece_fills_the_sink() -> None:
    """The source is read on behind the body, even if the sink is still full of it."""
    flow = Flow(Framing(Kind.LENGTH, 100_000)).deliver()
    flow.far.takes = False
    flow.body.push(b"x" * 100_000)
    assert flow.is_over
    assert flow.near.is_reading
    flow.far.takes_all()


def test_the_sink_has_no_producer_afterwards() -> None:
    """When a delivery is over, however it ended, another one may use the same connection."""
    ends: list[Callable[[Flow], object]] = [
        lambda flow: flow.body.push(b"def"),
        lambda flow: flow.body.fail(errors.BadRequest("broken")),
        lambda flow: flow.cancel(),
    ]
    for end in ends:
        flow = Flow(Framing(Kind.LENGTH, 6)).deliver()
        flow.body.push(b"abc")
        end(flow)
        assert flow.is_over
        flow.far.registerProducer(object(), True)
        assert repr(flow.sweep) == "<Sweep of 0>"


def test_the_sink_is_lost() -> None:
    """A lost sink pauses the source; whoever owns both gives the delivery up."""
    flow = Flow(Framing(Kind.LENGTH, 6)).deliver()
    flow.far.resets()
    assert not flow.near.is_reading
    flow.cancel()
    assert flow.near.is_reading  # what still comes is thrown away


# --- Bodies that fail ---


@pytest.mark.parametrize("how", [CHUNKED, Framing(Kind.LENGTH, 9)])
@pytest.mark.parametrize("begins_late", [True, False])
def test_cut(how: Framing, begins_late: bool) -> None:
    """A body whose source ends too early says so, and is never finished."""
    flow = Flow(how)
    if not begins_late:
        flow.deliver()
    flow.body.push(chunked(b"abc"))
    flow.body.end_input()
    if begins_late:
        flow.deliver()
    assert isinstance(flow.error, errors.ResponseIncomplete)
    assert flow.sink.trailers is None
    assert not flow.body.is_complete


def test_failed_before_anybody_takes_it() -> None:
    """A body remembers what ended it until somebody asks."""
    flow = Flow(CHUNKED)
    first = errors.BadRequest("first")
    flow.body.fail(first)
    flow.body.fail(errors.BadRequest("second"))
    assert flow.body.error is first
    flow.deliver()
    assert flow.error is first


def test_end_behind_the_end() -> None:
    """An end of input behind a complete body is none of its business."""
    flow = Flow(CHUNKED).deliver()
    flow.body.push(chunked(b"abc") + LAST)
    flow.body.end_input()
    assert flow.error is None


def test_limit() -> None:
    """A body past its limit is refused, to the byte."""
    flow = Flow(CHUNKED, limit=6).deliver()
    flow.body.push(chunked(b"abcdef"))
    with pytest.raises(errors.BodyTooLarge):
        flow.body.push(chunked(b"g"))


def test_broken_framing() -> None:
    """Broken framing is told to whoever pushes, for it is their connection's end."""
    flow = Flow(CHUNKED).deliver()
    with pytest.raises(errors.BadRequest):
        flow.body.push(b"zz\r\n")


def test_given_up() -> None:
    """After a delivery was given up, the source may go on, up to what may be held."""
    flow = Flow(Framing(Kind.LENGTH, 300_000)).deliver()
    flow.cancel()
    flow.body.push(b"x" * HOLD)
    assert flow.sink.body == b""
    assert not flow.near.is_reading


# --- Time ---


def test_silent_source() -> None:
    """A source that sends nothing for its time-out ends the body; each piece starts it anew."""
    flow = Flow(Framing(Kind.LENGTH, 9)).deliver()
    flow.source.silence_timeout = 8.0
    flow.wait(7)
    flow.body.push(b"abc")
    flow.wait(7)
    assert not flow.is_over
    flow.wait(3)
    assert isinstance(flow.error, errors.ReadTimeout)


def test_stalled_sink() -> None:
    """A sink that takes nothing for its time-out ends the body; the source isn't blamed."""
    flow = Flow(Framing(Kind.LENGTH, 300_000))
    flow.sink.stall_timeout = 8.0
    flow.deliver()
    flow.far.takes = False
    flow.body.push(b"x" * 100_000)
    flow.wait(7)
    flow.far.takes_all()
    flow.far.takes = False
    flow.body.push(b"x" * 100_000)
    flow.wait(7)
    assert not flow.is_over
    flow.wait(4)
    assert isinstance(flow.error, errors.WriteTimeout)


def test_a_short_stall_is_no_silence() -> None:
    """The time a sink took nothing doesn't count against the source."""
    flow = Flow(Framing(Kind.LENGTH, 300_000))
    flow.source.silence_timeout = 4.0
    flow.deliver()
    flow.far.takes = False
    flow.body.push(b"x" * 100_000)
    flow.wait(10)
    assert not flow.is_over
    flow.far.takes_all()
    flow.wait(3)
    assert not flow.is_over


@pytest.mark.parametrize("side", ["source", "sink"])
def test_waiting_for_its_share_is_no_stall(side: str) -> None:
    """While a side is throttled nobody is blamed; after that the time-outs are whole again."""
    flow = Flow(Framing(Kind.LENGTH, 300_000))
    flow.source.silence_timeout = flow.sink.stall_timeout = 4.0
    flow.deliver()
    throttled = flow.near if side == "source" else flow.far
    throttled.valve = Valve(throttled)
    throttled.valve.waits_to_send = True
    flow.wait(20)
    assert not flow.is_over
    throttled.valve.waits_to_send = False
    flow.wait(2)
    assert not flow.is_over
    flow.wait(4)
    assert isinstance(flow.error, errors.ReadTimeout)


def test_untaken_bodies_have_no_time() -> None:
    """A body that nobody takes is not watched: whoever ought to take it is."""
    flow = Flow(Framing(Kind.LENGTH, 9))
    flow.wait(200)
    assert flow.body.error is None
    assert repr(flow.sweep) == "<Sweep of 0>"


class Draining:
    """Some bytes that leave, or not."""

    def __init__(self, timeout: float) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.left = 100
        self.stalls = 0
        self.drain = Drain(self.sweep, timeout, lambda: self.left, self.stall)

    def stall(self) -> None:
        """Note it."""
        self.stalls += 1

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds * 4):
            self.clock.advance(0.25)


def test_drain() -> None:
    """Bytes that don't become fewer for the time-out are a stall, told once."""
    draining = Draining(8.0)
    draining.wait(7)
    draining.left = 99
    draining.wait(7)
    assert draining.stalls == 0
    draining.wait(4)
    assert draining.stalls == 1
    draining.wait(100)
    assert draining.stalls == 1


def test_drain_stopped() -> None:
    """A drain that is stopped says nothing more, and isn't watched."""
    draining = Draining(8.0)
    draining.drain.stop()
    draining.wait(20)
    assert draining.stalls == 0
    assert draining.drain.deadline == NEVER
