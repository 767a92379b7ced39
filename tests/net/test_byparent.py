"""Dialling by parents: CONNECT and its answers, in memory; what is direct isn't touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net.byparent import Diallers, ParentDialler, Patience
from proxyapp.net.dial import Dialled, Dialler
from proxyapp.net.parents import ParentLost
from proxyapp.net.routes import Ways as Routes
from proxyapp.net.tls import TlsClient
from proxyapp.net.uplink import Uplink
from proxyapp.rules import hops
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.parents import DirectHosts, Parent, Ways
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.target import Origin
from tests.net.loopback import Witness
from tests.support import MemoryDialler, MemoryTransport

ONE = Parent("http", "one.example", 3128, b"Basic c2VjcmV0")
TWO = Parent("https", "two.example", 3129)
FAR = Origin("connect", "far.example", 443)
SECURE = Origin("https", "far.example", 443)
NEAR = Origin("connect", "x.corp.example", 22)
OK = b"HTTP/1.1 200 OK\r\n\r\n"
ASKING = (
    b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\nVia: 1.1 px\r\n"
    b"Proxy-Authorization: Basic c2VjcmV0\r\n\r\n"
)
ASKING_TWO = ASKING.partition(b"Proxy-")[0] + b"\r\n"


def _judge(host: str, port: int) -> None:
    if host == "denied.example":
        raise errors.DestinationDenied("no")


class Stage:
    """A dialler by two parents, and both their far ends."""

    def __init__(self, offline: str = "off", parents: tuple[Parent, ...] = (ONE, TWO)) -> None:
        self.clock = Clock()
        self.direct, self.near = MemoryDialler(self.clock), MemoryDialler(self.clock)
        uplink = Uplink(
            self.clock,
            offline,
            lambda place: succeed(""),
            lambda: succeed(Routes("", ())),
            self.clock.seconds,
            lambda: None,
            lambda: None,
        )
        self.dialler = ParentDialler(
            self.clock,
            Diallers(cast(Dialler, self.direct), cast(Dialler, self.near)),
            TlsClient(self.clock, True, None),
            Ways(parents, DirectHosts((".corp.example",))),
            hops.hop(b"px", Forwarding.OFF, b""),
            _judge,
            uplink,
            Patience(answer=60.0, handshake=10.0),
        )
        self.protocol = Witness()
        self.results: list[Dialled | Failure] = []
        self.work: Deferred[Dialled] = Deferred()

    def dial(self, origin: Origin, fields: Fields | None = None) -> None:
        """Begin to connect."""
        if fields is None:
            work = self.dialler.dial(origin, self.protocol)
        else:
            work = self.dialler.tunnel(origin, self.protocol, fields)
        self.work = Deferred.fromCoroutine(work)
        self.work.addBoth(self.results.append)

    @property
    def far(self) -> MemoryTransport:
        """The parent that was dialled last."""
        return self.near.connections[-1]

    def turn(self) -> None:
        for _ in range(4):
            self.clock.advance(0)

    @property
    def error(self) -> errors.ExchangeError:
        """What it has failed with."""
        (failure,) = self.results
        assert isinstance(failure, Failure), failure
        assert isinstance(failure.value, errors.ExchangeError)
        return failure.value


@contextmanager
def stage(**changes: object) -> Iterator[Stage]:
    """Yield a stage; nothing runs when the play is over."""
    made = Stage(**changes)  # type: ignore[arg-type]  # each of its type
    yield made
    made.turn()
    made.dialler.parents.stop()
    made.turn()
    assert not made.clock.getDelayedCalls()


def test_a_tunnel() -> None:
    """CONNECT with our credentials; then the connection is the caller's, with what came early."""
    with stage() as play:
        play.dial(FAR, NO_FIELDS)
        assert play.near.asked == [Origin("http", "one.example", 3128)]
        play.far.hears(ASKING)
        play.far.says(OK + b"220 ready")
        play.turn()
        assert play.results == [Dialled("192.0.2.7:3128", "", b"220 ready")]
        assert play.protocol.transport is play.far
        assert not play.far.is_reading
        assert not play.direct.asked


