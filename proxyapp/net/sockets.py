"""Listening sockets, made apart from the ports that accept on them, so that ports can follow.

What an endpoint description means is left to Twisted: it is asked to listen on a stand-in for the
reactor, which writes down what it would have opened, or gives it a socket that is open already.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IReactorSocket,
)
from twisted.internet.protocol import Factory, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock
from zope.interface import implementer

from proxyapp.net.ports import BACKLOG

# Where systemd's socket stands: it is always the innermost, and can be asked for only once.
_SYSTEMD = re.compile(r"((?:haproxy:)*)systemd:.*", re.DOTALL)
_STAND_IN = r"\1tcp:0"


class Wanted(NamedTuple):
    """What a description wants to listen on.

    *host* is an address for TCP and a path for Unix sockets. *descriptor* is that of a socket that
    was handed to us, and is ours to close; else it is -1.
    """

    family: socket.AddressFamily
    host: str
    port: int = 0
    backlog: int = BACKLOG
    mode: int = 0o666
    has_lock: bool = False
    descriptor: int = -1


# Gets what an endpoint wants to listen on, and what makes the protocols there.
_Take = Callable[[Wanted, IProtocolFactory], IListeningPort | None]


class _StandIn:
    """Stands in for the reactor: *take* gets what it is asked to open."""

    def __init__(self, take: _Take) -> None:
        self._take = take

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort | None:
        """See IReactorTCP."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        host = interface or "0.0.0.0"  # as Twisted does
        return self._take(Wanted(family, host, port, max(backlog, BACKLOG)), factory)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: IOpenSSLContextFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort | None:
        """See IReactorSSL."""
        encrypted = TLSMemoryBIOFactory(contextFactory, False, factory)
        return self.listenTCP(port, encrypted, backlog, interface)

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> IListeningPort | None:
        """See IReactorUNIX."""
        return self._take(Wanted(socket.AF_UNIX, address, 0, backlog, mode, bool(wantPID)), factory)

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: IProtocolFactory
    ) -> IListeningPort | None:
        """See IReactorSocket; the endpoint closes its own descriptor."""
        copy = os.dup(fileDescriptor)
        os.set_inheritable(copy, False)
        return self._take(Wanted(addressFamily, "", descriptor=copy), factory)


def read(description: str) -> Wanted:
    """Return what the endpoint *description* wants; a `systemd:` one may be read once.

    Raises ListenError.
    """
    found: list[Wanted] = []
    _listen(_StandIn(lambda wanted, factory: found.append(wanted)), description, Factory())
    return found[0]


class ListenError(Exception):
    """Nobody can listen there; the message says why."""


def _listen(reactor: object, description: str, factory: IProtocolFactory) -> IListeningPort:
    """Have the endpoint listen on what stands in for the reactor; it does so at once."""
    opened: list[IListeningPort] = []
    failures: list[Failure] = []
    try:
        listening: Deferred[IListeningPort] = serverFromString(reactor, description).listen(factory)
    except (LookupError, ValueError, OSError, SSL.Error) as error:
        raise ListenError(_why(error)) from error
    listening.addCallbacks(opened.append, failures.append)
    if failures:
        raise ListenError(_why(failures[0].value)) from failures[0].value
    return opened[0]


def _why(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, LookupError):
        return "no socket was handed to us that it could be"
    if isinstance(error, OSError) and error.strerror:
        # A certificate, if it has a name; that of a lock is none that the admin has written.
        named = isinstance(error.filename, str | bytes) and error.filename2 is None
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
    return f"it can't be used ({type(error).__name__})"


def open_socket(wanted: Wanted, is_exclusive: bool) -> socket.socket:
    """Return a socket that listens on *wanted*; TCP ones share their address with later ones.

    With *is_exclusive* the address has to be free, as it has where nothing is shared. Raises
    ListenError.
    """
    try:
        return _open(wanted, is_exclusive)
    except OSError as error:
        raise ListenError(_why(error)) from error


def _open(wanted: Wanted, is_exclusive: bool) -> socket.socket:
    if wanted.descriptor >= 0:
        return socket.socket(wanted.family, socket.SOCK_STREAM, 0, wanted.descriptor)
    if wanted.family == socket.AF_UNIX:
        return _open_unix(wanted)
    if is_exclusive and wanted.port:
        # Any process of ours could share the address; a second proxyapp would be nobody's intent.
        _bound(wanted, is_shared=False).close()
    opened = _bound(wanted, is_shared=True)
    opened.listen(wanted.backlog)
    return opened


def _bound(wanted: Wanted, is_shared: bool) -> socket.socket:
    made = socket.socket(wanted.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # With its scope, if it has one: fe80::1%eth0.
        (*_, address), *_ = socket.getaddrinfo(
            wanted.host, wanted.port, wanted.family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST
        )
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def _open_unix(wanted: Wanted) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.bind(wanted.host)
        if not wanted.host.startswith("\0"):
            os.chmod(wanted.host, wanted.mode)
        made.listen(wanted.backlog)
    except BaseException:
        made.close()
        raise
    return made


class PathLock:
    """The file beside a Unix socket that says whose it is; see twisted.internet.unix.Port."""

    def __init__(self, path: str) -> None:
        """Take it, and what a dead process has left at *path* away; raises ListenError."""
        self._path = path
        self._lock = FilesystemLock(path + ".lock")
        try:
            is_ours = self._lock.lock()
        except OSError as error:
            raise ListenError(_why(error)) from error
        if not is_ours:
            raise ListenError("another process listens there")
        if not self._lock.clean:
            with suppress(OSError):
                remove_path(path)

    def release(self) -> None:
        """Give it back."""
        self._lock.unlock()


def remove_path(path: str) -> None:
    """Remove the Unix socket at *path*, if it's in the file system at all; raises OSError."""
    if not path.startswith("\0") and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)


@implementer(IListeningPort)
class SharedPort:
    """Several ports with one address, as if they were one."""

    def __init__(self, ports: Sequence[IListeningPort]) -> None:
        self._ports = ports

    def startListening(self) -> None:
        """See IListeningPort; they do already."""

    def stopListening(self) -> Deferred[None]:
        """See IListeningPort."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for stopping in [port.stopListening() for port in self._ports]:
            if stopping is not None:
                await stopping

    def getHost(self) -> IAddress:
        """See IListeningPort."""
        return self._ports[0].getHost()


def listen_on(
    reactor: IReactorSocket,
    description: str,
    factory: IProtocolFactory,
    sockets: Sequence[socket.socket],
) -> IListeningPort:
    """Listen as *description* says, but on *sockets*, which stay the caller's.

    Raises ListenError.
    """

    def adopt(wanted: Wanted, made: IProtocolFactory) -> IListeningPort:
        serving = cast(ServerFactory, made)
        ports = [reactor.adoptStreamPort(each.fileno(), each.family, serving) for each in sockets]
        return SharedPort(ports) if len(ports) > 1 else ports[0]

    return _listen(_StandIn(adopt), _SYSTEMD.sub(_STAND_IN, description), factory)


# How a part of the product begins to listen: on a description, and what makes its protocols.
Listen = Callable[[str, IProtocolFactory], IListeningPort]


def listen_by_endpoint(reactor: object) -> Listen:
    """Return what opens sockets of its own; it raises ListenError."""
    return partial(_listen, reactor)
