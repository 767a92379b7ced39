"""What the master has to do with whoever serves: itself, for as long as it does, or a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from proxyapp import service
from proxyapp.config import Config
from proxyapp.rules.events import Events
from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import Rotation
from proxyapp.workers.messages import BadMessage, Json, Message
from proxyapp.workers.tunnels import Refusal, Tunnel

# How long tunnels may go on at a stop, at most, in seconds.
STOP_TUNNELS = 30.0


class Counts(NamedTuple):
    """What is going on at one member."""

    clients: int = 0
    tunnels: int = 0

    def __str__(self) -> str:
        return f"{self.clients} connections of clients, {self.tunnels} of them tunnels"


class Patience(NamedTuple):
    """For how many seconds requests, and tunnels, may go on once no more may come."""

    requests: float
    tunnels: float

    @property
    def longest(self) -> float:
        """After how many seconds nothing is left."""
        return max(self)


@dataclass(frozen=True, slots=True)
class Outline:
    """What the master needs to know of a configuration.

    *places* are the sections and descriptions that are listened on, in the order of the ini. A
    worker of an older version says nothing of *events*.
    """

    places: tuple[tuple[str, str], ...]
    workers: int
    state_dir: str
    drain_timeout: float
    tunnel_timeout: float
    events: Events | None = None

    def to_fields(self) -> dict[str, Json]:
        """Return it as it is sent."""
        return {
            "places": [list(place) for place in self.places],
            "workers": self.workers,
            "state_dir": self.state_dir,
            "drain_timeout": self.drain_timeout,
            "tunnel_timeout": self.tunnel_timeout,
            "events": None if self.events is None else _told(self.events),
        }

    @property
    def at_reload(self) -> Patience:
        """How long what it has begun may go on after a reload."""
        return Patience(self.drain_timeout, self.tunnel_timeout)

    @property
    def at_stop(self) -> Patience:
        """How long it may go on at a stop."""
        return Patience(self.drain_timeout, min(self.tunnel_timeout, STOP_TUNNELS))


def outline_of(config: Config) -> Outline:
    """Return that of *config*."""
    places = [("proxy", each) for each in config.proxy.listen]
    places += [("site", each) for each in config.site.listen]
    return Outline(
        tuple(places),
        config.proxyapp.workers,
        str(config.proxyapp.state_dir),
        config.proxyapp.drain_timeout,
        config.tunnel.drain_timeout,
        service.events_of(config),
    )


def outline_from(message: Message) -> Outline:
    """Read what Outline.to_fields made; raises BadMessage."""
    places = [tuple(map(str, each)) for each in message.items("places") if isinstance(each, list)]
    return Outline(
        tuple((section, description) for section, description in places),
        message.count("workers"),
        message.text("state_dir"),
        message.number("drain_timeout"),
        message.number("tunnel_timeout"),
        _events_from(message.part("events")),
    )


def _told(events: Events) -> dict[str, Json]:
    return {
        "target": events.target,
        "level": events.level.value,
        "is_daily": events.rotation.is_daily,
        "size": events.rotation.size,
        "keep": events.keep,
    }


def _events_from(message: Message | None) -> Events | None:
    if message is None:
        return None
    rotation = Rotation(bool(message.count("is_daily")), message.count("size"))
    try:
        level = Level(message.text("level"))
    except ValueError as error:
        raise BadMessage("there is no such level") from error
    return Events(message.text("target"), level, rotation, message.count("keep"))


class Member(Protocol):
    """One of those who serve."""

    @property
    def gone(self) -> Deferred[None]:
        """Fires when it serves nobody any more."""

    @property
    def counts(self) -> Counts:
        """What is going on there, as far as is known."""

    async def tunnels(self) -> Sequence[Tunnel]:
        """Return the tunnels that are open."""

    def cut(self, refused: Sequence[Refusal]) -> None:
        """End these tunnels, and say in the log why."""

    def drain(self, patience: Patience) -> None:
        """Accept no more, and be gone once what runs is over; again, to have less patience."""

    def reopen_log(self) -> None:
        """Go on in a new file of the request log."""

    def end(self) -> None:
        """Be gone now."""
