"""TLS towards origins: one context for all, sessions used again, certificates always checked.

A context costs 7 ms to make, a full handshake two round trips and a signature; so there is one
context, and the last session of each origin is offered to the next connection (RFC 8446 section
2.2). The identity in the certificate is checked by service-identity (RFC 9525) before anybody may
write to the connection.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import service_identity
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreFlags
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import compat
from proxyapp.wire.target import Origin

compat.require(TLSMemoryBIOProtocol, ("_tlsConnection", "_handshakeDone", "wrappedProtocol"))

MAX_SESSIONS = 1024

# X509_V_ERR_* of openssl-verify(1): what is wrong with a certificate, in an admin's words.
_WHY = {
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    11: "the list of what its issuer has revoked is not valid yet",
    12: "the list of what its issuer has revoked has expired",
    18: "it is self-signed",
    19: "its issuer is not trusted",
    20: "its issuer is not known",
    21: "its chain is incomplete",
    22: "its chain is too long",
    23: "it has been revoked",
    24: "its issuer may not sign certificates",
    25: "its chain is longer than its issuer may make it",
    26: "it is not for servers",
    27: "its issuer is not trusted for servers",
    28: "its issuer is rejected",
    32: "its issuer may not sign certificates",
    47: "its issuer may not sign for that name",
    48: "its issuer may not sign for that name",
    66: "its key is too weak",
    67: "its issuer's key is too weak",
    68: "it is signed with a hash that is too weak",
    79: "its issuer may not sign certificates",
}
# The same of one that stands above it in the chain, where it is about that one alone.
_WHY_ABOVE = {
    9: "its issuer's is not valid yet",
    10: "its issuer's has expired",
    23: "its issuer's has been revoked",
}
_UNABLE_TO_GET_CRL = 3
_CRL = b"-----BEGIN X509 CRL-----"


class TlsClient:
    """Puts TLS on dialled connections.

    *ca_file* is an extra file of trusted certificates in PEM, and perhaps of lists of revoked ones
    (RFC 5280 section 5); *verify* off skips every check. Raises OSError or SSL.Error for a CA file
    that can't be used.
    """

    def __init__(self, clock: IReactorTime, verify: bool, ca_file: Path | None) -> None:
        self._clock = clock
        self._verify = verify
        self._sessions: OrderedDict[Origin, SSL.Session] = OrderedDict()
        self._context = _make_context(verify, ca_file)

    def __repr__(self) -> str:
        return f"<TlsClient {len(self._sessions)} sessions>"

    def secure(self, transport: ITransport, origin: Origin, protocol: IProtocol) -> Deferred[str]:
        """Shake hands over *transport*, then give the secured connection to *protocol*.

        Fires with "full" or "resumed"; fails with CertificateRejected or TlsFailed. Cancelling
        it aborts the connection.
        """
        handshake = _Handshake(self, origin, protocol)
        factory = TLSMemoryBIOFactory(handshake, True, _Fixed(handshake), self._clock)
        factory.protocol = _Layer
        layer = factory.buildProtocol(transport.getPeer())
        assert isinstance(layer, _Layer)
        layer.tls, layer.origin = self, origin
        adopt(transport, layer)
        return handshake.done

    def connection_for(self, origin: Origin) -> SSL.Connection:
        """Return a connection that is ready to shake hands with *origin*."""
        connection = SSL.Connection(self._context, None)
        if not _is_address(origin.host):
            connection.set_tlsext_host_name(origin.host.encode("ascii"))  # RFC 6066 section 3
        session = self._sessions.get(origin)
        if session is not None:
            connection.set_session(session)
        return connection

    def check_identity(self, connection: SSL.Connection, host: str) -> None:
        """Raise CertificateRejected unless the certificate is *host*'s (RFC 9525)."""
        if not self._verify:
            return
        check = verify_ip_address if _is_address(host) else verify_hostname
        try:
            check(connection, host)
        except (service_identity.VerificationError, service_identity.CertificateError):
            raise errors.CertificateRejected(
                "the origin's certificate was not accepted: it is for another name"
            ) from None

    def remember(self, origin: Origin, connection: SSL.Connection) -> None:
        """Keep the session of *connection* for the next one to *origin*."""
        session = connection.get_session()
        if session is None:
            return
        self._sessions[origin] = session
        self._sessions.move_to_end(origin)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)


