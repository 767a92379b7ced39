"""What comes of a fetch is judged once, by its head, and goes where that says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

from proxyapp import errors
from proxyapp.cache.growing import Growing
from proxyapp.cache.intake import AskAgain, Intake
from proxyapp.cache.sinks import NOWHERE, GrowingSink, Tee
from proxyapp.cache.wanted import Means, Outcome, Passed, Place, Ready, Wanted
from proxyapp.exchange import Responder
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching import parts
from proxyapp.rules.caching.rules import OnRange
from proxyapp.store.entry import Entry
from proxyapp.store.store import StoreLimits
from proxyapp.stream import Sink
from proxyapp.wire.framing import CHUNKED, NO_BODY, Framing, Kind
from proxyapp.wire.messages import OutgoingResponse
from tests.cache.flowstage import FRESH, TAG, FlowReply, reply, response, rule
from tests.store.stores import KEY, LIMITS, MIB, Bench, bench, stored
from tests.support import request_of

ERROR = errors.ResponseIncomplete("cut")
OTHER = b'ETag: "2"'
RANGE = (b"Range", b"bytes=0-9")


def length(size: int) -> Framing:
    """Return the framing of *size* bytes."""
    return Framing(Kind.LENGTH, size)


class Desk:
    """An Intake for one request, with whom it is for and what it settles."""

    def __init__(self, running: Bench) -> None:
        self.store = running.store
        self.means = Means(
            running.store,
            cast(Responder, None),
            Sweep(running.clock),
            running.clock.seconds,
            60.0,
            running.clock,
        )
        self.leader: FlowReply | None = reply(running.clock)
        self.outcomes: list[Outcome] = []
        self.intake: Intake | None = None

    def wants(
        self,
        *fields: tuple[bytes, bytes],
        entry: Entry | None = None,
        end: int | None = None,
        on_range: OnRange = OnRange.STORE,
        is_plain: bool = False,
    ) -> Desk:
        """Let this be wanted; *is_plain* asks for the whole, whatever the client asked for."""
        request = request_of(fields=list(fields))
        asking = parts.unconditional(request.head) if is_plain else request.head
        wanted = Wanted(request, asking, Place(KEY, rule(on_range)), entry, end)
        self.intake = Intake(self.means, wanted, lambda: self.leader, self.outcomes.append)
        return self

    def takes(
        self, head: OutgoingResponse, how: Framing = CHUNKED, whole: bytes | None = None
    ) -> Sink:
        """Let *head* come."""
        assert self.intake is not None
        return self.intake.take(head, how, whole)

    def ends(self, error: errors.ExchangeError | None = None) -> None:
        """Let it be over."""
        assert self.intake is not None
        self.intake.end(error)

    @property
    def settled(self) -> Outcome:
        """The one thing that was settled."""
        (outcome,) = self.outcomes
        return outcome

    @property
    def entry(self) -> Entry | None:
        """What is stored."""
        return next(iter(self.store.variants(KEY)), None)


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path, getattr(request, "param", LIMITS)) as started:
        yield started


@pytest.fixture
def desk(running: Bench) -> Desk:
    """Return a desk at that store."""
    return Desk(running)


def part_of(size: int, start: int, end: int, *lines: bytes) -> OutgoingResponse:
    """Return the head of a 206."""
    return response(b"Content-Range: bytes %d-%d/%d" % (start, end - 1, size), *lines, status=206)


def put_part(running: Bench, end: int, total: int) -> Entry:
    """Store the first *end* of *total* bytes."""
    body = running.store.begin(KEY, stored(), total)
    assert body is not None
    body.write(bytes(end))
    entry = body.suspend()
    assert entry is not None
    return entry


# --- Nothing is there ---

PASSED: dict[str, tuple[OutgoingResponse, list[tuple[bytes, bytes]]]] = {
    "private": (response(b"Cache-Control: private"), []),
    "no-store": (response(b"Cache-Control: no-store", TAG), []),
    "an error": (response(status=503), []),
    "304": (response(TAG, status=304), [(b"If-None-Match", b'"1"')]),
    "206 of nothing asked": (part_of(100, 0, 10, FRESH), []),
    "several parts": (response(FRESH, status=206), [RANGE]),
    "a weak part": (part_of(100, 0, 10, FRESH, b'ETag: W/"1"'), [RANGE]),
    "a part of what": (response(b"Content-Range: bytes 0-9/*", FRESH, TAG, status=206), [RANGE]),
}


@pytest.mark.parametrize("case", PASSED.values(), ids=PASSED)
@pytest.mark.parametrize("whole", [None, b"body"])
def test_for_one_only(
    desk: Desk,
    case: tuple[OutgoingResponse, list[tuple[bytes, bytes]]],
    whole: bytes | None,
) -> None:
    """What may not be stored goes to the leader, and says that it was a miss."""
    head, fields = case
    sink = desk.wants(*fields).takes(head, length(4), whole)
    assert isinstance(desk.settled, Passed)
    assert desk.leader is not None
    assert desk.settled.reply is desk.leader
    assert desk.leader.field(b"cache-status") == b"proxyapp; fwd=miss"
    assert sink is (desk.leader if whole is None else NOWHERE)
    assert desk.leader.body == (whole or b"")
    desk.ends()
    assert desk.entry is None


def test_whole_at_once(desk: Desk) -> None:
    """A short answer that is there as a whole is stored as that."""
    desk.wants().takes(response(FRESH), length(2), b"hi")
    assert isinstance(desk.settled, Ready)
    assert not desk.settled.was_there
    assert desk.settled.entry.content == b"hi"
    desk.ends()
    assert desk.entry is not None


@pytest.mark.parametrize("how", [length(4), CHUNKED, NO_BODY], ids=["length", "chunked", "none"])
def test_it_grows(desk: Desk, how: Framing) -> None:
    """A longer one is for everybody as soon as its head is there."""
    sink = desk.wants().takes(response(FRESH), how)
    growing = desk.settled
    assert isinstance(growing, Growing)
    assert growing.total == (4 if how.kind is Kind.LENGTH else None)
    if how is not NO_BODY:
        sink.write(b"body")
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.content == (b"" if how is NO_BODY else b"body")


def test_interrupted(desk: Desk) -> None:
    """What came until an interruption is kept as a part."""
    desk.wants().takes(response(FRESH, TAG), length(10)).write(b"half.")
    desk.ends(ERROR)
    assert desk.entry is not None
    assert desk.entry.extents == ((0, 5),)


def test_less_than_promised(desk: Desk) -> None:
    """An orderly end before the promised one is none."""
    sink = desk.wants().takes(response(FRESH, TAG), length(10))
    assert desk.intake is not None
    sink.write(b"half.")
    with pytest.raises(errors.ResponseIncomplete):
        desk.intake.check()
    sink.write(b"other")
    desk.intake.check()
    desk.ends()


def test_nobody_is_there(desk: Desk) -> None:
    """What only one may have isn't fetched for nobody."""
    desk.leader = None
    with pytest.raises(errors.ClientGone):
        desk.wants().takes(response(b"Cache-Control: private"))
    assert not desk.outcomes


