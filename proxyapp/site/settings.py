"""The settings of each kind of client, ready to be copied: what the setup page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from proxyapp.site.pages import Block


class Proxy(NamedTuple):
    """The proxy that clients are to use.

    *host* is a name or an address without brackets, *pac* the URL of automatic settings (empty:
    there are none), and *exceptions* the value of the variable no_proxy.
    """

    host: str
    port: int
    pac: str
    exceptions: str

    @property
    def address(self) -> str:
        """host:port, as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The proxy's URL; it is http for https traffic too."""
        return f"http://{self.address}"


def settings(proxy: Proxy) -> tuple[Block, ...]:
    """Return the settings for *proxy*, one block per place where they go."""
    return (*_automatic(proxy), *_shell(proxy), *_tools(proxy), *_docker(proxy), *_systems(proxy))


def _automatic(proxy: Proxy) -> tuple[Block, ...]:
    if not proxy.pac:
        return ()
    where = (
        "For every field that asks for an automatic configuration URL, a setup script or a PAC. "
        "Local hosts go direct then, and all others to the proxy."
    )
    return (Block("Automatic", (where,), (proxy.pac,)),)


def _shell(proxy: Proxy) -> tuple[Block, ...]:
    where = "Most command line programs read these variables. For good, put them in ~/.profile:"
    return (
        Block(
            "Shell",
            (where,),
            (
                f"export http_proxy={proxy.url} https_proxy={proxy.url}",
                f"export no_proxy={proxy.exceptions}",
                "export HTTP_PROXY=$http_proxy HTTPS_PROXY=$https_proxy NO_PROXY=$no_proxy",
            ),
        ),
    )


def _tools(proxy: Proxy) -> tuple[Block, ...]:
    url = proxy.url
    return (
        Block(
            "apt",
            ("In /etc/apt/apt.conf.d/80proxy:",),
            (f'Acquire::http::Proxy "{url}/";', f'Acquire::https::Proxy "{url}/";'),
        ),
        Block("pip", ("Once:",), (f"pip install --proxy {url} NAME",)),
        Block("", ("For good:",), (f"pip config set global.proxy {url}",)),
        Block("npm", (), (f"npm config set proxy {url}", f"npm config set https-proxy {url}")),
        Block("git", (), (f"git config --global http.proxy {url}",)),
        Block("curl", ("Once:",), (f"curl -x {url} https://example.com/",)),
        Block(
            "",
            ("For good, in ~/.curlrc:",),
            (f'proxy = "{url}"', f'noproxy = "{proxy.exceptions}"'),
        ),
        Block(
            "wget",
            ("In ~/.wgetrc:",),
            (
                "use_proxy = on",
                f"http_proxy = {url}",
                f"https_proxy = {url}",
                f"no_proxy = {proxy.exceptions}",
            ),
        ),
    )


_DROP_IN = (
    "The same for daemons before version 23, in /etc/systemd/system/docker.service.d/proxy.conf; "
    "then systemctl daemon-reload, and restart docker:"
)


def _docker(proxy: Proxy) -> tuple[Block, ...]:
    url, exceptions = proxy.url, proxy.exceptions
    images = {"http-proxy": url, "https-proxy": url, "no-proxy": exceptions}
    inside = {"httpProxy": url, "httpsProxy": url, "noProxy": exceptions}
    unit = (
        "[Service]",
        f'Environment="HTTP_PROXY={url}" "HTTPS_PROXY={url}"',
        f'Environment="NO_PROXY={exceptions}"',
    )
    return (
        Block(
            "docker",
            ("To fetch images, in /etc/docker/daemon.json; then restart the daemon:",),
            _json({"proxies": images}),
        ),
        Block("", (_DROP_IN,), unit),
        Block(
            "",
            ("For what runs inside containers and builds, in ~/.docker/config.json:",),
            _json({"proxies": {"default": inside}}),
        ),
    )


def _json(value: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(json.dumps(value, indent=2).splitlines())


def _systems(proxy: Proxy) -> tuple[Block, ...]:
    elsewhere = Block(
        "Browser, phone, tablet",
        ("Anything else: choose manual in the proxy settings, for HTTP and for HTTPS:",),
        (f"Host {proxy.host}", f"Port {proxy.port}"),
    )
    return (*_windows(proxy), *_apple(proxy), *_android(proxy), elsewhere)


def _windows(proxy: Proxy) -> tuple[Block, ...]:
    browsers = (
        "Settings, Network & internet, Proxy: use a setup script, with this address:"
        if proxy.pac
        else "Settings, Network & internet, Proxy: use a proxy server, with this address:"
    )
    services = "For services and Windows Update, as administrator:"
    bypass = f"<local>;10.*;192.168.*;{proxy.host}"
    command = f'netsh winhttp set proxy proxy-server="{proxy.address}" bypass-list="{bypass}"'
    return (
        Block("Windows", (browsers,), (proxy.pac or proxy.address,)),
        Block("", (services,), (command,)),
        Block(
            "",
            ("For the programs of a command line, from the next one on:",),
            (f"setx HTTP_PROXY {proxy.url}", f"setx HTTPS_PROXY {proxy.url}"),
        ),
    )


def _apple(proxy: Proxy) -> tuple[Block, ...]:
    phone = "iPhone and iPad: Settings, Wi-Fi, the i beside the network, Configure Proxy."
    if proxy.pac:
        return (
            Block("macOS", (), (f'networksetup -setautoproxyurl "Wi-Fi" {proxy.pac}',)),
            Block("", (f"{phone} Choose Automatic, with this URL:",), (proxy.pac,)),
        )
    target = f'"Wi-Fi" {proxy.host} {proxy.port}'
    commands = (
        f"networksetup -setwebproxy {target}",
        f"networksetup -setsecurewebproxy {target}",
    )
    return (
        Block("macOS", (), commands),
        Block("", (f"{phone} Choose Manual:",), (f"Server {proxy.host}", f"Port {proxy.port}")),
    )


def _android(proxy: Proxy) -> tuple[Block, ...]:
    way = "Settings, Network & internet, Internet, the gear beside the Wi-Fi, the pen, Advanced."
    manual = (f"Proxy hostname {proxy.host}", f"Proxy port {proxy.port}")
    blocks = (Block("Android", (f"{way} Proxy: Manual.",), manual),)
    if not proxy.pac:
        return blocks
    return (*blocks, Block("", ("Or Proxy: Proxy Auto-Config, with this URL:",), (proxy.pac,)))
