"""Listeners: the shape of Twisted endpoint descriptions, judged without building an endpoint.

Twisted finds a wrong description when it listens, one at a time and by an exception of its own;
we want all of them before anything runs. The table holds what Twisted's own parsers take.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping

from proxyapp.config.values import Surroundings, WrongValue, shown

# The names of the arguments in the order in which they may go without their names; the first must
# be given. (twisted.internet.endpoints: _parseTCP and its siblings.)
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
    "tls": ("path", "port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
}
# Wraps another description: haproxy:tcp:8080.
_WRAPPER = "haproxy"
_PREFIXES = (*_ARGUMENTS, _WRAPPER)
# One argument: `name=value` or `value`, in which a backslash hides the next character.
_ARGUMENT = re.compile(r"((?:[^:\\]|\\.)*)(:|\Z)", re.DOTALL)
_ENDS_IN_ESCAPE = re.compile(r"(?:[^\\]|\\.)*\\", re.DOTALL)
_ANY_PORT = re.compile(r"(?:haproxy:)*tcp6?:(?:port=)?0+(?::|\Z)")
_NAMED = re.compile(r"((?:[^=\\]|\\.)*)=(.*)", re.DOTALL)


def listeners(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read endpoint descriptions, one a line; none at all turns the service off."""
    found = [line.strip() for line in text.split("\n") if line.strip()]
    reasons = [reason for line in found for reason in _wrong_with(line)]
    if reasons:
        raise WrongValue(*reasons)
    return tuple(found)


def is_shareable(description: str) -> bool:
    """May *description* be given twice? Only where the kernel chooses the port."""
    return _ANY_PORT.match(description) is not None


def _wrong_with(description: str) -> list[str]:
    prefix, colon, rest = description.partition(":")
    if prefix == _WRAPPER and colon:
        return _wrong_with(rest)
    if prefix not in _ARGUMENTS:
        return [f"{shown(description)} {_unknown_prefix(description, prefix)}"]
    if re.search(r"[\s,]", description):
        return [f"{shown(description)} holds a blank or a comma; one endpoint a line is right"]
    if _ENDS_IN_ESCAPE.fullmatch(description):
        return [f"{shown(description)} ends in a backslash that hides nothing; leave it out"]
    try:
        arguments = _assign(prefix, _split(rest))
        for name, value in arguments.items():
            _CHECKS.get(name, _anything)(value)
        _together(prefix, arguments)
    except WrongValue as wrong:
        return [f"{shown(description)}: {reason}" for reason in wrong.reasons]
    return []


def _unknown_prefix(description: str, prefix: str) -> str:
    if description.isdecimal():
        return f"is not an endpoint; tcp:{description} would be right"
    near = difflib.get_close_matches(prefix.lower(), _PREFIXES, 1)
    right = f"{near[0]}:..." if near else "tcp:3128 or tcp:3128:interface=192.168.7.1"
    return f"is not an endpoint; {right} would be right (known: {', '.join(_PREFIXES)})"


def _split(rest: str) -> list[tuple[str | None, str]]:
    """Split `80:interface=\\:\\:1` into (None, "80"), ("interface", "::1")."""
    arguments: list[tuple[str | None, str]] = []
    for match in _ARGUMENT.finditer(rest):
        named = _NAMED.fullmatch(match[1])
        name, value = (named[1], named[2]) if named else (None, match[1])
        arguments.append((name, re.sub(r"\\(.)", r"\1", value)))
        if not match[2]:
            break
    return arguments


def _assign(prefix: str, given: list[tuple[str | None, str]]) -> dict[str, str]:
    names = _ARGUMENTS[prefix]
    unnamed = iter(names)
    arguments: dict[str, str] = {}
    for spelled, value in given:
        name = next(unnamed, None) if spelled is None else spelled
        if name is None:
            raise WrongValue(r"has too many parts; a colon inside an address is written \:")
        if name not in names:
            near = difflib.get_close_matches(name, names, 1) or [", ".join(names)]
            raise WrongValue(f"{shown(name)} is no argument of {prefix}; {near[0]} would be right")
        if name in arguments:
            raise WrongValue(rf"{name} is there twice; a colon inside an address is written \:")
        arguments[name] = value
    if not arguments.get(names[0]):
        raise WrongValue(f"there is no {names[0]}; {prefix}:{names[0].upper()} would be right")
    return arguments


def _together(prefix: str, arguments: Mapping[str, str]) -> None:
    if prefix == "systemd" and ("index" in arguments) == ("name" in arguments):
        raise WrongValue("systemd needs either index or name; systemd:domain=INET:index=0 is right")


def _port(value: str) -> None:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        raise WrongValue(f"{shown(value)} is not a port; a number from 0 to 65535 would be right")


def _number(value: str) -> None:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise WrongValue(f"{shown(value)} is not a number; a whole number would be right")


def _interface(value: str) -> None:
    try:
        ipaddress.ip_address(value or "0.0.0.0")  # empty: every address
    except ValueError as error:
        reason = rf"{shown(value)} is not an address; 192.168.7.1 or \:\:1 would be right"
        raise WrongValue(reason) from error


def _domain(value: str) -> None:
    if value not in ("INET", "INET6", "UNIX"):
        raise WrongValue(f"{shown(value)} is not a domain; INET, INET6 or UNIX would be right")


def _mode(value: str) -> None:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise WrongValue(f"{shown(value)} is not a mode; three octal digits would be right")


def _flag(value: str) -> None:
    if value not in ("0", "1"):
        raise WrongValue(f"{shown(value)} is neither 0 nor 1; 0 or 1 would be right")


def _anything(_: str) -> None:
    """Accept a path or a name as it is; only listening tells whether it is there."""


_CHECKS: Mapping[str, Callable[[str], None]] = {
    "port": _port,
    "backlog": _number,
    "interface": _interface,
    "domain": _domain,
    "index": _number,
    "mode": _mode,
    "lockfile": _flag,
}
