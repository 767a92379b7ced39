"""What docs/cache-tools.md shows is what the commands print."""

from __future__ import annotations

import re

from proxyapp import cachetool, tap
from proxyapp.rules.caching.report import Outcome, Report
from proxyapp.rules.caching.reportwords import HEADING, outcome_row, report_page, report_row
from tests.test_readme import blocks, doc, rows

TEXT = doc("cache-tools.md")
COMMANDS, LIST, PAGE, FETCHED, _ = blocks(TEXT, "")
KIB, MIB, HOURS, DAYS = 1024, 1024 * 1024, 3600, 86400
OVER = "its lifetime of 86400 s is over"
MANUAL = Report(
    url="http://example.com/manual.pdf",
    status=200,
    size=1467392,
    total=1467392,
    media_type="application/pdf",
    age=2 * DAYS + 4 * HOURS,
    lifetime=DAYS,
    fresh_for=-(DAYS + 4 * HOURS),
    is_pinned=True,
    is_complete=True,
    is_in_memory=False,
    validated=OVER,
    reason="OK",
    varying=(("accept-encoding", "gzip"),),
    fields=(
        ("Content-Type", "application/pdf"),
        ("ETag", '"5e3-1663c0"'),
        ("Cache-Control", "max-age=86400"),
        ("Content-Length", "1467392"),
    ),
)


def stored(url: str, status: int, size: int, age: int, left: int, **marks: object) -> Report:
    """Return a report with few marks."""
    given: dict[str, object] = {"is_pinned": False, "is_complete": True, "validated": ""} | marks
    return Report(url, status, size, None, "", age, age + left, left, is_in_memory=True, **given)  # type: ignore[arg-type]  # by name


def test_the_list() -> None:
    """The rows of the example are those of such entries."""
    deb = "http://deb.example/debian"
    told = [
        stored(f"{deb}/dists/stable/InRelease", 200, 24678, 180, 57 * 60),
        MANUAL,
        stored(f"{deb}/pool/l/linux.deb", 200, 60 * MIB, 12, 7 * DAYS - HOURS, is_complete=False),
        stored("http://example.com/manual", 301, 154, 9, 60, validated="no-cache"),
    ]
    shown = [HEADING, *map(report_row, told)]
    assert LIST.splitlines()[:-1] == shown
    assert re.fullmatch(r"4 entries, [0-9.]+ MiB", LIST.splitlines()[-1])


def test_the_page() -> None:
    """So is the page of one of them."""
    assert report_page(MANUAL) == PAGE


def test_the_progress() -> None:
    """So are the lines of what is fetched."""
    deb = "http://deb.example/debian"
    outcomes = [
        Outcome(f"{deb}/dists/stable/InRelease", 200, 24678, 0.0, "hit", True, True),
        Outcome(f"{deb}/pool/l/linux.deb", 200, 60 * MIB, 9.0, "miss", False, True),
        Outcome("http://example.com/account", 200, 2 * KIB, 0.1, "miss", False, False),
        Outcome(
            "ftp://example.com/", 0, 0, 0.0, "", False, False,
            "only http and https URLs can be fetched",
        ),
    ]  # fmt: skip
    *lines, total = FETCHED.splitlines()
    assert lines == [outcome_row(outcome) for outcome in outcomes]
    totals = cachetool.Totals()
    for outcome in outcomes:
        totals.add(outcome)
    assert str(totals).partition(";")[0] == total.partition(";")[0]


def test_every_option_and_status() -> None:
    """The page has each option of the tools, and each exit status."""
    declared = {option[0] for option in tap.Options.optParameters}
    tools = {name for name in declared if name.startswith("cache-")} | {"prefetch", "json"}
    table = [row[0] for row in rows(TEXT)]
    assert {name for cell in table for name in re.findall(r"^`--([a-z-]+)", cell)} == tools
    statuses = [int(cell) for cell in table if cell.isdigit()]
    assert statuses == [
        cachetool.DONE,
        cachetool.NOTHING,
        cachetool.BAD_COMMAND,
        cachetool.UNREACHABLE,
        cachetool.INTERRUPTED,
    ]
    assert len(re.findall(r"^twistd proxyapp --config", COMMANDS, re.MULTILINE)) == 5
