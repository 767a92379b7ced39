"""The bench of the content proxy: its origin, its arithmetic and its table; no load is run."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from bench import client, fetching, options, slow
from bench.fetching import DIRECT, OURS, REGULAR, Played, Way

MINE = Played(OURS, 100, 5.0, 1.0, 0.001, 0)
THEIRS = Played(REGULAR, 60, 5.0, 1.7, 0.7, 0)


@pytest.mark.parametrize(
    ("rounds", "per_cent"),
    [
        ([], 0),
        ([MINE], 0),
        ([MINE, THEIRS._replace(mean=0.0)], 0),
        ([MINE, THEIRS], 41),
        ([MINE, MINE._replace(mean=9.0), MINE, THEIRS], 41),
    ],
)
def test_how_much_shorter(rounds: list[Played], per_cent: int) -> None:
    """It is a share of theirs, of the medians; nothing is said where one side is missing."""
    assert round(fetching.shorter(rounds)) == per_cent


@pytest.mark.parametrize(
    ("ours", "is_good"),
    [(MINE, True), (MINE._replace(mean=1.3), False), (MINE._replace(behind=0.006), False)],
)
def test_bars(ours: Played, is_good: bool) -> None:
    """Both bars have to be passed."""
    assert fetching.verdict([ours, THEIRS]).endswith("ok" if is_good else "MISSED")


def test_table() -> None:
    """Each way has a row, and ours has the verdict."""
    lines = fetching.fetch_table([MINE, THEIRS, MINE._replace(way=DIRECT)]).splitlines()
    assert [line.split("  ")[0] for line in lines[3:]] == [OURS, REGULAR, DIRECT]
    assert lines[3].split()[1:6] == ["20.0", "1,000", "1.00", "0", "41"]
    assert lines[3].endswith("ok")


def test_failures() -> None:
    """Errors, and no answer at all, make figures worthless."""
    assert fetching.failures([MINE, THEIRS]) == []
    found = fetching.failures([MINE._replace(errors=2), THEIRS._replace(requests=0)])
    assert found == [
        "fetch, proxyapp: 2 errors beside 100 requests",
        "fetch, download first: 0 errors beside 0 requests",
    ]


def test_ways_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody always comes after the same neighbour."""

    async def load(way: Way, clients: int, seconds: float) -> Played:
        return MINE._replace(way=way.name)

    monkeypatch.setattr(fetching, "load", load)
    ways = [Way(name, 0, "/") for name in "abc"]
    chosen = replace(options.Options("fetch"), rounds=3)
    assert "".join(each.way for each in fetching.play(ways, chosen)) == "abcbcacab"


def test_stamps() -> None:
    """The body begins with the time at which it was sent."""
    now = time.monotonic()
    assert len(slow.stamp(now)) == slow.STAMP_BYTES
    assert abs(float(slow.stamp(now)) - now) < 1e-6


def test_the_origin_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer is read from the real origin, made quick; another kind of answer is an error."""
    monkeypatch.setattr(slow, "THINK_SECONDS", 0.0)
    monkeypatch.setattr(slow, "BODY_SECONDS", 0.02)

    async def run() -> tuple[Played, Played]:
        server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        refusing = await asyncio.start_server(_refuse, "127.0.0.1", 0)
        other = refusing.sockets[0].getsockname()[1]
        try:
            good = await fetching.load(Way("good", port, "/"), 2, 0.05)
            return good, await fetching.load(Way("bad", other, "/"), 2, 0.05)
        finally:
            server.close()
            refusing.close()

    good, bad = asyncio.run(run())
    assert good.requests >= 2
    assert good.errors == 0
    assert good.mean >= 0.02
    assert (bad.requests, bad.errors, bad.mean, bad.behind) == (0, 2, 0.0, 0.0)


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    writer.close()


def test_another_answer_is_unexpected() -> None:
    """What isn't 200 would measure something else."""

    async def run() -> None:
        server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await fetching.ask(Way("bad", port, "/"), reader, writer)
        finally:
            writer.close()
            server.close()

    with pytest.raises(client.Unexpected):
        asyncio.run(run())
