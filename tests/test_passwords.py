"""Ways to check a password: the file that is read again, every hash, Twisted's own checkers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
from passlib.registry import get_crypt_handler  # type: ignore[import-untyped]  # it has no types
from twisted.cred import strcred
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyapp import passwords
from proxyapp.passwords import CredChecker, FileChecker, make_checker
from proxyapp.rules.challenges import BasicCredentials
from proxyapp.rules.digest import ALGORITHMS
from proxyapp.rules.passwordfile import Kept, Scheme

T = TypeVar("T")


def at_once(job: Callable[[], T], /) -> Deferred[T]:
    """Run *job* as if in a thread that is done at once."""
    return execute(job)


def result_of(work: Coroutine[Deferred[object], object, T]) -> T:
    """Return what *work* did without waiting; raise what it raised."""
    results: list[T] = []
    failures: list[Failure] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return results[0]


class Setting:
    """A checker of a file, on a clock."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path / "htpasswd"
        self.path.write_text(text)
        self.clock = Clock()
        self.checker = FileChecker(self.path, "lab", at_once, self.clock.seconds)

    def passes(self, user: str, password: str) -> bool:
        """Check a password."""
        return result_of(self.checker.is_right(BasicCredentials(user, password)))

    def version(self) -> int:
        """Return the version."""
        return result_of(self.checker.version())

    def change(self, text: str) -> int:
        """Change the file, as editors do, and return the version a second later."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)
        self.clock.advance(passwords.LOOK_INTERVAL)
        return self.version()


@implementer(ILogObserver)
class Events:
    """What the module says in the event log."""

    def __init__(self) -> None:
        self.said: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event["log_namespace"] == "proxyapp.passwords":
            self.said.append(event)


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """Yield what was said in the event log by the module."""
    observer = Events()
    globalLogPublisher.addObserver(observer)
    yield observer.said
    globalLogPublisher.removeObserver(observer)


HASHES = [
    ("bcrypt", {"rounds": 4}),
    ("argon2", {"rounds": 1, "memory_cost": 64}),
    ("sha256_crypt", {"rounds": 1000}),
    ("sha512_crypt", {"rounds": 1000}),
    ("apr_md5_crypt", {}),
    ("md5_crypt", {}),
    ("ldap_sha1", {}),
    ("ldap_salted_sha1", {}),
]


@pytest.mark.parametrize(("name", "cost"), HASHES)
def test_hashes(tmp_path: Path, name: str, cost: dict[str, int]) -> None:
    """Each kind of hash knows its password, and no other."""
    kept = get_crypt_handler(name).using(**cost).hash("s\u00e9cret")
    setting = Setting(tmp_path, f"ann:{kept}\nbob:other\n")
    for wrong in ("", "secret", "s\u00e9cre", "s\u00e9cret ", kept, "x" * 1000):
        assert not setting.passes("ann", wrong)
    assert not setting.passes("bob", "s\u00e9cret")
    assert setting.passes("ann", "s\u00e9cret")


def test_plain_passwords(tmp_path: Path) -> None:
    """They are compared as they are; case counts in names as well."""
    setting = Setting(tmp_path, "ann:{PLAIN}$1$x\n\u00fcli:\u00df\n")
    assert setting.passes("ann", "$1$x")
    assert setting.passes("\u00fcli", "\u00df")
    for user, password in [("ann", "{PLAIN}$1$x"), ("Ann", "$1$x"), ("\u00fcli", "ss"), ("", "")]:
        assert not setting.passes(user, password)


def test_long_passwords_with_bcrypt(tmp_path: Path) -> None:
    """What htpasswd cut off when it made the hash is cut off here."""
    kept = get_crypt_handler("bcrypt").using(rounds=4).hash("\u00e9" * 36)
    setting = Setting(tmp_path, f"ann:{kept}\n")
    assert setting.passes("ann", "\u00e9" * 50)
    assert not setting.passes("ann", "\u00e9" * 35)


def test_an_unknown_user_takes_as_long(tmp_path: Path) -> None:
    """Somebody's hash is computed for a name that isn't there."""
    kept = get_crypt_handler("bcrypt").using(rounds=4).hash("secret")
    setting = Setting(tmp_path, f"ann:{kept}\n")
    with mock.patch.object(passwords, "_verify", return_value=True) as verify:
        assert not setting.passes("eve", "secret")
    verify.assert_called_once()


def test_htdigest(tmp_path: Path) -> None:
    """A hash of Digest's, for any realm, knows the password that Basic brings."""
    kept = hashlib.md5(b"ann:lab:secret").hexdigest()
    newer = hashlib.sha256("\u00fcli:other:secret".encode()).hexdigest()
    setting = Setting(tmp_path, f"ann:lab:{kept}\n\u00fcli:other:{newer}\n")
    assert setting.passes("ann", "secret")
    assert setting.passes("\u00fcli", "secret")
    for user, password in [("ann", f"lab:{kept}"), ("ann", kept), ("\u00fcli", "Secret")]:
        assert not setting.passes(user, password)


def test_what_digest_may_know(tmp_path: Path) -> None:
    """It gets what is kept, and how all users can prove themselves, as the file is now."""
    setting = Setting(tmp_path, "ann:one\n")
    assert setting.checker.kept("ann") == Kept(Scheme.PLAIN, "one")
    assert setting.checker.kept("eve") is None
    assert setting.checker.algorithms() == ALGORITHMS
    setting.change("ann:one\nbob:$1$" + "a" * 8 + "$" + "b" * 22)
    assert setting.checker.algorithms() == ()
    setting.path.unlink()
    setting.clock.advance(passwords.LOOK_INTERVAL)
    assert setting.version() == 3
    assert setting.checker.kept("ann") is None


