"""Where requests may lead: spellings that are refused, and addresses that the guard refuses.

Each case names the section that decides it, or who got it wrong, by CVE. No name is looked up here
but localhost, and nothing is dialled that isn't on loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.appliance import Running, start
from tests.conftest import StartAppliance
from tests.origin import Origin, Routes
from tests.security.attacks import SMUGGLED, ask, filled, is_well, named, seen, talk_to
from tests.talk import Response

_INI = "[access]\ndestinations = public\n"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product as it comes: public destinations only; but every port for CONNECT."""
    with start(tmp_path_factory.mktemp("targets"), _INI) as started:
        yield started


# --- Spellings ---

# The requests are HTTP/1.0, so that no Host disagrees with the target.
TARGETS: list[tuple[str, bytes]] = [
    # User information.
    ("RFC 9110 4.2.4", b"http://user@{origin}/"),
    ("RFC 9110 4.2.4", b"http://user:password@{origin}/"),
    ("RFC 9110 4.2.4", b"http://@{origin}/"),
    ("CVE-2011-3368", b"http://evil.example@{origin}/"),
    ("CVE-2011-3368", b"@{origin}/"),
    ("RFC 9110 4.2.4", b"http://{origin}@evil.example/"),
    ("RFC 9110 4.2.4", b"http://{origin}:80@evil.example/"),
    # Backslashes, blanks, control characters, percent-encoding.
    ("WHATWG URL 4.4", b"http://{origin}\\@evil.example/"),
    ("WHATWG URL 4.4", b"http:\\\\{origin}\\"),
    ("WHATWG URL 4.4", b"http:/\\{origin}/"),
    ("WHATWG URL 4.4", b"http://local\thost:{port}/"),
    ("CVE-2013-4547", b"http://{origin}/a \x00b"),
    ("RFC 9112 3", b"http://{origin}/a\x00"),
    ("RFC 9112 3", b"http://{origin}/a\x7f"),
    ("RFC 9112 3", b"http://{origin}/gr\xc3\xbc\xc3\x9fe"),
    ("CVE-2022-27780", b"http://127.0.0.1%2f:{port}/"),
    ("RFC 3986 2.4", b"http://%31%32%37.0.0.1:{port}/"),
    ("RFC 3986 2.4", b"http://127.0.0.1%00.evil.example:{port}/"),
    ("RFC 3986 2.4", b"http://127.0.0.1%23@evil.example:{port}/"),
    ("RFC 5891 4.2", b"http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1:{port}/"),
    ("RFC 5891 4.2", b"http://127\xe3\x80\x820\xe3\x80\x820\xe3\x80\x821:{port}/"),
    # IPv4 as only some readers know it.
    ("CVE-2024-29415", b"http://127.1:{port}/"),
    ("CVE-2023-42282", b"http://0x7f.1:{port}/"),
    ("CVE-2023-42282", b"http://0x7f000001:{port}/"),
    ("CVE-2021-29921", b"http://127.0.0.01:{port}/"),
    ("CVE-2021-28918", b"http://0177.0.0.1:{port}/"),
    ("RFC 3986 7.4", b"http://2130706433:{port}/"),
    ("RFC 3986 7.4", b"http://017700000001:{port}/"),
    ("RFC 3986 7.4", b"http://0:{port}/"),
    ("RFC 3986 7.4", b"http://127.0.1:{port}/"),
    ("RFC 3986 7.4", b"http://127.0.0.0.1:{port}/"),
    ("RFC 3986 7.4", b"http://127.0.0.257:{port}/"),
    ("RFC 3986 7.4", b"http://evil.example.127:{port}/"),
    # IPv6.
    ("RFC 6874 3", b"http://[fe80::1%25lo]:{port}/"),
    ("RFC 6874 3", b"http://[::1%lo]:{port}/"),
    ("RFC 3986 3.2.2", b"http://::1:{port}/"),
    ("RFC 3986 3.2.2", b"http://[::1:{port}/"),
    ("RFC 3986 3.2.2", b"http://[::1]{port}/"),
    ("RFC 3986 3.2.2", b"http://[]:{port}/"),
    ("RFC 3986 3.2.2", b"http://[127.0.0.1]:{port}/"),
    ("RFC 3986 3.2.2", b"http://[v1.x]:{port}/"),
    ("CVE-2022-29188", b"http://[localhost]:{port}/"),
    # Ports.
    ("RFC 3986 3.2.3", b"http://127.0.0.1:0/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:65536/"),
    ("CVE-2025-63938", b"http://127.0.0.1:4294967376/"),
    ("CVE-2025-63938", b"http://127.0.0.1:00000000{port}/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:-1/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:+{port}/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:0x50/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:{port}:{port}/"),
    ("RFC 3986 3.2.3", b"http://127.0.0.1:{port}a/"),
    # No host.
    ("RFC 9110 4.2.1", b"http:///"),
    ("RFC 9110 4.2.1", b"http://"),
    ("RFC 9110 4.2.1", b"http://:{port}/"),
    ("RFC 9110 4.2.1", b"http://?{origin}"),
    ("RFC 9110 4.2.1", b"http:/{origin}/"),
    ("RFC 9110 4.2.1", b"http:{origin}"),
    ("RFC 1034 3.1", b"http://./"),
    ("RFC 1034 3.1", b"http://..:{port}/"),
    ("RFC 1034 3.1", b"http://localhost..:{port}/"),
    ("RFC 1034 3.1", b"http://.localhost:{port}/"),
    ("RFC 1035 2.3.4", b"http://" + b"a" * 64 + b".example/"),
    ("RFC 1035 2.3.4", b"http://" + b"a." * 127 + b"example/"),
    # Other schemes.
    ("RFC 6455 3", b"ws://{origin}/"),
    ("RFC 6455 3", b"wss://{origin}/"),
    ("CVE-2023-46848", b"ftp://{origin}/"),
    ("CVE-2021-46784", b"gopher://{origin}/"),
    ("CVE-2019-12526", b"urn:x:{origin}"),
    ("RFC 8089 2", b"file:///etc/passwd"),
    ("RFC 2397 2", b"data:text/html,hello"),
    ("RFC 3986 3.1", b"javascript:alert(1)"),
    ("RFC 3986 3.1", b"javascript://{origin}/%0aalert(1)"),
    ("RFC 3986 3.1", b"cache_object://{origin}/"),
    ("RFC 3986 3.1", b"httpx://{origin}/"),
    ("RFC 3986 3.1", b"://{origin}/"),
    # Fragments, and what is no URL at all.
    ("CVE-2023-45539", b"http://{origin}/a#b"),
    ("CVE-2023-45539", b"http://{origin}#@evil.example/"),
    ("RFC 9112 3.2.1", b"{origin}/"),
    ("RFC 9112 3.2.3", b"{origin}"),
    ("RFC 9112 3.2.4", b"*"),
    ("RFC 9112 3.2", b"?http://{origin}/"),
]


