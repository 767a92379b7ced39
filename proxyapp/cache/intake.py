"""Judges what comes of a fetch, and says where its body goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxyapp import errors, stream
from proxyapp.cache import serving
from proxyapp.cache.alone import is_for_one, response_of
from proxyapp.cache.bodies import GrowingBody
from proxyapp.cache.entry import Entry
from proxyapp.cache.growing import Growing
from proxyapp.cache.sinks import NOWHERE, GrowingSink, Tee
from proxyapp.cache.wanted import Means, Outcome, Passed, Ready, Wanted
from proxyapp.exchange import Reply
from proxyapp.rules.caching import arrival, parts, storing, validation
from proxyapp.rules.caching.arrival import Fate
from proxyapp.rules.caching.stored import Stored
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
        self.asked_at = means.seconds()
        self.growing: Growing | None = None
        self.came = NO_FIELDS  # the fields of what is stored, as they came
        self._tee: Tee | None = None
        self._means = means
        self._wanted = wanted
        self._leader = leader
        self._settle = settle

    def __repr__(self) -> str:
        return f"<Intake of {self._wanted.place.key!r}: {self.growing!r}>"

    def end(self, error: errors.ExchangeError | None) -> None:
        """No more comes, because of *error* if there is one."""
        growing, tee = self.growing, self._tee
        if growing is not None and not growing.is_over:
            if error is None:
                growing.finish()
            else:
                growing.fail(error)
        if tee is not None:
            tee.end(is_complete=error is None)
        # The fill's own: the garbage collector would have to find the circle.
        del self._leader, self._settle

    def take(self, head: OutgoingResponse, framing: Framing, whole: bytes | None) -> stream.Sink:
        """See Taker; raises an OriginFault where the response is of no use."""
        wanted, now = self._wanted, self._means.seconds()
        if wanted.entry is None and self.growing is None:
            # As it is with most.
            if is_for_one(wanted.request, head, wanted.place):
                return self._pass_on(head, framing, whole)
        response = response_of(head)
        if self.growing is not None:
            return self._take_rest(self.growing, response)
        request, policy, entry = wanted.request, wanted.place.rule.policy, wanted.entry
        fate = arrival.fate(request.head, response, policy, request.ttl, wanted.present, now)
        if fate is Fate.STALE:
            raise errors.BadResponse(f"the origin answers with {response.status}")
        if entry is not None and fate in (Fate.FRESHEN, Fate.CONTINUE, Fate.ANOTHER):
            return self._join(entry, response, fate)
        if entry is not None and fate is Fate.PASS:
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
        self.growing = growing = Growing(body, total)
        self._settle(growing)
        return GrowingSink(growing, self._means.stall_timeout)

    def _store_part(
        self, stored: Stored, response: ResponseHead, head: OutgoingResponse, framing: Framing
    ) -> stream.Sink | None:
        """Store the part that the leader asked for, and pass it on."""
        part, store, entry = parts.sent_part(response), self._means.store, self._wanted.entry
        if part is None or not arrival.is_storable_part(stored, response):
            return None
        if entry is not None and not parts.is_same(entry.stored, response):
            store.remove(entry)
            entry = None
        body = store.begin(self._wanted.place.key, stored, part.total, entry, part.start)
        if body is None:
            return None
        self._tee = Tee(body, self._pass_on(head, framing))
        return self._tee

    def _join(self, entry: Entry, response: ResponseHead, fate: Fate) -> stream.Sink:
        """Take what says something of *entry*, or adds to it."""
        store = self._means.store
        if fate is Fate.FRESHEN and validation.is_about(entry.stored, response):
            self._settle(Ready(self._freshened(entry, response), was_there=True))
            return NOWHERE
        part = parts.sent_part(response)
        if fate is Fate.CONTINUE and part is not None:
            body = store.begin(self._wanted.place.key, entry.stored, part.total, entry, part.start)
            sink = self._grow(body, part.total)
            if sink is not None:
                return sink
        else:
            store.remove(entry)
        raise AskAgain("what is stored isn't of what the origin has now")

    def _freshened(self, entry: Entry, response: ResponseHead) -> Entry:
        """Return *entry* as a 304 updates it; it answers this once even if it has to go."""
        wanted, store, now = self._wanted, self._means.store, self._means.seconds()
        request, policy = wanted.request, wanted.place.rule.policy
        stored = validation.updated(entry.stored, response, self.asked_at, now, policy)
        head = ResponseHead(stored.status, stored.reason, 1, stored.fields)
        if storing.refusal(request.head, head, policy, stored.ttl):
            store.remove(entry)
            return replace(entry, stored=stored)
        return store.update(entry, stored)

    def _take_rest(self, growing: Growing, response: ResponseHead) -> stream.Sink:
        """Take what follows an interruption (RFC 9110 section 15.3.7.3)."""
        fate = arrival.fate_of_rest(growing.stored, growing.end, response)
        if fate is Fate.STALE:
            raise errors.BadResponse(f"the origin can't go on: {response.status}")
        if fate is Fate.ANOTHER:
            growing.abandon()
            raise errors.ResponseIncomplete("the origin's content changed inside the response")
        skip = growing.end if fate is Fate.REPEAT else 0
        return GrowingSink(growing, self._means.stall_timeout, skip)

    def _pass_on(
        self, head: OutgoingResponse, framing: Framing, whole: bytes | None = None
    ) -> stream.Sink:
        """Let the leader have it as it comes; raises ClientGone if there is none any more."""
        leader = self._leader()
        if leader is None:
            raise errors.ClientGone("nobody waits for this response any more")
        self._settle(Passed(leader))
        passed = serving.forwarded(head, is_stored=False)
        if whole is None:
            return leader.begin(passed, framing)
        leader.pass_on(passed, whole)
        return NOWHERE
