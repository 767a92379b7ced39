"""The cache from outside: real clients, a real origin, and what each of them gets to see."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Route, Routes, Visit, exactly, fixed
from tests.talk import Response, Talk

FRESH = b"Cache-Control: max-age=1000"
STALE = b"Cache-Control: max-age=0, stale-if-error=1000"
TAG = b'ETag: "one"'
BIG = bytes(range(256)) * 1024 * 8  # 2 MiB


@pytest.fixture(scope="module")
def caching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with a cache, shared by the tests of this module."""
    with start(tmp_path_factory.mktemp("caching")) as running:
        yield running


Ask = Callable[..., Response]


@pytest.fixture
def ask(caching: Running, connect: Connect, origin: Origin[Routes]) -> Ask:
    """Return what asks the origin for a path through the cache, on a connection of its own."""

    def asked(path: str, *lines: str, method: str = "GET") -> Response:
        talk = connect(caching.proxy)
        talk.send(request(origin, path, *lines, method=method))
        return talk.response(method.encode())

    return asked


def request(origin: Origin[Routes], path: str, *lines: str, method: str = "GET") -> bytes:
    """Return the bytes of a request for *path* of *origin*."""
    start_line = f"{method} http://{origin.authority}{path} HTTP/1.1"
    return "\r\n".join([start_line, f"Host: {origin.authority}", *lines, "", ""]).encode()


def cache_status(response: Response) -> bytes:
    """Return what the cache says of itself, without what changes with time."""
    parts = response.head.one(b"cache-status").split(b"; ")
    return b"; ".join(part for part in parts if not part.startswith((b"ttl=", b"detail=")))


def visits(origin: Origin[Routes]) -> int:
    """Return how often the origin was asked."""
    return len(origin.served.visits)


# --- Hits and misses ---

HIT = b"proxyapp; hit"
MISS = b"proxyapp; fwd=miss; stored"
PASSED = b"proxyapp; fwd=miss"


@pytest.mark.parametrize("body", [b"", b"small", BIG], ids=["empty", "small", "big"])
def test_stored_and_served(ask: Ask, origin: Origin[Routes], body: bytes) -> None:
    """What is fresh comes from the cache, whole, and says so."""
    origin.served.on(b"/", fixed(body, FRESH, TAG))
    first, second = ask("/"), ask("/")
    assert (cache_status(first), first.body) == (MISS, body)
    assert (cache_status(second), second.body) == (HIT, body)
    assert second.head.one(b"etag") == b'"one"'
    assert int(second.head.one(b"age")) < 5
    assert visits(origin) == 1


