"""The bench of the cache: what counts as a hit, who takes part, and the crowd; no load is run."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from bench import client, collapse, figures, loads, nginx, options, origin, servers, subjects, works
from bench.collapse import CLIENTS, OURS, Played

HITS = figures.Round("hit 1 KiB", OURS, 10_000, 20_000_000, 2.0, 0.5, 0, 0, 0.0001, 0.002)
MINE = Played(OURS, 1, CLIENTS, 2.1, 1.0, 1 << 20)
THEIRS = Played("squid", 5, CLIENTS, 4.0, 4.0, 1 << 20)


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (HITS._replace(fetched=3), "proxyapp: the origin was asked 3 times"),
        (HITS._replace(fetched=9_000, subject="squid"), "squid: the origin was asked 9000 times"),
        (HITS._replace(errors=1), "1 errors"),
    ],
)
def test_what_is_no_hit(played: figures.Round, words: str) -> None:
    """Who asks the origin again and again has measured something else, whoever it is."""
    (found,) = works.failures(works.CACHE[0], [HITS, played], connections=32)
    assert words in found


def test_cache_works() -> None:
    """Hits have a bar, and are the ones that must be hits; no two works share a name."""
    hits = [work for work in works.CACHE if work.hits]
    assert [work.bars for work in hits] == [{"squid": 0.8}] * 2
    assert len({work.name for work in works.CACHE}) == len(works.CACHE)
    assert not any(work.hits for each in works.COMMANDS.values() for work in each)


@pytest.mark.parametrize("work", works.CACHE, ids=lambda work: work.name)
def test_a_round_without_requests(work: works.Work) -> None:
    """A subject that answered nothing divides nothing by zero."""
    nothing = HITS._replace(requests=0, octets=0)
    assert [measure.of(nothing) or 0 for measure in work.measures] == [0] * len(work.measures)


# --- The subjects ---


def ground(folder: Path, caches: bool) -> subjects.Ground:
    """Return what a subject stands on."""
    plain = ("PROGRAM", folder, 1001, 1002, 1003, folder / "files", 32, ())
    return dataclasses.replace(subjects.Ground(*plain), caches=caches)


@pytest.mark.parametrize(("caches", "memory", "disk"), [(False, 0, 0), (True, 64, 2048)])
def test_our_cache_is_off_in_other_works(
    tmp_path: Path, caches: bool, memory: int, disk: int
) -> None:
    """Nobody has a cache but where caches are measured."""
    subjects.proxyapp(ground(tmp_path, caches))
    text = (tmp_path / "proxyapp.ini").read_text()
    assert f"[cache]\nmemory = {memory}MiB\ndisk = {disk}MiB\n" in text


def test_squids_cache_is_like_ours(tmp_path: Path) -> None:
    """It has as much room as we have, collapses too, and finds its folders made."""
    subjects.squid(ground(tmp_path, caches=True))
    text = (tmp_path / "squid.conf").read_text()
    assert "cache deny" not in text
    for line in ("cache_mem 64 MB", "collapsed_forwarding on", f"{tmp_path}/cache 2048 16 16"):
        assert line in text
    folders = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()]
    assert len(folders) == 16 + 16 * 16
    assert all(path.stat().st_mode & 0o777 == 0o777 for path in folders)


def test_squid_has_no_cache_elsewhere(tmp_path: Path) -> None:
    """It forwards only, as we do."""
    subjects.squid(ground(tmp_path, caches=False))
    assert "cache deny all\n" in (tmp_path / "squid.conf").read_text()
    assert not (tmp_path / "cache").exists()


def test_who_can_cache() -> None:
    """Reference rows and tinyproxy stand aside."""
    assert [key for key, kind in subjects.KINDS.items() if kind.caches] == [OURS, "squid"]


def test_the_origin_says_what_may_be_kept(tmp_path: Path) -> None:
    """The same files are there to be kept, not to be kept, and slowly."""
    http = nginx.origin(1, 2, tmp_path, tmp_path / "server.pem")
    for words in ("/kept/", "/unkept/", "/slow/", "expires 1d", "no-store", "limit_rate 25m"):
        assert words in http


def test_new_urls() -> None:
    """What is fetched for the first time has a URL that nobody has asked for."""
    route = loads.Route(1, 2)
    first, second = loads.new_url(route, "kept/a"), loads.new_url(route, "kept/a")
    assert first.startswith("http://127.0.0.1:2/kept/a?")
    assert first != second


# --- The crowd ---


def test_collapse_failures() -> None:
    """Clients without an answer fail the run, and so does a second fetch of ours."""
    found = collapse.failures([MINE, THEIRS, MINE._replace(fetched=2), THEIRS._replace(whole=1)])
    assert found == [
        "collapse, proxyapp: the origin was asked 2 times",
        f"collapse, squid: {CLIENTS - 1} without their answer",
    ]


def test_collapse_table() -> None:
    """Each subject has a row; ours has the verdict, the other our share of its CPU time."""
    names = {OURS: OURS, "squid": "Squid"}
    title, _, _, ours, theirs = collapse.collapse_table([MINE, THEIRS], names).splitlines()
    assert title == f"{CLIENTS} clients at once, 50 MiB that come in 2 s"
    assert ours.split() == [OURS, "1", "200", "2.10", "1.00", "1.00", "<=", "1", "ok"]
    assert theirs.split() == ["Squid", "5", "200", "4.00", "4.00", "1.00", "0.25"]
    missed = collapse.collapse_table([MINE._replace(fetched=2)], {OURS: OURS})
    assert missed.endswith("MISSED")


def test_no_share_of_nothing() -> None:
    """Where one of the two wasn't measured, or cost nothing, there is no ratio."""
    assert collapse.share([MINE], "squid") == ""
    assert collapse.share([THEIRS], "squid") == ""
    assert collapse.share([MINE, THEIRS._replace(cpu_seconds=0.0)], "squid") == ""


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"", 0),
        (b"HTTP/1.1 200 OK\r\n", 0),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n0123456789", 0),
        (b"HTTP/1.1 200 OK\r\n\r\n012345678", 0),
        (b"HTTP/1.1 200 OK\r\n\r\n0123456789x", 0),
        (b"HTTP/1.1 200 OK\r\n\r\n0123456789", 2),
    ],
)
def test_a_crowd_counts_who_has_it_whole(
    answer: bytes, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a 200 with all bytes, and no more, is an answer."""
    monkeypatch.setitem(origin.SIZES, collapse.NAME, 10)
    with socket.create_server((servers.LOOPBACK, 0)) as listener:
        crowd = collapse.Crowd([client.Connection(listener.getsockname()[1]) for _ in range(2)])
        thread = threading.Thread(target=_answer_all, args=(listener, answer, 2))
        thread.start()
        us = cast(servers.Server, _Here())
        assert crowd.ask(b"GET / HTTP/1.1\r\n\r\n", us, time.monotonic() + 10) > 0
        thread.join()
    assert crowd.whole == whole


class _Here:
    def resident_bytes(self) -> int:
        """Return as many as this process may have."""
        return os.getpid()


def _answer_all(listener: socket.socket, answer: bytes, count: int) -> None:
    for _ in range(count):
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(answer)


def test_the_command_is_known() -> None:
    """`python -m bench cache` is a command."""
    assert options.parse(["cache"]).command == "cache"
