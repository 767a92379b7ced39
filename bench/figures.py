"""Figures from rounds: costs, rates, medians, and the ratios the bars are set in."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Round(NamedTuple):
    """One load on one subject. Times are seconds; *cpu_seconds* is of all its processes.

    *dialled* counts the connections that the origin accepted meanwhile, *fetched* the requests that
    came on them.
    """

    work: str
    subject: str
    requests: int
    octets: int
    seconds: float
    cpu_seconds: float
    errors: int
    dialled: int
    p50: float
    p99: float
    fetched: int = 0


class Measure(NamedTuple):
    """One column: its heading, and the figure of a round; None where there is none."""

    heading: str
    of: Callable[[Round], float | None]


class Spread(NamedTuple):
    """The median of several rounds between the lowest and the highest."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        """Return the median with the range after it, in as many digits as it deserves."""
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)}-{number(self.high)})"


def requests_per_second(played: Round) -> float | None:
    """Return requests/s."""
    return ratio(played.requests, played.seconds)


def cpu_us_per_request(played: Round) -> float | None:
    """Return microseconds of processor time a request."""
    return ratio(played.cpu_seconds * 1e6, played.requests)


def cpu_ms_per_gb(played: Round) -> float | None:
    """Return milliseconds of processor time for 10^9 bytes."""
    return ratio(played.cpu_seconds * 1e3, played.octets / 1e9)


def mb_per_second(played: Round) -> float | None:
    """Return 10^6 bytes/s."""
    return ratio(played.octets / 1e6, played.seconds)


def p50_us(played: Round) -> float | None:
    """Return the median microseconds of one request."""
    return played.p50 * 1e6 or None


def p99_us(played: Round) -> float | None:
    """Return the microseconds that one request in a hundred exceeds."""
    return played.p99 * 1e6 or None


def ratio(value: float, by: float) -> float | None:
    """Return *value* / *by*, or None where there is nothing to divide by."""
    return value / by if by else None


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of the *values* there are, or None if there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(min(known), statistics.median(known), max(known))


def number(value: float) -> str:
    """Return *value* with three significant digits, or all of them before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def pool_is_reused(played: Round, connections: int) -> bool:
    """Were there far fewer connections to the origin than requests?

    Each connection of the load may dial once and once again; beyond that, one in twenty requests.
    """
    return played.dialled <= 2 * connections + played.requests / 20


def of_subject(rounds: Sequence[Round], work: str, subject: str) -> list[Round]:
    """Return the rounds that *subject* played at *work*."""
    return [played for played in rounds if (played.work, played.subject) == (work, subject)]
