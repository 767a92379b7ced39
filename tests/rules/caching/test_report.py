"""What is told of stored responses, across the socket and on the terminal."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.report import (
    FOR_EVER,
    Content,
    Outcome,
    Report,
    outcome_of,
    report,
    report_of,
    to_line,
)
from proxyapp.rules.caching.reportwords import (
    HEADING,
    is_failure,
    outcome_row,
    printable,
    report_page,
    report_row,
    size_words,
    time_words,
)
from proxyapp.rules.caching.stored import Stored
from proxyapp.wire.headers import Fields

NOW = 1_000_000_000.0
WHOLE = Content(10, ((0, 10),), True, False, False)
PART = Content(7, ((0, 4), (6, 9)), False, False, True)


def stored(cache_control: bytes = b"max-age=60", **changes: object) -> Stored:
    """Return a response that arrived 20 seconds ago."""
    fields = Fields([(b"Content-Type", b"text/plain"), (b"Cache-Control", cache_control)])
    made: dict[str, object] = {"asked_at": NOW - 20, "arrived_at": NOW - 20, "total": 10}
    return Stored(200, b"OK", fields, **(made | changes))  # type: ignore[arg-type]  # by name


def told(found: Stored, content: Content = WHOLE, policy: Policy = DEFAULT) -> Report:
    """Return the whole report on *found*."""
    return report(b"http://a.example/", found, content, policy, NOW, True)


@pytest.mark.parametrize(
    ("cache_control", "changes", "validated"),
    [
        (b"max-age=60", {"is_invalid": True}, "something that was sent to its origin since"),
        (b"no-cache, max-age=60", {}, "wants to be validated each time (no-cache)"),
        (b"max-age=10", {}, "its lifetime of 10 s is over"),
        (b"max-age=10, stale-while-revalidate=60", {}, "it is used once more meanwhile"),
        (b"max-age=60", {}, ""),
    ],
)
def test_why_it_is_validated(
    cache_control: bytes, changes: dict[str, object], validated: str
) -> None:
    """The report says why the origin is asked, and nothing where it isn't."""
    found = told(stored(cache_control, **changes)).validated
    assert validated in found
    assert bool(validated) == bool(found)


def test_times() -> None:
    """Age, lifetime and what is left of it are whole seconds; for ever is a number, too."""
    fresh = told(stored())
    assert (fresh.age, fresh.lifetime, fresh.fresh_for) == (20, 60, 40)
    assert told(stored(b"max-age=10")).fresh_for == -10
    for_ever = told(stored(ttl=math.inf))
    assert (for_ever.lifetime, for_ever.fresh_for) == (FOR_EVER, FOR_EVER)
    assert told(stored(), policy=Policy(ttl=5.0)).fresh_for == -15


def test_a_short_report() -> None:
    """In a list the head, extents and varying are left out."""
    found = stored(varying=((b"accept-encoding", b"gzip"), (b"cookie", None)))
    whole, short = told(found), report(b"http://a.example/", found, WHOLE, DEFAULT, NOW, False)
    assert whole.varying == (("accept-encoding", "gzip"), ("cookie", "-"))
    assert whole.fields[0] == ("Content-Type", "text/plain")
    assert whole.extents == ((0, 10),)
    assert (short.fields, short.extents, short.varying) == ((), (), ())
    assert short.media_type == "text/plain"


@pytest.mark.parametrize("content", [WHOLE, PART])
def test_across_the_socket(content: Content) -> None:
    """What one end writes the other reads, octets beyond ASCII included."""
    found = told(stored(b"x=\xff\x9b", varying=((b"accept", None),)), content)
    line = to_line(found)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert report_of(line) == found


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b"{}", b'{"url": 3, "other": 4}'])
def test_what_is_no_line(line: bytes) -> None:
    """Anything else is a ValueError and nothing worse."""
    with pytest.raises(ValueError, match=r".*"):
        report_of(line)
    with pytest.raises(ValueError, match=r".*"):
        outcome_of(line)


def test_outcomes_across_the_socket() -> None:
    """An outcome comes back as well."""
    for outcome in (
        Outcome("http://a.example/", 200, 5, 0.25, "miss", False, True),
        Outcome("http://a.example/", 504, 0, 0.25, "", False, False, "no name server answered"),
    ):
        assert outcome_of(to_line(outcome)) == outcome


# --- Words ---


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_size_words(size: int, words: str) -> None:
    """Sizes are told in the unit that leaves few digits."""
    assert size_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3605, "1h"),
        (90000, "1d 1h"),
        (FOR_EVER, "ever"),
    ],
)
def test_time_words(seconds: int, words: str) -> None:
    """Times are told in two units at most."""
    assert time_words(seconds) == words


@given(st.text())
def test_nothing_moves_the_cursor(text: str) -> None:
    """Whatever an origin wrote, a terminal shows it and does nothing else."""
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("cache_control", "content", "state"),
    [
        (b"max-age=10", WHOLE, "stale 10s"),
        (b"no-cache, max-age=60", WHOLE, "validated"),
        (b"max-age=60", WHOLE, "fresh 40s"),
        (b"max-age=60", PART, "fresh 40s, part, pinned"),
    ],
)
def test_rows(cache_control: bytes, content: Content, state: str) -> None:
    """A row of the list stands below its heading."""
    row = report_row(told(stored(cache_control), content))
    assert f"  {state}  " in row
    assert row.endswith("  http://a.example/")
    assert HEADING.index("state") == row.index(state)


def test_a_page() -> None:
    """A page has the facts, then the head."""
    page = report_page(told(stored(b"max-age=10", varying=((b"accept", b"*/*"),)), PART))
    for line in (
        "url:        http://a.example/\n",
        "status:     200 OK\n",
        "content:    7 B (7 bytes) of 10: 0-3, 6-8\n",
        "place:      disk\n",
        "pinned:     yes\n",
        "age:        20s\n",
        "fresh:      no, since 10s\n",
        "validated:  its lifetime of 10 s is over\n",
        "varies by:  accept: */*\n",
        "\nContent-Type: text/plain\nCache-Control: max-age=10\n",
    ):
        assert line in page
    assert "fresh:      for 40s of 1m\n" in report_page(told(stored()))
    assert "content:    10 B (10 bytes)\n" in report_page(told(stored()))


@pytest.mark.parametrize(
    ("outcome", "row", "is_bad"),
    [
        (Outcome("u", 0, 0, 0.0, "", False, False, "bad\x1b"), "failed      u  (bad\\x1b)", True),
        (Outcome("u", 404, 3, 0.1, "miss", False, True), "failed      u", True),
        (Outcome("u", 200, 3, 0.1, "miss", False, False), "not stored  u", False),
        (Outcome("u", 200, 3, 0.1, "miss", False, True), "fetched     u", False),
        (Outcome("u", 200, 3, 0.1, "hit", True, True), "cached      u", False),
    ],
)
def test_outcome_rows(outcome: Outcome, row: str, is_bad: bool) -> None:
    """A line says what became of the URL, and why nothing did."""
    assert outcome_row(outcome).endswith(row)
    assert is_failure(outcome) is is_bad
    assert json.loads(to_line(outcome))["url"] == "u"
