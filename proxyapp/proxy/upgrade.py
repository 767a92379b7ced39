"""The ways to ask for https over plain http, all to one canonical request.

A device without TLS can't open a CONNECT tunnel and shake hands in it. It asks us to speak TLS for
it: by a request field (`X-Real-Protocol: https`), or by an https URL in absolute form.
"""

from __future__ import annotations

from collections.abc import Callable

from proxyapp import errors
from proxyapp.exchange import Request
from proxyapp.wire.target import DEFAULT_PORTS, Origin


class TlsUpgrade:
    """Decides which origin a request is for, once the ways to ask for TLS are read.

    *header* is the name of the field in lower case, empty for none; *may_upgrade* judges clients.
    """

    def __init__(self, header: bytes, may_upgrade: Callable[[str], bool]) -> None:
        self._header = header
        self._may_upgrade = may_upgrade

    def origin_for(self, request: Request) -> Origin:
        """Return the origin to ask; raises AccessDenied, or BadRequest for an unknown protocol."""
        origin = request.target.origin
        assert origin is not None
        wanted = request.head.fields.combined.get(self._header) if self._header else None
        if wanted is None and origin.scheme == "http":
            return origin
        scheme = origin.scheme if wanted is None else _scheme(wanted)
        if scheme == "http":
            return origin
        if not self._may_upgrade(request.client.host):
            raise errors.AccessDenied(
                "this client is not in [proxy] tls_upgrade_clients, so https needs CONNECT",
                rule="[proxy] tls_upgrade_clients",
            )
        if origin.scheme == "http" and origin.port == DEFAULT_PORTS["http"]:
            return Origin("https", origin.host, DEFAULT_PORTS["https"])
        return Origin("https", origin.host, origin.port)


def _scheme(wanted: bytes) -> str:
    name = wanted.strip().lower()
    if name not in (b"http", b"https"):
        raise errors.BadRequest("the TLS upgrade field may say only http or https")
    return name.decode("ascii")
