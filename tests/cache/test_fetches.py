"""What the origin is asked for each client, and who may wait for whose answer."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from proxyapp.cache.fetches import _MOST_KEPT_UP, Fetches
from proxyapp.cache.fill import Fill
from proxyapp.cache.wanted import Means, Passed, Place
from proxyapp.exchange import Reply, Request
from proxyapp.net.task import Wakeup
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.rules import CacheRule, OnRange
from proxyapp.rules.memory import REMEMBERED
from proxyapp.store.entry import Entry
from tests.cache.flowstage import reply, rule
from tests.store.stores import KEY, LIMITS, Bench, bench, stored
from tests.support import request_of

Pairs = list[tuple[bytes, bytes]]
RANGE = (b"Range", b"bytes=5-9")
NOTHING = "nothing"
WHOLE = "whole"
PART = "part"
MIDDLE = "from the middle"
JUDGED = CacheRule(policy=Policy(ignore=frozenset((b"authorization",))))
FILL = rule(OnRange.FILL)


class Silence:
    """An origin's responder that never answers."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        self.asked.append(request)
        answer: Awaitable[None] = Wakeup()
        await answer


class Board:
    """Fetches, and what they're made of."""

    def __init__(self, running: Bench) -> None:
        self.running = running
        self.origin = Silence()
        self.sweep = Sweep(running.clock)
        self.sweep.start()
        clock = running.clock
        means = Means(running.store, self.origin, self.sweep, clock.seconds, 60.0, clock)
        self.fetches = Fetches(means)

    def there(self, what: str) -> Entry | None:
        """Store *what*, and return it."""
        store = self.running.store
        if what == NOTHING:
            return None
        if what == WHOLE:
            return store.put(KEY, stored(), b"0123456789")
        start = 0 if what == PART else 3
        body = store.begin(KEY, stored(), 10, None, start)
        assert body is not None
        body.write(b"0123456789"[start:5])
        return body.suspend()

    def new(self, fields: Pairs, what: str = NOTHING, by: CacheRule | None = None) -> Fill:
        """Return the fetch for a request with *fields*."""
        request = request_of(fields=fields)
        fill = self.fetches.new(request, Place(KEY, by or CacheRule()), self.there(what))
        assert isinstance(fill, Fill)
        return fill

    def joinable(self, fields: Pairs, by: CacheRule | None = None) -> bool:
        """May a request with *fields* wait for a fetch?"""
        place = Place(KEY, by or CacheRule())
        return self.fetches.joinable(request_of(fields=fields), place) is not None

    def leave(self, fill: Fill) -> None:
        """Let somebody join *fill*, and leave again."""
        fill.leave(fill.join(reply(self.running.clock)))
        self.running.clock.advance(0)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """Yield a board beside a running store."""
    with bench(tmp_path, LIMITS) as running:
        found = Board(running)
        yield found
        found.sweep.stop()


VALIDATING: Pairs = [(b"If-None-Match", b'"1"')]
REST: Pairs = [(b"Range", b"bytes=5-"), (b"If-Range", b'"1"')]
LANGUAGE = (b"Accept-Language", b"de")
# What the client says, what is there, by which rule; what is asked, and whether others may join.
ASKED: dict[str, tuple[Pairs, str, CacheRule, Pairs, bool]] = {
    "nothing": ([], NOTHING, rule(), [], True),
    "a whole": ([LANGUAGE], WHOLE, rule(), [LANGUAGE, *VALIDATING], True),
    "a whole, and a range": ([RANGE], WHOLE, rule(), VALIDATING, True),
    "a whole, and a condition": ([(b"If-None-Match", b'"0"')], WHOLE, rule(), VALIDATING, True),
    "a range": ([RANGE], NOTHING, rule(), [RANGE], False),
    "a range, to fill": ([RANGE, LANGUAGE], NOTHING, FILL, [LANGUAGE], True),
    "a range of a part": ([RANGE], PART, rule(), [RANGE], False),
    "the rest": ([], PART, rule(), REST, True),
    "the rest, and a condition": ([(b"If-None-Match", b'"1"')], PART, rule(), REST, True),
    "from the middle": ([], MIDDLE, rule(), [], True),
    "a condition": (VALIDATING, NOTHING, rule(), VALIDATING, False),
    "judged by the origin": ([], NOTHING, JUDGED, [], False),
}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_what_is_asked(board: Board, case: tuple[Pairs, str, CacheRule, Pairs, bool]) -> None:
    """What is there helps, and only what is for everybody is for others as well."""
    fields, there, by, asking, is_shared = case
    fill = board.new(fields, there, by)
    assert fill.wanted.asking.fields == request_of(fields=asking).head.fields
    assert board.joinable([], by) is is_shared
    assert fill.wanted.request.head.fields == request_of(fields=fields).head.fields


