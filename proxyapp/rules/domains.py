"""Lists of host names, up to millions of them: exact ones, and suffixes that stand for all below.

A Python set of a million names takes 100 MB and more. Here names lie end to end in some thousand
buckets of a few hundred bytes each, which takes little more than their characters, and a look-up
is one search through one bucket.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import idna

from proxyapp.rules import addresses

_BUCKETS = 1 << 16
_MASK = _BUCKETS - 1
# RFC 1035 section 2.3.4 for the lengths; underscores occur in what is looked up.
_LABEL = r"[a-z0-9_-]{1,63}"
_ENTRY = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*")
_LONGEST = 254
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN = 60


class Domains:
    """Host names, looked up in microseconds; `.example` stands for example and all below it."""

    __slots__ = ("_has_suffixes", "_table", "everything", "size")

    def __init__(self, entries: Iterable[bytes]) -> None:
        """Take *entries* as `parse_domain` returns them."""
        building: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(b"\n"))
        for entry in entries:
            building[hash(entry) & _MASK] += entry + b"\n"
        # Bytes take no room to grow, and the order frees what is no longer needed at once.
        self._table = {number: bytes(building.pop(number)) for number in sorted(building)}
        self._has_suffixes = any(b"\n." in bucket for bucket in self._table.values())
        self.everything = self._holds(b"*")
        self.size = sum(bucket.count(b"\n") - 1 for bucket in self._table.values())

    def __repr__(self) -> str:
        return f"<Domains {self.size} names>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Domains):
            return NotImplemented
        return self._entries() == other._entries()

    def __hash__(self) -> int:
        return hash(len(self._table))

    def _entries(self) -> set[bytes]:
        return {entry for bucket in self._table.values() for entry in bucket[1:-1].split(b"\n")}

    def find(self, host: str) -> str:
        """Return the entry that *host* is in, or nothing."""
        sought = _sought(host)
        # Most lists are short, and most hosts are in none of them.
        if not self._table.keys().isdisjoint(sought.numbers):
            for entry in sought.entries if self._has_suffixes else sought.entries[:1]:
                if self._holds(entry):
                    return entry.decode("ascii")
        return "*" if self.everything and host else ""

    def _holds(self, entry: bytes) -> bool:
        bucket = self._table.get(hash(entry) & _MASK)
        return bucket is not None and b"\n%b\n" % entry in bucket


class _Sought(NamedTuple):
    """The entries that a host would be in, and the numbers of their buckets."""

    entries: tuple[bytes, ...]
    numbers: tuple[int, ...]


# A host is looked up in each list there is, one after the other.
@functools.lru_cache(maxsize=64)
def _sought(host: str) -> _Sought:
    """Return *host* itself and its suffixes, the longest first."""
    name = _plain(host)
    labels = name.split(b".") if name else []
    suffixes = [b"." + b".".join(labels[start:]) for start in range(len(labels))]
    entries = (name, *suffixes) if name else ()
    return _Sought(entries, tuple(hash(entry) & _MASK for entry in entries))


def _plain(host: str) -> bytes:
    """Return *host* as it is compared: case and the final dot (RFC 1034 section 3.1) don't count.

    An IPv4 address is the same address where it is mapped into IPv6.
    """
    if ":" in host:
        try:
            return str(addresses.parse(host)).encode("ascii")
        except ValueError:
            pass
    return host.lower().removesuffix(".").encode("ascii", "replace")


def parse_domain(word: str) -> bytes:
    """Read a host name, a `.suffix`, an IP address or `*`; raises ValueError.

    What isn't ASCII becomes what is asked for in the DNS (RFC 5891, UTS 46).
    """
    if word == "*":
        return b"*"
    try:
        return str(addresses.parse(word)).encode("ascii")
    except ValueError:
        pass
    name = (word if word.isascii() else _in_ascii(word)).lower()
    if name.startswith("*."):
        raise ValueError(f"{_shown(word)} is not a domain; {name[1:]} would be right")
    name = name if name.startswith(".") else name.removesuffix(".")
    # RFC 1123 section 2.1: what ends in a number is an address, or nothing.
    if (
        not _ENTRY.fullmatch(name)
        or len(name) > _LONGEST
        or _NUMBER.fullmatch(name.rpartition(".")[2])
    ):
        raise ValueError(f"{_shown(word)} is not a host; a name or .domain would be right")
    return name.encode("ascii")


def _in_ascii(word: str) -> str:
    dot = "." if word[0] == "." else ""
    try:
        return dot + idna.encode(word.removeprefix("."), uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{_shown(word)} is not a host; its xn-- form would be right") from error


def _shown(word: str) -> str:
    return repr(word if len(word) <= _SHOWN else word[: _SHOWN - 3] + "...")
