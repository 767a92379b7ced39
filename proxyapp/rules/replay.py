"""Lines of request logs as questions: who asked for what, when, and was it refused?

Reads the formats json, squid (also Squid's own) and combined or common, line by line. What they
don't tell is left open: only json says which rule refused, squid mixes refusals by rules with those
by addresses, and in combined an origin's 403 looks like ours.
"""

from __future__ import annotations

import enum
import functools
import json
import re
from datetime import datetime
from typing import NamedTuple

from proxyapp import errors
from proxyapp.rules.question import Question
from proxyapp.rules.schedule import minute_of_week
from proxyapp.rules.stages import Case, is_address
from proxyapp.rules.upgrade import Spellings
from proxyapp.wire.headers import NO_FIELDS, is_token
from proxyapp.wire.target import Origin, parse_target


class Was(enum.Enum):
    """What became of a request, as far as its line tells."""

    PASSED = "passed"
    REFUSED = "refused by a rule"
    REFUSED_SOMEHOW = "refused by a rule or for its address"
    UNCLEAR = "refused by us or by the origin"


class Logged(NamedTuple):
    """A request as a line tells it; *minute* is that of the local week."""

    case: Case
    minute: int
    was: Was


class Unreadable(ValueError):
    """The line is in no known format."""


def read_line(line: str) -> Logged | None:
    """Return the request of *line*, or None where there's nothing that rules could judge.

    That is a head that couldn't be read, a request for the server itself, a loop, or the question
    for a password. Raises Unreadable.
    """
    if line.startswith("{"):
        return _read_json(line)
    return _read_squid(line) if _SQUID.match(line) else _read_combined(line)


# --- json ---

_SERVICES = frozenset(("proxy", "tunnel", "fetch", "site"))
_LOOP = "proxy_loop_detected"
_BY_RULE = "http_request_denied"
_FOR_ADDRESS = "destination_ip_prohibited"
_BY_PARENT = "[upstream] proxy"
_ASKED_FOR_PASSWORD = frozenset((401, 407))
_FORBIDDEN = 403


def _read_json(line: str) -> Logged | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable from None
    if not isinstance(fields, dict):
        raise Unreadable
    given = {name: value for name, value in fields.items() if isinstance(value, str)}
    status, user = fields.get("status"), fields.get("user")
    if not isinstance(status, int) or not (user is None or isinstance(user, str)):
        raise Unreadable
    try:
        service, error = given["service"], given["error"]
        was = _was_in_json(service, status, error, given["rule"])
        minute = _minute(datetime.fromisoformat(given["time"]))
        client, method, target = given["client_host"], given["method"], given["url"]
        upstream = given["upstream"]
    except (KeyError, ValueError):
        raise Unreadable from None
    if service == "-" or status in _ASKED_FOR_PASSWORD or error == _LOOP:
        return None
    if service not in _SERVICES:
        raise Unreadable
    asked = _Asked(service, _client(client), user, method, target)
    address = _known_address(upstream.rpartition(":")[0].strip("[]"))
    return _logged(asked, address, minute, was)


def _was_in_json(service: str, status: int, error: str, rule: str) -> Was:
    if status != _FORBIDDEN or rule == _BY_PARENT:
        return Was.PASSED
    if error == _FOR_ADDRESS:
        return Was.REFUSED_SOMEHOW
    # The site refuses what isn't for the rules to judge, such as files that it may not read.
    if error == _BY_RULE and (rule or service != "site"):
        return Was.REFUSED
    return Was.PASSED


# --- squid ---

