"""What is in the event log, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass

from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import NEVER, Rotation


@dataclass(frozen=True, slots=True)
class Events:
    """What [log] says of events.

    They go to *target*, a file, `-` for standard output, or nothing at all, if they matter as much
    as *level*, or more. A file is rotated, and the newest *keep* old ones are kept (0: all).
    """

    target: str
    level: Level
    rotation: Rotation = NEVER
    keep: int = 0