def test_a_tunnel_says_where_it_has_been() -> None:
    """The client's Via goes on in front of ours; a pseudonym of ours in it is a loop."""
    with stage() as play:
        play.dial(FAR, Fields([(b"Via", b"1.1 branch"), (b"Cookie", b"x")]))
        assert b"\r\nVia: 1.1 branch\r\nVia: 1.1 px\r\n" in play.far.all_heard()
        play.work.cancel()
        play.turn()
        assert play.far.is_gone
    with stage() as play:
        play.dial(FAR, Fields([(b"Via", b"1.1 px, 1.1 other")]))
        assert isinstance(play.error, errors.LoopDetected)
        assert not play.near.asked


def test_what_is_direct() -> None:
    """Hosts of the list, and http that gets here, are for the dialler of origins, untouched."""
    for origin in (NEAR, NEAR._replace(scheme="https"), Origin("http", "x.example", 80)):
        with stage() as play:
            play.dial(origin)
            assert play.direct.asked == [origin]
            assert not play.near.asked
            assert isinstance(play.results[0], Dialled)


def test_what_may_not_be_asked_for() -> None:
    """The judge is asked before any parent is."""
    with stage() as play:
        play.dial(Origin("connect", "denied.example", 443))
        assert isinstance(play.error, errors.DestinationDenied)
        assert not play.near.asked


def test_offline() -> None:
    """Where nobody is to be asked no parent is, though it may be near."""
    for origin in (FAR, SECURE, ONE.where("parent")):
        with stage(offline="on") as play:
            play.dial(origin)
            assert isinstance(play.error, errors.LineDown)
            assert not play.near.asked


def test_a_connection_to_a_parent() -> None:
    """Under its own scheme a parent is dialled as it wants it, and says nothing yet."""
    with stage() as play:
        play.dial(TWO.where("parent"))
        assert play.near.asked == [Origin("https", "two.example", 3129)]
        assert isinstance(play.results[0], Dialled)
        play.far.hears_nothing()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (errors.NameUnknown, "its name has no address"),
        (errors.NameTimeout, "no name server answered for its name"),
        (errors.ConnectRefused, "it refuses connections"),
        (errors.ConnectTimeout, "it does not answer"),
        (errors.OriginUnreachable, "there is no way to it"),
        (errors.CertificateRejected, "its certificate was not accepted"),
        (errors.TlsFailed, "it speaks no TLS that we accept"),
        (errors.ConnectionEnded, "it closes connections at once"),
    ],
)
def test_a_parent_that_can_not_be_reached(error: type[errors.OriginFault], why: str) -> None:
    """The next one is asked at once, and first by those who come later."""
    with stage() as play:
        play.near.refusals = [error("x")]
        play.dial(FAR)
        play.far.hears(ASKING_TWO)
        play.far.says(OK)
        play.turn()
        assert isinstance(play.results[0], Dialled)
        assert play.dialler.parents.order == (TWO, ONE)
    with stage(parents=(ONE,)) as play:
        play.near.refusals = [error("x")]
        play.dial(ONE.where("parent"))
        assert isinstance(play.error, ParentLost)
        assert play.error.reason == f"the parent proxy one.example:3128 can't be asked: {why}"


def test_no_parent_can_be_reached() -> None:
    """All are tried, each once, and the first one's failure is told."""
    with stage() as play:
        play.near.refusals = [errors.ConnectRefused("x"), errors.ConnectTimeout("x")]
        play.dial(FAR)
        assert isinstance(play.error, errors.ParentFailed)
        assert "one.example:3128 can't be asked: it refuses connections" in play.error.reason
        assert len(play.near.asked) == 2
        assert not isinstance(play.error, ParentLost)


def test_what_is_no_fault_of_a_parent() -> None:
    """A shortage of ours, or a parent that is ourselves, is told as it is."""
    for error in (errors.Overloaded("x"), errors.LoopDetected("x")):
        with stage() as play:
            play.near.refusals = [error]
            play.dial(FAR)
            assert play.error is error
            assert play.dialler.parents.order == (ONE, TWO)


