"""Questions and orders at the control socket, on a real one, with a store in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater

from proxyapp.cache.control import BATCH, CacheControl
from proxyapp.cache.prefetch import Prefetch
from proxyapp.exchange import Reply, Request
from proxyapp.net.reactor import ApplianceReactor, IApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.rules.question import Decision
from proxyapp.service.control import ControlSocket
from proxyapp.store.entry import Entry
from tests.cache.cachestage import NOW, RULES, Chain, FakeStore, UnixTalk, entry
from tests.site.sitestage import blocking
from tests.support import RecordList
from tests.talk import Response

A, B, TLS = b"http://a.example/1", b"http://a.example/2", b"https://a.example/1"


class Desk:
    """The control socket of a cache, and a client that blocks."""

    def __init__(self, folder: Path, reactor: ApplianceReactor) -> None:
        self.reactor = reactor
        self.store = FakeStore()
        self.chain = Chain()
        self.sweep = Sweep(reactor)
        self.sweep.start()
        prefetch = Prefetch(
            self.chain,
            lambda question: Decision(True, "", ""),
            RecordList(),
            lambda: NOW,
            reactor,
        )
        control = CacheControl(self.store, RULES, prefetch, lambda: NOW, reactor)
        appliance = cast(IApplianceReactor, reactor)
        self.socket = ControlSocket(folder, control, self.sweep, appliance)
        self.socket.start()

    def connect(self) -> UnixTalk:
        """Return a connection."""
        return UnixTalk(self.socket.path)

    def ask(self, method: str, command: str, what: bytes = b"") -> Response:
        """Ask on a connection of its own."""
        line = f"{method} /{command}?{quote(what, safe='')} HTTP/1.1\r\nHost: x\r\n\r\n"
        with self.connect() as talk:
            talk.send(line.encode())
            return talk.response()

    async def close(self) -> None:
        """Close it, when all connections are gone."""
        await self.socket.stop()
        self.sweep.stop()
        await deferLater(self.reactor, 0, lambda: None)


@pytest.fixture
def desk(tmp_path: Path, reactor: ApplianceReactor) -> Iterator[Desk]:
    """Yield the control socket of an empty cache."""
    opened = Desk(tmp_path, reactor)
    yield opened
    pytest_twisted.blockon(Deferred.fromCoroutine(opened.close()))


def lines(response: Response) -> list[dict[str, object]]:
    """Return the objects of an answer."""
    return [json.loads(line) for line in response.body.splitlines() if line]


@pytest.mark.parametrize(
    ("method", "command", "what", "status", "reason"),
    [
        ("GET", "nothing", b"", 404, "no such command"),
        ("GET", "", b"", 404, "no such command"),
        ("POST", "list", b"", 405, "another method's"),
        ("GET", "purge", b"*", 405, "another method's"),
        ("GET", "list", b"tag:", 400, "no tag behind tag:"),
        ("GET", "list", b"a.example", 400, "isn't a complete URL"),
        ("GET", "show", b"", 400, "isn't a complete URL"),
        ("GET", "show", A, 404, "nothing is stored for this URL"),
        ("POST", "purge", b"", 400, "say what"),
        ("POST", "pin", b"http://a b/", 400, "percent-encoded"),
        ("POST", "prefetch", b"/x", 400, "isn't a complete URL"),
    ],
)
@blocking
def test_refusals(
    desk: Desk, method: str, command: str, what: bytes, status: int, reason: str
) -> None:
    """What can't be carried out is answered in words, as JSON."""
    answer = desk.ask(method, command, what)
    assert answer.status == status
    assert reason in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        (b"", [A, B, TLS]),
        (b"*", [A, B, TLS]),
        (A, [A]),
        (b"http://b.example/", []),
        (b"http://A.example:80/*", [A, B]),
        (b"*/1", [A, TLS]),
        (b"tag:news", [B]),
    ],
)
@blocking
def test_list(desk: Desk, what: bytes, keys: list[bytes]) -> None:
    """What is meant is listed, one line each."""
    desk.store.held = [entry(A), entry(B, tags=b"news, other"), entry(TLS)]
    answer = desk.ask("GET", "list", what)
    assert answer.status == 200
    assert answer.head.one(b"content-type") == b"application/x-ndjson"
    assert [str(line["url"]).encode() for line in lines(answer)] == keys
    assert all("fields" not in line for line in lines(answer))


@blocking
def test_a_long_list(desk: Desk) -> None:
    """However long it is, a reader that takes nothing has little of it made."""
    desk.store.held = [entry(b"http://a.example/%d" % number) for number in range(20_000)]
    with desk.connect() as talk:
        talk.send(b"GET /list?* HTTP/1.1\r\nHost: x\r\n\r\n")
        head = talk.head()
        desk.ask("GET", "show", b"http://a.example/1")  # others are answered meanwhile
        assert desk.store.told < 15_000
        body, _ = talk.body(head, is_request=False)
    assert len(body.splitlines()) == desk.store.told == 20_000


