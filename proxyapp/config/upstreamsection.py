"""The part of the table of options that is about parent proxies: [upstream].

What is wrong with a parent is said without its user and password.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from proxyapp import errors
from proxyapp.config import lists
from proxyapp.config.option import option
from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules.parents import Parent
from proxyapp.wire.target import parse_authority

_RIGHT = "http://proxy.example:3128 or http://user:password@proxy.example:3128 would be right"
_PARENT = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:(.*)@)?([^@]*)", re.DOTALL)
_PORT = re.compile(r".*:[0-9]+/?", re.DOTALL)
# What can be shown of a text that may be the first half of a password with a comma in it.
_HOST = re.compile(r"\[[^\]]*\]|[^:/]*")
# RFC 7617 section 2: neither user nor password may have control characters.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def parents(text: str, _: Surroundings) -> tuple[Parent, ...]:
    """Read URLs of proxies, in the order in which they are tried."""
    found: dict[tuple[str, int], Parent] = {}
    reasons: list[str] = []
    for word in lists.words(text):
        try:
            parent = _parent(word)
        except WrongValue as wrong:
            reasons += wrong.reasons
            continue
        if found.setdefault((parent.host, parent.port), parent) is not parent:
            reasons.append(f"{parent.name} is there twice; once would be right")
    if reasons:
        raise WrongValue(*reasons)
    return tuple(found.values())


def _parent(word: str) -> Parent:
    match = _PARENT.fullmatch(word)
    assert match is not None  # anything matches it
    scheme, user, where = match[1], match[2], match[3]
    host = _HOST.match(where)
    about = shown(host[0] if host is not None else "")
    if scheme is None:
        raise WrongValue(f"{about} has no scheme; {_RIGHT}")
    if scheme.lower() not in ("http", "https"):
        raise WrongValue(f"{shown(scheme)} is not spoken to parent proxies; {_RIGHT}")
    if not _PORT.fullmatch(where):
        reason = "has no port behind its host, or something behind its port"
        raise WrongValue(f"{about} {reason}; {_RIGHT}")
    try:
        origin = parse_authority("connect", where.removesuffix("/").encode("utf-8"))
    except errors.BadRequest as error:
        raise WrongValue(f"{about} is no proxy: {error.reason}; {_RIGHT}") from error
    return Parent(scheme.lower(), origin.host, origin.port, _credentials(user, about))


def _credentials(user: str | None, about: str) -> bytes:
    """Return the value of Proxy-Authorization (RFC 7617) for `user:password` as a URL has it."""
    if user is None:
        return b""
    name, _, password = user.partition(":")
    raw_name, raw_password = unquote_to_bytes(name), unquote_to_bytes(password)
    if not raw_name:
        raise WrongValue(f"the user for {about} has no name; {_RIGHT}")
    if b":" in raw_name or _CONTROL.search(raw_name + raw_password):
        reason = "has a colon in its name, or a character that no field may have"
        raise WrongValue(f"the user for {about} {reason}; use another user")
    return b"Basic " + b64encode(raw_name + b":" + raw_password)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Parent proxies, and what doesn't go to them."""

    proxy: tuple[Parent, ...] = option(
        parents,
        "",
        "Parent proxies that requests go to, in the order to try: http://host:port, or"
        " http://user:password@host:port with %40 for @ and %2C for a comma; https:// speaks TLS to"
        " it; empty is none.",
        is_secret=True,
    )
    direct: tuple[str, ...] = option(
        lists.direct_hosts,
        "",
        "What doesn't go to a parent: names, also with * in them, .domains, networks; private is"
        " what only the LAN can know.",
    )
