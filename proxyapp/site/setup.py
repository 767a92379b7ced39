"""The setup page: is this client using the proxy, and what to copy so that a device does?"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence

from proxyapp import errors
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.rules.access import Decision
from proxyapp.rules.autoconfig import no_proxy
from proxyapp.site.autoconfig import PATHS, SETUP_HOST, Gateways
from proxyapp.site.confinement import OpenFile
from proxyapp.site.pages import Block, Page, Picture, render
from proxyapp.site.paths import Location
from proxyapp.site.settings import Proxy, settings
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.target import Form, Origin

PATH = b"/setup"
_PAGES = (b"/", PATH, PATH + b"/")
_ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")

# Browsers fetch the gateway's own pages directly, whatever else they send to the proxy. So the
# page shows a picture that only the proxy can deliver; no script is needed.
_PICTURE_PATH = b"/in-use.svg"
_PICTURE = Picture(
    f"http://{SETUP_HOST}{_PICTURE_PATH.decode('ascii')}",
    "No: this browser is not using the proxy.",
)
_DRAWN = b"""\
<svg xmlns="http://www.w3.org/2000/svg" width="330" height="28" role="img">
<style>
text { font: bold 16px system-ui, sans-serif; fill: #070 }
@media (prefers-color-scheme: dark) { text { fill: #7d7 } }
</style>
<text x="0" y="20">Yes: this browser is using the proxy.</text>
</svg>
"""


class SetupSite:
    """Answers / and /setup with the setup page.

    *direct* is what goes direct beside private hosts, and *has_pac* says whether there are
    automatic settings to point to.
    """

    def __init__(self, gateways: Gateways, direct: tuple[str, ...], has_pac: bool) -> None:
        self._gateways = gateways
        self._direct = direct
        self._has_pac = has_pac

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder; raises NotFound and MethodNotAllowed."""
        reply.record.service = "site"
        path, _, _ = request.target.path.partition(b"?")
        is_through = request.target.form is Form.ABSOLUTE and self._gateways.are_asked(reply)
        is_picture = is_through and path == _PICTURE_PATH
        if path not in _PAGES and not is_picture:
            raise errors.NotFound("no files are served here, only a setup page at /setup")
        method = request.head.method
        if method == b"OPTIONS":
            reply.answer(OutgoingResponse(204, b"No Content", [_ALLOW]), b"")
            return
        if method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("the setup page can only be read", (_ALLOW,))
        if is_picture:
            fields = [(b"Content-Type", b"image/svg+xml"), (b"Cache-Control", b"no-store")]
            reply.answer(OutgoingResponse(200, b"OK", fields), _DRAWN)
            return
        page = self._page(request, reply, is_through, is_root=path == b"/")
        fields, body = render(page, request.head.fields.get(b"accept"))
        reply.answer(OutgoingResponse(200, b"OK", fields), body)

    def _page(self, request: Request, reply: Reply, is_through: bool, is_root: bool) -> Page:
        told = self._gateways.told(request, reply)
        blocks: list[Block] = []
        if told:
            proxy = self._proxy(told[0], request, reply)
            own = self._gateways.ports
            others = tuple(port for port in own if port != proxy.port) if len(told) == 1 else ()
            blocks += [_introduction(proxy, others), _in_use(is_through), *settings(proxy)]
        else:
            blocks.append(Block("", ("It runs, without a proxy.",), ()))
        if is_root and not is_through:
            blocks.append(_FILES)
        return Page("proxyapp", tuple(blocks))

    def _proxy(self, told: str, request: Request, reply: Reply) -> Proxy:
        host, _, port = told.rpartition(":")
        here = self._gateways.host(request, reply)
        # Wherever the proxy listens, the PAC is there too.
        authority = f"[{here}]" if ":" in here else here
        pac = f"http://{authority}:{self._gateways.port(reply) or reply.local_port}/proxy.pac"
        return Proxy(
            host.strip("[]"), int(port), pac if self._has_pac else "", no_proxy(here, self._direct)
        )


class FrontPage:
    """Stands in for folder pages where they are turned off: the front door is never a dead end."""

    def __init__(self, page: Responder) -> None:
        self._page = page

    async def respond(
        self,
        request: Request,
        reply: Reply,
        folder: OpenFile,
        location: Location,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer with *page* for the site's root; raises NotFound for every other folder."""
        if location.segments:
            raise errors.NotFound("this folder has no index page")
        await self._page.respond(request, reply)


_FILES = Block("Files", ("To serve files here, name their folder in [site] root.",), ())


def _introduction(proxy: Proxy, others: tuple[int, ...]) -> Block:
    also = f" So do the ports {', '.join(map(str, others))}." if others else ""
    sentence = f"This gateway's proxy for HTTP and HTTPS listens on port {proxy.port}.{also}"
    return Block("", (sentence,), (proxy.url,))


def _in_use(is_through: bool) -> Block:
    if is_through:
        return Block("Is it in use?", ("Yes: this page came through the proxy.",), ())
    sentence = (
        "This page came directly, not through the proxy. Pages of the gateway itself often do, "
        f"whatever the settings. The host {SETUP_HOST} exists behind the proxy only:"
    )
    return Block("Is it in use?", (sentence,), (f"curl http://{SETUP_HOST}/",), _PICTURE)


# The way to these pages through the proxy.


class OwnUrls:
    """Stands before *forward* on the proxy's port: URLs of this machine itself aren't forwarded.

    A client may send everything to the proxy, the gateway's own pages too. They are answered at
    once, by *setup* for its host, and for the ports in *site_ports* by *site*, to whom *may_read*
    lets read it, asked about the request and its user. On the proxy's own ports that goes for what
    is there to set up a client; all else there is a loop. *is_own* says whether a host is this
    machine.
    """

    def __init__(
        self,
        forward: Responder,
        setup: Responder,
        site: Responder,
        proxy_ports: Sequence[int],
        site_ports: Sequence[int],
        is_own: Callable[[str], bool],
        may_read: Callable[[Request, str | None], Decision],
    ) -> None:
        self._forward = forward
        self._setup = setup
        self._site = site
        self._proxy_ports = proxy_ports
        self._site_ports = site_ports
        self._is_own = is_own
        self._may_read = may_read

    def respond(self, request: Request, reply: Reply) -> Coroutine[object, object, None]:
        """See Responder; raises AccessDenied.

        Not a coroutine of its own: nearly all requests are the forward proxy's, and pay nothing.
        """
        origin = request.target.origin
        if origin is None or not self._may_be_own(origin):
            return self._forward.respond(request, reply)
        if origin.host == SETUP_HOST:
            return self._answer(self._setup, request, reply)
        path, _, _ = request.target.path.partition(b"?")
        is_for_setup = path in _FOR_SETUP
        if (origin.port in self._site_ports or is_for_setup) and self._is_own(origin.host):
            return self._answer(self._site, request, reply)
        return self._forward.respond(request, reply)

    def _may_be_own(self, origin: Origin) -> bool:
        port = origin.port
        is_ours = port in self._site_ports or port in self._proxy_ports
        return (is_ours or origin.host == SETUP_HOST) and origin.scheme == "http"

    async def _answer(self, responder: Responder, request: Request, reply: Reply) -> None:
        decision = self._may_read(request, reply.record.user)
        if not decision.allowed:
            raise errors.AccessDenied(decision.reason, (), decision.rule, decision.message)
        await responder.respond(request, reply)


_FOR_SETUP = frozenset((PATH, PATH + b"/", *PATHS))
