"""Promises of proxyapp.proxy.pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.net.task import Task
from proxyapp.net.timers import TICK
from proxyapp.proxy.pool import EXCESS_IDLE
from proxyapp.proxy.upstream import CLOSE_TIMEOUT, Upstream
from proxyapp.wire.target import Origin
from tests.support import OK, POOL, TIMEOUTS, MemoryTransport, Stage, pool_of, script

ASKING = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def origin(name: str = "a") -> Origin:
    """Return the origin called *name*."""
    return Origin("http", f"{name}.example", 80)


class Borrower:
    """Someone who wants a connection; has one, an error, or is still in line."""

    def __init__(self, stage: Stage, name: str = "a") -> None:
        self.stage = stage
        self.upstream: Upstream | None = None
        self.error: Exception | None = None
        self._task = Task(self._borrow(origin(name)), self._end)
        self._task.resume()

    async def _borrow(self, wanted: Origin) -> None:
        self.upstream = await self.stage.pool.getConnection(wanted)

    def _end(self, error: Exception | None) -> None:
        self.error = error

    @property
    def is_in_line(self) -> bool:
        return self.upstream is None and self.error is None

    @property
    def got(self) -> Upstream:
        assert self.upstream is not None, self.error
        return self.upstream

    @property
    def far(self) -> MemoryTransport:
        """The far end of the connection."""
        transport = self.got.transport
        assert isinstance(transport, MemoryTransport)
        return transport

    def leaves(self) -> None:
        """Give up."""
        self._task.cancel()

    def use(self) -> Borrower:
        """Carry one exchange over the connection."""
        upstream, far = self.got, self.far
        upstream.ask(ASKING, b"GET", False, lambda head: None)
        far.hears(ASKING)
        far.says(OK)
        return self

    def give_back(self) -> Borrower:
        """Carry one exchange, and release the connection."""
        self.use()
        self.stage.pool.release(self.got)
        return self

    def drop(self) -> None:
        """Release the connection in the middle of an exchange."""
        self.got.ask(ASKING, b"GET", False, lambda head: None)
        self.far.hears(ASKING)
        self.stage.pool.release(self.got)
        self.stage.turn()


def borrow(stage: Stage, count: int, name: str = "a") -> list[Borrower]:
    """Let *count* borrowers ask, one after the other."""
    return [Borrower(stage, name) for _ in range(count)]


def test_reuse_is_lifo() -> None:
    """The connection that was used last is used next: it is the least likely to be dead."""
    with script() as stage:
        first, second, third = borrow(stage, 3)
        for borrower in (second, third, first):
            borrower.give_back()
        again = borrow(stage, 3)
        assert [each.got for each in again] == [first.got, third.got, second.got]
        assert len(stage.origins) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Origin("http", "a", 80), Origin("http", "b", 80)),
        (Origin("http", "a", 80), Origin("http", "a", 81)),
        (Origin("http", "a", 443), Origin("https", "a", 443)),
    ],
)
def test_connections_are_by_origin(one: Origin, other: Origin) -> None:
    """Scheme, host and port must all agree before a connection is used again."""
    with script() as stage:
        held = Borrower(stage)
        held.drop()
        for wanted in (one, other, one):
            task = Task(use_once(stage, wanted), lambda error: None)
            task.resume()
        assert stage.dialler.asked[1:] == [one, other]
        assert stage.pool.counters.reused == 1


async def use_once(stage: Stage, wanted: Origin) -> None:
    """Carry one exchange to *wanted*."""
    upstream = await stage.pool.getConnection(wanted)
    transport = upstream.transport
    assert isinstance(transport, MemoryTransport)
    upstream.ask(ASKING, b"GET", False, lambda head: None)
    transport.hears(ASKING)
    transport.says(OK)
    stage.pool.release(upstream)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_idle_connections_beyond_the_limit_go_soon(kept: int) -> None:
    """After a burst max_idle_per_host connections stay, and the others go half a second later."""
    with script(pool=pool_of(max_idle_per_host=kept)) as stage:
        for borrower in borrow(stage, 5):
            borrower.give_back()
        assert repr(stage.pool) == "<HTTPConnectionPool 5 open, 5 idle>"
        stage.wait(EXCESS_IDLE + TICK)
        assert repr(stage.pool) == f"<HTTPConnectionPool {kept} open, {kept} idle>"
        assert [each.is_gone for each in stage.origins] == [False] * kept + [True] * (5 - kept)


def test_a_burst_goes_on_without_dialling() -> None:
    """Connections beyond max_idle_per_host are used again while the burst lasts."""
    with script(pool=pool_of(max_idle_per_host=2)) as stage:
        for _ in range(10):
            for borrower in borrow(stage, 8):
                borrower.give_back()
            stage.wait(0.25)
        assert stage.pool.counters.dialled == 8


def test_excess_never_outlives_idle_timeout() -> None:
    """A pool that is told to keep connections for less than the excess time does so."""
    with script(timeouts=replace(TIMEOUTS, idle=0.1), pool=pool_of(max_idle_per_host=0)) as stage:
        Borrower(stage).give_back()
        stage.wait(TICK)
        assert stage.origin.is_gone


def test_host_limit_queues_in_order() -> None:
    """At max_per_host requests wait, and are served first come, first served."""
    with script(pool=pool_of(max_per_host=2)) as stage:
        first, second, third, fourth = borrow(stage, 4)
        assert third.is_in_line
        assert fourth.is_in_line
        assert stage.pool.counters.queued == 2
        second.give_back()
        assert third.got is second.got
        assert fourth.is_in_line
        first.give_back()
        assert fourth.got is first.got
        assert len(stage.origins) == 2


def test_host_limit_holds_up_nobody_else() -> None:
    """A queue for one origin is none for another."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        borrow(stage, 3)
        assert Borrower(stage, "b").got


