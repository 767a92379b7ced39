"""What every test runs on and is watched by: the appliance's reactor, and an eye on leftovers."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from hypothesis import HealthCheck, settings
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from proxyapp.net import reactor as appliance_reactor
from tests.appliance import Running, start
from tests.origin import Origin, Routes
from tests.talk import Talk

# pytest-twisted takes a reactor that is there already, if it's of the stock one's kind.
appliance_reactor.install()
# A machine that is busy isn't a failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A closed connection is gone after a turn or two of the reactor, what lies in a cycle when the
# collector has been there, a thread a moment later.
_PATIENCE_STEPS = 400
_STEP = 0.005
_TURNS = 2


@implementer(ILogObserver)
class LoggedErrors:
    """The failures and critical events that were logged during one test."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        is_error = event.get("isError") or "log_failure" in event
        if is_error or event.get("log_level") is LogLevel.critical:
            self._events.append(event)

    def flush(self, *kinds: type[BaseException]) -> list[LogEvent]:
        """Take out, as expected, the events whose failure is one of *kinds*; all without kinds."""
        taken = [event for event in self._events if not kinds or _is_one_of(event, kinds)]
        self._events = [event for event in self._events if event not in taken]
        return taken


def _is_one_of(event: LogEvent, kinds: tuple[type[BaseException], ...]) -> bool:
    failure = event.get("log_failure") or event.get("failure")
    return failure is not None and failure.check(*kinds) is not None


class _Holdings(NamedTuple):
    """What the process holds: descriptors with what they stand for, and the reactor's things."""

    descriptors: dict[str, str]
    calls: tuple[IDelayedCall, ...]
    watched: set[object]

    def since(self, before: _Holdings) -> list[str]:
        """Say what is here and wasn't *before*."""
        calls = [call for call in self.calls if call not in before.calls]
        found = [f"delayed call: {call}" for call in calls]
        found += [f"reader or writer: {each!r}" for each in self.watched - before.watched]
        for number, target in self.descriptors.items():
            if before.descriptors.get(number) != target:
                found.append(f"descriptor {number}: {target}")
        return found


def _holdings() -> _Holdings:
    reactor = _reactor()
    selectables = cast(IReactorFDSet, reactor)
    watched: set[object] = {*selectables.getReaders(), *selectables.getWriters()}
    return _Holdings(_descriptors(), tuple(reactor.getDelayedCalls()), watched)


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of listdir itself
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _reactor() -> appliance_reactor.ApplianceReactor:
    from twisted.internet import reactor

    return cast(appliance_reactor.ApplianceReactor, reactor)


def _leftovers(before: _Holdings) -> list[str]:
    """Return what a test left behind, after the time that it takes to go by itself."""
    left = _holdings().since(before)
    for step in range(_PATIENCE_STEPS):
        if not left:
            break
        if step == _TURNS:
            gc.collect()
        delay = 0 if step < _TURNS else _STEP
        pytest_twisted.blockon(deferLater(_reactor(), delay, lambda: None))
        left = _holdings().since(before)
    return left


@pytest.fixture(scope="session", autouse=True)
def _reactor_runs(twisted_greenlet: object) -> None:
    """Let the reactor open what it needs itself, some of it to listen, before anybody counts."""
    port = _reactor().listenTCP(0, Factory(), interface="127.0.0.1")
    pytest_twisted.blockon(maybeDeferred(port.stopListening))


@pytest.fixture(scope="session")
def reactor() -> appliance_reactor.ApplianceReactor:
    """Return the reactor."""
    return _reactor()


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[LoggedErrors]:
    """Fail a test that logs a failure, unless it flushes it; see LoggedErrors.flush."""
    observer = LoggedErrors()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)
    if unexpected := observer.flush():
        texts = [str(event.get("log_failure") or event.get("log_format")) for event in unexpected]
        pytest.fail("errors were logged:\n" + "\n".join(texts), pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_left(logged_errors: LoggedErrors) -> Iterator[None]:
    """Fail a test that leaves delayed calls, readers, writers or descriptors behind."""
    before = _holdings()
    yield
    if left := _leftovers(before):
        pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)


# The product and its neighbours, for the tests that use real sockets.

StartAppliance = Callable[..., AbstractContextManager[Running]]
Connect = Callable[..., Talk]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product as a process, on settings that suit most tests; shared by all of them."""
    with start(tmp_path_factory.mktemp("appliance")) as started:
        yield started


@pytest.fixture
def start_appliance(tmp_path: Path) -> StartAppliance:
    """Return what starts the product with further settings; see appliance.start."""

    @contextmanager
    def start_here(ini: str = "") -> Iterator[Running]:
        with start(tmp_path, ini) as started:
            yield started

    return start_here


@pytest.fixture
def origin() -> Iterator[Origin[Routes]]:
    """Yield an origin that speaks HTTP and answers each path as it is told."""
    with Origin(Routes()) as started:
        yield started


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return what connects to a port on loopback; every connection is closed afterwards."""
    opened: list[Talk] = []

    def open_talk(port: int, host: str = "127.0.0.1") -> Talk:
        talk = Talk(socket.create_connection((host, port), timeout=10))
        opened.append(talk)
        return talk

    yield open_talk
    for talk in opened:
        talk.close()
