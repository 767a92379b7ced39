"""Promises of proxyapp.proxy.upgrade: one https request out of four spellings, and no trace of it.

Clients and origins are played here; what is between them is the product.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from proxyapp import errors
from proxyapp.exchange import Reply, Request, claim_of
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.rules.domains import Domains
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.upgrade import Spellings
from proxyapp.rules.wayback import Cookies, Keeping
from proxyapp.wire.target import Origin
from tests.support import (
    KEEPING,
    OK,
    OK_PASSED_ON,
    MemoryTransport,
    RecordedReply,
    Stage,
    get,
    passed_on,
    request_of,
    response,
    script,
)

LISTED = Domains([b"listed.example", b".below.example"])
FIELD = (b"X-Real-Protocol", b"https")


class Nobody:
    """A responder that is never asked for anything."""

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        raise AssertionError(request)


def made() -> TlsUpgrade:
    """Return the responder with a listed host."""
    spellings = Spellings(b"x-real-protocol", LISTED)
    return TlsUpgrade(Nobody(), spellings, KEEPING, lambda host: True, lambda origin: False)


def asked(target: bytes, *lines: bytes) -> bytes:
    """Return a GET of *target* with field *lines*, and a Host that agrees."""
    host = target.split(b"/")[2]
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: " + host, *lines, b"", b""])


# All of them mean https://listed.example/a?b.
SPELLINGS = [
    asked(b"https://listed.example/a?b"),
    asked(b"http://HTTPS///listed.example/a?b"),
    asked(b"http://listed.example/a?b"),
    asked(b"http://listed.example/a?b", b"X-Real-Protocol: https"),
]
NAMES = ["URL", "prefix", "listed", "field"]


def passed(stage: Stage, said: bytes, answer: bytes = OK) -> tuple[bytes, bytes]:
    """Let a client say something; return what the origin hears of it, and the client in return."""
    client = stage.client()
    client.says(said)
    heard = stage.origin.all_heard()
    stage.origin.says(answer)
    return heard, client.all_heard()


# --- One request ---


def test_one_connection_for_all_spellings() -> None:
    """The origin hears the same request each time, on one connection; the log has one URL."""
    with script(upgrade_hosts=LISTED) as stage:
        stage.dialler.tls = "full"
        for said in SPELLINGS:
            heard, answered = passed(stage, said)
            assert heard == passed_on(b"/a?b", host=b"listed.example")
            assert answered == OK_PASSED_ON
        assert stage.dialler.asked == [Origin("https", "listed.example", 443)]
        assert [record.tls for record in stage.records] == ["full", "warm", "warm", "warm"]
        urls = [record.url or record.asked.target for record in stage.records]
        assert set(urls) == {b"https://listed.example/a?b"}


def test_canonical_requests_are_alike() -> None:
    """What else stands behind the canonical request, such as a cache, sees one target."""
    upgrade = made()
    targets = set()
    for said in SPELLINGS:
        target = said.split(b" ")[1]
        fields = [FIELD] if b"X-Real" in said else []
        targets.add(upgrade.canonical(request_of(target=target, fields=fields)).target)
    assert len(targets) == 1
    assert targets.pop().origin == Origin("https", "listed.example", 443)


def test_plain_requests_are_left_alone() -> None:
    """A request that asks for nothing stays the very same, however often it comes."""
    upgrade = made()
    for _ in range(3):
        for target in (b"http://a.example/", b"http://a.example:8080/x", b"https://a.example/"):
            request = request_of(target=target, fields=[(b"A", b"b")])
            assert upgrade.canonical(request) is request
    with_field = request_of(target=b"http://a.example/", fields=[FIELD])
    assert upgrade.canonical(with_field) is not with_field


def test_many_origins() -> None:
    """What is remembered of origins has a bound, and the answer stays the same past it."""
    upgrade = made()
    for number in range(5000):
        request = request_of(target=b"http://a%d.example/" % number)
        assert upgrade.canonical(request) is request
    assert len(vars(upgrade)["_left"]) <= 4096


@pytest.mark.parametrize("wanted", [b"", b"ftp", b"https, http", b"https https", b"\xe9"])
def test_unknown_protocols(wanted: bytes) -> None:
    """A field that names neither is the client's mistake, and ends this request alone."""
    with script() as stage:
        client = stage.client()
        client.says(get(b"/", b"X-Real-Protocol: " + wanted))
        assert client.all_heard().startswith(b"HTTP/1.1 400 ")
        assert stage.dialler.asked == []
        client.says(get(b"/", b"X-Real-Protocol: http"))
        stage.origin.hears(passed_on(b"/"))
        stage.origin.says(OK)
        client.hears(OK_PASSED_ON)


