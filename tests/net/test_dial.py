"""dial: the first of the allowed addresses that answers, in time, or the first failure."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet import error as net_error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net import dial
from proxyapp.net.dial import ATTEMPT_DELAY, MAX_ADDRESSES, Dialled, Dialler, Judge, interleaved
from proxyapp.net.reactor import ApplianceReactor, IApplianceReactor
from proxyapp.net.resolver import Addresses, Lookup, Resolver
from proxyapp.net.timers import Sweep
from proxyapp.net.tls import TlsClient
from proxyapp.wire.target import Origin
from tests.net.loopback import Network, Witness, failure_of, flow, turn
from tests.net.uplinks import always_up

EXAMPLE = Origin("http", "example.com", 80)
TIMEOUT = 10.0


def names(*literals: str) -> Lookup:
    """Return a look-up that finds *literals* for every name."""
    return lambda name: succeed(Addresses(literals, 60.0))


def allow_all(host: str, address: str, port: int) -> None:
    """Judge that every address may be dialled."""


class Attempt:
    """One address being tried; the test says what becomes of it."""

    def __init__(self, host: str, factory: ClientFactory[Protocol], limit: IDelayedCall) -> None:
        self.host = host
        self.transport: StringTransport | None = StringTransport()
        self.was_stopped = False
        self._factory = factory
        self._limit = limit

    def connect(self) -> None:
        self._settle()
        protocol = self._factory.buildProtocol(None)
        assert self.transport is not None
        if protocol is None:
            self.transport.loseConnection()
        else:
            protocol.makeConnection(self.transport)

    def fail(self, error: Exception) -> None:
        self._settle()
        self.transport = None
        self._factory.clientConnectionFailed(self, Failure(error))  # type: ignore[arg-type]

    def _settle(self) -> None:
        if self._limit.active():
            self._limit.cancel()

    def stopConnecting(self) -> None:
        assert not self.was_stopped
        self.was_stopped = True
        self.fail(net_error.UserError())


class Doors(Clock):
    """A reactor whose connections are in the test's hands."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []

    def connectTCP(
        self, host: str, port: int, factory: ClientFactory[Protocol], timeout: float
    ) -> Attempt:
        limit = self.callLater(timeout, lambda: attempt.fail(net_error.TimeoutError()))
        attempt = Attempt(host, factory, limit)
        self.attempts.append(attempt)
        return attempt

    @property
    def tried(self) -> list[str]:
        """The addresses that have been tried, in their order."""
        return [attempt.host for attempt in self.attempts]


class Call:
    """One dial on `Doors`, and its outcome."""

    def __init__(self, lookup: Lookup, judge: Judge = allow_all, origin: Origin = EXAMPLE) -> None:
        self.doors = Doors()
        self.protocol = Witness()
        resolver = Resolver(lookup, Sweep(self.doors), 60.0, 5.0)
        dialler = Dialler(
            self.doors,  # type: ignore[arg-type]  # as much of a reactor as dialling needs
            resolver,
            judge,
            TlsClient(self.doors, True, None),
            TIMEOUT,
            always_up(self.doors),
        )
        self.results: list[Dialled | Failure] = []
        self.work = Deferred.fromCoroutine(dialler.dial(origin, self.protocol))
        self.work.addBoth(self.results.append)

    @property
    def error(self) -> BaseException:
        """What the dial has failed with."""
        (result,) = self.results
        assert isinstance(result, Failure)
        assert result.value is not None
        return result.value

    def is_clean(self) -> bool:
        """Is nothing left of it but the winner?"""
        return self.doors.getDelayedCalls() == []


REFUSED = net_error.ConnectionRefusedError()


