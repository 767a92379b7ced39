"""Does a request prove to be from a user? Checked in threads, and remembered for a minute.

Hashes of passwords are made to take time, so a right password is remembered, as is a wrong one for
some seconds: under a keyed hash whose key dies with the process, so that no memory holds a
password. An address that gave many wrong ones lately is answered 429, for longer and longer;
passwords that were right before are exempt, for several users may share an address.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyapp import errors
from proxyapp.passwords import Checker, InThread, make_checker
from proxyapp.rules import challenges
from proxyapp.rules.challenges import BasicCredentials

# Times in seconds.
REMEMBERED = 60.0
# A wrong one is often sent again by itself; but nobody should wait once it was made right.
WRONG_REMEMBERED = 10.0
FREE_FAILURES = 5
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
# Nothing is held against an address that gave no wrong password for so long.
FORGIVEN_AFTER = 300.0
# Passwords that are being checked; a thread is busy for up to a second with each.
MAX_UNDER_WAY = 64
MAX_UNDER_WAY_PER_CLIENT = 16
# An entry is some 200 bytes.
MAX_REMEMBERED = 8192
_KEY_SIZE = 32

_log = Logger()


class Credentials:
    """Checks Basic credentials against the users of *description*, as [auth] users has them.

    *seconds* is a clock that only goes forward. A file of users is read at once; raises what
    strcred raises for a description that isn't right.
    """

    def __init__(
        self, description: str, realm: str, in_thread: InThread, seconds: Callable[[], float]
    ) -> None:
        self._checker: Checker = make_checker(description, in_thread, seconds)
        self._realm = realm
        self._seconds = seconds
        self._key = secrets.token_bytes(_KEY_SIZE)
        self._right = _Memory(REMEMBERED)
        self._wrong = _Memory(WRONG_REMEMBERED)
        self._guesses = _Guesses()
        self._waiting: dict[bytes, list[Deferred[bool]]] = {}

    def __repr__(self) -> str:
        return (
            f"<Credentials by {self._checker!r}, {len(self._right)} remembered,"
            f" {len(self._waiting)} being checked>"
        )

    async def check(self, client_host: str, authorization: bytes | None) -> str | None:
        """Return the user that *authorization* names and proves to be, or None.

        Raises TooManyRequests for an address with many wrong passwords, Overloaded where too many
        are being checked, and InternalError where the users can't be asked.
        """
        given = challenges.parse_basic(authorization)
        if given is None:
            return None
        digest = self._digest(given, await self._checker.version())
        now = self._seconds()
        if self._right.is_fresh(digest, now):
            return given.user
        if self._wrong.is_fresh(digest, now):
            return None
        return given.user if await self._join(client_host, given, digest) else None

    def unauthorized(self) -> errors.Unauthorized:
        """Return what the site refuses with, and asks for a password (401)."""
        reason = "this needs the name and the password of a user"
        return errors.Unauthorized(reason, (challenges.www_authenticate(self._realm),))

    def proxy_authentication_required(self) -> errors.ProxyAuthenticationRequired:
        """Return what the proxy refuses with, and asks for a password (407)."""
        reason = "the proxy needs the name and the password of a user"
        field = challenges.proxy_authenticate(self._realm)
        return errors.ProxyAuthenticationRequired(reason, (field,))

    def _digest(self, given: BasicCredentials, version: int) -> bytes:
        # The version of the users is part of it: what was true of others is never found again.
        text = f"{version}:{given.user}:{given.password}".encode()
        return hmac.digest(self._key, text, "sha256")

    def _join(self, client_host: str, given: BasicCredentials, digest: bytes) -> Deferred[bool]:
        """Wait for the check of these credentials, which begins now unless it is under way."""
        mine: Deferred[bool] = Deferred()
        waiting = self._waiting.get(digest)
        if waiting is not None:
            waiting.append(mine)
            return mine
        if len(self._waiting) >= MAX_UNDER_WAY:
            raise errors.Overloaded("too many passwords are being checked at once")
        if digest not in self._right:
            self._guesses.admit(client_host, self._seconds())
        self._waiting[digest] = [mine]
        self._guesses.begin(client_host)
        # Nobody's own: whoever gives up waiting takes it from nobody else.
        Deferred.fromCoroutine(self._carry_out(client_host, given, digest))
        return mine

    async def _carry_out(self, client_host: str, given: BasicCredentials, digest: bytes) -> None:
        is_right: bool | None = None
        try:
            is_right = await self._checker.is_right(given)
        except Exception as error:
            # Foreign code: what it says may quote what it was given.
            _log.error("a password can't be checked: {kind}", kind=type(error).__name__)
        self._guesses.finish(client_host)
        now = self._seconds()
        if is_right:
            self._right.learn(digest, now)
        elif is_right is not None:
            self._wrong.learn(digest, now)
            self._guesses.failed(client_host, now)
        for waiter in self._waiting.pop(digest):
            if is_right is None:
                waiter.errback(errors.InternalError("the users can't be asked"))
            else:
                waiter.callback(is_right)


class SiteCredentials:
    """Credentials as the site asks for them: who doesn't prove to be a user gets a 401."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __repr__(self) -> str:
        return f"<SiteCredentials of {self._credentials!r}>"

    async def check(self, client_host: str, authorization: bytes | None) -> str:
        """Return the user; raises Unauthorized, and what Credentials.check raises."""
        user = await self._credentials.check(client_host, authorization)
        if user is None:
            raise self._credentials.unauthorized()
        return user


