"""admission: who is judged as whom, who is asked for a password, and how seldom the judge is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Client, Request
from proxyapp.rules import memory
from proxyapp.rules.challenges import NOBODY, STALE, Claim, Finding
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.server.admission import LONGEST_METHOD, Admission, Verdict
from proxyapp.stream import EMPTY
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import parse_target

LAN = "192.0.2.7"
ALLOWED = Decision(True, "[access] default", "by default")
DENIED = Decision(False, "[rule night]", "it is night", "Go to bed.")
# Whoever is a user might be treated otherwise.
BETTER = replace(ALLOWED, wants_user=True)
STAFF_ONLY = Decision(False, "[rule rest]", "only staff", wants_user=True)


class Bench:
    """A judge that says what it is told to, users who are known by their field, and the time."""

    def __init__(self, anonymous: Decision = ALLOWED, known: Decision = ALLOWED) -> None:
        self.anonymous = anonymous
        self.known = known
        self.questions: list[Question] = []
        self.minutes: list[int] = []
        self.claims: list[Claim] = []
        self.is_slow = False
        self.now = 600.0

    # The judge.

    def judge(self, question: Question, minute: int) -> Decision:
        """See Judge."""
        self.questions.append(question)
        self.minutes.append(minute)
        return self.anonymous if question.user is None else self.known

    # The users.

    def at_once(self, claim: Claim) -> Finding | None:
        """See Users."""
        self.claims.append(claim)
        return None if self.is_slow else self.find(claim)

    async def check(self, claim: Claim) -> Finding:
        """See Users."""
        return self.find(claim)

    def find(self, claim: Claim) -> Finding:
        """Return whom the field names."""
        return {b"ann": Finding("ann"), b"old": STALE}.get(claim.authorization or b"", NOBODY)

    def unauthorized(self, rule: str, is_stale: bool) -> errors.Refused:
        """See Users."""
        return errors.Unauthorized(f"401 {is_stale}", rule=rule)

    def proxy_authentication_required(self, rule: str, is_stale: bool) -> errors.Refused:
        """See Users."""
        return errors.ProxyAuthenticationRequired(f"407 {is_stale}", rule=rule)

    # What is asked.

    def admission(self, is_required: bool = False, has_users: bool = True) -> Admission:
        """Return what is tested."""
        return Admission(self, self if has_users else None, is_required, lambda now: int(now // 60))

    def record(self, service: str) -> Record:
        """Return a record of now."""
        return Record(started=self.now, client_host=LAN, service=service)


def request(target: bytes = b"http://h/a", method: bytes = b"GET", *fields: bytes) -> Request:
    """Return a request with *fields*, each a name, a blank and a value."""
    raw = [(name, value) for name, value in (each.split(b" ", 1) for each in fields)]
    head = RequestHead(method, target, 1, Fields(raw))
    return Request(head, parse_target(method, target), Client(LAN, 1), NO_BODY, EMPTY)


CONNECT = (b"h:443", b"CONNECT")
TO_PROXY = b"Proxy-Authorization "
TO_SITE = b"Authorization "


def later(admission: Admission, asked: Request, record: Record) -> Verdict:
    """Return what needs no wait here; raise what it raised."""
    verdicts: list[Verdict] = []
    failures: list[Failure] = []
    work = Deferred.fromCoroutine(admission.later(asked, record))
    work.addCallbacks(verdicts.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return verdicts[0]


def outcome(bench: Bench, service: str, is_required: bool, *fields: bytes) -> str:
    """Return whom the request is admitted as, or how it is refused, and by which rule."""
    target = {"tunnel": CONNECT, "proxy": (b"http://h/a", b"GET")}.get(service, (b"/a", b"GET"))
    asked, record = request(*target, *fields), bench.record(service)
    admission = bench.admission(is_required)
    try:
        verdict = admission.at_once(asked, record)
        if verdict is None:
            verdict = later(admission, asked, record)
    except errors.Refused as refusal:
        return f"{refusal.status} {refusal.rule}"
    assert verdict.question.user == record.user
    return str(record.user)


# --- Who is asked ---

REQUIRED = "[auth] required"


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(
    ("anonymous", "known", "is_required", "given", "expected"),
    [
        # Whom no password could help isn't asked for one, and what he says isn't looked at.
        (DENIED, ALLOWED, True, b"", "403 [rule night]"),
        (DENIED, ALLOWED, True, b"ann", "403 [rule night]"),
        (DENIED, ALLOWED, False, b"bad", "403 [rule night]"),
        # Whom one could help is.
        (STAFF_ONLY, ALLOWED, False, b"", "407 [rule rest]"),
        (STAFF_ONLY, ALLOWED, False, b"bad", "407 [rule rest]"),
        (STAFF_ONLY, ALLOWED, False, b"ann", "ann"),
        (STAFF_ONLY, DENIED, False, b"ann", "403 [rule night]"),
        # And everybody is where that is required.
        (ALLOWED, ALLOWED, True, b"", f"407 {REQUIRED}"),
        (BETTER, ALLOWED, True, b"bad", f"407 {REQUIRED}"),
        (ALLOWED, ALLOWED, True, b"ann", "ann"),
        (ALLOWED, DENIED, True, b"ann", "403 [rule night]"),
        # Where nobody has to be a user, whoever says to be one is one.
        (ALLOWED, ALLOWED, False, b"", "None"),
        (BETTER, ALLOWED, False, b"", "None"),
        (ALLOWED, ALLOWED, False, b"bad", f"407 {REQUIRED}"),
        (BETTER, ALLOWED, False, b"ann", "ann"),
        (ALLOWED, DENIED, False, b"ann", "403 [rule night]"),
    ],
)
@pytest.mark.parametrize("service", ["proxy", "tunnel"])
def test_the_proxy(
    service: str,
    anonymous: Decision,
    known: Decision,
    is_required: bool,
    given: bytes,
    expected: str,
    is_slow: bool,
) -> None:
    """Proxy and tunnels go by Proxy-Authorization, whether it is checked at once or later."""
    bench = Bench(anonymous, known)
    bench.is_slow = is_slow
    fields = [TO_PROXY + given] if given else []
    # What is for the origin is nobody's business here.
    assert outcome(bench, service, is_required, *fields, TO_SITE + b"ann") == expected


@pytest.mark.parametrize(
    ("service", "anonymous", "is_required", "given", "expected"),
    [
        ("site", DENIED, True, b"ann", "403 [rule night]"),
        ("site", STAFF_ONLY, False, b"", "401 [rule rest]"),
        ("site", STAFF_ONLY, False, b"bad", "401 [rule rest]"),
        ("site", STAFF_ONLY, False, b"ann", "ann"),
        ("site", BETTER, True, b"", "None"),
        ("site", BETTER, True, b"bad", "None"),
        ("site", BETTER, True, b"ann", "ann"),
        # A part of the site may have users of its own.
        ("site", ALLOWED, True, b"bad", "None"),
        ("site", ALLOWED, True, b"ann", "None"),
        ("fetch", STAFF_ONLY, False, b"", "401 [rule rest]"),
        ("fetch", ALLOWED, True, b"", f"401 {REQUIRED}"),
        ("fetch", ALLOWED, True, b"ann", "ann"),
    ],
)
def test_the_site(
    service: str, anonymous: Decision, is_required: bool, given: bytes, expected: str
) -> None:
    """The site goes by Authorization, and asks only where a rule about users denies."""
    fields = [TO_SITE + given] if given else []
    fields.append(TO_PROXY + b"ann")
    assert outcome(Bench(anonymous), service, is_required, *fields) == expected


@pytest.mark.parametrize(("service", "name"), [("proxy", TO_PROXY), ("site", TO_SITE)])
def test_stale_nonces(service: str, name: bytes) -> None:
    """The challenge says so, and a client answers it without asking its user."""
    bench = Bench(STAFF_ONLY)
    with pytest.raises(errors.Refused) as caught:
        bench.admission().at_once(
            request(b"http://h/", b"GET", name + b"old"), bench.record(service)
        )
    assert caught.value.reason.endswith(" True")


def test_what_is_claimed() -> None:
    """The users are told what a Digest response covers."""
    bench = Bench()
    bench.admission().at_once(request(b"http://h:80/a?b", b"PUT"), bench.record("proxy"))
    bench.admission().at_once(request(*CONNECT), bench.record("tunnel"))
    assert bench.claims == [
        Claim(LAN, None, b"PUT", (b"http://h:80/a?b", b"/a?b")),
        Claim(LAN, None, b"CONNECT", (b"h:443", b"h:443")),
    ]


def test_nobody_has_a_password() -> None:
    """Without users nobody is asked, and nothing is looked at."""
    bench = Bench(STAFF_ONLY)
    admission = bench.admission(is_required=True, has_users=False)
    with pytest.raises(errors.AccessDenied):
        admission.at_once(request(b"http://h/", b"GET", TO_PROXY + b"ann"), bench.record("proxy"))
    bench.anonymous, bench.now = ALLOWED, bench.now + 60
    assert admission.at_once(request(), bench.record("proxy")) is not None
    assert bench.claims == []


# --- What is told ---


def test_a_refusal() -> None:
    """It has what the rule says to the admin and to people."""
    bench = Bench(DENIED)
    with pytest.raises(errors.AccessDenied) as caught:
        bench.admission().at_once(request(), bench.record("proxy"))
    refusal = caught.value
    assert (refusal.rule, refusal.message, refusal.reason) == (
        "[rule night]",
        "Go to bed.",
        "it is night",
    )


@pytest.mark.parametrize("decision", [ALLOWED, DENIED])
def test_what_a_rule_reports(decision: Decision) -> None:
    """A rule that is tried out is noted, whatever is decided."""
    bench = Bench(replace(decision, reported="[rule trial]"))
    record = bench.record("proxy")
    try:
        bench.admission().at_once(request(), record)
    except errors.AccessDenied:
        assert decision is DENIED
    assert record.reported == "[rule trial]"


# --- What is asked ---


@pytest.mark.parametrize(
    ("service", "target", "method", "host", "port"),
    [
        ("proxy", b"http://EXAMPLE.com./", b"GET", "example.com", 80),
        ("proxy", b"https://[::1]:8443/", b"GET", "::1", 8443),
        ("tunnel", b"h:443", b"CONNECT", "h", 443),
        ("site", b"/a", b"PUT", "", 0),
        ("site", b"http://h/a", b"GET", "", 0),
        ("proxy", b"*", b"OPTIONS", "", 0),
    ],
)
def test_questions(service: str, target: bytes, method: bytes, host: str, port: int) -> None:
    """The judge is told what counts, and nothing of where the site is asked."""
    bench = Bench()
    verdict = bench.admission().at_once(request(target, method), bench.record(service))
    assert verdict is not None
    assert bench.questions == [Question(service, LAN, None, method, host, port)]
    assert verdict.question == bench.questions[0]


def test_each_kind_is_asked_once_a_minute() -> None:
    """Paths don't count; whatever a rule may look at does, and so does the time."""
    bench = Bench()
    admission = bench.admission(has_users=False)
    kinds = [(b"http://h/a",), (b"http://h/b",), (b"http://i/",), (b"http://h/", b"PUT")]
    for now, asked in [(600, 3), (659.99, 3), (660, 6), (700, 6), (599, 9)]:
        bench.now = now
        for _ in range(3):
            for kind in kinds:
                admission.at_once(request(*kind), bench.record("proxy"))
        assert len(bench.questions) == asked
    assert bench.minutes == [10] * 3 + [11] * 3 + [9] * 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose what is remembered, but neither how much nor how long a method."""
    monkeypatch.setattr(memory, "REMEMBERED", 10)
    bench = Bench()
    admission = bench.admission(has_users=False)
    for number in range(25):
        admission.at_once(request(b"http://h%d/" % number), bench.record("proxy"))
    assert repr(admission).endswith(" 5 verdicts remembered>")
    for _ in range(2):
        admission.at_once(request(b"http://h/", b"A" * 5000), bench.record("proxy"))
    assert repr(admission).endswith(" 5 verdicts remembered>")
    assert [len(each.method) for each in bench.questions[-2:]] == [LONGEST_METHOD] * 2
