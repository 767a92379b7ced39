"""Whether a client may have another exchange under a rule's limits, and what it may take in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from proxyapp import errors
from proxyapp.limits.ledger import Ledger
from proxyapp.limits.quota import Account, InThread, Quotas
from proxyapp.limits.rates import Bandwidths, RequestRates, Share
from proxyapp.limits.shared import MakeBucket, own_bucket
from proxyapp.net import transport as net_transport
from proxyapp.net.throttle import MIN_STEP, Pacer, Throttle
from proxyapp.net.transport import Transport
from proxyapp.net.valve import UNLIMITED, Valve, Wake
from proxyapp.rules.buckets import retry_after, size_text
from proxyapp.rules.question import Decision, Question, RuleLimits
from proxyapp.rules.record import Record

# Ends the exchange with the error.
End = Callable[[errors.ExchangeError], None]


class Permit:
    """What one exchange may take; see valve.Gate.

    All bytes of the client's connection count, in both directions, from `begin` to `finish`: heads
    and framing too, and under TLS what TLS makes of them. What is left to be sent then still does.
    """

    __slots__ = (
        "_account",
        "_clock",
        "_decision",
        "_is_over",
        "_on_exhausted",
        "_quota",
        "_throttle",
        "_transport",
        "_valve",
    )

    def __init__(
        self,
        decision: Decision,
        throttle: Throttle | None,
        account: Account | None,
        quota: int,
        clock: IReactorTime,
    ) -> None:
        """Share *throttle*, and *quota* bytes of *account*."""
        self._decision = decision
        self._throttle = throttle
        self._account = account
        self._quota = quota
        self._clock = clock
        self._valve: Valve | None = None
        self._transport: Transport | None = None
        self._on_exhausted: End | None = None
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Permit by {self._decision.rule}>"

    def begin(self, transport: Transport, arrived: int, on_exhausted: End) -> None:
        """Count and hold back what the client's connection moves from now on.

        *arrived* bytes of the request's body came along with its head. *on_exhausted* is called
        once, in a later turn of the loop, with QuotaExhausted.
        """
        self._on_exhausted = on_exhausted
        self._transport = transport
        self._valve = net_transport.set_gate(transport, self)
        if arrived and self._valve is not None:
            self.spend(arrived)

    def finish(self, record: Record, is_cut: bool = False) -> None:
        """The exchange is over, and *record* says what it moved.

        Where the connection *is_cut*, it is held back to its end: who answers may not have heard
        yet.
        """
        self._is_over = True
        self._on_exhausted = None
        if self._valve is None:
            # A connection that can't be held back, such as a Unix socket's, is counted at its end.
            self.spend(record.sent + record.received)
        elif self._transport is not None and not is_cut:
            net_transport.drop_gate(self._transport)
        self._transport = None

    # Gate.

    def allow(self, wake: Wake) -> int:
        """See Gate."""
        step = UNLIMITED if self._throttle is None else self._throttle.allow(wake)
        if self._account is not None:
            # Past the quota by a little at most; never to nothing, or an end would wait for ever.
            step = min(step, max(self._quota - self._account.used, MIN_STEP))
        return step

    def spend(self, amount: int) -> None:
        """See Gate."""
        if self._throttle is not None:
            self._throttle.spend(amount)
        account = self._account
        if account is not None:
            account.count(amount)
            if account.used >= self._quota and not self._is_over:
                self._is_over = True
                # Not in the middle of a step: the end takes connections and pipes away.
                self._clock.callLater(0, self._exhausted)

    def _exhausted(self) -> None:
        if self._on_exhausted is not None and self._account is not None:
            self._on_exhausted(quota_exhausted(self._decision, self._account))


class Limits:
    """Admits exchanges; quotas hold from `start` on, where *open_quotas* says how they are kept."""

    def __init__(
        self,
        clock: IReactorTime,
        open_quotas: Callable[[], Quotas] | None = None,
        make: MakeBucket = own_bucket,
    ) -> None:
        self._clock = clock
        self._open_quotas = open_quotas
        self._quotas: Quotas | None = None
        self._pacer = Pacer(clock)
        self._rates = RequestRates(self._pacer, make)
        self._bandwidths = Bandwidths(self._pacer, make)

    def __repr__(self) -> str:
        return f"<Limits {self._rates!r}, {self._bandwidths!r}, {self._quotas!r}>"

    def admit(self, question: Question, decision: Decision) -> Permit | None:
        """Return what an allowed exchange has to keep to, if anything.

        Raises QuotaExhausted and TooManyRequests.
        """
        limits = decision.limits
        if limits is None:
            return None
        who = question.client if question.user is None else f"user {question.user}"
        share = Share(limits.name, who)
        account = self._account(share, limits)
        if account is not None and account.used >= limits.quota_bytes:
            raise quota_exhausted(decision, account)
        if limits.requests_per_second:
            seconds = self._rates.wait(share, limits.requests_per_second)
            if seconds:
                raise _too_many(decision, limits.requests_per_second, seconds)
        throttle = None
        if limits.bytes_per_second:
            throttle = self._bandwidths.throttle(share, limits.bytes_per_second)
        if throttle is None and account is None:
            return None
        return Permit(decision, throttle, account, limits.quota_bytes, self._clock)

    def _account(self, share: Share, limits: RuleLimits) -> Account | None:
        if self._quotas is None or not limits.quota_bytes:
            return None
        return self._quotas.account(share, limits.quota_period)

    def start(self) -> None:
        """Begin to keep quotas; raises LedgerError.

        A file that is open must not go through a fork, or belong to who started us.
        """
        if self._open_quotas is not None:
            self._quotas = self._open_quotas()

    async def stop(self) -> None:
        """Hold nobody back any more, and write down what was counted."""
        self._pacer.stop()
        if self._quotas is not None:
            await self._quotas.close()


def build_limits(
    state_dir: Path | None,
    clock: IReactorTime,
    in_thread: InThread,
    seconds: Callable[[], float],
    make: MakeBucket = own_bucket,
) -> Limits:
    """Return limits that keep quotas in *state_dir*; it is None where no rule has a quota.

    *seconds* is the time of day, and *make* makes what rates are counted in. The folder is made at
    the start, if it isn't there.
    """
    if state_dir is None:
        return Limits(clock, make=make)
    folder = state_dir
    return Limits(clock, lambda: Quotas(Ledger(folder), in_thread, clock, seconds), make)


def quota_exhausted(decision: Decision, account: Account) -> errors.QuotaExhausted:
    """Return the error that says that *account* is empty, and when it is renewed."""
    limits = decision.limits
    quota = f"{size_text(limits.quota_bytes)} a {limits.quota_period}" if limits else "the quota"
    renewal = account.renewal
    when = f"{renewal:%A}, {renewal.day} {renewal:%B %Y} at {renewal:%H:%M}"
    return errors.QuotaExhausted(
        f"{decision.rule} allows {quota}, and that is used up; it is renewed on {when}",
        ((b"Retry-After", retry_after(account.seconds_left)),),
        decision.rule,
        decision.message,
    )


def _too_many(decision: Decision, rate: float, seconds: float) -> errors.TooManyRequests:
    often = f"{rate:g} requests a second" if rate >= 1 else f"{rate * 60:g} requests a minute"
    return errors.TooManyRequests(
        f"{decision.rule} allows {often}; wait a moment and try again",
        ((b"Retry-After", retry_after(seconds)),),
        decision.rule,
        decision.message,
    )
