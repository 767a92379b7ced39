"""Bodies that stay open for a moment: few of them, not for long, and none after the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from proxyapp.store.bodies import OpenBody, in_memory
from proxyapp.store.kept import MOST, ROUND, KeptBodies
from tests.store.stores import at_once
from tests.store.test_cache_opening import no_descriptors

CONTENT = b"content"


@pytest.fixture
def clock() -> Clock:
    """Return the time."""
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Iterator[KeptBodies]:
    """Yield what keeps bodies."""
    bodies = KeptBodies(at_once, clock)
    yield bodies
    bodies.close()
    assert not clock.getDelayedCalls()


@pytest.fixture
def body() -> Iterator[OpenBody]:
    """Yield a body."""
    found = in_memory(CONTENT)
    yield found
    found.close()


def is_kept(kept: KeptBodies, number: int) -> bool:
    """Is it there, with its content?"""
    again = kept.again(number)
    if again is None:
        return False
    content = os.pread(again.descriptor, 100, again.offset)
    again.close()
    return content == CONTENT


def test_what_was_never_kept(kept: KeptBodies) -> None:
    """It has to be opened."""
    assert kept.again(1) is None


def test_no_descriptor_is_left(kept: KeptBodies, body: OpenBody) -> None:
    """Nothing is kept then, nor found; and nothing fails."""
    with no_descriptors():
        kept.keep(1, body)
    assert kept.again(1) is None
    kept.keep(2, body)
    with no_descriptors():
        assert kept.again(2) is None
    assert is_kept(kept, 2)


def test_not_too_many(kept: KeptBodies, body: OpenBody) -> None:
    """What comes past the bound isn't kept; and one that is kept isn't kept twice."""
    before = len(os.listdir("/proc/self/fd"))
    for number in (*range(MOST + 1), 0):
        kept.keep(number, body)
    assert is_kept(kept, 0)
    assert not is_kept(kept, MOST)
    assert len(os.listdir("/proc/self/fd")) == before + MOST


def test_it_outlives_who_opened_it(kept: KeptBodies, body: OpenBody) -> None:
    """Each has a descriptor of its own."""
    kept.keep(1, body)
    body.close()
    assert is_kept(kept, 1)
    assert is_kept(kept, 1)


def test_what_is_not_asked_for_is_closed(kept: KeptBodies, body: OpenBody, clock: Clock) -> None:
    """It is as long as each round has somebody who asks; then nothing runs any more."""
    kept.keep(1, body)
    kept.keep(2, body)
    clock.advance(ROUND)
    for _ in range(3):
        assert is_kept(kept, 1)
        clock.advance(ROUND)
    assert not is_kept(kept, 2)
    clock.advance(ROUND)
    assert not is_kept(kept, 1)
    assert not clock.getDelayedCalls()


def test_nothing_is_kept_after_the_end(kept: KeptBodies, body: OpenBody, clock: Clock) -> None:
    """A thread that was slow may bring one yet."""
    kept.keep(1, body)
    kept.close()
    kept.keep(2, body)
    assert not is_kept(kept, 1)
    assert not is_kept(kept, 2)
    assert not clock.getDelayedCalls()