def test_chunked_is_stored(ask: Ask, origin: Origin[Routes]) -> None:
    """A body of unknown length is stored as well, and has a length then."""
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=99\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin.served.on(b"/", exactly(head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"))
    assert [ask("/").body for _ in range(2)] == [b"abcdefg"] * 2
    assert ask("/").head.one(b"content-length") == b"7"
    assert visits(origin) == 1


NOT_STORED: dict[str, Route] = {
    "no-store": fixed(b"x", b"Cache-Control: no-store"),
    "private": fixed(b"x", b"Cache-Control: private, max-age=9"),
    "no lifetime": fixed(b"x"),
    "vary *": fixed(b"x", FRESH, b"Vary: *"),
    "of the moment": fixed(b"x", FRESH, start=b"HTTP/1.1 429 Slowly"),
}


@pytest.mark.parametrize("route", NOT_STORED.values(), ids=NOT_STORED)
def test_not_stored(ask: Ask, origin: Origin[Routes], route: Route) -> None:
    """What may not be stored is fetched each time."""
    origin.served.on(b"/", route)
    assert [ask("/").body for _ in range(3)] == [b"x"] * 3
    assert visits(origin) == 3


@pytest.mark.parametrize("body", [b"small", BIG], ids=["small", "big"])
def test_what_was_for_one_is_stored_later(ask: Ask, origin: Origin[Routes], body: bytes) -> None:
    """An origin that changes its mind is noticed, though its answers weren't for others before."""
    origin.served.on(b"/", fixed(body, b"Cache-Control: no-store"))
    before = [ask("/") for _ in range(2)]
    assert [(cache_status(each), each.body) for each in before] == [(PASSED, body)] * 2
    origin.served.on(b"/", fixed(body, FRESH, TAG))
    after = [ask("/") for _ in range(3)]
    assert [cache_status(each) for each in after] == [MISS, HIT, HIT]
    assert [each.body for each in after] == [body] * 3
    assert visits(origin) == 3


def test_what_breaks_off_alone_is_completed(ask: Ask, origin: Origin[Routes]) -> None:
    """Half of an answer that nobody else could join isn't served for the whole."""
    origin.served.on(b"/", fixed(BIG, b"Cache-Control: no-store"))
    ask("/"), ask("/")
    head = b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\nContent-Length: %d\r\n\r\n"
    origin.served.on(b"/", exactly(head % (FRESH, TAG, len(BIG)) + BIG[:100_000], is_last=True))
    with pytest.raises((AssertionError, ConnectionError)):
        ask("/")
    origin.served.on(b"/", fixed(BIG, FRESH, TAG))
    assert ask("/").body == BIG


def test_head_is_answered(ask: Ask, origin: Origin[Routes]) -> None:
    """HEAD is answered from a stored GET."""
    origin.served.on(b"/", fixed(b"12345", FRESH))
    ask("/")
    answer = ask("/", method="HEAD")
    assert (answer.head.one(b"content-length"), cache_status(answer)) == (b"5", HIT)
    assert visits(origin) == 1


def test_only_if_cached(ask: Ask, origin: Origin[Routes]) -> None:
    """What isn't there is 504 for who wants nothing else, even where only the origin can answer."""
    wish = "Cache-Control: only-if-cached"
    assert ask("/none", wish).status == 504
    assert ask("/none", f"{wish}, no-store").status == 504
    assert ask("/none", wish, 'If-Match: "1"').status == 504
    assert ask("/none", wish, "Content-Length: 0", method="POST").status == 504
    assert visits(origin) == 0


def test_vary(ask: Ask, origin: Origin[Routes]) -> None:
    """Each variant is stored for its own."""

    def route(visit: Visit) -> None:
        fixed(visit.head.one(b"accept-language"), FRESH, b"Vary: Accept-Language")(visit)

    origin.served.on(b"/", route)
    bodies = [ask("/", f"Accept-Language: {each}").body for each in ("de", "fr", "de", "fr")]
    assert bodies == [b"de", b"fr", b"de", b"fr"]
    assert visits(origin) == 2


def test_post_outdates(ask: Ask, origin: Origin[Routes]) -> None:
    """A successful POST makes what is stored invalid."""
    origin.served.on(b"/", fixed(b"x", FRESH, TAG))
    ask("/")
    ask("/", "Content-Length: 0", method="POST")
    ask("/")
    assert [visit.method for visit in origin.served.visits] == [b"GET", b"POST", b"GET"]


# --- Validation ---


def validated(content: bytes, tag: bytes, *fields: bytes) -> Route:
    """Answer 304 to who has *tag* already."""

    def route(visit: Visit) -> None:
        if visit.head.all(b"if-none-match") == [tag]:
            visit.answer(b"HTTP/1.1 304 Not Modified\r\nETag: ", tag, b"\r\n\r\n")
        else:
            fixed(content, b"ETag: " + tag, *fields)(visit)

    return route


def test_revalidated(ask: Ask, origin: Origin[Routes]) -> None:
    """A stale one is asked about, and served if it is still right."""
    origin.served.on(b"/", validated(b"same", b'"1"', b"Cache-Control: max-age=0"))
    ask("/")
    again = ask("/")
    assert again.body == b"same"
    assert cache_status(again) == b"proxyapp; fwd=stale; fwd-status=304"
    origin.served.on(b"/", validated(b"other", b'"2"', b"Cache-Control: max-age=0"))
    assert ask("/").body == b"other"
    assert visits(origin) == 3


def test_client_has_it(ask: Ask, origin: Origin[Routes]) -> None:
    """A client's own copy is judged by what is stored."""
    origin.served.on(b"/", fixed(b"x", FRESH, TAG))
    ask("/")
    answer = ask("/", 'If-None-Match: "one"')
    assert (answer.status, answer.head.one(b"etag")) == (304, b'"one"')
    assert ask("/", 'If-None-Match: "two"').status == 200
    assert visits(origin) == 1


def test_stale_while_revalidate(ask: Ask, origin: Origin[Routes]) -> None:
    """The old one is served at once, and renewed behind."""
    origin.served.on(b"/", fixed(b"old", b"Cache-Control: max-age=0, stale-while-revalidate=99"))
    ask("/")
    origin.served.on(b"/", fixed(b"new", FRESH))
    assert ask("/").body == b"old"
    wait_for(lambda: ask("/").body == b"new", "the new one")
    assert visits(origin) == 2


IN_TROUBLE: dict[str, Route] = {
    "closed": exactly(b"", is_last=True),
    "503": fixed(b"sorry", start=b"HTTP/1.1 503 Busy"),
}


@pytest.mark.parametrize("route", IN_TROUBLE.values(), ids=IN_TROUBLE)
def test_stale_if_error(ask: Ask, origin: Origin[Routes], route: Route) -> None:
    """If the origin is in trouble the old one does."""
    origin.served.on(b"/", fixed(b"old", STALE))
    ask("/")
    origin.served.on(b"/", route)
    answer = ask("/")
    assert (answer.status, answer.body) == (200, b"old")
    assert b"detail=" in answer.head.one(b"cache-status")


# --- Collapsed forwarding ---


class Gate:
    """An origin's answer that goes on when the test says so."""

    def __init__(self, head: bytes, *pieces: bytes) -> None:
        self._head = head
        self._pieces = pieces
        self.asked = threading.Event()
        self._steps = threading.Semaphore(0)

    def __call__(self, visit: Visit) -> None:
        """See Route."""
        self.asked.set()
        for piece in (self._head, *self._pieces):
            assert self._steps.acquire(timeout=20)
            visit.answer(piece)

    def go(self, steps: int = 1) -> None:
        """Let it send so many pieces more, the head being the first."""
        for _ in range(steps):
            self._steps.release()


def head_of(length: int, *fields: bytes) -> bytes:
    """Return the head of a 200 with so long a body."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % length, *fields, b"", b""]
    return b"\r\n".join(lines)


def test_many_one_fetch(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Who asks meanwhile follows the one fetch, from the beginning and at once."""
    gate = Gate(head_of(2 * len(BIG), FRESH), BIG, BIG)
    origin.served.on(b"/", gate)
    talks = [connect(caching.proxy) for _ in range(8)]
    talks[0].send(request(origin, "/"))
    gate.asked.wait(20)
    gate.go(2)
    head = talks[0].head()
    talks[0].skip(len(BIG))
    for talk in talks[1:]:
        talk.send(request(origin, "/"))
    for talk in talks[1:]:
        found = talk.head()
        assert b"collapsed" in found.one(b"cache-status")
        assert talk.exactly(len(BIG)) == BIG
    gate.go()
    for talk in talks:
        assert talk.exactly(len(BIG)) == BIG
    assert head.one(b"content-length") == b"%d" % (2 * len(BIG))
    assert visits(origin) == 1


def test_slow_follower_slows_nobody(
    caching: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """Who reads nothing doesn't keep the others from the end."""
    content = BIG * 8
    origin.served.on(b"/", fixed(content, FRESH))
    before = caching.memory()
    slow, quick = connect(caching.proxy), connect(caching.proxy)
    slow.send(request(origin, "/"))
    slow.head()
    quick.send(request(origin, "/"))
    assert quick.response().body == content
    assert caching.grown(before) < 12 << 20
    assert slow.exactly(len(content)) == content
    assert visits(origin) == 1


def test_followers_are_released(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """As soon as the head says that it isn't to be shared everybody asks for its own."""
    gate = Gate(head_of(4, b"Cache-Control: private"), b"mine")
    origin.served.on(b"/", gate)
    leader, follower = connect(caching.proxy), connect(caching.proxy)
    leader.send(request(origin, "/"))
    gate.asked.wait(20)
    follower.send(request(origin, "/"))
    time.sleep(0.1)  # it waits for the leader's head, which nothing outside shows
    assert visits(origin) == 1
    origin.served.on(b"/", fixed(b"yours", b"Cache-Control: private"))
    gate.go()
    assert follower.response().body == b"yours"
    gate.go()
    assert leader.response().body == b"mine"


def test_leader_leaves(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """A fetch that others follow goes on without the one that it was begun for."""
    gate = Gate(head_of(2 * len(BIG), FRESH), BIG, BIG)
    origin.served.on(b"/", gate)
    leader, follower = connect(caching.proxy), connect(caching.proxy)
    leader.send(request(origin, "/"))
    gate.asked.wait(20)
    gate.go(2)
    leader.head()
    follower.send(request(origin, "/"))
    follower.head()
    leader.reset()
    gate.go()
    assert follower.exactly(2 * len(BIG)) == BIG + BIG
    assert visits(origin) == 1


def test_nobody_left(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """A fetch that nobody follows any more, and that isn't nearly done, is given up."""
    ended = threading.Event()

    def endless(visit: Visit) -> None:
        visit.answer(head_of(1 << 40, FRESH))
        try:
            while True:
                visit.answer(BIG)
        finally:
            ended.set()

    origin.served.on(b"/", endless)
    talk = connect(caching.proxy)
    talk.send(request(origin, "/"))
    talk.skip(len(BIG))
    talk.reset()
    assert ended.wait(20)


# --- Ranges ---


def ranged(content: bytes, *fields: bytes) -> Route:
    """Answer a range with a 206, as servers do."""

    def route(visit: Visit) -> None:
        wanted = visit.head.all(b"range")
        if not wanted:
            fixed(content, *fields)(visit)
            return
        first, _, last = wanted[0].removeprefix(b"bytes=").partition(b"-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        place = b"Content-Range: bytes %d-%d/%d" % (start, end, len(content))
        part = fixed(content[start : end + 1], place, *fields, start=b"HTTP/1.1 206 Part")
        part(visit)

    return route


def test_ranges_of_the_whole(ask: Ask, origin: Origin[Routes]) -> None:
    """A stored response answers ranges, one or several, and If-Range."""
    origin.served.on(b"/", ranged(BIG, FRESH, TAG))
    ask("/")
    part = ask("/", "Range: bytes=10-19")
    assert (part.status, part.body) == (206, BIG[10:20])
    assert part.head.one(b"content-range") == b"bytes 10-19/%d" % len(BIG)
    several = ask("/", "Range: bytes=0-0,5000-5001")
    assert several.status == 206
    assert BIG[5000:5002] in several.body
    assert ask("/", "Range: bytes=5-9", 'If-Range: "two"').status == 200
    assert ask("/", f"Range: bytes={len(BIG)}-").status == 416
    assert visits(origin) == 1


def test_parts_are_joined(ask: Ask, origin: Origin[Routes]) -> None:
    """Parts that were fetched are stored, and are the whole when all are there."""
    origin.served.on(b"/", ranged(BIG, FRESH, TAG))
    half = len(BIG) // 2
    assert ask("/", f"Range: bytes=0-{half - 1}").body == BIG[:half]
    assert ask("/", "Range: bytes=100-199").body == BIG[100:200]
    assert visits(origin) == 1
    assert ask("/", f"Range: bytes={half}-").body == BIG[half:]
    assert visits(origin) == 2
    whole = ask("/")
    assert (whole.status, whole.body, visits(origin)) == (200, BIG, 2)


def test_the_rest_is_fetched(ask: Ask, origin: Origin[Routes]) -> None:
    """Of what is there in part only the rest is asked for."""
    origin.served.on(b"/", ranged(BIG, FRESH, TAG))
    half = len(BIG) // 2
    ask("/", f"Range: bytes=0-{half - 1}")
    whole = ask("/")
    assert (whole.status, whole.body) == (200, BIG)
    assert origin.served.visits[-1].head.one(b"range") == b"bytes=%d-" % half
    assert origin.served.visits[-1].head.one(b"if-range") == b'"one"'


def test_another_version_voids_the_parts(ask: Ask, origin: Origin[Routes]) -> None:
    """Parts of different versions are never joined."""
    origin.served.on(b"/", ranged(BIG, FRESH, TAG))
    half = len(BIG) // 2
    ask("/", f"Range: bytes=0-{half - 1}")
    other = BIG[::-1]
    origin.served.on(b"/", fixed(other, FRESH, b'ETag: "two"'))
    assert ask("/").body == other


# --- Interruptions ---


def test_download_goes_on(ask: Ask, origin: Origin[Routes]) -> None:
    """An interrupted fetch is taken up where it broke off, and the client notices nothing."""
    rest = ranged(BIG, FRESH, TAG)

    def broken(visit: Visit) -> None:
        visit.answer(head_of(len(BIG), FRESH, TAG), BIG[: 1 << 20])
        visit.is_last = True
        origin.served.on(b"/", rest)

    origin.served.on(b"/", broken)
    answer = ask("/")
    assert answer.body == BIG
    assert origin.served.visits[-1].head.one(b"range") == b"bytes=%d-" % (1 << 20)
    assert ask("/").body == BIG
    assert visits(origin) == 2


def test_another_version_ends_it(
    caching: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """What broke off is never completed with something else: the client sees a cut connection."""

    def broken(visit: Visit) -> None:
        visit.answer(head_of(len(BIG), FRESH, TAG), BIG[: 1 << 20])
        visit.is_last = True
        origin.served.on(b"/", fixed(BIG[::-1], FRESH, b'ETag: "two"'))

    origin.served.on(b"/", broken)
    talk = connect(caching.proxy)
    talk.send(request(origin, "/"))
    talk.head()
    with pytest.raises((EOFError, ConnectionResetError)):
        talk.exactly(len(BIG))


# --- The log, and no cache at all ---


def test_the_log_knows(caching: Running, ask: Ask, origin: Origin[Routes]) -> None:
    """Each line says what the cache did."""
    origin.served.on(b"/known", fixed(b"x", FRESH))
    before = caching.logged
    ask("/known")
    ask("/known")

    def lines() -> list[str]:
        found = caching.log.read_text()[before:].splitlines()
        mine = [line for line in found if f"{origin.authority}/known" in line]
        return mine if len(mine) == 2 else []

    assert [json.loads(line)["cache"] for line in wait_for(lines, "lines")] == ["miss", "hit"]


def test_switched_off(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """Without memory and disk nothing is stored, and nothing is said of a cache."""
    origin.served.on(b"/", fixed(b"x", FRESH))
    with start_appliance("[cache]\nmemory = 0\ndisk = 0\n") as running:
        for _ in range(2):
            talk: Talk = connect(running.proxy)
            talk.send(request(origin, "/"))
            assert not talk.response().head.all(b"cache-status")
    assert visits(origin) == 2
