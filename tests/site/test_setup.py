"""The setup page: what it says of this client, what there is to copy, and who gets to see it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.rules.access import Decision
from proxyapp.site.autoconfig import SETUP_HOST, Gateways
from proxyapp.site.setup import OwnUrls, SetupSite
from proxyapp.wire.messages import OutgoingResponse

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

HTML = (b"Accept", b"text/html")
BROWSER = (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
HOST = (b"Host", b"gateway.lan:8080")
BY_PROXY = ("192.168.7.1", 3128)
MAGIC = f"http://{SETUP_HOST}".encode("ascii")
TAGS = {
    "doctype", "html", "meta", "title", "style", "h1", "h2", "p", "pre", "img", "nav", "a",
}  # fmt: skip


def make(
    listed: tuple[str, ...] = (),
    ports: tuple[int, ...] = (3128,),
    direct: tuple[str, ...] = ("private",),
    has_pac: bool = True,
) -> SetupSite:
    """Return the responder of a gateway whose own name is box."""
    return SetupSite(Gateways(listed, ports, "box"), direct, has_pac)


def lines_of(body: bytes) -> list[str]:
    """Return the lines to be copied from a page of plain text."""
    lines = body.decode("utf-8").splitlines()
    return [line.removeprefix("    ") for line in lines if line.startswith("    ")]


def tags_in(page: str) -> set[str]:
    """Return the names of all that a browser would take for a tag."""
    return {tag.strip("</!").split()[0].lower() for tag in re.findall(r"<[^ \n>]*", page)}


# Refusals.


@pytest.mark.parametrize(
    "target", [b"/x", b"//", b"/index.html", b"/setup/x", b"/SETUP", b"/..", b"/in-use.svg", b"*"]
)
def test_there_is_one_page(visit: Visit, target: bytes) -> None:
    """Every other path is a 404, and so is the picture for who asks without the proxy."""
    method = b"OPTIONS" if target == b"*" else b"GET"
    with pytest.raises(errors.NotFound):
        visit(make(), target, method=method)


@pytest.mark.parametrize("target", [b"http://gateway.lan:8080/in-use.svg", MAGIC + b"/in-use.svg"])
def test_an_absolute_url_on_the_sites_port_is_no_use_of_the_proxy(
    visit: Visit, target: bytes
) -> None:
    """What counts is the port that a request came in on, besides its form."""
    with pytest.raises(errors.NotFound):
        visit(make(), target)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE"])
def test_the_page_can_only_be_read(visit: Visit, method: bytes) -> None:
    """Other methods are told which ones there are."""
    with pytest.raises(errors.MethodNotAllowed) as caught:
        visit(make(), b"/", method=method)
    assert caught.value.fields == ((b"Allow", b"GET, HEAD, OPTIONS"),)


def test_options_says_what_there_is(visit: Visit) -> None:
    """OPTIONS is answered without a body."""
    head, body = visit(make(), b"/setup", method=b"OPTIONS")
    assert (head.status, body) == (204, b"")


# Is the proxy in use?


@pytest.mark.parametrize("local", [("192.168.7.1", 8080), BY_PROXY])
@pytest.mark.parametrize("target", [b"/", b"/setup", b"/setup/", b"/setup?x"])
def test_a_page_that_came_directly_proves_nothing(
    visit: Visit, local: tuple[str, int], target: bytes
) -> None:
    """It says how it came, and leaves the rest to a picture that only the proxy can deliver."""
    head, body = visit(make(), target, HOST, HTML, local=local)
    page = body.decode()
    assert "Yes:" not in page
    assert "This page came directly, not through the proxy." in page
    picture = f"http://{SETUP_HOST}/in-use.svg"
    assert f'<img src="{picture}" alt="No: this browser is not using the proxy.">' in page
    assert dict(head.fields)[b"Content-Security-Policy"].endswith(f"; img-src {picture}".encode())
    assert dict(head.fields)[b"Cache-Control"] == b"no-store"


@pytest.mark.parametrize("target", [MAGIC + b"/", MAGIC + b"/setup", b"http://gateway.lan:8080/"])
def test_a_page_that_came_through_the_proxy_is_proof(visit: Visit, target: bytes) -> None:
    """An absolute URL on the proxy's port is sent by nobody who doesn't use it."""
    _, body = visit(make(), target, BROWSER, local=BY_PROXY)
    page = body.decode()
    assert "Yes: this page came through the proxy." in page
    assert "<img" not in page
    assert "No:" not in page


def test_the_picture_says_yes(visit: Visit) -> None:
    """It is fetched anew each time, and is as large as it says without anything else."""
    head, body = visit(make(), MAGIC + b"/in-use.svg", local=BY_PROXY)
    fields = dict(head.fields)
    assert fields == {b"Content-Type": b"image/svg+xml", b"Cache-Control": b"no-store"}
    assert b"Yes: this browser is using the proxy." in body
    assert b"<script" not in body


def test_the_hosts_name_is_never_recommended(visit: Visit) -> None:
    """The host that only the proxy knows is no address for settings; our end of the line is."""
    _, body = visit(make(), MAGIC + b"/", local=BY_PROXY)
    text = body.decode()
    assert "http://192.168.7.1:3128/proxy.pac" in text
    assert SETUP_HOST not in text


# What to copy.


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("target", [b"/?from=bookmark", b"/setup"])
def test_the_settings_are_ready_to_copy(visit: Visit, target: bytes, method: bytes) -> None:
    """Each kind of client finds the address by which it asked, and the proxy's port."""
    head, body = visit(make(), target, HOST, method=method)
    assert (head.status, head.reason) == (200, b"OK")
    lines = lines_of(body)
    for line in (
        "http://gateway.lan:3128/proxy.pac",
        "export http_proxy=http://gateway.lan:3128 https_proxy=http://gateway.lan:3128",
        'Acquire::http::Proxy "http://gateway.lan:3128/";',
        'Acquire::https::Proxy "http://gateway.lan:3128/";',
        "pip install --proxy http://gateway.lan:3128 NAME",
        "npm config set https-proxy http://gateway.lan:3128",
        "git config --global http.proxy http://gateway.lan:3128",
        'Environment="HTTP_PROXY=http://gateway.lan:3128" "HTTPS_PROXY=http://gateway.lan:3128"',
        "https_proxy = http://gateway.lan:3128",
        "curl -x http://gateway.lan:3128 https://example.com/",
        'networksetup -setautoproxyurl "Wi-Fi" http://gateway.lan:3128/proxy.pac',
        "Proxy hostname gateway.lan",
        "Host gateway.lan",
        "Port 3128",
    ):
        assert line in lines
    assert any(line.startswith("netsh winhttp set proxy") for line in lines)


