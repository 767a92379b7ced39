"""The running reactor, and connections over loopback that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet import reactor

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
