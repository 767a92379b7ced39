"""Under which key a response is stored: its URL, but for what a rule says doesn't tell it apart."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

from proxyapp.rules.caching.globs import Globs
from proxyapp.wire.target import DEFAULT_PORTS, Origin

# Stands before a name that takes the place of hosts; no host has it.
JOINED = "+"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What of a URL doesn't tell one response from another.

    *host* is a name for all hosts of the rule. Of the query the parts whose names match *strip*
    don't count, or, where it isn't None, all but those that match *keep*; *is_sorted* takes their
    order away, but for those of the same name.
    """

    host: str = ""
    strip: Globs | None = None
    keep: Globs | None = None
    is_sorted: bool = False


PLAIN = KeyRule()


class Keyed(Protocol):
    """What has a KeyRule, as every CacheRule has."""

    @property
    def key(self) -> KeyRule:
        """What of its URLs counts."""


def key(origin: Origin, path: bytes, rule: Keyed) -> bytes:
    """Return the URL under which *path*, with its query, of *origin* is stored.

    The scheme always counts: what came in the clear must not be served as what came over TLS.
    Percent-encoding stays as it is: only the origin knows which spellings mean the same.
    """
    counts = rule.key
    if counts is PLAIN:
        return _prefix(origin) + path
    prefix = _joined(origin, counts.host) if counts.host else _prefix(origin)
    stem, mark, query = path.partition(b"?")
    if not mark:
        return prefix + path
    query = _counting(query, counts)
    return b"%b%b?%b" % (prefix, stem, query) if query else prefix + stem


@functools.lru_cache(maxsize=4096)
def _prefix(origin: Origin) -> bytes:
    return b"%b://%b" % (origin.scheme.encode("ascii"), origin.authority)


def _joined(origin: Origin, host: str) -> bytes:
    default = DEFAULT_PORTS.get(origin.scheme)
    port = "" if origin.port == default else f":{origin.port}"
    return f"{origin.scheme}://{JOINED}{host}{port}".encode("ascii")


def _counting(query: bytes, counts: KeyRule) -> bytes:
    parts = query.split(b"&")
    keep, strip = counts.keep, counts.strip
    if keep is not None:
        parts = [part for part in parts if keep.match(_name(part))]
    if strip is not None:
        parts = [part for part in parts if not strip.match(_name(part))]
    if counts.is_sorted:
        # Of several parts with one name the first or the last may count: their order stays.
        parts.sort(key=_name)
    return b"&".join(parts)


def _name(part: bytes) -> bytes:
    return part.partition(b"=")[0]