def blocks_of_json(body: bytes) -> list[dict[str, dict[str, object]]]:
    """Return the JSON files that the page shows."""
    return [json.loads(text) for text in re.findall(r"\{.*?\n\}", "\n".join(lines_of(body)), re.S)]


@pytest.mark.parametrize("host", [b"gw", b"[fd00::1]:8080"])
def test_what_docker_reads_is_json(visit: Visit, host: bytes) -> None:
    """Both files parse, and hold the proxy's URL."""
    _, body = visit(make(), b"/setup", (b"Host", host))
    daemon, client = blocks_of_json(body)
    url = f"http://{host.decode().removesuffix(':8080')}:3128"
    assert daemon["proxies"]["http-proxy"] == daemon["proxies"]["https-proxy"] == url
    default = client["proxies"]["default"]
    assert isinstance(default, dict)
    assert default["httpProxy"] == default["httpsProxy"] == url
    assert default["noProxy"] == daemon["proxies"]["no-proxy"]


def test_exceptions_follow_the_configuration(visit: Visit) -> None:
    """no_proxy has the gateway, and what [autoconfig] direct lists as far as it can be said."""
    site = make(direct=("private", ".lab.example", "192.0.2.0/24"))
    _, body = visit(site, b"/setup", HOST)
    (line,) = [line for line in lines_of(body) if line.startswith("export no_proxy=")]
    entries = line.removeprefix("export no_proxy=").split(",")
    assert entries[:3] == ["localhost", "127.0.0.1", "::1"]
    assert entries[-3:] == ["gateway.lan", ".lab.example", "192.0.2.0/24"]


