"""Signals become calls in the reactor's thread; those of the reactor itself give way to them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from proxyapp.net.reactor import IApplianceReactor

# What each signal calls; nothing happens for None.
Calls = Mapping[signal.Signals, Callable[[], object] | None]


def heed(reactor: IApplianceReactor, calls: Calls) -> None:
    """Have each signal make its call as soon as *reactor* runs."""
    # At once, as SIGHUP and SIGUSR1 would end us; and again, as the reactor sets its own.
    _set(reactor, calls)
    reactor.callWhenRunning(_set, reactor, calls)


def _set(reactor: IApplianceReactor, calls: Calls) -> None:
    for number, call in calls.items():
        signal.signal(number, signal.SIG_IGN if call is None else _Caller(reactor, call))


class _Caller:
    """Makes *call* in the reactor's thread, a moment after its signal came."""

    def __init__(self, reactor: IApplianceReactor, call: Callable[[], object]) -> None:
        self._reactor = reactor
        self._call = call

    def __call__(self, number: int, frame: object) -> None:
        """See signal.signal."""
        self._reactor.callFromThread(self._call)