class _Memory:
    """What was found out lately; the oldest goes first."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._learned: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._learned)

    def __contains__(self, digest: bytes) -> bool:
        """Was *digest* ever learned, as far as is known?"""
        return digest in self._learned

    def is_fresh(self, digest: bytes, now: float) -> bool:
        """Was *digest* learned within the span?"""
        learned = self._learned.get(digest)
        return learned is not None and now - learned < self._span

    def learn(self, digest: bytes, now: float) -> None:
        """Remember *digest* from *now* on."""
        self._learned[digest] = now
        self._learned.move_to_end(digest)
        if len(self._learned) > MAX_REMEMBERED:
            self._learned.popitem(last=False)


class _Failures(NamedTuple):
    times: int
    last: float


class _Guesses:
    """The wrong passwords that each address gave lately; the address longest quiet goes first."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def admit(self, client_host: str, now: float) -> None:
        """Raise TooManyRequests if *client_host* may not try another password yet."""
        failures = self._of(client_host, now)
        excess = failures.times - FREE_FAILURES
        delay = min(FIRST_DELAY * 2 ** min(excess, 16), LONGEST_DELAY) if excess >= 0 else 0.0
        wait = failures.last + delay - now
        # While the first are being checked nobody knows yet that they are wrong.
        most = MAX_UNDER_WAY_PER_CLIENT if excess < 0 else 1
        if wait <= 0 and self._under_way[client_host] < most:
            return
        retry_after = math.ceil(max(wait, 1))
        raise errors.TooManyRequests(
            f"too many passwords from this address; try again in {retry_after} s",
            ((b"Retry-After", b"%d" % retry_after),),
        )

    def begin(self, client_host: str) -> None:
        """Note that a check is under way."""
        self._under_way[client_host] += 1

    def finish(self, client_host: str) -> None:
        """Note that a check is done."""
        self._under_way[client_host] -= 1
        if not self._under_way[client_host]:
            del self._under_way[client_host]

    def failed(self, client_host: str, now: float) -> None:
        """Count a wrong password."""
        self._failures[client_host] = _Failures(self._of(client_host, now).times + 1, now)
        self._failures.move_to_end(client_host)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def _of(self, client_host: str, now: float) -> _Failures:
        failures = self._failures.get(client_host)
        if failures is None or now - failures.last > FORGIVEN_AFTER:
            return _Failures(0, -math.inf)
        return failures
