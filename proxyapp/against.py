"""Answers `--against LOG`: whom the rules of now would refuse or let in, where the log says else.

The log is read once, line by line, in bounded memory: what changes is counted in groups of client,
user, host and rule, and of too many groups the largest are kept.
"""

from __future__ import annotations

import enum
import gzip
import zlib
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar, cast

from proxyapp.rules.question import Decision, Question
from proxyapp.rules.replay import Logged, Unreadable, Was, read_line
from proxyapp.rules.stages import Stages, decisive, is_settled
from proxyapp.wire.target import DEFAULT_PORTS

SAME, UNUSABLE, CHANGED = 0, 2, 3

# No line of ours is longer: a head of 64 KiB, each byte of it escaped as four, in two URLs.
LONGEST_LINE = 1 << 20
# Some 300 bytes each; so many that the largest of them are seldom dropped.
MOST_GROUPS = 50_000
_SHOWN_GROUPS = 20
_SHOWN_TOTALS = 5
_SHOWN_LINES = 5
_GZIP = b"\x1f\x8b"


class LogUnusable(Exception):
    """The log can't be read; the message is for the admin."""


class Change(enum.Enum):
    """What becomes of a request that was in the log; the value is a heading of the report."""

    DENIED = "newly denied"
    ALLOWED = "newly allowed"
    REPORTED = "allowed, and reported"
    OPEN = "refused then, open now: it depends on what the log doesn't tell"


class Group(NamedTuple):
    """What is counted together."""

    client: str
    user: str | None
    host: str
    rule: str


_Key = TypeVar("_Key", bound=Hashable)


class Counts(Generic[_Key]):
    """Counts requests by key, and all of them; of twice *most* keys the *most* largest stay."""

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self.total = 0
        self.was_cut = False
        self._most = most
        self._counts: Counter[_Key] = Counter()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: _Key) -> None:
        """Count one request in."""
        self.total += 1
        self._counts[key] += 1
        if len(self._counts) > 2 * self._most:
            self._counts = Counter(dict(self._counts.most_common(self._most)))
            self.was_cut = True

    def largest(self, number: int) -> list[tuple[_Key, int]]:
        """Return so many keys with their counts, the largest first; equal ones by name."""
        return nsmallest(number, self._counts.items(), key=lambda item: (-item[1], str(item[0])))


class Tally:
    """The requests with one change: in groups, and by what the groups have in common."""

    def __init__(self) -> None:
        self.groups: Counts[Group] = Counts()
        self.by: dict[str, Counts[str]] = {each: Counts() for each in ("rule", "client", "host")}

    @property
    def total(self) -> int:
        """How many requests there are."""
        return self.groups.total

    def add(self, group: Group) -> None:
        """Count one request in."""
        self.groups.add(group)
        self.by["rule"].add(group.rule)
        self.by["client"].add(group.client)
        self.by["host"].add(group.host)


@dataclass(slots=True)
class Replay:
    """What a log says about the rules of now."""

    name: str
    lines: int = 0
    judged: int = 0
    unreadable: int = 0
    first_unreadable: list[int] = field(default_factory=list)
    changes: dict[Change, Tally] = field(default_factory=lambda: {each: Tally() for each in Change})

    @property
    def exit_status(self) -> int:
        """What a script gets to know."""
        if self.unreadable and not self.judged:
            return UNUSABLE
        has_changed = self.changes[Change.DENIED].total or self.changes[Change.ALLOWED].total
        return CHANGED if has_changed else SAME

    def __str__(self) -> str:
        parts = [_summary(self)]
        parts += [_section(change, tally) for change, tally in self.changes.items()]
        return "\n".join(part for part in parts if part)


def replay(path: Path, stages: Stages) -> Replay:
    """Judge anew what the log at *path* tells, plain or packed by gzip; raises LogUnusable."""
    found = Replay(str(path))
    try:
        for line in _lines(path):
            found.lines += 1
            _replay_line(line, stages, found)
    except OSError as error:
        if error.strerror:
            raise LogUnusable(f"{path} can't be read: {error.strerror}") from error
        raise LogUnusable(f"{path} is damaged behind line {found.lines}") from error
    except (EOFError, zlib.error) as error:
        raise LogUnusable(f"{path} is cut or damaged behind line {found.lines}") from error
    return found