def test_a_closed_connection_gives_leave_to_dial() -> None:
    """Where a connection ends instead of coming back, the first in line dials a new one."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        first, second, third = borrow(stage, 3)
        first.drop()
        assert second.got is not first.got
        assert third.is_in_line
        second.far.resets()
        assert third.got is not second.got
        assert len(stage.origins) == 3


def test_a_failed_dial_gives_leave_to_dial() -> None:
    """A dial that fails frees its place, with nothing to report the loss."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        stage.dialler.is_slow = True
        first, second = borrow(stage, 2)
        stage.dialler.refusals = [errors.ConnectRefused("no")]
        stage.dialler.waiting.pop(0).callback(None)
        assert isinstance(first.error, errors.ConnectRefused)
        assert second.is_in_line
        stage.dialler.waiting.pop(0).callback(None)
        assert second.got


def test_total_limit_queues_in_order() -> None:
    """At max_total requests to any origin wait in one line."""
    with script(pool=pool_of(max_total=2)) as stage:
        first, second = Borrower(stage, "a"), Borrower(stage, "b")
        third, fourth = Borrower(stage, "c"), Borrower(stage, "d")
        assert third.is_in_line
        second.drop()
        assert third.got
        assert fourth.is_in_line
        first.give_back()
        stage.turn()
        assert fourth.got
        assert first.far.is_gone


def test_total_limit_closes_the_longest_idle() -> None:
    """An idle connection makes room for one to another origin; the oldest goes first."""
    with script(pool=pool_of(max_total=2)) as stage:
        first, second = Borrower(stage, "a").use(), Borrower(stage, "b").use()
        stage.pool.release(second.got)
        stage.pool.release(first.got)
        third = Borrower(stage, "c")
        stage.turn()
        assert third.got
        assert second.far.is_gone
        assert not first.far.is_gone


def test_total_limit_uses_what_fits() -> None:
    """A connection that comes back goes to the first in line, if it leads there."""
    with script(pool=pool_of(max_total=1)) as stage:
        first, second = borrow(stage, 2)
        first.give_back()
        assert second.got is first.got
        assert len(stage.origins) == 1


def test_both_limits_at_once() -> None:
    """Who waits for room altogether, and finds the origin full then, waits on for the origin."""
    with script(pool=pool_of(max_total=2, max_per_host=1)) as stage:
        first, other = Borrower(stage, "a"), Borrower(stage, "b")
        third = Borrower(stage, "c")
        fourth = Borrower(stage, "c")
        other.drop()
        assert third.got
        first.drop()
        assert fourth.is_in_line
        third.give_back()
        assert fourth.got is third.got


