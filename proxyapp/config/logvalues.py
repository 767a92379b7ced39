"""Values of [log]: when a file is rotated, and where events go."""

from __future__ import annotations

from proxyapp.config import values
from proxyapp.config.values import GIB, KIB, Surroundings, WrongValue, shown
from proxyapp.rules.rotation import NEVER, Rotation

_NEVER = frozenset(("no", "off", "false", "0", ""))
_size = values.size(KIB, 1024 * GIB)


def rotation(text: str, surroundings: Surroundings) -> Rotation:
    """Read `daily`, the size past which a file is put aside, or `no`."""
    word = text.lower()
    if word in _NEVER:
        return NEVER
    if word == "daily":
        return Rotation(is_daily=True)
    if not word[:1].isdigit():
        raise WrongValue(f"{shown(text)} is not known; daily, a size such as 50MiB, or no is right")
    return Rotation(size=_size(text, surroundings))


def event_log(text: str, surroundings: Surroundings) -> str:
    """Read where the event log goes: `-`, nothing, or the absolute path of a file."""
    if text.startswith("syslog"):
        raise WrongValue(f"{shown(text)} is not for events; twistd --syslog does that, - is right")
    return values.request_log(text, surroundings)