@pytest.mark.parametrize(
    ("status", "error", "seen"),
    [
        (407, errors.ParentFailed, 502),
        (301, errors.AccessDenied, 403),
        (400, errors.AccessDenied, 403),
        (403, errors.AccessDenied, 403),
        (451, errors.AccessDenied, 403),
        (429, errors.Overloaded, 503),
        (500, errors.OriginUnreachable, 502),
        (502, errors.OriginUnreachable, 502),
        (503, errors.OriginUnreachable, 502),
        (504, errors.ConnectTimeout, 504),
        (508, errors.LoopDetected, 508),
    ],
)
def test_refusals(status: int, error: type[errors.ExchangeError], seen: int) -> None:
    """Each answer to CONNECT has its meaning, names the parent, and asks no other one."""
    with stage() as play:
        play.dial(FAR)
        play.far.hears(ASKING)
        play.far.says(b"HTTP/1.1 %d x\r\nContent-Length: 1\r\n\r\nx" % status)
        play.turn()
        assert type(play.error) is error
        assert play.error.status == seen
        assert "the parent proxy one.example:3128" in play.error.reason
        assert not play.error.fields
        assert play.far.is_gone
        assert len(play.near.asked) == 1
        assert play.dialler.parents.order == (ONE, TWO)


def test_a_parent_that_closes_without_an_answer() -> None:
    """The next one is asked, and the first is looked at; if it answers that it keeps its place."""
    with stage() as play:
        play.dial(FAR)
        first = play.far
        first.hears(ASKING)
        first.closes()
        play.turn()
        knock, second = play.near.connections[1:]
        knock.hears(
            b"OPTIONS * HTTP/1.1\r\nHost: one.example:3128\r\nMax-Forwards: 0\r\n"
            b"Connection: close\r\n\r\n"
        )
        knock.says(b"HTTP/1.1 407 x\r\n\r\n")
        second.hears(ASKING_TWO)
        second.says(OK)
        play.turn()
        assert isinstance(play.results[0], Dialled)
        assert play.dialler.parents.order == (ONE, TWO)
        assert knock.is_gone


def test_a_parent_that_says_nothing() -> None:
    """The client is told after a while; a parent that doesn't answer a knock is passed over."""
    with stage() as play:
        play.dial(FAR)
        play.far.hears(ASKING)
        play.clock.advance(60)
        assert isinstance(play.error, errors.ResponseTimeout)
        play.far.all_heard()
        assert play.dialler.parents.order == (ONE, TWO)
        play.clock.advance(5)
        assert play.dialler.parents.order == (TWO, ONE)
        # It is looked at, and closing at least shows that it is there.
        play.clock.advance(1)
        play.far.all_heard()
        play.far.closes()
        play.turn()
        assert play.dialler.parents.order == (ONE, TWO)


def test_a_parent_that_speaks_something_else() -> None:
    """What isn't HTTP is a bad response, and is told so."""
    with stage() as play:
        play.dial(FAR)
        play.far.hears(ASKING)
        play.far.says(b"SSH-2.0-x\r\n")
        play.turn()
        assert isinstance(play.error, errors.BadResponse)
        assert "one.example:3128 sent something else than HTTP" in play.error.reason


def test_tls_begins_behind_the_answer() -> None:
    """The handshake goes through the tunnel; a parent that speaks in it is not trusted."""
    with stage() as play:
        play.dial(SECURE)
        play.far.hears(ASKING)
        play.far.says(OK)
        play.turn()
        assert play.far.all_heard()[:1] == b"\x16"
        assert play.far.is_reading
        play.clock.advance(10)
        assert isinstance(play.error, errors.ConnectTimeout)
        play.turn()
        assert play.far.is_gone
        play.far.all_heard()
    with stage() as play:
        play.dial(SECURE)
        play.far.hears(ASKING)
        play.far.says(OK + b"x")
        play.turn()
        assert isinstance(play.error, errors.BadResponse)
        play.far.hears_nothing()


def test_a_client_that_leaves() -> None:
    """Whoever gives up, at whatever moment, leaves no connection behind."""
    for said in (b"", OK[:5]):
        with stage() as play:
            play.dial(FAR)
            play.far.hears(ASKING)
            play.far.says(said)
            play.work.cancel()
            play.turn()
            (failure,) = play.results
            assert isinstance(failure, Failure)
            assert failure.check(CancelledError)
            assert play.far.is_gone
