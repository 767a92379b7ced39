"""tls: who the origin says it is, is checked before a byte goes there; sessions are used again."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.threads import deferToThread

from proxyapp import errors
from proxyapp.net import sendfile, tls
from proxyapp.net import transport as net_transport
from proxyapp.net.dial import Dialled, Dialler
from proxyapp.net.reactor import ApplianceReactor, IApplianceReactor
from proxyapp.net.resolver import Addresses, Resolver
from proxyapp.net.splice import splice
from proxyapp.net.timers import Sweep
from proxyapp.net.tls import TlsClient
from proxyapp.wire.target import Origin
from tests.net.loopback import PATIENCE, Network, Witness, failure_of, flow, opening
from tests.net.uplinks import always_up

DAY = timedelta(days=1)
NAME = "origin.example"


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to say."""

    names: tuple[str, ...] = (NAME,)
    begins: timedelta = -DAY
    ends: timedelta = DAY
    is_self_signed: bool = False


class Authority:
    """Signs certificates; its own is in the file *trusted*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._begun("authority", "authority", self._key, Wanted())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        signed = own.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        self.trusted = folder / "authority.pem"
        self.trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _begun(
        self, subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, wanted: Wanted
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        names = [[x509.NameAttribute(NameOID.COMMON_NAME, each)] for each in (subject, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names[0]))
            .issuer_name(x509.Name(names[1]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + wanted.begins)
            .not_valid_after(now + wanted.ends)
        )

    def context(self, wanted: Wanted) -> ssl.SSLContext:
        """Return a server's context with a certificate as *wanted*."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = "server" if wanted.is_self_signed else "authority"
        names = x509.SubjectAlternativeName([_general(name) for name in wanted.names])
        begun = self._begun("server", issuer, key, wanted).add_extension(names, critical=False)
        signed = begun.sign(key if wanted.is_self_signed else self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain = self._folder / "server.pem"
        chain.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


Serve = Callable[[socket.socket], None]


@dataclass
class Server:
    """Accepts connections on loopback and serves each in a thread."""

    serve: Serve
    host: str = "127.0.0.1"
    names_asked: list[str | None] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.create_server((self.host, 0), family=family)
        self._listening.settimeout(PATIENCE)
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                accepted.settimeout(PATIENCE)
                self._start(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            self.serve(accepted)

    def close(self) -> None:
        """Stop, and wait for the threads."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(PATIENCE)


def echo(context: ssl.SSLContext) -> Serve:
    """Return what shakes hands and then sends back what comes."""

    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as secured:
            secured.sendall(b"ready")
            while piece := secured.recv(65536):
                secured.sendall(piece)

    return serve


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return a new authority."""
    return Authority(tmp_path)


StartServer = Callable[..., Server]


@pytest_twisted.async_yield_fixture
async def start() -> AsyncIterator[StartServer]:
    """Return what starts a server; it ends with the test."""
    started: list[Server] = []

    def start_one(serve: Serve, host: str = "127.0.0.1") -> Server:
        started.append(Server(serve, host))
        return started[-1]

    yield start_one
    for server in started:
        await deferToThread(server.close)


def make_dialler(
    appliance: ApplianceReactor, client: TlsClient, host: str = "127.0.0.1", timeout: float = 5.0
) -> Dialler:
    """Return a dialler for which every name stands for *host*."""
    found = Addresses((host,), 60.0)
    resolver = Resolver(lambda name: succeed(found), Sweep(appliance), 60.0, 5.0)
    return Dialler(
        cast(IApplianceReactor, appliance),
        resolver,
        lambda *asked: None,
        client,
        timeout,
        always_up(appliance),
    )


async def close(protocol: Witness) -> None:
    """Close the connection of *protocol*, if it has one."""
    if protocol.transport is not None:
        protocol.transport.abortConnection()
        await protocol.lost


async def dial_once(dialler: Dialler, origin: Origin) -> Dialled:
    """Dial *origin*, exchange a word, and close."""
    protocol = Witness()
    dialled = await dialler.dial(origin, protocol)
    protocol.transport.write(b", steady")
    await protocol.until(lambda: protocol.received == b"ready, steady")
    await close(protocol)
    return dialled


@pytest.mark.parametrize(
    ("wanted", "asked", "why"),
    [
        (Wanted(ends=-DAY / 2), NAME, "expired"),
        (Wanted(begins=DAY / 2), NAME, "not valid yet"),
        (Wanted(is_self_signed=True), NAME, "self-signed"),
        (Wanted(names=("other.example",)), NAME, "another name"),
        (Wanted(names=("*.site.example",)), "a.b.site.example", "another name"),
        (Wanted(names=("*.example",)), NAME, "another name"),
        (Wanted(names=("127.0.0.1",)), NAME, "another name"),
        (Wanted(names=("127.0.0.2",)), "127.0.0.1", "another name"),
        (Wanted(names=(NAME,)), "127.0.0.1", "another name"),
        (Wanted(names=("*.0.0.1",)), "127.0.0.1", "another name"),
    ],
)
@flow
async def test_rejected(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    wanted: Wanted,
    asked: str,
    why: str,
) -> None:
    """A certificate that fails a check is rejected, with the check; the protocol hears nothing."""
    server = start(echo(authority.context(wanted)))
    client = TlsClient(appliance, True, authority.trusted)
    protocol = Witness()
    work = make_dialler(appliance, client).dial(Origin("https", asked, server.port), protocol)
    error = await failure_of(work, errors.CertificateRejected)
    assert why in str(error)
    assert protocol.transport is None
    assert protocol.ends == []


@flow
async def test_unknown_authority(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """Without the file of its authority, a certificate is nobody's word."""
    server = start(echo(authority.context(Wanted())))
    client = TlsClient(appliance, True, None)
    work = make_dialler(appliance, client).dial(Origin("https", NAME, server.port), Witness())
    error = await failure_of(work, errors.CertificateRejected)
    assert "issuer is not known" in str(error)


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        ((NAME,), NAME),
        (("other.example", NAME), NAME),
        (("*.site.example",), "www.site.example"),
        (("127.0.0.1",), "127.0.0.1"),
        ((NAME, "127.0.0.1"), "127.0.0.1"),
    ],
)
@flow
async def test_accepted(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    names: tuple[str, ...],
    asked: str,
) -> None:
    """A certificate for the name or the address that was asked for is accepted."""
    server = start(echo(authority.context(Wanted(names=names))))
    client = TlsClient(appliance, True, authority.trusted)
    dialled = await dial_once(make_dialler(appliance, client), Origin("https", asked, server.port))
    assert dialled == Dialled(f"127.0.0.1:{server.port}", "full")


@flow
async def test_ipv6_address(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """A certificate may be an IPv6 address's."""
    server = start(echo(authority.context(Wanted(names=("::1",)))), "::1")
    client = TlsClient(appliance, True, authority.trusted)
    dialled = await dial_once(make_dialler(appliance, client), Origin("https", "::1", server.port))
    assert dialled == Dialled(f"[::1]:{server.port}", "full")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(ends=-DAY / 2),
        Wanted(is_self_signed=True),
        Wanted(names=("other.example",)),
    ],
)
@flow
async def test_verify_off(
    appliance: ApplianceReactor, authority: Authority, start: StartServer, wanted: Wanted
) -> None:
    """With the checks switched off every certificate will do."""
    server = start(echo(authority.context(wanted)))
    client = TlsClient(appliance, False, None)
    dialled = await dial_once(make_dialler(appliance, client), Origin("https", NAME, server.port))
    assert dialled.tls == "full"