@pytest.mark.parametrize(
    ("fields", "is_joined"),
    [
        ([(b"Cache-Control", b"no-cache")], False),
        ([(b"Cache-Control", b"max-age=0")], False),
        ([(b"Pragma", b"no-cache")], False),
        ([RANGE], True),
        ([(b"If-None-Match", b'"0"')], True),
        ([(b"Authorization", b"Basic eDp5")], True),
    ],
)
def test_who_joins(board: Board, fields: Pairs, is_joined: bool) -> None:
    """Who has wishes about how good the answer is asks for himself."""
    assert not board.joinable(fields)
    board.new([])
    assert board.joinable(fields) is is_joined


def test_a_fetch_that_has_ended(board: Board) -> None:
    """Nobody joins what is over, and nothing is left of it."""
    fill = board.new([])
    assert repr(board.fetches) == "<Fetches 1>"
    board.leave(fill)
    assert repr(board.fetches) == "<Fetches 0>"
    assert not board.joinable([])


def test_the_newest_is_joined(board: Board) -> None:
    """Of two the later is joined, and the end of the earlier one changes nothing."""
    first, second = board.new([]), board.new([(b"Cache-Control", b"no-cache")])
    board.leave(first)
    assert board.fetches.joinable(request_of(), Place(KEY, CacheRule())) is second


def test_a_change_ends_joining(board: Board) -> None:
    """Nobody joins what may be old."""
    board.new([])
    board.fetches.outdate(KEY)
    assert not board.joinable([])


@pytest.mark.parametrize(("asked_at", "is_invalid"), [(-1, True), (0, True), (1, False)])
def test_a_change_outdates(board: Board, asked_at: int, is_invalid: bool) -> None:
    """What was asked for before a change isn't trusted; what was afterwards, is."""
    now = board.running.clock.seconds()
    board.there(WHOLE)
    board.fetches.outdate(KEY)
    board.fetches.outdate(KEY + b"/other")
    board.fetches.check(KEY, now + asked_at)
    (entry,) = board.running.store.variants(KEY)
    assert entry.stored.is_invalid is is_invalid


def test_a_change_elsewhere(board: Board) -> None:
    """What another process says of a change counts as what is said here."""
    board.new([])
    board.there(WHOLE)
    other = board.running.another()
    assert other.store.sharing is not None
    other.store.sharing.outdated.note(KEY, other.clock.seconds())
    other.stop()
    assert not board.joinable([])
    board.fetches.check(KEY, board.running.clock.seconds())
    (entry,) = board.running.store.variants(KEY)
    assert entry.stored.is_invalid


def test_what_goes_on_without_clients_is_bounded(board: Board) -> None:
    """Neither validations nor fills take all the connections; when some end, others may begin."""
    entry = board.there(WHOLE)
    assert entry is not None
    for number in range(_MOST_KEPT_UP + 5):
        board.fetches.validate(request_of(), Place(b"%d" % number, CacheRule()), entry)
    assert len(board.origin.asked) == _MOST_KEPT_UP
    fill = board.new([RANGE], by=FILL)
    assert board.joinable([], FILL)
    board.leave(fill)
    assert not board.joinable([], FILL)
    board.fetches._kept_up.pop()
    board.leave(board.new([RANGE], by=FILL))
    assert board.joinable([], FILL)


def test_validation_behind(board: Board) -> None:
    """It is asked about once, and for GET only."""
    entry = board.there(WHOLE)
    assert entry is not None
    place = Place(KEY, CacheRule())
    board.fetches.validate(request_of(b"HEAD"), place, entry)
    assert not board.origin.asked
    board.fetches.validate(request_of(), place, entry)
    board.fetches.validate(request_of(), place, entry)
    (asked,) = board.origin.asked
    assert asked.head.fields.get(b"if-none-match") == b'"1"'


@pytest.mark.parametrize(("key", "is_known"), [(KEY, True), (KEY + b"x" * 2000, False)])
def test_memory_is_bounded(board: Board, key: bytes, is_known: bool) -> None:
    """What is for one client is remembered, but neither long keys nor any number of them."""
    for number in range(REMEMBERED + 10):
        place = Place(b"%b%d" % (key, number), CacheRule())
        fill = board.fetches.new(request_of(), place, None)
        assert isinstance(fill, Fill)
        fill.outcome = Passed(None)
        member = fill.join(reply(board.running.clock))
        fill.leave(member)
        board.running.clock.advance(0)
    assert board.fetches.is_unshared(place) is is_known
    assert len(board.fetches._unshared) <= REMEMBERED
