"""The PAC and the Python rules beside it: each host has one way, and both say the same.

The PAC runs in Duktape, an engine of ES5: nothing newer than what old devices have gets through.
"""

from __future__ import annotations

import ipaddress
import re

import dukpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxyapp.rules import addresses
from proxyapp.rules.addresses import AddressClass
from proxyapp.rules.autoconfig import DIRECT, no_proxy, pac_text, route

GATEWAYS = ("gw.lan.example:3128",)
PROXY = "PROXY gw.lan.example:3128"
LISTED = (
    "intra.corp.example",
    ".lab.example",
    "*.cam.example",
    "dev-*.example.net",
    "a*b*c.example",
    "UPPER.example",
    "rooted.example.",
    "198.51.100.0/24",
    "203.0.113.7",
    "[2001:db8:7::1]",
    "2001:db8:ff00::/42",
    "0.0.0.0/5",
)
INSIDE = (
    AddressClass.LOOPBACK,
    AddressClass.PRIVATE,
    AddressClass.LINK_LOCAL,
    AddressClass.CGNAT,
)


class Script:
    """A PAC in an engine."""

    def __init__(self, gateways: tuple[str, ...], direct: tuple[str, ...]) -> None:
        self._engine = dukpy.JSInterpreter()
        self._engine.evaljs(pac_text(gateways, direct) + "\nnull;")

    def __call__(self, *hosts: str) -> list[str]:
        """Return what FindProxyForURL says for each of *hosts*."""
        code = """dukpy.hosts.map(function (host) {
            return FindProxyForURL("http://" + host + "/", host);
        });"""
        answers: list[str] = self._engine.evaljs(code, hosts=hosts)
        return answers


def both(script: Script, host: str, gateways: tuple[str, ...], direct: tuple[str, ...]) -> str:
    """Return the way to *host*, on which PAC and Python agree."""
    (said,) = script(host)
    assert said == route(host, gateways, direct), host
    return said


@pytest.fixture(scope="module")
def plain() -> Script:
    """Return the PAC of the default configuration."""
    return Script(GATEWAYS, ())


@pytest.fixture(scope="module")
def listed() -> Script:
    """Return the PAC with a list of what goes direct."""
    return Script(GATEWAYS, LISTED)


# By default.

THROUGH_THE_PROXY = """
    example.com EXAMPLE.COM example.com. www.example.co.uk a.b xn--mller-kva.example _dmarc.example
    proxyapp.invalid not-local.x nothome.arpa.example mylocal.example local.example
    localhost.example
    internal.example gw.lan.example.com agw.lan.example wpad.lan.example
    8.8.8.8 8.8.8.8. 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255
    128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0
    0.0.0.0 255.255.255.255 224.0.0.1 198.51.100.7 203.0.113.7
    10.0.0 10.0.0.0.1 10.0.0.256 010.0.0.1 10.0.0.01 10.0.0.1.example 0x0a.0.0.1 10.1 127.1
    1e1.0.0.1 10.0.0.-1 10.0.0.+1 10.0.0. 10..0.1 .10.0.0.1 10.0.0.1/8 10.0.0.1:80
    \u0661\u0660.0.0.1
    2001:db8::1 [2001:db8::1] 2606:4700:4700::1111 [2606:4700:4700::1111] 2001:DB8::A
    fbff::1 fe00::1 fe7f:ffff::1 ff02::1 ::2 :: 1:: ::ffff:8.8.8.8 ::ffff:808:808 ::10.0.0.1
    ::fffe:10.0.0.1 64:ff9b::10.0.0.1 1:2:3:4:5:6:7:8 0:0:0:0:0:0:1:1 ::1:1
    fd00:1 fd00:::1 fd00::1::2 fd00:1:2:3:4:5:6:7:8 fd00:1:2:3:4:5:6:7::8 :fd00::1 fd00::1:
    fd00::12345 fd00::g fd00::10.0.0.256 fd00::10.0.0 fd00:10.0.0.1::1 10.0.0.1::1 fd00::10.0.0.1:1
    [fd00:: fd00::1]. ::1/128 [::1]:80 [[::1]] ::fd00:0:0:0:0:0:0 ::fd00:0:0:0:0:0:0:0 ::0x1 ::+1
    ::-1 ......... a..b example..
    %41.example é.example ☃.net a,b.example a;b.example "a".example \\.example \\u0041.example
    FindProxyForURL.x __proto__.example constructor.prototype ;DIRECT.example $proxies.example
""".split()
THROUGH_NOTHING = """
    printer PRINTER printer. intranet localhost LOCALHOST localhost. wpad gw x 3232235777 0x7f000001
    a_b a-b xn--mller-kva constructor __proto__ toString é ☃ %41 * [printer] [] . ;DIRECT "a" \\
    a.localhost A.Localhost. printer.local PRINTER.LOCAL. a.b.local nas.home.arpa db.internal
    gw.lan.example GW.LAN.EXAMPLE gw.lan.example.
    10.0.0.0 10.0.0.1 10.255.255.255 10.0.0.1. 100.64.0.0 100.127.255.255 127.0.0.0 127.0.0.1
    127.255.255.255 169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.168.0.0
    192.168.255.255 192.168.7.1 [10.0.0.1] 10.0.0.1%eth0
    ::1 [::1] [::1]. 0:0:0:0:0:0:0:1 0000:0000:0000:0000:0000:0000:0000:0001 ::0:1 0::1 ::0.0.0.1
    fc00:: fd00::1 [fd00::1] FD00::1 [FD12:3456:789a:1::1] fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fd00:1:2:3:4:5:6:7 fd00:1:2:3:4:5:6:: fd00::10.0.0.1 fd00:1:2:3:4:5:8.8.8.8
    fe80::1 [fe80::1] fe80::1%eth0 [fe80::1%25eth0] fe80::1% febf:ffff::1 fec0::1 feff::
    ::ffff:10.0.0.1 [::ffff:10.0.0.1] ::ffff:a00:1 ::FFFF:C0A8:0701 0:0:0:0:0:ffff:127.0.0.1
""".split()