def _replay_line(line: str | None, stages: Stages, found: Replay) -> None:
    try:
        if line is None:
            raise Unreadable
        logged = read_line(line)
    except Unreadable:
        found.unreadable += 1
        if found.unreadable <= _SHOWN_LINES:
            found.first_unreadable.append(found.lines)
        return
    if logged is not None:
        found.judged += 1
        _compare(logged, stages, found)


def _compare(logged: Logged, stages: Stages, found: Replay) -> None:
    judged = stages.judge_until_refused(logged.case, logged.minute)
    decision = decisive(judged)
    change = _change(logged.was, decision, is_settled(judged))
    if change is None:
        return
    rule = decision.reported if change is Change.REPORTED else decision.rule
    question = logged.case.question
    group = Group(question.client, question.user, _host(question), rule)
    found.changes[change].add(group)


def _change(was: Was, decision: Decision, is_settled: bool) -> Change | None:
    if not decision.allowed:
        return Change.DENIED if was is Was.PASSED else None
    if was is Was.REFUSED or (was is Was.REFUSED_SOMEHOW and is_settled):
        return Change.ALLOWED
    if was is not Was.PASSED:
        return Change.OPEN
    return Change.REPORTED if decision.reported else None


def _host(question: Question) -> str:
    if question.service == "site":
        return "(site)"
    host = f"[{question.host}]" if ":" in question.host else question.host
    return host if question.port in DEFAULT_PORTS.values() else f"{host}:{question.port}"


# --- Lines ---


def _lines(path: Path) -> Iterator[str | None]:
    """Yield each line, without its end and made printable; None for one that is too long."""
    with path.open("rb") as file:
        is_packed = file.peek(len(_GZIP)).startswith(_GZIP)
        octets = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
        while line := octets.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                _skip_line(octets)
                yield None
            else:
                yield line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")


def _skip_line(octets: BinaryIO) -> None:
    while (more := octets.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
        pass


# --- Words ---


def _summary(found: Replay) -> str:
    parts = [f"{found.lines} lines", f"{found.judged} judged"]
    silent = found.lines - found.judged - found.unreadable
    if silent:
        parts.append(f"{silent} without a request that rules could judge")
    if found.unreadable:
        numbers = ", ".join(map(str, found.first_unreadable))
        more = ", ..." if found.unreadable > len(found.first_unreadable) else ""
        noun = "line" if found.unreadable == 1 else "lines"
        parts.append(f"{found.unreadable} unreadable ({noun} {numbers}{more})")
    return f"{found.name}: {', '.join(parts)}"


def _section(change: Change, tally: Tally) -> str:
    if not tally.total:
        is_asked = change in (Change.DENIED, Change.ALLOWED)
        return f"{change.value}: none" if is_asked else ""
    lines = [f"{change.value}: {_requests(tally.total)}"]
    shown = [(_group(group), count) for group, count in tally.groups.largest(_SHOWN_GROUPS)]
    lines += _rows(shown, tally.total, tally.groups.was_cut)
    if len(tally.groups) > len(shown):
        for name, counts in tally.by.items():
            largest = [(_who(key), count) for key, count in counts.largest(_SHOWN_TOTALS)]
            lines.append(f"  by {name}:")
            lines += [f"  {row}" for row in _rows(largest, counts.total, counts.was_cut)]
    return "\n".join(lines)


def _rows(shown: list[tuple[str, int]], total: int, was_cut: bool) -> list[str]:
    width = len(str(total))
    rows = [f"  {count:>{width}}  {name}" for name, count in shown]
    rest = total - sum(count for _, count in shown)
    if rest:
        # Of what was dropped, some may belong to the groups above.
        rows.append(f"  {rest:>{width}}  {'other, or not kept' if was_cut else 'other'}")
    return rows


def _requests(number: int) -> str:
    return "1 request" if number == 1 else f"{number} requests"


def _who(text: str) -> str:
    return text or "this machine"


def _group(group: Group) -> str:
    who = _who(group.client)
    if group.user is not None:
        who += f" ({_printable(group.user)})"
    return f"{who}  {group.host}  {group.rule}"


def _printable(text: str) -> str:
    """Return *text*, which came from outside, such that it can't move a terminal's cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)
