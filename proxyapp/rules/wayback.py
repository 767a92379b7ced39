"""What changes in the fields of an upgraded request and of its answer.

The origin is to see nothing but a client that speaks TLS, and the client nothing that it can follow
only with TLS: URLs go each way in the other side's spelling.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.rules.upgrade import PREFIX, Spelling, Spellings, secured
from proxyapp.wire import headers
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import DEFAULT_PORTS, Origin, Target, parse_authority

# Scheme, authority and the rest of a URL that has an authority (RFC 3986 section 4.2).
_URL = re.compile(rb"(?:(https?):)?//([^/?#\s]*)(.*)", re.IGNORECASE | re.DOTALL)
_REFRESH = re.compile(rb"""([^;,]*[;,]\s*url\s*=\s*["']?)([^"']*)(.*)""", re.IGNORECASE | re.DOTALL)
_IN_LINK = re.compile(rb"<([^<>]*)>")
_SECURE = re.compile(rb"(?:secure|partitioned|samesite\s*=\s*none)", re.IGNORECASE)
_COOKIE_IS_SECURE = re.compile(rb";\s*secure\s*(?:;|\Z)", re.IGNORECASE)
# An origin of several hosts at once is none (RFC 6454 section 7.3).
_NO_ORIGIN = b"null"
_SENT_URLS = frozenset((b"referer", b"destination", b"origin"))


class Cookies(enum.Enum):
    """What becomes of cookies that are to travel over TLS only (RFC 6265 section 4.1.2.5).

    PLAIN takes from them what says so.
    """

    KEEP = "keep"
    PLAIN = "plain"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Keeping:
    """What of an origin's answer reaches clients without TLS; *hsts* is for RFC 6797."""

    cookies: Cookies
    hsts: bool


class WayBack:
    """Rewrites fields for who has asked in one of the *spellings*; *target* is what was meant."""

    __slots__ = ("_asked", "_keeping", "_origin", "_prefix", "_spelling", "_spellings")

    def __init__(
        self, spellings: Spellings, keeping: Keeping, head: RequestHead, target: Target
    ) -> None:
        assert target.origin is not None
        self._spellings = spellings
        self._keeping = keeping
        self._origin = origin = target.origin
        self._spelling = spellings.spelling(head, origin)
        found = PREFIX.match(head.target)
        self._prefix = found[0] if found is not None else b""
        given = _URL.match(head.target)
        self._asked = given[2] if given is not None else target.authority

    def __repr__(self) -> str:
        return f"<WayBack {self._spelling.name} {self._origin.host}:{self._origin.port}>"

    # Towards the origin.

    def sent_fields(self, fields: Fields) -> Fields:
        """Return *fields* as a client with TLS would have sent them."""
        lines = []
        for line in fields.lines_without(frozenset((self._spellings.field,))):
            name, value = headers.take_apart(line)
            if name in _SENT_URLS:
                lines.append(line[: len(name)] + b": " + self._sent(name, value))
            else:
                lines.append(line)
        return headers.of_lines(lines)

    def _sent(self, name: bytes, value: bytes) -> bytes:
        if name == b"origin" and PREFIX.match(value + b"//"):
            return _NO_ORIGIN
        behind = PREFIX.match(value)
        if behind is not None:
            return b"https://" + value[behind.end() :]
        url = _URL.fullmatch(value)
        if url is None or url[1] is None or url[1].lower() != b"http":
            return value
        origin = _origin("http", url[2])
        if origin is None:
            return value
        upgraded, authority = secured(origin)
        is_same = self._spelling is Spelling.FIELD and upgraded == self._origin
        if is_same or self._spellings.is_listed(origin.host):
            return b"https://" + authority + url[3]
        return value

    # Towards the client.

    def answer_lines(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return the field *lines* of an answer as the client can use them."""
        if self._spelling is Spelling.URL:
            return lines
        kept: list[bytes] = []
        for line in lines:
            # Their names end soon; most lines are none of these.
            change = _CHANGES.get(line[: line.find(b":")].lower())
            changed = line if change is None else change(self, line)
            if changed is not None:
                kept.append(changed)
        return kept

    def url(self, url: bytes) -> bytes:
        """Return *url*, of an answer, in the spelling in which the client asked."""
        parts = _URL.fullmatch(url)
        if parts is None:
            # A path begins at what the client takes for the host (RFC 3986 section 5.2.2).
            if url[:1] == b"/" and self._prefix:
                return self._prefix + self._origin.authority + url
            return url
        scheme, authority, rest = parts.groups()
        if scheme is not None and scheme.lower() != b"https":
            return url
        origin = _origin("https", authority)
        spelled = b"" if origin is None else self._spelled(origin)
        # Without a scheme it would be read as http.
        return spelled + rest if spelled else b"https://" + authority + rest

    def _spelled(self, origin: Origin) -> bytes:
        """Return how the client can ask for *origin*, up to its path; empty if it can't."""
        if self._prefix:
            return self._prefix + origin.authority
        if origin == self._origin:
            return b"http://" + self._asked
        is_same_host = self._spelling is Spelling.FIELD and origin.host == self._origin.host
        if not (is_same_host or self._spellings.is_listed(origin.host)):
            return b""
        is_default = origin.port == DEFAULT_PORTS["https"]
        plain = Origin("http", origin.host, DEFAULT_PORTS["http"] if is_default else origin.port)
        # Port 80 would be read as 443.
        return b"http://" + plain.authority if secured(plain)[0] == origin else b""

    def _with_url(self, line: bytes) -> bytes | None:
        name, value = headers.take_apart(line)
        return line[: len(name)] + b": " + self.url(value)

    def _with_refresh(self, line: bytes) -> bytes | None:
        name, value = headers.take_apart(line)
        found = _REFRESH.fullmatch(value)
        if found is None:
            return line
        return b"%b: %b%b%b" % (line[: len(name)], found[1], self.url(found[2].strip()), found[3])

    def _with_links(self, line: bytes) -> bytes | None:
        return _IN_LINK.sub(lambda found: b"<%b>" % self.url(found[1]), line)

    def _with_origin(self, line: bytes) -> bytes | None:
        return line if self._prefix else self._with_url(line)

    def _cookie(self, line: bytes) -> bytes | None:
        cookies = self._keeping.cookies
        if cookies is Cookies.KEEP:
            return line
        # There the client takes all hosts for one, and would tell each of them the others' cookies.
        if self._prefix:
            return None
        if not _COOKIE_IS_SECURE.search(line):
            return line
        if cookies is Cookies.DROP:
            return None
        pair, *attributes = line.split(b";")
        kept = [each for each in attributes if not _SECURE.fullmatch(each.strip())]
        return b";".join([pair, *kept])

    def _hsts(self, line: bytes) -> bytes | None:
        return line if self._keeping.hsts else None

    def _dropped(self, line: bytes) -> bytes | None:
        return None


def _origin(scheme: str, authority: bytes) -> Origin | None:
    try:
        return parse_authority(scheme, authority)
    except errors.BadRequest:
        return None


_CHANGES: dict[bytes, Callable[[WayBack, bytes], bytes | None]] = {
    b"location": WayBack._with_url,
    b"content-location": WayBack._with_url,
    b"refresh": WayBack._with_refresh,
    b"link": WayBack._with_links,
    b"access-control-allow-origin": WayBack._with_origin,
    b"set-cookie": WayBack._cookie,
    b"strict-transport-security": WayBack._hsts,
    # RFC 7838: another place to ask for the same, by protocols of which all need TLS.
    b"alt-svc": WayBack._dropped,
}
