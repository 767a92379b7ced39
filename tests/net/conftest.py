"""The running reactor, and connections over loopback that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import ServerFactory

from proxyapp.net.reactor import ApplianceReactor
from tests.net.loopback import Network


@pytest.fixture
def appliance() -> ApplianceReactor:
    """Return the running reactor, which is ours."""
    assert isinstance(reactor, ApplianceReactor)
    return reactor


@pytest_twisted.async_yield_fixture
async def network(appliance: ApplianceReactor) -> AsyncIterator[Network]:
    """Return what makes connections; they are closed at the end of the test."""
    made = Network(appliance)
    yield made
    await made.close()


@pytest.fixture(scope="session", autouse=True)
def _reserved_descriptor(twisted_greenlet: object) -> None:
    """Let Twisted open, before anybody counts, what its first port keeps for a shortage."""
    port = reactor.listenTCP(0, ServerFactory(), interface="127.0.0.1")
    pytest_twisted.blockon(maybeDeferred(port.stopListening))
