"""What is asked of the rules about a request, and what they answer."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple

Period = Literal["", "day", "week", "month"]


class Action(enum.Enum):
    """What a rule does with what it matches; REPORT notes what it would deny, and goes on."""

    ALLOW = "allow"
    DENY = "deny"
    REPORT = "report"


class Default(enum.Enum):
    """What happens to requests that no rule matches."""

    ALLOW = "allow"
    DENY = "deny"


class Question(NamedTuple):
    """Who asks which service for what.

    *service* is proxy, tunnel, fetch or site. *client* is an IP address, empty for the peer of a
    Unix socket, and *user* is None where nobody has proved who he is. *host* is as in Origin, in
    lower case without a final dot; the site is asked with an empty one and port 0.
    """

    # A tuple, because one is made for every request and looked up in what is remembered: making
    # and hashing a dataclass costs four times as much.

    service: str
    client: str
    user: str | None
    method: bytes
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """How much each client may take of what the rule *name* allows; 0 and "" are no limit."""

    name: str
    requests_per_second: float = 0.0
    bytes_per_second: int = 0
    quota_bytes: int = 0
    quota_period: Period = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say; it is true where they allow.

    *rule* is called as in the ini, `[rule work-hours]` or `[access] clients`; *reason* is a
    sentence for the admin, *message* the rule's own words for the client. *reported* is the first
    rule with `action = report` that would have denied. *wants_user* says that it might be decided
    otherwise if the client proved to be some user.
    """

    allowed: bool
    rule: str
    reason: str
    message: str = ""
    reported: str = ""
    limits: RuleLimits | None = None
    wants_user: bool = False

    def __bool__(self) -> bool:
        return self.allowed


Verdict = Literal["passed over", "matched", "reported"]


class Step(NamedTuple):
    """One stop on the way to a decision; *place* is FILE:LINE, or empty for what isn't a rule."""

    rule: str
    place: str
    verdict: Verdict
    reason: str
