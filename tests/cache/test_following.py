"""Each client gets what grows at its own pace, to the end or to its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from twisted.internet.defer import CancelledError

from proxyapp import errors
from proxyapp.cache.following import follow
from proxyapp.cache.growing import Growing
from proxyapp.net.task import Task
from proxyapp.net.timers import Sweep
from proxyapp.store.store import StoreLimits
from proxyapp.wire.headers import NO_FIELDS
from tests.cache.flowstage import BLOCK, FlowReply, ReadingTransport, reply
from tests.store.stores import KEY, LIMITS, MIB, Bench, bench, stored

ERROR = errors.ResponseIncomplete("cut")
SIZE = len(BLOCK)


class Following:
    """Something that grows in a store, and clients that follow it."""

    def __init__(self, running: Bench, total: int | None) -> None:
        self.running = running
        self.clock = running.clock
        self.sweep = Sweep(running.clock)
        self.sweep.start()
        body = running.store.begin(KEY, stored(), total)
        assert body is not None
        self.growing = Growing(body, total)
        self.tasks: list[Task] = []
        self.ends: dict[FlowReply, Exception | None] = {}

    def follow(self, start: int = 0, end: int | None = None, is_raw: bool = True) -> FlowReply:
        """Let a client follow; return the reply that it gets."""
        sink = reply(self.clock)
        sink.is_raw = is_raw

        def over(error: Exception | None) -> None:
            self.ends[sink] = error

        task = Task(follow(self.growing, sink, self.sweep, start, end), over)
        self.tasks.append(task)
        task.resume()
        return sink

    def write(self, *pieces: bytes) -> None:
        """Let these bytes come, and the clients take them."""
        for piece in pieces:
            self.growing.write(piece)
            self.turn()

    def turn(self, seconds: float = 0) -> None:
        """Let time pass."""
        for _ in range(20):
            self.clock.advance(seconds / 20)

    def close(self) -> None:
        """See that everything was let go."""
        if not self.growing.is_over:
            self.growing.fail(ERROR)
        self.turn()
        assert not self.growing.has_readers
        assert self.growing.descriptor == -1
        assert repr(self.sweep) == "<Sweep of 0>"
        self.sweep.stop()


@pytest.fixture
def play(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Following]:
    """Yield something that grows, of the parameter's size and limits."""
    total, limits = getattr(request, "param", (None, LIMITS))
    with bench(tmp_path, limits) as running:
        following = Following(running, total)
        yield following
        following.close()


def sized(total: int | None, limits: StoreLimits = LIMITS) -> pytest.MarkDecorator:
    """Let it have *total* bytes, in a store with *limits*."""
    return pytest.mark.parametrize("play", [(total, limits)], indirect=True, ids=[str(total)])


TIGHT = StoreLimits(memory=4 * MIB, disk=64 * MIB, max_object=2 * SIZE)


def heard(sink: FlowReply) -> bytes:
    """Return what the client got since the last time."""
    return sink.far.all_heard()


@pytest.mark.parametrize("is_raw", [True, False])
def test_everybody_gets_all(play: Following, is_raw: bool) -> None:
    """From the beginning, whenever they come, by file or piece by piece."""
    early = play.follow(is_raw=is_raw)
    play.write(b"small", BLOCK, BLOCK)
    late = play.follow(is_raw=is_raw)
    play.write(b"more")
    play.growing.finish()
    play.turn()
    for sink in (early, late):
        assert heard(sink) == b"small" + BLOCK * 2 + b"more"
        assert sink.trailers is NO_FIELDS
        assert play.ends[sink] is None


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize("start", [0, 10, SIZE + 5])
def test_a_part(play: Following, start: int, is_raw: bool) -> None:
    """Who wants a part has it as soon as it's there, whatever comes of the rest."""
    sink = play.follow(start, start + 20, is_raw)
    play.write(BLOCK)
    assert (sink in play.ends) == (start < SIZE)
    play.write(BLOCK)
    assert heard(sink) == (BLOCK * 2)[start : start + 20]
    assert play.ends[sink] is None


@pytest.mark.parametrize("is_raw", [True, False])
def test_the_error_is_everybodys(play: Following, is_raw: bool) -> None:
    """Who hasn't all yet hears of an early end, behind what there is; the others don't."""
    part, whole, away = play.follow(0, 5, is_raw), play.follow(is_raw=is_raw), play.follow(10**9)
    play.write(BLOCK)
    play.growing.fail(ERROR)
    play.turn()
    assert (heard(part), play.ends[part]) == (BLOCK[:5], None)
    assert (heard(whole), play.ends[whole]) == (BLOCK, ERROR)
    assert (heard(away), play.ends[away]) == (b"", ERROR)


