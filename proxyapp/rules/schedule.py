"""Times of the week: `Mon-Fri 08:00-18:00`.

A time is a minute of the local week, 0 for Monday 00:00, as a clock on the wall shows it. So a
schedule needs no time zone, and daylight saving can't shift it: when clocks go back, the hour that
comes twice counts twice, and when they go forward, the one that is left out doesn't come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MINUTES_A_DAY = 24 * 60
MINUTES_A_WEEK = 7 * MINUTES_A_DAY

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EVERY_DAY = frozenset(range(7))
_DASH = re.compile(r"[ \t]*-[ \t]*")
_GROUPS = re.compile(r"[;\n]")
_GAPS = re.compile(r"[,\s]+")
_TIMES = re.compile(r"([0-9]{1,2}):([0-5][0-9])-([0-9]{1,2}):([0-5][0-9])")
_RIGHT = "Mon-Fri 08:00-18:00 would be right"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something holds; *text* is how it was written, *spans* are minutes of the week.

    A span has its first minute and the one behind its last.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    def __contains__(self, minute: int) -> bool:
        return any(begin <= minute < end for begin, end in self.spans)

    def __str__(self) -> str:
        return self.text


def minute_of_week(weekday: int, hour: int, minute: int) -> int:
    """Return the minute of the week of a time of day; *weekday* 0 is Monday."""
    return weekday * MINUTES_A_DAY + hour * 60 + minute


def parse_schedule(text: str) -> Schedule:
    """Read days and times; raises ValueError with what would be right.

    Days are English names, in full or as three letters, and may be ranges. The times of a day
    stand behind it: `Mon-Fri 08:00-12:00, 13:00-17:00, Sat`. Days without times are whole, times
    without days are every day's, and a range that ends before it begins goes past midnight (or
    Sunday). Semicolons and line ends separate what commas would join: `Sat; Sun 08:00-12:00`.
    """
    split = _GROUPS.split(_DASH.sub("-", text))
    found = ([word for word in _GAPS.split(group) if word] for group in split)
    groups = [group for group in found if group]
    spans = [span for group in groups for span in _spans(group)]
    if not spans:
        raise ValueError(f"there is no time in it; {_RIGHT}")
    shown = "; ".join(" ".join(group) for group in groups)
    return Schedule(shown, tuple(dict.fromkeys(_within_week(spans))))


def _spans(words: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of one group; they may end past the week."""
    days: set[int] = set()
    has_times = False
    for word in words:
        times = _TIMES.fullmatch(word)
        if times is None:
            if has_times:
                days, has_times = set(), False
            days |= _days(word)
            continue
        has_times = True
        begin, end = _times(word, times)
        for day in sorted(days or _EVERY_DAY):
            yield day * MINUTES_A_DAY + begin, day * MINUTES_A_DAY + end
    if not has_times:
        for day in sorted(days):
            yield day * MINUTES_A_DAY, (day + 1) * MINUTES_A_DAY


def _days(word: str) -> set[int]:
    first, dash, last = word.partition("-")
    begin = _day(first, word)
    end = _day(last, word) if dash else begin
    return {day % 7 for day in range(begin, end + 1 if begin <= end else end + 8)}


def _day(name: str, word: str) -> int:
    lowered = name.lower()
    for number, day in enumerate(_DAYS):
        if lowered in (day, day[:3]):
            return number
    raise ValueError(f"{word[:40]!r} is neither days nor times; {_RIGHT}")


def _times(word: str, times: re.Match[str]) -> tuple[int, int]:
    """Return the minutes of the day at which *times* begin and end."""
    begin = int(times[1]) * 60 + int(times[2])
    end = int(times[3]) * 60 + int(times[4])
    if begin >= MINUTES_A_DAY or end > MINUTES_A_DAY:
        raise ValueError(f"{word} is past the end of the day; 00:00-24:00 is all of it")
    if begin == end:
        raise ValueError(f"{word} ends when it begins; 00:00-24:00 is all day")
    return begin, end if begin < end else end + MINUTES_A_DAY


def _within_week(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for begin, end in sorted(spans):
        yield begin, min(end, MINUTES_A_WEEK)
        if end > MINUTES_A_WEEK:
            yield 0, end - MINUTES_A_WEEK
