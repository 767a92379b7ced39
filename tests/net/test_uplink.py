"""uplink: dials are watched, silence is probed, and while the line is down nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import IPv4Network
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import errors
from proxyapp.net import uplink as net_uplink
from proxyapp.net.dial import Dialled, Dialler
from proxyapp.net.lookout import LOOK_PAUSE
from proxyapp.net.probe import PROBE_TIMEOUT, TcpProbe
from proxyapp.net.reactor import ApplianceReactor, IApplianceReactor
from proxyapp.net.resolver import Addresses, Resolver
from proxyapp.net.routes import Ways
from proxyapp.net.timers import Sweep
from proxyapp.net.tls import TlsClient
from proxyapp.net.uplink import LONG, Uplink
from proxyapp.rules.uplink import Place
from proxyapp.wire.target import Origin
from tests.net.loopback import Network, Witness, Witnesses, flow
from tests.net.test_dial import Doors

AWAY = [f"11.0.{n}.1" for n in range(20)]
LAN = "192.168.7.5"
SILENCE = errors.ConnectTimeout("silence")
EPOCH = 1_700_000_000.0


class Setting:
    """An uplink whose clock, probes and routes are in the test's hands."""

    def __init__(self, offline: str = "auto", clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.ways = Ways("", ())
        self.looks = 0
        self.knocked: list[Place] = []
        self.knocking: dict[str, Deferred[str]] = {}
        self.given_up: list[Deferred[str]] = []
        self.heard: list[str] = []
        self.uplink = Uplink(
            self.clock,
            offline,
            self._probe,
            self._look,
            lambda: EPOCH + self.clock.seconds(),
            lambda: self.heard.append("down"),
            lambda: self.heard.append("back"),
        )

    def _probe(self, place: Place) -> Deferred[str]:
        self.knocked.append(place)
        self.knocking[place.host] = Deferred(self.given_up.append)
        return self.knocking[place.host]

    def _look(self) -> Deferred[Ways]:
        self.looks += 1
        return succeed(self.ways)

    def fails(self, *numbers: int, error: Exception = SILENCE) -> None:
        """Let dials that begin now fail a second later."""
        for number in numbers:
            with suppress(type(error)), self._watched(number):
                self.clock.advance(1.0)
                raise error

    def _watched(self, number: int) -> AbstractContextManager[None]:
        return self.uplink.watched(f"www.example{number}.com", 80, [AWAY[number]])

    def reaches(self, number: int) -> None:
        """Let a dial succeed."""
        self.uplink.reached(f"www.example{number}.com", 80, AWAY[number])

    def probes_fail(self) -> None:
        """Let everything that a probe knocks at be silent."""
        self.clock.advance(0.0)
        while self.knocking:
            _, knocking = self.knocking.popitem()
            knocking.errback(SILENCE)

    def goes_down(self) -> None:
        """Let the line be found to be down."""
        self.fails(1, 2, 3)
        self.probes_fail()
        assert self.uplink.is_down
        self.knocked.clear()


@contextmanager
def events() -> Iterator[list[str]]:
    """Collect what the event log hears of the line."""
    heard: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == net_uplink.__name__:
            heard.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield heard
    finally:
        globalLogPublisher.removeObserver(observe)


# --- Finding out ---


def test_silence_is_probed_before_it_is_believed() -> None:
    """Failed dials have a probe sent; when nobody answers that either, the line is down."""
    setting = Setting()
    setting.reaches(9)
    setting.clock.advance(1.0)
    setting.fails(1, 2)
    assert setting.looks == 1
    setting.clock.advance(0.0)
    assert setting.knocked[0].host == "www.example9.com"
    assert not setting.uplink.is_down
    setting.probes_fail()
    assert (setting.uplink.is_down, setting.heard) == (True, ["down"])
    assert setting.uplink.since == EPOCH + setting.clock.seconds()
    setting.uplink.stop()


def test_a_probe_that_is_answered_ends_the_doubt() -> None:
    """One of its connections is enough, and nothing runs any more."""
    setting = Setting()
    setting.reaches(9)
    setting.clock.advance(1.0)
    setting.fails(1)
    setting.clock.advance(0.0)
    setting.knocking.pop("www.example9.com").callback(AWAY[9])
    setting.probes_fail()
    assert not setting.uplink.is_down
    assert setting.clock.getDelayedCalls() == []
    assert repr(setting.uplink) == "<Uplink up>"


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectRefused("x"),
        errors.Overloaded("x"),
        errors.NameUnknown("x"),
        errors.ConnectionEnded("x"),
    ],
)
def test_answers_are_no_silence(error: errors.ExchangeError) -> None:
    """A refusal is an answer, and a shortage is ours."""
    setting = Setting()
    setting.fails(*range(9), error=error)
    assert setting.clock.getDelayedCalls() == []


