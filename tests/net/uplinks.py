"""Uplinks for tests of those who need one."""

from __future__ import annotations

from twisted.internet.defer import succeed
from twisted.internet.interfaces import IReactorTime

from proxyapp.net.routes import Ways
from proxyapp.net.uplink import Uplink


def always_up(clock: IReactorTime) -> Uplink:
    """Return an uplink that is never down, and never looks whether it is."""
    return Uplink(
        clock,
        "off",
        lambda place: succeed(place.address),
        lambda: succeed(Ways("", ())),
        clock.seconds,
        lambda: None,
        lambda: None,
    )