@pytest.mark.parametrize("limit", ["max_per_host", "max_total"])
def test_queue_deadline(limit: str) -> None:
    """Who waits longer than queue_timeout is told so: 503."""
    with script(pool=pool_of(**{limit: 1, "queue_timeout": 2.0})) as stage:
        first, second = borrow(stage, 2)
        stage.wait(1.5)
        assert second.is_in_line
        stage.wait(1.0)
        assert isinstance(second.error, errors.Overloaded)
        assert second.error.status == 503
        first.give_back()
        assert repr(stage.pool) == "<HTTPConnectionPool 1 open, 1 idle>"


@pytest.mark.parametrize("limit", ["max_per_host", "max_total"])
def test_leaving_the_queue(limit: str) -> None:
    """Who gives up is passed over."""
    with script(pool=pool_of(**{limit: 1})) as stage:
        first, second, third = borrow(stage, 3)
        second.leaves()
        first.give_back()
        assert third.got is first.got
        assert second.upstream is None


def test_leaving_while_dialling() -> None:
    """A dial that is given up frees its place."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        stage.dialler.is_slow = True
        first = Borrower(stage)
        first.leaves()
        assert repr(stage.pool) == "<HTTPConnectionPool 0 open, 0 idle>"
        stage.dialler.is_slow = False
        assert Borrower(stage).got


def test_idle_expiry() -> None:
    """An idle connection is closed after idle_timeout, counted from its last use."""
    with script(timeouts=replace(TIMEOUTS, idle=5.0)) as stage:
        Borrower(stage).give_back()
        stage.wait(4.0)
        Borrower(stage).give_back()
        stage.wait(4.0)
        assert not stage.origin.is_gone
        stage.wait(1.5)
        assert stage.origin.is_gone
        assert len(stage.origins) == 1


@pytest.mark.parametrize("end", ["closes", "resets", "ends", "says"])
def test_liveness_watch(end: str) -> None:
    """An idle connection that ends, or on which anything arrives, is never handed out again."""
    with script() as stage:
        first = Borrower(stage).give_back()
        far = first.far
        far.says(b"HTTP/1.1 408 Request Timeout\r\n\r\n") if end == "says" else getattr(far, end)()
        # Even before the reactor has got round to closing it.
        assert Borrower(stage).got is not first.got
        stage.turn()
        assert far.is_gone


def test_a_connection_that_is_being_closed_is_not_handed_out() -> None:
    """Between the end of its idle time and the end of the connection nobody gets it."""
    with script(timeouts=replace(TIMEOUTS, idle=1.0)) as stage:
        first = Borrower(stage).give_back()
        first.far.takes = False
        first.far.write(b"a close_notify, say")
        stage.wait(1.5)
        assert not first.far.is_gone
        second = Borrower(stage)
        assert second.got is not first.got
        stage.wait(CLOSE_TIMEOUT + 0.5)
        assert first.far.reason == "ConnectionAborted"


def test_taken_at_assignment() -> None:
    """A released connection belongs to the first in line at once, and to nobody else."""
    with script(pool=pool_of(max_per_host=1, max_total=1)) as stage:
        first, second = borrow(stage, 2)
        first.give_back()
        assert second.got is first.got
        third, other = Borrower(stage), Borrower(stage, "b")
        assert third.is_in_line
        assert other.is_in_line
        assert not second.far.is_gone
        second.use()


def test_unfinished_exchanges_close_their_connection() -> None:
    """A connection that comes back in the middle of an exchange is not kept."""
    with script() as stage:
        first = Borrower(stage)
        first.drop()
        assert first.far.is_gone
        assert repr(stage.pool) == "<HTTPConnectionPool 0 open, 0 idle>"


def test_a_thousand_origins_leave_nothing_behind() -> None:
    """The pool remembers an origin only while a connection to it is open."""
    with script(timeouts=replace(TIMEOUTS, idle=1.0)) as stage:
        for number in range(1000):
            Borrower(stage, f"host{number}").give_back()
        assert repr(stage.pool) == "<HTTPConnectionPool 1000 open, 1000 idle>"
        stage.wait(2.0)
        assert repr(stage.pool) == "<HTTPConnectionPool 0 open, 0 idle>"
        assert not vars(stage.pool)["_hosts"]  # there is no public way to ask for a leak


def test_unreachable_origins_leave_nothing_behind() -> None:
    """Nor are origins remembered that refuse, or whose requests gave up in line."""
    with script(pool=pool_of(max_total=1, queue_timeout=1.0)) as stage:
        stage.dialler.refusals = [errors.ConnectRefused("no") for _ in range(100)]
        for number in range(100):
            assert Borrower(stage, f"host{number}").error
        held = Borrower(stage)
        for number in range(100):
            Borrower(stage, f"host{number}").leaves()
        late = borrow(stage, 100, "late")
        stage.wait(1.5)
        assert all(each.error for each in late)
        held.drop()
        assert not vars(stage.pool)["_hosts"]


def test_counters() -> None:
    """Dials, reuses, handshakes and resumptions are counted."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        for tls in ("full", "resumed", ""):
            stage.dialler.tls = tls
            Borrower(stage, f"tls-{tls}").give_back()
        Borrower(stage, "tls-full").give_back()
        counters = stage.pool.counters
        assert (counters.dialled, counters.reused) == (3, 1)
        assert (counters.handshakes, counters.resumed, counters.queued) == (1, 1, 0)


