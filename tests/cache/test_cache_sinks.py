"""Where fetched bodies go: into what grows, beside a client into the store, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from twisted.internet.address import UNIXAddress

from proxyapp import errors
from proxyapp.cache.growing import Growing
from proxyapp.cache.sinks import NOWHERE, GrowingSink, Inlet, Tee
from proxyapp.net import transport as net_transport
from proxyapp.store.entry import StoreFull
from proxyapp.wire.headers import NO_FIELDS
from tests.cache.flowstage import BLOCK, FlowReply, reply
from tests.store.stores import KEY, LIMITS, Bench, bench, stored

SIZE = len(BLOCK)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """Yield a running store."""
    with bench(tmp_path, LIMITS) as started:
        yield started


def tee(running: Bench, start: int = 0) -> tuple[Tee, FlowReply]:
    """Return a sink that stores from *start* on, and the client's."""
    body = running.store.begin(KEY, stored(), 3 * SIZE, None, start)
    assert body is not None
    inner = reply(running.clock)
    return Tee(body, inner), inner


@pytest.mark.parametrize("skip", [0, 1, 5, 9, 10])
def test_the_first_bytes_are_there(running: Bench, skip: int) -> None:
    """What is there already is skipped, however the bytes are cut."""
    content = b"0123456789"
    for step in range(1, 11):
        body = running.store.begin(KEY, stored(), None)
        assert body is not None
        growing = Growing(body, None)
        sink = GrowingSink(growing, 60.0, skip)
        for place in range(0, 10, step):
            sink.write(content[place : place + step])
        sink.flush()
        sink.finish(NO_FIELDS)
        assert growing.read(0, 100) == content[skip:]
        growing.finish()


def test_its_source(running: Bench) -> None:
    """What grows learns who brings the bytes, and when nobody does any more."""
    growing, source = mock.Mock(spec=Growing), mock.Mock()
    sink = GrowingSink(growing, 60.0)
    sink.transport.registerProducer(source, True)
    sink.transport.unregisterProducer()
    assert growing.pulled_by.call_args_list == [mock.call(source), mock.call(None)]
    assert not sink.is_raw
    assert sink.stall_timeout > 60.0
    assert isinstance(sink.stalled(), errors.WriteTimeout)


def test_nowhere() -> None:
    """What nobody wants is taken as fast as it comes."""
    transport = NOWHERE.transport
    transport.registerProducer(mock.Mock(), True)
    NOWHERE.write(BLOCK)
    NOWHERE.flush()
    NOWHERE.finish(NO_FIELDS)
    transport.unregisterProducer()
    assert net_transport.unsent(transport) == 0
    assert not net_transport.is_held_back(transport)
    assert isinstance(NOWHERE.stalled(), errors.InternalError)


def test_an_inlet_is_no_connection() -> None:
    """Nobody is at its other end."""
    inlet = Inlet(None)
    for say in (inlet.loseConnection, inlet.abortConnection, inlet.pauseProducing):
        say()
    inlet.write(b"x")
    inlet.resumeProducing()
    assert inlet.getHost() == inlet.getPeer() == UNIXAddress(None)


ENDS = {
    "whole": (True, True, ((0, SIZE),)),
    "interrupted": (False, True, ((0, SIZE),)),
    "not wanted": (True, False, None),
    "neither": (False, False, None),
}


@pytest.mark.parametrize(("is_complete", "is_kept", "extents"), ENDS.values(), ids=ENDS)
def test_beside_a_client(
    running: Bench, is_complete: bool, is_kept: bool, extents: tuple[tuple[int, int], ...] | None
) -> None:
    """The client has everything, and the store what there is, if it's wanted."""
    sink, inner = tee(running)
    sink.write(BLOCK)
    sink.flush()
    sink.finish(NO_FIELDS)
    sink.passed(3)
    sink.end(is_complete, is_kept)
    sink.end(is_complete, is_kept)
    assert (inner.body, inner.trailers, inner.flushes) == (BLOCK, NO_FIELDS, 1)
    found = [entry.extents for entry in running.store.variants(KEY)]
    assert found == ([] if extents is None else [extents])
    assert sink.stalled().reason == inner.stalled().reason
    assert (sink.transport, sink.stall_timeout) == (inner.transport, inner.stall_timeout)


@pytest.mark.parametrize("when", ["write", "finish"])
def test_the_store_is_full(running: Bench, when: str) -> None:
    """A client isn't told that there was no room."""
    sink, inner = tee(running)
    with mock.patch(f"proxyapp.store.bodies.GrowingBody.{when}", side_effect=StoreFull):
        sink.write(BLOCK)
        sink.write(BLOCK)
        sink.end(is_complete=True, is_kept=True)
    assert inner.body == BLOCK * 2
    assert not running.store.variants(KEY)