def adopt(transport: ITransport, protocol: IProtocol) -> None:
    """Make *protocol* the one that *transport* delivers to."""
    if isinstance(transport, _Layer):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol  # type: ignore[attr-defined] # as startTLS does
    protocol.makeConnection(transport)


def _make_context(verify: bool, ca_file: Path | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_alpn_protos([b"http/1.1"])
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if verify:
        context.set_default_verify_paths()
        if ca_file is not None:
            context.load_verify_locations(str(ca_file))
            if _CRL in ca_file.read_bytes():
                _store(context).set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        context.set_verify(SSL.VERIFY_PEER, _note_failure)
    else:
        context.set_verify(SSL.VERIFY_NONE)
    return context


def _store(context: SSL.Context) -> X509Store:
    store = context.get_cert_store()
    assert store is not None
    return store


class _Failure(NamedTuple):
    """The check that a certificate failed; *depth* is 0 for the origin's own."""

    code: int
    depth: int

    def __str__(self) -> str:
        above = _WHY_ABOVE.get(self.code) if self.depth else None
        return above or _WHY.get(self.code, "a check of it failed")


def _note_failure(
    connection: SSL.Connection, _certificate: X509, code: int, depth: int, ok: int
) -> bool:
    # Most issuers have no list here, and are trusted all the same.
    if ok or code == _UNABLE_TO_GET_CRL:
        return True
    connection.set_app_data(_Failure(code, depth))
    return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Fixed(Factory):
    """A factory that hands out the one protocol it was given."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


class _Layer(TLSMemoryBIOProtocol):
    """Twisted's TLS over our transport; keeps the session that the origin gives us.

    With TLS 1.3 the tickets come behind the handshake, with the first data. What is written is
    encrypted at once: a head is one write, and to gather more would take another turn of the loop.
    """

    tls: TlsClient
    origin: Origin
    wants_session = False

    def dataReceived(self, data: bytes) -> None:
        was_done = self._handshakeDone
        super().dataReceived(data)
        if was_done and self.wants_session and self._tlsConnection is not None:
            self.wants_session = False
            self.tls.remember(self.origin, self._tlsConnection)


def _is_resumed(connection: SSL.Connection) -> bool:
    # pyOpenSSL has no public name for SSL_session_reused(3).
    return bool(SSL._lib.SSL_session_reused(connection._ssl))  # type: ignore[attr-defined]


@implementer(IHandshakeListener, IOpenSSLClientConnectionCreator)
class _Handshake(Protocol):
    """Stands in for the real protocol until the handshake is done and the identity checked."""

    def __init__(self, tls: TlsClient, origin: Origin, protocol: IProtocol) -> None:
        self._tls = tls
        self._origin = origin
        self._protocol = protocol
        self._connection = tls.connection_for(origin)
        self.done: Deferred[str] = Deferred(lambda _: self._abort())

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return self._connection

    def handshakeCompleted(self) -> None:
        try:
            self._tls.check_identity(self._connection, self._origin.host)
        except errors.CertificateRejected as error:
            self._abort()
            self.done.errback(error)
            return
        layer = self.transport
        assert isinstance(layer, _Layer)
        layer.wrappedProtocol = self._protocol
        layer.wants_session = True
        self._protocol.makeConnection(layer)
        self.done.callback("resumed" if _is_resumed(self._connection) else "full")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(self._fault())

    def _fault(self) -> errors.ExchangeError:
        failed = self._connection.get_app_data()
        if not isinstance(failed, _Failure):  # Twisted keeps the protocol there
            return errors.TlsFailed("the origin does not speak a TLS that we accept")
        return errors.CertificateRejected(f"the origin's certificate was not accepted: {failed}")

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
