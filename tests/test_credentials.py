"""Who proves to be a user: remembered, joined, slowed, and never told."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from passlib.registry import get_crypt_handler  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from proxyapp import credentials, errors
from proxyapp.credentials import Credentials, SiteCredentials
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.passwords import InThread
from proxyapp.rules.challenges import NOBODY, STALE, BasicCredentials, Claim, Finding, Scheme
from proxyapp.rules.digest import ALGORITHMS, Algorithm, hashed
from proxyapp.rules.nonces import LIFETIME
from proxyapp.rules.passwordfile import Kept
from proxyapp.rules.passwordfile import Scheme as Kind

T = TypeVar("T")
LAN = "192.168.7.9"


SCHEMES = (Scheme.BASIC, Scheme.DIGEST)


def basic(user: str, password: str) -> bytes:
    """Return the field value that says them."""
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def claim(authorization: bytes | None, client: str = LAN) -> Claim:
    """Return what a GET for a page says with *authorization*."""
    return Claim(client, authorization, b"GET", (b"http://h/a", b"/a"))


class Door:
    """A checker that knows one password, answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.users = 1
        self.is_due = False
        self.names = ("ann", "bob")
        self.offered = ALGORITHMS
        self.waiting: list[Deferred[None]] | None = None
        self.failure: Exception | None = None

    def __repr__(self) -> str:
        return "<Door>"

    async def version(self) -> int:
        """See Checker."""
        return self.users

    def known_version(self) -> int | None:
        """See Checker."""
        return None if self.is_due else self.users

    def kept(self, user: str) -> Kept | None:
        """See Checker."""
        return Kept(Kind.PLAIN, "right") if user in self.names else None

    def algorithms(self) -> tuple[Algorithm, ...]:
        """See Checker."""
        return self.offered

    async def is_right(self, given: BasicCredentials) -> bool:
        """See Checker."""
        self.asked.append(given.password)
        if self.waiting is not None:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        if self.failure is not None:
            raise self.failure
        return given.password == "right"


class Setting:
    """Credentials with a Door, on a clock."""

    def __init__(self, schemes: tuple[Scheme, ...] = SCHEMES) -> None:
        self.clock = Clock()
        self.door = Door()
        with mock.patch.object(credentials, "make_checker", return_value=self.door):
            self.credentials = Credentials(
                "door:", "lab", schemes, lambda job: succeed(job()), self.seconds
            )

    def seconds(self) -> float:
        """Return the time."""
        return self.clock.seconds()

    def begin(self, password: str, client: str = LAN, user: str = "ann") -> Deferred[str | None]:
        """Begin a check."""
        return Deferred.fromCoroutine(self._find(claim(basic(user, password), client)))

    async def _find(self, given: Claim) -> str | None:
        return (await self.credentials.check(given)).user

    def check(self, password: str, client: str = LAN, user: str = "ann") -> str | None:
        """Return who that is; raise what the check raises."""
        return result_of(self.begin(password, client, user))

    def fail(self, times: int, client: str = LAN) -> None:
        """Give so many wrong passwords, each another one, as soon as they are taken."""
        for number in range(times):
            self.clock.advance(credentials.LONGEST_DELAY)
            assert self.check(f"wrong {self.clock.seconds()} {number}", client) is None

    def answer(self) -> None:
        """Let the door answer all that it was asked."""
        waiting, self.door.waiting = self.door.waiting or [], None
        for each in waiting:
            each.callback(None)


def result_of(work: Deferred[T]) -> T:
    """Return what *work* gave without waiting; raise its failure."""
    results: list[T] = []
    failures: list[Failure] = []
    work.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return results[0]


# --- Nobody ---


@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer x", b"Basic !", b"Basic Og==", basic("", "right")]
)
def test_nobody_asks_nobody(authorization: bytes | None) -> None:
    """Without credentials that can be read nothing is checked, and nothing counted."""
    setting = Setting()
    for _ in range(20):
        check = setting.credentials.check(claim(authorization))
        assert result_of(Deferred.fromCoroutine(check)) == NOBODY
    assert not setting.door.asked
    assert setting.check("right") == "ann"


def test_a_checker_that_fails_is_no_wrong_password() -> None:
    """The client hears of a failure of ours; it isn't counted, and the next one is asked again."""
    setting = Setting()
    setting.door.failure = OSError("secret")
    for _ in range(9):
        with pytest.raises(errors.InternalError) as caught:
            setting.check("right")
        assert caught.value.reason == "the users can't be asked"
    setting.door.failure = None
    assert setting.check("right") == "ann"


# --- Memory ---


