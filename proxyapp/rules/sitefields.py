"""Which further fields a response of the site has, by the path it was asked for.

A pattern is matched with a whole decoded path, or, where it has no slash, with its last segment:

    *.js              every name that ends in .js
    /assets/*         what lies in /assets, not deeper
    /assets/**        everything below /assets
    /**/fonts/*.woff2 such files in any folder called fonts
    **                everything

`*` is any run of characters but slashes, `?` one such character, and `**`, between slashes, any
number of folders, also none. All else stands for itself, and upper case isn't lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_MAX_PATTERN = 255
_SOME = b"[^/]*"
_ONE = b"[^/]"
_FOLDERS = b"(?:[^/]++/)*?"
_WILDCARD = re.compile(r"([*?])")

# What says how a response is framed, or what it holds, is ours alone to say.
RESERVED = frozenset(
    b"accept-ranges connection content-encoding content-length content-range date etag keep-alive"
    b" last-modified location proxy-connection te trailer transfer-encoding upgrade".split()
)


@dataclass(frozen=True, slots=True)
class SiteRule:
    """The *fields* of responses whose path matches *pattern*; raises ValueError for a wrong one."""

    pattern: str
    fields: tuple[tuple[bytes, bytes], ...]
    _matcher: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_matcher", _compiled(self.pattern))

    def matches(self, path: bytes) -> bool:
        """Does the decoded *path*, which begins with a slash, match?"""
        return self._matcher.fullmatch(path) is not None


def site_rule(
    pattern: str, fields: Iterable[tuple[bytes, bytes]], cache_control: bytes = b""
) -> SiteRule:
    """Return the rule of a [site-rule PATTERN]; its *cache_control*, if any, goes before *fields*.

    Raises ValueError as SiteRule does.
    """
    given = tuple(fields)
    if cache_control:
        others = (each for each in given if each[0].lower() != b"cache-control")
        given = (*others, (b"Cache-Control", cache_control))
    return SiteRule(pattern, given)


def fields_for(path: bytes, rules: Iterable[SiteRule]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the fields of all *rules* that match the decoded *path*.

    A later rule's fields replace those of the same name in the rules before it. The fields of
    [site] itself are a rule for `**` that stands first. The path of an index page ends in its
    name, so that `*.html` means it too.
    """
    found: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for rule in rules:
        if rule.matches(path):
            own: dict[bytes, list[tuple[bytes, bytes]]] = {}
            for each in rule.fields:
                own.setdefault(each[0].lower(), []).append(each)
            found.update(own)
    return tuple(each for lines in found.values() for each in lines)


def _compiled(pattern: str) -> re.Pattern[bytes]:
    """Return *pattern* as an expression that takes time in proportion to the path.

    A wildcard takes the least that lets the next piece follow, and an atomic group forgets the
    choice. Nothing is lost: had it taken more, the rest would have less to match with. Only the
    last piece of a segment, and the last one behind `**`, are fixed by the end.
    """
    if not pattern or len(pattern) > _MAX_PATTERN:
        raise ValueError(f"a pattern has 1 to {_MAX_PATTERN} characters")
    if "/" not in pattern:
        pattern = "**" if pattern == "**" else f"**/{pattern}"
    segments = pattern.removeprefix("/").split("/")
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("** stands alone between slashes")
    blocks: list[list[bytes]] = [[]]
    is_open = segments[-1] == "**"
    for segment in segments[:-1] if is_open else segments:
        if segment == "**":
            blocks.append([])
        else:
            blocks[-1].append(_segment(segment))
    return re.compile(_joined(blocks, is_open), re.DOTALL)


def _joined(blocks: list[list[bytes]], is_open: bool) -> bytes:
    """Return the expression of the *blocks* of segments that `**` parts; *is_open* ends in one."""
    found = [b"/"]
    for number, block in enumerate(blocks):
        is_end = not is_open and number == len(blocks) - 1
        text = b"/".join(block) if is_end else b"".join(segment + b"/" for segment in block)
        group = b":" if is_end else b">"
        found.append(b"(?%b%b%b)" % (group, _FOLDERS if number else b"", text))
    return b"".join(found) + (b".*" if is_open else b"")


def _segment(glob: str) -> bytes:
    """Return the expression for one segment."""
    pieces: list[bytes] = []
    literal = b""
    is_first = True
    for part in _WILDCARD.split(glob):
        if part != "*":
            literal += _ONE if part == "?" else re.escape(_encoded(part))
            continue
        pieces.append(literal if is_first else b"(?>[^/]*?%b)" % literal)
        literal, is_first = b"", False
    return b"".join(pieces) + (literal if is_first else _SOME + literal)


def _encoded(text: str) -> bytes:
    # As file names are decoded (PEP 383), so that any name can be matched.
    return text.encode("utf-8", "surrogateescape")
