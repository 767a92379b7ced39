"""Which fetches are under way, and what the origin is asked for each."""

from __future__ import annotations

from dataclasses import replace

from proxyapp.cache.distant import DistantFill
from proxyapp.cache.fill import Fill
from proxyapp.cache.wanted import Means, Passed, Place, Wanted
from proxyapp.exchange import Request
from proxyapp.rules.caching import parts
from proxyapp.rules.caching.rules import OnRange
from proxyapp.rules.caching.stored import Varying
from proxyapp.rules.memory import room
from proxyapp.store.entry import Entry
from proxyapp.store.sharing import Outdated

# That answers go to one client only is remembered for this long, in seconds: nobody waits for
# such an answer in vain.
_UNSHARED_FOR = 120.0
# Of longer keys it isn't: clients choose them.
_LONGEST_REMEMBERED = 1024
# Fetches that go on without a client leave the connections to origins to those who wait for one.
_MOST_KEPT_UP = 64
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-range")
# Whoever says one of these has wishes of its own about what is good enough.
_WISHES = (b"cache-control", b"pragma")


class Fetches:
    """The fetches that more than one client may wait for, by key and variant.

    Which variant a fetch brings is known when its response comes: until then all who want the key
    wait for one fetch, which has none. Those who want another variant than that share one of
    theirs. No other process is told of it: it would have to know the variant, too.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._shared: dict[tuple[bytes, Varying], Fill | DistantFill] = {}
        self._unshared: dict[bytes, float] = {}
        self._outdated_here = Outdated()
        self._kept_up: set[Fill] = set()

    def __repr__(self) -> str:
        return f"<Fetches {len(self._shared)}>"

    def joinable(
        self, request: Request, place: Place, variant: Varying = ()
    ) -> Fill | DistantFill | None:
        """Return a fetch that answers *request* as well, None if there is none."""
        fill = self._shared.get((place.key, variant))
        if fill is None or not fill.is_open or place.rule.is_judged_by_origin:
            return None
        if self._is_outdated(place.key, fill.began_at):
            return None
        combined = request.head.fields.combined
        return None if any(name in combined for name in _WISHES) else fill

    def new(
        self, request: Request, place: Place, entry: Entry | None, variant: Varying = ()
    ) -> Fill | DistantFill:
        """Return a fetch for *request*, which *entry* may help to answer."""
        wanted, is_shared, is_kept_up = self._wanted(request, place, entry)
        if variant:
            wanted = replace(wanted, variant=variant)
        if not is_shared or self.is_unshared(place):
            return Fill(self._means, wanted, self._ended, is_kept_up)
        return self._shared_fill(wanted, is_kept_up)

    def alone(self, request: Request, place: Place) -> Fill:
        """Return a fetch of exactly what *request* asks for, for nobody else."""
        return Fill(self._means, Wanted(request, request.head, place), self._ended)

    def found_shared(self, place: Place) -> None:
        """What came this time may be shared."""
        self._unshared.pop(place.key, None)

    def validate(self, request: Request, place: Place, entry: Entry) -> None:
        """Ask in the background whether *entry* is still right, if not too much is asked there."""
        is_new = (place.key, ()) not in self._shared and request.head.method == b"GET"
        if is_new and self._may_keep_up():
            asking = parts.validating(request.head, entry.stored)
            wanted = Wanted(request, asking, place, entry)
            fill = self._shared_fill(wanted, is_kept_up=True)
            if isinstance(fill, Fill):
                fill.begin()
            else:
                self._forget(place.key, fill)  # another process asks

    def outdate(self, key: bytes) -> None:
        """What is being fetched for *key* may be old already."""
        self._shared.pop((key, ()), None)
        self._outdated.note(key, self._means.seconds())

    def check(self, key: bytes, asked_at: float) -> None:
        """What was asked for at *asked_at* is stored under *key* now."""
        if self._is_outdated(key, asked_at):
            self._means.store.invalidate(key)

    @property
    def _outdated(self) -> Outdated:
        sharing = self._means.store.sharing
        return self._outdated_here if sharing is None else sharing.outdated

    def _is_outdated(self, key: bytes, asked_at: float) -> bool:
        return self._outdated.is_since(key, asked_at, self._means.seconds())

    def _wanted(
        self, request: Request, place: Place, entry: Entry | None
    ) -> tuple[Wanted, bool, bool]:
        """Return what to ask for, whether others may join, and whether it goes on without them."""
        head = request.head
        fields = head.fields.combined
        if entry is not None and entry.is_complete:
            asking = parts.validating(head, entry.stored)
            return Wanted(request, asking, place, entry), True, False
        if b"range" in fields:
            if place.rule.range is OnRange.FILL and not self.is_unshared(place):
                whole = Wanted(request, parts.unconditional(head), place)
                return whole, True, self._may_keep_up()
            return Wanted(request, head, place, entry), False, False
        if entry is not None and entry.extents and entry.extents[0][0] == 0:
            start = entry.extents[0][1]
            rest = parts.continuing(head, entry.stored, start)
            if rest is not None:
                return Wanted(request, rest, place, entry, start), True, False
        is_conditional = any(name in fields for name in _CONDITIONS)
        return Wanted(request, head, place), not is_conditional, False

    def is_unshared(self, place: Place) -> bool:
        """Is the answer most likely for the one client that asks?"""
        until = self._unshared.get(place.key)
        return place.rule.is_judged_by_origin or (
            until is not None and until > self._means.sweep.now
        )

    def _shared_fill(self, wanted: Wanted, is_kept_up: bool) -> Fill | DistantFill:
        """Return a fetch that others may join, by this process or another one."""
        means, key, variant = self._means, wanted.place.key, wanted.variant
        sharing = means.store.sharing if means.is_shared and not variant else None
        fill: Fill | DistantFill
        try:
            claim = None if sharing is None else sharing.claims.claim(key)
        except OSError:
            # Nobody else will know of it.
            claim = sharing = None
        if sharing is not None and claim is None:
            fill = DistantFill(key, sharing, means.clock, means.seconds, self._forget)
        else:
            fill = Fill(means, wanted, self._ended, is_kept_up, claim)
            if is_kept_up:
                self._kept_up.add(fill)
        self._shared[key, variant] = fill
        return fill

    def _may_keep_up(self) -> bool:
        return len(self._kept_up) < _MOST_KEPT_UP

    def _forget(self, key: bytes, fill: Fill | DistantFill, variant: Varying = ()) -> None:
        if self._shared.get((key, variant)) is fill:
            del self._shared[key, variant]

    def _ended(self, fill: Fill) -> None:
        key, variant = fill.wanted.place.key, fill.wanted.variant
        was_shared = self._shared.get((key, variant)) is fill
        self._forget(key, fill, variant)
        self._kept_up.discard(fill)
        self.check(key, fill.began_at)
        if isinstance(fill.outcome, Passed):
            # Of one variant it says nothing of the others.
            if was_shared and not variant and len(key) <= _LONGEST_REMEMBERED:
                room(self._unshared)[key] = self._means.sweep.now + _UNSHARED_FOR
        elif fill.outcome is not None:
            self._unshared.pop(key, None)
