"""Text to paste: what is missing is said first, and what is printed is what each server reads."""

from __future__ import annotations

import json

import pytest

from proxyapp.rules import autoconfighelp
from proxyapp.rules.autoconfighelp import Served, help_text, warnings

LAN = ("192.168.7.1", "fd00::1")


def served(
    name: str = "gw.lan.example",
    addresses: tuple[str, ...] = LAN,
    proxy: tuple[int, ...] = (3128,),
    site: tuple[int, ...] = (80, 8080),
    is_enabled: bool = True,
    listed: tuple[str, ...] = (),
) -> Served:
    """Return what a gateway serves that lacks nothing, with changes."""
    return Served(name, addresses, proxy, site, is_enabled, listed)


# What is missing.


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (served(is_enabled=False), "[autoconfig] enabled"),
        (served(proxy=()), "no proxy listens"),
        (served(site=(8080,)), "port 80 is not served"),
        (served(site=()), "port 80 is not served"),
    ],
)
def test_what_is_missing_is_said(given: Served, word: str) -> None:
    """One warning for it, before any text to paste."""
    (warning,) = warnings(given)
    assert word in warning
    assert f"WARNING: {warning}" in help_text(given).partition("DHCP option 252")[0]


@pytest.mark.parametrize(
    "given",
    [
        served(),
        served(site=(8080, 80)),
        served(proxy=(80,), site=()),
        served(proxy=(), listed=("other:3128",)),
    ],
)
def test_nothing_is_missing(given: Served) -> None:
    """Port 80 may be the site's or the proxy's, and the proxy elsewhere."""
    assert warnings(given) == []
    assert "WARNING" not in help_text(given)


# Where the settings are.


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (served(proxy=(), site=()), ""),
        (served(), "http://gw.lan.example/wpad.dat"),
        (served(site=(8080, 80)), "http://gw.lan.example/wpad.dat"),
        (served(site=(8080, 8081)), "http://gw.lan.example:8080/wpad.dat"),
        (served(site=()), "http://gw.lan.example:3128/wpad.dat"),
        (served(proxy=(80,), site=(8080,)), "http://gw.lan.example/wpad.dat"),
        # A name without a domain is known to this machine only, as likely as not.
        (served(name="gw"), "http://192.168.7.1/wpad.dat"),
        (served(name="gw", addresses=("fd00::1",)), "http://[fd00::1]/wpad.dat"),
        (served(name="gw", addresses=()), "http://gw/wpad.dat"),
    ],
)
def test_where_the_settings_are(given: Served, url: str) -> None:
    """On port 80 if that is served, else on the site's port, else on the proxy's."""
    assert given.url == url
    text = help_text(given)
    assert (f"settings:    {url}\n" in text) == bool(url)
    assert ("DHCP option 252 tells" in text) == bool(url)


def test_the_introduction_names_what_there_is() -> None:
    """Names, addresses and ports, so that mistakes are seen before they are pasted."""
    text = help_text(served(listed=("a:3128", "b:3128")))
    for line in (
        "Automatic proxy settings of gw.lan.example",
        "    addresses:   192.168.7.1, fd00::1",
        "    proxy ports: 3128",
        "    site ports:  80, 8080",
        "    clients use: a:3128, b:3128",
    ):
        assert line in text.splitlines()
    assert "    addresses:   none" in help_text(served(addresses=())).splitlines()


# What is pasted.


def test_dhcp() -> None:
    """Option 252 for the three servers; Kea's is JSON."""
    url = "http://gw/wpad.dat"
    assert autoconfighelp.dnsmasq_option(url) == 'dhcp-option=252,"http://gw/wpad.dat"'
    assert autoconfighelp.dhcpd_option(url).splitlines() == [
        "option wpad code 252 = text;",
        'option wpad "http://gw/wpad.dat";',
    ]
    kea = json.loads(autoconfighelp.kea_option(url))["Dhcp4"]
    (definition,), (option,) = kea["option-def"], kea["option-data"]
    assert (definition["code"], definition["type"]) == (252, "string")
    assert (option["name"], option["data"]) == (definition["name"], url)


def test_dns() -> None:
    """The name wpad for each address, with the type of its record."""
    assert autoconfighelp.bind_records(LAN).split("\n") == [
        "wpad  IN  A     192.168.7.1",
        "wpad  IN  AAAA  fd00::1",
    ]
    assert autoconfighelp.unbound_records("wpad.lan", LAN).split("\n") == [
        'local-data: "wpad.lan. IN A 192.168.7.1"',
        'local-data: "wpad.lan. IN AAAA fd00::1"',
    ]
    assert autoconfighelp.dnsmasq_record("wpad.lan", LAN).split("\n") == [
        "host-record=wpad.lan,192.168.7.1",
        "host-record=wpad.lan,fd00::1",
    ]


@pytest.mark.parametrize(
    ("name", "record"), [("gw.lab.example", "wpad.lab.example"), ("gw", "wpad.lan")]
)
def test_the_domain_is_the_gateways(name: str, record: str) -> None:
    """Clients ask for wpad in their own domain, which the gateway shares if it has one."""
    assert f"host-record={record},192.168.7.1" in help_text(served(name=name))


def test_an_unknown_address_is_left_to_fill_in() -> None:
    """Nothing made up is printed where no address is known."""
    assert "host-record=wpad.lan.example,ADDRESS-OF-THIS-GATEWAY" in help_text(served(addresses=()))


def test_every_part_is_there_and_in_order() -> None:
    """The text goes from what is served over DHCP to DNS."""
    text = help_text(served())
    order = ["Automatic", "dhcp-option", "option wpad code", '"Dhcp4"', "host-record", "local-data"]
    places = [text.index(part) for part in [*order, "wpad  IN", "globalqueryblocklist"]]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 80