def test_no_line_to_copy_is_cut(visit: Visit) -> None:
    """A long list of exceptions is followed as far as it fits, never to the middle of a name."""
    direct = tuple(f"host-{number}.department.example" for number in range(1000))
    for accept in (BROWSER, (b"Accept", b"text/plain")):
        _, body = visit(make(direct=direct), b"/setup", (b"Host", b"h" * 60), accept)
        assert b"..." not in body
        assert b"host-0.department.example" in body
        assert len(body) < 16 * 1024


def test_without_a_pac_none_is_offered(visit: Visit) -> None:
    """[autoconfig] enabled = no leaves the settings by hand."""
    text = visit(make(has_pac=False), b"/setup", HOST)[1].decode()
    assert "proxy.pac" not in text
    for line in ('networksetup -setwebproxy "Wi-Fi" gateway.lan 3128', "Server gateway.lan"):
        assert line in text


@pytest.mark.parametrize(
    ("lines", "target", "local", "shown"),
    [
        ((), b"/", ("", 0), "http://box:3128"),
        ((), b"/", ("192.168.7.1", 8080), "http://192.168.7.1:3128"),
        (((b"Host", b"a b"),), b"/", ("fd00::7", 8080), "http://[fd00::7]:3128"),
        (((b"Host", b"[fd00::1]:8080"),), b"/", BY_PROXY, "http://[fd00::1]:3128"),
        (((b"Host", b"192.0.2.7"),), b"/", BY_PROXY, "http://192.0.2.7:3128"),
        (((b"Host", b"other"),), b"http://gateway:8080/", ("::1", 8080), "http://gateway:3128"),
    ],
)
def test_the_address_is_the_one_the_client_used(
    visit: Visit,
    lines: tuple[tuple[bytes, bytes], ...],
    target: bytes,
    local: tuple[str, int],
    shown: str,
) -> None:
    """The target's host goes before Host; without either it is our end of the connection."""
    _, body = visit(make(), target, *lines, local=local)
    assert f"curl -x {shown} https://example.com/" in lines_of(body)


def test_listed_gateways_go_before_the_name_asked(visit: Visit) -> None:
    """The first of [autoconfig] proxy is what settings by hand name; the PAC stays here."""
    _, body = visit(make(("[fd00::9]:8888", "b.lan:3128"), ()), b"/setup", HOST)
    lines = lines_of(body)
    assert "curl -x http://[fd00::9]:8888 https://example.com/" in lines
    assert "Host fd00::9" in lines
    assert "http://gateway.lan:8080/proxy.pac" in lines


def test_all_proxy_ports_are_named(visit: Visit) -> None:
    """The first port is recommended, and the others are mentioned."""
    text = visit(make(ports=(3128, 0, 8888, 6666)), b"/setup", HOST)[1].decode()
    assert "listens on port 3128. So do the ports 8888, 6666." in text


def test_without_a_proxy_nothing_is_promised(visit: Visit) -> None:
    """Where no proxy listens, the page doesn't say how to use it, nor asks whether."""
    text = visit(make(ports=()), b"/", HTML)[1].decode()
    assert "curl" not in text
    assert "<img" not in text
    assert "[site] root" in text


@pytest.mark.parametrize(("target", "is_told"), [(b"/", True), (b"/setup", False)])
def test_how_to_serve_files_is_told_where_there_are_none(
    visit: Visit, target: bytes, is_told: bool
) -> None:
    """As / the page stands in for the files of a site; elsewhere it says nothing of them."""
    assert ("[site] root" in visit(make(), target, HOST)[1].decode()) == is_told