def test_shorter_than_promised(play: Following) -> None:
    """A client that was promised more than came must not take what there is for the whole."""
    sink = play.follow(0, SIZE + 1)
    play.write(BLOCK)
    play.growing.finish()
    play.turn()
    assert isinstance(play.ends[sink], errors.ResponseIncomplete)
    assert sink.trailers is None


def test_nothing_at_all(play: Following) -> None:
    """An empty body has an end, too."""
    sink = play.follow()
    play.growing.finish()
    assert (play.ends[sink], sink.body) == (None, b"")
    assert sink.trailers is NO_FIELDS


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_slow_client_slows_nobody(play: Following, is_raw: bool) -> None:
    """Who takes nothing is behind, with no more than a piece in memory, and gets all later."""
    slow, quick = play.follow(is_raw=is_raw), play.follow(is_raw=is_raw)
    slow.far.takes = False
    play.write(*[BLOCK] * 10)
    assert len(heard(quick)) == 10 * SIZE
    assert slow.far.unsent <= 2 * SIZE
    slow.far.takes_all()
    play.growing.finish()
    play.turn()
    assert heard(slow) == BLOCK * 10
    assert play.ends == {slow: None, quick: None}


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize("amount", [100, 5 * SIZE], ids=["little", "much"])
def test_a_client_that_takes_nothing(play: Following, amount: int, is_raw: bool) -> None:
    """It is given up after its time, whether there is more for it or not."""
    sink = play.follow(is_raw=is_raw)
    sink.far.takes = False
    play.write(*[BLOCK[:amount]] * max(1, amount // SIZE))
    play.turn(200)
    if is_raw:
        play.write(b"x")
        play.turn(200)
    assert isinstance(play.ends[sink], errors.WriteTimeout)


def test_waiting_is_no_stall(play: Following) -> None:
    """Who has taken all there is may wait for more as long as the origin does."""
    sink, raw = play.follow(is_raw=False), play.follow()
    play.write(b"x")
    play.turn(1000)
    assert not play.ends
    play.growing.finish()
    play.turn()
    assert play.ends == {sink: None, raw: None}


MOMENTS = ["waiting", "held up", "by file"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_leaves(play: Following, moment: str) -> None:
    """Whatever it waits for, nothing is left of it, and the others go on."""
    leaver = play.follow(is_raw=moment == "by file")
    other = play.follow()
    leaver.far.takes = moment == "waiting"
    play.write(*[BLOCK] * 4)
    play.tasks[0].cancel()
    assert isinstance(play.ends[leaver], CancelledError)
    assert isinstance(leaver.far, ReadingTransport)
    assert not leaver.far.has_producer
    play.write(b"end")
    play.growing.finish()
    play.turn()
    assert heard(other) == BLOCK * 4 + b"end"


def test_the_connection_breaks(play: Following) -> None:
    """A connection that is lost while the file goes over it is the client's departure."""
    sink = play.follow()
    sink.far.takes = False
    play.write(*[BLOCK] * 4)
    sink.far.protocol = mock.Mock()
    sink.far.resets()
    assert isinstance(play.ends[sink], errors.ClientGone)


@sized(None, TIGHT)
@pytest.mark.parametrize("is_raw", [True, False])
def test_the_store_gets_full(play: Following, is_raw: bool) -> None:
    """What the store doesn't take any more goes to everybody all the same."""
    quick, slow = play.follow(is_raw=is_raw), play.follow(is_raw=is_raw)
    slow.far.takes = False
    play.write(BLOCK, BLOCK, b"one", b"two")
    slow.far.takes_all()
    play.turn()
    play.write(b"three")
    play.growing.finish()
    play.turn()
    for sink in (quick, slow):
        assert heard(sink) == BLOCK * 2 + b"onetwothree"
    assert play.ends == {quick: None, slow: None}


@pytest.mark.parametrize("failing", ["read", "short"])
def test_the_file_cannot_be_read(play: Following, failing: str) -> None:
    """A disk that fails is our mistake, and ends the client's answer early."""
    play.write(b"x")
    answer = {"side_effect": OSError(5, "no")} if failing == "read" else {"return_value": b""}
    with mock.patch("proxyapp.cache.followed.os.pread", **answer):
        sink = play.follow()
    assert isinstance(play.ends[sink], errors.InternalError)


def test_many(play: Following) -> None:
    """A thousand follow one."""
    sinks = [play.follow(is_raw=number % 2 == 0) for number in range(1000)]
    play.write(b"one", b"two")
    for task in play.tasks[::3]:
        task.cancel()
    play.write(b"three")
    play.growing.finish()
    play.turn()
    for number, sink in enumerate(sinks):
        assert heard(sink) == (b"onetwo" if number % 3 == 0 else b"onetwothree")
