"""The text of an ini file as headings and entries, each with the line it stands in.

The standard library's configparser isn't used: it forgets line numbers, stops at the first
duplicate, and lower-cases names before anybody can say how they were spelled. The grammar, one
line at a time: `[section]` and `option = value` begin at the left edge; an indented line continues
the value above it; a line that begins with `#` or `;` is a comment, a blank one is nothing.
Nothing else is a comment, because `#` is legal in values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_HEADING = re.compile(r"\[([^\[\]]+)\]")
_SHOWN = 60


class Place(NamedTuple):
    """Where something was written: a file and its line, or an option of the command (line 0)."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


class Mistake(NamedTuple):
    """Something wrong at *place*; *about* is `[section] option` or a part of that, or empty."""

    place: Place
    about: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.about, self.reason) if part)


class Entry(NamedTuple):
    """One option as it was written; the lines of *text* are stripped."""

    section: str
    option: str
    text: str
    place: Place

    @property
    def about(self) -> str:
        """The entry's name in a message."""
        return f"[{self.section}] {self.option}"


class Ini:
    """What an ini file says, before anybody asks what it means."""

    def __init__(self, name: str, text: str) -> None:
        self.headings: dict[str, Place] = {}
        self.entries: list[Entry] = []
        self.mistakes: list[Mistake] = []
        self._section: str | None = None
        for line, content in _unfold(text):
            self._read(content, Place(name, line))

    def _read(self, content: str, place: Place) -> None:
        option, equals, value = content.partition("=")
        if content[0].isspace():
            self._mistake(place, "is indented and continues nothing; begin it at the left edge")
        elif content[0] == "[":
            self._open(content, place)
        elif not equals or not option.strip():
            reason = f"{content[:_SHOWN]!r} is neither [section] nor option = value"
            self._mistake(place, reason)
        elif self._section is None:
            self._mistake(place, f"{option.strip()!r} belongs to no section; put a [section] above")
        elif self._section:
            self.entries.append(Entry(self._section, option.strip(), value.strip(), place))

    def _open(self, content: str, place: Place) -> None:
        match = _HEADING.fullmatch(content)
        if match is None:
            self._mistake(place, f"{content[:_SHOWN]!r} is no heading; [section] alone is right")
            # Nobody can tell where the options below belong: the heading is the mistake.
            self._section = ""
            return
        # `[mount  /files]` is `[mount /files]`.
        self._section = " ".join(match[1].strip().split(maxsplit=1))
        first = self.headings.setdefault(self._section, place)
        if first is not place:
            reason = f"is there twice; put its options under the one in line {first.line}"
            self.mistakes.append(Mistake(place, f"[{self._section}]", reason))

    def _mistake(self, place: Place, reason: str) -> None:
        self.mistakes.append(Mistake(place, "", reason))


def _unfold(text: str) -> Iterator[tuple[int, str]]:
    """Join continued lines by line ends; leave out comments and blank lines."""
    begun: tuple[int, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if begun is not None and line[0].isspace() and _takes_more(begun[1]):
            begun = (begun[0], f"{begun[1]}\n{stripped}")
            continue
        if begun is not None:
            yield begun
        begun = (number, line.rstrip())
    if begun is not None:
        yield begun


def _takes_more(content: str) -> bool:
    return "=" in content and content[0] != "[" and not content[0].isspace()
