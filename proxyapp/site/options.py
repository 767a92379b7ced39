"""Answers for the server as a whole: OPTIONS *, and requests that came to the wrong port."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxyapp import errors
from proxyapp.exchange import Reply, Request, Responder
from proxyapp.wire.messages import OutgoingResponse


class ServerOptions:
    """Answers `OPTIONS *` (RFC 9110 section 9.3.7); *methods* is what Allow says."""

    def __init__(self, methods: bytes) -> None:
        self._methods = methods

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.answer(OutgoingResponse(204, b"No Content", [(b"Allow", self._methods)]), b"")


class MisdirectedSite:
    """Stands on the site's port for what belongs to the proxy's.

    An absolute URL of the site itself is answered all the same (RFC 9112 section 3.2.2); *is_own*
    says whether a host is this machine.
    """

    def __init__(
        self, site: Responder, proxy_ports: Sequence[int], is_own: Callable[[str], bool]
    ) -> None:
        self._site = site
        self._proxy_ports = proxy_ports
        self._is_own = is_own

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder; raises Misdirected."""
        origin = request.target.origin
        # The host decides too: with the site on port 80, half the web's URLs have the right port.
        if (
            origin is not None
            and (origin.scheme, origin.port) == ("http", reply.local_port)
            and self._is_own(origin.host)
        ):
            await self._site.respond(request, reply)
            return
        ports = " or ".join(map(str, self._proxy_ports))
        where = f"on port {ports}" if ports else "elsewhere"
        raise errors.Misdirected(f"this port serves files; the proxy is {where}")
