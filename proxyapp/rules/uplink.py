"""Is the line up? What dials and probes tell, weighed so that no single origin takes it down.

Only destinations beyond the LAN count. A *site* is what fails together, whatever the reason: the
hosts of one domain, or the addresses of one network. A failure casts doubt, and doubt has a probe
sent to sites that answered lately. If one answers, the line is up, and the sites that failed are
at fault themselves: for a while they cast no doubt. If none does, they have failed as well, and
when enough different sites have, without a success in between, the line is down. Any success ends
that at once.
"""

from __future__ import annotations

import enum
import functools
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import NamedTuple, TypeVar

from proxyapp.rules.addresses import AddressClass, Network, classify_text, parse

_Kept = TypeVar("_Kept")

NEVER = math.inf
# So many sites must have failed; one broken provider, and another one by chance, aren't the line.
SITES = 3
# Who uses two servers only would never get there: two will do when probes failed so often.
PATIENT_SITES, PATIENT_PROBES = 2, 3
# No route that leads out of the LAN is a reason of its own; but there may be others elsewhere.
LOST_SITES = 2
# A failure so long ago (s) says nothing of now.
WINDOW = 120.0
# How long (s) a site that failed while others answered casts no doubt.
EXCUSED = 120.0
# Seconds between probes: twice as long after each that failed, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
# Connections of one probe. One server may be gone for its own reasons; three seldom are.
PROBED = 3
# Sites kept in mind, of each kind.
_REMEMBERED = 8
_EXCUSES = 256
_SITES_CACHED = 1024
# What one organisation has, roughly: the bits of a network that count.
_BITS = {4: 24, 6: 48}
# Names that end so are the LAN's own: RFC 6762, RFC 6761, RFC 8375, and what routers hand out.
_LOCAL = ("local", "localhost", "home.arpa", "internal", "lan", "home", "localdomain", "corp")


class State(enum.Enum):
    """What is believed of the line."""

    UP = "up"
    DOUBTED = "doubted"
    DOWN = "down"


class Event(enum.Enum):
    """What changes that."""

    REACHED = "a connection beyond the LAN was made"
    FAILED = "one could not be made"
    FADED = "nothing has failed for a while"
    PROVEN = "enough sites have failed, and so did a probe"


_NEXT: dict[tuple[State, Event], State] = {
    (State.UP, Event.REACHED): State.UP,
    (State.UP, Event.FAILED): State.DOUBTED,
    (State.DOUBTED, Event.REACHED): State.UP,
    (State.DOUBTED, Event.FAILED): State.DOUBTED,
    (State.DOUBTED, Event.FADED): State.UP,
    (State.DOUBTED, Event.PROVEN): State.DOWN,
    (State.DOWN, Event.REACHED): State.UP,
    (State.DOWN, Event.FAILED): State.DOWN,
}


class Place(NamedTuple):
    """Where somebody wanted to go; *address* is empty while no name server tells it."""

    host: str
    port: int
    address: str = ""

    @property
    def site(self) -> str:
        """What it fails together with, by name."""
        return site_of(self.host)

    @property
    def network(self) -> str:
        """What it fails together with, by address."""
        return site_of(self.address or self.host)


@dataclass(frozen=True, slots=True)
class _Failed:
    """The latest failure of a site."""

    place: Place
    at: float