def test_the_gateway_itself() -> None:
    """Whoever adds the field to everything still reads the gateway's own pages."""
    with script(upgrade_hosts=Domains([b"*"])) as stage:
        for lines in ((), (b"X-Real-Protocol: https",)):
            heard, _ = passed(stage, get(b"/setup", *lines, host=b"own.example"))
            assert heard == passed_on(b"/setup", host=b"own.example")
        assert stage.dialler.asked == [Origin("http", "own.example", 80)]


@pytest.mark.parametrize("said", SPELLINGS, ids=NAMES)
def test_what_a_digest_covers(said: bytes) -> None:
    """RFC 7616 section 3.4.6: a client's response is about what it has sent, URL or path."""
    target = said.split(b" ")[1]
    claim = claim_of(made().canonical(request_of(target=target, fields=[FIELD])), b"authorization")
    _, _, rest = target.partition(b"://")
    assert {target, rest[rest.index(b"/") :]} <= set(claim.targets)


# --- Who may ---


@pytest.mark.parametrize("said", SPELLINGS, ids=NAMES)
def test_clients_that_may_not(said: bytes) -> None:
    """Who isn't in tls_upgrade_clients is told which option that is, and nothing is dialled."""
    with script(upgrade_hosts=LISTED, may_upgrade=False) as stage:
        client = stage.client()
        client.says(said)
        assert client.all_heard().startswith(b"HTTP/1.1 403 ")
        assert stage.dialler.asked == []
        (record,) = stage.records
        assert record.rule == "[proxy] tls_upgrade_clients"
        assert record.error == errors.AccessDenied.token


def test_plain_requests_need_no_permission() -> None:
    """Whoever asks for http gets http, with the field or without."""
    with script(may_upgrade=False) as stage:
        for lines in ((), (b"X-Real-Protocol: http",)):
            assert passed(stage, get(b"/", *lines)) == (passed_on(b"/"), OK_PASSED_ON)
        assert stage.dialler.asked == [Origin("http", "a.example", 80)]


@pytest.mark.parametrize("error", [errors.CertificateRejected("why"), errors.TlsFailed("why")])
@pytest.mark.parametrize("said", SPELLINGS, ids=NAMES)
def test_no_fall_back(said: bytes, error: errors.ExchangeError) -> None:
    """Where TLS fails the answer is 502, and nobody is asked in clear text."""
    with script(upgrade_hosts=LISTED) as stage:
        stage.dialler.refusals.append(error)
        client = stage.client()
        client.says(said)
        answer = client.all_heard()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert answer.endswith(b"why")
        assert {origin.scheme for origin in stage.dialler.asked} == {"https"}


# --- No trace ---


@pytest.mark.parametrize("said", SPELLINGS, ids=NAMES)
def test_nothing_tells_the_origin(said: bytes) -> None:
    """Neither the field nor a URL of the client's spelling reaches the origin."""
    prefix = said.split(b" ")[1].removesuffix(b"/a?b")
    tell_tale = [b"Referer: " + prefix + b"/x", b"Connection: X-Real-Protocol"]
    said = said.replace(b"\r\n\r\n", b"\r\n" + b"\r\n".join(tell_tale) + b"\r\n\r\n")
    with script(upgrade_hosts=LISTED, forwarding=Forwarding.FORWARDED) as stage:
        heard, _ = passed(stage, said)
    assert b"http://" not in heard
    assert b"real-protocol" not in heard.lower()
    assert b"\r\nReferer: https://listed.example/x\r\n" in heard
    assert b";proto=https\r\n" in heard


def test_the_field_of_plain_requests() -> None:
    """`X-Real-Protocol: http` asks for nothing, and reaches nobody either."""
    with script() as stage:
        assert passed(stage, get(b"/", b"X-Real-Protocol: http"))[0] == passed_on(b"/")


MOVED = response(
    b"302 Found",
    b"Location: https://listed.example/next",
    b"Strict-Transport-Security: max-age=9",
    b"Content-Length: 0",
)

