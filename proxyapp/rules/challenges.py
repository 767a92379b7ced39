"""Who a request says it is from, and how it is asked to say so in Basic (RFC 7617)."""

from __future__ import annotations

import binascii
import enum
import re
from dataclasses import dataclass, field
from typing import NamedTuple

# RFC 9110 section 11.4: the scheme, blanks, and a token68; a second field line would add a comma.
_BASIC = re.compile(rb"basic +([0-9A-Za-z+/]+={0,2}) *", re.IGNORECASE)
# RFC 7617 section 2: neither user nor password holds control characters; the log agrees.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What is longer is nobody's password, but work for a hash.
MAX_CREDENTIALS = 1024


class Scheme(enum.Enum):
    """A way to prove to be a user (RFC 9110 section 11.1), as [auth] schemes calls it."""

    BASIC = "basic"
    DIGEST = "digest"


class Claim(NamedTuple):
    """What a request says of who it is from; its repr keeps that to itself.

    *authorization* is the value of Authorization or Proxy-Authorization. *method* and *targets*,
    the spellings of what is asked for, are what a Digest response covers. *client* is an address.
    """

    client: str
    authorization: bytes | None
    method: bytes
    targets: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"<Claim of {self.client}>"


class Finding(NamedTuple):
    """Whom a claim proves to be from; *is_stale* says that only its nonce was too old."""

    user: str | None
    is_stale: bool = False


NOBODY = Finding(None)
STALE = Finding(None, is_stale=True)


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A user and the password they gave; its repr keeps the password to itself."""

    user: str
    password: str = field(repr=False)


def parse_basic(value: bytes | None) -> BasicCredentials | None:
    """Return what *value*, of Authorization or Proxy-Authorization, says, or None.

    Text that isn't UTF-8 is taken for ISO-8859-1: the challenge asks for UTF-8, but not every
    client heeds it (RFC 7617 section 2.1).
    """
    match = _BASIC.fullmatch(value) if value else None
    if match is None or len(match[1]) > 2 * MAX_CREDENTIALS:
        return None
    try:
        given = binascii.a2b_base64(match[1])
    except binascii.Error:
        return None
    # One spelling for one text: RFC 4648 section 3.5 leaves it to us.
    if len(given) > MAX_CREDENTIALS or binascii.b2a_base64(given, newline=False) != match[1]:
        return None
    try:
        text = given.decode("utf-8")
    except UnicodeDecodeError:
        text = given.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon or not user or _CONTROL.search(text):
        return None
    return BasicCredentials(user, password)


def basic_challenge(realm: str) -> bytes:
    """Return what asks for Basic in UTF-8 (RFC 7617 section 2)."""
    return b'Basic realm=%b, charset="UTF-8"' % quoted(realm)


def quoted(text: str) -> bytes:
    """Return *text* as a quoted string (RFC 9110 section 5.6.4)."""
    return b'"%b"' % re.sub(r'(["\\])', r"\\\1", text).encode("utf-8")
