"""Does a request prove to be from a user? Checked in threads, and remembered for a minute.

Hashes of passwords are made to take time, so a right password is remembered, as is a wrong one for
some seconds: under a keyed hash whose key dies with the process, so that no memory holds a
password. An address that gave many wrong ones lately is answered 429, for longer and longer;
passwords that were right before are exempt, for several users may share an address.

Digest (RFC 7616) takes microseconds and is checked at once, each request anew.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyapp import errors
from proxyapp.passwords import Checker, InThread, make_checker
from proxyapp.rules import challenges, digest
from proxyapp.rules.challenges import NOBODY, STALE, BasicCredentials, Claim, Finding, Scheme
from proxyapp.rules.nonces import SALT_SIZE, Nonces

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


class Cells(Protocol):
    """Where other processes find what we know; net.shared.SharedCells is it."""

    def get(self, key: str, now: float) -> tuple[float, float] | None:
        """Return what *key* stands for *now*."""

    def put(self, key: str, first: float, second: float, until: float, now: float) -> bool:
        """Let *key* stand for two numbers; False where there is no room."""


class Credentials:
    """Checks claims against the users of *description*, as [auth] users has them.

    *schemes* are those that are asked for and taken. *seconds* is a clock that only goes forward.
    A file of users is read at once; raises what strcred raises for a description that isn't right.
    """

    def __init__(
        self,
        description: str,
        realm: str,
        schemes: Collection[Scheme],
        in_thread: InThread,
        seconds: Callable[[], float],
        secret: bytes = b"",
        failures: Cells | None = None,
    ) -> None:
        """Sign with *secret*, if there is one, and keep *failures* where others find them."""
        self._checker: Checker = make_checker(description, realm, in_thread, seconds)
        self._realm = realm
        self._takes_basic = Scheme.BASIC in schemes
        self._takes_digest = Scheme.DIGEST in schemes
        self._seconds = seconds
        self._key = secrets.token_bytes(_KEY_SIZE)
        self._nonces = Nonces(secret or secrets.token_bytes(_KEY_SIZE))
        self._right = _Memory(REMEMBERED)
        self._wrong = _Memory(WRONG_REMEMBERED)
        self._guesses = _Guesses(failures)
        self._waiting: dict[bytes, list[Deferred[bool]]] = {}

    def __repr__(self) -> str:
        return (
            f"<Credentials by {self._checker!r}, {len(self._right)} remembered,"
            f" {len(self._waiting)} being checked>"
        )

    def at_once(self, claim: Claim) -> Finding | None:
        """Return whom *claim* proves to be from; None where that takes time, and `check` tells.

        Raises TooManyRequests for an address with many wrong passwords.
        """
        if claim.authorization is None:
            return NOBODY
        version = self._checker.known_version()
        if version is None:
            return None
        return self._recall(claim, claim.authorization, version)

    async def check(self, claim: Claim) -> Finding:
        """Return whom *claim* proves to be from.

        Raises TooManyRequests for an address with many wrong passwords, Overloaded where too many
        are being checked, and InternalError where the users can't be asked.
        """
        authorization = claim.authorization
        if authorization is None:
            return NOBODY
        version = await self._checker.version()
        found = self._recall(claim, authorization, version)
        if found is not None:
            return found
        given = challenges.parse_basic(authorization)
        if given is None:
            return NOBODY
        mark = self._mark(authorization, version)
        return Finding(given.user) if await self._join(claim.client, given, mark) else NOBODY

    def unauthorized(self, rule: str = "", is_stale: bool = False) -> errors.Unauthorized:
        """Return what the site refuses with, and asks for a password (401)."""
        fields = tuple((b"WWW-Authenticate", each) for each in self._challenges(is_stale))
        return errors.Unauthorized("this needs the name and the password of a user", fields, rule)

    def proxy_authentication_required(
        self, rule: str = "", is_stale: bool = False
    ) -> errors.ProxyAuthenticationRequired:
        """Return what the proxy refuses with, and asks for a password (407)."""
        fields = tuple((b"Proxy-Authenticate", each) for each in self._challenges(is_stale))
        reason = "the proxy needs the name and the password of a user"
        return errors.ProxyAuthenticationRequired(reason, fields, rule)

    def _challenges(self, is_stale: bool) -> list[bytes]:
        """Return what asks for each scheme, the safest first."""
        found = []
        if self._takes_digest:
            nonce = self._nonces.make(self._seconds(), secrets.token_bytes(SALT_SIZE))
            # Something must be asked for, even where not every user can answer it.
            offered = self._checker.algorithms() or (() if self._takes_basic else digest.ALGORITHMS)
            found = [digest.challenge(self._realm, each, nonce, is_stale) for each in offered]
        if self._takes_basic:
            found.append(challenges.basic_challenge(self._realm))
        return found

    def _recall(self, claim: Claim, authorization: bytes, version: int) -> Finding | None:
        """Return what is known of *claim* already, or is found out quickly."""
        if digest.is_digest(authorization):
            return self._check_digest(claim, authorization) if self._takes_digest else NOBODY
        if not self._takes_basic:
            return NOBODY
        mark, now = self._mark(authorization, version), self._seconds()
        return self._right.find(mark, now) or self._wrong.find(mark, now)

    def _mark(self, authorization: bytes, version: int) -> bytes:
        # The version of the users is part of it: what was true of others is never found again.
        return hmac.digest(self._key, b"%d:%b" % (version, authorization), "sha256")

    def _check_digest(self, claim: Claim, authorization: bytes) -> Finding:
        given = digest.parse_digest(authorization)
        if given is None or given.realm != self._realm.encode("utf-8"):
            return NOBODY
        if given.uri not in claim.targets:
            # RFC 7616 section 3.4.6: a response that was made for something else.
            return NOBODY
        now = self._seconds()
        if not self._nonces.is_of(given.nonce, given.user):
            self._guesses.admit(claim.client, now)
        if not digest.is_right(given, claim.method, self._checker.kept(given.user)):
            self._guesses.failed(claim.client, now)
            return NOBODY
        is_new = self._nonces.take(given.nonce, int(given.nonce_count, 16), given.user, now)
        return Finding(given.user) if is_new else STALE

    def _join(self, client: str, given: BasicCredentials, mark: bytes) -> Deferred[bool]:
        """Wait for the check of these credentials, which begins now unless it is under way."""
        mine: Deferred[bool] = Deferred()
        waiting = self._waiting.get(mark)
        if waiting is not None:
            waiting.append(mine)
            return mine
        if len(self._waiting) >= MAX_UNDER_WAY:
            raise errors.Overloaded("too many passwords are being checked at once")
        if mark not in self._right:
            self._guesses.admit(client, self._seconds())
        self._waiting[mark] = [mine]
        self._guesses.begin(client)
        # Nobody's own: whoever gives up waiting takes it from nobody else.
        Deferred.fromCoroutine(self._carry_out(client, given, mark))
        return mine

    async def _carry_out(self, client: str, given: BasicCredentials, mark: bytes) -> None:
        is_right: bool | None = None
        try:
            is_right = await self._checker.is_right(given)
        except Exception as error:
            # Foreign code: what it says may quote what it was given.
            _log.error("a password can't be checked: {kind}", kind=type(error).__name__)
        self._guesses.finish(client)
        now = self._seconds()
        if is_right:
            self._right.learn(mark, Finding(given.user), now)
        elif is_right is not None:
            self._wrong.learn(mark, NOBODY, now)
            self._guesses.failed(client, now)
        for waiter in self._waiting.pop(mark):
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

    async def check(self, claim: Claim) -> str:
        """Return the user; raises Unauthorized, and what Credentials.check raises."""
        found = await self._credentials.check(claim)
        if found.user is None:
            raise self._credentials.unauthorized(is_stale=found.is_stale)
        return found.user


class _Memory:
    """What was found out lately; the oldest goes first."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._learned: OrderedDict[bytes, tuple[float, Finding]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._learned)

    def __contains__(self, mark: bytes) -> bool:
        """Was anything ever learned of *mark*, as far as is known?"""
        return mark in self._learned

    def find(self, mark: bytes, now: float) -> Finding | None:
        """Return what was learned of *mark* within the span."""
        learned = self._learned.get(mark)
        return learned[1] if learned is not None and now - learned[0] < self._span else None

    def learn(self, mark: bytes, found: Finding, now: float) -> None:
        """Remember *found* from *now* on."""
        self._learned[mark] = now, found
        self._learned.move_to_end(mark)
        if len(self._learned) > MAX_REMEMBERED:
            self._learned.popitem(last=False)


class _Failures(NamedTuple):
    times: int
    last: float


def _failures_key(client_host: str) -> str:
    return f"passwords\0{client_host}"


class _Guesses:
    """The wrong passwords that each address gave lately; the address longest quiet goes first."""

    def __init__(self, shared: Cells | None) -> None:
        self._shared = shared
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
        failures = _Failures(self._of(client_host, now).times + 1, now)
        if self._shared is not None and self._shared.put(
            _failures_key(client_host), *failures, now + FORGIVEN_AFTER, now
        ):
            return
        self._failures[client_host] = failures
        self._failures.move_to_end(client_host)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def _of(self, client_host: str, now: float) -> _Failures:
        if self._shared is not None:
            found = self._shared.get(_failures_key(client_host), now)
            if found is not None:
                return _Failures(int(found[0]), found[1])
        failures = self._failures.get(client_host)
        if failures is None or now - failures.last > FORGIVEN_AFTER:
            return _Failures(0, -math.inf)
        return failures
