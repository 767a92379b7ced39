"""One fetch from the origin for all who want the same: what comes is stored, passed on, or both.

Whoever waits for it learns what came as soon as the response head says so. What may not be shared
goes to the one client that it was asked for, and the others are told to ask for themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp import errors, stream
from proxyapp.cache.growing import Growing
from proxyapp.cache.intake import AskAgain, Intake
from proxyapp.cache.member import Member, wake
from proxyapp.cache.taking import Taking
from proxyapp.cache.wanted import Means, Outcome, Passed, Ready, Wanted
from proxyapp.exchange import Reply, Request
from proxyapp.net.task import Task, Wakeup
from proxyapp.net.timers import NEVER, Sweep
from proxyapp.rules.caching import parts
from proxyapp.rules.caching.stored import Stored
from proxyapp.store.claims import Claim
from proxyapp.wire import headers
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead

_log = Logger()
# An interrupted fetch is taken up again for this long without progress, in seconds.
_PATIENCE = 600.0
_LONGEST_PAUSE = 10.0
# What is left of a fetch that nobody waits for any more is fetched if it is no more than this.
_LITTLE = 1 << 20
# It is worked out anew for each answer.
_AGE = frozenset((b"age",))


class Fill:
    """A fetch of what is *wanted*, with those who wait for it; *on_end* is told when it is over.

    It ends early once nobody waits for it any more, unless *is_kept_up*. By *claim* it tells other
    processes how far it is.
    """

    def __init__(
        self,
        means: Means,
        wanted: Wanted,
        on_end: Callable[[Fill], None],
        is_kept_up: bool = False,
        claim: Claim | None = None,
    ) -> None:
        self.wanted = wanted
        self.outcome: Outcome | None = None
        self.over = Wakeup()
        self.began_at = means.seconds()
        self._means = means
        self._on_end = on_end
        self._is_kept_up = is_kept_up
        self._claim = claim
        self._members: list[Member] = []
        self._intake = Intake(means, wanted, self._leader, self._settle)
        self._task: Task | None = None
        self._resumption: Resumption | None = None

    def __repr__(self) -> str:
        return f"<Fill {self.wanted.place.key!r} {self.outcome!r} for {len(self._members)}>"

    @property
    def is_open(self) -> bool:
        """Can somebody else still join?"""
        outcome = self.outcome
        if isinstance(outcome, Growing):
            return outcome.is_kept and not outcome.is_over
        return outcome is None

    def as_it_came(self, stored: Stored) -> Stored:
        """Return *stored* for the one that it was fetched for, with what isn't stored of it."""
        came = self._intake.came
        if came is NO_FIELDS:
            return stored
        return replace(stored, fields=headers.of_lines(came.lines_without(_AGE)))

    def join(self, reply: Reply) -> Member:
        """Wait for it; the first who does begins it."""
        member = Member(reply)
        self._members.append(member)
        if self._task is None:
            self.begin()
        elif self.outcome is not None:
            member.settled.happen()
        return member

    def leave(self, member: Member) -> None:
        """*member* is gone, or has what it wanted."""
        self._members.remove(member)
        if self._task is not None and self._is_useless():
            # Not at once: who leaves may be deep inside the connection that the fetch reads from,
            # or the fetch itself may be at work.
            self._means.clock.callLater(0, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None and self._is_useless():
            self._task.cancel()

    def _is_useless(self) -> bool:
        """Does it go on for nobody?"""
        outcome, members = self.outcome, self._members
        if isinstance(outcome, Ready):
            return False
        if isinstance(outcome, Passed):
            return all(member.reply is not outcome.reply for member in members)
        if members or (outcome is not None and _is_nearly_done(outcome)):
            return False
        return not (self._is_kept_up and (outcome is None or outcome.is_kept))

    def _leader(self) -> Reply | None:
        return self._members[0].reply if self._members else None

    def begin(self) -> None:
        """Ask the origin."""
        self._task = Task(self._run(), self._ended)
        self._task.resume()

    async def _run(self) -> None:
        asking = self.wanted.asking
        while True:
            self._intake.asked_at = self._means.seconds()
            request = _asked(self.wanted.request, asking)
            try:
                await self._means.origin.respond(request, Taking(self._intake, self._leader()))
                self._intake.check()
            except AskAgain:
                asking = self.wanted.afresh().asking
            except errors.OriginFault as error:
                again = self._again()
                if again is None or self._resumption is None:
                    raise
                asking = again
                await self._resumption.pause(error)
            else:
                return

    def _again(self) -> RequestHead | None:
        """Return what to ask for to go on after an interruption; None where nothing can be done."""
        growing = self._intake.growing
        if growing is None or not growing.is_kept or growing.is_over:
            return None
        if not (growing.has_readers or self._is_kept_up or _is_nearly_done(growing)):
            return None
        if self._resumption is None:
            self._resumption = Resumption(self._means.sweep)
        if not self._resumption.is_worthwhile(growing.end):
            return None
        return parts.continuing(self.wanted.request.head, growing.stored, growing.end)

    def _ended(self, outcome: Exception | None) -> None:
        self._task = None
        error = None if outcome is None else _as_error(outcome)
        try:
            self._intake.end(error)
        except Exception:  # whoever waits has to hear of the end all the same
            _log.failure("a mistake of ours kept a response from being stored")
        self._on_end(self)
        self._release()
        if self.outcome is None:
            self._tell(error or errors.InternalError("the origin's answer got lost"))
        self.over.happen(error)

    def _release(self) -> None:
        """Let other processes look into the store, once the index has what came."""
        claim, self._claim = self._claim, None
        if claim is None:
            return
        sharing = self._means.store.sharing
        if self.outcome is None or isinstance(self.outcome, Passed) or sharing is None:
            claim.release()
        else:
            sharing.flushed().addBoth(lambda _: claim.release())

    def _settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if self._claim is not None:
            body = outcome.followable if isinstance(outcome, Growing) else None
            if body is not None:
                self._claim.growing(body)
            elif not isinstance(outcome, Ready):
                self._claim.alone()
        self._tell(None)

    def _tell(self, error: errors.ExchangeError | None) -> None:
        for member in tuple(self._members):
            if not member.settled.has_happened:
                wake(member.settled, error)


def _is_nearly_done(growing: Growing) -> bool:
    if growing.total is None or not growing.is_kept:
        return False
    left = growing.total - growing.end
    return left <= max(_LITTLE, growing.total // 4)


def _asked(request: Request, head: RequestHead) -> Request:
    """Return *request* with another *head* and no content; quicker than dataclasses.replace."""
    framing, ttl = request.framing, request.ttl
    return Request(head, request.target, request.client, framing, stream.EMPTY, ttl)


class Resumption:
    """Says how long an interrupted fetch pauses, and whether it is to go on at all."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._pause = 0.0
        self._moved_at = sweep.now
        self._position = -1
        self._wakeup = Wakeup()
        self.deadline = NEVER
        self.slot = 0

    def __repr__(self) -> str:
        return f"<Resumption at {self._position}, next pause {self._pause} s>"

    def is_worthwhile(self, position: int) -> bool:
        """Has it come further than *position* since the last time, or not long ago?"""
        if position != self._position:
            self._position, self._moved_at, self._pause = position, self._sweep.now, 0.0
        return self._sweep.now - self._moved_at < _PATIENCE

    async def pause(self, error: errors.ExchangeError) -> None:
        """Wait for a while, longer each time."""
        self._pause = min(max(1.0, self._pause * 2), _LONGEST_PAUSE)
        _log.debug("a fetch was interrupted and goes on: {reason}", reason=error.reason)
        self._wakeup = Wakeup()
        self._sweep.set(self, self._pause)
        try:
            await self._wakeup
        finally:
            self._sweep.drop(self)

    def expire(self) -> None:
        """See Watched."""
        self._wakeup.happen()


def _as_error(error: Exception) -> errors.ExchangeError:
    if isinstance(error, errors.ExchangeError):
        return error
    if isinstance(error, CancelledError):
        return errors.ClientGone("nobody waits for this response any more")
    _log.failure("a mistake of ours ended a fetch", Failure(error))
    return errors.InternalError("an error in the proxy itself; its event log has the details")
