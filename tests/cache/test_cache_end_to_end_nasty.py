"""The cache from outside, where clients, origins and the machine behave as badly as they can.

Every content says by its entity tag what it has to be, so that nothing wrong goes unnoticed.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import shake_128
from pathlib import Path

import pytest

from tests.appliance import Running, start, wait_for
from tests.conftest import Connect
from tests.origin import Origin, Routes, Visit
from tests.talk import Head, Response, Talk

FRESH = b"Cache-Control: max-age=1000"
PIECE = 64 * 1024
MIB = 1 << 20
_INI = """\
[cache]
memory = 1MiB
disk = 64MiB
max_object = 8MiB
[cache-rule fill]
match = 127.0.0.1/fill*
range = fill
"""


def content_of(tag: bytes, size: int) -> bytes:
    """Return the content that *tag* stands for."""
    return shake_128(tag.strip(b'"')).digest(size)


@pytest.fixture(scope="module")
def caching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with a small cache, shared by the tests of this module."""
    with start(tmp_path_factory.mktemp("nasty"), _INI) as running:
        yield running


class Valve:
    """An origin's content of *size* bytes, from which the test lets out so much at a time."""

    def __init__(self, size: int, tag: bytes = b'"one"', is_chunked: bool = False) -> None:
        self.content = content_of(tag, size)
        self.asked = threading.Event()
        self.ended = threading.Event()
        self._tag = tag
        self._is_chunked = is_chunked
        self._open = threading.Semaphore(0)

    def __call__(self, visit: Visit) -> None:
        """See Route."""
        self.asked.set()
        try:
            self._answer(visit)
        finally:
            self.ended.set()

    def _answer(self, visit: Visit) -> None:
        how = b"Transfer-Encoding: chunked" if self._is_chunked else b""
        how = how or b"Content-Length: %d" % len(self.content)
        self._wait()
        visit.answer(b"HTTP/1.1 200 OK\r\n", FRESH, b"\r\nETag: ", self._tag, b"\r\n", how)
        visit.answer(b"\r\n\r\n")
        for place in range(0, len(self.content), PIECE):
            self._wait()
            piece = self.content[place : place + PIECE]
            visit.answer(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece)
        if self._is_chunked:
            visit.answer(b"0\r\n\r\n")

    def _wait(self) -> None:
        assert self._open.acquire(timeout=30)

    def go(self, steps: int = 1) -> None:
        """Let so many pieces more come, the head being the first."""
        if steps:
            self._open.release(steps)


def request(origin: Origin[Routes], path: str, *lines: str, version: str = "1.1") -> bytes:
    """Return the bytes of a GET for *path* of *origin*."""
    start_line = f"GET http://{origin.authority}{path} HTTP/{version}"
    return "\r\n".join([start_line, f"Host: {origin.authority}", *lines, "", ""]).encode()


def asked(
    running: Running, connect: Connect, origin: Origin[Routes], path: str, *lines: str
) -> Talk:
    """Let a new client ask for *path*; return its connection."""
    talk = connect(running.proxy)
    talk.send(request(origin, path, *lines))
    return talk


def descriptors(running: Running) -> int:
    """Return how many descriptors the product has open."""
    return len(os.listdir(f"/proc/{running.process.pid}/fd"))


# --- Clients that leave, and clients that are slow ---


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("moment", [0, 1, 5, 30])
def test_clients_come_and_go(
    caching: Running, connect: Connect, origin: Origin[Routes], moment: int, is_chunked: bool
) -> None:
    """Whenever others leave, the leader first, who stays gets all; no descriptor is left open."""
    before = descriptors(caching)
    valve = Valve(40 * PIECE, is_chunked=is_chunked)
    origin.served.on(b"/come", valve)
    talks = [asked(caching, connect, origin, "/come")]
    assert valve.asked.wait(20)
    talks += [asked(caching, connect, origin, "/come") for _ in range(7)]
    time.sleep(0.1)  # they wait for the leader's head, which nothing outside shows
    valve.go(moment)
    for number, talk in enumerate(talks):
        if number % 2 == 0:
            talk.reset()
        elif moment:
            talk.head()
    valve.go(41 - moment)
    for talk in talks[1::2]:
        head = talk.head() if not moment else None
        assert head is None or head.start.endswith(b" 200 OK")
        body = _chunks(talk) if is_chunked else talk.exactly(len(valve.content))
        assert body == valve.content
        talk.close()
    assert len(origin.served.visits) == 1
    wait_for(lambda: descriptors(caching) <= before + 3, "end of what was open")


def _chunks(talk: Talk) -> bytes:
    head = Head(b"", b"", [(b"Transfer-Encoding", b"chunked")])
    return talk.body(head, is_request=False)[0]


