"""Request targets and authorities, taken apart on raw bytes (RFC 9112 section 3.2)."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from proxyapp import errors
from proxyapp.wire.headers import Fields
from proxyapp.wire.repeated import Repeated

DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 reg-name, narrowed to what is a host name in practice (RFC 1035 section 2.3.4 for the
# lengths); percent-encoding, user names and IPv6 zones are refused, because two readers may take
# them for different hosts.
_NAME = re.compile(rb"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_MAX_NAME = 253
# inet_aton reads 127.1, 0x7f.1 and 2130706433 as addresses, other readers as names: what ends in a
# number must be a dotted quad (WHATWG URL, "ends in a number").
_NUMBER = re.compile(rb"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(rb"[0-9]{1,5}")


class Form(enum.StrEnum):
    """The four forms of a request target."""

    # a StrEnum: it's looked up for each request, and
    # the hash of a plain Enum is computed in Python

    ORIGIN = "origin"
    ABSOLUTE = "absolute"
    AUTHORITY = "authority"
    ASTERISK = "asterisk"


_ABSOLUTE = Form.ABSOLUTE  # a tenth of a microsecond quicker to find


class Origin(NamedTuple):
    """Scheme, host and port (RFC 9110 section 4.3.1); *host* in lower case, IPv6 without brackets.

    The host of CONNECT's target has the scheme "connect".
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """host[:port] as it stands in Host: the port only where it isn't the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if DEFAULT_PORTS.get(self.scheme) == self.port:
            return host.encode("ascii")
        return f"{host}:{self.port}".encode("ascii")


@dataclass(slots=True, unsafe_hash=True)
class Target:
    """A request target: its form, the origin it names (absolute and authority form), the rest.

    *path* is the origin-form of the target: path and query, `*`, or empty for authority-form.
    *authority* is host[:port] as it was spelled, empty for origin- and asterisk-form.
    """

    form: Form
    origin: Origin | None
    path: bytes
    authority: bytes = b""

    @property
    def url(self) -> bytes:
        """The target as a URL; empty where it names no origin."""
        if self.origin is None:
            return b""
        path = b"" if self.path == b"*" else self.path
        return b"%b://%b%b" % (self.origin.scheme.encode("ascii"), self.authority, path)


def parse_target(method: bytes, target: bytes) -> Target:
    """Take *target* apart; raises BadRequest where it isn't one of the four forms.

    It is visible ASCII, as the parser leaves it. Characters that RFC 3986 wants percent-encoded,
    such as '|', are common in real requests and harmless to forward.
    """
    known = _TARGETS.known.get(target)
    if known is not None and method != b"CONNECT":
        return known
    if b"#" in target:
        # A fragment is never sent (RFC 9110 section 7.1).
        raise errors.BadRequest("the request target has characters that must be percent-encoded")
    if method == b"CONNECT":
        return Target(Form.AUTHORITY, parse_authority("connect", target), b"", target)
    slash = target.find(b"/", _SHORTEST_PREFIX)
    if slash > 0 and (place := _PREFIXES.get(target[:slash])):
        return _TARGETS.note(target, Target(_ABSOLUTE, place[0], target[slash:], place[1]))
    if target[:1] == b"/":
        return _TARGETS.note(target, Target(Form.ORIGIN, None, target))
    if target == b"*":
        if method != b"OPTIONS":
            raise errors.BadRequest("only OPTIONS may ask for *")
        return Target(Form.ASTERISK, None, target)
    return _absolute(method, target)


def _absolute(method: bytes, target: bytes) -> Target:
    start = target.find(b"://") + 3
    if start < 3:
        raise errors.BadRequest("the request target is neither a path nor an absolute URL")
    scheme = _SCHEMES.get(target[: start - 3]) or _parse_scheme(target[: start - 3])
    end = _authority_end(target, start)
    authority = target[start:end]
    origin = parse_authority(scheme, authority)
    path = target[end:]
    if path[:1] == b"/":
        if len(_PREFIXES) >= _MOST_PREFIXES:
            _PREFIXES.clear()
        _PREFIXES[target[:end]] = origin, authority
    else:
        # RFC 9112 section 3.2.4: OPTIONS for a whole server travels as "*".
        path = b"*" if not path and method == b"OPTIONS" else b"/" + path
    return Target(_ABSOLUTE, origin, path, authority)


# Many ask for the same, or at least of the same origin: targets that mean the same whatever the
# method, but for CONNECT; and scheme and authority of absolute ones, up to the path, where a target
# whose first slash is elsewhere is never found. A full memory is emptied rather than managed.
_TARGETS: Repeated[Target] = Repeated()
_PREFIXES: dict[bytes, tuple[Origin, bytes]] = {}
_MOST_PREFIXES = 1024
_SHORTEST_PREFIX = len(b"http://")


# As everybody spells them; any other case takes the longer way.
_SCHEMES = {name.encode("ascii"): name for name in DEFAULT_PORTS}


def _parse_scheme(spelled: bytes) -> str:
    scheme = _SCHEMES.get(spelled.lower())
    if scheme is None:
        raise errors.BadRequest("only http and https URLs can be fetched")
    return scheme


def _authority_end(target: bytes, start: int) -> int:
    slash = target.find(b"/", start)
    end = len(target) if slash < 0 else slash
    query = target.find(b"?", start, end)
    return end if query < 0 else query


# Bounded in bytes too: what isn't an authority raises and isn't kept, and one that is has at most
# 260 bytes.
@functools.lru_cache(maxsize=4096)
def parse_authority(scheme: str, authority: bytes) -> Origin:
    """Return the origin that host[:port] names under *scheme*; raises BadRequest.

    *scheme* "connect" has no default port, so the port must be there (RFC 9110 section 9.3.6).
    """
    if b"@" in authority:
        raise errors.BadRequest("the URL holds a user name; credentials don't belong in a URL")
    host, port = _split_port(authority)
    if not port and scheme == "connect":
        raise errors.BadRequest("CONNECT needs host:port")
    # An empty port is the default one (RFC 3986 section 3.2.3).
    number = _parse_port(port) if port else DEFAULT_PORTS[scheme]
    return Origin(scheme, _parse_host(host), number)


def check_host(target: Target, fields: Fields) -> None:
    """Make sure that Host is host[:port], and names the origin that the target names.

    Raises BadRequest. RFC 9112 section 3.2 demands the first, and the second of a client; a proxy
    goes by the target alone (section 3.2.2), but a request that says two things has been made to
    be read in two ways. Host may be empty where the target has no authority. Whether there must
    be a Host at all is for parse_request to see.
    """
    host = fields.combined.get(b"host")
    if host is None or host == target.authority:
        return
    origin = target.origin
    try:
        if origin is None:
            parse_authority("http", host)
            return
        if origin.scheme == "connect" and not _split_port(host)[1]:
            # Some clients leave out the port of CONNECT, and which one they mean is plain.
            host = b"%b:%d" % (host.removesuffix(b":"), origin.port)
        named = parse_authority(origin.scheme, host)
    except errors.BadRequest:
        raise errors.BadRequest("the Host field isn't host[:port]") from None
    if named != origin:
        raise errors.BadRequest("Host and the request target name different origins")


def _split_port(authority: bytes) -> tuple[bytes, bytes | None]:
    if authority[:1] == b"[":
        host, bracket, after = authority.partition(b"]")
        if not bracket or (after and after[:1] != b":"):
            raise errors.BadRequest("the IPv6 address in the target isn't closed by ]")
        return host + bracket, after[1:] if after else None
    host, colon, port = authority.partition(b":")
    return host, port if colon else None


def _parse_port(port: bytes) -> int:
    number = int(port) if _PORT.fullmatch(port) else 0
    if not 0 < number < 65536:
        raise errors.BadRequest("the port in the target isn't between 1 and 65535")
    return number


def _parse_host(host: bytes) -> str:
    if host[:1] == b"[":
        return _parse_ipv6(host[1:-1])
    name = host.removesuffix(b".").lower()
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise errors.BadRequest("the target's host isn't a host name")
    text = name.decode("ascii")
    if _NUMBER.fullmatch(name.rpartition(b".")[2]):
        try:
            IPv4Address(text)
        except AddressValueError:
            raise errors.BadRequest("the target's host isn't an IPv4 address") from None
    return text


def _parse_ipv6(address: bytes) -> str:
    if b"%" in address:
        raise errors.BadRequest("an IPv6 address with a zone means something on one host only")
    try:
        return IPv6Address(address.decode("ascii", "replace")).compressed
    except AddressValueError:
        raise errors.BadRequest("the target's host isn't an IPv6 address") from None
