"""A file of users: `name:password` lines, the password plain or as a hash that htpasswd writes.

Lines of htdigest, `name:realm:hash`, may stand among them.

This reads and checks the lines; nothing here can tell whether a password is right. What is wrong
with a line is said without a word of it, because it may be a password.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# A file past this isn't a list of a gateway's users.
MAX_PASSWORD_FILE = 16 * 1024 * 1024

_CRYPT64 = "[./0-9A-Za-z]"
_BASE64 = "[+/0-9A-Za-z]"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Scheme(enum.Enum):
    """How a password is kept; the value is the name that libpass has for a hash it knows."""

    BCRYPT = "bcrypt"
    ARGON2 = "argon2"
    SHA256_CRYPT = "sha256_crypt"
    SHA512_CRYPT = "sha512_crypt"
    APR1 = "apr_md5_crypt"
    MD5_CRYPT = "md5_crypt"
    SHA1 = "ldap_sha1"
    SALTED_SHA1 = "ldap_salted_sha1"
    HTDIGEST_MD5 = "htdigest_md5"
    HTDIGEST_SHA256 = "htdigest_sha256"
    PLAIN = "plain"


# How each begins, and how it looks as a whole; all else that begins so is damaged.
_SHAPES: tuple[tuple[Scheme, str, str], ...] = (
    # The cost is bounded: each step doubles the time, and 2**31 rounds would take days.
    (Scheme.BCRYPT, r"\$2[aby]\$", r"(?:0[4-9]|1[0-9])\$" + _CRYPT64 + "{53}"),
    (
        Scheme.ARGON2,
        r"\$argon2(?:id|i|d)\$",
        r"(?:v=[0-9]{1,3}\$)?m=[0-9]{1,7},t=[0-9]{1,3},p=[0-9]{1,2}\$"
        f"{_BASE64}{{8,86}}\\${_BASE64}{{16,86}}",
    ),
    (
        Scheme.SHA256_CRYPT,
        r"\$5\$",
        rf"(?:rounds=[0-9]{{4,7}}\$)?[^$:\s]{{0,16}}\${_CRYPT64}{{43}}",
    ),
    (
        Scheme.SHA512_CRYPT,
        r"\$6\$",
        rf"(?:rounds=[0-9]{{4,7}}\$)?[^$:\s]{{0,16}}\${_CRYPT64}{{86}}",
    ),
    (Scheme.APR1, r"\$apr1\$", rf"[^$:\s]{{0,8}}\${_CRYPT64}{{22}}"),
    (Scheme.MD5_CRYPT, r"\$1\$", rf"[^$:\s]{{0,8}}\${_CRYPT64}{{22}}"),
    (Scheme.SHA1, r"\{SHA\}", _BASE64 + "{27}="),
    (Scheme.SALTED_SHA1, r"\{SSHA\}", _BASE64 + "{32,56}={0,2}"),
)
_WHOLE = tuple(
    (scheme, re.compile(begin), re.compile(begin + rest)) for scheme, begin, rest in _SHAPES
)
_EXPLICITLY_PLAIN = "{PLAIN}"
# The realm and the H(A1) of Digest (RFC 7616 section 3.4.2).
_HTDIGEST = re.compile(r"(?!{PLAIN})([^:]{1,128}):([0-9A-Fa-f]{32}|[0-9A-Fa-f]{64})")


class Kept(NamedTuple):
    """What is kept of one password: a hash, or the password itself."""

    scheme: Scheme
    text: str

    def __repr__(self) -> str:
        return f"<Kept {self.scheme.value}>"


class Fault(NamedTuple):
    """What is wrong with a *line*, and what would be right."""

    line: int
    reason: str


class PasswordFile(NamedTuple):
    """The users of a file, and what is wrong with its other lines."""

    users: Mapping[str, Kept]
    faults: tuple[Fault, ...]

    def __repr__(self) -> str:
        return f"<PasswordFile {len(self.users)} users, {len(self.faults)} faults>"


def parse_password_file(data: bytes) -> PasswordFile:
    """Read *data*, the content of a file; blank lines and those that begin with # say nothing."""
    users: dict[str, Kept] = {}
    lines: dict[str, int] = {}
    faults: list[Fault] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            user, kept = _parse_line(line.rstrip(b"\r"))
        except ValueError as error:
            faults.append(Fault(number, str(error)))
            continue
        if user in users:
            reason = f"the user is there twice, first in line {lines[user]}; once would be right"
            faults.append(Fault(number, reason))
            continue
        users[user], lines[user] = kept, number
    return PasswordFile(MappingProxyType(users), tuple(faults))


def _parse_line(line: bytes) -> tuple[str, Kept]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("the line is not UTF-8; save the file as UTF-8") from error
    user, colon, password = text.partition(":")
    if not colon:
        raise ValueError("the line has no colon; name:password would be right")
    if not user or user != user.strip():
        raise ValueError("the name is empty or begins or ends with a blank; name:password is right")
    if _CONTROL.search(text):
        raise ValueError("the line holds a control character; name:password would be right")
    return user, _parse_kept(password)


def _parse_kept(text: str) -> Kept:
    for scheme, begin, whole in _WHOLE:
        if begin.match(text):
            if whole.fullmatch(text.rstrip()):
                return Kept(scheme, text.rstrip())
            name = scheme.value.removeprefix("ldap_")
            raise ValueError(f"the {name} hash is damaged; htpasswd makes a right one")
    if htdigest := _HTDIGEST.fullmatch(text.rstrip()):
        realm, secret = htdigest.groups()
        scheme = Scheme.HTDIGEST_MD5 if len(secret) == 32 else Scheme.HTDIGEST_SHA256
        return Kept(scheme, f"{realm}:{secret.lower()}")
    plain = text.removeprefix(_EXPLICITLY_PLAIN)
    if not plain:
        raise ValueError("the password is empty; name:password would be right")
    if plain == text and text[0] in "${":
        known = "bcrypt, argon2, SHA-crypt, apr1, MD5-crypt, {SHA} and {SSHA} are"
        right = f"{known}, and {_EXPLICITLY_PLAIN} goes before a plain password that begins so"
        raise ValueError(f"the kind of hash is not known; {right}")
    return Kept(Scheme.PLAIN, plain)
