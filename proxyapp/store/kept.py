"""Keeps long bodies open for a moment, so that who asks for one again needn't wait for a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from proxyapp.store.bodies import OpenBody
from proxyapp.store.writing import InThread

# Seconds: what isn't asked for once in that time is closed, and what was evicted gives back its
# room.
ROUND = 1.0
# Descriptors that are worth it; clients need the others.
MOST = 32


class KeptBodies:
    """Bodies by id, each open by a descriptor of its own."""

    def __init__(self, in_thread: InThread, clock: IReactorTime) -> None:
        self._in_thread = in_thread
        self._clock = clock
        self._bodies: dict[int, OpenBody] = {}
        self._used: set[int] = set()  # in this round
        self._call: IDelayedCall | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<KeptBodies {len(self._bodies)}>"

    def again(self, number: int) -> OpenBody | None:
        """Return the body *number*, open once more; None where it isn't kept."""
        kept = self._bodies.get(number)
        if kept is None:
            return None
        self._used.add(number)
        return _duplicate(kept)

    def keep(self, number: int, body: OpenBody) -> None:
        """Let the body *number*, which somebody else has opened and will close, stay open."""
        if number in self._bodies or len(self._bodies) >= MOST or self._is_closed:
            return
        kept = _duplicate(body)
        if kept is None:
            return
        self._bodies[number] = kept
        self._used.add(number)
        if self._call is None:
            self._call = self._clock.callLater(ROUND, self._close_unused)

    def _close_unused(self) -> None:
        unused = [number for number in self._bodies if number not in self._used]
        self._used.clear()
        if unused:
            bodies = [self._bodies.pop(number) for number in unused]
            # The last descriptor of a long file that was evicted: a disk takes a while to free it.
            self._in_thread(partial(_close, bodies))
        self._call = self._clock.callLater(ROUND, self._close_unused) if self._bodies else None

    def close(self) -> None:
        """Close all, and keep no more."""
        self._is_closed = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        _close(list(self._bodies.values()))
        self._bodies.clear()


def _duplicate(body: OpenBody) -> OpenBody | None:
    try:
        return OpenBody(os.dup(body.descriptor), body.offset)
    except OSError:  # none is left
        return None


def _close(bodies: Sequence[OpenBody]) -> None:
    for body in bodies:
        with suppress(OSError):
            body.close()
