"""What is stored answers requests: conditions, ranges, and what the cache says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.cache import serving
from proxyapp.cache.serving import Why
from proxyapp.net.task import Task
from proxyapp.rules.caching.cachestatus import Fwd
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from proxyapp.rules.ranges import ByteRange
from proxyapp.store.entry import Entry, EntryGone, Extents, size_of
from proxyapp.wire.headers import of_lines
from tests.cache.flowstage import BLOCK, FlowReply, reply, response
from tests.store.stores import DISK_ONLY, KEY, MEMORY_ONLY, START, Bench, bench
from tests.support import request_of

SIZE = len(BLOCK)
ADDED = [b"X-Added: 1"]
LINES = [b'ETag: "1"', b"Content-Type: a/b", b"Cache-Control: max-age=60"]


def stored(status: int = 200, *lines: bytes, total: int | None = 100) -> Stored:
    """Return the head of something stored."""
    return Stored(status, b"", of_lines([*LINES, *lines]), START, START, total=total)


Case = tuple[list[tuple[bytes, bytes]], int, bytes, object]
SELECTED: dict[str, Case] = {
    "beyond one of two": ([(b"Range", b"bytes=100-,3-4")], 206, b"2", (ByteRange(3, 2),)),
    "broken": ([(b"Range", b"bytes=9-1")], 200, b"100", None),
    "another": ([(b"Range", b"bytes=0-1"), (b"If-Range", b'"2"')], 200, b"100", None),
    "weak": ([(b"Range", b"bytes=0-1"), (b"If-Range", b'W/"1"')], 200, b"100", None),
    "there already": ([(b"If-None-Match", b'W/"1"')], 304, b"", ()),
    "there, and a part": ([(b"If-None-Match", b'"1"'), (b"Range", b"bytes=0-1")], 304, b"", ()),
    "all": ([], 200, b"100", None),
    "something else": ([(b"If-None-Match", b'"2"')], 200, b"100", None),
    "the end": ([(b"Range", b"bytes=-5")], 206, b"5", (ByteRange(95, 5),)),
    "if it's the same": (
        [(b"Range", b"bytes=0-1"), (b"If-Range", b'"1"')],
        206,
        b"2",
        (ByteRange(0, 2),),
    ),
}


@pytest.mark.parametrize("case", SELECTED.values(), ids=SELECTED)
def test_what_a_request_gets(case: Case) -> None:
    """Conditions go first, then ranges, and the size is that of what is sent."""
    fields, status, size, pieces = case
    request = request_of(fields=fields).head
    selected = serving.select(request, stored(200, b"Content-Length: 100"), 100, ADDED)
    found = of_lines(list(selected.head.lines))
    assert (selected.head.status, selected.pieces) == (status, pieces)
    assert found.combined.get(b"content-length", b"") == size
    assert found.get(b"x-added") == b"1"
    assert found.get(b"etag") == b'"1"'
    assert (b"content-type" in found) is (status != 304)


def test_beyond_the_end() -> None:
    """Of what nobody has, the size is told."""
    request = request_of(fields=[(b"Range", b"bytes=100-")]).head
    with pytest.raises(errors.RangeNotSatisfiable) as caught:
        serving.select(request, stored(), 100, ADDED)
    assert caught.value.fields == ((b"Content-Range", b"bytes */100"),)


@pytest.mark.parametrize(("status", "has_size"), [(404, True), (204, False), (301, True)])
def test_other_answers_are_whole(status: int, has_size: bool) -> None:
    """Neither conditions nor ranges are about them."""
    fields = [(b"Range", b"bytes=0-1"), (b"If-None-Match", b'"1"')]
    selected = serving.select(request_of(fields=fields).head, stored(status), 0, ADDED)
    assert (selected.head.status, selected.pieces) == (status, None)
    assert (b"Content-Length: 0" in selected.head.lines) is has_size


def test_an_unknown_size() -> None:
    """While nobody knows the size there are no parts."""
    fields = [(b"Range", b"bytes=0-1")]
    selected = serving.select(request_of(fields=fields).head, stored(), None, ADDED)
    assert (selected.head.status, selected.pieces) == (200, None)
    assert not any(line.startswith(b"Content-Length") for line in selected.head.lines)


@pytest.mark.parametrize(
    ("why", "fwd", "age", "words"),
    [
        (Why.HIT, Fwd.MISS, 0, b"hit"),
        (Why.STALE, Fwd.STALE, 100, b"hit; ttl=-40; detail="),
        (Why.REVALIDATED, Fwd.STALE, 0, b"fwd=stale; fwd-status=304"),
        (Why.REVALIDATED, Fwd.REQUEST, 0, b"fwd=request; fwd-status=304"),
        (Why.MISS, Fwd.MISS, 0, b"fwd=miss; ttl=60; stored"),
        (Why.MISS, Fwd.MISS, 5, b"fwd=miss; "),
        (Why.MISS, Fwd.PARTIAL, 0, b"fwd=partial; ttl="),
        (Why.MISS, Fwd.STALE, 0, b"fwd=stale; fwd-status=200; ttl=60; stored"),
        (Why.COLLAPSED, Fwd.STALE, 5, b"fwd=stale; fwd-status=200; ttl=55; stored; collapsed"),
        (Why.COLLAPSED, Fwd.MISS, 5, b"collapsed"),
    ],
)
def test_what_the_cache_says(why: Why, fwd: Fwd, age: int, words: bytes) -> None:
    """Age is there unless it comes from the origin at this moment, and once."""
    lines = serving.status_lines(stored(), DEFAULT, START + age, why, fwd)
    ages = [line for line in lines if line.startswith(b"Age: ")]
    assert ages == ([] if why is Why.MISS and not age else [b"Age: %d" % age])
    (status,) = (line for line in lines if line.startswith(b"Cache-Status: proxyapp"))
    assert words in status


HALF: Extents = ((0, 10), (50, 60))
WHOLE: Extents = ((0, 100),)


@pytest.mark.parametrize(
    ("method", "field", "extents", "age", "fwd"),
    [
        (b"POST", None, None, 0, Fwd.METHOD),
        (b"OPTIONS", None, WHOLE, 0, Fwd.METHOD),
        (b"GET", (b"If-Match", b"*"), None, 0, Fwd.REQUEST),
        (b"HEAD", (b"Cache-Control", b"no-store"), None, 0, Fwd.REQUEST),
        (b"GET", (b"Content-Length", b"1"), None, 0, Fwd.REQUEST),
        (b"GET", (b"Cache-Control", b"no-cache"), WHOLE, 59, Fwd.REQUEST),
        (b"GET", (b"Cache-Control", b"no-cache"), WHOLE, 60, Fwd.STALE),
        (b"GET", (b"Cache-Control", b"no-cache"), None, 0, Fwd.MISS),
        (b"GET", None, WHOLE, 60, Fwd.STALE),
        (b"HEAD", None, HALF, 0, Fwd.PARTIAL),
        (b"HEAD", None, None, 0, Fwd.MISS),
    ],
)
def test_why_it_is_forwarded(
    method: bytes, field: tuple[bytes, bytes] | None, extents: Extents | None, age: int, fwd: Fwd
) -> None:
    """RFC 9211 section 2.2; where the cache is off, nothing else matters."""
    request = request_of(method, fields=[field] if field else []).head
    entry = None if extents is None else Entry(KEY, 1, stored(), size_of(extents), extents)
    assert serving.forwarding(request, entry, DEFAULT, START + age) is fwd
    off = Policy(is_off=True)
    assert serving.forwarding(request, entry, off, START + age) is Fwd.BYPASS


@pytest.mark.parametrize(
    ("pieces", "is_there"),
    [
        (None, False),
        ([ByteRange(0, 11)], False),
        ([ByteRange(0, 5), b"--", ByteRange(20, 1)], False),
        ([ByteRange(45, 10)], False),
        ((), True),
        ([ByteRange(50, 10)], True),
        ([b"--", ByteRange(0, 10), b"--", ByteRange(55, 5)], True),
    ],
)
def test_whether_a_part_has_it(pieces: list[bytes | ByteRange] | None, is_there: bool) -> None:
    """A part answers what is wholly in it, or wants no content."""
    entry = Entry(KEY, 1, stored(), 20, HALF)
    selected = serving.Selected(response(), pieces)
    assert serving.has(entry, selected) is is_there
    whole = replace(entry, size=100, extents=((0, 100),))
    assert serving.has(whole, selected)


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path, getattr(request, "param", DISK_ONLY)) as started:
        yield started


def sent(
    running: Bench, entry: Entry, method: bytes, *fields: tuple[bytes, bytes]
) -> tuple[FlowReply, Exception | None]:
    """Return what a client gets of *entry*, and how that ended."""
    request = request_of(method, fields=list(fields)).head
    selected = serving.select(request, entry.stored, entry.size, ADDED)
    client, ends = reply(running.clock), list[Exception | None]()
    work = serving.send(running.store, entry, selected, method, client)
    Task(work, ends.append).resume()
    return client, ends[0]


@pytest.mark.parametrize("running", [MEMORY_ONLY, DISK_ONLY], indirect=True, ids=["memory", "disk"])
@pytest.mark.parametrize("content", [b"", b"0123456789", BLOCK * 3], ids=["none", "short", "long"])
def test_it_is_sent(running: Bench, content: bytes) -> None:
    """Whole, in part, in parts, and as nothing but a head; from memory and from a disk."""
    entry = running.store.put(KEY, stored(), content)
    assert sent(running, entry, b"GET")[0].body == content
    assert sent(running, entry, b"HEAD")[0].body == b""
    assert sent(running, entry, b"GET", (b"If-None-Match", b'"1"'))[0].body == b""
    assert sent(running, entry, b"GET", (b"Range", b"bytes=3-8"))[0].body == content[3:9] or content
    if len(content) > 1000:
        client, _ = sent(running, entry, b"GET", (b"Range", b"bytes=0-1,5000-5001"))
        assert content[5000:5002] in client.body
        assert client.field(b"content-length") == b"%d" % len(client.body)


def test_it_is_gone(running: Bench) -> None:
    """What is gone is found out before anything is sent."""
    entry = running.store.put(KEY, stored(), BLOCK * 3)
    running.settle()
    running.store.remove(entry)
    running.settle()
    client, error = sent(running, entry, b"GET")
    assert isinstance(error, EntryGone)
    assert not client.has_begun