LOCATIONS = [
    b"https://listed.example/next",
    b"http://HTTPS///listed.example/next",
    b"http://listed.example/next",
    b"http://listed.example/next",
]


@pytest.mark.parametrize(
    ("said", "location"),
    list(zip(SPELLINGS, LOCATIONS, strict=True)),
    ids=NAMES,
)
def test_redirects(said: bytes, location: bytes) -> None:
    """A redirect to the same host comes in the client's own spelling, time and again."""
    with script(upgrade_hosts=LISTED) as stage:
        for _ in range(2):
            _, answer = passed(stage, said, MOVED)
            assert b"\r\nLocation: %b\r\n" % location in answer
            is_url = location.startswith(b"https")
            assert (b"\r\nStrict-Transport-Security: " in answer) is is_url


def test_redirects_in_answers_of_every_kind() -> None:
    """Heads are rewritten before streams, switches and interim answers too."""
    location = b"Location: https://listed.example/next"
    rewritten = b"Location: http://listed.example/next"
    with script(upgrade_hosts=LISTED) as stage:
        said = asked(b"http://listed.example/")
        chunked = response(b"201 Created", location, b"Transfer-Encoding: chunked")
        link = response(b"103 Early Hints", b"Link: <https://listed.example/s.css>; rel=preload")
        client = stage.client()
        client.says(said)
        stage.origin.all_heard()
        stage.origin.says(link)
        assert b"\r\nLink: <http://listed.example/s.css>; rel=preload\r\n" in client.all_heard()
        stage.origin.says(chunked + b"2\r\nhi\r\n")
        assert rewritten in client.all_heard()
        stage.origin.says(b"0\r\n\r\n")
        client.hears(b"0\r\n\r\n")
        switch = [b"Connection: Upgrade", b"Upgrade: websocket"]
        client.says(asked(b"http://listed.example/", *switch))
        stage.origin.all_heard()
        stage.origin.says(response(b"101 Switching Protocols", location, *switch))
        assert rewritten in client.all_heard()
        stage.origin.says(b"frames")
        client.hears(b"frames")


@pytest.mark.parametrize(
    ("keeping", "cookie", "hsts"),
    [
        (KEEPING, b"Set-Cookie: a=b; Secure\r\n", False),
        (Keeping(Cookies.PLAIN, hsts=False), b"Set-Cookie: a=b\r\n", False),
        (Keeping(Cookies.DROP, hsts=True), b"", True),
    ],
)
def test_what_is_kept(keeping: Keeping, cookie: bytes, hsts: bool) -> None:
    """Cookies for TLS and orders to use it are kept or dropped as it is configured."""
    lines = [b"Set-Cookie: a=b; Secure", b"Strict-Transport-Security: max-age=9"]
    answer = response(b"200 OK", *lines, b"Content-Length: 0")
    with script(keeping=keeping) as stage:
        _, answered = passed(stage, get(b"/", b"X-Real-Protocol: https"), answer)
        _, direct = passed(stage, asked(b"https://a.example/"), answer)
    assert (cookie in answered, b"Set-Cookie" in answered) == (True, bool(cookie))
    assert (lines[1] in answered) is hsts
    assert all(line in direct for line in lines)


# --- At speed ---


def test_what_is_repeated_is_read_once() -> None:
    """The same fields give the same fields, so that all that follows from them is at hand."""
    passing: list[Request] = []

    class Witness:
        async def respond(self, request: Request, reply: Reply) -> None:
            """See Responder."""
            passing.append(request)

    spellings = Spellings(b"x-real-protocol", None)
    upgrade = TlsUpgrade(Witness(), spellings, KEEPING, lambda host: True, lambda origin: False)
    with script() as stage:
        request = upgrade.canonical(request_of(fields=[FIELD, (b"A", b"b")]))
        reply = stage_reply(stage)
        for asking in (request, replace(request), replace(request)):
            with pytest.raises(StopIteration):
                upgrade.respond(asking, reply).send(None)
    first, *others = passing
    assert all(other.head.fields is first.head.fields for other in others)
    assert list(first.head.fields.lines) == [b"A: b"]
    assert first.head.target == b"http://a.example/"


def stage_reply(stage: Stage) -> Reply:
    """Return a reply to nobody in particular."""
    return cast(Reply, RecordedReply(MemoryTransport(stage.clock)))
