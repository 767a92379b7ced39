"""Which parent proxies are well: who fails is passed over, and looked at until it answers again.

A connection that can't be made takes a parent out of its turn at once. An answer that doesn't come
only casts doubt, because it may be the origin that is slow: the parent is asked something that it
answers itself. While all is well nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.rules.parents import Parent, Roster
from proxyapp.rules.uplink import duration_text

_log = Logger()

# Fires when the parent has answered anything; fails with the ParentLost that says why it hasn't.
Knock = Callable[[Parent], Deferred[None]]


class ParentLost(errors.OriginFault):
    """This parent could not be asked, and nothing was sent: another one may do."""

    token = "destination_unavailable"


class Parents:
    """The parents in their order of now; *knock* looks whether one answers."""

    def __init__(self, parents: tuple[Parent, ...], clock: IReactorTime, knock: Knock) -> None:
        self._roster = Roster(parents)
        self._clock = clock
        self._knock = knock
        self._since: dict[Parent, float] = {}
        self._timers: dict[Parent, IDelayedCall] = {}
        self._knocking: dict[Parent, Deferred[None]] = {}
        self._rejecting: set[Parent] = set()
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<Parents {self._roster!r}>"

    @property
    def order(self) -> tuple[Parent, ...]:
        """In which order to try them; those that failed lately are the last resort."""
        return self._roster.order

    def stop(self) -> None:
        """Look at nobody any more."""
        self._is_stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for knocking in list(self._knocking.values()):
            knocking.cancel()

    # What those who ask them tell.

    def failed(self, parent: Parent, why: str) -> None:
        """*parent* could not be asked, for the reason *why*."""
        if not self._roster.is_passed_over(parent):
            self._since[parent] = self._clock.seconds()
            _log.warn("the parent proxy {name} is passed over: {why}", name=parent.name, why=why)
        elif parent in self._timers or parent in self._knocking:
            return  # somebody tried it as the last resort; its next turn is settled
        pause = self._roster.failed(parent)
        if not self._is_stopped and parent not in self._knocking:
            self._cancel(parent)
            self._timers[parent] = self._clock.callLater(pause, self._look, parent)

    def doubted(self, parent: Parent) -> None:
        """*parent* took a request and didn't answer; it may not be its fault."""
        if not (self._is_stopped or parent in self._knocking or parent in self._timers):
            self._look(parent)

    def answered(self, parent: Parent) -> None:
        """*parent* has answered a request."""
        if self._roster.is_passed_over(parent):
            self._cancel(parent)
            self._roster.answered(parent)
            lasted = duration_text(self._clock.seconds() - self._since.pop(parent))
            _log.info(
                "the parent proxy {name} answers again, after {lasted}",
                name=parent.name,
                lasted=lasted,
            )

    def accepted(self, parent: Parent) -> None:
        """*parent* has answered a request, and lets us in."""
        if self._rejecting:
            self._rejecting.discard(parent)
        self.answered(parent)

    def rejected(self, parent: Parent) -> errors.ParentFailed:
        """Return what it is that *parent* wants other credentials, and say so to the admin."""
        self.answered(parent)
        what = "doesn't accept the user and password" if parent.credentials else "wants a password"
        reason = f"the parent proxy {parent.name} {what} of [upstream] proxy"
        if not parent.credentials:
            reason = f"the parent proxy {parent.name} {what}, and [upstream] proxy has none for it"
        if parent not in self._rejecting:
            self._rejecting.add(parent)
            _log.warn("{reason}", reason=reason)
        return errors.ParentFailed(reason)

    # Looking.

    def _cancel(self, parent: Parent) -> None:
        timer = self._timers.pop(parent, None)
        if timer is not None:
            timer.cancel()

    def _look(self, parent: Parent) -> None:
        self._timers.pop(parent, None)
        self._knocking[parent] = knocking = self._knock(parent)
        knocking.addBoth(self._looked, parent)

    def _looked(self, outcome: Failure | None, parent: Parent) -> None:
        self._knocking.pop(parent, None)
        if not isinstance(outcome, Failure):
            self.answered(parent)
        elif isinstance(outcome.value, ParentLost):
            self.failed(parent, outcome.value.reason)
        elif not isinstance(outcome.value, CancelledError):
            _log.failure("a parent proxy can't be looked at", outcome)
