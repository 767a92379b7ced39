"""resolver: one look-up for everybody who asks, remembered for as long as it holds."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Coroutine

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.names import client, dns, server
from twisted.names.error import DomainError
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.net import resolver as net_resolver
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.resolver import Addresses, Resolver, ServerLookup, SystemLookup, name_server
from proxyapp.net.timers import TICK, Sweep
from tests.net.loopback import failure_of, flow

FOUND = Addresses(("192.0.2.1", "2001:db8::1"), 300.0)


class Asked:
    """A look-up that answers when it is told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.answers: list[Deferred[Addresses]] = []

    def __call__(self, name: str) -> Deferred[Addresses]:
        self.names.append(name)
        self.answers.append(Deferred())
        return self.answers[-1]


class Setting:
    """A resolver on a clock, with a look-up under control."""

    def __init__(self, ttl_max: float = 60.0, negative_ttl: float = 5.0) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.lookup = Asked()
        self.resolver = Resolver(self.lookup, self.sweep, ttl_max, negative_ttl)

    def ask(self, name: str = "example.com") -> Deferred[tuple[str, ...]]:
        """Ask for *name*."""
        asking: Coroutine[Deferred[object], object, tuple[str, ...]]
        asking = self.resolver.resolve(name)
        return Deferred.fromCoroutine(asking)

    def answer(self, result: Addresses | Failure = FOUND) -> None:
        """Answer the latest look-up."""
        answer = self.lookup.answers[-1]
        if isinstance(result, Failure):
            answer.errback(result)
        else:
            answer.callback(result)

    def wait(self, seconds: float) -> None:
        """Let *seconds* pass, ticks and all."""
        self.clock.pump([TICK / 2] * round(2 * seconds / TICK))