@pytest.mark.parametrize("addresses", [[LAN], ["127.0.0.1"], ["fe80::1"], ["100.64.0.9"]])
def test_the_lan_never_counts(addresses: list[str]) -> None:
    """Neither do its failures cast doubt, nor are its answers a proof."""
    setting = Setting()
    for number in range(9):
        with suppress(errors.ConnectTimeout), setting.uplink.watched(f"h{number}", 80, addresses):
            raise SILENCE
    assert setting.clock.getDelayedCalls() == []
    setting.goes_down()
    setting.uplink.reached("nas", 80, addresses[0])
    assert setting.uplink.is_down
    setting.uplink.stop()


def test_a_lan_with_public_addresses() -> None:
    """What is on the link is no more beyond the LAN as soon as the routes were looked at."""
    setting = Setting()
    setting.ways = Ways("", (IPv4Network("11.0.0.0/24"),))
    assert setting.uplink.is_beyond("11.0.0.1")
    setting.goes_down()
    assert not setting.uplink.is_beyond("11.0.0.1")
    assert setting.uplink.near("h", 80, ["11.0.0.1", "11.0.1.1"]) == ["11.0.0.1"]
    setting.uplink.stop()


@pytest.mark.parametrize(("host", "is_doubted"), [("www.example.com", True), ("nas.lan", False)])
def test_silent_name_servers(host: str, is_doubted: bool) -> None:
    """They count for the world's names, and not for the LAN's."""
    setting = Setting()
    with suppress(errors.NameTimeout), setting.uplink.watched(host, 80, ()):
        raise errors.NameTimeout("silence")
    assert bool(setting.clock.getDelayedCalls()) is is_doubted
    setting.uplink.stop()


@pytest.mark.parametrize(("waited", "is_doubted"), [(LONG - 0.1, False), (LONG, True)])
def test_clients_that_give_up(waited: float, is_doubted: bool) -> None:
    """Who waited in vain for long enough has met silence, though nothing has failed yet."""
    setting = Setting()
    with suppress(CancelledError), setting.uplink.watched("a.example", 80, [AWAY[0]]):
        setting.clock.advance(waited)
        raise CancelledError
    assert bool(setting.clock.getDelayedCalls()) is is_doubted
    setting.uplink.stop()


# --- While it is down ---


def test_refusals() -> None:
    """Whoever wants to go beyond the LAN hears at once since when, and why he must wait."""
    setting = Setting()
    setting.goes_down()
    with pytest.raises(errors.LineDown) as refused:
        setting.uplink.near("www.example.org", 80, [AWAY[7]])
    assert refused.value.reason == f"{setting.uplink.reason}, and this isn't stored on the gateway"
    assert setting.uplink.reason.startswith("the gateway's line has been down since 2023-11-1")
    assert (refused.value.status, refused.value.token) == (504, "destination_unavailable")
    setting.uplink.stop()


def test_the_first_answer_ends_it() -> None:
    """Whether a probe gets it or a dial that was on its way; and the rest of a probe is moot."""
    setting = Setting()
    with events() as heard:
        setting.goes_down()
        setting.clock.advance(1.0)
        _, knocking = setting.knocking.popitem()
        setting.clock.advance(90.0)
        knocking.callback(AWAY[5])
        assert not setting.uplink.is_down
        setting.probes_fail()
    assert setting.heard == ["down", "back"]
    down, back = heard
    assert down.startswith("the line is down: nothing answers at www.example")
    assert back == "the line is back; it was down for 1 min 31 s"
    assert setting.clock.getDelayedCalls() == []


def test_an_answer_from_the_lan_is_none() -> None:
    """A name server of the LAN may tell an address of the LAN for a name that is probed."""
    setting = Setting()
    setting.goes_down()
    setting.clock.advance(1.0)
    _, knocking = setting.knocking.popitem()
    knocking.callback(LAN)
    setting.probes_fail()
    assert setting.uplink.is_down
    setting.uplink.stop()