def test_the_store_is_too_small(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """What grows past max_object reaches slow and fast clients, in bounded memory."""
    size = 24 * MIB
    valve = Valve(size, is_chunked=True)
    origin.served.on(b"/long", valve)
    before = caching.memory()
    slow, quick = (asked(caching, connect, origin, "/long") for _ in range(2))
    valve.go(10_000)
    slow.head()
    quick.head()
    bodies: dict[str, bytes] = {}
    reading = threading.Thread(target=lambda: bodies.update(quick=_chunks(quick)))
    reading.start()
    bodies["slow"] = _chunks(slow)
    reading.join(30)
    assert bodies["slow"] == bodies["quick"] == valve.content
    assert caching.grown(before) < 12 * MIB
    again = asked(caching, connect, origin, "/long")
    assert again.head().one(b"cache-status").startswith(b"proxyapp; fwd=")


def test_hundreds_follow(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Two hundred clients, and one fetch."""
    valve = Valve(20 * PIECE)
    origin.served.on(b"/many", valve)
    talks = [asked(caching, connect, origin, "/many")]
    assert valve.asked.wait(20)
    talks += [asked(caching, connect, origin, "/many") for _ in range(199)]
    valve.go(21)
    for talk in talks:
        assert talk.response().body == valve.content
    assert len(origin.served.visits) == 1


def test_old_clients(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """HTTP/1.0 gets chunks without their framing, until the connection ends."""
    valve = Valve(3 * PIECE, is_chunked=True)
    origin.served.on(b"/old", valve)
    old = connect(caching.proxy)
    old.send(request(origin, "/old", version="1.0"))
    assert valve.asked.wait(20)
    new = asked(caching, connect, origin, "/old")
    valve.go(4)
    assert not old.head().all(b"transfer-encoding")
    assert old.rest() == valve.content
    assert new.response().body == valve.content


def test_one_connection_many_requests(
    caching: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """Requests that are sent ahead follow what grows, one after the other."""
    valve = Valve(3 * PIECE)
    origin.served.on(b"/ahead", valve)
    talk = connect(caching.proxy)
    talk.send(
        request(origin, "/ahead"),
        request(origin, "/ahead", "Range: bytes=70000-70009"),
        request(origin, "/ahead", 'If-None-Match: "one"'),
        request(origin, "/ahead"),
    )
    assert valve.asked.wait(20)
    valve.go(4)
    answers = [talk.response() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 206, 304, 200]
    assert answers[0].body == answers[3].body == valve.content
    assert answers[1].body == valve.content[70000:70010]


# --- Ranges ---


def test_ranges_of_what_grows(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Parts that are there come at once, those that aren't as soon as they do."""
    valve = Valve(10 * PIECE)
    origin.served.on(b"/parts", valve)
    leader = asked(caching, connect, origin, "/parts")
    assert valve.asked.wait(20)
    valve.go(3)
    leader.head()
    there = asked(caching, connect, origin, "/parts", "Range: bytes=100-199").response()
    assert (there.status, there.body) == (206, valve.content[100:200])
    later = asked(caching, connect, origin, "/parts", "Range: bytes=200000-400000")
    valve.go(8)
    assert later.response().body == valve.content[200000:400001]
    assert (
        asked(caching, connect, origin, "/parts", "Range: bytes=9999999-").response().status == 416
    )
    assert leader.exactly(len(valve.content)) == valve.content
    assert len(origin.served.visits) == 1


def test_a_range_fills(caching: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """By rule the whole is fetched behind a range, though its client is gone."""
    valve = Valve(30 * PIECE)
    origin.served.on(b"/fill", valve)
    talk = asked(caching, connect, origin, "/fill", "Range: bytes=0-9")
    valve.go(2)
    assert talk.response().body == valve.content[:10]
    talk.reset()
    valve.go(29)
    assert valve.ended.wait(20)

    def is_hit() -> bool:
        answer = asked(caching, connect, origin, "/fill").response()
        assert answer.body == valve.content
        return answer.head.one(b"cache-status").startswith(b"proxyapp; hit")

    wait_for(is_hit, "the whole")
    assert len(origin.served.visits) == 1


def test_a_range_that_isnt_filled(
    caching: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """What is too long to be stored is asked for in parts, as the client did."""
    size = 9 * MIB
    content = content_of(b"big", size)

    def route(visit: Visit) -> None:
        if not visit.head.all(b"range"):
            visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % size, FRESH, b"\r\n\r\n")
            with suppress(OSError):
                visit.answer(content)
            visit.is_last = True
            return
        place = b"Content-Range: bytes 5-9/%d" % size
        visit.answer(
            b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\n", place, b"\r\n\r\n", content[5:10]
        )

    origin.served.on(b"/fill-big", route)
    for _ in range(2):
        answer = asked(caching, connect, origin, "/fill-big", "Range: bytes=5-9").response()
        assert (answer.status, answer.body) == (206, content[5:10])
    assert len(origin.served.visits) == 3


# --- Origins that break off ---


def broken(tag: bytes, size: int, cuts: list[int]) -> Callable[[Visit], None]:
    """Answer with what *tag* stands for; each time break off after one of *cuts* bytes."""
    content = content_of(tag, size)

    def route(visit: Visit) -> None:
        start = 0
        if ranges := visit.head.all(b"range"):
            start = int(ranges[0].removeprefix(b"bytes=").partition(b"-")[0])
        lines = [b"HTTP/1.1 206 Part" if start else b"HTTP/1.1 200 OK", FRESH, b"ETag: " + tag]
        if start:
            lines.append(b"Content-Range: bytes %d-%d/%d" % (start, size - 1, size))
        lines += [b"Content-Length: %d" % (size - start), b"", b""]
        end = start + cuts.pop(0) if cuts else size
        visit.is_last = end < size
        visit.answer(b"\r\n".join(lines), content[start:end])

    return route


def test_it_breaks_off_again_and_again(
    caching: Running, connect: Connect, origin: Origin[Routes]
) -> None:
    """However often it breaks off, all clients have all of it in the end."""
    size = 2 * MIB
    origin.served.on(b"/broken", broken(b'"b"', size, [100_000, 1]))
    talks = [asked(caching, connect, origin, "/broken") for _ in range(5)]
    for talk in talks:
        assert talk.response().body == content_of(b'"b"', size)
    starts = [visit.head.all(b"range") for visit in origin.served.visits]
    assert starts == [[], [b"bytes=100000-"], [b"bytes=100001-"]]


# --- Everything at once ---


class World:
    """An origin whose objects change, whose connections break, and which knows ranges or not."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._versions = dict.fromkeys(range(12), 0)

    def __call__(self, visit: Visit) -> None:
        """See Route."""
        number = int(visit.target.rpartition(b"/")[2])
        visit.read_body()
        with self._lock:
            chance = self._random.random()
            if chance < 0.1:
                self._versions[number] += 1
            tag = b'"%d-%d"' % (number, self._versions[number])
            cut = self._random.random() if self._random.random() < 0.2 else 1.0
        if visit.head.all(b"if-none-match") == [tag]:
            visit.answer(b"HTTP/1.1 304 Same\r\nETag: ", tag, b"\r\n\r\n")
            return
        size = self.size(tag)
        start, end = _range(visit, size, tag) if number % 3 else (0, size)
        is_part = (start, end) != (0, size)
        age = b"Cache-Control: max-age=%d" % (number % 2)
        lines = [b"HTTP/1.1 206 Part" if is_part else b"HTTP/1.1 200 OK", age, b"ETag: " + tag]
        if is_part:
            lines.append(b"Content-Range: bytes %d-%d/%d" % (start, end - 1, size))
        lines += [b"Content-Length: %d" % (end - start), b"", b""]
        content = content_of(tag, size)[start:end]
        visit.is_last = cut < 1.0
        visit.answer(b"\r\n".join(lines), content[: int(len(content) * cut)])

    @staticmethod
    def size(tag: bytes) -> int:
        """Return how long the content of *tag* is."""
        number = int(tag.strip(b'"').partition(b"-")[0])
        return (number + 1) * (number + 1) * 4_000


def _range(visit: Visit, size: int, tag: bytes) -> tuple[int, int]:
    """Return what is asked for, half-open."""
    given = visit.head.all(b"range")
    if not given or visit.head.all(b"if-range") not in ([], [tag]):
        return 0, size
    first, _, last = given[0].removeprefix(b"bytes=").partition(b"-")
    if not first.isdigit() or b"," in last:
        return 0, size
    return int(first), min(int(last or size), size - 1) + 1


def check(answer: Response) -> bool:
    """Is *answer* what its tag stands for? Raises AssertionError; False where there is none."""
    if answer.status not in (200, 206):
        assert answer.status in (304, 416, 502), answer.head.raw
        return False
    tag = answer.head.one(b"etag")
    content = content_of(tag, World.size(tag))
    if answer.status == 206:
        place = answer.head.one(b"content-range").removeprefix(b"bytes ")
        first, _, last = place.partition(b"/")[0].partition(b"-")
        content = content[int(first) : int(last) + 1]
    assert answer.body == content, answer.head.raw
    return True


def roam(port: int, origin: Origin[Routes], seed: int, rounds: int, found: list[object]) -> None:
    """Be a client that asks for anything in any way, and leaves whenever it likes."""
    chance = random.Random(seed)
    for _ in range(rounds):
        number = chance.randrange(12)
        size = World.size(b'"%d-0"' % number)
        start = chance.randrange(size)
        lines = chance.choice(
            [
                [],
                [],
                [],
                [f"Range: bytes={start}-{start + chance.randrange(size)}"],
                [f"Range: bytes={start}-"],
                [f'If-None-Match: "{number}-0"'],
                ["Cache-Control: no-cache"],
            ]
        )
        try:
            with Talk(_connect(port)) as talk:
                talk.send(request(origin, f"/world/{number}", *lines))
                if chance.random() < 0.25:
                    talk.socket.recv(chance.randrange(1, size))
                    talk.reset()
                    continue
                found.append(check(talk.response()))
        except (EOFError, ConnectionError):
            found.append(False)
        except AssertionError as wrong:
            found.append(wrong)


def roaming(port: int, origin: Origin[Routes], rounds: int) -> list[object]:
    """Let eight clients roam at once; return what each of their answers was."""
    seed, found = random.randrange(1 << 30), list[object]()
    threads = [
        threading.Thread(target=roam, args=(port, origin, seed + number, rounds, found))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [each for each in found if isinstance(each, AssertionError)]
    assert not wrong, f"seed {seed}: {wrong}"
    return found


def test_nothing_is_ever_mixed_up(caching: Running, origin: Origin[Routes]) -> None:
    """Amid changes, interruptions, ranges and departures each answer is of one version."""
    before = descriptors(caching)
    world = World(random.randrange(1 << 30))
    for number in range(12):
        origin.served.on(b"/world/%d" % number, world)
    found = roaming(caching.proxy, origin, 30)
    assert found.count(True) > 100
    # Some are fetched to their end without a client, or wait a while for an origin to go on.
    wait_for(lambda: descriptors(caching) <= before + 20, "end of what was open")


# --- kill -9 ---

OBJECTS = 120
_SMALL = """\
[cache]
memory = 256KiB
disk = 3MiB
max_object = 1MiB
"""


def crash_tag(number: int) -> bytes:
    """Return the entity tag of an object."""
    return b'"object %d"' % number


def crash_content(number: int) -> bytes:
    """Return the content of an object: from 0 to 200 KB of it."""
    tag = crash_tag(number)
    return content_of(tag, int.from_bytes(shake_128(tag).digest(3)) % 200_000 * (number % 7 > 0))


def serve_object(visit: Visit) -> None:
    """Answer with an object, in pieces."""
    content = crash_content(int(visit.target.rpartition(b"/")[2]))
    tag = crash_tag(int(visit.target.rpartition(b"/")[2]))
    size = b"Content-Length: %d" % len(content)
    visit.answer(b"\r\n".join([b"HTTP/1.1 200 OK", FRESH, b"ETag: " + tag, size, b"", b""]))
    for place in range(0, len(content), 20_000):
        visit.answer(content[place : place + 20_000])


def fill_until_killed(running: Running, origin: Origin[Routes], fills: int, seed: int) -> int:
    """Ask for objects at random, and kill the product in the middle of that.

    Return how many were answered.
    """
    is_killed, answered = threading.Event(), threading.Semaphore(0)
    counts: list[int] = []

    def ask(number: int) -> None:
        chance, count = random.Random(seed + number), 0
        with suppress(OSError, EOFError):
            while not is_killed.is_set():
                wanted = chance.randrange(OBJECTS)
                with Talk(_connect(running.proxy)) as talk:
                    talk.send(request(origin, f"/crash/{wanted}"))
                    assert talk.response().body == crash_content(wanted)
                count += 1
                answered.release()
        counts.append(count)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(fills):
        assert answered.acquire(timeout=60)
    running.process.kill()
    is_killed.set()
    for thread in threads:
        thread.join()
    return sum(counts)


def test_kill_9_amid_fills_and_evictions(tmp_path: Path, origin: Origin[Routes]) -> None:
    """After kill -9, again and again, everything that is served is what its origin has."""
    for number in range(OBJECTS):
        origin.served.on(b"/crash/%d" % number, serve_object)
    seed, hits = random.randrange(1 << 30), 0
    for number in range(4):
        # What the last kill left is looked at by the process that is killed next.
        with start(tmp_path, _SMALL) as running:
            if number:
                hits += look_at_all(running, origin, seed)
            if number < 3:
                fills = 100 + random.Random(seed + number).randrange(100)
                assert fill_until_killed(running, origin, fills, seed + 10 * number) >= fills
    assert hits > 12, f"seed {seed}"


def look_at_all(running: Running, origin: Origin[Routes], seed: int) -> int:
    """Ask for every object; return how many were there still, and were right."""
    hits = 0
    with Talk(_connect(running.proxy)) as talk:
        for wanted in range(OBJECTS):
            talk.send(request(origin, f"/crash/{wanted}"))
            answer = talk.response()
            assert answer.body == crash_content(wanted), f"seed {seed}, object {wanted}"
            assert answer.head.one(b"etag") == crash_tag(wanted)
            hits += b"; hit" in answer.head.one(b"cache-status")
    return hits


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)
