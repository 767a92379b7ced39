"""What is most likely for one client goes to that at once, and into the store if it isn't."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

from proxyapp import errors
from proxyapp.cache.alone import Alone
from proxyapp.cache.wanted import Means, Place
from proxyapp.exchange import Responder
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching.rules import CacheRule
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.messages import OutgoingResponse
from tests.cache.flowstage import FRESH, TAG, FlowReply, reply, response
from tests.store.stores import KEY, LIMITS, Bench, bench, stored
from tests.support import request_of


class Single:
    """A client that is served alone, and the store beside."""

    def __init__(self, running: Bench) -> None:
        self.running = running
        self.store = running.store
        self.reply: FlowReply = reply(running.clock)
        self.shared: list[Place] = []
        clock = running.clock
        none = cast(Responder, None)
        means = Means(running.store, none, Sweep(clock), clock.seconds, 60.0, clock)
        place = Place(KEY, CacheRule())
        self.alone = Alone(request_of(), self.reply, place, means, self.shared.append)

    def contents(self) -> list[bytes]:
        """Return what is stored."""
        return self.running.read_key(KEY)


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Single]:
    """Yield a client beside a running store."""
    with bench(tmp_path, LIMITS) as running:
        yield Single(running)


HEADS = {
    "private": (response(b"Cache-Control: private"), False),
    "nothing said": (response(), False),
    "of the moment": (response(FRESH, status=429), False),
    "for all": (response(FRESH), True),
    "to be asked about": (response(TAG), True),
}


@pytest.mark.parametrize(("head", "is_shared"), HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("is_whole", [True, False])
def test_it_passes(single: Single, head: OutgoingResponse, is_shared: bool, is_whole: bool) -> None:
    """The client has it in any case, and what is for all is stored and told."""
    if is_whole:
        single.alone.pass_on(head, b"body")
    else:
        single.alone.begin(head, CHUNKED).write(b"body")
    single.alone.end(is_complete=True)
    assert single.reply.body == b"body"
    assert single.contents() == ([b"body"] if is_shared else [])
    assert len(single.shared) == is_shared
    said = single.reply.field(b"cache-status")
    assert said == b"proxyapp; fwd=miss" + b"; stored" * is_shared


def test_interrupted(single: Single) -> None:
    """What came until the end is kept as a part."""
    single.alone.begin(response(FRESH, TAG), Framing(Kind.LENGTH, 10)).write(b"half.")
    single.alone.end(is_complete=False)
    assert [entry.extents for entry in single.store.variants(KEY)] == [((0, 5),)]


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_came_later_and_sooner_stays(single: Single, is_complete: bool) -> None:
    """A slow client's answer doesn't replace what was fetched after it."""
    single.alone.begin(response(FRESH, TAG), CHUNKED).write(b"old")
    single.running.clock.advance(5)
    now = single.running.clock.seconds()
    single.store.put(KEY, stored(b'"2"', arrived_at=now), b"new")
    single.alone.end(is_complete)
    assert single.contents() == [b"new"]


def test_a_reply_that_fails(single: Single) -> None:
    """A reply that doesn't take the answer leaves nothing behind in the store."""
    with (
        mock.patch.object(single.reply, "begin", side_effect=errors.BodyTooLarge("no")),
        pytest.raises(errors.BodyTooLarge),
    ):
        single.alone.begin(response(FRESH), CHUNKED)
    single.alone.end(is_complete=False)
    assert single.store.statistics().growing == 0
    assert not single.contents()