class Line:
    """The line beyond the LAN, as far as it is known. *now* is in seconds, of one clock."""

    def __init__(self) -> None:
        self.state = State.UP
        self.lost = ""
        self._failed: OrderedDict[str, _Failed] = OrderedDict()
        self._excused: OrderedDict[str, float] = OrderedDict()
        self._answered: OrderedDict[str, Place] = OrderedDict()  # the latest last
        self._wanted: OrderedDict[str, Place] = OrderedDict()
        self._knocked: OrderedDict[str, int] = OrderedDict()  # the probe that was the last one
        self._reached_at = -math.inf
        self._probes = 0
        self._due = NEVER

    def __repr__(self) -> str:
        return f"<Line {self.state.value}, {len(self._failed)} sites failed>"

    @property
    def is_down(self) -> bool:
        """Is there no use in dialling?"""
        return self.state is State.DOWN

    @property
    def due(self) -> float:
        """When the next probe is to be sent; NEVER while there is no doubt."""
        return self._due

    @property
    def evidence(self) -> str:
        """Why it is believed to be down, for the event log."""
        places = [failed.place for failed in self._failed.values()]
        silent = _shown([place.host for place in places if place.address])
        unknown = _shown([place.host for place in places if not place.address])
        parts = (
            silent and f"nothing answers at {silent}",
            unknown and f"no name server tells the address of {unknown}",
            self.lost,
        )
        return "; ".join(part for part in parts if part)

    # What is heard of the line.

    def reached(self, now: float, place: Place) -> None:
        """A connection to *place* was made."""
        site = place.site
        self._reached_at = now
        _put(self._answered, site, place, _REMEMBERED)
        if self.state is not State.UP:
            if self.state is State.DOUBTED:
                self._excuse(now)
            self._change(Event.REACHED)
        if self._excused:
            self._excused.pop(site, None)

    def failed(self, now: float, place: Place, began: float) -> None:
        """A connection to *place* was wanted at *began*, and nothing answered.

        An answer, be it a refusal, is none of these.
        """
        # Somebody got through meanwhile, so it may have failed before the line came up.
        if began < self._reached_at or self._excused.get(place.site, now) > now:
            return
        _put(self._failed, place.site, _Failed(place, now), _REMEMBERED)
        if self.state is State.UP:
            self._probes, self._due = 0, now
        self._change(Event.FAILED)
        self._weigh(now)

    def refused(self, place: Place) -> None:
        """Somebody wanted to go to *place* while the line was down: it's as good to probe."""
        _put(self._wanted, place.site, place, _REMEMBERED)

    def way(self, now: float, lost: str) -> None:
        """The routes were looked at; *lost* says why none leads out of the LAN, or nothing."""
        if self.state is State.UP:
            return
        was_lost, self.lost = bool(self.lost), lost
        if was_lost and not lost:
            self._probes, self._due = 0, now
        self._weigh(now)

    # Probes.

    def targets(self) -> list[Place]:
        """Return where the next probe should knock: where none did lately, first who answered."""
        candidates = {
            **{site: place for site, place in _latest(self._answered) if site not in self._failed},
            **{site: failed.place for site, failed in _latest(self._failed)},
            **dict(_latest(self._wanted)),
            **dict(_latest(self._answered)),
        }
        order = sorted(candidates, key=lambda site: self._knocked.get(site, 0))
        return [candidates[site] for site in order[:PROBED]]

    def probed(self, now: float, places: Sequence[Place], began: float) -> None:
        """A probe of *places*, sent at *began*, was answered by none."""
        if self.state is State.UP or began < self._reached_at:
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._probes, 10))
        self._probes += 1
        self._due = now + pause
        for place in places:
            _put(self._knocked, place.site, self._probes, 3 * _REMEMBERED)
            if self.state is State.DOUBTED:
                _put(self._failed, place.site, _Failed(place, now), _REMEMBERED)
        self._weigh(now)

    # What follows.

    def _weigh(self, now: float) -> None:
        if self.state is not State.DOUBTED:
            return
        for site, failed in list(self._failed.items()):
            if failed.at < now - WINDOW:
                del self._failed[site]
        if not self._failed:
            self._change(Event.FADED)
        elif self._probes and self._failed_sites() >= self._needed():
            self._change(Event.PROVEN)

    def _failed_sites(self) -> int:
        networks = {failed.place.network for failed in self._failed.values()}
        return min(len(self._failed), len(networks))

    def _needed(self) -> int:
        if self.lost:
            return LOST_SITES
        return PATIENT_SITES if self._probes >= PATIENT_PROBES else SITES

    def _excuse(self, now: float) -> None:
        for site in self._failed:
            _put(self._excused, site, now + EXCUSED, _EXCUSES)

    def _change(self, event: Event) -> None:
        self.state = _NEXT[self.state, event]
        if self.state is State.UP:
            self._failed.clear()
            self._wanted.clear()
            self._knocked.clear()
            self._due = NEVER
            self.lost = ""


def _put(memory: OrderedDict[str, _Kept], key: str, value: _Kept, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)


def _latest(memory: OrderedDict[str, _Kept]) -> list[tuple[str, _Kept]]:
    return [*reversed(memory.items())]


def _shown(hosts: list[str]) -> str:
    return ", ".join(hosts[:SITES]) + (", ..." if len(hosts) > SITES else "")


@functools.lru_cache(maxsize=_SITES_CACHED)
def site_of(host: str) -> str:
    """Return the domain that *host* is in, roughly, or the network of an address."""
    try:
        address = parse(host)
    except ValueError:
        return ".".join(host.rstrip(".").lower().split(".")[-2:])
    return str(ip_network((address, _BITS[address.version]), strict=False))


def is_beyond(address: str, near: Sequence[Network]) -> bool:
    """Do packets to *address* need the line? *near* are the networks that this host is in.

    Nothing on the LAN is public, except where the LAN has public addresses.
    """
    if classify_text(address) is not AddressClass.PUBLIC:
        return False
    literal = parse(address)
    return not any(literal in network for network in near)


def is_local_name(host: str) -> bool:
    """Can only the LAN know *host*?"""
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(tuple(f".{suffix}" for suffix in _LOCAL))


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if not minutes:
        return f"{whole} s"
    if not hours:
        return f"{minutes} min {whole % 60} s"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"
