"""What master and workers say to each other: one line of JSON each, a word and what belongs to it.

The two may be of different versions, for an upgrade in place starts new workers under the old
master: a word that isn't known is passed over, and nothing that is there may change its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class BadMessage(Exception):
    """What came is no message, or lacks what belongs to it."""


class Message(NamedTuple):
    """One of them: *word*, and what belongs to it by name."""

    word: str
    fields: Mapping[str, Json]

    def text(self, name: str) -> str:
        """Return a text; raises BadMessage."""
        found = self.fields.get(name)
        if not isinstance(found, str):
            raise BadMessage(f"{self.word} has no text {name}")
        return found

    def number(self, name: str) -> float:
        """Return a number; raises BadMessage."""
        found = self.fields.get(name)
        if not isinstance(found, int | float):
            raise BadMessage(f"{self.word} has no number {name}")
        return found

    def count(self, name: str) -> int:
        """Return a whole number; raises BadMessage."""
        return int(self.number(name))

    def items(self, name: str) -> Sequence[Json]:
        """Return a list; raises BadMessage."""
        found = self.fields.get(name)
        if not isinstance(found, list):
            raise BadMessage(f"{self.word} has no list {name}")
        return found

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; raises BadMessage."""
        return [str(each) for each in self.items(name)]

    def part(self, name: str) -> Message | None:
        """Return what has fields of its own, None where it is missing."""
        found = self.fields.get(name)
        return Message(name, found) if isinstance(found, dict) else None

    def each(self, name: str) -> list[Message]:
        """Return a list of what has fields of its own; raises BadMessage."""
        return [Message(name, found) for found in self.items(name) if isinstance(found, dict)]


def to_line(word: str, fields: Mapping[str, Json]) -> bytes:
    """Return the message as it is sent."""
    return json.dumps([word, dict(fields)]).encode("ascii") + b"\n"


def from_line(line: bytes) -> Message:
    """Read a message; raises BadMessage."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise BadMessage("it isn't JSON") from error
    if not isinstance(found, list) or len(found) != 2:
        raise BadMessage("it isn't a word and what belongs to it")
    word, fields = found
    if not isinstance(word, str) or not isinstance(fields, dict):
        raise BadMessage("it isn't a word and what belongs to it")
    return Message(word, fields)