@pytest.mark.parametrize(("source", "target"), TARGETS, ids=named)
def test_targets_that_are_none(
    running: Running, origin: Origin[Routes], source: str, target: bytes
) -> None:
    """What two readers could take for two places is refused, and nobody is asked."""
    attack = filled(b"GET " + target + b" HTTP/1.0\r\n\r\n" + SMUGGLED, origin)
    assert ask(running.proxy, attack).status == 400, source
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/well"]


@pytest.mark.parametrize("target", [b"http://HTTPS///{origin}/", b"http://https:443//{origin}/"])
def test_a_url_in_a_url(
    start_appliance: StartAppliance, origin: Origin[Routes], target: bytes
) -> None:
    """HTTPS is a host, or asks for TLS; either way the origin is never asked in clear text."""
    lost = "[dns]\nservers = 127.0.0.1:9\n[pool]\nconnect_timeout = 200ms\n"
    with start_appliance(_INI + lost) as lonely, talk_to(lonely.proxy) as talk:
        talk.send(filled(b"GET " + target + b" HTTP/1.0\r\n\r\n", origin))
        assert talk.response().status in (403, 502, 504)
    assert seen(origin) == []


# --- Addresses ---

ADDRESSES: list[tuple[str, bytes]] = [
    ("RFC 1122 3.2.1.3", b"127.0.0.1"),
    ("RFC 1122 3.2.1.3", b"127.255.255.254"),
    ("RFC 1122 3.2.1.3", b"0.0.0.0"),
    ("RFC 6761 6.3", b"localhost"),
    ("CVE-2022-24825", b"127.0.0.1."),
    ("CVE-2022-24825", b"LOCALHOST."),
    ("RFC 1918 3", b"10.0.0.1"),
    ("RFC 1918 3", b"172.31.255.254"),
    ("RFC 1918 3", b"192.168.0.1"),
    ("RFC 3927 2.1", b"169.254.169.254"),
    ("RFC 6598 7", b"100.64.0.1"),
    ("RFC 5771 3", b"224.0.0.1"),
    ("RFC 919 7", b"255.255.255.255"),
    ("RFC 1112 4", b"240.0.0.1"),
    ("RFC 5737 3", b"192.0.2.1"),
    ("RFC 2544 C.2.2", b"198.18.0.1"),
    ("RFC 6890 2.2.2", b"192.0.0.1"),
    ("RFC 4291 2.5.3", b"[::1]"),
    ("RFC 4291 2.5.2", b"[::]"),
    ("RFC 4291 2.5.3", b"[0:0:0:0:0:0:0:0001]"),
    ("RFC 4291 2.5.5.1", b"[::127.0.0.1]"),
    ("CVE-2024-24790", b"[::ffff:127.0.0.1]"),
    ("CVE-2024-24790", b"[::ffff:7f00:1]"),
    ("CVE-2024-24790", b"[::ffff:169.254.169.254]"),
    ("RFC 2765 2.1", b"[::ffff:0:127.0.0.1]"),
    ("RFC 6052 2.1", b"[64:ff9b::127.0.0.1]"),
    ("RFC 6052 2.1", b"[64:ff9b::a00:1]"),
    ("RFC 8215 5", b"[64:ff9b:1::127.0.0.1]"),
    ("RFC 8215 5", b"[64:ff9b:1:c0a8:0:100::]"),
    ("RFC 3056 2", b"[2002:7f00:1::1]"),
    ("RFC 3056 2", b"[2002:c0a8:1::1]"),
    ("RFC 4380 4", b"[2001:0:7f00:1::1]"),
    ("RFC 4380 4", b"[2001:0:808:808:0:0:f5ff:fffe]"),
    ("RFC 4291 2.5.6", b"[fe80::1]"),
    ("RFC 3879 2", b"[fec0::1]"),
    ("RFC 4193 3.1", b"[fd00::1]"),
    ("RFC 4291 2.7", b"[ff02::1]"),
    ("RFC 3849 2", b"[2001:db8::1]"),
    ("RFC 9637 2", b"[3fff::1]"),
    ("RFC 6666 2", b"[100::1]"),
]


