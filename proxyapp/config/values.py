"""One value of the ini file, read from its text: numbers with units, switches, names, paths."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from proxyapp.rules import logformat
from proxyapp.wire import headers

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

SECONDS = 1.0
MINUTES = 60 * SECONDS
HOURS = 60 * MINUTES
DAYS = 24 * HOURS
KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
# As many sockets as one process could ever hold; more is a slip of the pen.
MANY = 1_000_000
# The shortest time that is worth waiting.
INSTANT = SECONDS / 100

_DURATION_UNITS = {"d": DAYS, "h": HOURS, "m": MINUTES, "s": SECONDS, "ms": SECONDS / 1000}
_SIZE_UNITS = {
    "TiB": 1024 * GIB,
    "GiB": GIB,
    "MiB": MIB,
    "KiB": KIB,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "B": 1,
}
_SPELLED_SIZE_UNITS = {name.lower(): factor for name, factor in _SIZE_UNITS.items()}
_WHOLE = re.compile(r"[0-9]{1,18}")
_WITH_UNIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([A-Za-z]*)")
_ON = frozenset(("yes", "on", "true", "1"))
_OFF = frozenset(("no", "off", "false", "0", ""))
# RFC 9110 section 7.6.3: a pseudonym is a token; a host with its port is as good.
_RECEIVED_BY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[0-9]{1,5})?")
# A switch of the request that is also its framing, its routing or its credentials breaks it.
_TAKEN_NAMES = frozenset(
    b"host connection content-length transfer-encoding te trailer upgrade expect "
    b"proxy-connection proxy-authorization authorization cookie via".split()
)
_LONGEST_SHOWN = 60
# Each has a pool and a cache of its own in memory; more than CPUs are of no use.
MOST_WORKERS = 64


class WrongValue(Exception):
    """A text that is no value of its option; each reason says what is wrong, and what is right."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Surroundings(NamedTuple):
    """What a value may depend on beside its text: where the ini lies, and the environment."""

    ini: Path | None
    environ: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where relative paths start: the folder of the ini, or the current one without an ini."""
        return Path.cwd() if self.ini is None else self.ini.absolute().parent


Parser: TypeAlias = Callable[[str, Surroundings], T]


def shown(text: str) -> str:
    """Quote *text* for a message, shortened where it is long."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")


def boolean(text: str, _: Surroundings) -> bool:
    """Read a switch; the empty text is off."""
    word = text.lower()
    if word not in _ON and word not in _OFF:
        raise WrongValue(f"{shown(text)} is neither on nor off; yes, no, on or off would be right")
    return word in _ON


def count(low: int, high: int) -> Parser[int]:
    """Make a parser of whole numbers from *low* to *high*; the empty text is 0."""
    right = f"a whole number from {low} to {high} would be right"

    def parse(text: str, _: Surroundings) -> int:
        if not _WHOLE.fullmatch(text or "0"):
            raise WrongValue(f"{shown(text)} is not a whole number; {right}")
        return _within(low, int(text or "0"), high, text, right)

    return parse


def duration(low: float, high: float) -> Parser[float]:
    """Make a parser of durations in seconds; the empty text is 0s."""
    span = f"{_spell_duration(low)} to {_spell_duration(high)}"
    right = f"a duration such as 500ms, 30s, 15m, 12h or 7d, from {span}, would be right"

    def parse(text: str, _: Surroundings) -> float:
        number, unit = _number_with_unit(text or "0s", right)
        if not unit:
            raise WrongValue(f"{shown(text)} has no unit; {text}s or another duration is right")
        if unit not in _DURATION_UNITS:
            raise WrongValue(f"{shown(text)} has an unknown unit; {right}")
        # Rounded, so that 500ms is 0.5 and not one bit beside it.
        return _within(low, round(float(number) * _DURATION_UNITS[unit], 6), high, text, right)

    return parse


def size(low: int, high: int) -> Parser[int]:
    """Make a parser of sizes in bytes; units are 1024-fold (KiB) or 1000-fold (KB)."""
    span = f"{_spell_size(low)} to {_spell_size(high)}"
    right = f"a size such as 4096, 64KiB or 10GB, from {span}, would be right"

    def parse(text: str, _: Surroundings) -> int:
        number, unit = _number_with_unit(text or "0", right)
        factor = _SPELLED_SIZE_UNITS.get(unit.lower() or "b")
        if factor is None:
            raise WrongValue(f"{shown(text)} has an unknown unit; {right}")
        return _within(low, int(float(number) * factor), high, text, right)

    return parse


def _number_with_unit(text: str, right: str) -> tuple[str, str]:
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        raise WrongValue(f"{shown(text)} is not a number with a unit; {right}")
    return match[1], match[2]


N = TypeVar("N", int, float)


def _within(low: N, value: N, high: N, text: str, right: str) -> N:
    if not low <= value <= high:
        raise WrongValue(f"{shown(text) if text else 'nothing'} is out of range; {right}")
    return value


def _spell_duration(seconds: float) -> str:
    return _spell(seconds, _DURATION_UNITS, "0s")


