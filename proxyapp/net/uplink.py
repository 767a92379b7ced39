"""The line beyond the LAN, as dialling sees it: is it of any use, and what has it shown?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from proxyapp import errors
from proxyapp.net.lookout import Look, Lookout, Probe
from proxyapp.rules.uplink import Place, duration_text, is_local_name

# Who waited so long (s) for a connection, and no more, has met silence: SYN was sent twice.
LONG = 3.0

_log = Logger()


class Uplink:
    """What dialling asks and tells; *offline* is `auto`, `on` or `off`.

    *seconds* is the time since the epoch. *went_down* is called when the line is found to be down,
    and *came_back* when it is up again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        offline: str,
        probe: Probe,
        look: Look,
        seconds: Callable[[], float],
        went_down: Callable[[], None],
        came_back: Callable[[], None],
    ) -> None:
        self._is_forced = offline == "on"
        self._is_watching = offline == "auto"
        self._clock = clock
        self._seconds = seconds
        self._went_down = went_down
        self._came_back = came_back
        self._lookout = Lookout(clock, probe, look, self._changed)
        self._down_at = 0.0
        # Seconds since the epoch when it went down, None while it is up.
        self.since: float | None = seconds() if self._is_forced else None

    def __repr__(self) -> str:
        state = "forced offline" if self._is_forced else self._lookout.line.state.value
        return f"<Uplink {state}>"

    def start(self) -> None:
        """Say so if the line isn't to be used."""
        if self._is_forced:
            _log.info("offline, as [cache] offline says: nothing beyond the LAN is dialled")
            self._lookout.look_at_routes()

    def stop(self) -> None:
        """Look out no longer."""
        self._is_watching = False
        self._lookout.stop()

    # Questions.

    @property
    def is_down(self) -> bool:
        """Is nothing beyond the LAN to be dialled?"""
        return self.since is not None

    @property
    def reason(self) -> str:
        """One sentence for people, without the full stop; empty while the line is up."""
        if self._is_forced:
            return "the gateway is set to work offline"
        if self.since is None:
            return ""
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"the gateway's line has been down since {began}"

    def check_offline(self) -> None:
        """Raise LineDown where nobody is to be asked, not even by a way through the LAN."""
        if self._is_forced:
            raise self._line_down()

    def _line_down(self) -> errors.LineDown:
        return errors.LineDown(f"{self.reason}, and this isn't stored on the gateway")

    def is_beyond(self, address: str) -> bool:
        """Do packets to *address* need the line?"""
        return self._lookout.is_beyond(address)

    def near(self, host: str, port: int, addresses: Sequence[str]) -> list[str]:
        """Return those of *addresses* that don't need the line, for while it is down.

        Raises LineDown where all do, or there are none.
        """
        near = [address for address in addresses if not self.is_beyond(address)]
        if not near:
            self._lookout.line.refused(Place(host, port, addresses[0] if addresses else ""))
            self._lookout.look_at_routes()
            raise self._line_down()
        return near

    # What dialling tells.

    def reached(self, host: str, port: int, address: str) -> None:
        """A connection was made."""
        if self._is_watching:
            self._lookout.reached(Place(host, port, address))

    @contextmanager
    def watched(self, host: str, port: int, addresses: Sequence[str]) -> Iterator[None]:
        """Watch a connection being tried, or without *addresses* a name being looked up.

        Also who gives up early, because the client has, tells something if he waited for long.
        """
        began = self._clock.seconds()
        try:
            yield
        except (errors.ConnectTimeout, errors.OriginUnreachable, errors.NameTimeout):
            self._failed(host, port, addresses, began)
            raise
        except CancelledError:
            if self._clock.seconds() - began >= LONG:
                self._failed(host, port, addresses, began)
            raise

    def _failed(self, host: str, port: int, addresses: Sequence[str], began: float) -> None:
        if not self._is_watching:
            return
        beyond = [address for address in addresses if self.is_beyond(address)]
        if beyond or not (addresses or is_local_name(host)):
            self._lookout.failed(Place(host, port, beyond[0] if beyond else ""), began)

    # Changes.

    def _changed(self) -> None:
        line = self._lookout.line
        if line.is_down:
            self.since = self._seconds()
            self._down_at = self._clock.seconds()
            _log.warn("the line is down: {evidence}", evidence=line.evidence)
            self._went_down()
        else:
            self.since = None
            lasted = duration_text(self._clock.seconds() - self._down_at)
            _log.info("the line is back; it was down for {lasted}", lasted=lasted)
            self._came_back()