def test_probes_go_on_and_the_routes_are_watched() -> None:
    """Every two seconds a look, and ever more seldom a probe."""
    setting = Setting()
    setting.goes_down()
    looks = setting.looks
    rounds = 0
    for _ in range(60):
        setting.clock.advance(LOOK_PAUSE / 2)
        rounds += bool(setting.knocking)
        setting.probes_fail()
    assert (rounds, setting.looks - looks) == (5, 30)
    setting.uplink.stop()


def test_a_route_that_comes_back_is_tried_at_once() -> None:
    """Nobody waits for the next probe when the cable is in again."""
    setting = Setting()
    setting.ways = Ways("there is no default route", ())
    setting.goes_down()
    for _ in range(20):
        setting.clock.advance(1.0)
        setting.probes_fail()
    setting.knocked.clear()
    setting.ways = Ways("", ())
    setting.clock.advance(LOOK_PAUSE)
    setting.clock.advance(0.0)
    assert setting.knocked
    setting.uplink.stop()


def test_stop() -> None:
    """Probes under way are given up, and no more are sent."""
    setting = Setting()
    setting.goes_down()
    setting.clock.advance(1.0)
    setting.uplink.stop()
    assert setting.given_up == [*setting.knocking.values()] != []
    assert setting.clock.getDelayedCalls() == []


# --- As the admin says ---


def test_on() -> None:
    """Nothing beyond the LAN is dialled, whoever answers, and nobody is asked."""
    setting = Setting("on")
    with events() as heard:
        setting.uplink.start()
    assert heard == ["offline, as [cache] offline says: nothing beyond the LAN is dialled"]
    setting.reaches(1)
    assert (setting.uplink.is_down, setting.uplink.since) == (True, EPOCH)
    with pytest.raises(errors.LineDown, match="set to work offline"):
        setting.uplink.near("www.example.org", 80, [AWAY[7]])
    assert setting.uplink.near("nas", 80, [LAN]) == [LAN]
    assert setting.knocked == []
    assert setting.clock.getDelayedCalls() == []
    assert repr(setting.uplink) == "<Uplink forced offline>"


def test_off() -> None:
    """Nothing ever takes the line down."""
    setting = Setting("off")
    setting.uplink.start()
    setting.fails(*range(9))
    assert not setting.uplink.is_down
    assert setting.clock.getDelayedCalls() == []


# --- Dialling ---


class Call:
    """A dialler whose connections are in the test's hands, on an uplink that is, too."""

    def __init__(self) -> None:
        self.doors = Doors()
        self.setting = Setting(clock=self.doors)
        resolver = Resolver(self._look_up, Sweep(self.doors), 60.0, 5.0)
        self.names: dict[str, Deferred[Addresses]] = {}
        self.dialler = Dialler(
            self.doors,  # type: ignore[arg-type]  # as much of a reactor as dialling needs
            resolver,
            lambda *asked: None,
            TlsClient(self.doors, True, None),
            10.0,
            self.setting.uplink,
        )

    def _look_up(self, name: str) -> Deferred[Addresses]:
        self.names[name] = Deferred()
        return self.names[name]

    def dial(self, host: str) -> list[Dialled | Failure]:
        """Dial *host*; returns where the outcome will be."""
        outcome: list[Dialled | Failure] = []
        dialling = self.dialler.dial(Origin("http", host, 80), Witness())
        Deferred.fromCoroutine(dialling).addBoth(outcome.append)
        return outcome


def fault(outcome: list[Dialled | Failure]) -> type[BaseException]:
    """Return what a dial failed with."""
    (result,) = outcome
    assert isinstance(result, Failure)
    assert result.value is not None
    return type(result.value)


def test_dials_are_signals() -> None:
    """Silence at different hosts takes the line down; then dials fail before they begin."""
    call = Call()
    outcomes = [call.dial(address) for address in AWAY[:3]]
    call.doors.advance(10.0)
    assert [fault(outcome) for outcome in outcomes] == [errors.ConnectTimeout] * 3
    call.setting.probes_fail()
    assert fault(call.dial(AWAY[9])) is errors.LineDown
    assert len(call.doors.attempts) == 3
    call.setting.uplink.stop()


def test_the_lan_is_dialled_as_ever() -> None:
    """While the line is down."""
    call = Call()
    call.setting.goes_down()
    outcome = call.dial(LAN)
    call.doors.attempts[-1].connect()
    assert outcome == [Dialled(f"{LAN}:80", "")]
    assert call.setting.uplink.is_down
    call.setting.uplink.stop()


