"""Judges what comes of a fetch, and says where its body goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from proxyapp import errors, stream
from proxyapp.cache import serving
from proxyapp.cache.alone import is_for_one, response_of
from proxyapp.cache.growing import Growing
from proxyapp.cache.sinks import NOWHERE, GrowingSink, Tee
from proxyapp.cache.wanted import Means, Outcome, Passed, Ready, Wanted, is_worth_keeping
from proxyapp.exchange import Reply
from proxyapp.rules.caching import arrival, parts, storing, validation
from proxyapp.rules.caching.arrival import Fate
from proxyapp.rules.caching.rules import OnRange
from proxyapp.rules.caching.stored import Stored
from proxyapp.store.bodies import GrowingBody
from proxyapp.store.entry import Entry
from proxyapp.wire.framing import Framing, Kind
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import OutgoingResponse, ResponseHead


class AskAgain(errors.OriginFault):
    """What was to be continued isn't what the origin has now."""


class Intake:
    """What comes of the fetch of what is *wanted*; *settle* is told what it is.

    *leader* returns the reply of the client that is served if only one may be.
    """

    def __init__(
        self,
        means: Means,
        wanted: Wanted,
        leader: Callable[[], Reply | None],
        settle: Callable[[Outcome], None],
    ) -> None:
        now = self.asked_at = means.seconds()
        self.growing: Growing | None = None
        self.came = NO_FIELDS  # the fields of what is stored, as they came
        self._tee: Tee | None = None
        self._means = means
        self._wanted = wanted
        self._leader = leader
        self._settle = settle
        policy = wanted.place.rule.policy
        self._fwd = serving.forwarding(wanted.request.head, wanted.entry, policy, now)

    def __repr__(self) -> str:
        return f"<Intake of {self._wanted.place.key!r}: {self.growing!r}>"

    def end(self, error: errors.ExchangeError | None) -> None:
        """No more comes, because of *error* if there is one."""
        growing, tee, means, place = self.growing, self._tee, self._means, self._wanted.place
        if growing is not None and not growing.is_over:
            if not is_worth_keeping(means, place, growing.stored, is_whole=error is None):
                growing.abandon(error)
            elif error is None:
                growing.finish()
            else:
                growing.fail(error)
        if tee is not None:
            is_kept = is_worth_keeping(means, place, tee.stored, is_whole=False)
            tee.end(error is None, is_kept)
        # The fill's own: the garbage collector would have to find the circle.
        del self._leader, self._settle

    def check(self) -> None:
        """Raise ResponseIncomplete where the origin ended before all was there that it promised."""
        growing = self.growing
        if growing is not None and growing.total is not None and growing.end < growing.total:
            raise errors.ResponseIncomplete("the origin sent less than it had promised")

    def take(self, head: OutgoingResponse, framing: Framing, whole: bytes | None) -> stream.Sink:
        """See Taker; raises an OriginFault where the response is of no use."""
        wanted = self._wanted
        if self.growing is not None:
            return self._take_rest(self.growing, response_of(head))
        if wanted.entry is None and is_for_one(wanted.request, head, wanted.place):
            return self._pass_on(head, framing, whole)
        return self._take_news(head, framing, whole)

    def _take_news(
        self, head: OutgoingResponse, framing: Framing, whole: bytes | None
    ) -> stream.Sink:
        """Take what may be stored, or says something of what is stored."""
        response, wanted, now = response_of(head), self._wanted, self._means.seconds()
        request, policy, entry = wanted.request, wanted.place.rule.policy, wanted.entry
        fate = arrival.fate(request.head, response, policy, request.ttl, wanted.present, now)
        if fate is Fate.STALE:
            raise errors.BadResponse(f"the origin answers with {response.status}")
        if entry is not None and fate in (Fate.FRESHEN, Fate.CONTINUE, Fate.ANOTHER):
            return self._join(entry, response, fate)
        if entry is not None and fate is Fate.PASS and arrival.is_news(entry.stored, response):
            self._means.store.invalidate(wanted.place.key)
        sink: stream.Sink | None = None
        self.came = response.fields
        if fate in (Fate.STORE, Fate.STORE_PART):
            stored = storing.stored(request.head, response, policy, self.asked_at, now, request.ttl)
            if fate is Fate.STORE:
                sink = self._store(stored, framing, whole)
            else:
                sink = self._store_part(stored, response, head, framing)
        return sink or self._pass_on(head, framing, whole)

    def _store(self, stored: Stored, framing: Framing, whole: bytes | None) -> stream.Sink | None:
        store, key = self._means.store, self._wanted.place.key
        if whole is not None:
            self._settle(Ready(store.put(key, stored, whole), was_there=False))
            return NOWHERE
        total = framing.length if framing.kind is Kind.LENGTH else None
        return self._grow(store.begin(key, stored, total), total)

    def _grow(self, body: GrowingBody | None, total: int | None) -> stream.Sink | None:
        if body is None:
            return None
        try:
            self.growing = growing = Growing(body, total)
        except OSError:  # no descriptor is left
            with contextlib.suppress(OSError):
                body.abandon()
            return None
        self._settle(growing)
        return GrowingSink(growing, self._means.stall_timeout)

    def _store_part(
        self, stored: Stored, response: ResponseHead, head: OutgoingResponse, framing: Framing
    ) -> stream.Sink | None:
        """Store the part that the leader asked for, and pass it on."""
        part, store, wanted = parts.sent_part(response), self._means.store, self._wanted
        is_wanted = wanted.place.rule.range is not OnRange.PASS
        if part is None or not (is_wanted and arrival.is_storable_part(stored, response)):
            return None
        entry = wanted.entry
        if entry is not None and not parts.is_same(entry.stored, response):
            store.remove(entry)
            entry = None
        if entry is not None:
            stored, _ = self._updated(entry, response)
        sink = self._pass_on(head, framing)
        body = store.begin(wanted.place.key, stored, part.total, entry, part.start)
        if body is None:
            return sink
        self._tee = Tee(body, sink)
        return self._tee

    def _join(self, entry: Entry, response: ResponseHead, fate: Fate) -> stream.Sink:
        """Take what says something of *entry*, or adds to it."""
        store = self._means.store
        if fate is Fate.FRESHEN and validation.is_about(entry.stored, response):
            self._settle(Ready(self._freshened(entry, response), was_there=True))
            return NOWHERE
        part = parts.sent_part(response)
        if fate is Fate.CONTINUE and part is not None:
            stored, may_stay = self._updated(entry, response)
            key = self._wanted.place.key
            body = store.begin(key, stored, part.total, entry, part.start) if may_stay else None
            sink = self._grow(body, part.total)
            if sink is not None:
                return sink
        else:
            store.remove(entry)
        self._wanted = self._wanted.afresh()
        raise AskAgain("what is stored isn't of what the origin has now")

    def _freshened(self, entry: Entry, response: ResponseHead) -> Entry:
        """Return *entry* as a 304 updates it; it answers this once even if it has to go."""
        stored, may_stay = self._updated(entry, response)
        if may_stay:
            return self._means.store.update(entry, stored)
        self._means.store.remove(entry)
        return replace(entry, stored=stored)

    def _updated(self, entry: Entry, response: ResponseHead) -> tuple[Stored, bool]:
        """Return the head of *entry* as *response* updates it, and whether that may be stored."""
        wanted, now = self._wanted, self._means.seconds()
        request, policy = wanted.request, wanted.place.rule.policy
        stored = validation.updated(entry.stored, response, self.asked_at, now, policy)
        head = ResponseHead(stored.status, stored.reason, 1, stored.fields)
        return stored, not storing.refusal(request.head, head, policy, stored.ttl)

    def _take_rest(self, growing: Growing, response: ResponseHead) -> stream.Sink:
        """Take what follows an interruption (RFC 9110 section 15.3.7.3)."""
        fate = arrival.fate_of_rest(growing.stored, growing.end, response)
        if fate is Fate.STALE:
            raise errors.BadResponse(f"the origin can't go on: {response.status}")
        if fate is Fate.ANOTHER:
            error = errors.ResponseIncomplete("the origin's content changed inside the response")
            growing.abandon(error)
            raise error
        part = parts.sent_part(response)
        if growing.total is None and part is not None:
            growing.total = part.total
        skip = growing.end if fate is Fate.REPEAT else 0
        return GrowingSink(growing, self._means.stall_timeout, skip)

    def _pass_on(
        self, head: OutgoingResponse, framing: Framing, whole: bytes | None = None
    ) -> stream.Sink:
        """Let the leader have it as it comes; raises ClientGone if there is none any more."""
        leader = self._leader()
        if leader is None:
            raise errors.ClientGone("nobody waits for this response any more")
        if head.status == 200 and self._wanted.is_of_part:
            # It may be much longer than the part, and nothing is gained by having it all.
            self._settle(Passed(None))
            raise errors.ClientGone("everybody asks for his part himself")
        self._settle(Passed(leader))
        passed = serving.forwarded(head, fwd=self._fwd)
        if whole is None:
            return leader.begin(passed, framing)
        leader.pass_on(passed, whole)
        return NOWHERE