@pytest.mark.parametrize(
    "running", [StoreLimits(memory=MIB, disk=MIB, max_object=100)], indirect=True, ids=["small"]
)
def test_too_long_to_be_stored(desk: Desk) -> None:
    """What doesn't fit goes to the one client."""
    assert desk.wants().takes(response(FRESH), length(101)) is desk.leader
    assert isinstance(desk.settled, Passed)


def test_no_descriptor_is_left(desk: Desk) -> None:
    """Without a descriptor for it nothing is stored, and the client has its answer."""
    with mock.patch("proxyapp.cache.growing.os.dup", side_effect=OSError(24, "no")):
        assert desk.wants().takes(response(FRESH), length(100)) is desk.leader
    assert isinstance(desk.settled, Passed)


# --- Parts ---


def test_a_part_is_stored(desk: Desk) -> None:
    """A part goes to the leader, and into the store beside."""
    sink = desk.wants(RANGE).takes(part_of(100, 0, 10, FRESH, TAG), length(10))
    assert isinstance(sink, Tee)
    assert isinstance(desk.settled, Passed)
    sink.write(b"0123456789")
    desk.ends()
    assert desk.leader is not None
    assert desk.leader.body == b"0123456789"
    assert desk.entry is not None
    assert (desk.entry.extents, desk.entry.stored.total) == (((0, 10),), 100)


def test_parts_pass_by(desk: Desk) -> None:
    """A rule may have it that parts aren't stored."""
    desk.wants(RANGE, on_range=OnRange.PASS)
    assert desk.takes(part_of(100, 0, 10, FRESH, TAG), length(10)) is desk.leader


def test_parts_grow_together(desk: Desk, running: Bench) -> None:
    """A part beside another one of the same version joins it, and its head counts."""
    entry = put_part(running, 10, 30)
    desk.wants((b"Range", b"bytes=10-19"), entry=entry)
    sink = desk.takes(part_of(30, 10, 20, FRESH, TAG, b"X-New: 1"), length(10))
    sink.write(bytes(10))
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.extents == ((0, 20),)
    assert desk.entry.stored.fields.get(b"x-new") == b"1"
    assert desk.entry.stored.fields.get(b"content-type") == b"text/plain"


