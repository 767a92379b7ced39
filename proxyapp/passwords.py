"""Ways to check a password: our own file of users, or any cred checker of Twisted's."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from passlib.registry import get_crypt_handler  # type: ignore[import-untyped]  # it has no types
from twisted.cred import strcred
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed, Unauthorized
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyapp.rules import digest
from proxyapp.rules.challenges import BasicCredentials
from proxyapp.rules.digest import Algorithm
from proxyapp.rules.passwordfile import MAX_PASSWORD_FILE, Fault, Kept, Scheme, parse_password_file

T = TypeVar("T")

# A changed file counts after so many seconds.
LOOK_INTERVAL = 1.0
# bcrypt takes no more bytes, and htpasswd has never told anybody.
_BCRYPT_BYTES = 72
# Twisted's own two compare text, and do all their work before they return.
_TEXT_AND_BLOCKING = ("memory", "unix")
_MOST_FAULTS_SAID = 5
_HTDIGEST = (Scheme.HTDIGEST_MD5, Scheme.HTDIGEST_SHA256)

_log = Logger()


class InThread(Protocol):
    """Runs *job* in a thread, as deferToThreadPool does when it is bound to a pool."""

    def __call__(self, job: Callable[[], T], /) -> Deferred[T]:
        """Return what fires, in the reactor's thread, with what *job* returned or raised."""


class Checker(Protocol):
    """One way to check a password."""

    async def version(self) -> int:
        """Return a number that changes when the users do, as far as can be told."""

    def known_version(self) -> int | None:
        """Return the version without waiting; None where it is time to ask for it."""

    def kept(self, user: str) -> Kept | None:
        """Return what is kept of the password of *user*, as far as Digest may know."""

    def algorithms(self) -> tuple[Algorithm, ...]:
        """Return the algorithms of Digest by which every user can prove themselves."""

    async def is_right(self, given: BasicCredentials) -> bool:
        """Is there such a user with this password? Raises anything if that can't be told."""


def make_checker(
    description: str, realm: str, in_thread: InThread, seconds: Callable[[], float]
) -> Checker:
    """Make the checker for *description*: `file:PATH`, or what strcred knows."""
    kind, _, rest = description.partition(":")
    if kind == "file":
        return FileChecker(Path(rest), realm, in_thread, seconds)
    return CredChecker(description, in_thread)


class _Signature(NamedTuple):
    """What tells one state of a file from another."""

    modified: int
    changed: int
    size: int
    inode: int


class _Content(NamedTuple):
    signature: _Signature | None  # None where it can't be read
    users: Mapping[str, Kept]
    faults: tuple[Fault, ...]
    failure: str
    algorithms: tuple[Algorithm, ...]


def _nobody(signature: _Signature | None, failure: str) -> _Content:
    return _Content(signature, MappingProxyType({}), (), failure, ())


class FileChecker:
    """Checks against a file of `name:password` lines, which is read again when it changes.

    A line that is wrong is nobody's; while the file can't be read, nobody has a password.
    """

    def __init__(
        self, path: Path, realm: str, in_thread: InThread, seconds: Callable[[], float]
    ) -> None:
        self._path = path
        self._realm = realm
        self._in_thread = in_thread
        self._seconds = seconds
        self._version = 0
        self._looked = seconds()
        self._content = _nobody(None, "")
        # At the start, where nothing waits for the reactor yet.
        self._take(_read(path, realm, None, is_first=True))

    def __repr__(self) -> str:
        return f"<FileChecker {self._path}, {len(self._content.users)} users>"

    async def version(self) -> int:
        """See Checker; looks at the file at most once a second."""
        now = self._seconds()
        if now - self._looked >= LOOK_INTERVAL:
            self._looked = now
            known = self._content.signature
            job = partial(_read, self._path, self._realm, known, is_first=False)
            self._take(await self._in_thread(job))
        return self._version

    def known_version(self) -> int | None:
        """See Checker."""
        is_due = self._seconds() - self._looked >= LOOK_INTERVAL
        return None if is_due else self._version

    def kept(self, user: str) -> Kept | None:
        """See Checker."""
        return self._content.users.get(user)

    def algorithms(self) -> tuple[Algorithm, ...]:
        """See Checker."""
        return self._content.algorithms

    async def is_right(self, given: BasicCredentials) -> bool:
        """See Checker."""
        users = self._content.users
        kept = users.get(given.user)
        # Whether there is such a user shall not show in the time that it takes.
        kept_or_other = kept or next(iter(users.values()), None)
        if kept_or_other is None:
            return False
        is_right = await self._in_thread(partial(_verify, given, kept_or_other))
        return is_right and kept is not None

    def _take(self, content: _Content | None) -> None:
        if content is None:
            return
        self._content = content
        self._version += 1
        if content.failure:
            _log.error("{path} can't be read: {why}", path=self._path, why=content.failure)
        for fault in content.faults[:_MOST_FAULTS_SAID]:
            place, reason = f"{self._path}:{fault.line}", fault.reason
            _log.error("{place}: {reason}", place=place, reason=reason)


