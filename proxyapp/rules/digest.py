"""Digest authentication (RFC 7616): what a request says, and whether it is right.

Of the many forms only `qop=auth` is spoken, by SHA-256 and, for older clients, by MD5: what came
before (RFC 2069) can be replayed, and what else there is no client sends by itself.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from proxyapp.rules.challenges import quoted
from proxyapp.rules.passwordfile import Kept, Scheme

# One parameter of credentials (RFC 9110 section 11.4), and the comma behind it.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(
    rb"(?:[ \t]*,)*[ \t]*(%b)[ \t]*=[ \t]*(\"(?:[^\"\\]|\\.)*\"|%b)[ \t]*(?:,|\Z)"
    % (_TOKEN, _TOKEN),
    re.DOTALL,
)
_SCHEME = re.compile(rb"digest +", re.IGNORECASE)
# RFC 8187 section 3.2.1.
_EXTENDED = re.compile(
    rb"utf-8'[A-Za-z0-9\-]*'((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})+)", re.I
)
_COUNT = re.compile(rb"[0-9A-Fa-f]{8}")
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 1024
# Nobody's nonce is longer; ours have 40 bytes.
_LONGEST_NONCE = 256


class Algorithm(enum.Enum):
    """A hash that Digest goes by; the value is its name on the wire (RFC 7616 section 6.1)."""

    SHA256 = "SHA-256"
    MD5 = "MD5"


# The preferred one first: clients take the first that they know (RFC 7616 section 3.7).
ALGORITHMS = (Algorithm.SHA256, Algorithm.MD5)
_NAMES = {each.value.encode("ascii").lower(): each for each in ALGORITHMS}
_HASHES = {Algorithm.SHA256: "sha256", Algorithm.MD5: "md5"}
_SIZES = {Algorithm.SHA256: 64, Algorithm.MD5: 32}
# What is kept of a password, if it is a hash of this kind.
_HASHED = {Algorithm.SHA256: Scheme.HTDIGEST_SHA256, Algorithm.MD5: Scheme.HTDIGEST_MD5}


class DigestCredentials(NamedTuple):
    """What a request says; *charset* is how its user, and so their password, is spelled."""

    user: str
    charset: str
    realm: bytes
    nonce: bytes
    uri: bytes
    algorithm: Algorithm
    nonce_count: bytes
    client_nonce: bytes
    response: bytes

    def __repr__(self) -> str:
        return f"<DigestCredentials of {self.user!r} by {self.algorithm.value}>"


def is_digest(authorization: bytes) -> bool:
    """Does *authorization* speak Digest, well or not?"""
    return authorization[:7].lower() == b"digest "


def parse_digest(authorization: bytes) -> DigestCredentials | None:
    """Return what *authorization* says, or None where it isn't all that RFC 7616 asks for."""
    given = _parameters(authorization)
    if given is None or given.get(b"userhash", b"false").lower() != b"false":
        return None
    named = _user(given)
    algorithm = _NAMES.get(given.get(b"algorithm", b"MD5").lower())
    if named is None or algorithm is None or given.get(b"qop", b"").lower() != b"auth":
        return None
    try:
        response = given[b"response"]
        found = DigestCredentials(
            *named,
            given[b"realm"],
            given[b"nonce"],
            given[b"uri"],
            algorithm,
            given[b"nc"],
            given[b"cnonce"],
            response.lower(),
        )
    except KeyError:
        return None
    is_whole = len(response) == _SIZES[algorithm] and _HEX.fullmatch(response)
    is_sane = found.client_nonce and len(found.nonce) <= _LONGEST_NONCE
    return found if is_whole and is_sane and _COUNT.fullmatch(found.nonce_count) else None


def _parameters(authorization: bytes) -> dict[bytes, bytes] | None:
    begin = _SCHEME.match(authorization)
    if begin is None:
        return None
    found: dict[bytes, bytes] = {}
    position, end = begin.end(), len(authorization)
    while position < end:
        match = _PARAMETER.match(authorization, position)
        if match is None:
            return None
        name, value = match[1].lower(), match[2]
        if name in found:
            return None
        found[name] = re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value[:1] == b'"' else value
        position = match.end()
    return found