def test_closing() -> None:
    """Once it is closing, the pool keeps nothing: what is in use goes when it is released."""
    with script() as stage:
        idle, used = borrow(stage, 2)
        idle.give_back()
        stage.pool.closeCachedConnections()
        stage.turn()
        assert idle.far.is_gone
        assert not used.far.is_gone
        used.give_back()
        stage.turn()
        assert used.far.is_gone


def test_closing_what_is_idle() -> None:
    """What is idle goes, and the pool goes on: what is in use now is kept afterwards."""
    with script() as stage:
        idle, used = borrow(stage, 2)
        idle.give_back()
        stage.pool.closeIdleConnections()
        stage.turn()
        assert idle.far.is_gone
        used.give_back()
        stage.turn()
        assert not used.far.is_gone
        assert stage.pool.counters.dialled == 2
        borrow(stage, 1)
        assert stage.pool.counters.reused == 1


def test_long_line_that_fails_at_once() -> None:
    """However many wait, each gets his own failure, and no place is lost."""
    with script(pool=pool_of(max_per_host=1)) as stage:
        held, waiting = Borrower(stage), borrow(stage, 1000)
        stage.dialler.refusals = [errors.OriginUnreachable("down") for _ in waiting]
        held.far.resets()
        assert {type(each.error) for each in waiting} == {errors.OriginUnreachable}
        assert repr(stage.pool) == "<HTTPConnectionPool 0 open, 0 idle>"


def test_dropping_what_is_idle_to_one_origin() -> None:
    """The others' connections stay."""
    with script() as stage:
        mine, others = Borrower(stage, "a").give_back(), Borrower(stage, "b").give_back()
        for name in ("a", "never"):
            stage.pool.drop_idle(origin(name))
        stage.turn()
        assert mine.far.is_gone
        assert not others.far.is_gone


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["borrow", "back", "drop", "reset", "leave", "wait"]), st.integers(0)
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """The caps hold, no connection has two owners, and at the end everybody was served or told."""
    with script(pool=pool_of(max_per_host=2, max_total=3, max_idle_per_host=1)) as stage:
        everybody: list[Borrower] = []
        released: set[int] = set()
        for verb, number in steps:
            take_step(stage, everybody, released, verb, number)
            assert sum(not far.is_gone for far in stage.origins) <= 3
            held = [each.got for each in everybody if owns(each, released)]
            assert len(held) == len(set(held))
        for borrower in everybody:
            if owns(borrower, released):
                released.add(id(borrower))
                stage.pool.release(borrower.got)
        stage.wait(POOL.queue_timeout + 1)
        assert not any(borrower.is_in_line for borrower in everybody)


def owns(borrower: Borrower, released: set[int]) -> bool:
    """Has *borrower* a connection, and hasn't given it back?"""
    return borrower.upstream is not None and id(borrower) not in released


def take_step(
    stage: Stage, everybody: list[Borrower], released: set[int], verb: str, number: int
) -> None:
    """Do one thing to the pool."""
    if verb == "borrow":
        everybody.append(Borrower(stage, "abc"[number % 3]))
    elif verb == "wait":
        stage.wait(number % 3)
    elif verb == "leave":
        waiting = [each for each in everybody if each.is_in_line]
        if waiting:
            waiting[number % len(waiting)].leaves()
    elif holders := [each for each in everybody if owns(each, released)]:
        holder = holders[number % len(holders)]
        released.add(id(holder))
        if verb == "reset":
            holder.far.resets()
            stage.pool.release(holder.got)
        elif verb == "back" and not holder.far.is_gone:
            holder.give_back()
        else:
            stage.pool.release(holder.got)
    stage.turn()