# --- The file changes ---


def test_an_unreadable_file(tmp_path: Path, events: list[LogEvent]) -> None:
    """While there is no file nobody has a password; it is said once, and it may come back."""
    setting = Setting(tmp_path, "ann:one\n")
    setting.path.unlink()
    for _ in range(3):
        setting.clock.advance(passwords.LOOK_INTERVAL)
        assert setting.version() == 2
    assert not setting.passes("ann", "one")
    assert [event["why"] for event in events] == ["No such file or directory"]
    assert setting.change("ann:one\n") == 3
    assert setting.passes("ann", "one")


def test_no_file_at_the_start(tmp_path: Path, events: list[LogEvent]) -> None:
    """That is no failure; nobody has a password."""
    checker = FileChecker(tmp_path / "missing", "lab", at_once, Clock().seconds)
    assert not result_of(checker.is_right(BasicCredentials("ann", "one")))
    assert len(events) == 1


def test_what_is_no_file_does_not_block(tmp_path: Path, events: list[LogEvent]) -> None:
    """A pipe without a writer is read as empty, a folder is told."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        checker = FileChecker(path, "lab", at_once, Clock().seconds)
        assert not result_of(checker.is_right(BasicCredentials("ann", "one")))
    assert [event["why"] for event in events] == ["Is a directory"]


def test_a_file_that_is_too_large(tmp_path: Path, events: list[LogEvent]) -> None:
    """It is not read in part: a user may have been taken out behind."""
    with mock.patch.object(passwords, "MAX_PASSWORD_FILE", 8):
        setting = Setting(tmp_path, "ann:one\nbob:two\n")
        assert not setting.passes("ann", "one")
    assert events[0]["why"] == "it is too large"


def test_wrong_lines_are_told_without_the_password(tmp_path: Path, events: list[LogEvent]) -> None:
    """The other lines count; the event log gets the line's number and the reason."""
    setting = Setting(tmp_path, "ann:one\nbob:$9$hunter2\n" + "hunter2\n" * 10)
    assert setting.passes("ann", "one")
    assert not setting.passes("bob", "$9$hunter2")
    assert [event["place"] for event in events] == [
        f"{setting.path}:{line}" for line in (2, 3, 4, 5, 6)
    ]
    assert "hunter2" not in repr(events)


def test_changes_count_within_a_second(tmp_path: Path) -> None:
    """The file is looked at once a second, and read only when it is another."""
    setting = Setting(tmp_path, "ann:one\n")
    assert setting.version() == 1
    setting.path.write_text("ann:two\n")
    assert setting.version() == 1
    assert setting.checker.known_version() == 1
    setting.clock.advance(passwords.LOOK_INTERVAL)
    assert setting.checker.known_version() is None, "it is time to look"
    assert setting.version() == 2
    assert setting.checker.known_version() == 2
    assert setting.passes("ann", "two")
    setting.clock.advance(passwords.LOOK_INTERVAL)
    assert setting.version() == 2
    assert setting.change("ann:two\n") == 3


# --- Twisted's own checkers ---


def test_memory() -> None:
    """Names and passwords in the description itself; the repr keeps them."""
    checker = make_checker("memory:ann:hunter2:\u00fcli:x", "lab", at_once, Clock().seconds)
    assert "hunter2" not in repr(checker)
    for user, password, expected in [
        ("ann", "", False),
        ("ann", "x", False),
        ("eve", "hunter2", False),
        ("ann", "hunter2", True),
        ("\u00fcli", "x", True),
    ]:
        assert result_of(checker.is_right(BasicCredentials(user, password))) is expected
    assert result_of(checker.version()) == checker.known_version()
    assert (checker.kept("ann"), checker.algorithms()) == (None, ())


class Foreign:
    """A checker of somebody else's, which answers in the reactor's time."""

    def __init__(self, answer: Deferred[bytes]) -> None:
        self.answer = answer
        self.asked: list[tuple[object, object]] = []

    def requestAvatarId(self, credentials: object) -> Deferred[bytes]:
        """See ICredentialsChecker."""
        assert hasattr(credentials, "username")
        assert hasattr(credentials, "password")
        self.asked.append((credentials.username, credentials.password))
        return self.answer


def never(job: Callable[[], T], /) -> Deferred[T]:
    """Fail where anything is to be run in a thread."""
    raise AssertionError(job)


@pytest.mark.parametrize(
    ("answer", "expected"), [(fail(UnauthorizedLogin()), False), (succeed(b"ann"), True)]
)
def test_other_checkers(answer: Deferred[bytes], expected: bool) -> None:
    """A checker of another package is asked in the reactor, as it expects, and with bytes."""
    foreign = Foreign(answer)
    with mock.patch.object(strcred, "makeChecker", return_value=foreign):
        checker = CredChecker("ldap:ldap.lan", never)
    given = BasicCredentials("\u00fcli", "\u00df")
    assert result_of(checker.is_right(given)) is expected
    assert foreign.asked == [("\u00fcli".encode(), "\u00df".encode())]


def test_a_checker_that_fails() -> None:
    """Only a refusal is a wrong password; a failure stays one."""
    with mock.patch.object(strcred, "makeChecker", return_value=Foreign(fail(OSError("down")))):
        checker = CredChecker("ldap:ldap.lan", never)
    with pytest.raises(OSError, match="down"):
        result_of(checker.is_right(BasicCredentials("ann", "x")))


def test_a_wrong_kind() -> None:
    """A description that strcred doesn't know is refused when the checker is made."""
    with pytest.raises(strcred.InvalidAuthType):
        make_checker("nonsense:x", "lab", at_once, Clock().seconds)
