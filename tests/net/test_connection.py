"""connection: who hears of which end, how often, and what a protocol's mistake costs."""

from __future__ import annotations

import pytest
from twisted.internet.protocol import Protocol

from proxyapp.net.reactor import ApplianceReactor
from tests.conftest import LoggedErrors
from tests.net.loopback import Network, flow, turn


class Told:
    """Stands before a reactor and counts what it is told."""

    def __init__(self, reactor: ApplianceReactor) -> None:
        self._reactor = reactor
        self.told: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name in ("addReader", "removeReader", "addWriter", "removeWriter"):
            self.told.append(name)
        return getattr(self._reactor, name)


@pytest.mark.parametrize("half", ["readConnectionLost", "writeConnectionLost"])
@flow
async def test_mistake_in_a_half_close(
    network: Network, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    """A mistake of the protocol when it hears of half an end is logged, and ends it all."""
    ours, peer = await network.connect()

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ours, half, fail)
    if half == "readConnectionLost":
        peer.end_output()
    else:
        ours.transport.loseWriteConnection()
    await ours.lost
    assert ours.ends == ["ZeroDivisionError"]
    assert len(logged_errors.flush(ZeroDivisionError)) == 1


@flow
async def test_no_half_closes_for_others(network: Network) -> None:
    """A protocol that knows no half-close has lost its connection when the input ends."""
    ours, peer = await network.connect()

    class Plain(Protocol):
        ends = 0

        def connectionLost(self, reason: object = None) -> None:
            self.ends += 1
            ours.connectionLost()

    plain = ours.transport.protocol = Plain()
    ours.transport.loseWriteConnection()
    assert plain.ends == 0
    peer.end_output()
    await ours.lost
    assert plain.ends == 1


@flow
async def test_lost_once(network: Network) -> None:
    """However many ways lead to the end, the protocol hears of it once."""
    ours, peer = await network.connect()
    transport = ours.transport
    transport.loseConnection()
    peer.reset()
    transport.abortConnection()
    transport.loseConnection()
    await ours.lost
    await turn()
    assert ours.ends == ["ConnectionAborted"]


@flow
async def test_reactor_is_told_once(network: Network, appliance: ApplianceReactor) -> None:
    """The reactor hears of changes only."""
    ours, peer = await network.connect()
    reactor = Told(appliance)
    ours.transport.reactor = reactor  # type: ignore[assignment]  # as good as one
    for _ in range(2):
        ours.transport.startReading()
        ours.transport.stopWriting()
    assert reactor.told == []
    for _ in range(2):
        ours.transport.pauseProducing()
    for _ in range(2):
        ours.transport.resumeProducing()
    assert reactor.told == ["removeReader", "addReader"]
    peer.end_output()
    await ours.until(lambda: ours.ends == ["input"])
    ours.transport.loseConnection()
    await ours.lost
    assert reactor.told == ["removeReader", "addReader", "removeReader"]


@flow
async def test_paused_connection_is_reset(network: Network) -> None:
    """A connection that isn't read is lost when writing finds it broken."""
    ours, peer = await network.connect()
    ours.transport.pauseProducing()
    peer.reset()
    while not ours.ends:
        ours.transport.write(b"?")
        await turn()
    assert ours.ends == ["ConnectionLost"]
    ours.transport.resumeProducing()
    await turn()
    assert ours.ends == ["ConnectionLost"]