def test_right_ones_are_remembered_for_a_minute() -> None:
    """Within it nothing is checked; behind it, once."""
    setting = Setting()
    for time in (0, 30, 59.9, 60, 61):
        setting.clock.rightNow = time
        assert setting.check("right") == "ann"
    assert len(setting.door.asked) == 2


def test_wrong_ones_are_remembered_for_seconds() -> None:
    """A client that repeats one wrong password is neither checked nor counted each time."""
    setting = Setting()
    for time in range(50):
        setting.clock.rightNow = time / 2
        assert setting.check("wrong") is None
    assert len(setting.door.asked) == 3
    assert setting.check("right") == "ann"


def test_what_is_remembered_is_whose() -> None:
    """Neither another user nor another cut between name and password is taken for the same."""
    setting = Setting()
    assert setting.check("right", user="ann") == "ann"
    assert setting.check("right", user="bob") == "bob"
    assert setting.check("n:right", user="an") is None
    assert len(setting.door.asked) == 3


def test_changed_users_are_asked_again() -> None:
    """What was remembered of other users, right and wrong, is forgotten."""
    setting = Setting()
    setting.check("right")
    setting.check("wrong")
    setting.door.users = 2
    assert setting.check("right") == "ann"
    assert setting.check("wrong") is None
    assert len(setting.door.asked) == 4


def test_memory_is_bounded() -> None:
    """The oldest goes first, of users as of guesses."""
    setting = Setting()
    with mock.patch.object(credentials, "MAX_REMEMBERED", 3):
        for user in "abcd":
            setting.check("right", user=user)
        for number in range(9):
            setting.check("wrong", client=f"10.0.0.{number}", user=f"u{number}")
    assert "3 remembered" in repr(setting.credentials)
    assert setting.check("right", user="d") == "d"
    assert len(setting.door.asked) == 13


def test_what_is_known_takes_no_time() -> None:
    """Who was checked lately is told at once, right or wrong; else `check` has to be awaited."""
    setting = Setting()
    right, wrong = claim(basic("ann", "right")), claim(basic("ann", "wrong"))
    at_once = setting.credentials.at_once
    assert [at_once(each) for each in (right, wrong)] == [None, None]
    setting.check("right")
    setting.check("wrong")
    assert [at_once(each) for each in (right, wrong)] == [Finding("ann"), NOBODY]
    assert at_once(claim(None)) == NOBODY
    setting.door.is_due = True
    assert [at_once(each) for each in (right, wrong)] == [None, None]
    assert at_once(claim(None)) == NOBODY
    assert len(setting.door.asked) == 2


# --- Many at once ---


def test_the_same_is_checked_once() -> None:
    """Requests that come at once with the same credentials share one check, and its answer."""
    setting = Setting()
    setting.door.waiting = []
    begun = [setting.begin("right") for _ in range(20)]
    setting.answer()
    assert [result_of(each) for each in begun] == ["ann"] * 20
    assert len(setting.door.asked) == 1


def test_who_gives_up_takes_it_from_nobody() -> None:
    """The client that began a check may leave; the others get their answer."""
    setting = Setting()
    setting.door.waiting = []
    first, second = setting.begin("right"), setting.begin("right")
    first.cancel()
    with pytest.raises(CancelledError):
        result_of(first)
    setting.answer()
    assert result_of(second) == "ann"
    assert setting.check("right") == "ann"
    assert len(setting.door.asked) == 1


def test_a_failure_is_everybody_s() -> None:
    """Whoever joined a check that fails hears of it."""
    setting = Setting()
    setting.door.waiting, setting.door.failure = [], OSError()
    begun = [setting.begin("right") for _ in range(3)]
    setting.answer()
    for each in begun:
        with pytest.raises(errors.InternalError):
            result_of(each)


def test_checks_are_bounded() -> None:
    """More than that at once are refused, and none is lost."""
    setting = Setting()
    setting.door.waiting = []
    begun = [setting.begin("right", f"10.0.0.{n}", f"u{n}") for n in range(64)]
    with pytest.raises(errors.Overloaded):
        setting.check("right", user="late")
    setting.answer()
    assert all(result_of(each) for each in begun)
    assert setting.check("right", user="late") == "late"


def test_one_client_does_not_take_every_thread() -> None:
    """Guesses that are sent at once are bounded, although none is known to be wrong yet."""
    setting = Setting()
    setting.door.waiting = []
    begun = [setting.begin(f"wrong {n}") for n in range(credentials.MAX_UNDER_WAY_PER_CLIENT)]
    with pytest.raises(errors.TooManyRequests):
        setting.check("right")
    other = setting.begin("right", client="192.168.7.10")
    setting.answer()
    assert result_of(other) == "ann"
    assert not any(result_of(each) for each in begun)


