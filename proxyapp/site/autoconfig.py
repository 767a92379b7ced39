"""Serves the PAC where clients look for it, and knows which proxy to tell each client of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import assert_never

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules import addresses, autoconfig
from proxyapp.rules.conditions import EntityTag, Outcome, Validators, evaluate
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.target import parse_authority

# Where WPAD looks (draft-ietf-wrec-wpad-01 section 4.4.1), and where people do.
PATHS = (b"/wpad.dat", b"/proxy.pac")
# A host that exists behind our proxy and nowhere else: RFC 6761 section 6.4 promises that no DNS
# knows it. Whoever gets an answer from it uses the proxy.
SETUP_HOST = "proxyapp.invalid"

ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")
# As long as clients may go on without hearing of a changed configuration.
_MAX_AGE = b"max-age=300"


class Gateways:
    """Which proxies a client is told to use: those *listed*, else this machine as it was asked.

    *listed* are host:port, the one to try first in front. *proxy_ports* are those of our own
    proxy, the one to recommend first; they may come in later. *hostname* stands for this machine
    where a client that names no host came over a Unix socket.
    """

    def __init__(self, listed: tuple[str, ...], proxy_ports: Sequence[int], hostname: str) -> None:
        self._listed = listed
        self._proxy_ports = proxy_ports
        self._hostname = hostname

    def __repr__(self) -> str:
        listed = ", ".join(self._listed) or "as asked"
        return f"<Gateways {listed}, own ports {list(self._proxy_ports)}>"

    def are_asked(self, reply: Reply) -> bool:
        """Did the request come in on a port of our proxy?"""
        return reply.local_port in self.ports

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports of our proxy; none if it doesn't run, or on Unix sockets only."""
        return tuple(port for port in self._proxy_ports if port)

    def host(self, request: Request, reply: Reply) -> str:
        """Return the name or address by which the client reaches this machine, without brackets."""
        origin = request.target.origin
        if origin is not None and origin.host != SETUP_HOST:
            return origin.host
        if origin is None and (host := request.head.fields.get(b"host")):
            # Never as it came: what reaches a PAC or a page is a host name or an address.
            try:
                return parse_authority("http", host).host
            except errors.BadRequest:
                pass
        return _unmapped(reply.local_host) or self._hostname

    def port(self, reply: Reply) -> int:
        """Return the port of our proxy to tell the client of; 0 if there is none."""
        if self.are_asked(reply):
            return reply.local_port
        return next(iter(self.ports), 0)

    def told(self, request: Request, reply: Reply) -> tuple[str, ...]:
        """Return the proxies to tell the client of, as host:port; none where there are none."""
        port = self.port(reply)
        if self._listed or not port:
            return self._listed
        host = self.host(request, reply)
        return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)


def _unmapped(address: str) -> str:
    """Return *address* as a URL can have it: without a zone id, an IPv4 address as such."""
    try:
        return str(addresses.parse(address))
    except ValueError:
        return ""


class AutoconfigSite:
    """Answers /wpad.dat and /proxy.pac; *direct* is what goes direct beside private hosts.

    *weights* are those of the listed gateways, none where hosts aren't spread over them.
    """

    def __init__(
        self, gateways: Gateways, direct: tuple[str, ...], weights: tuple[int, ...] = ()
    ) -> None:
        self._gateways = gateways
        self._direct = direct
        self._weights = weights

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder; raises NotFound, MethodNotAllowed and PreconditionFailed."""
        reply.record.service = "site"
        path, _, _ = request.target.path.partition(b"?")
        told = self._gateways.told(request, reply)
        if path not in PATHS or not told:
            raise errors.NotFound("there is nothing to set up here")
        method = request.head.method
        if method == b"OPTIONS":
            reply.answer(OutgoingResponse(204, b"No Content", [ALLOW]), b"")
            return
        if method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("automatic proxy settings can only be read", (ALLOW,))
        pac = autoconfig.pac_text(told, self._direct, self._weights)
        _answer(request, reply, pac.encode("ascii"))


def _answer(request: Request, reply: Reply, pac: bytes) -> None:
    tag = EntityTag(hashlib.sha256(pac).hexdigest()[:16].encode("ascii"))
    fields: RawFields = [(b"Cache-Control", _MAX_AGE), (b"ETag", bytes(tag))]
    outcome = evaluate(request.head.method, request.head.fields, Validators(tag, None))
    if outcome is Outcome.SEND:
        typed = [(b"Content-Type", autoconfig.MEDIA_TYPE), *fields]
        reply.answer(OutgoingResponse(200, b"OK", typed), pac)
    elif outcome is Outcome.NOT_MODIFIED:
        reply.answer(OutgoingResponse(304, b"Not Modified", fields), b"")
    elif outcome is Outcome.PRECONDITION_FAILED:
        raise errors.PreconditionFailed("the settings are no longer those that were asked about")
    else:
        assert_never(outcome)
