"""Who a request says it is from, and how it is asked to say so: Basic (RFC 7617)."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field

# RFC 9110 section 11.4: the scheme, blanks, and a token68; a second field line would add a comma.
_BASIC = re.compile(rb"basic +([0-9A-Za-z+/]+={0,2}) *", re.IGNORECASE)
# RFC 7617 section 2: neither user nor password holds control characters; the log agrees.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What is longer is nobody's password, but work for a hash.
MAX_CREDENTIALS = 1024


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


def www_authenticate(realm: str) -> tuple[bytes, bytes]:
    """Return the challenge of a 401 (RFC 9110 section 11.6.1)."""
    return b"WWW-Authenticate", _challenge(realm)


def proxy_authenticate(realm: str) -> tuple[bytes, bytes]:
    """Return the challenge of a 407 (RFC 9110 section 11.7.1)."""
    return b"Proxy-Authenticate", _challenge(realm)


def _challenge(realm: str) -> bytes:
    quoted = re.sub(r'(["\\])', r"\\\1", realm).encode("utf-8")
    return b'Basic realm="%b", charset="UTF-8"' % quoted
