"""What is known of each key: from memory, from changes that aren't written yet, from the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxyapp.rules.memory import room
from proxyapp.store.changes import Change
from proxyapp.store.entry import Entry
from proxyapp.store.lookup import Lookup
from proxyapp.store.memory import SHORT, Entries, Memory
from proxyapp.store.tokens import SLOTS, Tokens, slot_of

# A key has no more variants: an origin that varies by something that is never the same again
# would make each look longer.
MOST_VARIANTS = 32
# Of longer keys it isn't remembered that there is nothing: clients choose them.
_LONGEST_ABSENT = 512
# Nobody else changes anything.
_ALONE = (0,) * SLOTS


class Pending:
    """The entries of a key that has *changes* which aren't written yet."""

    __slots__ = ("changes", "entries")

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.changes = 0


class Catalogue:
    """Finds the entries of a key; used by the reactor's thread.

    *on_damage* is told of errors of the index other than that it's busy.
    """

    def __init__(self, memory: Memory, on_damage: Callable[[sqlite3.Error], None]) -> None:
        self.memory = memory
        self._remembered = memory.slots
        self._pending: dict[bytes, Pending] = {}
        self._on_damage = on_damage
        self._lookup: Lookup | None = None
        self._tokens: Sequence[int] = _ALONE
        # Slot and token of keys that the index had nothing of.
        self._absent: dict[bytes, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self._remembered)} keys, {len(self._pending)} unwritten>"

    def attach(self, lookup: Lookup | None, tokens: Tokens | None) -> None:
        """Look by *lookup* from now on; None: what is in memory is all there is."""
        if self._lookup is not None:
            self._lookup.close()
        self._lookup = lookup
        self._tokens = _ALONE if tokens is None else tokens.slots
        self._absent.clear()

    @property
    def lookup(self) -> Lookup | None:
        """What looks into the index, None where there is none."""
        return self._lookup

    def find(self, key: bytes) -> Entries:
        """Return the entries of *key*."""
        remembered = self._remembered.get(key)
        if remembered is not None and remembered.token == self._tokens[remembered.slot]:
            self._remembered.move_to_end(key)
            return remembered.entries
        pending = self._pending.get(key)
        if pending is not None:
            return pending.entries
        if self._lookup is None:
            return ()
        absent = self._absent.get(key)
        if absent is not None and absent[1] == self._tokens[absent[0]]:
            return ()
        return self._look_up(self._lookup, key, () if remembered is None else remembered.entries)

    def _look_up(self, lookup: Lookup, key: bytes, old: Entries) -> Entries:
        """Return what the index has of *key*, whose *old* entries may be right no more."""
        slot = slot_of(key)
        token = self._tokens[slot]  # before the look: what is older than that is seen
        self.memory.drop(key)
        try:
            entries = lookup.find(key)
        except sqlite3.Error as error:
            self._on_damage(error)
            return ()
        if entries:
            known = {each.id: each.content for each in old}
            for entry in entries:
                entry.content = known.get(entry.id)
            self._remember(key, entries, token)
        elif len(key) <= _LONGEST_ABSENT:
            room(self._absent)[key] = slot, token
        return entries

    def _remember(self, key: bytes, entries: Entries, token: int) -> None:
        short = tuple(_without_long(entry) for entry in entries)
        if not self.memory.put(key, short, token) and self._lookup is not None:
            self.memory.put(key, tuple(replace(each, content=None) for each in short), token)

    # Changes.

    def change(
        self, key: bytes, entries: Entries, is_pending: bool, token: int | None = None
    ) -> None:
        """From now on *key* has *entries*; that *is_pending* until `settle` says otherwise.

        *token* is that of the time for which they are right, None for now.
        """
        if is_pending:
            pending = self._pending.setdefault(key, Pending(entries))
            pending.entries = entries
            pending.changes += 1
        self._absent.pop(key, None)
        if entries:
            self._remember(key, entries, self._tokens[slot_of(key)] if token is None else token)
        else:
            self.memory.drop(key)

    def put(self, entry: Entry, is_pending: bool) -> Entries:
        """*entry* is new, or more of a part: it replaces the one with the same *varying*.

        Returns those that it replaced, or that are too many.
        """
        varying = entry.stored.varying
        token = self._tokens[slot_of(entry.key)]  # before the look, as another may add variants
        old = self.find(entry.key)
        kept = [each for each in old if each.stored.varying != varying and each.id != entry.id]
        kept = [*kept[-(MOST_VARIANTS - 1) :], entry]
        if any(each.is_pinned for each in old if each.stored.varying == varying):
            entry.is_pinned = True
        self.change(entry.key, tuple(kept), is_pending, token)
        ids = {each.id for each in kept}
        return tuple(each for each in old if each.id not in ids)

    def revise(self, entry: Entry, is_pending: bool) -> None:
        """*entry* has another head."""
        self.change(
            entry.key,
            tuple(entry if each.id == entry.id else each for each in self.find(entry.key)),
            is_pending,
        )

    def invalidate(self, key: bytes, is_pending: bool) -> bool:
        """All entries of *key* must be validated; say whether that is new of any."""
        entries = self.find(key)
        if all(entry.stored.is_invalid for entry in entries):
            return False
        invalid = [replace(each, stored=replace(each.stored, is_invalid=True)) for each in entries]
        self.change(key, tuple(invalid), is_pending)
        return True

    def remove(self, entry: Entry, is_pending: bool) -> None:
        """*entry* is gone."""
        kept = tuple(each for each in self.find(entry.key) if each.id != entry.id)
        self.change(entry.key, kept, is_pending)

    def forget(self, is_meant: Callable[[Entry], bool]) -> None:
        """Look again for the entries of keys that have one that *is_meant*."""
        for entry in self.memory.entries():
            if is_meant(entry):
                self.memory.drop(entry.key)

    def settle(self, changes: Sequence[Change]) -> None:
        """*changes* are in the index, or were given up."""
        for change in changes:
            pending = self._pending.get(change.key)
            if pending is not None:
                pending.changes -= 1
                if not pending.changes:
                    del self._pending[change.key]

    def load(self, entry: Entry, content: bytes) -> None:
        """*content* was read for *entry*."""
        old = self._remembered.get(entry.key)
        if old is not None and any(each.id == entry.id for each in old.entries):
            found = replace(entry, content=content)
            entries = tuple(found if each.id == entry.id else each for each in old.entries)
            self._remember(entry.key, entries, old.token)


def _without_long(entry: Entry) -> Entry:
    content = entry.content
    return entry if content is None or len(content) <= SHORT else replace(entry, content=None)
