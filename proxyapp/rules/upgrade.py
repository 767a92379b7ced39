"""Four ways to ask for https without TLS, and the one https target that each of them means.

    GET https://host/path               the URL itself, in a plain request
    GET http://HTTPS///host/path        as it is written for apt-cacher-ng
    X-Real-Protocol: https              a field whose name is configured, beside an http:// URL
    GET http://host/path                where the host is listed

Whoever judges a request, pools its connection or stores its answer is to see the target alone.
"""

from __future__ import annotations

import enum
import functools
import re

from proxyapp import errors
from proxyapp.rules.domains import Domains
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import DEFAULT_PORTS, Form, Origin, Target, parse_authority

_HTTP, _HTTPS = "http", "https"
# What stands in a URL where others have a host. Some clients leave one of several slashes out.
_PREFIX_HOST = Origin(_HTTP, "https", DEFAULT_PORTS[_HTTP])
_BEHIND_PREFIX = re.compile(rb"//+([^/?]*)(.*)", re.DOTALL)
# The same origin in all its spellings, up to where the host stands.
PREFIX = re.compile(rb"http://https\.?(?::(?:0*80)?)?//+", re.IGNORECASE)
# RFC 9110 section 5.1: no field is called that.
_NO_FIELD = b" "


class Spelling(enum.Enum):
    """The ways to ask for https."""

    URL = enum.auto()
    PREFIX = enum.auto()
    FIELD = enum.auto()
    LISTED = enum.auto()


class Spellings:
    """Reads the spellings.

    *field* is the name of the field in lower case, empty for none; *hosts* are the listed ones.
    """

    def __init__(self, field: bytes, hosts: Domains | None) -> None:
        self.field = field or _NO_FIELD
        self._hosts = hosts

    def __repr__(self) -> str:
        return f"<Spellings {self.field!r}, {self._hosts!r}>"

    def is_listed(self, host: str) -> bool:
        """Is *host* always asked over TLS?"""
        return self._hosts is not None and bool(self._hosts.find(host))

    def leaves(self, origin: Origin) -> bool:
        """Does a request for *origin* mean just that, unless the field is there?"""
        return origin.scheme != _HTTP or not (origin == _PREFIX_HOST or self.is_listed(origin.host))

    def canonical(self, target: Target, fields: Fields) -> Target:
        """Return the https target that is meant, or *target* itself where none is.

        Raises BadRequest where the field names another protocol, or the prefix stands before what
        is no authority.
        """
        origin = target.origin
        wanted = fields.combined.get(self.field)
        is_wanted = wanted is not None and _asks_for_https(wanted)
        if target.form is not Form.ABSOLUTE or origin is None or origin.scheme != _HTTP:
            return target
        if origin == _PREFIX_HOST and (behind := _BEHIND_PREFIX.fullmatch(target.path)):
            found = parse_authority(_HTTPS, behind[1])
            path = behind[2] if behind[2][:1] == b"/" else b"/" + behind[2]
            return Target(target.form, found, path, found.authority)
        if not is_wanted and not self.is_listed(origin.host):
            return target
        upgraded, authority = secured(origin)
        return Target(target.form, upgraded, target.path, authority)

    def spelling(self, head: RequestHead, origin: Origin) -> Spelling:
        """Return how *head*, which means the https *origin*, has spelled that.

        A listed host needs no field, so one that is there beside says nothing.
        """
        if head.target[:6].lower() == b"https:":
            return Spelling.URL
        if PREFIX.match(head.target):
            return Spelling.PREFIX
        return Spelling.LISTED if self.is_listed(origin.host) else Spelling.FIELD


@functools.lru_cache(maxsize=4096)
def secured(origin: Origin) -> tuple[Origin, bytes]:
    """Return *origin*, of http, as one of https, and its authority: port 80 becomes 443."""
    port = DEFAULT_PORTS[_HTTPS] if origin.port == DEFAULT_PORTS[_HTTP] else origin.port
    upgraded = Origin(_HTTPS, origin.host, port)
    return upgraded, upgraded.authority


def _asks_for_https(wanted: bytes) -> bool:
    name = wanted.strip().lower()
    if name not in (b"http", b"https"):
        raise errors.BadRequest("the TLS upgrade field may say only http or https")
    return name == b"https"
