"""Values that only rules have: actions, users, methods, services, times, rates and quotas."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar, get_args

from proxyapp.config import lists, values
from proxyapp.config.lists import Networks, words
from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules.question import Action, Period
from proxyapp.rules.schedule import Schedule, parse_schedule
from proxyapp.wire import headers

T = TypeVar("T")

SERVICES = ("proxy", "tunnel", "fetch", "site")
# A rule's name stands in headings, in the log and on pages.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# RFC 7617 section 2: a colon ends the name.
_USER = re.compile(r"[^\x00-\x20\x7f:,]{1,255}")
_LONGEST_MESSAGE = 500
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_RATE = re.compile(r"([0-9.]+)([A-Za-z]*)/([a-z]+)")
_SECONDS = {"s": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0}
_SECONDS["hour"] = _SECONDS["h"]
_MOST_REQUESTS = 1_000_000.0
_RATE_IS = "rates such as 50/s, 100/m or 2MiB/s would be right"
_PERIODS: dict[str, Period] = {period: period for period in get_args(Period) if period}
_QUOTA_IS = "5GiB/day, or per week or month, would be right"
_size = values.size(1, 1024 * 1024 * values.GIB)


class _Rate(NamedTuple):
    requests: float = 0.0
    size: int = 0


def rule_name(text: str, _: Surroundings) -> str:
    """Read the NAME of [rule NAME]."""
    if not _NAME.fullmatch(text):
        raise WrongValue(f"{shown(text)} is no name; letters, digits, and . _ - would be right")
    return text


def action(text: str, surroundings: Surroundings) -> Action:
    """Read what a rule does; there is no default."""
    if not text:
        raise WrongValue("is missing; allow, deny or report would be right")
    return values.choice(Action)(text, surroundings)


def clients(text: str, surroundings: Surroundings) -> Networks | None:
    """Read networks of clients; the empty text is no condition."""
    return _condition(lists.networks, "network", text, surroundings)


def ports(text: str, surroundings: Surroundings) -> frozenset[int] | None:
    """Read ports; the empty text and `*` are no condition."""
    return lists.ports(text, surroundings) if text else None


def users(text: str, _: Surroundings) -> frozenset[str] | None:
    """Read names of users, or `*`; the empty text is no condition."""
    return _each(text, _user)


def methods(text: str, _: Surroundings) -> frozenset[bytes] | None:
    """Read methods (RFC 9110 section 9.1); the empty text is no condition."""
    return _each(text, _method)


def services(text: str, _: Surroundings) -> frozenset[str] | None:
    """Read names of services; the empty text is no condition."""
    return _each(text, _service)


def when(text: str, _: Surroundings) -> Schedule | None:
    """Read days and times; the empty text is no condition."""
    try:
        return parse_schedule(text) if text else None
    except ValueError as error:
        raise WrongValue(str(error)) from error


def requests_per_second(text: str, surroundings: Surroundings) -> float:
    """Read the rate of requests among *text*; 0 is none."""
    return _rates(text, surroundings).requests


def bytes_per_second(text: str, surroundings: Surroundings) -> int:
    """Read the rate of bytes among *text*; 0 is none."""
    return _rates(text, surroundings).size


def quota_bytes(text: str, surroundings: Surroundings) -> int:
    """Read the bytes of `5GiB/day`; the empty text is 0, no quota."""
    if not text:
        return 0
    size, slash, period = text.partition("/")
    if not slash or period.strip().lower() not in _PERIODS:
        raise WrongValue(f"{shown(text)} is no quota; {_QUOTA_IS}")
    return _size(size.strip(), surroundings)


def quota_period(text: str, _: Surroundings) -> Period:
    """Read the period of `5GiB/day`; `quota_bytes` finds what is wrong with it."""
    return _PERIODS.get(text.partition("/")[2].strip().lower(), "")


def message(text: str, _: Surroundings) -> str:
    """Read words for people, as one line."""
    line = " ".join(text.split())
    if _UNPRINTABLE.search(line) or len(line) > _LONGEST_MESSAGE:
        reason = f"up to {_LONGEST_MESSAGE} printable characters would be right"
        raise WrongValue(f"{shown(line)} can't be shown; {reason}")
    return line


def _condition(
    parse: Callable[[str, Surroundings], T], what: str, text: str, surroundings: Surroundings
) -> T | None:
    """Read a list that may come from files; one that turns out empty would match nothing."""
    if not text:
        return None
    found = parse(text, surroundings)
    if not found:
        raise WrongValue(f"{shown(text)} holds no {what}, so the rule would never match")
    return found


def _each(text: str, parse: Callable[[str], T]) -> frozenset[T] | None:
    found: list[T] = []
    reasons: list[str] = []
    for word in words(text):
        try:
            found.append(parse(word))
        except WrongValue as wrong:
            reasons += wrong.reasons
    if reasons:
        raise WrongValue(*reasons)
    return frozenset(found) or None


def _user(word: str) -> str:
    if not _USER.fullmatch(word):
        raise WrongValue(f"{shown(word)} is no user; a name without colons would be right")
    return word


def _method(word: str) -> bytes:
    name = word.encode("utf-8")
    if not headers.is_token(name):
        raise WrongValue(f"{shown(word)} is no method; GET or another token would be right")
    if word.islower():
        # Methods are case-sensitive, and none that is registered is in lower case.
        raise WrongValue(f"{shown(word)} is in lower case; {word.upper()} would be right")
    return name


def _service(word: str) -> str:
    name = word.lower()
    if name not in SERVICES:
        near = difflib.get_close_matches(name, SERVICES, 1) or [", ".join(SERVICES)]
        raise WrongValue(f"{shown(word)} is no service; {near[0]} would be right")
    return name


def _rates(text: str, surroundings: Surroundings) -> _Rate:
    found = _Rate()
    for word in words(text):
        rate = _rate(word, surroundings)
        if (rate.requests and found.requests) or (rate.size and found.size):
            raise WrongValue(f"{shown(word)} is the second of its kind; one would be right")
        found = _Rate(found.requests + rate.requests, found.size + rate.size)
    return found


def _rate(word: str, surroundings: Surroundings) -> _Rate:
    match = _RATE.fullmatch(word)
    seconds = _SECONDS.get(match[3]) if match else None
    if match is None or seconds is None:
        raise WrongValue(f"{shown(word)} is no rate; {_RATE_IS}")
    if match[2]:
        return _Rate(size=max(1, int(_size(match[1] + match[2], surroundings) / seconds)))
    number = _number(match[1])
    if not 0 < number <= _MOST_REQUESTS:
        raise WrongValue(f"{shown(word)} is no rate; {_RATE_IS}")
    return _Rate(requests=number / seconds)


def _number(digits: str) -> float:
    return float(digits) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", digits) else 0.0
