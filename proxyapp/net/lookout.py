"""Looks out for the line while there is doubt: probes, and the routes that lead to it.

The probes are connections of our own that are closed at once, to where somebody got through lately
or wants to go. So no client waits for one, several sites are tried at once, and the line is found
to be up again also while nobody asks. While nothing fails there is no probe, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp.net.routes import Ways
from proxyapp.rules.addresses import Network
from proxyapp.rules.uplink import NEVER, Line, Place, State, is_beyond

# How often the routes are looked at while there is doubt (s); a cable that is put back is seen so.
LOOK_PAUSE = 2.0

_log = Logger()

# Fires with the address that answered, or fails.
Probe = Callable[[Place], Deferred[str]]
# Reads the routes off the request path.
Look = Callable[[], Deferred[Ways]]


class Lookout:
    """Keeps a `Line` informed; *changed* is called when it has gone down or come back."""

    def __init__(
        self, clock: IReactorTime, probe: Probe, look: Look, changed: Callable[[], None]
    ) -> None:
        self.line = Line()
        self._clock = clock
        self._probe = probe
        self._look = look
        self._changed = changed
        self._was_down = False
        self._near: tuple[Network, ...] = ()
        self._timer: IDelayedCall | None = None
        self._round: _Round | None = None
        self._looked_at = -LOOK_PAUSE
        self._is_looking = False
        self._is_stopped = False

    def stop(self) -> None:
        """Send no more probes."""
        self._is_stopped = True
        self._cancel()
        if self._round is not None:
            self._round.stop()

    def is_beyond(self, address: str) -> bool:
        """Do packets to *address* need the line?"""
        return is_beyond(address, self._near)

    def reached(self, place: Place) -> bool:
        """Take a connection as a success if it is one; what is on the LAN proves nothing."""
        if not self.is_beyond(place.address):
            return False
        state = self.line.state
        self.line.reached(self._clock.seconds(), place)
        if state is not State.UP:
            self._follow()
        return True

    def failed(self, place: Place, began: float) -> None:
        """Nothing has answered at *place*, wanted since *began* by the clock."""
        self.line.failed(self._clock.seconds(), place, began)
        self._follow()

    def look_at_routes(self) -> None:
        """Look again, unless that was done a moment ago."""
        now = self._clock.seconds()
        if self._is_looking or now < self._looked_at + LOOK_PAUSE:
            return
        self._is_looking = True
        self._looked_at = now
        self._look().addCallbacks(self._looked, self._not_looked)

    def _looked(self, ways: Ways) -> None:
        self._is_looking = False
        self._near = ways.near
        self.line.way(self._clock.seconds(), ways.lost)
        self._hasten()

    def _not_looked(self, failure: Failure) -> None:
        self._is_looking = False
        _log.failure("the routes can't be looked at", failure)

    # Doubt.

    def _follow(self) -> None:
        """Do what the line's state asks for, after anything that may have changed it."""
        if self.line.is_down is not self._was_down:
            self._was_down = self.line.is_down
            self._changed()
        if self.line.state is State.UP:
            self._cancel()
        elif self._timer is None and not self._is_stopped:
            self._timer = self._clock.callLater(self._pause(), self._act)

    def _hasten(self) -> None:
        """Follow, and mind that the next probe may be due earlier than it was."""
        self._cancel()
        self._follow()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self) -> float:
        due = NEVER if self._round is not None else self.line.due - self._clock.seconds()
        return max(0.0, min(LOOK_PAUSE, due))

    def _act(self) -> None:
        self._timer = None
        self.look_at_routes()
        now = self._clock.seconds()
        if self._round is None and self.line.due <= now:
            self._round = _Round(self.line.targets(), self._probe, now)
            self._round.run(self.reached, partial(self._ended, self._round))
        self._follow()

    def _ended(self, ended: _Round, has_answered: bool) -> None:
        """A probe is over."""
        self._round = None
        if not (has_answered or self._is_stopped):
            self.line.probed(self._clock.seconds(), ended.places, ended.began)
        self._hasten()


class _Round:
    """One probe: connections to several places at once."""

    def __init__(self, places: list[Place], probe: Probe, began: float) -> None:
        self.places = places
        self.began = began
        self._probe = probe
        self._running: list[Deferred[None]] = []
        self._left = len(places)
        self._has_answered = False

    def run(self, reached: Callable[[Place], bool], ended: Callable[[bool], None]) -> None:
        """Knock; *ended* hears, when all is over, whether *reached* took one for a success."""
        for place in self.places:
            knocking = self._probe(place)
            knocking.addCallbacks(partial(self._answered, place, reached), lambda _: None)
            knocking.addBoth(self._over, ended)
            self._running.append(knocking)  # type: ignore[arg-type]  # it ends with None

    def stop(self) -> None:
        """Give up."""
        for knocking in self._running:
            knocking.cancel()

    def _answered(self, place: Place, reached: Callable[[Place], bool], address: str) -> None:
        self._has_answered |= reached(place._replace(address=address))

    def _over(self, result: object, ended: Callable[[bool], None]) -> None:
        self._left -= 1
        if isinstance(result, Failure):
            _log.failure("a probe failed", result)
        if not self._left:
            ended(self._has_answered)
