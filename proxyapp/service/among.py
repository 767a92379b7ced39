"""Which of several processes one is, and what they know of each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxyapp.credentials import Cells
from proxyapp.limits import MakeBucket, own_bucket
from proxyapp.net.shared import NOWHERE, Elsewhere


@dataclass(frozen=True, slots=True)
class Among:
    """One of *count* worker processes; the first one has what there can be only one of.

    *clients* and *tunnels* count those of the others, *make_bucket* makes buckets that all share,
    and *failures* keeps what all know of wrong passwords. What is signed with *secret* is known to
    all of them; empty, nobody else knows it.
    """

    number: int = 0
    count: int = 1
    clients: Elsewhere = NOWHERE
    tunnels: Elsewhere = NOWHERE
    make_bucket: MakeBucket = own_bucket
    failures: Cells | None = None
    secret: bytes = field(default=b"", repr=False)

    @property
    def is_first(self) -> bool:
        """Is it the first one?"""
        return self.number == 0


ALONE = Among()
