"""What another process fetches is followed like what is fetched here, until it's over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.cache.distant import DistantFill, DistantGrowing
from proxyapp.cache.following import follow
from proxyapp.cache.member import Member
from proxyapp.net.task import Task
from proxyapp.net.timers import Sweep
from proxyapp.store.bodies import GrowingBody
from proxyapp.store.claims import Claim
from tests.cache.flowstage import BLOCK, FlowReply, crashing, reply
from tests.conftest import LoggedErrors
from tests.store.stores import KEY, LIMITS, Bench, bench, stored

SIZE = len(BLOCK)


class Neighbours:
    """One process that fetches, and another one that follows."""

    def __init__(self, there: Bench, here: Bench) -> None:
        self.there = there
        self.here = here
        assert there.store.sharing is not None
        claim = there.store.sharing.claims.claim(KEY)
        assert claim is not None
        self.claim: Claim = claim
        self.body: GrowingBody | None = None
        self.sweep = Sweep(here.clock)
        self.ended: list[bytes] = []
        self.fill = self._look()
        self.ends: dict[FlowReply, Exception | None] = {}

    def _look(self) -> DistantFill:
        sharing, clock = self.here.store.sharing, self.here.clock
        assert sharing is not None
        return DistantFill(
            KEY, sharing, clock, clock.seconds, lambda key, _: self.ended.append(key)
        )

    def begin(self, total: int | None = None) -> GrowingBody:
        """Let the other one have an answer of *total* bytes."""
        body = self.there.store.begin(KEY, stored(), total)
        assert body is not None
        self.claim.growing(body.id)
        self.body = body
        return body

    def join(self) -> Member:
        """Wait for it here."""
        return self.fill.join(reply(self.here.clock))

    def again(self) -> DistantFill:
        """Return another look from here, that somebody waits for."""
        fill = self._look()
        fill.join(reply(self.here.clock))
        return fill

    def turn(self) -> None:
        """Let it be looked again."""
        for _ in range(20):
            self.here.clock.advance(0.01)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Neighbours]:
    """Yield two processes on one folder."""
    with bench(tmp_path, LIMITS) as there, bench(tmp_path, LIMITS) as here:
        neighbours = Neighbours(there, here)
        yield neighbours
        neighbours.claim.release()
        neighbours.turn()
        outcome = neighbours.fill.outcome
        assert outcome is None or outcome.descriptor == -1


def followed(pair: Neighbours, end: int | None = None) -> FlowReply:
    """Join, and follow as soon as it is known what comes."""
    sink = reply(pair.here.clock)
    member = pair.join()

    async def client() -> None:
        await member.settled
        growing = pair.fill.outcome
        assert isinstance(growing, DistantGrowing)
        await follow(growing, sink, pair.sweep, 0, end)

    def over(error: Exception | None) -> None:
        pair.ends[sink] = error
        pair.fill.leave(member)

    Task(client(), over).resume()
    return sink


def test_what_is_old_already(pair: Neighbours) -> None:
    """After a change nobody follows what was asked for before it; who did so already may go on."""
    early = followed(pair)
    body = pair.begin()
    pair.turn()
    sharing = pair.there.store.sharing
    assert sharing is not None
    sharing.outdated.note(KEY, pair.here.clock.seconds())
    assert pair.again().outcome is None
    body.write(BLOCK)
    body.finish()
    pair.claim.release()
    pair.turn()
    assert early.far.all_heard() == BLOCK
    assert pair.ends == {early: None}


@pytest.mark.parametrize("total", [None, 2 * SIZE])
def test_it_is_followed(pair: Neighbours, total: int | None) -> None:
    """Who waits here has the bytes soon after they came there, and the end of them."""
    first = followed(pair, total)
    pair.turn()
    body = pair.begin(total)
    body.write(BLOCK)
    pair.turn()
    assert len(first.far.all_heard()) == SIZE
    second = followed(pair, total)
    body.write(BLOCK[::-1])
    body.finish()
    pair.claim.release()
    pair.turn()
    assert first.far.all_heard() == BLOCK[::-1]
    assert second.far.all_heard() == BLOCK + BLOCK[::-1]
    assert pair.ends == {first: None, second: None}
    assert pair.ended == [KEY]
    assert not pair.fill.is_open


@pytest.mark.parametrize("total", [None, 2 * SIZE])
@pytest.mark.parametrize("end", ["suspend", "abandon"])
def test_it_breaks_off(pair: Neighbours, total: int | None, end: str) -> None:
    """An early end there is one here, whatever was kept."""
    sink = followed(pair, total)
    body = pair.begin(total)
    body.write(BLOCK)
    pair.turn()
    getattr(body, end)()
    pair.claim.release()
    pair.turn()
    assert sink.far.all_heard() == BLOCK
    assert isinstance(pair.ends[sink], errors.ResponseIncomplete)


def test_it_is_over_when_it_is_found(pair: Neighbours) -> None:
    """What ends between two looks is read to its end."""
    body = pair.begin()
    body.write(BLOCK)
    sink = followed(pair)
    body.finish()
    pair.claim.release()
    pair.turn()
    assert sink.far.all_heard() == BLOCK
    assert pair.ends == {sink: None}


def test_another_fetch_of_the_same(pair: Neighbours) -> None:
    """When the other process begins anew, what was followed is over."""
    sink = followed(pair, SIZE)
    pair.begin(SIZE).write(BLOCK[:100])
    pair.turn()
    assert pair.body is not None
    pair.body.abandon()
    pair.begin(SIZE)
    pair.turn()
    assert isinstance(pair.ends[sink], errors.ResponseIncomplete)
    pair.body.abandon()


@pytest.mark.parametrize("say", ["alone", "release"])
def test_there_is_nothing_to_follow(pair: Neighbours, say: str) -> None:
    """What isn't for others, or isn't fetched any more, lets those who wait go."""
    members = [pair.join(), pair.join()]
    pair.turn()
    assert not any(member.settled.has_happened for member in members)
    getattr(pair.claim, say)()
    pair.turn()
    assert all(member.settled.has_happened for member in members)
    assert (pair.fill.outcome, pair.ended) == (None, [KEY])
    for member in members:
        pair.fill.leave(member)


@pytest.mark.parametrize("has_begun", [False, True])
def test_nobody_is_left(pair: Neighbours, has_begun: bool) -> None:
    """Nothing is looked at for nobody."""
    member = pair.join()
    if has_begun:
        pair.begin().write(b"x")
        pair.turn()
    pair.fill.leave(member)
    pair.turn()
    assert pair.ended == [KEY]
    assert not pair.here.clock.getDelayedCalls() or not pair.fill.is_open


def test_the_last_reader_has_enough(pair: Neighbours) -> None:
    """With the last reader's part all is let go, though more comes there."""
    sink = followed(pair, 10)
    body = pair.begin()
    body.write(BLOCK)
    pair.turn()
    assert (sink.far.all_heard(), pair.ends) == (BLOCK[:10], {sink: None})
    body.write(BLOCK)
    pair.turn()
    assert pair.ended == [KEY]


def test_one_that_fails(pair: Neighbours, logged_errors: LoggedErrors) -> None:
    """A mistake in what one does is nobody else's."""
    pair.join().settled.wake(crashing())
    sink = followed(pair)
    pair.begin().write(BLOCK)
    pair.turn()
    assert sink.far.all_heard() == BLOCK
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


@pytest.mark.parametrize("say", ["alone", "release"])
def test_whether_it_was_forsaken(pair: Neighbours, say: str) -> None:
    """Where nobody fetches any more those who wait may do so together, and not otherwise."""
    member = pair.join()
    getattr(pair.claim, say)()
    pair.turn()
    assert pair.fill.is_forsaken is (say == "release")
    pair.fill.leave(member)
