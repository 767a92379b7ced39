"""Answers requests from the cache, or fetches what isn't there: between a client and its origin."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.cache import serving
from proxyapp.cache.alone import Alone
from proxyapp.cache.distant import DistantFill
from proxyapp.cache.fetches import Fetches
from proxyapp.cache.fill import Fill
from proxyapp.cache.followed import Followed
from proxyapp.cache.following import follow
from proxyapp.cache.serving import Why
from proxyapp.cache.wanted import Means, Passed, Place, Places, Ready
from proxyapp.cache.witness import Witness
from proxyapp.exchange import ANSWERED, Reply, Request
from proxyapp.rules.caching import parts, reuse, varying
from proxyapp.rules.caching.cachestatus import Fwd
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.reuse import Use
from proxyapp.rules.caching.rules import CacheRules
from proxyapp.rules.caching.stored import Stored, Varying
from proxyapp.rules.ranges import ByteRange
from proxyapp.store.entry import Entry, EntryGone
from proxyapp.wire.framing import CHUNKED, NO_BODY, Framing, Kind
from proxyapp.wire.messages import RequestHead

# Who asks for something further ahead than this of what grows fetches it alone, in bytes.
_AHEAD = 8 << 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that isn't answered from memory at once, and why the origin is asked, if it is."""

    request: Request
    reply: Reply
    place: Place
    fwd: Fwd

    @property
    def policy(self) -> Policy:
        """What its rule says."""
        return self.place.rule.policy


