"""What each client has used of its quotas: counted as it happens, written down in batches.

Accounts are in memory, so counting is an addition; the ledger is behind by FLUSH_DELAY at most, and
is brought up to date in a thread and at the stop.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, time
from typing import NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyapp.limits.ledger import Key, Ledger
from proxyapp.limits.rates import REMEMBERED, Share
from proxyapp.rules.buckets import Span, span_of
from proxyapp.rules.question import Period

_T = TypeVar("_T")

# Seconds of counting that a crash may cost.
FLUSH_DELAY = 3.0
# After a failure, such as a full disk, there is no hurry.
RETRY_DELAY = 60.0

_log = Logger()


class InThread(Protocol):
    """Runs *job* in a thread, as deferToThread does."""

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        """Return what fires, in the reactor's thread, with what *job* returned or raised."""


class Running(NamedTuple):
    """The period that is running; when it began and ends, in seconds since 1970."""

    span: Span
    begins: float
    ends: float


class Account:
    """What *share* has *used* in the period that is running; see Quotas.account."""

    __slots__ = ("_quotas", "_running", "key", "period", "share", "used")

    def __init__(self, quotas: Quotas, share: Share, period: Period) -> None:
        self.share = share
        self.period = period
        self.used = 0
        self._quotas = quotas
        self._enter(quotas.running(period))

    def __repr__(self) -> str:
        return f"<Account of {self.share.who} under {self.share.name}: {self.used} bytes>"

    @property
    def renewal(self) -> datetime:
        """When the next period begins, local time."""
        return self._running.span.ends

    @property
    def seconds_left(self) -> float:
        """In how many seconds that is."""
        return self._running.ends - self._quotas.now()

    def _enter(self, running: Running) -> None:
        self._running = running
        begins = running.span.begins.isoformat()
        self.key = Key(*self.share, self.period, begins, running.ends)

    def renew(self) -> None:
        """Begin at 0 if another period has begun."""
        running = self._quotas.running(self.period)
        if running is not self._running:
            self.used = 0
            self._enter(running)

    def count(self, amount: int) -> None:
        """Add *amount* bytes."""
        self.renew()
        self.used += amount
        self._quotas.note(self.key, amount)


class Quotas:
    """The accounts of all clients. *seconds* is the time of day; *clock* runs the writing."""

    def __init__(
        self,
        ledger: Ledger,
        in_thread: InThread,
        clock: IReactorTime,
        seconds: Callable[[], float],
    ) -> None:
        """Take over *ledger*, and what it says was used before. Raises LedgerError."""
        self.now = seconds
        self._ledger = ledger
        self._in_thread = in_thread
        self._clock = clock
        self._running: dict[Period, Running] = {}
        self._accounts: OrderedDict[tuple[Share, Period], Account] = OrderedDict()
        self._unsaved: dict[Key, int] = {}
        self._call: IDelayedCall | None = None
        self._is_writing = False
        self._settled: Deferred[None] | None = None
        self._is_closed = False
        self._has_failed = False
        for key, used in reversed(ledger.load(seconds(), REMEMBERED)):
            self._take_over(key, used)

    def __repr__(self) -> str:
        return f"<Quotas of {len(self._accounts)}, {len(self._unsaved)} unsaved>"

    def running(self, period: Period) -> Running:
        """Return the period that is running: the same object as long as it is the same one."""
        now = self.now()
        found = self._running.get(period)
        if found is None or not found.begins <= now < found.ends:
            span = span_of(period, datetime.fromtimestamp(now))
            begins = datetime.combine(span.begins, time())
            found = Running(span, begins.timestamp(), span.ends.timestamp())
            self._running[period] = found
        return found

    def account(self, share: Share, period: Period) -> Account:
        """Return the account of *share* for *period*, as it is now."""
        account = self._accounts.get((share, period))
        if account is None:
            account = self._open(share, period)
            self.note(account.key, 0)  # asks the ledger
        else:
            account.renew()
            self._accounts.move_to_end((share, period))
        return account

    def _open(self, share: Share, period: Period) -> Account:
        account = self._accounts[share, period] = Account(self, share, period)
        if len(self._accounts) > REMEMBERED:
            self._accounts.popitem(last=False)  # the ledger knows what it had used
        return account

    def _take_over(self, key: Key, used: int) -> None:
        """Begin with what the ledger knows."""
        period: Period
        for period in ("day", "week", "month"):
            if period == key.period:
                account = self._open(Share(key.rule, key.who), period)
                account.used = used if account.key.begins == key.begins else 0

    # Writing.

    def note(self, key: Key, amount: int) -> None:
        """Let *amount* bytes be added in the ledger."""
        self._unsaved[key] = self._unsaved.get(key, 0) + amount
        self._write_after(FLUSH_DELAY)

    def _write_after(self, delay: float) -> None:
        if self._call is None and not self._is_writing and not self._is_closed:
            self._call = self._clock.callLater(delay, self._write_now)

    def _write_now(self) -> None:
        self._call = None
        Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        """Write down what isn't yet; what can't be written waits for the next time."""
        amounts, self._unsaved = self._unsaved, {}
        items, now = list(amounts.items()), self.now()
        self._is_writing = True
        try:
            totals = await self._in_thread(lambda: self._ledger.add(items, now))
        except sqlite3.Error:
            self._put_back(items)
        else:
            self._has_failed = False
            for key, total in zip(amounts, totals, strict=True):
                self._learn(key, total)
        self._is_writing = False
        if self._settled is not None:
            self._settled.callback(None)
        elif self._unsaved:
            self._write_after(RETRY_DELAY if self._has_failed else FLUSH_DELAY)

    def _learn(self, key: Key, total: int) -> None:
        """The ledger has *total*; other processes may have added to it."""
        for period in self._running:
            account = self._accounts.get((Share(key.rule, key.who), period))
            if account is not None and account.key == key:
                account.used = total + self._unsaved.get(key, 0)

    def _put_back(self, items: list[tuple[Key, int]]) -> None:
        if not self._has_failed:  # once, not every minute
            _log.failure("what was used of quotas can't be written down")
        self._has_failed = True
        for key, amount in items[-REMEMBERED:]:
            self._unsaved[key] = self._unsaved.get(key, 0) + amount

    async def close(self) -> None:
        """Write down what isn't yet, and close the ledger."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._is_writing:
            self._settled = Deferred()
            await self._settled
            self._settled = None
        if self._unsaved:
            await self._write()
        await self._in_thread(self._ledger.close)