def _spell_size(number: int) -> str:
    return _spell(number, _SIZE_UNITS, "0")


def _spell(number: float, units: Mapping[str, float], zero: str) -> str:
    # The first unit that goes in evenly; the tables are in falling order.
    for unit, factor in units.items():
        if number >= factor and round(number / factor, 9).is_integer():
            return f"{round(number / factor)}{unit}"
    return zero


def choice(kind: type[E], empty: str = "off") -> Parser[E]:
    """Make a parser of the values of the enumeration *kind*; the empty text is its *empty*."""
    words = [str(member.value) for member in kind]

    def parse(text: str, _: Surroundings) -> E:
        word = text.lower() or empty
        if word not in words:
            known = ", ".join(words)
            raise WrongValue(f"{shown(text)} is not known; one of {known} would be right")
        return kind(word)

    return parse


def via(text: str, surroundings: Surroundings) -> bool:
    """Read `on`, `off` or `on NAME`: is Via added?"""
    switch, _, name = text.partition(" ")
    is_on = boolean(switch, surroundings)
    if name and not is_on:
        raise WrongValue(f"{shown(text)} names a pseudonym for nothing; on NAME would be right")
    if name and not _RECEIVED_BY.fullmatch(name.strip()):
        raise WrongValue(f"{shown(name)} is no name for Via; a token or host:port would be right")
    return is_on


def pseudonym(text: str, _: Surroundings) -> str:
    """Return the NAME of `on NAME`, or nothing; `via` finds what is wrong with it."""
    return text.partition(" ")[2].strip()


def field_name(text: str, _: Surroundings) -> bytes:
    """Read the name of a request field, in lower case; the empty text is none."""
    name = text.encode("utf-8").lower()
    if name and not headers.is_token(name):
        raise WrongValue(f"{shown(text)} is no field name; a token (RFC 9110) would be right")
    if name in _TAKEN_NAMES:
        raise WrongValue(f"{shown(text)} has a meaning of its own; X-Real-Protocol would be right")
    return name


_workers = count(1, MOST_WORKERS)


def workers(text: str, surroundings: Surroundings) -> int:
    """Read how many processes share the work; `auto` is one for each CPU that we may use."""
    if text.lower() == "auto":
        return len(os.sched_getaffinity(0))
    return _workers(text, surroundings)


def state_folder(text: str, surroundings: Surroundings) -> Path:
    """Read the folder for what must outlive a restart; it is made later, where it is missing."""
    if not text:
        raise WrongValue("is empty; a folder would be right")
    folder = surroundings.folder / text
    if folder.exists() and not folder.is_dir():
        raise WrongValue(f"{shown(text)} is not a folder; a folder would be right")
    return folder


def default_state_folder(surroundings: Surroundings) -> str:
    """Return systemd's folder for this service, else the one of the user."""
    given = surroundings.environ.get("STATE_DIRECTORY", "")
    if given:
        return given.partition(":")[0]  # systemd.exec(5): several are joined by colons
    base = surroundings.environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path there is to be ignored.
    if base.startswith("/"):
        return f"{base}/proxyapp"
    home = surroundings.environ.get("HOME", "")
    return f"{home}/.local/state/proxyapp" if home else "/var/lib/proxyapp"


def folder_or_none(text: str, surroundings: Surroundings) -> Path | None:
    """Read a folder that must exist; the empty text is none."""
    if not text:
        return None
    folder = surroundings.folder / text
    if not folder.is_dir():
        raise WrongValue(f"{str(folder)!r} is not a folder; an existing folder would be right")
    return folder


def default_root(surroundings: Surroundings) -> str:
    """Return `htdocs` if there is such a folder beside the ini, else nothing."""
    if surroundings.ini is None:
        return ""
    return "htdocs" if (surroundings.folder / "htdocs").is_dir() else ""


def certificates_or_none(text: str, surroundings: Surroundings) -> Path | None:
    """Read a file of PEM certificates that must be readable; the empty text is none."""
    if not text:
        return None
    file = surroundings.folder / text
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = f"{str(file)!r} can't be read ({error.strerror}); a readable file would be right"
        raise WrongValue(reason) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise WrongValue(f"{str(file)!r} holds no certificate; a PEM file would be right")
    return file


def request_log(text: str, surroundings: Surroundings) -> str:
    """Read where the request log goes: `-`, `syslog:`, nothing, or the absolute path of a file."""
    if text in ("", "-", "syslog:"):
        return text
    if text.startswith("syslog"):
        raise WrongValue(f"{shown(text)} is not known; syslog: would be right")
    file = surroundings.folder / text
    if file.is_dir():
        raise WrongValue(f"{str(file)!r} is a folder; a file in it would be right")
    if not file.parent.is_dir():
        raise WrongValue(f"{str(file.parent)!r} is not a folder; make it, or choose another file")
    return str(file)


def log_format(text: str, _: Surroundings) -> str:
    """Read a format of the request log: one of the named ones, or a format string."""
    try:
        logformat.compile_format(text)
    except ValueError as error:
        raise WrongValue(str(error)) from error
    return text
