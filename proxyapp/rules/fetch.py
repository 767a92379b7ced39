"""What /fetch may fetch, beside what the one judge says: hosts, ports, times, types, signatures."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from proxyapp import errors
from proxyapp.rules import upgrade
from proxyapp.rules.domains import Domains
from proxyapp.rules.fetchquery import FetchQuery
from proxyapp.wire.target import DEFAULT_PORTS, Origin, Target

_DEFAULT_PORTS = frozenset(DEFAULT_PORTS.values())
_MINUTE = 60
_ANY = b"*"
_SIGN_KEY = "[fetch] sign_key"


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What the ini says about fetching; *max_cache* in seconds.

    *allow* None is no host, *deny* None none either, *ports* None every port. *types* holds
    `type/subtype`, `type/*` and `*`, in lower case. An empty *sign_key* asks for no signature.
    *secured* are the hosts that are always asked over TLS.
    """

    allow: Domains | None
    deny: Domains | None
    ports: frozenset[int] | None
    max_cache: float
    types: frozenset[bytes]
    sign_key: bytes
    secured: Domains | None = None

    def meant(self, target: Target) -> Target:
        """Return *target*, or the one of https where the host is never asked without TLS."""
        origin = target.origin
        if origin is None or origin.scheme != "http" or self.secured is None:
            return target
        if not self.secured.find(origin.host):
            return target
        upgraded, authority = upgrade.secured(origin)
        return replace(target, origin=upgraded, authority=authority)

    def check_query(self, query: FetchQuery, now: float) -> None:
        """Raise BadRequest or AccessDenied where *query* asks for more than it may, or too late."""
        if query.ttl is not None and query.ttl > self.max_cache:
            most = int(self.max_cache // _MINUTE)
            raise errors.BadRequest(f"cache is at most {most} minutes, as [fetch] max_cache says")
        if query.content_type and not self._may_be(query.content_type.partition(b";")[0]):
            raise _denied("[fetch] types", "does not list the type that is asked for")
        if self.sign_key:
            self._check_signature(query, now)

    def _may_be(self, media_type: bytes) -> bool:
        if media_type in self.types or _ANY in self.types:
            return True
        # What is XML below may hold scripts, such as image/svg+xml.
        main = media_type.partition(b"/")[0]
        return main + b"/*" in self.types and not media_type.endswith(b"+xml")

    def _check_signature(self, query: FetchQuery, now: float) -> None:
        if query.expires is None or not query.signature:
            raise _denied(_SIGN_KEY, "wants expires and signature, and one is missing")
        # Whoever guesses learns nothing from how long it takes.
        expected = signature(self.sign_key, query.url, query.expires)
        if not hmac.compare_digest(expected, query.signature.lower()):
            raise _denied(_SIGN_KEY, "finds that the signature isn't that of url and expires")
        if now > query.expires:
            raise _denied(_SIGN_KEY, "finds that the signature has expired")

    def check_destination(self, origin: Origin) -> None:
        """Raise AccessDenied where *origin* isn't one to fetch from."""
        if self.deny is not None and self.deny.find(origin.host):
            raise _denied("[fetch] deny", f"lists the host {origin.host}")
        if self.allow is None or not self.allow.find(origin.host):
            raise _denied("[fetch] allow", f"does not list the host {origin.host}")
        is_common = self.ports is None or origin.port in _DEFAULT_PORTS
        if not is_common and origin.port not in (self.ports or ()):
            raise _denied("[tunnel] ports", f"does not list port {origin.port}")


def signature(key: bytes, url: bytes, expires: int) -> bytes:
    """Return the signature that lets *url* be fetched until *expires*, in seconds since the epoch.

    It is HMAC-SHA256 (RFC 2104), in hexadecimal digits, of the time, a line feed, and the URL.
    """
    return hmac.new(key, b"%d\n%b" % (expires, url), "sha256").hexdigest().encode("ascii")


def _denied(rule: str, finding: str) -> errors.AccessDenied:
    return errors.AccessDenied(f"{rule} {finding}", rule=rule)