def _user(given: dict[bytes, bytes]) -> tuple[str, str] | None:
    """Return the user's name and its charset; `username*` is in UTF-8 (RFC 7616 section 3.4)."""
    plain, extended = given.get(b"username"), given.get(b"username*")
    if (plain is None) == (extended is None):
        return None
    if extended is not None:
        match = _EXTENDED.fullmatch(extended)
        plain = unquote_to_bytes(match[1]) if match else b""
    assert plain is not None
    charset = "utf-8"
    try:
        user = plain.decode(charset)
    except UnicodeDecodeError:
        if extended is not None:
            return None
        # As with Basic: the challenge asks for UTF-8, but not every client heeds it.
        charset = "latin-1"
        user = plain.decode(charset)
    if not user or len(user) > _LONGEST_NAME or _CONTROL.search(user):
        return None
    return user, charset


def hashed(algorithm: Algorithm, *parts: bytes) -> bytes:
    """Return the hash of *parts* with colons between them, in hex."""
    hasher = hashlib.new(_HASHES[algorithm], b":".join(parts), usedforsecurity=False)
    return hasher.hexdigest().encode("ascii")


def is_right(given: DigestCredentials, method: bytes, kept: Kept | None) -> bool:
    """Was *given* made, for *method*, with the password that is *kept* of its user?

    None is no user; that isn't told apart by the time it takes.
    """
    secret = _secret(given, kept) if kept is not None else None
    request = hashed(given.algorithm, method, given.uri)
    parts = given.nonce, given.nonce_count, given.client_nonce, b"auth", request
    expected = hashed(given.algorithm, secret or b"nobody's", *parts)
    return hmac.compare_digest(expected, given.response) and secret is not None


def _secret(given: DigestCredentials, kept: Kept) -> bytes | None:
    """Return H(A1) (RFC 7616 section 3.4.2); None where it can't be had from what is *kept*."""
    if kept.scheme is Scheme.PLAIN:
        try:
            user, password = given.user.encode(given.charset), kept.text.encode(given.charset)
        except UnicodeEncodeError:
            return None
        return hashed(given.algorithm, user, given.realm, password)
    if kept.scheme is not _HASHED[given.algorithm]:
        return None
    realm, _, secret = kept.text.rpartition(":")
    return secret.encode("ascii") if realm.encode("utf-8") == given.realm else None


def matches(kept: Kept, user: str, password: str) -> bool:
    """Is *password* the one whose H(A1) is *kept*?"""
    (algorithm,) = (each for each in ALGORITHMS if _HASHED[each] is kept.scheme)
    realm, _, secret = kept.text.rpartition(":")
    found = hashed(algorithm, *(each.encode("utf-8") for each in (user, realm, password)))
    return hmac.compare_digest(found, secret.encode("ascii"))


def algorithms(users: Iterable[Kept], realm: str) -> tuple[Algorithm, ...]:
    """Return the algorithms by which each of *users* can prove themselves in *realm*.

    Most clients try Digest alone where it is offered, and would never get to Basic.
    """
    possible = set(ALGORITHMS)
    for kept in users:
        if kept.scheme is not Scheme.PLAIN:
            is_ours = kept.text.rpartition(":")[0] == realm
            possible &= {each for each in ALGORITHMS if is_ours and _HASHED[each] is kept.scheme}
        if not possible:
            break
    return tuple(each for each in ALGORITHMS if each in possible)


def challenge(realm: str, algorithm: Algorithm, nonce: bytes, is_stale: bool) -> bytes:
    """Return what asks for Digest by *algorithm* (RFC 7616 section 3.3)."""
    name = algorithm.value.encode("ascii")
    stale = b", stale=true" if is_stale else b""
    form = b'Digest realm=%b, qop="auth", algorithm=%b, nonce="%b", charset="UTF-8"%b'
    return form % (quoted(realm), name, nonce, stale)
