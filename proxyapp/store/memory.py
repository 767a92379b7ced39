"""What is known of the keys in use, with their short contents: least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice

from proxyapp.store.entry import Entry
from proxyapp.store.tokens import slot_of

# Up to here a content is kept in memory, and sent with its head in one send.
SHORT = 64 * 1024
# What a key and an entry take beside their octets: tables, heads taken apart.
_OVERHEAD_KEY = 512
_OVERHEAD_ENTRY = 2048
_LONGEST_KEY = 16 * 1024
# A key has no more of its capacity than this part.
_SHARE = 4
# So many pinned ones in a row, and nothing more is taken.
_LOOKED_AT = 64

Entries = tuple[Entry, ...]


class Remembered:
    """The entries of a key; they're right as long as *token* is that of the key's *slot*."""

    __slots__ = ("entries", "slot", "token", "weight")

    def __init__(self, entries: Entries, slot: int, token: int, weight: int) -> None:
        self.entries = entries
        self.slot = slot
        self.token = token
        self.weight = weight


class Memory:
    """Entries by key, *capacity* bytes of them.

    *weigh* is how much of that an entry takes; *forget* is told of entries that go for good, so
    that what they hold can be let go. Where it *keeps_pinned* ones, there is no other place.
    """

    def __init__(
        self,
        capacity: int,
        weigh: Callable[[Entry], int],
        forget: Callable[[Entries], None],
        keeps_pinned: bool,
    ) -> None:
        self.capacity = capacity
        self.weight = 0
        # For whoever reads it once a request: this is OrderedDict's own.
        self.slots: OrderedDict[bytes, Remembered] = OrderedDict()
        self._weigh = weigh
        self._forget = forget
        self._keeps_pinned = keeps_pinned

    def __repr__(self) -> str:
        return f"<Memory of {len(self.slots)} keys, {self.weight} of {self.capacity} bytes>"

    @property
    def longest(self) -> int:
        """How long a body may be that has no other place."""
        return max(0, self.capacity // _SHARE - _OVERHEAD_KEY - _OVERHEAD_ENTRY - _LONGEST_KEY)

    def put(self, key: bytes, entries: Entries, token: int) -> bool:
        """Remember *entries*, in place of those before; False where they are too much."""
        self.drop(key)
        weight = _OVERHEAD_KEY + len(key) + sum(map(self._weigh, entries))
        if weight > self.capacity // _SHARE or not self._make_room(weight):
            return False
        self.slots[key] = Remembered(entries, slot_of(key), token, weight)
        self.weight += weight
        return True

    def _make_room(self, weight: int) -> bool:
        for _ in range(len(self.slots) + 1):
            if self.weight + weight <= self.capacity:
                return True
            oldest = self._oldest()
            if oldest is None:
                break
            slot = self.slots[oldest]
            self.drop(oldest)
            self._forget(slot.entries)
        return False

    def _oldest(self) -> bytes | None:
        """Return the key to forget, None where all that were looked at are pinned."""
        for key in list(islice(self.slots, _LOOKED_AT if self._keeps_pinned else 1)):
            if not (self._keeps_pinned and any(each.is_pinned for each in self.slots[key].entries)):
                return key
            self.slots.move_to_end(key)
        return None

    def drop(self, key: bytes) -> None:
        """Forget *key*; whoever says so sees to its entries."""
        slot = self.slots.pop(key, None)
        if slot is not None:
            self.weight -= slot.weight

    def entries(self) -> Iterator[Entry]:
        """Yield all entries; what is forgotten meanwhile may be among them."""
        for slot in list(self.slots.values()):
            yield from slot.entries

    def clear(self) -> None:
        """Forget everything."""
        entries = tuple(self.entries())
        self.slots.clear()
        self.weight = 0
        self._forget(entries)


def weight_of(entry: Entry) -> int:
    """Return how many bytes of memory *entry* takes."""
    return _OVERHEAD_ENTRY + (0 if entry.content is None else len(entry.content))


def weight_with_file(entry: Entry) -> int:
    """Return how many bytes of memory *entry* takes where its body has no other place."""
    return _OVERHEAD_ENTRY + entry.size
