"""entrances: the ports of each section."""

from __future__ import annotations

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.protocol import Factory

from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.sockets import listen_by_endpoint
from proxyapp.service.entrances import Entrances

awaiting = pytest_twisted.ensureDeferred
_ANY = "tcp:0:interface=127.0.0.1"


@pytest.fixture
def factory() -> Factory:
    """Return a factory of nothing."""
    made = Factory()
    made.noisy = False
    return made


@awaiting
async def test_ports(reactor: ApplianceReactor, factory: Factory) -> None:
    """Each section has its ports and their numbers; the numbers are known when they are closed."""
    entrances = Entrances(listen_by_endpoint(reactor))
    entrances.open("proxy", [_ANY, _ANY], factory)
    entrances.open("site", [], factory)
    numbers = [port.getHost().port for port in entrances.ports["proxy"]]
    assert entrances.numbers == {"proxy": numbers, "site": []}
    assert repr(entrances) == f"<Entrances {entrances.numbers}>"
    await entrances.close()
    assert entrances.ports == {"proxy": [], "site": []}
    assert entrances.numbers["proxy"] == numbers
    await entrances.close()


@awaiting
async def test_one_more(reactor: ApplianceReactor, factory: Factory) -> None:
    """A section that is open may get another port, which isn't told to anybody."""
    entrances = Entrances(listen_by_endpoint(reactor))
    entrances.open("site", [_ANY], factory)
    entrances.open_also("site", _ANY)
    assert (len(entrances.ports["site"]), len(entrances.numbers["site"])) == (2, 1)
    await entrances.close()


@awaiting
async def test_taken(reactor: ApplianceReactor, factory: Factory) -> None:
    """What can't be opened is a sentence for the admin."""
    entrances = Entrances(listen_by_endpoint(reactor))
    entrances.open("site", [_ANY], factory)
    taken = f"tcp:{entrances.numbers['site'][0]}:interface=127.0.0.1"
    with pytest.raises(SystemExit, match=f"cannot listen on {taken}: Address already in use"):
        entrances.open("proxy", [taken], factory)
    await entrances.close()
