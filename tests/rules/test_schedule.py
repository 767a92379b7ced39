"""Promises of proxyapp.rules.schedule."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import schedule
from proxyapp.rules.schedule import MINUTES_A_DAY, MINUTES_A_WEEK, minute_of_week, parse_schedule

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there is no time in it; Mon-Fri 08:00-18:00 would be right"),
        (" , ;\n", "there is no time in it"),
        ("Mo-Fr 08:00-18:00", "'Mo-Fr' is neither days nor times"),
        ("Mon-", "'Mon-' is neither days nor times"),
        ("Mon-Tue-Wed", "neither days nor times"),
        ("08:00", "'08:00' is neither days nor times"),
        ("8-18", "'8-18' is neither days nor times"),
        ("08.00-18.00", "neither days nor times"),
        ("08:60-18:00", "neither days nor times"),
        ("Mon 8am-6pm", "neither days nor times"),
        ("08:00-24:01", "08:00-24:01 is past the end of the day; 00:00-24:00 is all of it"),
        ("24:00-08:00", "past the end of the day"),
        ("99:00-08:00", "past the end of the day"),
        ("08:00-08:00", "08:00-08:00 ends when it begins; 00:00-24:00 is all day"),
        ("x" * 1000, f"'{'x' * 40}' is neither"),
    ],
)
def test_what_no_schedule_is(text: str, complaint: str) -> None:
    """What is wrong is named, with what would be right."""
    with pytest.raises(ValueError, match=r"would be right|is all") as caught:
        parse_schedule(text)
    assert complaint in str(caught.value)


def span(days: str, begin: int, end: int) -> list[tuple[int, int]]:
    """Return the spans from minute *begin* to *end* of each of *days*."""
    starts = [DAYS.index(day) * MINUTES_A_DAY for day in days.split()]
    return [(start + begin, start + end) for start in starts]


WORK_DAYS = "Mon Tue Wed Thu Fri"
ALL_DAYS = " ".join(DAYS)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Mon-Fri 08:00-18:00", span(WORK_DAYS, 480, 1080)),
        ("Mon - Fri, 08:00 - 18:00", span(WORK_DAYS, 480, 1080)),
        ("monday-FRIDAY 8:00-18:00", span(WORK_DAYS, 480, 1080)),
        ("08:00-18:00", span(ALL_DAYS, 480, 1080)),
        ("00:00-24:00", span(ALL_DAYS, 0, 1440)),
        ("Sat, Sun", span("Sat Sun", 0, 1440)),
        ("Sat Sun Sat", span("Sat Sun", 0, 1440)),
        ("Sat-Sun", span("Sat Sun", 0, 1440)),
        ("Mon,Wed 08:00-09:00", span("Mon Wed", 480, 540)),
        ("Mon, Wed 08:00-09:00", span("Mon Wed", 480, 540)),
        ("Fri-Mon", span("Mon Fri Sat Sun", 0, 1440)),
        ("Mon 08:00-09:00, Wed 10:00-11:00", span("Mon", 480, 540) + span("Wed", 600, 660)),
        ("Mon 08:00-09:00, Wed", span("Mon", 480, 540) + span("Wed", 0, 1440)),
        ("Sat; Mon 08:00-09:00", span("Mon", 480, 540) + span("Sat", 0, 1440)),
        ("Sat\nMon 08:00-09:00\n", span("Mon", 480, 540) + span("Sat", 0, 1440)),
        ("Mon 08:00-09:00 10:00-11:00", span("Mon", 480, 540) + span("Mon", 600, 660)),
        ("Mon 22:00-06:00", [(1320, 1800)]),
        ("Sun 22:00-06:00", [(0, 360), (MINUTES_A_WEEK - 120, MINUTES_A_WEEK)]),
        ("Sun 22:00-00:00", [(MINUTES_A_WEEK - 120, MINUTES_A_WEEK)]),
    ],
)
def test_what_schedules_mean(text: str, spans: list[tuple[int, int]]) -> None:
    """Days and times in every order people write them; past midnight goes on the next day."""
    assert sorted(parse_schedule(text).spans) == sorted(spans)


@pytest.mark.parametrize(
    ("minute", "holds"),
    [
        (minute_of_week(0, 7, 59), False),
        (minute_of_week(0, 8, 0), True),
        (minute_of_week(4, 17, 59), True),
        (minute_of_week(4, 18, 0), False),
        (minute_of_week(5, 12, 0), False),
    ],
)
def test_a_time_begins_and_ends_on_the_minute(minute: int, holds: bool) -> None:
    """The first minute is in it, the one it ends with isn't."""
    assert (minute in parse_schedule("Mon-Fri 08:00-18:00")) is holds


def test_the_night_belongs_to_the_day_it_began() -> None:
    """Friday night lasts until Saturday morning, and no other night does."""
    night = parse_schedule("Fri 22:00-06:00")
    assert minute_of_week(4, 23, 0) in night
    assert minute_of_week(5, 5, 59) in night
    assert minute_of_week(4, 5, 0) not in night
    assert minute_of_week(5, 6, 0) not in night


def held(when: schedule.Schedule, day: datetime) -> int:
    """Return for how many minutes of the local *day* it is the time, as they pass."""
    midnight = day.astimezone(ZoneInfo("UTC"))
    zone, count = day.tzinfo, 0
    for minute in range(25 * 60):
        local = (midnight + timedelta(minutes=minute)).astimezone(zone)
        is_today = local.day == day.day
        count += is_today and minute_of_week(local.weekday(), local.hour, local.minute) in when
    return count


@pytest.mark.parametrize(
    ("month", "day", "text", "minutes"),
    [
        (3, 28, "01:00-04:00", 180),
        (3, 29, "01:00-04:00", 120),
        (3, 29, "08:00-18:00", 600),
        (10, 25, "01:00-04:00", 240),
        (10, 25, "08:00-18:00", 600),
    ],
)
def test_clocks_change(month: int, day: int, text: str, minutes: int) -> None:
    """Office hours stay office hours; only what is cut out of a night, or doubled, changes."""
    midnight = datetime(2026, month, day, tzinfo=ZoneInfo("Europe/Berlin"))
    assert held(parse_schedule(text), midnight) == minutes


def test_the_text_is_kept() -> None:
    """What is shown to people is what was written, on one line."""
    assert str(parse_schedule(" Mon-Fri\t08:00-18:00;\nSat ")) == "Mon-Fri 08:00-18:00; Sat"


@given(
    st.text(max_size=40) | st.lists(st.sampled_from([*DAYS, "08:00-9:00", ",", ";"])).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text fails in another way, and what is read lies within the week."""
    try:
        found = parse_schedule(text)
    except ValueError:
        return
    assert all(0 <= begin < end <= MINUTES_A_WEEK for begin, end in found.spans)
    assert parse_schedule(str(found)).spans == found.spans