@pytest.mark.parametrize("host", THROUGH_THE_PROXY)
def test_the_world_is_behind_the_proxy(plain: Script, host: str) -> None:
    """What isn't private has one way, and it doesn't end in DIRECT."""
    assert both(plain, host, GATEWAYS, ()) == PROXY


@pytest.mark.parametrize("host", ["", *THROUGH_NOTHING])
def test_what_is_near_goes_direct(plain: Script, host: str) -> None:
    """Plain names, private names and networks however they are written, and the gateway."""
    assert both(plain, host, GATEWAYS, ()) == DIRECT


# With a list.


@pytest.mark.parametrize(
    "host",
    """
    corp.example www.intra.corp.example intra.corp.example.com xintra.corp.example lab.example
    mylab.example lab.example.com cam.example camx.example dev-.example.com dev.example.net
    xdev-1.example.net abc.example.com acb.example a.c.example abc-.example rooted.example.com
    198.51.101.0 198.51.99.255 203.0.113.8 203.0.113.6 2001:db8:7::2 2001:db8:7:: 8.0.0.0
    2001:db8:ff40:: 2001:db8:fec0:: 2001:db8:feff:ffff:ffff:ffff:ffff:ffff
    """.split(),
)
def test_what_is_beside_the_list(listed: Script, host: str) -> None:
    """Entries match whole names, and networks to the bit."""
    assert both(listed, host, GATEWAYS, LISTED) == PROXY


@pytest.mark.parametrize(
    "host",
    """
    intra.corp.example INTRA.corp.example. www.lab.example a.b.lab.example .lab.example
    1.cam.example dev-1.example.net dev-.example.net dev-1.2.example.net abc.example
    aXbYc.example abbc.example ab.c.example upper.EXAMPLE rooted.example rooted.example.
    198.51.100.0 198.51.100.255 203.0.113.7 2001:db8:7::1 [2001:DB8:7:0::1]
    2001:db8:ff00:: 2001:db8:ff3f:ffff:ffff:ffff:ffff:ffff 0.0.0.0 7.255.255.255
    ::ffff:198.51.100.9 printer 10.1.2.3 printer.local gw.lan.example
    """.split(),
)
def test_what_is_on_the_list(listed: Script, host: str) -> None:
    """Names, domains, patterns, addresses and networks go direct, and so does what always does."""
    assert both(listed, host, GATEWAYS, LISTED) == DIRECT


def test_a_star_is_everything() -> None:
    """`*` alone sends nothing to the proxy."""
    assert both(Script(GATEWAYS, ("*",)), "example.com", GATEWAYS, ("*",)) == DIRECT


@pytest.mark.parametrize("host", ["c.example", "8.8.8.8", "2001:db8::1"])
def test_several_gateways_stand_in_for_each_other(host: str) -> None:
    """They are tried in their order, DIRECT isn't, and each of them is reached directly."""
    gateways = ("a.example:3128", "[2001:db8::7]:8888", "203.0.113.9:80")
    script = Script(gateways, ())
    expected = "PROXY a.example:3128; PROXY [2001:db8::7]:8888; PROXY 203.0.113.9:80"
    assert both(script, host, gateways, ()) == expected
    for own in ("a.example", "[2001:db8::7]", "2001:DB8:0::7", "203.0.113.9"):
        assert both(script, own, gateways, ()) == DIRECT


def test_without_a_gateway_everything_goes_direct() -> None:
    """Nobody is sent to a proxy that isn't there."""
    assert both(Script((), ()), "example.com", (), ()) == DIRECT


# Whatever comes.

