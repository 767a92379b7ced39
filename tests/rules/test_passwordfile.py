"""The lines of a file of users, the wrong ones without a word of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.registry import get_crypt_handler  # type: ignore[import-untyped]  # it has no types

from proxyapp.rules.passwordfile import Fault, Kept, Scheme, parse_password_file

# As libpass makes them, fast.
CHEAP: dict[Scheme, dict[str, int]] = {
    Scheme.BCRYPT: {"rounds": 4},
    Scheme.ARGON2: {"rounds": 1, "memory_cost": 64},
    Scheme.SHA256_CRYPT: {"rounds": 1000},
    Scheme.SHA512_CRYPT: {"rounds": 1000},
    Scheme.APR1: {},
    Scheme.MD5_CRYPT: {},
    Scheme.SHA1: {},
    Scheme.SALTED_SHA1: {},
}
# As htpasswd and openssl make them of "secret".
FOREIGN = {
    "$apr1$odU7kJJj$QaMiIScMsRjy4HqDtdeQS0": Scheme.APR1,
    "$1$5sWUNmUj$iL1ZdAhX54p9AqDKzLCJQ1": Scheme.MD5_CRYPT,
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=": Scheme.SHA1,
    "$2y$04$QXIzhdIGK4frM4vFggney.1GRMDQj0Ii40gMvdHhrgH7.iknZMIKy": Scheme.BCRYPT,
    "$5$" + "s" * 16 + "$" + "." * 43: Scheme.SHA256_CRYPT,
    "$6$salt$" + "/" * 86: Scheme.SHA512_CRYPT,
}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("hunter2", "has no colon; name:password would be right"),
        (":hunter2", "the name is empty"),
        (" ann:hunter2", "begins or ends with a blank"),
        ("ann :hunter2", "begins or ends with a blank"),
        ("ann:", "the password is empty"),
        ("ann:{PLAIN}", "the password is empty"),
        ("ann:hun\tter2", "a control character"),
        ("ann:hun\x00ter2", "a control character"),
        ("an\u0085n:hunter2", "a control character"),
        ("ann:$9$hunter2", "the kind of hash is not known; bcrypt, argon2"),
        ("ann:$2x$04$" + "a" * 53, "{PLAIN} goes before a plain password"),
        ("ann:{MD5}hunter2", "the kind of hash is not known"),
        ("ann:$2y$05$hunter2", "the bcrypt hash is damaged"),
        ("ann:$2y$31$" + "a" * 53, "the bcrypt hash is damaged"),
        ("ann:$apr1$hunter2", "the apr_md5_crypt hash is damaged"),
        ("ann:$6$hunter2$" + "a" * 85, "the sha512_crypt hash is damaged"),
        ("ann:$6$salt$" + "a" * 86 + ":x", "the sha512_crypt hash is damaged"),
        ("ann:$argon2id$v=19$hunter2", "the argon2 hash is damaged"),
        ("ann:{SHA}hunter2", "the sha1 hash is damaged"),
    ],
)
def test_wrong_lines(line: str, complaint: str) -> None:
    """Each slip is told apart, and nothing of the line is repeated."""
    found = parse_password_file(f"\n{line}\n".encode())
    (fault,) = found.faults
    assert fault.line == 2
    assert complaint in fault.reason
    assert "hunter2" not in fault.reason
    assert not found.users


def test_wrong_bytes() -> None:
    """A line in another encoding is wrong alone."""
    found = parse_password_file(b"\xfcli:x\nann:x\n")
    assert [fault.line for fault in found.faults] == [1]
    assert "not UTF-8" in found.faults[0].reason
    assert list(found.users) == ["ann"]


def test_the_first_of_two_counts() -> None:
    """A user can't be there twice; which one was meant nobody knows, so it is said."""
    found = parse_password_file(b"ann:one\n# ann\nann:two\nAnn:three\n")
    assert found.users == {"ann": Kept(Scheme.PLAIN, "one"), "Ann": Kept(Scheme.PLAIN, "three")}
    reason = "the user is there twice, first in line 1; once would be right"
    assert found.faults == (Fault(3, reason),)


@pytest.mark.parametrize("scheme", CHEAP)
def test_hashes_of_libpass(scheme: Scheme) -> None:
    """Every kind of hash is known for what it is, and the checker has a way to check it."""
    text = get_crypt_handler(scheme.value).using(**CHEAP[scheme]).hash("secret")
    found = parse_password_file(f"ann:{text}\r\n".encode())
    assert found.users == {"ann": Kept(scheme, text)}
    assert get_crypt_handler(scheme.value).identify(text)


@pytest.mark.parametrize(("text", "scheme"), FOREIGN.items())
def test_hashes_of_others(text: str, scheme: Scheme) -> None:
    """Blanks behind a hash are nobody's password."""
    assert parse_password_file(f"ann:{text} ".encode()).users == {"ann": Kept(scheme, text)}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("lab:" + "0aF" * 10 + "0a ", Kept(Scheme.HTDIGEST_MD5, "lab:" + "0af" * 10 + "0a")),
        ("my lab:" + "9" * 64, Kept(Scheme.HTDIGEST_SHA256, "my lab:" + "9" * 64)),
        ("{PLAIN}lab:" + "9" * 32, Kept(Scheme.PLAIN, "lab:" + "9" * 32)),
        ("lab:" + "9" * 33, Kept(Scheme.PLAIN, "lab:" + "9" * 33)),
        ("a:b:" + "9" * 32, Kept(Scheme.PLAIN, "a:b:" + "9" * 32)),
        (":" + "9" * 32, Kept(Scheme.PLAIN, ":" + "9" * 32)),
        ("9" * 32, Kept(Scheme.PLAIN, "9" * 32)),
    ],
)
def test_htdigest(text: str, kept: Kept) -> None:
    """Realm and hash stand for a password; what only looks like it is one itself."""
    assert parse_password_file(f"ann:{text}\n".encode()).users == {"ann": kept}


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("open sesame ", "open sesame "),
        ("a:b", "a:b"),
        ("{PLAIN}$1$", "$1$"),
        ("{PLAIN}{PLAIN}", "{PLAIN}"),
        ("\u00fc#", "\u00fc#"),
        ("rl.3StKT.4T8M", "rl.3StKT.4T8M"),  # looks like the hash of crypt(3), and isn't taken so
    ],
)
def test_plain_passwords(text: str, password: str) -> None:
    """What begins like no hash is the password itself, to the end of the line."""
    found = parse_password_file(f"ann:{text}\n".encode())
    assert found.users == {"ann": Kept(Scheme.PLAIN, password)}
    assert not found.faults


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# ann:x\n  # bob:y\n \t\n", b"\xef\xbb\xbf#"])
def test_nobody(text: bytes) -> None:
    """Blank lines and comments are no users."""
    assert parse_password_file(text) == ({}, ())


def test_secrets_are_not_shown() -> None:
    """What is kept of passwords is in no repr."""
    found = parse_password_file(b"ann:hunter2\nbob:$9$hunter2")
    assert repr(found) == "<PasswordFile 1 users, 1 faults>"
    assert "hunter2" not in repr(found.users) + repr(found.faults)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_is_read(data: bytes) -> None:
    """No file makes the parser fail, and every line is a user, a fault or nothing."""
    found = parse_password_file(data)
    assert len(found.users) + len(found.faults) <= data.count(b"\n") + 1
