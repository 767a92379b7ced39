"""Patterns of URLs: `host`, `.domain`, `cdn*.example/path/*.deb`, `https://host:8443/list?page=*`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxyapp.rules import domains
from proxyapp.rules.caching.globs import Globs
from proxyapp.wire.target import Origin

_SCHEME = re.compile(r"([a-z*][a-z0-9+.-]*)://", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?")
_HOST_GLOB = re.compile(r"[a-z0-9._*-]+")
_UNSAFE = re.compile(r"[^!-~]|#")
_EVERYTHING = "*"
# A word without a slash is a host; these are no domains, but kinds of files.
_FILES = re.compile(
    r"\*\.(?:apk|bz2|cab|deb|dmg|exe|gz|iso|jar|jpe?g|js|css|msi|msu|pdf|png|rpm|tgz|udeb|whl|xz|zst)"
)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class UrlPattern:
    """URLs: *scheme* is empty for both, *host* for any, *port* 0 for any, *paths* empty for all.

    *host* is a name, a `.domain` with all names below it, or has `*` in it. *paths* are patterns
    of paths, *query* one of queries; without it the query doesn't matter.
    """

    text: str = field(compare=False)
    scheme: str = ""
    host: str = ""
    port: int = 0
    paths: tuple[bytes, ...] = ()
    query: bytes | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def is_any_path(self) -> bool:
        """Does it match all there is at its hosts?"""
        return not self.paths and self.query is None

    @property
    def is_everything(self) -> bool:
        """Does it match every URL?"""
        return self.is_any_path and not (self.scheme or self.host or self.port)

    def is_about(self, origin: Origin) -> bool:
        """Does it match URLs of *origin*, given the right path?"""
        if self.scheme not in ("", origin.scheme) or self.port not in (0, origin.port):
            return False
        if self.host.startswith("."):
            return origin.host.endswith(self.host) or origin.host == self.host[1:]
        if "*" in self.host:
            return Globs((self.host.encode("ascii"),)).match(origin.host.encode("ascii"))
        return self.host in ("", origin.host)


class PathPatterns:
    """Paths that one of several patterns of the same host matches."""

    __slots__ = ("_paths", "_with_query")

    def __init__(self, patterns: Iterable[UrlPattern]) -> None:
        given = tuple(patterns)
        plain = [path for each in given if each.query is None for path in each.paths]
        self._paths = Globs(plain)
        self._with_query = tuple(
            (Globs(each.paths or (b"*",)), Globs((each.query,)))
            for each in given
            if each.query is not None
        )

    def match(self, target: bytes) -> bool:
        """Does one of the patterns match *target*, a path with its query?"""
        path, mark, query = target.partition(b"?")
        if self._paths.match(path):
            return True
        if not self._with_query or not mark:
            return False
        return any(
            paths.match(path) and queries.match(query) for paths, queries in self._with_query
        )


def parse_pattern(word: str) -> UrlPattern:
    """Read a pattern; raises ValueError with what would be right.

    `*` stands for any characters, slashes too; `/**/` for one slash or for any folders.
    """
    scheme, rest = _split_scheme(word)
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    target = rest.removeprefix(authority)
    if _FILES.fullmatch(word.lower()):
        raise ValueError(f"{_shown(word)} is about hosts; */{word} would be right for files")
    host, port = _parse_authority(word, authority, bool(target))
    if _UNSAFE.search(target):
        raise ValueError(f"{_shown(word)} has what no URL is sent with; percent-encode it (%20)")
    path, mark, query = target.partition("?")
    return UrlPattern(
        word, scheme, host, port, _paths(path), query.encode("ascii") if mark else None
    )


def _split_scheme(word: str) -> tuple[str, str]:
    match = _SCHEME.match(word)
    if match is None:
        return "", word
    scheme = match[1].lower()
    if scheme not in ("http", "https", _EVERYTHING):
        raise ValueError(f"{_shown(word)} is fetched by no proxy; http or https would be right")
    return scheme.removeprefix(_EVERYTHING), word[match.end() :]


def _parse_authority(word: str, authority: str, has_target: bool) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(authority)
    port = int(match[2] or 0) if match else 0
    if match is None or port > 65535 or (match[2] and not port):
        raise ValueError(f"{_shown(word)} is no pattern; host:port/path would be right")
    host = match[1]
    if host == _EVERYTHING or (not host and has_target):
        return "", port
    if "*" in host:
        if not _HOST_GLOB.fullmatch(host.lower()):
            raise ValueError(f"{_shown(word)} is no pattern of hosts; *.example would be right")
        return host.lower(), port
    return domains.parse_domain(host.strip("[]") or word).decode("ascii"), port


def _paths(path: str) -> tuple[bytes, ...]:
    """Return the patterns that *path* stands for, in which every `*` is any characters."""
    found = [path] if path else []
    while any("/**/" in each for each in found):
        found = [each.replace("/**/", shorter, 1) for each in found for shorter in ("/", "/*/")]
    return tuple(dict.fromkeys(re.sub(r"\*+", "*", each).encode("ascii") for each in found))


def _shown(word: str) -> str:
    return repr(word if len(word) <= _SHOWN else word[: _SHOWN - 3] + "...")
