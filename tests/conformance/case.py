"""What a conformance case is: requests for one URL, what the origin would say, what must come.

Fields are written as lines. `<+60>` in a line stands for the date 60 seconds from now, when
the origin answers or, in a request or an expectation, when the origin last did. An answer of the
origin always has a Date.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

# Past a lifetime of one second, even where a Date was rounded down and ages are rounded up.
PAST_ONE_SECOND = 2.2


class Comes(enum.Enum):
    """Where an answer has to come from."""

    ANYWHERE = "anywhere"
    ORIGIN = "from the origin"
    CACHE = "from the cache"
    VALIDATED = "from the cache, once the origin has said 304"


@dataclass(frozen=True, slots=True)
class Step:
    """One request, what the origin says if it's asked, and what has to come back.

    *method*, *query*, *asks* and *content* are the request; *status*, *says*, *hints* (of a
    103 before it) and *hangs_up* the origin's answer. *seen* is the status that must come, None for
    any and 0 for *status*; *text* the body, None for the case's; *has* and *lacks* are fields of
    the answer, *reaches* fields that the origin must have got; *pause* seconds follow.
    """

    comes: Comes
    method: str = "GET"
    query: str = ""
    asks: tuple[str, ...] = ()
    content: str = ""
    status: int = 200
    says: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    hangs_up: bool = False
    seen: int | None = 0
    text: str | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    older_than: int | None = None
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """Steps that are taken one by one, with a URL and a connection of their own."""

    id: str
    steps: tuple[Step, ...] = field(repr=False)
    body: str = "what the origin has"

    def __str__(self) -> str:
        return self.id


def stored(*says: str, asks: tuple[str, ...] = (), pause: float = 0.0, status: int = 200) -> Step:
    """Ask for what the cache hasn't got; the origin says *says*."""
    return Step(Comes.ORIGIN, asks=asks, says=says, pause=pause, status=status)


def anew(*asks: str, status: int = 200) -> Step:
    """Ask again: this must go to the origin."""
    return Step(Comes.ORIGIN, asks=asks, status=status)


def reused(*asks: str, has: tuple[str, ...] = (), lacks: tuple[str, ...] = ()) -> Step:
    """Ask again: this must come from the cache, and the origin mustn't hear of it."""
    return Step(Comes.CACHE, asks=asks, has=has, lacks=lacks)


def never_reused(id_: str, *says: str, pause: float = 0.0) -> Case:
    """An answer with *says* serves no second request."""
    return Case(id_, (stored(*says, pause=pause), anew()))


def is_reused(id_: str, *says: str) -> Case:
    """An answer with *says* serves a second request."""
    return Case(id_, (stored(*says), reused()))
