"""A certificate authority of the bench's own, and a certificate of its for loopback."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench import servers

TRUSTED = "trusted.pem"
SERVER = "server.pem"


def make(folder: Path) -> None:
    """Write what is trusted, and a server's key with its certificate, to *folder*."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _begun("authority", authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(servers.LOOPBACK))]
    server = _begun(servers.LOOPBACK, key).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = server.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (folder / SERVER).write_bytes(private + shown)
    trusted = authority.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (folder / TRUSTED).write_bytes(trusted)


def _begun(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    named, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in (subject, "authority")
    )
    return (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
