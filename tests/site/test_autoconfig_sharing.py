"""The PAC that is served spreads hosts over the gateways that the ini lists, by their weights."""

from __future__ import annotations

import pytest

from proxyapp.rules.autoconfig import pac_text
from proxyapp.site.autoconfig import AutoconfigSite, Gateways
from tests.site.conftest import Visit

GATEWAYS = ("a.example:3128", "b.example:3128")


@pytest.mark.parametrize("weights", [(), (1, 1), (3, 1)])
def test_the_pac_has_the_weights(visit: Visit, weights: tuple[int, ...]) -> None:
    """What is served is what the rules make of list and weights."""
    site = AutoconfigSite(Gateways(GATEWAYS, (3128,), "box"), (".lab.example",), weights)
    _, body = visit(site, b"/proxy.pac")
    assert body == pac_text(GATEWAYS, (".lab.example",), weights).encode("ascii")