def refusal(proxy: int, method: bytes, place: bytes) -> Response:
    """Ask for *place*, host and port, by *method*; return the answer, which is no success."""
    target = place if method == b"CONNECT" else b"http://%b/" % place
    with talk_to(proxy) as talk:
        talk.send(method + b" " + target + b" HTTP/1.1\r\nHost: " + place + b"\r\n\r\n")
        return talk.response(method)


@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
@pytest.mark.parametrize(("source", "host"), ADDRESSES, ids=named)
def test_addresses_that_are_not_public(
    guarded: Running, origin: Origin[Routes], source: str, host: bytes, method: bytes
) -> None:
    """However an inside address is written, the guard judges where its packets would end."""
    answer = refusal(guarded.proxy, method, host + b":%d" % origin.port)
    assert answer.status == 403, source
    assert b"destination_ip_prohibited" in answer.head.one(b"Proxy-Status")
    assert origin.connections == 0


OWN: list[tuple[str, bytes]] = [
    *ADDRESSES[:3],
    *((source, host) for source, host in ADDRESSES if host.startswith((b"[::", b"[64", b"[20"))),
    ("VU#150227", b"{own}"),
]


@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
@pytest.mark.parametrize("name", ["proxy", "site"])
@pytest.mark.parametrize(("source", "host"), OWN, ids=named)
def test_our_own_ports(
    guarded: Running, source: str, host: bytes, name: str, method: bytes
) -> None:
    """VU#150227: no spelling of an address of ours leads a tunnel or a request back to us.

    The site's own pages are all that a GET may find, for they are everybody's.
    """
    place = host.replace(b"{own}", own_address()) + b":%d" % guarded.ports[name]
    answer = refusal(guarded.proxy, method, place)
    if answer.status == 200:
        assert (method, name) == (b"GET", "site"), source
    else:
        assert answer.status in (403, 404, 508), source


OURS = [b"127.0.0.1", b"127.0.0.2", b"0.0.0.0", b"[::1]", b"[::]", b"[::ffff:127.0.0.1]", b"{own}"]


@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
@pytest.mark.parametrize("host", OURS)
def test_the_proxy_itself_where_everything_is_allowed(
    running: Running, host: bytes, method: bytes
) -> None:
    """RFC 9110 section 7.6.3: destinations = * doesn't let a request run in circles either."""
    place = host.replace(b"{own}", own_address()) + b":%d" % running.proxy
    assert refusal(running.proxy, method, place).status == 508


