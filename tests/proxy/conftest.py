"""Real connections, for what memory can't do: splice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from proxyapp.net.reactor import ApplianceReactor
from tests.net.loopback import Network


@pytest.fixture(scope="session", autouse=True)
def _reserved_descriptor(twisted_greenlet: object) -> None:
    """Let Twisted open, before anybody counts, what its first port keeps for a shortage."""

    async def visit() -> None:
        first = Network(cast(ApplianceReactor, reactor))
        await first.connect()
        await first.close()

    pytest_twisted.blockon(Deferred.fromCoroutine(visit()))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def network() -> AsyncIterator[Network]:
    """Return what makes connections; they are closed at the end of the test."""
    made = Network(cast(ApplianceReactor, reactor))
    yield made
    await made.close()