@pytest.mark.parametrize(("asked", "told"), [(NAME, NAME), ("127.0.0.1", None)])
@flow
async def test_server_name(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    asked: str,
    told: str | None,
) -> None:
    """The server hears the name that is wanted, but never an address (RFC 6066 section 3)."""
    context = authority.context(Wanted(names=(NAME, "127.0.0.1")))
    heard: list[str | None] = []
    context.sni_callback = lambda secured, name, _: heard.append(name)
    server = start(echo(context))
    client = TlsClient(appliance, True, authority.trusted)
    await dial_once(make_dialler(appliance, client), Origin("https", asked, server.port))
    assert heard == [told]


@flow
async def test_only_http_1(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """Of the protocols that a server offers, HTTP/1.1 is taken (RFC 7301)."""
    context = authority.context(Wanted())
    context.set_alpn_protocols(["h2", "http/1.1"])
    taken: list[str | None] = []

    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as secured:
            taken.append(secured.selected_alpn_protocol())
            secured.sendall(b"ready, steady")
            secured.recv(100)

    server = start(serve)
    client = TlsClient(appliance, True, authority.trusted)
    await dial_once(make_dialler(appliance, client), Origin("https", NAME, server.port))
    assert taken == ["http/1.1"]


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@flow
async def test_resumption(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    version: ssl.TLSVersion,
) -> None:
    """The second connection to an origin resumes the first one's session, and so on."""
    context = authority.context(Wanted())
    context.minimum_version = context.maximum_version = version
    server = start(echo(context))
    client = TlsClient(appliance, True, authority.trusted)
    dialler = make_dialler(appliance, client)
    origin = Origin("https", NAME, server.port)
    used = [(await dial_once(dialler, origin)).tls for _ in range(4)]
    assert used == ["full", "resumed", "resumed", "resumed"]
    assert repr(client) == "<TlsClient 1 sessions>"


@VERSIONS
@flow
async def test_session_is_one_origins(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    version: ssl.TLSVersion,
) -> None:
    """A session is offered to its own origin only: another name checks everything again."""
    context = authority.context(Wanted())
    context.minimum_version = context.maximum_version = version
    server = start(echo(context))
    client = TlsClient(appliance, True, authority.trusted)
    dialler = make_dialler(appliance, client)
    await dial_once(dialler, Origin("https", NAME, server.port))
    other = dialler.dial(Origin("https", "other.example", server.port), Witness())
    await failure_of(other, errors.CertificateRejected)


@flow
async def test_new_server_after_a_session(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """A server that doesn't know the session any more gets a full handshake, checks and all."""
    contexts = [authority.context(Wanted()), authority.context(Wanted(names=("other.example",)))]
    server = start(lambda accepted: echo(contexts[0])(accepted))
    client = TlsClient(appliance, True, authority.trusted)
    dialler = make_dialler(appliance, client)
    origin = Origin("https", NAME, server.port)
    await dial_once(dialler, origin)
    contexts[0] = authority.context(Wanted())
    assert (await dial_once(dialler, origin)).tls == "full"
    contexts[0] = contexts[1]
    await failure_of(dialler.dial(origin, Witness()), errors.CertificateRejected)


@flow
async def test_sessions_are_bounded(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the limit of remembered sessions the oldest is forgotten."""
    monkeypatch.setattr(tls, "MAX_SESSIONS", 2)
    names = tuple(f"host{number}.example" for number in range(3))
    server = start(echo(authority.context(Wanted(names=names))))
    client = TlsClient(appliance, True, authority.trusted)
    dialler = make_dialler(appliance, client)
    origins = [Origin("https", name, server.port) for name in names]
    for origin in origins:
        await dial_once(dialler, origin)
    assert repr(client) == "<TlsClient 2 sessions>"
    used = [(await dial_once(dialler, origin)).tls for origin in (origins[2], origins[0])]
    assert used == ["resumed", "full"]


def speak_http(accepted: socket.socket) -> None:
    """Answer in plain text, as a server does that expected no TLS."""
    accepted.recv(10_000)
    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    accepted.recv(100)


def hang_up(accepted: socket.socket) -> None:
    """Close without a word."""
    accepted.recv(10_000)


def reset(accepted: socket.socket) -> None:
    """Reset the connection."""
    accepted.recv(10_000)  # a reset before that may be told as a failed connect
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def alert(accepted: socket.socket) -> None:
    """Send the alert handshake_failure (RFC 8446 section 6)."""
    accepted.recv(10_000)
    accepted.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
    accepted.recv(100)


@pytest.mark.parametrize("serve", [speak_http, hang_up, reset, alert])
@flow
async def test_no_tls(appliance: ApplianceReactor, start: StartServer, serve: Serve) -> None:
    """What is no TLS server is a TlsFailed, and the protocol hears nothing."""
    server = start(serve)
    protocol = Witness()
    client = TlsClient(appliance, True, None)
    origin = Origin("https", NAME, server.port)
    await failure_of(make_dialler(appliance, client).dial(origin, protocol), errors.TlsFailed)
    assert protocol.transport is None
    assert protocol.ends == []


@flow
async def test_old_version(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """A server that knows nothing newer than TLS 1.1 is refused (RFC 8996)."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")

    def serve(accepted: socket.socket) -> None:
        accepted.settimeout(None)
        secured = SSL.Connection(context, accepted)
        secured.set_accept_state()
        with suppress(SSL.Error):
            secured.do_handshake()

    server = start(serve)
    client = TlsClient(appliance, False, None)
    origin = Origin("https", NAME, server.port)
    await failure_of(make_dialler(appliance, client).dial(origin, Witness()), errors.TlsFailed)


def be_silent(accepted: socket.socket) -> None:
    """Say nothing until the client goes."""
    while accepted.recv(10_000):
        pass


@flow
async def test_silence(appliance: ApplianceReactor, start: StartServer) -> None:
    """A handshake that doesn't come to its end runs into the deadline, and is closed."""
    server = start(be_silent)
    protocol = Witness()
    client = TlsClient(appliance, True, None)
    dialler = make_dialler(appliance, client, timeout=0.2)
    origin = Origin("https", NAME, server.port)
    await failure_of(dialler.dial(origin, protocol), errors.ConnectTimeout)
    assert protocol.transport is None


@flow
async def test_cancel(appliance: ApplianceReactor, start: StartServer) -> None:
    """A dial that is cancelled inside the handshake closes the connection."""
    heard: Deferred[None] = Deferred()

    def serve(accepted: socket.socket) -> None:
        accepted.recv(1)
        appliance.callFromThread(heard.callback, None)
        be_silent(accepted)

    server = start(serve)
    client = TlsClient(appliance, True, None)
    origin = Origin("https", NAME, server.port)
    work = Deferred.fromCoroutine(make_dialler(appliance, client).dial(origin, Witness()))
    await heard
    work.cancel()
    await failure_of(work, CancelledError)


@flow
async def test_long_body(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """A long body comes through TLS whole, both ways."""
    server = start(echo(authority.context(Wanted())))
    client = TlsClient(appliance, True, authority.trusted)
    protocol = Witness()
    origin = Origin("https", NAME, server.port)
    await make_dialler(appliance, client).dial(origin, protocol)
    content = bytes(range(256)) * 12_000
    for start_at in range(0, len(content), 50_000):
        protocol.transport.write(content[start_at : start_at + 50_000])
    await protocol.until(lambda: len(protocol.received) == 5 + len(content))
    assert protocol.received == b"ready" + content
    await close(protocol)


@flow
async def test_file_and_splice(
    appliance: ApplianceReactor,
    authority: Authority,
    start: StartServer,
    network: Network,
    tmp_path: Path,
) -> None:
    """Over TLS a file is copied, a splice isn't made, and a half-close is a close."""
    server = start(echo(authority.context(Wanted())))
    client = TlsClient(appliance, True, authority.trusted)
    protocol = Witness()
    await make_dialler(appliance, client).dial(Origin("https", NAME, server.port), protocol)
    ours, _ = await network.connect()
    assert splice(protocol.transport, ours.transport, None, lambda: None) is None
    assert splice(ours.transport, protocol.transport, None, lambda: None) is None
    content = bytes(range(251)) * 9000
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        job = sendfile.send_file(protocol.transport, opening(file), 3, len(content) - 3)
        assert isinstance(job, sendfile.CopyFile)
        await job.done
    await protocol.until(lambda: len(protocol.received) == 5 + len(content) - 3)
    assert protocol.received == b"ready" + content[3:]
    assert net_transport.unsent(protocol.transport) == 0
    assert not net_transport.half_close(protocol.transport)
    await protocol.lost


@flow
async def test_many_at_once(
    appliance: ApplianceReactor, authority: Authority, start: StartServer
) -> None:
    """Connections to one origin that are made at once don't disturb one another."""
    server = start(echo(authority.context(Wanted())))
    client = TlsClient(appliance, True, authority.trusted)
    dialler = make_dialler(appliance, client)
    origin = Origin("https", NAME, server.port)
    dials = [Deferred.fromCoroutine(dial_once(dialler, origin)) for _ in range(20)]
    assert len(await gatherResults(dials)) == 20


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_unusable_ca_file(
    appliance: ApplianceReactor, tmp_path: Path, content: bytes | None
) -> None:
    """A CA file that can't be used is a mistake at the start, not at the first connection."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, SSL.Error)):
        TlsClient(appliance, True, path)
