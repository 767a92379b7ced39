"""Reports on stored responses as rows and pages for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from proxyapp.rules.caching.report import FOR_EVER, Outcome, Report

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_TIMES = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
HEADING = "status       size       age  state                 url"
# The names of a page stand in a column of this width.
_NAMES = 12


def size_words(size: int) -> str:
    """Return *size*, in bytes, as people read it."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1024
        if value < 1024 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def time_words(seconds: int) -> str:
    """Return *seconds*, which aren't negative, in the two largest units they fill."""
    if seconds >= FOR_EVER:
        return "ever"
    words: list[str] = []
    for unit, length in _TIMES:
        count, seconds = divmod(seconds, length)
        if count or words:
            words.append(f"{count}{unit}")
        if len(words) == 2:
            break
    return " ".join(word for word in words if word[0] != "0") or "0s"


def printable(text: str) -> str:
    """Return *text*, an origin's words, without what a terminal would obey."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def report_row(told: Report) -> str:
    """Return the row of a list, below HEADING."""
    state = _state(told)
    if not told.is_complete:
        state += ", part"
    if told.is_pinned:
        state += ", pinned"
    return (
        f"{told.status:>6}  {size_words(told.size):>9}  {time_words(max(0, told.age)):>8}"
        f"  {state:<20}  {printable(told.url)}"
    )


def _state(told: Report) -> str:
    if told.fresh_for < 0:
        return f"stale {time_words(-told.fresh_for)}"
    return "validated" if told.validated else f"fresh {time_words(told.fresh_for)}"


def report_page(told: Report) -> str:
    """Return all that is known of one stored response, then its head as it was stored."""
    facts = "".join(f"{f'{name}:':<{_NAMES}}{printable(text)}\n" for name, text in _facts(told))
    fields = "".join(f"{printable(name)}: {printable(value)}\n" for name, value in told.fields)
    return f"{facts}\n{fields}"


def _facts(told: Report) -> Iterator[tuple[str, str]]:
    yield "url", told.url
    yield "status", f"{told.status} {told.reason}".rstrip()
    yield "content", _content(told)
    yield "place", "memory" if told.is_in_memory else "disk"
    yield "pinned", "yes" if told.is_pinned else "no"
    yield "age", time_words(max(0, told.age))
    if told.fresh_for < 0:
        yield "fresh", f"no, since {time_words(-told.fresh_for)}"
    else:
        yield "fresh", f"for {time_words(told.fresh_for)} of {time_words(told.lifetime)}"
    yield "validated", told.validated or "not before its next use"
    for name, value in told.varying:
        yield "varies by", f"{name}: {value}"


def _content(told: Report) -> str:
    here = f"{size_words(told.size)} ({told.size} bytes)"
    if told.is_complete:
        return here
    ranges = ", ".join(f"{start}-{end - 1}" for start, end in told.extents) or "nothing"
    total = "an unknown number" if told.total is None else str(told.total)
    return f"{here} of {total}: {ranges}"


def outcome_row(outcome: Outcome) -> str:
    """Return the line that tells the end of one URL's fetch."""
    status = str(outcome.status or "-")
    size = size_words(outcome.size)
    row = f"{status:>6}  {size:>9}  {_became(outcome):<10}  {printable(outcome.url)}"
    return f"{row}  ({printable(outcome.reason)})" if outcome.reason else row


def is_failure(outcome: Outcome) -> bool:
    """Is there no answer, or one that says that something is wrong?"""
    return bool(outcome.reason) or outcome.status >= 400


def _became(outcome: Outcome) -> str:
    if is_failure(outcome):
        return "failed"
    if outcome.is_found:
        return "cached"
    return "fetched" if outcome.is_stored else "not stored"
