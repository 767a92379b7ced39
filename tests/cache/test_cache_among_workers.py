"""Collapsed forwarding among the worker processes of one service."""

from __future__ import annotations

import json
import threading

import pytest

from tests.appliance import wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, Visit, fixed

WORKERS = "[proxyapp]\nworkers = 2\n"
BIG = bytes(range(256)) * 1024 * 4  # 1 MiB
CLIENTS = 16


def test_one_fetch_for_all_workers(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """What one worker fetches the clients of the other follow while it comes."""
    go_on = threading.Event()
    half = len(BIG) // 2

    def slowly(visit: Visit) -> None:
        head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=99\r\nContent-Length: %d\r\n\r\n"
        visit.answer(head % len(BIG), BIG[:half])
        assert go_on.wait(20)
        visit.answer(BIG[half:])

    origin.served.on(b"/", slowly)
    line = b"GET %b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (origin.url, origin.authority.encode())
    with start_appliance(WORKERS) as running:
        talks = [connect(running.proxy) for _ in range(CLIENTS)]
        for talk in talks:
            talk.send(line)
        assert all(talk.head().start.endswith(b"200 OK") for talk in talks)
        assert [talk.exactly(half) for talk in talks] == [BIG[:half]] * CLIENTS
        go_on.set()
        assert [talk.exactly(half) for talk in talks] == [BIG[half:]] * CLIENTS
        lines = [json.loads(each) for each in running.lines(CLIENTS)]
    assert len(origin.served.visits) == 1
    assert sorted(each["cache"] for each in lines) == ["collapsed"] * (CLIENTS - 1) + ["miss"]


@pytest.mark.parametrize("fields", [(b"Cache-Control: private",), (b"Cache-Control: max-age=99",)])
def test_short_and_unshared(
    start_appliance: StartAppliance,
    connect: Connect,
    origin: Origin[Routes],
    fields: tuple[bytes, ...],
) -> None:
    """Short answers reach everybody, and what isn't for all is fetched for each."""
    gate = threading.Event()

    def route(visit: Visit) -> None:
        assert gate.wait(20)
        fixed(b"short", *fields)(visit)

    origin.served.on(b"/", route)
    line = b"GET %b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (origin.url, origin.authority.encode())
    with start_appliance(WORKERS) as running:
        talks = [connect(running.proxy) for _ in range(CLIENTS)]
        for talk in talks:
            talk.send(line)
        wait_for(lambda: origin.served.visits, "visit")
        gate.set()
        assert [talk.response().body for talk in talks] == [b"short"] * CLIENTS
    if fields == (b"Cache-Control: max-age=99",):
        # A worker that finds the index busy asks for itself.
        assert len(origin.served.visits) <= 2
    else:
        assert len(origin.served.visits) == CLIENTS