# --- Guesses ---


def test_guesses_are_slowed() -> None:
    """From the fifth on each wrong password makes the next wait longer, up to a bound."""
    setting = Setting()
    waits = []
    for number in range(12):
        start = setting.clock.seconds()
        while len(setting.door.asked) == number:
            with suppress(errors.TooManyRequests):
                assert setting.check(f"wrong {number}") is None
                waits.append(setting.clock.seconds() - start)
            setting.clock.advance(0.25 if len(setting.door.asked) == number else 0)
    assert waits == [0, 0, 0, 0, 0, 0.5, 1, 2, 4, 8, 8, 8]


def test_a_slowed_client_is_told_when() -> None:
    """429 has Retry-After in whole seconds; even a right password has to wait then."""
    setting = Setting()
    setting.fail(8)
    with pytest.raises(errors.TooManyRequests) as caught:
        setting.check("right")
    assert caught.value.fields == ((b"Retry-After", b"4"),)
    setting.clock.advance(3.5)
    with pytest.raises(errors.TooManyRequests) as caught:
        setting.check("right")
    assert caught.value.fields == ((b"Retry-After", b"1"),)
    setting.clock.advance(0.5)
    assert setting.check("right") == "ann"


def test_a_slowed_client_has_one_check_at_a_time() -> None:
    """What is sent at once behind the delay doesn't get through at once."""
    setting = Setting()
    setting.fail(6)
    setting.clock.advance(credentials.LONGEST_DELAY)
    setting.door.waiting = []
    first = setting.begin("wrong")
    with pytest.raises(errors.TooManyRequests):
        setting.check("right")
    setting.answer()
    assert result_of(first) is None


def test_who_was_right_before_is_not_slowed() -> None:
    """A user who shares the address with a guesser goes on, also when a minute has passed."""
    setting = Setting()
    assert setting.check("right") == "ann"
    setting.fail(9)
    setting.clock.advance(credentials.REMEMBERED)
    setting.fail(1)
    assert setting.check("right") == "ann"
    with pytest.raises(errors.TooManyRequests):
        setting.check("right", user="bob")


def test_other_clients_are_not_slowed() -> None:
    """Failures are counted per address."""
    setting = Setting()
    setting.fail(9)
    assert setting.check("right", client="fe80::1%eth0") == "ann"


def test_failures_are_forgiven() -> None:
    """Who is quiet for some minutes begins anew."""
    setting = Setting()
    setting.fail(9)
    setting.clock.advance(credentials.FORGIVEN_AFTER + 1)
    for number in range(credentials.FREE_FAILURES):
        assert setting.check(f"again {number}") is None


# --- Digest ---


class DigestClient:
    """A client that answers the challenges of *setting*, as *user* with *password*."""

    def __init__(self, setting: Setting, user: str = "ann", password: str = "right") -> None:
        self.setting = setting
        self.user = user
        self.password = password
        self.count = 0
        self.algorithm = Algorithm.SHA256
        self.is_stale = False
        self.nonce = b""
        self.ask()

    def ask(self, is_stale: bool = False) -> None:
        """Take the nonce of a new challenge."""
        refusal = self.setting.credentials.proxy_authentication_required("", is_stale)
        found = re.search(rb'nonce="([^"]+)"', refusal.fields[0][1])
        assert found is not None
        self.nonce, self.count = found[1], 0

    def sends(
        self, uri: bytes = b"/a", method: bytes = b"GET", realm: bytes = b"lab", count: int = 0
    ) -> bytes:
        """Return what the next request says, or one with an older *count*."""
        self.count += 1
        used = b"%08x" % (count or self.count)
        secret = f"{self.user}:{realm.decode()}:{self.password}".encode()
        first = hashed(self.algorithm, secret)
        second = hashed(self.algorithm, method, uri)
        response = hashed(self.algorithm, first, self.nonce, used, b"c", b"auth", second)
        return (
            b'Digest username="%b", realm="%b", nonce="%b", uri="%b", qop=auth, nc=%b, cnonce="c",'
            b' algorithm=%b, response="%b"'
        ) % (
            self.user.encode(),
            realm,
            self.nonce,
            uri,
            used,
            self.algorithm.value.encode(),
            response,
        )

    def find(self, authorization: bytes | None = None, client: str = LAN) -> Finding | None:
        """Return whom the next request is from, as far as can be told at once."""
        given = claim(authorization or self.sends(), client)
        return self.setting.credentials.at_once(given)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda each: each.sends(uri=b"/b"),
        lambda each: each.sends(uri=b"http://h/b"),
        lambda each: each.sends(uri=b""),
        lambda each: each.sends(method=b"POST"),
        lambda each: each.sends(realm=b"other"),
        lambda each: each.sends().replace(b"nc=", b"n="),
        lambda each: each.sends() + b", userhash=true",
        lambda each: b"Digest",
        lambda each: b"Digest ",
    ],
)
def test_digest_of_something_else(spoil: Callable[[DigestClient], bytes]) -> None:
    """What was made for another request, or isn't whole, is nobody's."""
    client = DigestClient(Setting())
    assert client.find(spoil(client)) in (NOBODY, None)
    work = client.setting.credentials.check(claim(spoil(client)))
    assert result_of(Deferred.fromCoroutine(work)) == NOBODY


