"""What the operator wants cached otherwise than the origin says."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """How far a cache goes where RFC 9111 leaves it room, and where a rule goes beyond it.

    *heuristic_fraction* of the time since the last change is how long a response without a
    lifetime is fresh, *heuristic_cap* seconds at most. *stale_if_error* is for how many seconds
    past its freshness a response is served while its origin can't be reached. *ttl*, in seconds,
    goes before the origin's lifetime, which is held between *ttl_least* and *ttl_most*; none of
    them is about errors, nor about redirections that may end. *ignore* names, in lower case,
    response fields and Cache-Control directives that are taken as not said: `vary`, `set-cookie`,
    `no-store`, `private`, `no-cache`, `must-revalidate`. With `authorization` among them, answers
    to requests with credentials are stored, and whoever asks next is judged by the origin: nothing
    is used without validation, not even stale. *ignore_cookies* is short for `set-cookie`.
    *is_off*: nothing is stored or used.
    """

    heuristic_fraction: float = 0.1
    heuristic_cap: float = 86400.0
    stale_if_error: float = 86400.0
    ignore_cookies: bool = False
    ttl: float | None = None
    ttl_least: float = 0.0
    ttl_most: float = math.inf
    ignore: frozenset[bytes] = frozenset()
    is_off: bool = False


DEFAULT = Policy()