_HOST_LIKE = st.text("0123456789abcdefABCDEF:.%[]xg-*", max_size=45)
_ADDRESS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.sampled_from(("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fc00::/7", "fe80::/10"))
    .flatmap(lambda network: st.ip_addresses(network=network))
    .map(str),
)
_HOST = st.one_of(
    st.text(max_size=40),
    _HOST_LIKE,
    _ADDRESS,
    _ADDRESS.map(lambda address: f"[{address}]"),
    st.builds("{}{}".format, _ADDRESS, _HOST_LIKE),
    st.sampled_from(THROUGH_NOTHING + THROUGH_THE_PROXY).flatmap(
        lambda host: st.builds("{}{}".format, st.text(max_size=2), st.just(host))
    ),
)


@given(st.lists(_HOST, min_size=1, max_size=50))
@example(["\u2028.example", "\u0130.LOCAL", "\u212a.local", "a\n.local", "10.0.0.1\n", "\x00."])
def test_pac_and_python_agree_on_any_host(listed: Script, hosts: list[str]) -> None:
    """Whatever a browser may hand over, the two ways to say it are one rule."""
    expected = [route(host, GATEWAYS, LISTED) for host in hosts]
    assert listed(*hosts) == expected


@given(
    st.lists(st.one_of(st.text("ab.*", min_size=1, max_size=8), st.text(max_size=5)), max_size=4),
    st.lists(st.one_of(st.text("ab.", max_size=10), st.text(max_size=5)), max_size=20),
)
def test_pac_and_python_agree_on_any_list(direct: list[str], hosts: list[str]) -> None:
    """Patterns with several stars match the same names in both."""
    rules = tuple(direct)
    expected = [route(host, GATEWAYS, rules) for host in hosts]
    assert Script(GATEWAYS, rules)(*hosts) == expected


@given(
    st.one_of(
        st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32)),
        st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128)),
    ).map(lambda text: ipaddress.ip_network(text, strict=False)),
    st.data(),
)
def test_pac_and_python_agree_on_any_network(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, data: st.DataObject
) -> None:
    """At every length of the prefix, the addresses inside and just outside are told apart."""
    inside = data.draw(st.ip_addresses(network=network))
    beyond = [int(network.network_address) - 1, int(network.broadcast_address) + 1]
    kind, most = type(inside), 1 << network.max_prefixlen
    hosts = [str(inside), *(str(kind(number)) for number in beyond if 0 <= number < most)]
    rules = (str(network),)
    expected = [route(host, GATEWAYS, rules) for host in hosts]
    assert Script(GATEWAYS, rules)(*hosts) == expected
    if not (network.version == 6 and network.overlaps(ipaddress.ip_network("::ffff:0:0/96"))):
        assert expected[0] == DIRECT


@given(st.one_of(st.ip_addresses(), st.ip_addresses(network="fe00::/7")))
def test_private_is_what_the_proxy_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """A client is sent to the proxy exactly where `public` may let it on, or tell it why not."""
    if addresses.carried(address):
        return
    is_inside = addresses.classify(address) in INSIDE
    assert (route(str(address), GATEWAYS, ()) == DIRECT) == is_inside


# The text.

HOSTILE = (
    '"); evil(); ("',
    "'; evil(); '",
    "\\",
    '\\"; evil(); //',
    "a\nevil();",
    "\u2028evil();\u2029",
    "*/ evil(); /*",
    "</script>",
    "fe80::1%*",
    "fe80::1%\nevil();",
    "$names",
    "é.example",
    "\U0001f600",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_configuration_writes_code(text: str) -> None:
    """What an ini says stays inside a literal, as a name and as a gateway."""
    gateways = (f"{text}:3128",)
    pac = pac_text(gateways, (text,))
    script = Script(gateways, (text,))
    assert script("www.example") == [f"PROXY {text}:3128"]
    assert script(text) == [DIRECT]
    code = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', pac)
    assert "evil" not in code
    assert pac.isascii()


def test_the_script_asks_nobody() -> None:
    """It calls no function of the engine that looks names up, or isn't everywhere."""
    pac = pac_text(GATEWAYS, LISTED)
    for name in ("dnsResolve", "isResolvable", "isInNet", "myIpAddress", "shExpMatch"):
        assert name not in pac
    assert not re.search(r"\b(let|const|forEach|startsWith|endsWith|trim|JSON)\b|=>|`", pac)
    for line in pac.splitlines():
        assert len(line) < 110


def test_a_script_is_small() -> None:
    """Devices fetch it again and again; the default one stays below 4 KiB."""
    assert len(pac_text(GATEWAYS, ())) < 4096


# no_proxy.


def test_no_proxy_is_the_closest_that_programs_understand() -> None:
    """Local names and networks, the gateway, and what of the list can be said."""
    value = no_proxy(
        "gw.lan", (".lab.example", "*.cam.example", "a-*.example", "192.0.2.0/24", "gw.lan")
    )
    assert value == (
        "localhost,127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,"
        "gw.lan,.lab.example,.cam.example,192.0.2.0/24"
    )
