"""What passes by tells the cache what isn't right any more, and now and then what is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

from proxyapp import errors
from proxyapp.cache.sinks import Tee
from proxyapp.cache.wanted import Means, Place
from proxyapp.cache.witness import Witness
from proxyapp.exchange import Responder
from proxyapp.net.timers import Sweep
from proxyapp.rules.caching import keys
from proxyapp.rules.caching.cachestatus import Fwd
from proxyapp.rules.caching.rules import CacheRule
from proxyapp.store.entry import Entry
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.target import Origin
from tests.cache.flowstage import FRESH, TAG, FlowReply, reply, response
from tests.store.stores import LIMITS, Bench, bench, stored
from tests.support import request_of

URL = b"http://a.example/"
RULE = CacheRule()


class Passing:
    """A request that passes by, and what is stored meanwhile."""

    def __init__(self, running: Bench) -> None:
        self.store = running.store
        self.reply: FlowReply = reply(running.clock)
        self.outdated: list[bytes] = []
        self._means = Means(
            running.store,
            cast(Responder, None),
            Sweep(running.clock),
            running.clock.seconds,
            60.0,
            running.clock,
        )

    def there(self, *paths: bytes) -> None:
        """Store something under each of *paths*."""
        for path in paths:
            self.store.put(URL + path, stored(arrived_at=0.0), b"there")

    def by(self, method: bytes, path: bytes = b"", *fields: tuple[bytes, bytes]) -> Witness:
        """Return the witness of a request."""
        request = request_of(method, URL + path, list(fields))
        outdate = self.outdated.append
        return Witness(request, self.reply, self._means, _place, outdate, Fwd.METHOD)

    def is_valid(self, path: bytes = b"") -> bool:
        """Is what is stored under *path* still good?"""
        return not self.entry(path).stored.is_invalid

    def entry(self, path: bytes = b"") -> Entry:
        """Return the one that is stored."""
        (entry,) = self.store.variants(URL + path)
        return entry


def _place(origin: Origin, path: bytes) -> Place:
    return Place(keys.key(origin, path, RULE), RULE)


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[Passing]:
    """Yield what passes by, beside a running store."""
    with bench(tmp_path, LIMITS) as running:
        yield Passing(running)


@pytest.mark.parametrize(
    ("method", "status", "is_valid"),
    [
        (b"POST", 200, False),
        (b"PUT", 201, False),
        (b"DELETE", 204, False),
        (b"PATCH", 303, False),
        (b"POST", 404, True),
        (b"POST", 503, True),
        (b"GET", 200, True),
        (b"OPTIONS", 200, True),
    ],
)
def test_changes(passing: Passing, method: bytes, status: int, is_valid: bool) -> None:
    """A change that was made outdates what is stored, and what is being fetched."""
    passing.there(b"")
    passing.by(method).pass_on(response(status=status), b"")
    assert passing.is_valid() is is_valid
    assert passing.outdated == ([] if is_valid else [URL])
    assert passing.reply.field(b"cache-status") == b"proxyapp; fwd=method"


def test_that_it_is_old_is_said_first(passing: Passing) -> None:
    """What another worker stores meanwhile would be missed by both otherwise."""
    said: list[list[bytes]] = []
    look = mock.Mock(side_effect=lambda key: said.append(passing.outdated[:]))
    with mock.patch.object(passing.store, "invalidate", look):
        passing.by(b"PUT").pass_on(response(), b"")
    assert said == [[URL]]


def test_what_else_has_changed(passing: Passing) -> None:
    """So does what the answer names, if it's the same origin's."""
    passing.there(b"", b"new", b"list", b"other")
    lines = (b"Location: /new", b"Content-Location: http://a.example/list", b"Link: </other>")
    passing.by(b"POST").begin(response(*lines, status=201), CHUNKED)
    assert [passing.is_valid(path) for path in (b"", b"new", b"list", b"other")] == [
        False,
        False,
        False,
        True,
    ]
    assert sorted(passing.outdated) == [URL, URL + b"list", URL + b"new"]


@pytest.mark.parametrize(
    ("lines", "status", "is_valid", "is_new"),
    [
        ((TAG, b"X-New: 1"), 200, True, True),
        ((b'ETag: "2"',), 200, False, False),
        ((TAG, b"Content-Length: 99"), 200, False, False),
        ((), 404, False, False),
        ((), 503, True, False),
        ((), 304, True, False),
    ],
)
def test_heads(
    passing: Passing, lines: tuple[bytes, ...], status: int, is_valid: bool, is_new: bool
) -> None:
    """The answer to HEAD says whether what is stored is right, and what is new of it."""
    passing.there(b"")
    passing.by(b"HEAD").begin(response(*lines, status=status), Framing(Kind.NONE))
    assert passing.is_valid() is is_valid
    assert (b"x-new" in passing.entry().stored.fields) is is_new


def test_a_head_of_nothing(passing: Passing) -> None:
    """Of what isn't stored a HEAD says nothing."""
    passing.by(b"HEAD").pass_on(response(TAG), b"")
    assert not passing.store.variants(URL)


SHARED = (FRESH, b"Content-Location: /")


@pytest.mark.parametrize("is_complete", [True, False])
def test_answers_to_post(passing: Passing, is_complete: bool) -> None:
    """What a POST says that GET would answer is stored, if it comes to its end."""
    witness = passing.by(b"POST")
    sink = witness.begin(response(*SHARED, TAG), CHUNKED)
    assert isinstance(sink, Tee)
    sink.write(b"new")
    witness.end(is_complete)
    assert passing.reply.body == b"new"
    assert len(passing.store.variants(URL)) == is_complete


@pytest.mark.parametrize(
    "lines", [(FRESH,), (b"Content-Location: /",), (b"Cache-Control: no-store", SHARED[1])]
)
def test_most_answers_to_post(passing: Passing, lines: tuple[bytes, ...]) -> None:
    """Others are for this request only."""
    witness = passing.by(b"POST")
    assert witness.begin(response(*lines), CHUNKED) is passing.reply
    witness.end(is_complete=True)
    assert not passing.store.variants(URL)


def test_a_reply_that_fails(passing: Passing) -> None:
    """A reply that doesn't take the answer leaves nothing behind."""
    witness = passing.by(b"POST")
    with (
        mock.patch.object(passing.reply, "begin", side_effect=errors.BodyTooLarge("no")),
        pytest.raises(errors.BodyTooLarge),
    ):
        witness.begin(response(*SHARED), CHUNKED)
    witness.end(is_complete=False)
    assert passing.store.statistics().growing == 0