def result_of(work: Deferred[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what *work* has found."""
    found: list[tuple[str, ...]] = []
    work.addCallback(found.append)
    assert found
    return found[0]


def error_of(work: Deferred[tuple[str, ...]]) -> BaseException:
    """Return what *work* has failed with."""
    failed: list[Failure] = []
    work.addErrback(failed.append)
    assert failed
    value = failed[0].value
    assert value is not None
    return value


@pytest.mark.parametrize(
    "literal", ["192.0.2.7", "127.0.0.1", "::1", "2001:db8::5", "::ffff:192.0.2.7"]
)
def test_literals(literal: str) -> None:
    """An address stands for itself, and nobody is asked."""
    setting = Setting()
    assert result_of(setting.ask(literal)) == (literal,)
    assert setting.resolver.known(literal) == (literal,)
    assert setting.lookup.names == []


@pytest.mark.parametrize("name", ["host1", "1.2.3.4.5", "a.b.c.1x", "4", "1.2.3"])
def test_names_that_look_like_numbers(name: str) -> None:
    """What is no address is a name, whatever it ends in."""
    setting = Setting()
    setting.ask(name)
    assert setting.lookup.names == [name]


def test_single_flight() -> None:
    """Everybody who asks meanwhile gets the answer of the one look-up."""
    setting = Setting()
    asked = [setting.ask() for _ in range(10)]
    other = setting.ask("other.example")
    assert setting.lookup.names == ["example.com", "other.example"]
    setting.lookup.answers[0].callback(FOUND)
    assert [result_of(each) for each in asked] == [FOUND.literals] * 10
    assert not other.called


def test_single_flight_failure() -> None:
    """Everybody who asks meanwhile gets the failure of the one look-up."""
    setting = Setting()
    asked = [setting.ask() for _ in range(3)]
    setting.answer(Failure(errors.NameTimeout("nobody answered")))
    assert [type(error_of(each)) for each in asked] == [errors.NameTimeout] * 3


def test_answer_on_the_spot() -> None:
    """A look-up may answer at once."""
    setting = Setting()
    resolver = Resolver(lambda name: succeed(FOUND), setting.sweep, 60.0, 5.0)
    assert result_of(Deferred.fromCoroutine(resolver.resolve("a"))) == FOUND.literals
    assert resolver.known("a") == FOUND.literals


@pytest.mark.parametrize(
    ("ttl", "ttl_max", "kept"), [(0.0, 60.0, 0), (2.0, 60.0, 2), (300.0, 60.0, 60), (300.0, 0.0, 0)]
)
def test_time_to_live(ttl: float, ttl_max: float, kept: int) -> None:
    """An answer is used for as long as it says, but not longer than *ttl_max*."""
    setting = Setting(ttl_max=ttl_max)
    setting.ask()
    setting.answer(Addresses(("192.0.2.1",), ttl))
    if kept:
        setting.wait(kept - TICK)
        assert result_of(setting.ask()) == ("192.0.2.1",)
        assert len(setting.lookup.names) == 1
        setting.wait(2 * TICK)
    asked = setting.ask()
    assert len(setting.lookup.names) == 2
    setting.answer(Addresses(("192.0.2.2",), ttl))
    assert result_of(asked) == ("192.0.2.2",)


@pytest.mark.parametrize("error", [errors.NameUnknown, errors.NameTimeout])
def test_negative_entries(error: type[errors.ExchangeError]) -> None:
    """A failure is remembered for *negative_ttl*, and raised as a new error each time."""
    setting = Setting(negative_ttl=5.0)
    first = setting.ask()
    setting.answer(Failure(error("the name has no address")))
    setting.wait(4.0)
    raised = [error_of(first), error_of(setting.ask()), error_of(setting.ask())]
    assert [type(each) for each in raised] == [error] * 3
    assert {str(each) for each in raised} == {"the name has no address"}
    assert len({id(each) for each in raised}) == 3
    assert len(setting.lookup.names) == 1
    setting.wait(2.0)
    setting.ask()
    assert len(setting.lookup.names) == 2


def test_shortages_are_not_remembered() -> None:
    """That we were short of something says nothing about the name."""
    setting = Setting(negative_ttl=5.0)
    first = setting.ask()
    setting.answer(Failure(errors.Overloaded("no descriptor")))
    assert isinstance(error_of(first), errors.Overloaded)
    second = setting.ask()
    assert len(setting.lookup.names) == 2
    setting.answer()
    assert result_of(second) == FOUND.literals


def test_foreign_failure() -> None:
    """A look-up's own kind of failure is a name that could not be looked up, without its text."""
    setting = Setting()
    asked = setting.ask()
    setting.answer(Failure(OSError("secret detail")))
    error = error_of(asked)
    assert isinstance(error, errors.NameUnknown)
    assert "secret" not in error.reason


def test_look_up_that_raises() -> None:
    """A look-up that raises instead of failing blocks nobody who asks later."""
    setting = Setting(negative_ttl=0.0)

    def broken(name: str) -> Deferred[Addresses]:
        raise ValueError(name)

    resolver = Resolver(broken, setting.sweep, 60.0, 0.0)
    for _ in range(2):
        error = error_of(Deferred.fromCoroutine(resolver.resolve("a")))
        assert isinstance(error, errors.NameUnknown)


def test_cancelled_waiter() -> None:
    """One who gives up costs the others nothing, and the answer is kept all the same."""
    setting = Setting()
    asked = [setting.ask() for _ in range(3)]
    for giving_up in (asked[0], asked[2]):
        giving_up.cancel()
        assert isinstance(error_of(giving_up), CancelledError)
    assert not asked[1].called
    setting.answer()
    assert result_of(asked[1]) == FOUND.literals
    assert setting.resolver.known("example.com") == FOUND.literals


def test_all_cancelled() -> None:
    """When everybody has given up, the look-up goes on for those who come."""
    setting = Setting()
    giving_up = setting.ask()
    giving_up.cancel()
    error_of(giving_up)
    later = setting.ask()
    assert len(setting.lookup.names) == 1
    setting.answer()
    assert result_of(later) == FOUND.literals


def test_asked_again_in_the_answer() -> None:
    """Who gets the answer may ask again at once."""
    setting = Setting()
    seen: list[tuple[str, ...] | None] = []
    setting.ask().addCallback(lambda _: seen.append(setting.resolver.known("example.com")))
    setting.answer()
    assert seen == [FOUND.literals]


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit of names being asked for, another name is refused; a joined one isn't."""
    monkeypatch.setattr(net_resolver, "MAX_WAITING", 3)
    setting = Setting()
    for number in range(3):
        setting.ask(f"host{number}.example")
    assert isinstance(error_of(setting.ask("one.more.example")), errors.Overloaded)
    assert not setting.ask("host1.example").called
    setting.answer()
    assert not setting.ask("one.more.example").called


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit of remembered names the oldest is forgotten."""
    monkeypatch.setattr(net_resolver, "MAX_CACHED", 3)
    setting = Setting()
    for number in range(5):
        setting.ask(f"host{number}.example")
        setting.answer()
    known = [setting.resolver.known(f"host{number}.example") for number in range(5)]
    assert known == [None, None, *[FOUND.literals] * 3]
    assert repr(setting.resolver) == "<Resolver 3 cached, 0 being asked>"


def test_repr() -> None:
    """It tells what it knows and what it waits for."""
    setting = Setting()
    setting.ask()
    assert repr(setting.resolver) == "<Resolver 0 cached, 1 being asked>"


# The host's own way.


@pytest_twisted.async_yield_fixture
async def system(appliance: ApplianceReactor) -> AsyncIterator[SystemLookup]:
    """Return the system's look-up; its threads end with the test."""
    lookup = SystemLookup(appliance)
    yield lookup
    lookup.stop()


@flow
async def test_system_localhost(system: SystemLookup) -> None:
    """The hosts file counts."""
    found = await system("localhost")
    assert set(found.literals) & {"127.0.0.1", "::1"}
    assert found.ttl > 0
    assert len(set(found.literals)) == len(found.literals)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "\udcff"])