def test_a_dial_on_its_way_ends_it() -> None:
    """It is an answer like any other."""
    call = Call()
    outcome = call.dial(AWAY[9])
    call.setting.goes_down()
    call.doors.attempts[0].connect()
    assert outcome == [Dialled(f"{AWAY[9]}:80", "")]
    assert not call.setting.uplink.is_down
    call.setting.probes_fail()


def test_a_name_told_after_it_went_down() -> None:
    """The answer of a name server doesn't help where nothing may be dialled."""
    call = Call()
    outcome = call.dial("www.example.org")
    call.setting.goes_down()
    call.names["www.example.org"].callback(Addresses((AWAY[9],), 60.0))
    assert fault(outcome) is errors.LineDown
    assert call.doors.attempts == []
    call.setting.uplink.stop()


def test_silent_name_servers_are_signals() -> None:
    """A name that nobody tells is one sign of several."""
    call = Call()
    outcomes = [call.dial(f"www.example{n}.org") for n in range(3)]
    call.doors.advance(10.0)
    assert [fault(outcome) for outcome in outcomes] == [errors.NameTimeout] * 3
    call.setting.probes_fail()
    assert fault(call.dial(AWAY[9])) is errors.LineDown
    call.setting.uplink.stop()


# --- Probes ---


class Probing:
    """A probe on doors that the test opens."""

    def __init__(self, *found: str) -> None:
        self.doors = Doors()
        self.asked = 0
        self.found = found
        sweep = Sweep(self.doors)
        sweep.start()
        resolver = Resolver(self._look_up, sweep, 60.0, 60.0)
        reactor = cast(IApplianceReactor, self.doors)
        self.probe = TcpProbe(reactor, resolver, self._judge)

    def _look_up(self, name: str) -> Deferred[Addresses]:
        self.asked += 1
        if not self.found:
            raise errors.NameUnknown("no")
        return succeed(Addresses(self.found, 60.0))

    def _judge(self, host: str, address: str, port: int) -> None:
        if address == AWAY[6]:
            raise errors.DestinationDenied("not there")


def test_probe_of_an_address() -> None:
    """It is dialled, and the connection closed."""
    probing = Probing()
    knocking = probing.probe(Place("a.example", 443, AWAY[0]))
    (attempt,) = probing.doors.attempts
    attempt.connect()
    assert knocking.result == AWAY[0]
    assert (attempt.host, probing.asked) == (AWAY[0], 0)
    assert attempt.transport is not None
    assert attempt.transport.disconnecting


def test_probe_of_a_name() -> None:
    """One that could not be found before is looked up again."""
    probing = Probing()
    for _ in range(2):
        Deferred.fromCoroutine(_failing(probing.probe(Place("a.example", 80)), errors.NameUnknown))
    assert probing.asked == 2
    probing.found = (AWAY[0],)
    knocking = probing.probe(Place("a.example", 80))
    knocking.addErrback(lambda failure: failure.trap(CancelledError))
    knocking.cancel()
    assert probing.doors.tried == [AWAY[0]]


async def _failing(knocking: Deferred[str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await knocking


@pytest.mark.parametrize(
    ("number", "kind"), [(0, errors.ConnectTimeout), (6, errors.DestinationDenied)]
)
def test_probes_that_fail(number: int, kind: type[Exception]) -> None:
    """Silence has its time, and what clients may not reach isn't knocked at."""
    probing = Probing()
    outcome: list[object] = []
    probing.probe(Place("a.example", 80, AWAY[number])).addErrback(
        lambda failure: outcome.append(failure.type)
    )
    probing.doors.advance(PROBE_TIMEOUT)
    assert outcome == [kind]
    assert len(probing.doors.attempts) == (number != 6)


@flow
async def test_probe_on_loopback(appliance: ApplianceReactor, network: Network) -> None:
    """A real connection stands, and is gone."""
    factory = Witnesses()
    port = appliance.listenTCP(0, factory, interface="127.0.0.1")
    network.ports.append(port)
    network.factories.append(factory)
    resolver = Resolver(lambda name: Deferred(), Sweep(appliance), 60.0, 5.0)
    probe = TcpProbe(cast(IApplianceReactor, appliance), resolver, lambda *asked: None)
    accepted = factory.next
    place = Place("a.example", port.getHost().port, "127.0.0.1")  # type: ignore[attr-defined]  # of TCP
    assert await probe(place) == "127.0.0.1"
    witness = await accepted
    await witness.until(lambda: witness.ends == ["input"])