def _read(path: Path, realm: str, known: _Signature | None, is_first: bool) -> _Content | None:
    """Read the file of users in this thread; None where it is as it was."""
    try:
        with open(path, "rb", opener=_open_at_once) as opened:
            stat = os.fstat(opened.fileno())
            signature = _Signature(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
            if signature == known:
                return None
            data = opened.read(MAX_PASSWORD_FILE + 1) or b""  # None from a pipe
    except OSError as error:
        if known is None and not is_first:
            return None
        return _nobody(None, error.strerror or "")
    if len(data) > MAX_PASSWORD_FILE:
        return _nobody(signature, "it is too large")
    users, faults = parse_password_file(data)
    return _Content(signature, users, faults, "", digest.algorithms(users.values(), realm))


def _open_at_once(path: str, flags: int) -> int:
    # Not to wait where somebody has put a pipe.
    return os.open(path, flags | os.O_NONBLOCK)


def _verify(given: BasicCredentials, kept: Kept) -> bool:
    """Is the password *given* the one that is *kept*? Takes its time, in this thread."""
    if kept.scheme in _HTDIGEST:
        return digest.matches(kept, given.user, given.password)
    secret = given.password.encode("utf-8")
    if kept.scheme is Scheme.PLAIN:
        # Of equal length, because compare_digest tells the length.
        digests = (hashlib.sha256(each).digest() for each in (secret, kept.text.encode("utf-8")))
        return hmac.compare_digest(*digests)
    if kept.scheme is Scheme.BCRYPT:
        secret = secret[:_BCRYPT_BYTES]
    return bool(get_crypt_handler(kept.scheme.value).verify(secret, kept.text))


class CredChecker:
    """Checks by the cred checker that strcred makes of *description*."""

    def __init__(self, description: str, in_thread: InThread) -> None:
        self._kind = description.partition(":")[0]
        self._checker: ICredentialsChecker = strcred.makeChecker(description)
        self._in_thread = in_thread

    def __repr__(self) -> str:
        # Not the description: that of `memory` holds passwords.
        return f"<CredChecker {self._kind}>"

    async def version(self) -> int:
        """See Checker; a change of the users can't be told."""
        return 0

    def known_version(self) -> int | None:
        """See Checker."""
        return 0

    def kept(self, user: str) -> Kept | None:
        """See Checker; these keep it to themselves."""
        return None

    def algorithms(self) -> tuple[Algorithm, ...]:
        """See Checker."""
        return ()

    async def is_right(self, given: BasicCredentials) -> bool:
        """See Checker."""
        try:
            if self._kind in _TEXT_AND_BLOCKING:
                await self._in_thread(partial(_settle, self._checker, given))
            else:
                user, password = given.user.encode("utf-8"), given.password.encode("utf-8")
                await self._checker.requestAvatarId(UsernamePassword(user, password))
        except (LoginFailed, Unauthorized):
            return False
        return True


def _settle(checker: ICredentialsChecker, given: BasicCredentials) -> None:
    """Ask *checker* in this thread; raises what it fails with."""
    outcome: list[object] = []
    credentials = UsernamePassword(given.user, given.password)  # type: ignore[arg-type]  # text
    checker.requestAvatarId(credentials).addBoth(outcome.append)
    if not outcome:
        raise RuntimeError("the checker didn't answer at once")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
