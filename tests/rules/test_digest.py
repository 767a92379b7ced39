"""Digest as it arrives: the RFC's own examples, what isn't whole, and what can be checked by."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.digest import (
    ALGORITHMS,
    Algorithm,
    DigestCredentials,
    algorithms,
    challenge,
    is_digest,
    is_right,
    matches,
    parse_digest,
)
from proxyapp.rules.passwordfile import Kept, Scheme

# RFC 7616 section 3.9.1: Mufasa, whose password is "Circle of Life".
SHA256 = (
    b'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html",'
    b' algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,'
    b' cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,'
    b' response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",'
    b' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
MD5 = SHA256.replace(b"SHA-256", b"MD5").replace(
    b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    b"8ca523f5e9506fed4657c9700eebdbec",
)
LION = Kept(Scheme.PLAIN, "Circle of Life")


def parsed(value: bytes) -> DigestCredentials:
    """Return what *value* says."""
    found = parse_digest(value)
    assert found is not None
    return found


def changed(*changes: tuple[bytes, bytes]) -> bytes:
    """Return the example with other parts in place of its own."""
    value = SHA256
    for old, new in changes:
        assert old in value
        value = value.replace(old, new, 1)
    return value


# --- What isn't one ---


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Digest",
        b"Digest ",
        b"Basic YTpi",
        b"Digest\tusername=a",
        SHA256[:-1],
        SHA256 + b", Digest a=b",
        SHA256 + b" x",
        SHA256 + b', a="b',
        SHA256 + b", =b",
        SHA256 + b', nc="00000001"',
        SHA256 + b", NC=00000002",
        SHA256 + b", username*=UTF-8''Mufasa",
        SHA256 + b", userhash=true",
        changed((b"qop=auth, ", b"")),
        changed((b"qop=auth", b"qop=auth-int")),
        changed((b"qop=auth", b'qop="auth,auth-int"')),
        changed((b"SHA-256", b"SHA-256-sess")),
        changed((b"SHA-256", b"SHA-512-256")),
        changed((b"SHA-256", b"MD5")),
        changed((b"algorithm=SHA-256, ", b"")),
        changed((b"nc=00000001, ", b"")),
        changed((b"nc=00000001", b"nc=1")),
        changed((b"nc=00000001", b"nc=000000001")),
        changed((b"nc=00000001", b"nc=+0000001")),
        changed((b"cnonce=", b"cn=")),
        changed((b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", b"")),
        changed((b"uri=", b"url=")),
        changed((b"realm=", b"rlm=")),
        changed((b" nonce=", b" once=")),
        changed((b"7ypf", b"7ypf" * 100)),
        changed((b'"753927', b'"g53927')),
        changed((b'"753927', b'"53927')),
        changed((b'username="Mufasa", ', b"")),
        changed((b"Mufasa", b"")),
        changed((b"Mufasa", b"M\xc2\x85")),
        changed((b"Mufasa", b"M" * 1025)),
        changed((b'username="Mufasa"', b"username*=Mufasa")),
        changed((b'username="Mufasa"', b"username*=UTF-8''")),
        changed((b'username="Mufasa"', b"username*=UTF-8''%4")),
        changed((b'username="Mufasa"', b"username*=UTF-8''%FF")),
        changed((b'username="Mufasa"', b"username*=UTF-8''a%0Ab")),
        changed((b'username="Mufasa"', b"username*=ISO-8859-1''%E4")),
    ],
)
def test_nobody(value: bytes) -> None:
    """What isn't whole, or asks for a form that isn't offered, is nobody's."""
    assert parse_digest(value) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_nobody_s(value: bytes) -> None:
    """No bytes make the parser fail, alone or behind a whole one."""
    for each in (value, b"Digest " + value, SHA256 + b", " + value):
        found = parse_digest(each)
        assert found is None or found.user


# --- What is one ---


@pytest.mark.parametrize(
    ("value", "algorithm"),
    [
        (SHA256, Algorithm.SHA256),
        (MD5, Algorithm.MD5),
        (MD5.replace(b"algorithm=MD5, ", b""), Algorithm.MD5),
        (SHA256.replace(b"qop=auth", b'qop="auth"'), Algorithm.SHA256),
        (SHA256.replace(b"=SHA-256", b'="sha-256"'), Algorithm.SHA256),
        (SHA256.replace(b"Digest ", b"dIGEST   "), Algorithm.SHA256),
        (SHA256.replace(b", ", b" , ,\t").replace(b"nc=", b"NC = "), Algorithm.SHA256),
        (SHA256.replace(b"Mufasa", b"M\\ufasa") + b", userhash=false,", Algorithm.SHA256),
        (SHA256.replace(b'"Mufasa"', b"Mufasa"), Algorithm.SHA256),
        (SHA256.replace(b'username="Mufasa"', b"username*=utf-8'en'Muf%61sa"), Algorithm.SHA256),
        (SHA256.replace(b"753927fa", b"753927FA"), Algorithm.SHA256),
    ],
)
def test_the_rfc_s_examples(value: bytes, algorithm: Algorithm) -> None:
    """They are right, however they are spelled, for this password and method alone."""
    found = parsed(value)
    assert (found.user, found.algorithm, found.uri) == ("Mufasa", algorithm, b"/dir/index.html")
    assert is_digest(value)
    assert is_right(found, b"GET", LION)
    assert not is_right(found, b"POST", LION)
    assert not is_right(found, b"GET", Kept(Scheme.PLAIN, "Circle of life"))
    assert not is_right(found, b"GET", None)