_SQUID = re.compile(r" *[0-9]+\.[0-9]+ ")
_SQUID_COLUMNS = 9
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def _read_squid(line: str) -> Logged | None:
    """Read Squid's native format: end, milliseconds, client, code/status, size, method, URL ..."""
    columns = line.split()
    if len(columns) < _SQUID_COLUMNS:
        raise Unreadable
    ended, milliseconds, client, outcome, _, method, url, user, way = columns[:_SQUID_COLUMNS]
    code, slash, status = outcome.partition("/")
    try:
        minute = _minute_of(int(float(ended) - int(milliseconds) / 1000) // 60)
    except (ValueError, OverflowError, OSError):
        raise Unreadable from None
    if not slash or not status.isdecimal():
        raise Unreadable
    if url.startswith("error:"):
        return None
    service = _service_of(method, url)
    was = _was_in_squid(code, int(status), service)
    if was is None:
        return None
    asked = _Asked(service, _client(client), _user(user), method, url)
    hierarchy, _, peer = way.partition("/")
    # Where a parent was asked, the address is the parent's.
    address = _known_address(peer) if "DIRECT" in hierarchy else ""
    return _logged(asked, address, minute, was)


def _was_in_squid(code: str, status: int, service: str) -> Was | None:
    if not code.startswith("TCP_DENIED"):
        return Was.PASSED
    if status != _FORBIDDEN:
        return None
    return Was.UNCLEAR if service == "site" else Was.REFUSED_SOMEHOW


@functools.lru_cache(maxsize=16)
def _minute_of(minutes: int) -> int:
    """Return the minute of the week of a number of minutes since 1970, in the local zone."""
    return _minute(datetime.fromtimestamp(minutes * 60))


def _user(column: str) -> str | None:
    if column == "-":
        return None
    octets = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), column).encode("latin-1", "replace")
    return octets.decode("utf-8", "replace")


# --- combined and common ---

_COMBINED = re.compile(
    r"(?P<client>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\]"
    r' "(?:-|(?P<method>\S+) (?P<target>\S+) HTTP/[0-9.]+)" (?P<status>[0-9]{3}|-) '
)
_TIME = re.compile(r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):[0-9]{2} ")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LOOP_DETECTED = 508


def _read_combined(line: str) -> Logged | None:
    match = _COMBINED.match(line + " ")
    if match is None:
        raise Unreadable
    method, target = match["method"], match["target"]
    minute = _minute(_common_time(match["time"]))
    if method is None:
        return None
    status = 0 if match["status"] == "-" else int(match["status"])
    service = _service_of(method, target)
    if status in (407, _LOOP_DETECTED) or (status in _ASKED_FOR_PASSWORD and service == "site"):
        return None
    asked = _Asked(service, _client(match["client"]), _user(match["user"]), method, target)
    was = Was.UNCLEAR if status == _FORBIDDEN else Was.PASSED
    return _logged(asked, "", minute, was)


def _common_time(text: str) -> datetime:
    """Read the time of Apache's log, as the clock on the wall showed it."""
    match = _TIME.match(text)
    if match is None or match[2] not in _MONTHS:
        raise Unreadable
    day, month, year, hour, minute = match.groups()
    try:
        return datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute))
    except ValueError:
        raise Unreadable from None


# --- What they have in common ---


class _Asked(NamedTuple):
    """Who asked which service for what, as texts."""

    service: str
    client: str
    user: str | None
    method: str
    target: str


def _service_of(method: str, target: str) -> str:
    if method == "CONNECT":
        return "tunnel"
    return "site" if target.startswith("/") else "proxy"


# The format combined has the target as it was asked for, and nobody knows with which fields.
_SPELLINGS = Spellings(b"", None)


def _logged(asked: _Asked, address: str, minute: int, was: Was) -> Logged | None:
    method = asked.method.encode("ascii", "replace")
    if not is_token(method):
        return None
    origin: Origin | None = None
    if asked.service != "site":
        try:
            target = parse_target(method, asked.target.encode("ascii", "replace"))
            origin = _SPELLINGS.canonical(target, NO_FIELDS).origin
        except errors.BadRequest:
            return None
        if origin is None:
            return None
    host, port = ("", 0) if origin is None else (origin.host, origin.port)
    question = Question(asked.service, asked.client, asked.user, method, host, port)
    upgrades = asked.service == "proxy" and origin is not None and origin.scheme == "https"
    return Logged(Case(question, upgrades, address), minute, was)


def _client(text: str) -> str:
    if text in ("", "-"):
        return ""
    if not is_address(text):
        raise Unreadable
    return text


def _known_address(text: str) -> str:
    return text if is_address(text) else ""


def _minute(time: datetime) -> int:
    return minute_of_week(time.weekday(), time.hour, time.minute)