def test_second_address_after_a_while() -> None:
    """While the first address is silent, the second is tried beside it after 250 ms."""
    call = Call(names("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    assert call.doors.tried == ["192.0.2.1"]
    call.doors.advance(ATTEMPT_DELAY - 0.01)
    assert call.doors.tried == ["192.0.2.1"]
    call.doors.advance(0.01)
    assert call.doors.tried == ["192.0.2.1", "192.0.2.2"]
    call.doors.advance(ATTEMPT_DELAY)
    assert call.doors.tried == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    call.doors.attempts[1].connect()
    assert call.results == [Dialled("192.0.2.2:80", "")]
    assert [each.was_stopped for each in call.doors.attempts] == [True, False, True]
    assert call.protocol.transport is call.doors.attempts[1].transport  # type: ignore[comparison-overlap]
    assert call.is_clean()


def test_next_address_at_once_after_a_failure() -> None:
    """A failure starts the next attempt without waiting, and a fresh delay for the one after."""
    call = Call(names("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    call.doors.advance(ATTEMPT_DELAY - 0.05)
    call.doors.attempts[0].fail(REFUSED)
    assert call.doors.tried == ["192.0.2.1", "192.0.2.2"]
    call.doors.advance(0.1)
    assert len(call.doors.tried) == 2
    call.doors.advance(ATTEMPT_DELAY - 0.1)
    assert len(call.doors.tried) == 3
    call.doors.attempts[2].connect()
    assert call.results == [Dialled("192.0.2.3:80", "")]
    assert [each.was_stopped for each in call.doors.attempts] == [False, True, False]
    assert call.is_clean()


def test_first_one_may_still_win() -> None:
    """An address that was slow wins if it is first in the end."""
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.advance(5.0)
    call.doors.attempts[0].connect()
    assert call.results == [Dialled("192.0.2.1:80", "")]
    assert call.doors.attempts[1].was_stopped
    assert call.is_clean()


def test_loser_that_connects_anyway() -> None:
    """A loser whose connection is made after all is closed at once."""
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.advance(ATTEMPT_DELAY)
    loser = call.doors.attempts[0]
    late = loser.transport
    call.doors.attempts[1].connect()
    assert late is not None
    loser.transport = late
    loser.connect()
    assert late.disconnecting
    assert call.results == [Dialled("192.0.2.2:80", "")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (REFUSED, errors.ConnectRefused),
        (net_error.TCPTimedOutError(), errors.ConnectTimeout),
        (net_error.TimeoutError(), errors.ConnectTimeout),
        (net_error.NoRouteError(), errors.OriginUnreachable),
        (net_error.ConnectError(errno.ENETUNREACH, "secret"), errors.OriginUnreachable),
        (net_error.ConnectBindError(errno.EMFILE, "secret"), errors.Overloaded),
        (OSError("secret"), errors.OriginUnreachable),
    ],
)
def test_all_fail(error: Exception, expected: type[errors.ExchangeError]) -> None:
    """When nobody answers, the first failure is told, with its address and no foreign text."""
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.attempts[0].fail(error)
    assert call.results == []
    call.doors.attempts[1].fail(net_error.UnknownHostError())
    assert type(call.error) is expected
    assert "secret" not in str(call.error)
    assert ("192.0.2.1:80" in str(call.error)) is (expected is not errors.Overloaded)
    assert call.is_clean()


def test_address_in_brackets() -> None:
    """An IPv6 address is told apart from its port."""
    call = Call(names("2001:db8::1"))
    call.doors.attempts[0].fail(REFUSED)
    assert "[2001:db8::1]:80" in str(call.error)


def test_failure_while_another_is_running() -> None:
    """The last failure decides nothing while another attempt may succeed."""
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.advance(ATTEMPT_DELAY)
    call.doors.attempts[1].fail(REFUSED)
    assert call.results == []
    call.doors.attempts[0].connect()
    assert call.results == [Dialled("192.0.2.1:80", "")]
    assert call.is_clean()


def test_deadline() -> None:
    """The deadline is for all the addresses together; then everything is closed."""
    call = Call(names("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    call.doors.pump([0.125] * 79)
    assert call.results == []
    call.doors.advance(0.125)
    assert type(call.error) is errors.ConnectTimeout
    assert [each.transport for each in call.doors.attempts] == [None] * 3
    assert call.is_clean()


def test_deadline_after_a_failure() -> None:
    """That the time was over is told, and not what had failed before; nobody else is tried."""
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.attempts[0].fail(REFUSED)
    call.doors.advance(TIMEOUT - 0.01)
    assert call.results == []
    call.doors.advance(0.01)
    assert type(call.error) is errors.ConnectTimeout
    assert call.is_clean()


def test_deadline_before_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address whose turn would come after the deadline isn't tried."""
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 2 * TIMEOUT)
    call = Call(names("192.0.2.1", "192.0.2.2"))
    call.doors.advance(TIMEOUT)
    assert call.doors.tried == ["192.0.2.1"]
    assert type(call.error) is errors.ConnectTimeout
    assert call.is_clean()


def test_deadline_of_the_name() -> None:
    """A name that nobody knows in time is a NameTimeout."""
    call = Call(lambda name: Deferred())
    call.doors.advance(TIMEOUT)
    assert type(call.error) is errors.NameTimeout
    assert call.doors.attempts == []
    assert call.is_clean()


@pytest.mark.parametrize("error", [errors.NameUnknown, errors.NameTimeout])
def test_no_address(error: type[errors.ExchangeError]) -> None:
    """A name without addresses is dialled nowhere."""
    call = Call(lambda name: fail(error("the name has no address")))
    assert type(call.error) is error
    assert call.doors.attempts == []


def late_name(call: Call) -> None:
    """Nothing is known yet."""


def one_attempt(call: Call) -> None:
    """One address is being tried."""


def two_attempts(call: Call) -> None:
    """Two addresses are being tried."""
    call.doors.advance(ATTEMPT_DELAY)


@pytest.mark.parametrize(
    ("lookup", "until"),
    [
        (lambda name: Deferred(), late_name),
        (names("192.0.2.1", "192.0.2.2", "192.0.2.3"), one_attempt),
        (names("192.0.2.1", "192.0.2.2", "192.0.2.3"), two_attempts),
    ],
)
def test_cancel(lookup: Lookup, until: Callable[[Call], None]) -> None:
    """Who gives up leaves no attempt and no timer behind."""
    call = Call(lookup)
    until(call)
    call.work.cancel()
    assert type(call.error) is CancelledError
    assert all(each.was_stopped for each in call.doors.attempts)
    assert call.is_clean()


def test_judge_sees_every_address() -> None:
    """The judge is asked about each address with the host and the port, before any is dialled."""
    asked: list[tuple[str, str, int]] = []

    def judge(host: str, address: str, port: int) -> None:
        asked.append((host, address, port))

    call = Call(names("192.0.2.1", "2001:db8::1", "192.0.2.2"), judge)
    assert asked == [
        ("example.com", "192.0.2.1", 80),
        ("example.com", "2001:db8::1", 80),
        ("example.com", "192.0.2.2", 80),
    ]
    assert call.doors.tried == ["192.0.2.1"]
    call.work.cancel()


class Refusing:
    """A judge that refuses some addresses, each in its own words."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def __call__(self, host: str, address: str, port: int) -> None:
        if address in self._addresses:
            raise errors.DestinationDenied(f"{address} is private")


def test_refused_addresses_are_not_dialled() -> None:
    """Of several addresses, only those that may be dialled are, whatever becomes of them."""
    call = Call(names("10.0.0.1", "192.0.2.2", "10.0.0.3"), Refusing("10.0.0.1", "10.0.0.3"))
    call.doors.advance(5.0)
    assert call.doors.tried == ["192.0.2.2"]
    call.doors.attempts[0].fail(REFUSED)
    assert type(call.error) is errors.ConnectRefused


@pytest.mark.parametrize("given", [("10.0.0.1",), ("10.0.0.1", "10.0.0.2")])
def test_all_refused(given: tuple[str, ...]) -> None:
    """When no address may be dialled, the first refusal is told and no socket opened."""
    call = Call(names(*given), Refusing("10.0.0.1", "10.0.0.2"))
    assert type(call.error) is errors.DestinationDenied
    assert str(call.error) == "10.0.0.1 is private"
    assert call.doors.attempts == []


def test_literal_is_judged_too() -> None:
    """An address in the URL is judged like one that a name stands for."""
    call = Call(names(), Refusing("10.0.0.1"), Origin("http", "10.0.0.1", 80))
    assert type(call.error) is errors.DestinationDenied


def test_many_addresses() -> None:
    """Of a hundred addresses only some are tried."""
    literals = [f"192.0.2.{number}" for number in range(100)]
    call = Call(names(*literals))
    for number in range(MAX_ADDRESSES):
        call.doors.attempts[number].fail(REFUSED)
    assert call.doors.tried == literals[:MAX_ADDRESSES]
    assert type(call.error) is errors.ConnectRefused


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("4", "4"),
        ("444", "444"),
        ("666", "666"),
        ("4466", "4646"),
        ("6644", "6464"),
        ("466", "466"),
        ("6444", "6444"),
        ("44466", "46464"),
        ("664", "646"),
    ],
)
def test_interleaved(given: str, expected: str) -> None:
    """Families alternate, beginning with the first address's; in a family the order stays."""
    addresses = [f"192.0.2.{n}" if c == "4" else f"2001:db8::{n}" for n, c in enumerate(given)]
    mixed = interleaved(tuple(addresses))
    assert "".join("6" if ":" in each else "4" for each in mixed) == expected
    assert sorted(mixed) == sorted(addresses)
    for family in (":", "."):
        assert [a for a in mixed if family in a] == [a for a in addresses if family in a]


# Real sockets.


class Listening:
    """Sockets that listen on one port of several loopback addresses."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.port = 0

    def at(self, address: str, backlog: int = 5) -> socket.socket:
        """Listen at *address* too."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family)
        self._sockets.append(opened)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, self.port))
        opened.listen(backlog)
        opened.settimeout(5)
        self.port = opened.getsockname()[1]
        return opened

    def close(self) -> None:
        """Close them all."""
        for opened in self._sockets:
            opened.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Return what opens listening sockets; they are closed at the end."""
    opened = Listening()
    yield opened
    opened.close()


MakeDialler = Callable[..., Dialler]


@pytest_twisted.async_yield_fixture
async def dialler(appliance: ApplianceReactor) -> AsyncIterator[MakeDialler]:
    """Return what makes a dialler on the running reactor."""
    sweep = Sweep(appliance)

    def make(lookup: Lookup, judge: Judge = allow_all, timeout: float = 5.0) -> Dialler:
        resolver = Resolver(lookup, sweep, 60.0, 5.0)
        return Dialler(
            cast(IApplianceReactor, appliance),
            resolver,
            judge,
            TlsClient(appliance, True, None),
            timeout,
            always_up(appliance),
        )

    yield make


async def close(protocol: Witness) -> None:
    """Close the connection of *protocol*."""
    protocol.transport.abortConnection()
    await protocol.lost


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
@flow
async def test_connect(dialler: MakeDialler, listening: Listening, address: str) -> None:
    """A connection to an address is the protocol's, both ways."""
    opened = listening.at(address)
    protocol = Witness()
    dialled = await dialler(names()).dial(Origin("http", address, listening.port), protocol)
    host = f"[{address}]" if ":" in address else address
    assert dialled == Dialled(f"{host}:{listening.port}", "")
    peer, _ = opened.accept()
    with peer:
        peer.sendall(b"hello")
        await protocol.until(lambda: protocol.received == b"hello")
        protocol.transport.write(b"goodbye")
        await turn()
        assert peer.recv(10) == b"goodbye"
        await close(protocol)


@flow
async def test_refused_for_real(dialler: MakeDialler, listening: Listening) -> None:
    """A port that nobody listens on is a ConnectRefused with the address."""
    listening.at("127.0.0.1")
    work = dialler(names("127.0.0.3")).dial(Origin("http", "a.example", listening.port), Witness())
    error = await failure_of(work, errors.ConnectRefused)
    assert f"127.0.0.3:{listening.port}" in str(error)


@flow
async def test_second_address_for_real(dialler: MakeDialler, listening: Listening) -> None:
    """Where the first address refuses, the second is connected to."""
    opened = listening.at("127.0.0.2")
    protocol = Witness()
    lookup = names("127.0.0.1", "::1", "127.0.0.2")
    dialled = await dialler(lookup).dial(Origin("http", "a.example", listening.port), protocol)
    assert dialled.address == f"127.0.0.2:{listening.port}"
    opened.accept()[0].close()
    await close(protocol)


def fill(opened: socket.socket) -> list[socket.socket]:
    """Make connections until *opened*, whose backlog is 0, lets no more in."""
    crowd = []
    for _ in range(4):
        waiting = socket.socket(opened.family)
        waiting.setblocking(False)
        waiting.connect_ex(opened.getsockname())
        crowd.append(waiting)
    return crowd


@flow
async def test_black_hole(dialler: MakeDialler, listening: Listening) -> None:
    """An address that swallows everything costs a quarter of a second, not the connection."""
    crowd = fill(listening.at("127.0.0.1", backlog=0))
    listening.at("127.0.0.2")
    protocol = Witness()
    lookup = names("127.0.0.1", "127.0.0.2")
    dialled = await dialler(lookup).dial(Origin("http", "a.example", listening.port), protocol)
    assert dialled.address == f"127.0.0.2:{listening.port}"
    await close(protocol)
    for each in crowd:
        each.close()


@flow
async def test_deadline_for_real(dialler: MakeDialler, listening: Listening) -> None:
    """Where every address swallows everything, the deadline ends it and no socket is left."""
    crowd = fill(listening.at("127.0.0.1", backlog=0))
    work = dialler(names(), timeout=0.2).dial(
        Origin("http", "127.0.0.1", listening.port), Witness()
    )
    await failure_of(work, errors.ConnectTimeout)
    for each in crowd:
        each.close()


@flow
async def test_cancel_for_real(dialler: MakeDialler, listening: Listening) -> None:
    """A dial that is cancelled while it waits leaves no socket and no call."""
    crowd = fill(listening.at("127.0.0.1", backlog=0))
    origin = Origin("http", "127.0.0.1", listening.port)
    work = Deferred.fromCoroutine(dialler(names()).dial(origin, Witness()))
    await turn()
    work.cancel()
    await failure_of(work, CancelledError)
    for each in crowd:
        each.close()


@flow
async def test_no_descriptor(
    dialler: MakeDialler, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a free descriptor a dial is an Overloaded."""
    listening.at("127.0.0.1")
    origin = Origin("http", "127.0.0.1", listening.port)
    made = dialler(names())

    def refuse(*arguments: object, **named: object) -> socket.socket:
        raise OSError(errno.EMFILE, "secret")

    monkeypatch.setattr(socket, "socket", refuse)
    error = await failure_of(made.dial(origin, Witness()), errors.Overloaded)
    assert "secret" not in str(error)


@flow
async def test_protocol_closes_at_once(network: Network, dialler: MakeDialler) -> None:
    """A protocol may close its connection while it is being given to it."""
    _, peer = await network.connect()

    class Shy(Witness):
        def connectionMade(self) -> None:
            self.transport.write(b"bye")
            self.transport.loseConnection()

    shy = Shy()
    made = network.factories[0].next
    port = peer.socket.getpeername()[1]
    await dialler(names()).dial(Origin("http", "127.0.0.1", port), shy)
    await shy.lost
    served = await made
    await served.until(lambda: served.received == b"bye")
