"""The names of clients for the log: what is known at once, and asked for off the way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

# More than the addresses of a /20.
MAX_KNOWN = 4096
# Look-ups under way; past it, clients are left without a name for now.
MAX_ASKED = 64
# A lease of DHCP may give the address to somebody else, and a device its name to the router.
NAME_TTL = 600.0
NAMELESS_TTL = 300.0


class Reverse(Protocol):
    """One way to ask for names."""

    def __call__(self, address: str) -> Deferred[str]:
        """Look up the name of *address*; empty if there's none."""

    def stop(self) -> None:
        """Answer no more."""


class _Known(NamedTuple):
    """An answer, empty if there is no name, and until when it holds."""

    name: str
    expires: float


class ClientNames:
    """Remembers names; *seconds* is any clock."""

    def __init__(self, reverse: Reverse, seconds: Callable[[], float]) -> None:
        self._reverse = reverse
        self._seconds = seconds
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asked: set[str] = set()
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<ClientNames {len(self._known)} known, {len(self._asked)} being asked>"

    def of(self, address: str) -> str | None:
        """Return the name, nothing if there's none, or None where it isn't known yet.

        What has expired is asked for again, and holds until there is an answer.
        """
        known = self._known.get(address)
        if known is None:
            self._ask(address)
            return None
        if known.expires <= self._seconds():
            self._ask(address)
        return known.name

    def stop(self) -> None:
        """Ask for no more."""
        self._is_stopped = True
        self._reverse.stop()

    def _ask(self, address: str) -> None:
        if address in self._asked or len(self._asked) >= MAX_ASKED or self._is_stopped:
            return
        self._asked.add(address)
        keep = partial(self._keep, address)
        self._reverse(address).addCallbacks(keep, partial(_no_name, keep))

    def _keep(self, address: str, name: str) -> None:
        self._asked.discard(address)
        ttl = NAME_TTL if name else NAMELESS_TTL
        self._known[address] = _Known(name, self._seconds() + ttl)
        self._known.move_to_end(address)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _no_name(keep: Callable[[str], None], _: Failure) -> None:
    keep("")