@blocking
def test_who_leaves_a_list(desk: Desk) -> None:
    """Nobody goes through the rest for a client that has gone."""
    desk.store.held = [entry(b"http://a.example/%d" % number) for number in range(20_000)]
    with desk.connect() as talk:
        talk.send(b"GET /list?* HTTP/1.1\r\nHost: x\r\n\r\n")
        talk.head()
    assert desk.ask("GET", "list", b"http://a.example/1").status == 200
    assert desk.store.told < 20_000 - BATCH


@blocking
def test_show(desk: Desk) -> None:
    """All variants of one URL are told, with their heads."""
    held = [entry(A, b"one"), entry(A, b"other"), entry(B)]
    held[1].is_pinned = True
    desk.store.held = held
    first, second = lines(desk.ask("GET", "show", b"HTTP://a.example/1"))
    assert first["fields"] == [["Cache-Control", "max-age=60"], ["Cache-Tag", ""]]
    assert (first["size"], first["fresh_for"], first["is_in_memory"]) == (3, 60, True)
    assert (second["size"], second["is_pinned"], second["extents"]) == (5, True, [[0, 5]])


@pytest.mark.parametrize(
    ("what", "count", "left"),
    [
        (b"http://b.example/", 0, [A, B, TLS]),
        (A, 1, [B, TLS]),
        (b"http://a.example/*", 2, [TLS]),
        (b"tag:news", 1, [A, TLS]),
        (b"*", 3, []),
    ],
)
@blocking
def test_purge(desk: Desk, what: bytes, count: int, left: list[bytes]) -> None:
    """What is meant goes, and nothing else."""
    desk.store.held = [entry(A), entry(B, tags=b"news"), entry(TLS)]
    assert lines(desk.ask("POST", "purge", what)) == [{"count": count}]
    assert [each.key for each in desk.store.held] == left


@blocking
def test_pin_and_unpin(desk: Desk) -> None:
    """Every variant of a URL is pinned, and can be unpinned."""

    def pinned() -> list[Entry]:
        return [each for each in desk.store.held if each.is_pinned]

    desk.store.held = [entry(A, b"one"), entry(A, b"other"), entry(B)]
    assert lines(desk.ask("POST", "pin", A)) == [{"count": 2}]
    assert len(pinned()) == 2
    assert lines(desk.ask("POST", "unpin", A)) == [{"count": 2}]
    assert not pinned()
    assert lines(desk.ask("POST", "pin", TLS)) == [{"count": 0}]


@pytest.mark.parametrize("is_stored", [True, False])
@blocking
def test_prefetch(desk: Desk, is_stored: bool) -> None:
    """The outcome says whether the store has it, which is so a moment after the answer."""

    async def answer(request: Request, reply: Reply) -> None:
        desk.reactor.callLater(0, setattr, desk.store, "held", [entry(A)] if is_stored else [])
        reply.record.cache = "miss"
        reply.record.status, reply.record.sent = 200, 5

    desk.chain.acts = [answer]
    (outcome,) = lines(desk.ask("POST", "prefetch", A))
    assert (outcome["status"], outcome["size"], outcome["cache"]) == (200, 5, "miss")
    assert outcome["is_stored"] is is_stored


@blocking
def test_leaving_ends_a_prefetch(desk: Desk) -> None:
    """A fetch for somebody who has gone is given up."""
    ended: list[str] = []

    async def wait(request: Request, reply: Reply) -> None:
        try:
            await Deferred()
        finally:
            ended.append("given up")

    desk.chain.acts = [wait]
    with desk.connect() as talk:
        talk.send(b"POST /prefetch?" + quote(A, safe="").encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        while not desk.chain.requests:
            desk.ask("GET", "list")
    while not ended:
        desk.ask("GET", "list")


@blocking
def test_statistics(desk: Desk) -> None:
    """What the store holds is told as it says it."""
    desk.store.held = [entry(A)]
    (told,) = lines(desk.ask("GET", "statistics"))
    assert (told["entries"], told["is_failing"]) == (1, False)


@pytest_twisted.ensureDeferred
async def test_without_a_socket(tmp_path: Path, reactor: ApplianceReactor) -> None:
    """Where the folder can't be used, or another has the socket, the service goes on without."""
    (tmp_path / "file").write_text("")
    stuck = Desk(tmp_path / "file", reactor)
    first, second = Desk(tmp_path, reactor), Desk(tmp_path, reactor)
    assert repr(stuck.socket).endswith(" closed>")
    assert repr(second.socket).endswith(" closed>")
    await stuck.close()
    await second.close()
    assert first.socket.path.is_socket()
    await maybeDeferred(lambda: Deferred.fromCoroutine(first.close()))