@pytest.mark.parametrize(("user", "password"), [("eve", "right"), ("ann", "wrong")])
def test_digest_of_nobody(user: str, password: str) -> None:
    """Neither an unknown user nor a wrong password is anybody; nothing is asked of a thread."""
    client = DigestClient(Setting(), user, password)
    assert client.find() == NOBODY
    assert not client.setting.door.asked


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digest(algorithm: Algorithm) -> None:
    """A right response is taken at once, for either spelling of the target, and each once."""
    client = DigestClient(Setting())
    client.algorithm = algorithm
    first = client.sends()
    found = [client.find(each) for each in (first, client.sends(b"http://h/a"), first)]
    assert found == [Finding("ann"), Finding("ann"), STALE]
    assert client.find(client.sends()) == Finding("ann")


def test_digest_while_the_file_is_due() -> None:
    """It waits for the look at the file, and uses up its count only then."""
    client = DigestClient(Setting())
    given = claim(client.sends())
    client.setting.door.is_due = True
    assert client.setting.credentials.at_once(given) is None
    work = client.setting.credentials.check(given)
    assert result_of(Deferred.fromCoroutine(work)) == Finding("ann")


def test_stale_nonces() -> None:
    """One that is too old or another process made is told as such, and no failure."""
    setting = Setting()
    client, other = DigestClient(setting), DigestClient(Setting())
    setting.clock.advance(LIFETIME)
    for _ in range(20):
        assert client.find() == STALE
        other.setting = setting
        assert other.find() == STALE
    refusal = setting.credentials.unauthorized("", is_stale=True)
    assert [b"stale=true" in value for _, value in refusal.fields] == [True, True, False]
    client.ask()
    assert client.find() == Finding("ann")


def test_digest_guesses_are_slowed() -> None:
    """They are counted with those of Basic; a stale nonce is no way around."""
    setting = Setting()
    guesser = DigestClient(setting, password="wrong")
    guesser.nonce = b"made up"
    for _ in range(credentials.FREE_FAILURES):
        assert guesser.find() == NOBODY
    guesser.password = "right"
    for _ in range(3):
        with pytest.raises(errors.TooManyRequests) as caught:
            guesser.find()
        assert caught.value.fields == ((b"Retry-After", b"1"),)
    with pytest.raises(errors.TooManyRequests):
        setting.check("right")
    assert DigestClient(setting).find(client="192.168.7.10") == Finding("ann")
    setting.clock.advance(1)
    assert DigestClient(setting).find() == Finding("ann")


def test_who_answered_before_is_not_slowed() -> None:
    """A user who shares the address with a guesser goes on, with the nonce that they have."""
    setting = Setting()
    ann, bob = DigestClient(setting), DigestClient(setting, "bob")
    assert ann.find() == Finding("ann")
    setting.fail(9)
    assert ann.find() == Finding("ann")
    bob.nonce, bob.count = ann.nonce, ann.count
    with pytest.raises(errors.TooManyRequests):
        bob.find()


# --- What is asked for ---


def asked(setting: Setting) -> list[bytes]:
    """Return the schemes and algorithms that are asked for."""
    fields = setting.credentials.unauthorized().fields
    assert all(name == b"WWW-Authenticate" for name, _ in fields)
    return [
        re.sub(rb" .*(algorithm=[^,]+),.*|[ ].*", rb" \1", value).strip() for _, value in fields
    ]


