"""Basic credentials as they arrive, and the challenges that ask for them."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.challenges import (
    MAX_CREDENTIALS,
    BasicCredentials,
    Claim,
    basic_challenge,
    parse_basic,
)


def basic(text: str | bytes) -> bytes:
    """Return the field value that says *text*."""
    return b"Basic " + b64encode(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Basic\tYTpi",
        b"Basic=YTpi",
        b"BasicYTpi",
        b"Bearer YTpi",
        b"Digest username=a",
        b"Negotiate YTpi",
        b"Basic realm=x",
        b"Basic YTpi, Basic YTpi",
        b"Basic YTpi YTpi",
        b"Basic YTpi\x00",
        b"Basic YT pi",
        b"Basic YTpiYw",  # padding is left out
        b"Basic YTpi=",
        b"Basic YTpiYx==",  # bits that stand for nothing
        b"Basic -_-_",
        basic("nocolon"),
        basic(""),
        basic(":nobody"),
        basic("a\x00b:c"),
        basic("a:b\nc"),
        basic("a\r:b"),
        basic("a:\x7f"),
        basic("a\u0085:b"),
        basic("a:" + "b" * MAX_CREDENTIALS),
    ],
)
def test_nobody(value: bytes | None) -> None:
    """What isn't exactly one user and password is nobody's."""
    assert parse_basic(value) is None


@pytest.mark.parametrize(
    ("value", "user", "password"),
    [
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),  # RFC 7617 section 2
        (b"Basic dGVzdDoxMjPCow==", "test", "123\u00a3"),  # RFC 7617 section 2.1
        (b"bAsIc   YTpi  ", "a", "b"),
        (basic("a:"), "a", ""),
        (basic("a:b:c"), "a", "b:c"),
        (basic("corp\\ann lee: x "), "corp\\ann lee", " x "),
        (basic("\u00fc:\u00df".encode("latin-1")), "\u00fc", "\u00df"),
        (basic("a:" + "b" * (MAX_CREDENTIALS - 2)), "a", "b" * (MAX_CREDENTIALS - 2)),
    ],
)
def test_somebody(value: bytes, user: str, password: str) -> None:
    """The first colon ends the name; UTF-8 is preferred, and blanks are part of a password."""
    assert parse_basic(value) == BasicCredentials(user, password)


PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60)


@given(PRINTABLE.filter(lambda user: user and ":" not in user), PRINTABLE)
def test_what_is_sent_arrives(user: str, password: str) -> None:
    """Any text without control characters is read as it was meant."""
    assert parse_basic(basic(f"{user}:{password}")) == BasicCredentials(user, password)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_nobody_s(value: bytes) -> None:
    """No bytes make the parser fail, raw or inside the base64."""
    for given_value in (value, b"Basic " + value, basic(value)):
        found = parse_basic(given_value)
        assert found is None or (found.user and not re.search(r"[\x00-\x1f]", found.user))


def test_a_password_is_not_shown() -> None:
    """The repr, which logs and tracebacks use, has the user alone."""
    assert repr(BasicCredentials("ann", "hunter2")) == "BasicCredentials(user='ann')"


def test_a_claim_is_not_shown() -> None:
    """Its repr has neither what was asked for nor with which password."""
    claim = Claim("192.0.2.1", basic("ann:hunter2"), b"GET", (b"/?hunter2",))
    assert repr(claim) == "<Claim of 192.0.2.1>"


@pytest.mark.parametrize(
    ("realm", "value"),
    [
        ("proxyapp", b'Basic realm="proxyapp", charset="UTF-8"'),
        ('the "lab" \\ 1', rb'Basic realm="the \"lab\" \\ 1", charset="UTF-8"'),
    ],
)
def test_challenges(realm: str, value: bytes) -> None:
    """It asks for UTF-8, with the realm as a quoted string."""
    assert basic_challenge(realm) == value
