"""Parents as destinations: any address the ini names is trusted, but for our own proxy ports."""

from __future__ import annotations

import pytest

from proxyapp import errors
from proxyapp.proxy.destinations import Destinations
from proxyapp.rules.access import Access
from tests.support import AccessOptions, DestinationsSection

OWN = frozenset(("192.0.2.254", "127.0.0.1", "::1"))


def judge(everything: bool = False) -> Destinations:
    """Return the judge of a machine with the addresses OWN, whose proxy is on port 3128."""
    access = Access(AccessOptions(DestinationsSection(everything=everything)), None, ())
    return Destinations(access, OWN.__contains__, [3128])


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.254", "::1", "::ffff:127.0.0.1"])
def test_we_are_no_parent_of_ours(address: str) -> None:
    """However it is spelled, our own proxy is not dialled as a parent."""
    with pytest.raises(errors.LoopDetected) as raised:
        judge(everything=True).parent("p.example", address, 3128)
    assert "[upstream] proxy" in raised.value.reason


@pytest.mark.parametrize(
    ("address", "port"), [("10.0.0.1", 3128), ("127.0.0.1", 3129), ("8.8.8.8", 3128)]
)
def test_what_the_ini_names_is_trusted(address: str, port: int) -> None:
    """A parent may be in the LAN, and on this machine on another port."""
    judge().parent("p.example", address, port)


def test_an_address_that_is_asked_of_a_parent() -> None:
    """Our own proxy by its address is a loop, also when a parent would come back to it."""
    with pytest.raises(errors.LoopDetected):
        judge(everything=True).by_parent("192.0.2.254", 3128)
    with pytest.raises(errors.DestinationDenied):
        judge().by_parent("10.0.0.1", 80)
    judge().by_parent("8.8.8.8", 80)
    judge().by_parent("www.example", 80)