def test_parts_of_another_version(desk: Desk, running: Bench) -> None:
    """A part of another version takes the place of the one that was there."""
    entry = put_part(running, 10, 30)
    desk.wants((b"Range", b"bytes=10-19"), entry=entry)
    desk.takes(part_of(30, 10, 20, FRESH, OTHER), length(10)).write(bytes(10))
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.extents == ((10, 20),)


def test_a_part_is_no_match_for_the_whole(desk: Desk, running: Bench) -> None:
    """A slow part doesn't take the place of the whole that came meanwhile."""
    sink = desk.wants(RANGE).takes(part_of(100, 0, 10, FRESH, TAG), length(10))
    sink.write(bytes(10))
    running.store.put(KEY, stored(), bytes(100))
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.is_complete


def test_the_leader_fails(desk: Desk) -> None:
    """A reply that doesn't take the part leaves nothing behind in the store."""
    assert desk.leader is not None
    desk.wants(RANGE)
    with (
        mock.patch.object(desk.leader, "begin", side_effect=errors.BodyTooLarge("no")),
        pytest.raises(errors.BodyTooLarge),
    ):
        desk.takes(part_of(100, 0, 10, FRESH, TAG), length(10))
    desk.ends(ERROR)
    assert desk.store.statistics().growing == 0


@pytest.mark.parametrize("cached", [FRESH, b"Cache-Control: no-store"])
def test_more_than_was_wanted(desk: Desk, cached: bytes) -> None:
    """The whole is fetched for a part only if it can be stored; else the part is asked for."""
    desk.wants(RANGE, is_plain=True)
    if cached is FRESH:
        desk.takes(response(cached), length(1000))
        assert isinstance(desk.settled, Growing)
        desk.ends(ERROR)
        return
    with pytest.raises(errors.ClientGone):
        desk.takes(response(cached), length(1000))
    assert desk.settled == Passed(None)


# --- Something is there ---


def put(running: Bench, *fields: bytes) -> Entry:
    """Store a whole."""
    return running.store.put(KEY, stored(), b"there")


def test_it_is_still_right(desk: Desk, running: Bench) -> None:
    """A 304 makes what is there good again, with its fields."""
    entry = put(running)
    desk.wants(entry=entry).takes(response(TAG, FRESH, b"X-New: 1", status=304), NO_BODY)
    assert isinstance(desk.settled, Ready)
    assert desk.settled.was_there
    assert desk.settled.entry.stored.fields.get(b"x-new") == b"1"
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.stored == desk.settled.entry.stored


def test_it_is_right_for_the_last_time(desk: Desk, running: Bench) -> None:
    """What a 304 forbids to store answers this once."""
    desk.wants(entry=put(running))
    desk.takes(response(TAG, b"Cache-Control: no-store", status=304), NO_BODY)
    assert isinstance(desk.settled, Ready)
    assert desk.entry is None


AGAIN: dict[str, OutgoingResponse] = {
    "another 304": response(OTHER, status=304),
    "another part": part_of(30, 10, 30, FRESH, OTHER),
    "elsewhere": part_of(30, 11, 30, FRESH, TAG),
    "another size": part_of(31, 10, 31, FRESH, TAG),
    "none": response(b"Content-Range: bytes */5", status=416),
    "no-store": part_of(30, 10, 30, b"Cache-Control: no-store", TAG),
}


@pytest.mark.parametrize("head", AGAIN.values(), ids=AGAIN)
def test_what_there_is_is_of_no_use(desk: Desk, running: Bench, head: OutgoingResponse) -> None:
    """The origin is asked again for the whole, and only once."""
    desk.wants(entry=put_part(running, 10, 30), end=10)
    with pytest.raises(AskAgain):
        desk.takes(head, length(20))
    assert not desk.outcomes
    assert desk.takes(head, length(20)) is desk.leader
    desk.ends()


@pytest.mark.parametrize("is_busy", [False, True])
def test_it_is_gone_on_with(desk: Desk, running: Bench, is_busy: bool) -> None:
    """The rest joins what is there; if somebody else does that, all is asked for."""
    entry = put_part(running, 10, 30)
    busy = running.store.begin(KEY, stored(), 30, entry, 10) if is_busy else None
    desk.wants(entry=entry, end=10)
    head = part_of(30, 10, 30, FRESH, TAG, b"X-New: 1")
    if busy is not None:
        with pytest.raises(AskAgain):
            desk.takes(head, length(20))
        busy.abandon()
        return
    sink = desk.takes(head, length(20))
    assert isinstance(desk.settled, Growing)
    assert (desk.settled.end, desk.settled.total) == (10, 30)
    assert desk.settled.stored.fields.get(b"x-new") == b"1"
    sink.write(bytes(20))
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.is_complete


