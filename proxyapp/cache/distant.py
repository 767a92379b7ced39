"""What another process fetches, followed from here: its body grows in the store that is shared."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from proxyapp import errors
from proxyapp.cache.followed import Followed
from proxyapp.cache.member import Member, wake
from proxyapp.exchange import Reply
from proxyapp.net.task import Wakeup
from proxyapp.rules.caching.stored import Stored
from proxyapp.store.claims import State
from proxyapp.store.sharing import DistantBody, Sharing

# How often is looked how far the other process is, in seconds.
_LOOK = 0.05


class DistantGrowing(Followed):
    """Content that another process's fetch brings, for as long as that *is_growing*."""

    def __init__(
        self,
        body: DistantBody,
        is_growing: Callable[[], bool],
        clock: IReactorTime,
        on_over: Callable[[], None],
    ) -> None:
        super().__init__(body.stored, body.stored.total, 0, body.descriptor, body.offset)
        self._body = body
        self._is_growing = is_growing
        self._clock = clock
        self._on_over = on_over
        self._call: IDelayedCall | None = None

    def begin(self) -> None:
        """Look how far it is from now on, until nobody reads it any more."""
        if self._readers:
            self._look()
        else:
            self._end(errors.ClientGone("nobody reads it"))

    def leave(self, reader: object) -> None:
        """See Followed."""
        super().leave(reader)
        if not self._readers and not self.is_over:
            self._end(errors.ClientGone("nobody reads it any more"))

    def _look(self) -> None:
        is_growing = self._is_growing()
        end = self._body.end()
        if end > self.end:
            self.end = end
            self._grew()
        if self.is_over:
            return  # the last reader has what it wanted
        if is_growing:
            self._call = self._clock.callLater(_LOOK, self._look)
            return
        if self._body.is_finished():
            self.total = self.end
            self._end(None)
        else:
            self._end(errors.ResponseIncomplete("the process that fetched this has given up"))

    def _end(self, error: errors.ExchangeError | None) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        super()._end(error)
        self._on_over()


class DistantFill:
    """See Fill: the fetch of *key* by another process, for as long as it goes on.

    Without an outcome it is time to look into the store again, or to fetch it oneself; if it
    *is_forsaken*, together with others. *seconds* is the time of day.
    """

    def __init__(
        self,
        key: bytes,
        sharing: Sharing,
        clock: IReactorTime,
        seconds: Callable[[], float],
        on_end: Callable[[bytes, DistantFill], None],
    ) -> None:
        self.outcome: DistantGrowing | None = None
        self.over = Wakeup()
        self.is_forsaken = False
        self.began_at = seconds()
        self._key = key
        self._sharing = sharing
        self._clock = clock
        self._seconds = seconds
        self._on_end = on_end
        self._members: list[Member] = []
        self._call: IDelayedCall | None = None
        self._is_settled = False

    def __repr__(self) -> str:
        return f"<DistantFill {self._key!r} {self.outcome!r} for {len(self._members)}>"

    @property
    def is_open(self) -> bool:
        """See Fill."""
        return not self._is_settled or (self.outcome is not None and not self.outcome.is_over)

    def as_it_came(self, stored: Stored) -> Stored:
        """See Fill; nobody here is the one that it came for."""
        return stored

    def join(self, reply: Reply) -> Member:
        """See Fill."""
        member = Member(reply)
        self._members.append(member)
        if self._is_settled:
            member.settled.happen()
        elif self._call is None:
            self._look()
        return member

    def leave(self, member: Member) -> None:
        """See Fill."""
        self._members.remove(member)
        if not self._members and not self._is_settled:
            self._settle()

    def _look(self) -> None:
        sight = self._sharing.claims.look(self._key)
        if sight.state is State.AWAITED:
            self._call = self._clock.callLater(_LOOK, self._look)
            return
        self.is_forsaken = sight.state is State.FREE
        body = self._body(sight.body) if sight.state is State.GROWING else None
        if body is not None:
            claims, key = self._sharing.claims, self._key
            self.outcome = DistantGrowing(
                body, lambda: claims.look(key) == sight, self._clock, self._over
            )
        self._settle()
        if self.outcome is not None:
            # Whoever waits for it follows it in this turn: the one that looks first does so later.
            self._clock.callLater(0, self.outcome.begin)

    def _body(self, number: int) -> DistantBody | None:
        """Return the body that grows as *number*; None where that may be old already."""
        body, outdated = self._sharing.body(number), self._sharing.outdated
        if body is not None and outdated.is_since(self._key, body.stored.asked_at, self._seconds()):
            os.close(body.descriptor)
            return None
        return body

    def _over(self) -> None:
        self._on_end(self._key, self)

    def _settle(self) -> None:
        self._is_settled = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self.outcome is None:
            self._over()
        for member in tuple(self._members):
            if not member.settled.has_happened:
                wake(member.settled)