@pytest.mark.parametrize(
    ("schemes", "offered", "expected"),
    [
        ((Scheme.BASIC,), ALGORITHMS, "Basic"),
        (SCHEMES, (), "Basic"),
        (SCHEMES, ALGORITHMS[1:], "Digest algorithm=MD5, Basic"),
        (SCHEMES, ALGORITHMS, "Digest algorithm=SHA-256, Digest algorithm=MD5, Basic"),
        ((Scheme.DIGEST,), ALGORITHMS[:1], "Digest algorithm=SHA-256"),
        ((Scheme.DIGEST,), (), "Digest algorithm=SHA-256, Digest algorithm=MD5"),
    ],
)
def test_what_is_asked_for(
    schemes: tuple[Scheme, ...], offered: tuple[Algorithm, ...], expected: str
) -> None:
    """The safest first, and only what every user can answer; but never nothing."""
    setting = Setting(schemes)
    setting.door.offered = offered
    assert b", ".join(asked(setting)).decode() == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_what_is_asked_for_is_taken(scheme: Scheme) -> None:
    """A scheme that is turned off proves nothing, right as the password may be."""
    client = DigestClient(Setting(SCHEMES))
    with mock.patch.object(client.setting.credentials, "_takes_digest", scheme is Scheme.DIGEST):
        found = client.find()
    assert found == (Finding("ann") if scheme is Scheme.DIGEST else NOBODY)
    assert Setting((scheme,)).check("right") == ("ann" if scheme is Scheme.BASIC else None)


# --- What is told ---


@implementer(ILogObserver)
class Events:
    """Everything in the event log."""

    def __init__(self) -> None:
        self.said: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.said.append(event)


def test_secrets_are_not_told() -> None:
    """Neither reprs nor the event log nor errors have a password."""
    setting, events = Setting(), Events()
    setting.door.failure = OSError("hunter2")
    globalLogPublisher.addObserver(events)
    with pytest.raises(errors.InternalError) as caught:
        setting.check("hunter2")
    globalLogPublisher.removeObserver(events)
    assert [event["kind"] for event in events.said] == ["OSError"]
    told = f"{setting.credentials!r} {events.said} {caught.value!r} {caught.value.__cause__!r}"
    assert "hunter2" not in told
    site = SiteCredentials(setting.credentials)
    assert repr(site).startswith("<SiteCredentials of <Credentials by <Door>, 0 remembered, 0")


def test_the_site_asks_with_401() -> None:
    """Who isn't a user gets the challenge of the site; who is, their name."""
    setting = Setting()
    site = SiteCredentials(setting.credentials)
    for authorization in (None, basic("ann", "wrong")):
        with pytest.raises(errors.Unauthorized) as caught:
            result_of(Deferred.fromCoroutine(site.check(claim(authorization))))
        name, challenge = caught.value.fields[-1]
        assert (name, challenge) == (b"WWW-Authenticate", b'Basic realm="lab", charset="UTF-8"')
        assert caught.value.status == 401
    right = site.check(claim(basic("ann", "right")))
    assert result_of(Deferred.fromCoroutine(right)) == "ann"


def test_the_proxy_asks_with_407() -> None:
    """Its challenge has a field of its own."""
    basic_only = Setting((Scheme.BASIC,)).credentials
    refusal = basic_only.proxy_authentication_required("[auth] required")
    assert (refusal.status, refusal.rule) == (407, "[auth] required")
    assert refusal.token == "http_request_denied"
    challenge = b'Basic realm="lab", charset="UTF-8"'
    assert refusal.fields == ((b"Proxy-Authenticate", challenge),)


# --- All of it ---


@pytest.fixture
def in_thread(reactor: ApplianceReactor) -> Iterator[InThread]:
    """Yield what runs jobs in real threads."""
    pool = ThreadPool(0, 4, name="passwords")
    pool.start()
    yield partial(deferToThreadPool, reactor, pool)
    pool.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_file_of_hashes_in_threads(
    tmp_path: Path,
    in_thread: InThread,
) -> None:
    """With real threads and a real hash: right, wrong, and another password in the file."""
    bcrypt = get_crypt_handler("bcrypt").using(rounds=5)
    file = tmp_path / "htpasswd"
    file.write_text(f"ann:{bcrypt.hash('one')}\n")
    clock = Clock()
    made = Credentials(f"file:{file}", "lab", SCHEMES, in_thread, clock.seconds)
    one, two, three = (claim(basic("ann", password)) for password in ("one", "two", "three"))
    work = [Deferred.fromCoroutine(made.check(each)) for each in (one, two, one, three)]
    assert await gatherResults(work) == [Finding("ann"), NOBODY, Finding("ann"), NOBODY]
    assert made.at_once(one) == Finding("ann")
    file.write_text(f"ann:{bcrypt.hash('two')}\n")
    clock.advance(1)
    assert made.at_once(one) is None
    assert await made.check(one) == NOBODY
    assert await made.check(two) == Finding("ann")
