"""tls: each check that a certificate can fail has its own words; handshakes in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.tls import TlsClient
from proxyapp.wire.target import Origin

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
NAME = "origin.example"

KEY = ec.generate_private_key(ec.SECP256R1())
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key; *issuer* is None for one that signs itself."""

    name: str
    issuer: Certificate | None = None
    begins: timedelta = -DAY
    ends: timedelta = DAY
    is_authority: bool = True
    path_length: int | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] = ()
    excluded: str = ""
    serial: int = 7
    key: Key = KEY

    @property
    def subject(self) -> x509.Name:
        """The distinguished name."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def made(self) -> x509.Certificate:
        """Return it signed."""
        issuer = self.issuer or self
        length = self.path_length if self.is_authority else None
        basic = x509.BasicConstraints(ca=self.is_authority, path_length=length)
        names = x509.SubjectAlternativeName([x509.DNSName(self.name)])
        begun = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(NOW + self.begins)
            .not_valid_after(NOW + self.ends)
            .add_extension(basic, critical=True)
            .add_extension(names, critical=False)
        )
        if self.purposes:
            begun = begun.add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        if self.excluded:
            limits = x509.NameConstraints(None, [x509.DNSName(self.excluded)])
            begun = begun.add_extension(limits, critical=True)
        return begun.sign(issuer.key, hashes.SHA256())

    def revoking(self, serial: int, until: timedelta = DAY) -> bytes:
        """Return this authority's list of what it has revoked, in PEM."""
        revoked = x509.RevokedCertificateBuilder().serial_number(serial)
        listed = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(NOW - 2 * DAY)
            .next_update(NOW + until)
            .add_revoked_certificate(revoked.revocation_date(NOW - DAY).build())
        )
        return listed.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


ROOT = Certificate("root")
MIDDLE = Certificate("middle", ROOT, serial=8, key=ec.generate_private_key(ec.SECP256R1()))
LEAF = Certificate(NAME, ROOT, is_authority=False)


def trusted(folder: Path, root: Certificate, *lists: bytes) -> Path:
    """Return a file with what is trusted."""
    path = folder / "trusted.pem"
    path.write_bytes(root.made().public_bytes(Encoding.PEM) + b"".join(lists))
    return path


def server_of(chain: Sequence[Certificate]) -> SSL.Connection:
    """Return a server that shows *chain*, its own certificate first."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    own, *above = chain
    context.use_privatekey(own.key)
    context.use_certificate(own.made())
    for each in above:
        context.add_extra_chain_cert(each.made())
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    return connection


class Wire(StringTransport):
    """Carries what the client says to a server, and its answers back."""

    protocol: Protocol

    def shake(self, server: SSL.Connection) -> None:
        """Let both speak until nobody has anything more to say."""
        while said := self.value():  # type: ignore[no-untyped-call]
            self.clear()  # type: ignore[no-untyped-call]
            server.bio_write(said)
            try:
                server.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                break
            self.protocol.dataReceived(server.bio_read(1 << 16))
        self.protocol.connectionLost(Failure(ConnectionDone()))


def outcome(client: TlsClient, chain: Sequence[Certificate], host: str = NAME) -> object:
    """Return how the handshake with *chain* ends: "full", or the error."""
    wire = Wire()  # type: ignore[no-untyped-call]  # Twisted has no types here
    done: Deferred[str] = client.secure(wire, Origin("https", host, 443), Protocol())
    wire.shake(server_of(chain))
    ended: list[object] = []
    done.addBoth(ended.append)
    return ended[0].value if isinstance(ended[0], Failure) else ended[0]


AUTHORITY = replace(MIDDLE, is_authority=False)
BELOW = replace(LEAF, issuer=MIDDLE)


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ([replace(LEAF, ends=-DAY / 2)], "it has expired"),
        ([replace(LEAF, begins=DAY / 2)], "it is not valid yet"),
        ([replace(LEAF, issuer=None)], "it is self-signed"),
        ([replace(LEAF, name="other.example")], "it is for another name"),
        ([BELOW], "its issuer is not known"),
        ([replace(LEAF, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))], "it is not for servers"),
        ([BELOW, replace(MIDDLE, ends=-DAY / 2)], "its issuer's has expired"),
        ([BELOW, replace(MIDDLE, begins=DAY / 2)], "its issuer's is not valid yet"),
        ([replace(LEAF, issuer=AUTHORITY), AUTHORITY], "its issuer may not sign certificates"),
        ([BELOW, replace(MIDDLE, excluded="example")], "its issuer may not sign for that name"),
        ([replace(LEAF, key=rsa.generate_private_key(65537, 1024))], "its key is too weak"),
        ([replace(LEAF, issuer=replace(ROOT, key=MIDDLE.key))], "its signature is wrong"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_failed_checks(tmp_path: Path, chain: list[Certificate], why: str) -> None:
    """The error says which check failed, and that of the certificates above it is told apart."""
    client = TlsClient(Clock(), True, trusted(tmp_path, ROOT))
    error = outcome(client, chain)
    assert isinstance(error, errors.CertificateRejected)
    assert error.reason == f"the origin's certificate was not accepted: {why}"
    assert repr(client) == "<TlsClient 0 sessions>"


@pytest.mark.parametrize("chain", [[LEAF], [BELOW, MIDDLE]])
def test_accepted(tmp_path: Path, chain: list[Certificate]) -> None:
    """What is wrong nowhere in the chain is accepted."""
    assert outcome(TlsClient(Clock(), True, trusted(tmp_path, ROOT)), chain) == "full"


@pytest.mark.parametrize(
    ("chain", "lists", "why"),
    [
        ([LEAF], [ROOT.revoking(LEAF.serial)], "it has been revoked"),
        ([BELOW, MIDDLE], [ROOT.revoking(MIDDLE.serial)], "its issuer's has been revoked"),
        ([LEAF], [ROOT.revoking(99, until=-DAY)], "its issuer has revoked has expired"),
        ([LEAF], [ROOT.revoking(99)], ""),
        ([BELOW, MIDDLE], [ROOT.revoking(99)], ""),
        ([LEAF], [MIDDLE.revoking(LEAF.serial)], ""),
    ],
)
def test_revoked(tmp_path: Path, chain: list[Certificate], lists: list[bytes], why: str) -> None:
    """Lists of revoked certificates beside the trusted ones count; who has none is trusted."""
    found = outcome(TlsClient(Clock(), True, trusted(tmp_path, ROOT, *lists)), chain)
    if why:
        assert isinstance(found, errors.CertificateRejected)
        assert why in found.reason
    else:
        assert found == "full"


def test_no_check_at_all(tmp_path: Path) -> None:
    """With verification off nothing is looked at, revoked or not."""
    path = trusted(tmp_path, ROOT, ROOT.revoking(LEAF.serial))
    assert outcome(TlsClient(Clock(), False, path), [replace(LEAF, ends=-DAY / 2)]) == "full"
