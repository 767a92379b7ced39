"""Times as the request log writes them, in the local zone."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import NamedTuple

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Second(NamedTuple):
    """A second, in the ways it's written; strftime would speak the language of the locale."""

    common: str
    rfc3339: str
    offset: str


@functools.lru_cache(maxsize=16)
def second(second: int) -> Second:
    """Return *second*, since the epoch, in the local zone; a busy one is rendered once."""
    local = datetime.fromtimestamp(second).astimezone()
    text = local.isoformat()
    common = f"{local:%d}/{_MONTHS[local.month - 1]}/{local:%Y:%H:%M:%S %z}"
    return Second(common, text[:19], text[19:])


def rfc3339(started: float) -> str:
    """Return *started*, in seconds since the epoch, to the millisecond (RFC 3339)."""
    whole, milliseconds = divmod(round(started * 1000), 1000)
    text = second(whole)
    return f"{text.rfc3339}.{milliseconds:03d}{text.offset}"
