"""The PAC as it is served: at which paths, with which fields, and naming which proxy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules.autoconfig import pac_text
from proxyapp.site.autoconfig import AutoconfigSite, Gateways
from proxyapp.wire.messages import OutgoingResponse

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

HOST = (b"Host", b"gw.lan:8080")
SITE_PORT, PROXY_PORT = ("192.168.7.1", 8080), ("192.168.7.1", 3128)


def make(listed: tuple[str, ...] = (), ports: tuple[int, ...] = (3128, 8888)) -> AutoconfigSite:
    """Return the responder of a gateway whose own name is box."""
    return AutoconfigSite(Gateways(listed, ports, "box"), (".lab.example",))


def proxies_in(body: bytes) -> str:
    """Return what the PAC in *body* answers where it doesn't answer DIRECT."""
    found = re.search(rb'^var PROXIES = "(.*)";$', body, re.MULTILINE)
    assert found is not None
    return found[1].decode("ascii")


# Refusals.


@pytest.mark.parametrize(
    "target", [b"/", b"/x", b"/wpad", b"/wpad.dat/", b"//wpad.dat", b"/WPAD.DAT", b"/setup", b"*"]
)
def test_nothing_else_is_served(visit: Visit, target: bytes) -> None:
    """Every other path is a 404."""
    method = b"OPTIONS" if target == b"*" else b"GET"
    with pytest.raises(errors.NotFound):
        visit(make(), target, HOST, method=method)


@pytest.mark.parametrize("ports", [(), (0,)])
def test_without_a_proxy_there_is_nothing_to_set_up(visit: Visit, ports: tuple[int, ...]) -> None:
    """Clients that get no PAC go direct; so they should where no proxy has a TCP port."""
    with pytest.raises(errors.NotFound):
        visit(make(ports=ports), b"/wpad.dat", HOST)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"get", b"X"])
def test_settings_can_only_be_read(visit: Visit, method: bytes) -> None:
    """Other methods are told which ones there are."""
    with pytest.raises(errors.MethodNotAllowed) as caught:
        visit(make(), b"/wpad.dat", HOST, method=method)
    assert caught.value.fields == ((b"Allow", b"GET, HEAD, OPTIONS"),)


def test_settings_that_have_changed_fail_a_condition(visit: Visit) -> None:
    """If-Match with another tag is 412."""
    with pytest.raises(errors.PreconditionFailed):
        visit(make(), b"/wpad.dat", HOST, (b"If-Match", b'"other"'))


# Answers.


@pytest.mark.parametrize("target", [b"/wpad.dat", b"/proxy.pac", b"/wpad.dat?x=/y"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_pac_is_served_as_one(visit: Visit, target: bytes, method: bytes) -> None:
    """Its media type is what browsers demand, and it is fresh for minutes."""
    head, body = visit(make(), target, HOST, method=method)
    assert (head.status, head.reason) == (200, b"OK")
    fields = dict(head.fields)
    assert fields[b"Content-Type"] == b"application/x-ns-proxy-autoconfig"
    assert fields[b"Cache-Control"] == b"max-age=300"
    assert body.decode("ascii") == pac_text(("gw.lan:3128",), (".lab.example",))


def test_options_says_what_there_is(visit: Visit) -> None:
    """OPTIONS is answered without a body."""
    head, body = visit(make(), b"/wpad.dat", HOST, method=b"OPTIONS")
    assert (head.status, body) == (204, b"")
    assert dict(head.fields)[b"Allow"] == b"GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_client_that_has_it_is_told_so(visit: Visit, method: bytes) -> None:
    """The tag stays as long as the settings do, and a second request with it is a 304."""
    head, _ = visit(make(), b"/wpad.dat", HOST)
    etag = dict(head.fields)[b"ETag"]
    assert re.fullmatch(rb'"[0-9a-f]{16}"', etag)
    again, body = visit(make(), b"/proxy.pac", HOST, (b"If-None-Match", etag), method=method)
    assert (again.status, body) == (304, b"")
    assert dict(again.fields) == {b"ETag": etag, b"Cache-Control": b"max-age=300"}
    for changed in (make(listed=("a:1",)), make(ports=(3129,))):
        other, _ = visit(changed, b"/wpad.dat", HOST, (b"If-None-Match", etag))
        assert other.status == 200


# Which proxy.


@pytest.mark.parametrize(
    ("lines", "target", "told"),
    [
        # What can't be read as a host is answered with the address that was connected to.
        ((), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b""),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b'x"; DIRECT'),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"gw.lan:99999"),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"user@gw.lan"),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"fd00::1"),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"[fe80::1%25eth0]"),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"127.1"),), b"/wpad.dat", "192.168.7.1"),
        (((b"Host", b"other"),), b"http://proxyapp.invalid/wpad.dat", "192.168.7.1"),
        # What can is answered with itself, in one spelling.
        (((b"Host", b"wpad"),), b"/wpad.dat", "wpad"),
        (((b"Host", b"wpad.lan.example"),), b"/wpad.dat", "wpad.lan.example"),
        (((b"Host", b"GW.Lan.:80"),), b"/proxy.pac", "gw.lan"),
        (((b"Host", b"10.0.0.1:8080"),), b"/proxy.pac", "10.0.0.1"),
        (((b"Host", b"[FD00:0::1]:8080"),), b"/proxy.pac", "[fd00::1]"),
        (((b"Host", b"other"),), b"http://gw:8080/proxy.pac", "gw"),
    ],
)
def test_the_name_is_the_one_the_client_asked_by(
    visit: Visit, lines: tuple[tuple[bytes, bytes], ...], target: bytes, told: str
) -> None:
    """The target's host goes before Host, and neither is repeated as it came."""
    _, body = visit(make(), target, *lines, local=SITE_PORT)
    assert proxies_in(body) == f"PROXY {told}:3128"