@flow
async def test_system_no_name(system: SystemLookup, name: str) -> None:
    """What can't be a name has no address; nothing else is raised."""
    await failure_of(system(name), errors.NameUnknown)


@flow
async def test_system_unknown(system: SystemLookup) -> None:
    """A name that can't exist (RFC 6761) fails as one of ours."""
    error = await failure_of(system("name.invalid"), errors.OriginFault)
    assert isinstance(error, errors.NameUnknown | errors.NameTimeout)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "secret detail"), errors.NameTimeout),
        (socket.gaierror(socket.EAI_NONAME, "secret detail"), errors.NameUnknown),
        (socket.gaierror(socket.EAI_FAIL, "secret detail"), errors.NameUnknown),
        (OSError(errno.ENOENT, "secret detail"), errors.NameUnknown),
        (OSError(errno.EMFILE, "secret detail"), errors.Overloaded),
        (OSError(errno.ENFILE, "secret detail"), errors.Overloaded),
    ],
)
@flow
async def test_system_failures(
    system: SystemLookup,
    monkeypatch: pytest.MonkeyPatch,
    failure: OSError,
    expected: type[errors.ExchangeError],
) -> None:
    """A server that doesn't answer is a time-out, a shortage ours, all else an unknown name."""

    def refuse(*arguments: object, **named: object) -> object:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    error = await failure_of(system("example.com"), expected)
    assert "secret" not in str(error)


@flow
async def test_system_order(system: SystemLookup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's order of addresses is kept; doubles and zones are not."""
    given = ["fe80::1%eth0", "192.0.2.2", "2001:db8::1", "192.0.2.2"]
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in given]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: rows)
    found = await system("example.com")
    assert found.literals == ("fe80::1", "192.0.2.2", "2001:db8::1")


# Name servers of the admin's own.


class Zone:
    """Answers the server's queries out of a table; what isn't in it doesn't exist."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[dns.Record_A | dns.Record_AAAA]] = {
            ("both.example", dns.A): [dns.Record_A("192.0.2.1", ttl=300)],
            ("both.example", dns.AAAA): [dns.Record_AAAA("2001:db8::1", ttl=20)],
            ("four.example", dns.A): [
                dns.Record_A("192.0.2.1", ttl=60),
                dns.Record_A("192.0.2.2", ttl=50),
            ],
            ("six.example", dns.AAAA): [dns.Record_AAAA("2001:db8::1", ttl=30)],
            ("empty.example", dns.A): [],
            ("empty.example", dns.AAAA): [],
        }
        self.asked: list[str] = []

    def query(self, query: dns.Query, timeout: object = None) -> Deferred[object]:
        name = str(query.name)
        self.asked.append(name)
        if name == "silent.example":
            return Deferred()
        known = {each for each, _ in self.records}
        if name not in known:
            return fail(DomainError(name))
        records = self.records.get((name, query.type), [])
        headers = [dns.RRHeader(name, each.TYPE, dns.IN, each.ttl, each) for each in records]
        return succeed((headers, [], []))


@pytest_twisted.async_yield_fixture
async def servers(appliance: ApplianceReactor) -> AsyncIterator[ServerLookup]:
    """Return a look-up at a name server on loopback."""
    factory = server.DNSServerFactory(clients=[Zone()])
    factory.noisy = False
    port = appliance.listenUDP(0, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    lookup = ServerLookup(client.Resolver(servers=[address], timeout=(0.2,), reactor=appliance))
    yield lookup
    lookup.stop()
    await maybeDeferred(port.stopListening)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both.example", Addresses(("2001:db8::1", "192.0.2.1"), 20.0)),
        ("four.example", Addresses(("192.0.2.1", "192.0.2.2"), 50.0)),
        ("six.example", Addresses(("2001:db8::1",), 30.0)),
    ],
)
@flow
async def test_server(servers: ServerLookup, name: str, expected: Addresses) -> None:
    """Both kinds of address are asked for; the shortest life of a record is that of all."""
    assert await servers(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.example", errors.NameUnknown),
        ("empty.example", errors.NameUnknown),
        ("silent.example", errors.NameTimeout),
    ],
)
@flow
async def test_server_failures(
    servers: ServerLookup, name: str, expected: type[errors.ExchangeError]
) -> None:
    """A server that says no and one that says nothing are told apart."""
    await failure_of(servers(name), expected)


@flow
async def test_silent_server(appliance: ApplianceReactor) -> None:
    """A name server that isn't one is a time-out."""
    port = appliance.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    lookup = ServerLookup(client.Resolver(servers=[address], timeout=(0.1,), reactor=appliance))
    try:
        await failure_of(lookup("example.com"), errors.NameTimeout)
    finally:
        await maybeDeferred(port.stopListening)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ("::1", ("::1", 53)),
    ],
)
def test_name_server(given: str, expected: tuple[str, int]) -> None:
    """A name server is an address, with a port where it isn't 53."""
    assert name_server(given) == expected