@pytest.mark.parametrize("part", [b"Mufasa", b"http-auth", b"index", b"7ypf", b"00000001", b"f2"])
def test_each_part_counts(part: bytes) -> None:
    """Whatever the response covers can't be put in place of it."""
    other = bytes([part[0] + 1]) + part[1:] if part != b"00000001" else b"00000002"
    assert not is_right(parsed(changed((part, other))), b"GET", LION)


def answer(user: bytes, password: bytes) -> bytes:
    """Return what a client sends that hashes these bytes."""
    first = hashlib.sha256(user + b":lab:" + password).hexdigest().encode()
    second = hashlib.sha256(b"GET:/").hexdigest().encode()
    whole = b"%b:n:00000001:c:auth:%b" % (first, second)
    response = hashlib.sha256(whole).hexdigest().encode()
    return (
        b'Digest username="%b", realm="lab", uri="/", algorithm=SHA-256, nonce="n", nc=00000001,'
        b' cnonce="c", qop=auth, response="%b"' % (user, response)
    )


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_charsets(charset: str) -> None:
    """A name that isn't UTF-8 says how its password was spelled, too."""
    found = parsed(answer("J\u00e4s".encode(charset), "\u00df".encode(charset)))
    assert (found.user, found.charset) == ("J\u00e4s", charset)
    assert is_right(found, b"GET", Kept(Scheme.PLAIN, "\u00df"))
    assert not is_right(found, b"GET", Kept(Scheme.PLAIN, "\u20ac"))


def test_nothing_is_shown() -> None:
    """The repr, which logs and tracebacks use, has no hash."""
    assert repr(parsed(SHA256)) == "<DigestCredentials of 'Mufasa' by SHA-256>"


# --- What is kept ---


def htdigest(algorithm: Algorithm, realm: str = "http-auth@example.org") -> Kept:
    """Return what htdigest keeps of the example's password."""
    text = f"Mufasa:{realm}:Circle of Life".encode()
    if algorithm is Algorithm.MD5:
        return Kept(Scheme.HTDIGEST_MD5, f"{realm}:{hashlib.md5(text).hexdigest()}")
    return Kept(Scheme.HTDIGEST_SHA256, f"{realm}:{hashlib.sha256(text).hexdigest()}")


@pytest.mark.parametrize(("value", "algorithm"), [(SHA256, Algorithm.SHA256), (MD5, Algorithm.MD5)])
def test_kept_hashes(value: bytes, algorithm: Algorithm) -> None:
    """A hash of this algorithm and realm proves the password; no other does."""
    (other,) = set(ALGORITHMS) - {algorithm}
    found = parsed(value)
    assert is_right(found, b"GET", htdigest(algorithm))
    assert not is_right(found, b"GET", htdigest(other))
    assert not is_right(found, b"GET", htdigest(algorithm, "lab"))
    assert not is_right(found, b"GET", Kept(Scheme.BCRYPT, "Circle of Life"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_kept_hashes_for_basic(algorithm: Algorithm) -> None:
    """A password that comes as it is can be compared, too."""
    kept = htdigest(algorithm)
    assert matches(kept, "Mufasa", "Circle of Life")
    assert not matches(kept, "mufasa", "Circle of Life")
    assert not matches(kept, "Mufasa", "circle of life")


BOTH = (Algorithm.SHA256, Algorithm.MD5)
PLAIN, BCRYPT = Kept(Scheme.PLAIN, "x"), Kept(Scheme.BCRYPT, "$2b$")
OLD, NEW = htdigest(Algorithm.MD5, "lab"), htdigest(Algorithm.SHA256, "lab")


@pytest.mark.parametrize(
    ("users", "offered"),
    [
        ([PLAIN, BCRYPT], ()),
        ([PLAIN, htdigest(Algorithm.MD5, "other")], ()),
        ([OLD, NEW], ()),
        ([OLD, PLAIN], (Algorithm.MD5,)),
        ([PLAIN, NEW, NEW], (Algorithm.SHA256,)),
        ([PLAIN, PLAIN], BOTH),
    ],
)
def test_what_every_user_can(users: list[Kept], offered: tuple[Algorithm, ...]) -> None:
    """One user who can't by an algorithm would be locked out by its offer."""
    assert algorithms(users, "lab") == offered


def test_challenges() -> None:
    """They have all that RFC 7616 section 3.3 asks for, and stale only where it's true."""
    fresh = challenge('a "lab"', Algorithm.SHA256, b"n-_", is_stale=False)
    assert fresh == (
        rb'Digest realm="a \"lab\"", qop="auth", algorithm=SHA-256, nonce="n-_", charset="UTF-8"'
    )
    stale = challenge("lab", Algorithm.MD5, b"n", is_stale=True)
    assert stale.endswith(b', algorithm=MD5, nonce="n", charset="UTF-8", stale=true')