@pytest.mark.parametrize(
    ("local", "told"),
    [
        (("", 0), "box:3128"),
        (("192.168.7.1", 8888), "192.168.7.1:8888"),
        (("::ffff:192.168.7.1", 8888), "192.168.7.1:8888"),
        (("fd00::7", 3128), "[fd00::7]:3128"),
        (("fe80::7%eth0", 8080), "[fe80::7]:3128"),
    ],
)
def test_a_client_without_a_name_gets_the_address(
    visit: Visit, local: tuple[str, int], told: str
) -> None:
    """HTTP/1.0 has no Host; then it is our end of the connection, or the name of this machine."""
    _, body = visit(make(), b"/wpad.dat", local=local)
    assert proxies_in(body) == f"PROXY {told}"


@pytest.mark.parametrize(("port", "told"), [(8080, 3128), (80, 3128), (3128, 3128), (8888, 8888)])
def test_the_port_is_the_proxys(visit: Visit, port: int, told: int) -> None:
    """Asked on a port of the proxy it is that one, and on the site's the first; Host says none."""
    _, body = visit(make(), b"/wpad.dat", HOST, local=("192.168.7.1", port))
    assert proxies_in(body) == f"PROXY gw.lan:{told}"


def test_ports_may_come_in_later(visit: Visit) -> None:
    """The responder is made before the proxy listens."""
    ports: list[int] = []
    site = AutoconfigSite(Gateways((), ports, "box"), ())
    ports.append(45678)
    assert proxies_in(visit(site, b"/wpad.dat", HOST)[1]) == "PROXY gw.lan:45678"


@pytest.mark.parametrize("ports", [(), (3128,)])
@pytest.mark.parametrize("local", [SITE_PORT, PROXY_PORT])
def test_listed_gateways_go_before_the_name_asked(
    visit: Visit, local: tuple[str, int], ports: tuple[int, ...]
) -> None:
    """[autoconfig] proxy is what every client is told, in its order."""
    site = make(("a.lan:3128", "[fd00::2]:8888"), ports)
    _, body = visit(site, b"/wpad.dat", HOST, local=local)
    assert proxies_in(body) == "PROXY a.lan:3128; PROXY [fd00::2]:8888"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text("aZ.:[]%\"'\\;/ 0123").map(str.encode)))
def test_a_host_field_writes_nothing_in_a_pac(visit: Visit, host: bytes) -> None:
    """Whatever Host says, there is one proxy, named by a host name or an address."""
    _, body = visit(make(), b"/wpad.dat", (b"Host", host))
    assert re.fullmatch(r"PROXY ([a-z0-9_.-]+|\[[0-9a-f:]+\]):3128", proxies_in(body))


def test_state_report() -> None:
    """The representation says what clients are told."""
    assert repr(Gateways((), [3128], "box")) == "<Gateways as asked, own ports [3128]>"
    assert repr(Gateways(("a:1", "b:2"), [], "box")) == "<Gateways a:1, b:2, own ports []>"
