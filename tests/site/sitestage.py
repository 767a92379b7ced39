"""A responder on a port of its own, as the product serves it, and clients that block in threads."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread, deferToThreadPool
from twisted.python.threadable import isInIOThread

from proxyapp import errors
from proxyapp.exchange import Responder
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.rules.challenges import Claim
from proxyapp.server.connection import Listener
from proxyapp.server.doors import Clients, Door, ServerLimits, Surroundings
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.target import Form
from tests.appliance import wait_for
from tests.support import RecordList, admit_everyone, error_page
from tests.talk import Response, Talk

_P = ParamSpec("_P")
_T = TypeVar("_T")

ADMIN = b"Authorization: Basic YWRtaW46c2VjcmV0"
OTHER = b"Authorization: Basic b3RoZXI6c2VjcmV0"
_USERS = {ADMIN.partition(b": ")[2]: "admin", OTHER.partition(b": ")[2]: "other"}


class KnownUsers:
    """See uploads.Credentials: two users, and who is neither gets a challenge."""

    async def check(self, claim: Claim) -> str:
        user = _USERS.get(claim.authorization or b"")
        if user is None:
            challenge = (b"WWW-Authenticate", b'Basic realm="test"')
            raise errors.Unauthorized("who are you", (challenge,))
        return user


class SiteStage:
    """The port, and what runs for it; *answers* picks the responder once the stage is there."""

    def __init__(
        self, reactor: ApplianceReactor, answers: Callable[[SiteStage], Responder]
    ) -> None:
        self.reactor = reactor
        self.jobs = 0
        self.sweep = Sweep(reactor)
        self.sweep.start()
        self.records = RecordList()
        limits = ServerLimits(HeadLimits(), 100, 100, 0, 20.0, 60.0, 2.0, 2.0)
        around = Surroundings(
            admit_everyone(), self.records, error_page, self.sweep, limits, time.time
        )
        listener = Listener(around, {Form.ORIGIN: Door("site", answers(self))}, Clients(limits))
        self._listening = reactor.listenTCP(0, listener, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port  # type: ignore[attr-defined]

    def in_thread(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See InThread."""

        def end(result: _T) -> _T:
            self.jobs -= 1
            return result

        self.jobs += 1
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), job).addBoth(end)

    def close(self) -> None:
        """Stop, when nothing runs any more."""

        async def stop() -> None:
            await maybeDeferred(self._listening.stopListening)
            while self.jobs:
                await deferLater(self.reactor, 0.002, lambda: None)
            self.sweep.stop()

        _in_reactor(self.reactor, lambda: Deferred.fromCoroutine(stop()))

    # Clients; they block, so the test has to be `blocking`.

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds."""
        wait_for(condition, "such moment")

    def connect(self) -> Talk:
        """Return a connection."""
        return talk_to(self.port)

    def ask(
        self, method: bytes, target: bytes, *lines: bytes, body: bytes | None = None
    ) -> Response:
        """Ask as the admin does, on a connection of its own."""
        return self.send(request(method, target, ADMIN, *lines, body=body))

    def send(self, raw: bytes) -> Response:
        """Send *raw* on a connection of its own, and return the answer."""
        with self.connect() as talk:
            talk.send(raw)
            return talk.response(raw.partition(b" ")[0])


def talk_to(port: int) -> Talk:
    """Return a connection to *port*."""
    return Talk(socket.create_connection(("127.0.0.1", port), timeout=10))


def blocking(test: Callable[_P, None]) -> Callable[_P, Deferred[None]]:
    """Run *test* in a thread, so that it may block while the reactor serves it."""

    @functools.wraps(test)
    def run(*given: _P.args, **named: _P.kwargs) -> Deferred[None]:
        return deferToThread(functools.partial(test, *given, **named))

    return run


def _in_reactor(reactor: ApplianceReactor, act: Callable[[], Deferred[_T]]) -> _T:
    """Run *act* in the reactor's thread and wait for it, in a fixture as in a blocking test."""
    done: _T
    if isInIOThread():
        done = pytest_twisted.blockon(act())
        return done
    done = blockingCallFromThread(reactor, act)  # type: ignore[arg-type]  # it takes either kind
    return done


def request(method: bytes, target: bytes, *lines: bytes, body: bytes | None = None) -> bytes:
    """Return a request; a *body* of None isn't even announced."""
    start = b"%b %b HTTP/1.1" % (method, target)
    length = [] if body is None else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([start, b"Host: 127.0.0.1", *lines, *length, b"", body or b""])


@contextmanager
def site_stage(
    reactor: ApplianceReactor, answers: Callable[[SiteStage], Responder]
) -> Iterator[SiteStage]:
    """Serve what *answers* picks until the end of the block."""
    stage = _in_reactor(reactor, lambda: succeed(SiteStage(reactor, answers)))
    try:
        yield stage
    finally:
        stage.close()