class CachingProxy:
    """A responder in front of the one that asks origins, which is that of *means*."""

    def __init__(self, means: Means, rules: CacheRules) -> None:
        self._means = means
        self._places = Places(rules)
        self._fetches = Fetches(means)

    def __repr__(self) -> str:
        return f"<CachingProxy {self._fetches!r}>"

    def respond(self, request: Request, reply: Reply) -> Coroutine[object, object, None]:
        """See Responder.

        Not a coroutine of its own: what is in memory is sent at once.
        """
        head, origin = request.head, request.target.origin
        assert origin is not None
        place = self._places.of(origin, request.target.path)
        is_off = place.rule.policy.is_off or request.framing is not NO_BODY
        is_plain = reuse.is_plain(head)
        if is_off or not (is_plain or reuse.may_look_up(head)):
            _check_origin_may_be_asked(head)
            return self._pass(self._asked(request, reply, place, None), None)
        variants = self._means.store.variants(place.key)
        entry = varying.select(head, variants, _stored_of) if variants else None
        if entry is not None and is_plain and _hit(self._means, entry, reply, place):
            return ANSWERED
        if is_plain and entry is None and self._fetches.is_unshared(place):
            return self._pass_alone(request, reply, place)
        return self._respond(self._asked(request, reply, place, entry), entry)

    def _asked(self, request: Request, reply: Reply, place: Place, entry: Entry | None) -> _Asked:
        now, policy = self._means.seconds(), place.rule.policy
        return _Asked(request, reply, place, serving.forwarding(request.head, entry, policy, now))

    async def _respond(self, asked: _Asked, entry: Entry | None) -> None:
        """Answer with *entry*, which is to be looked at more closely, or with what is fetched."""
        head = asked.request.head
        if entry is not None and await self._answer_from(entry, asked):
            return
        _check_origin_may_be_asked(head)
        if head.method == b"GET":
            await self._fetch(asked, entry)
        else:
            await self._pass(asked, entry)

    # From the store.

    async def _answer_from(self, entry: Entry, asked: _Asked) -> bool:
        """Answer with *entry* if it is good as it is; say whether it was."""
        if asked.place.rule.is_judged_by_origin:
            return False
        now = self._means.seconds()
        use = reuse.judge(asked.request.head, entry.stored, asked.policy, now)
        if use is Use.VALIDATE:
            return False
        if use is Use.STALE_WHILE_REVALIDATE:
            self._fetches.validate(asked.request, asked.place, entry)
        return await _serve(self._means, entry, asked, Why.HIT)

    async def _serve_stale(self, entry: Entry | None, asked: _Asked) -> bool:
        """Answer with *entry* though the origin can't be asked; say whether that could be."""
        if entry is None or asked.reply.has_begun:
            return False
        now = self._means.seconds()
        if not reuse.may_be_stale(asked.request.head, entry.stored, asked.policy, now):
            return False
        return await _serve(self._means, entry, asked, Why.STALE)

    # From the origin.

    async def _pass(self, asked: _Asked, entry: Entry | None) -> None:
        """Let the origin answer, and learn from that; if it fails, a stale *entry* may do."""
        witness = Witness(
            asked.request,
            asked.reply,
            self._means,
            self._places.of,
            self._fetches.outdate,
            asked.fwd,
        )
        is_complete = False
        try:
            await self._means.origin.respond(asked.request, witness)
            is_complete = True
        except errors.OriginFault:
            if not await self._serve_stale(entry, asked):
                raise
        finally:
            witness.end(is_complete)

    async def _pass_alone(self, request: Request, reply: Reply, place: Place) -> None:
        """Let the origin answer this client only, as it was the last time.

        It costs a fourth of what a fetch does that others may join.
        """
        reply.record.cache = Why.MISS
        alone = Alone(request, reply, place, self._means, self._fetches.found_shared)
        is_complete = False
        try:
            await self._means.origin.respond(request, alone)
            is_complete = True
        finally:
            alone.end(is_complete)
            self._fetches.check(place.key, alone.asked_at)

    async def _fetch(
        self,
        asked: _Asked,
        entry: Entry | None,
        variant: Varying = (),
        is_again: bool = False,
    ) -> None:
        """Answer with what the origin says, together with others who want the same *variant*."""
        request, place = asked.request, asked.place
        fill = self._fetches.joinable(request, place, variant)
        why = Why.COLLAPSED
        if fill is None:
            fill = self._fetches.new(request, place, entry, variant)
            why = Why.MISS if isinstance(fill, Fill) else why
        if await self._share(fill, asked, entry, why):
            return
        # What was fetched for others, or elsewhere, may be right for this client all the same.
        entry = varying.select(request.head, self._means.store.variants(place.key), _stored_of)
        if entry is not None and await self._answer_from(entry, asked):
            return
        brought = None if variant else _brought(fill)
        beside = () if brought is None else varying.beside(request.head, brought)
        if beside or (isinstance(fill, DistantFill) and fill.is_forsaken and not is_again):
            await self._fetch(asked, entry, beside, is_again=True)
            return
        alone = self._fetches.alone(request, place)
        if not await self._share(alone, asked, entry, Why.MISS):
            raise errors.InternalError("what was fetched got lost")

    async def _share(
        self, fill: Fill | DistantFill, asked: _Asked, entry: Entry | None, why: Why
    ) -> bool:
        """Answer with what *fill* brings, or a stale *entry*; False where it's not for this one."""
        member = fill.join(asked.reply)
        try:
            await member.settled
            return await self._take(fill, asked, why)
        except errors.OriginFault:
            if not await self._serve_stale(entry, asked):
                raise
            return True
        finally:
            fill.leave(member)

    async def _take(self, fill: Fill | DistantFill, asked: _Asked, why: Why) -> bool:
        outcome, head = fill.outcome, asked.request.head
        if isinstance(outcome, Passed):
            if outcome.reply is not asked.reply:
                return False
            asked.reply.record.cache = Why.MISS
            await fill.over
            return True
        stored, means = _brought(fill), self._means
        if stored is None or varying.select(head, (stored,), _itself) is None:
            return False
        if isinstance(outcome, Ready) and outcome.was_there:
            return await _serve(means, outcome.entry, asked, Why.REVALIDATED)
        if why is Why.MISS:
            stored = fill.as_it_came(stored)
        if isinstance(outcome, Ready):
            return await _serve(means, outcome.entry, asked, why, stored)
        assert isinstance(outcome, Followed)
        # An origin that was asked for a part, and sends all: to ask again would be of no use.
        is_final = isinstance(fill, Fill) and fill.wanted.asking is head
        return await _follow(means, outcome, stored, asked, why, is_final)


