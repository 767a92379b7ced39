"""What Cache-Control says, in requests and in responses (RFC 9111 section 5.2).

Read strictly: where a value can't be, or says two things, the one that has less reused counts
(section 4.2.1).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from proxyapp.wire.headers import Fields, is_token, split_list

# Section 1.2.2: what is larger is taken for this, and is longer than anything is kept.
LONGEST = float(2**31)
_MOST_DIGITS = 10
# Longer ones are nobody's in earnest; they are read, and not remembered.
_LONGEST_REMEMBERED = 512

_FLAGS = frozenset(
    b"no-store no-cache private public must-revalidate proxy-revalidate must-understand immutable "
    b"no-transform only-if-cached".split()
)
# These may name fields instead of meaning the whole response (sections 5.2.2.4 and 5.2.2.7).
_QUALIFIED = frozenset((b"no-cache", b"private"))
# What each number is where it can't be read. None: as if the directive weren't there.
_BROKEN = {
    b"max-age": 0.0,
    b"s-maxage": 0.0,
    b"stale-while-revalidate": None,
    b"stale-if-error": None,
    b"max-stale": None,
    b"min-fresh": LONGEST,
}
# Of two values, the one that has less reused: the smaller one, but for this.
_LARGER_IS_STRICTER = frozenset((b"min-fresh",))
_DIGITS = re.compile(rb"[0-9]+")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives that mean something to us, names in lower case.

    *flags* are those without a number, *seconds* those with one. *listed* maps no-cache and
    private to the fields they name, where they do; then they are not among the flags.
    """

    flags: frozenset[bytes]
    seconds: Mapping[bytes, float]
    listed: Mapping[bytes, frozenset[bytes]]

    @property
    def listed_fields(self) -> frozenset[bytes]:
        """The fields that may not be stored, while the rest of the response may."""
        return frozenset().union(*self.listed.values())


def of(fields: Fields, ignored: frozenset[bytes] = frozenset()) -> Directives:
    """Return what *fields* say in Cache-Control, but for the directives that are *ignored*."""
    value = fields.combined.get(b"cache-control")
    if value is None:
        return NOTHING
    if len(value) > _LONGEST_REMEMBERED:
        return _parse(value, ignored)
    return _remembered(value, ignored)


def _parse(value: bytes, ignored: frozenset[bytes]) -> Directives:
    flags: set[bytes] = set()
    seconds: dict[bytes, float] = {}
    listed: dict[bytes, frozenset[bytes]] = {}
    # A quoted string that never ends would hide a no-store behind it.
    is_broken = b'"' in value and b'"' in _QUOTED.sub(b"", value)
    elements = value.split(b",") if is_broken else split_list(value)
    for element in elements:
        spelled, equals, argument = element.partition(b"=")
        name = spelled.strip(b" \t").lower()
        if name in ignored:
            continue
        if name in _BROKEN:
            _note(seconds, name, _seconds(name, argument if equals else None))
        elif name in _QUALIFIED and (named := _field_names(argument)):
            listed[name] = listed.get(name, frozenset()) | named
        elif name in _FLAGS:
            flags.add(name)
    return Directives(frozenset(flags), seconds, listed)


_remembered = functools.lru_cache(maxsize=2048)(_parse)
NOTHING = Directives(frozenset(), {}, {})


def _note(seconds: dict[bytes, float], name: bytes, number: float | None) -> None:
    if number is None:
        return
    known = seconds.get(name, number)
    seconds[name] = max(known, number) if name in _LARGER_IS_STRICTER else min(known, number)


def _seconds(name: bytes, argument: bytes | None) -> float | None:
    if argument is None and name == b"max-stale":
        return LONGEST  # section 5.2.1.2: however stale it is
    text = argument or b""
    if len(text) > 1 and text[:1] == text[-1:] == b'"':
        text = text[1:-1]  # section 5.2: a recipient ought to read both forms
    if not _DIGITS.fullmatch(text):
        return _BROKEN[name]
    return delta_seconds(text)


def delta_seconds(digits: bytes) -> float:
    """Return the number that *digits* are, LONGEST at most (RFC 9111 section 1.2.2)."""
    digits = digits.lstrip(b"0")
    return LONGEST if len(digits) > _MOST_DIGITS else min(float(digits or b"0"), LONGEST)


def _field_names(argument: bytes) -> frozenset[bytes]:
    """Return the fields that *argument* names; none where it is anything else than that."""
    if len(argument) > 1 and argument[:1] == argument[-1:] == b'"':
        argument = argument[1:-1]
    names = [name.strip(b" \t").lower() for name in argument.split(b",")]
    names = [name for name in names if name]
    return frozenset(names) if all(map(is_token, names)) else frozenset()
