"""Signals become calls in the reactor's thread; those of the reactor itself give way to them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorCore, IReactorThreads


class _Reactor(IReactorCore, IReactorThreads):
    """What is needed of it."""


def heed(reactor: _Reactor, calls: Mapping[signal.Signals, Callable[[], object] | None]) -> None:
    """Have each signal make its call, or nothing happen for None, as soon as *reactor* runs."""
    # Not before: the reactor sets its own when it starts.
    reactor.callWhenRunning(_set, reactor, calls)


def _set(reactor: _Reactor, calls: Mapping[signal.Signals, Callable[[], object] | None]) -> None:
    for number, call in calls.items():
        if call is None:
            signal.signal(number, signal.SIG_IGN)
        else:
            signal.signal(number, _caller(reactor, call))


def _caller(reactor: _Reactor, call: Callable[[], object]) -> Callable[[int, object], None]:
    def arrived(number: int, frame: object) -> None:
        reactor.callFromThread(call)

    return arrived