def _check_origin_may_be_asked(head: RequestHead) -> None:
    """Raise NotStored where the client wants nothing else (RFC 9111 section 5.2.1.7)."""
    if reuse.is_only_if_cached(head):
        raise errors.NotStored("the client wants it from the cache only, and it isn't there")


def _hit(means: Means, entry: Entry, reply: Reply, place: Place) -> bool:
    """Answer a plain request with *entry* if that is in memory; say whether it was.

    It's a part of what `CachingProxy._answer_from` does, in a fraction of the time.
    """
    content = entry.content
    if content is None:
        return False
    hit = serving.hit(entry, place.rule.policy, means.seconds())
    if hit is None:
        return False
    record = reply.record
    record.cache, record.content_type = Why.HIT, hit.content_type
    reply.pass_on(hit.head, content)
    means.store.used(entry)
    return True


async def _serve(
    means: Means, entry: Entry, asked: _Asked, why: Why, shown: Stored | None = None
) -> bool:
    """Answer with *entry*; False where it is gone, or has not what is asked for.

    *shown* is the head to send, where that isn't the stored one.
    """
    stored, store, head = shown or entry.stored, means.store, asked.request.head
    lines = serving.status_lines(stored, asked.policy, means.seconds(), why, asked.fwd)
    total = entry.size if entry.is_complete else stored.total
    selected = serving.select(head, stored, total, lines)
    if not serving.has(entry, selected):
        return False
    _note(asked.reply, stored, why)
    try:
        await serving.send(store, entry, selected, head.method, asked.reply)
    except EntryGone:
        return False
    store.used(entry)
    return True


async def _follow(
    means: Means, growing: Followed, stored: Stored, asked: _Asked, why: Why, is_final: bool
) -> bool:
    """Send what grows, under the head *stored*.

    False where that can't be just the part that is asked for, or that is too far ahead; if
    this *is_final* then the client gets all of it, or waits.
    """
    head, reply = asked.request.head, asked.reply
    total = growing.total
    lines = serving.status_lines(stored, asked.policy, means.seconds(), why, asked.fwd)
    selected = serving.select(head, stored, total, lines)
    if selected.pieces is not None and len(selected.pieces) > 1 and is_final:
        whole = parts.unconditional(head)
        selected = serving.select(whole, stored, total, lines)
    start, end = 0, total
    if selected.pieces:
        part = selected.pieces[0]
        if len(selected.pieces) > 1 or not isinstance(part, ByteRange):
            return False
        start, end = part.offset, part.end
        if start > growing.end + _AHEAD and not is_final:
            return False
    _note(reply, stored, why)
    if selected.pieces == ():
        reply.pass_on(selected.head, b"")
        return True
    how = CHUNKED if end is None else Framing(Kind.LENGTH, end - start)
    sink = reply.begin(selected.head, how)
    await follow(growing, sink, means.sweep, start, end)
    return True


def _note(reply: Reply, stored: Stored, why: Why) -> None:
    record = reply.record
    record.cache = why
    record.content_type = serving.content_type(stored)


def _brought(fill: Fill | DistantFill) -> Stored | None:
    """Return what *fill* brings that may be for several clients, if it does."""
    outcome = fill.outcome
    if isinstance(outcome, Ready):
        return outcome.entry.stored
    return outcome.stored if isinstance(outcome, Followed) else None


def _stored_of(entry: Entry) -> Stored:
    return entry.stored


def _itself(stored: Stored) -> Stored:
    return stored