# In a browser.


def test_the_page_has_links_to_its_parts(visit: Visit) -> None:
    """It is long on a phone; each heading is one tap away, and no link leads nowhere."""
    page = visit(make(), b"/", HOST, BROWSER)[1].decode()
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page)
    assert links == re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', page)
    assert {"Automatic", "Shell", "apt", "docker", "Windows", "macOS", "Android"} <= {
        heading for _, heading in links
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text("<>&\"'/:a").map(str.encode)))
def test_a_host_field_writes_nothing_in_the_page(visit: Visit, host: bytes) -> None:
    """Whatever Host says, the tags are ours."""
    page = visit(make(), b"/", (b"Host", host), HTML)[1].decode()
    assert tags_in(page) == TAGS
    assert page.count("<") == visit(make(), b"/", HOST, HTML)[1].decode().count("<")


# The way through the proxy.


class Named:
    """A responder that answers with its name."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    async def respond(self, request: Request, reply: Reply) -> None:
        reply.record.service = "site"
        reply.answer(OutgoingResponse(200, b"OK", []), self._name)


FORWARD, SETUP, SITE = map(Named, (b"forward", b"setup", b"site"))


def door(allowed: bool = True) -> Responder:
    """Return the door of a proxy on port 3128 with a site on 8080, on a host called box."""
    return OwnUrls(
        FORWARD,
        SETUP,
        SITE,
        [3128],
        [8080],
        {"box", "192.168.7.1", "fd00::1"}.__contains__,
        lambda request, user: Decision(
            allowed, "[access] site_clients", f"{request.client.host} may or may not"
        ),
    )


@pytest.mark.parametrize(
    ("target", "answerer"),
    [
        (b"http://example.com/", b"forward"),
        (b"http://example.com:8080/", b"forward"),
        (b"http://example.com:3128/setup", b"forward"),
        (b"http://box.example.com:8080/", b"forward"),
        (b"http://box/", b"forward"),
        (b"http://box/setup", b"forward"),
        (b"http://box:9/setup", b"forward"),
        (b"http://box:3128/", b"forward"),
        (b"http://box:3128/setup/x", b"forward"),
        (b"https://box:8080/", b"forward"),
        (b"https://proxyapp.invalid/", b"forward"),
        (b"http://www.proxyapp.invalid/", b"forward"),
        (b"http://proxyapp.invalid/", b"setup"),
        (b"http://PROXYAPP.invalid./x", b"setup"),
        (b"http://proxyapp.invalid:8080/", b"setup"),
        (b"http://box:8080/", b"site"),
        (b"http://BOX:8080/any/file?x", b"site"),
        (b"http://[fd00:0::1]:8080/", b"site"),
        (b"http://192.168.7.1:3128/setup", b"site"),
        (b"http://192.168.7.1:3128/setup/", b"site"),
        (b"http://box:3128/proxy.pac?", b"site"),
        (b"http://box:3128/wpad.dat", b"site"),
    ],
)
def test_our_own_urls_are_answered_here(visit: Visit, target: bytes, answerer: bytes) -> None:
    """The setup host, the site, and what sets a client up aren't forwarded; all else is."""
    _, body = visit(door(), target, local=BY_PROXY)
    assert body == answerer


@pytest.mark.parametrize("target", [MAGIC + b"/", b"http://box:8080/", b"http://box:3128/setup"])
def test_who_may_not_read_the_site_may_not_through_the_proxy(visit: Visit, target: bytes) -> None:
    """The way in makes no difference, and the log says which rule it was."""
    with pytest.raises(errors.AccessDenied, match=r"192\.0\.2\.1 may or may not"):
        visit(door(allowed=False), target, local=BY_PROXY)
    assert visit(door(allowed=False), b"http://a/", local=BY_PROXY)[1] == b"forward"
