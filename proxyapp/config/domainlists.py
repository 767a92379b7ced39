"""Host names of a rule: in the ini, and in files of up to millions of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from proxyapp.config.lists import MOST_FAULTS, list_file, unreadable, words
from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules import addresses
from proxyapp.rules.domains import Domains, parse_domain

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Nearly every line of a list: a name with a dot in it, perhaps behind the address of a hosts file.
# A batch of such lines is read at once; with another line among them, one by one.
_PLAIN_LINE = re.compile(
    rb"^(?:(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+)?"
    rb"(\.?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,8}\.[a-z][a-z0-9-]{1,62})"
    rb"[ \t]*(?:#[^\n]*|\r)?$",
    re.MULTILINE,
)
_BATCH = 64 * 1024  # bytes of lines
# Every hosts file has these; they are no names that anybody asks a proxy for.
_LOCAL = re.compile(r"local(host(\.localdomain)?)?|broadcasthost|ip6-.*|0\.0\.0\.0")


class _Faults:
    """What is wrong in a *file*; of a million faults the first ones are kept."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._first: list[str] = []
        self._more = 0

    def add(self, line: int, reason: str) -> None:
        if len(self._first) < MOST_FAULTS:
            self._first.append(f"{self._file} line {line}: {reason}")
        else:
            self._more += 1

    def told(self) -> list[str]:
        if not self._more:
            return self._first
        return [*self._first, f"{self._file}: {self._more} more entries are wrong"]


def domains(text: str, surroundings: Surroundings) -> Domains | None:
    """Read names, `.domains`, `*` and `@PATH`; the empty text is no condition.

    A file has a name a line, or is a hosts file; `#` begins a comment.
    """
    if not text:
        return None
    reasons: list[str] = []
    found = Domains(chain.from_iterable(_entries(text, surroundings, reasons)))
    if reasons:
        raise WrongValue(*reasons)
    if not found.size:
        raise WrongValue(f"{shown(text)} holds no name, so the rule would never match")
    return found


def _entries(text: str, surroundings: Surroundings, reasons: list[str]) -> Iterator[list[bytes]]:
    """Yield all names, many at a time; what is wrong joins *reasons*."""
    for word in words(text):
        try:
            if word[0] == "@":
                yield from _entries_of_file(word[1:], surroundings, reasons)
            else:
                yield [_parsed(word)]
        except WrongValue as wrong:
            reasons += wrong.reasons


def _entries_of_file(
    name: str, surroundings: Surroundings, reasons: list[str]
) -> Iterator[list[bytes]]:
    file = list_file(name, surroundings)
    try:
        with file.open("rb") as opened:
            yield from _entries_of_lines(opened, file, reasons)
    except OSError as error:
        raise unreadable(name, error) from error


def _entries_of_lines(opened: BinaryIO, file: Path, reasons: list[str]) -> Iterator[list[bytes]]:
    faults = _Faults(file)
    last = 0
    while lines := opened.readlines(_BATCH):
        first, last = last + 1, last + len(lines)
        found = _PLAIN_LINE.findall(b"".join(lines))
        yield found if len(found) == len(lines) else _one_by_one(lines, first, faults)
    reasons += faults.told()


def _one_by_one(lines: list[bytes], first: int, faults: _Faults) -> list[bytes]:
    found: list[bytes] = []
    for number, line in enumerate(lines, first):
        match = _PLAIN_LINE.match(line)
        if match is not None:
            found.append(match[1])
            continue
        try:
            found += _entries_of_line(line.removeprefix(_BYTE_ORDER_MARK))
        except WrongValue as wrong:
            for reason in wrong.reasons:
                faults.add(number, reason)
    return found


def _entries_of_line(line: bytes) -> list[bytes]:
    try:
        found = words(line.partition(b"#")[0].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise WrongValue("is not UTF-8; save the file as UTF-8") from error
    if len(found) > 1 and _is_address(found[0]):
        found = [word for word in found[1:] if not _LOCAL.fullmatch(word)]
    return [_parsed(word) for word in found]


def _is_address(word: str) -> bool:
    try:
        addresses.parse(word)
    except ValueError:
        return False
    return True


def _parsed(word: str) -> bytes:
    try:
        return parse_domain(word)
    except ValueError as error:
        raise WrongValue(str(error)) from error