def own_address() -> bytes:
    """Return an address of this machine that others reach it by, or loopback if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737; nothing is sent
        except OSError:
            return b"127.0.0.1"
        address: str = probe.getsockname()[0]
        return address.encode("ascii")


# --- CONNECT ---

CONNECTS: list[tuple[str, bytes]] = [
    ("RFC 9110 9.3.6", b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1"),
    ("RFC 9110 9.3.6", b"CONNECT 127.0.0.1: HTTP/1.1\r\nHost: 127.0.0.1"),
    ("RFC 9110 9.3.6", b"CONNECT :{port} HTTP/1.1\r\nHost: :{port}"),
    ("RFC 9110 9.3.6", b"CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: 127.0.0.1:0"),
    ("CVE-2025-63938", b"CONNECT 127.0.0.1:4294967739 HTTP/1.1\r\nHost: 127.0.0.1"),
    ("RFC 9112 3.2.3", b"CONNECT {origin}/ HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT {origin}?x HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT {origin}#x HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT http://{origin} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT http://{origin}/ HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT / HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT * HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT user@{origin} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT {origin}:{port} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3.2.3", b"CONNECT ::1:{port} HTTP/1.1\r\nHost: [::1]:{port}"),
    ("RFC 6874 3", b"CONNECT [fe80::1%25lo]:{port} HTTP/1.1\r\nHost: [fe80::1%25lo]:{port}"),
    ("RFC 9112 3.2", b"CONNECT {origin} HTTP/1.1\r\nHost: evil.example:{port}"),
    ("RFC 9112 3.2", b"CONNECT {origin} HTTP/1.1\r\nX: y"),
    ("RFC 9110 9.1", b"connect {origin} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9110 9.1", b"GET {origin} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9110 9.3.6", b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5"),
    (
        "RFC 9110 9.3.6",
        b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nTransfer-Encoding: chunked",
    ),
    ("RFC 9112 3", b"CONNECT {origin} {origin} HTTP/1.1\r\nHost: {origin}"),
    ("RFC 9112 3", b"CONNECT {origin}\x00 HTTP/1.1\r\nHost: {origin}"),
]


@pytest.mark.parametrize(("source", "lines"), CONNECTS, ids=named)
def test_tunnels_to_nowhere(
    running: Running, origin: Origin[Routes], source: str, lines: bytes
) -> None:
    """CONNECT takes host:port and no body; what came along with it isn't read as a request."""
    assert ask(running.proxy, filled(lines + b"\r\n\r\n" + SMUGGLED, origin)).status == 400, source
    assert is_well(running.proxy, origin)
    assert seen(origin) == [b"/well"]


def test_a_refused_tunnel_leads_nowhere(guarded: Running, origin: Origin[Routes]) -> None:
    """RFC 9110 section 9.3.6: bytes for a tunnel that was refused are no request."""
    lines = b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n"
    assert ask(guarded.proxy, filled(lines + SMUGGLED, origin)).status == 403
    assert origin.connections == 0


def test_what_comes_with_a_tunnel_goes_through_it(running: Running, origin: Origin[Routes]) -> None:
    """RFC 9110 section 9.3.6: early bytes are the tunnel's, even if they look like a request."""
    early = b"GET /through HTTP/1.1\r\nHost: x\r\n\r\n"
    with talk_to(running.proxy) as talk:
        talk.send(filled(b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n", origin), early)
        assert talk.response(b"CONNECT").status == 200
        assert talk.response().body == b"hello"
    assert [visit.head.raw for visit in origin.served.visits] == [early]


@pytest.mark.parametrize("port", [1, 22, 25, 80, 3128, 6379, 8080, 65535])
def test_ports_that_are_no_tunnel(few_ports: Running, port: int) -> None:
    """VU#150227: by default CONNECT reaches the ports of TLS, and no mail server."""
    answer = refusal(few_ports.proxy, b"CONNECT", b"192.0.2.1:%d" % port)
    assert answer.status == 403
    assert b"http_request_denied" in answer.head.one(b"Proxy-Status")


@pytest.fixture(scope="module")
def few_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with the ports that CONNECT has by default."""
    ini = _INI + "[tunnel]\nports = 443, 563, 8443\n"
    with start(tmp_path_factory.mktemp("ports"), ini) as started:
        yield started