NO_NEWS = [401, 407, 408, 412, 416, 421, 425, 429, 500, 503, 511]


@pytest.mark.parametrize(("status", "is_news"), [(s, False) for s in NO_NEWS] + [(404, True)])
def test_what_isnt_news(desk: Desk, running: Bench, status: int, is_news: bool) -> None:
    """What says nothing of the resource leaves what is there as good as it was."""
    entry = running.store.put(KEY, stored(arrived_at=0.0), b"x")
    head = response(b"Cache-Control: no-store", status=status)
    desk.wants((b"Cache-Control", b"no-cache"), entry=entry).takes(head, length(0))
    assert isinstance(desk.settled, Passed)
    assert desk.entry is not None
    assert desk.entry.stored.is_invalid is is_news


@pytest.mark.parametrize("tag", [TAG, OTHER])
def test_a_new_version_is_interrupted(desk: Desk, running: Bench, tag: bytes) -> None:
    """A piece of the new one isn't worth the old one while that is good for emergencies."""
    desk.wants(entry=put(running)).takes(response(FRESH, tag), length(100)).write(bytes(50))
    desk.ends(ERROR)
    assert desk.entry is not None
    assert desk.entry.content == b"there"


def test_a_new_version_of_what_is_void(desk: Desk, running: Bench) -> None:
    """A piece of the new one is worth more than what may not be used any more."""
    put(running)
    running.store.invalidate(KEY)
    desk.wants().takes(response(FRESH, OTHER), length(100)).write(bytes(50))
    desk.ends(ERROR)
    assert desk.entry is not None
    assert desk.entry.extents == ((0, 50),)


def test_the_one_asked_for_later_stays(desk: Desk, running: Bench) -> None:
    """A slow fetch doesn't overwrite what was asked for after it, and came before."""
    desk.wants().takes(response(FRESH, TAG), length(3)).write(b"old")
    running.clock.advance(5)
    running.store.put(KEY, stored(b'"2"', arrived_at=running.clock.seconds()), b"new")
    running.clock.advance(5)
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.content == b"new"


def test_the_clock_was_set(desk: Desk, running: Bench) -> None:
    """What was stored while the clock was ahead doesn't stay for that."""
    running.store.put(KEY, stored(b'"2"', arrived_at=running.clock.seconds() + 1e6), b"old")
    desk.wants().takes(response(FRESH, TAG), length(3)).write(b"new")
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.content == b"new"


# --- After an interruption ---

Rest = tuple[OutgoingResponse, Framing, type[Exception] | None]
RESTS: dict[str, Rest] = {
    "the rest": (part_of(10, 4, 10, TAG), length(6), None),
    "all again": (response(TAG), length(10), None),
    "trouble": (response(status=503), length(0), errors.BadResponse),
    "not so fast": (response(status=429), length(0), errors.BadResponse),
    "another version": (part_of(10, 4, 10, OTHER), length(6), errors.ResponseIncomplete),
    "all of another": (response(OTHER), length(10), errors.ResponseIncomplete),
    "another place": (part_of(10, 3, 10, TAG), length(7), errors.ResponseIncomplete),
    "gone": (response(status=404), length(0), errors.ResponseIncomplete),
}


@pytest.mark.parametrize("rest", RESTS.values(), ids=RESTS)
@pytest.mark.parametrize("how", [length(10), CHUNKED], ids=["length", "chunked"])
def test_the_rest_comes(desk: Desk, rest: Rest, how: Framing) -> None:
    """Only what is of the same version goes on; a new version voids what came."""
    head, rest_how, error = rest
    desk.wants().takes(response(FRESH, TAG), how).write(b"0123")
    growing = desk.settled
    assert isinstance(growing, Growing)
    if error is not None:
        with pytest.raises(error):
            desk.takes(head, rest_how)
        desk.ends(ERROR)
        assert (desk.entry is None) is (error is errors.ResponseIncomplete)
        return
    sink = desk.takes(head, rest_how)
    assert isinstance(sink, GrowingSink)
    for byte in b"0123456789"[10 - rest_how.length :]:
        sink.write(b"%c" % byte)
    desk.ends()
    assert desk.entry is not None
    assert desk.entry.content == b"0123456789"


def test_a_part_says_how_much_there_is(desk: Desk) -> None:
    """What of the rest is missing is known once a part has told the size."""
    desk.wants().takes(response(FRESH, TAG), CHUNKED).write(b"0123")
    sink = desk.takes(part_of(10, 4, 7, TAG), length(3))
    sink.write(b"456")
    assert desk.intake is not None
    with pytest.raises(errors.ResponseIncomplete):
        desk.intake.check()
    desk.ends(ERROR)
