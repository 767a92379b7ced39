"""Promises of proxyapp.rules.fetch: what the ini says about fetching, and how URLs are signed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from proxyapp import errors
from proxyapp.rules.domains import Domains
from proxyapp.rules.fetch import FetchRules, signature
from proxyapp.rules.fetchquery import parse_query, target_of

KEY = b"a key of sixteen characters"
RULES = FetchRules(
    allow=Domains([b"*"]),
    deny=None,
    ports=frozenset((8443,)),
    max_cache=3600.0,
    types=frozenset((b"text/plain", b"image/*")),
    sign_key=b"",
)
NOW = 1_000_000.0


def refusal(rules: FetchRules, url: bytes) -> str:
    """Return which rule refuses *url*, empty if none does."""
    origin = target_of(url).origin
    assert origin is not None
    try:
        rules.check_destination(origin)
    except errors.AccessDenied as error:
        assert error.rule in error.reason
        return error.rule
    return ""


@pytest.mark.parametrize(
    ("allow", "deny", "url", "rule"),
    [
        ([b"*"], [b"a.example"], b"http://a.example/", "[fetch] deny"),
        ([b"a.example"], [b".example"], b"http://a.example/", "[fetch] deny"),
        ([b"*"], [b"127.0.0.1"], b"http://[::ffff:127.0.0.1]/", "[fetch] deny"),
        ([b".example"], [], b"http://a.test/", "[fetch] allow"),
        ([b"a.example"], [], b"http://b.a.example/", "[fetch] allow"),
        ([], [], b"http://a.example/", "[fetch] allow"),
        ([b".example"], [b"b.example"], b"https://A.Example/", ""),
        ([b"*"], [], b"http://a.example./", ""),
    ],
)
def test_hosts(allow: list[bytes], deny: list[bytes], url: bytes, rule: str) -> None:
    """What is denied stays so, whatever is allowed; nothing is allowed by default of an entry."""
    given = Domains(allow) if allow else None
    rules = replace(RULES, allow=given, deny=Domains(deny) if deny else None)
    assert refusal(rules, url) == rule


@pytest.mark.parametrize(
    ("ports", "url", "rule"),
    [
        (frozenset((8443,)), b"http://a:22/", "[tunnel] ports"),
        (frozenset((8443,)), b"http://a:25/", "[tunnel] ports"),
        (frozenset[int](), b"https://a:8443/", "[tunnel] ports"),
        (frozenset[int](), b"http://a/", ""),
        (frozenset[int](), b"https://a/", ""),
        (frozenset((8443,)), b"https://a:8443/", ""),
        (None, b"http://a:22/", ""),
    ],
)
def test_ports(ports: frozenset[int] | None, url: bytes, rule: str) -> None:
    """Beside the two default ports there are those of tunnels."""
    assert refusal(replace(RULES, ports=ports), url) == rule


def check(rules: FetchRules, query: bytes, now: float = NOW) -> None:
    """Check the *query* for http://a/, which may have more parameters."""
    rules.check_query(parse_query(b"url=http://a/" + query), now)


def test_longest_time() -> None:
    """Nobody can have anything kept for ever."""
    check(RULES, b"&cache=60")
    with pytest.raises(errors.BadRequest, match="at most 60 minutes"):
        check(RULES, b"&cache=61")


@pytest.mark.parametrize(
    ("types", "wanted", "is_allowed"),
    [
        ((b"text/plain", b"image/*"), b"text/html", False),
        ((b"text/plain", b"image/*"), b"image/svg%2Bxml", False),
        ((b"image/*", b"image/svg+xml"), b"image/svg%2Bxml", True),
        ((), b"text/plain", False),
        ((b"text/*",), b"TEXT/HTML", True),
        ((b"*",), b"text/html;charset=utf-8", True),
        ((b"text/plain",), b"Text/Plain;charset=utf-8", True),
        ((b"image/*",), b"image/png", True),
    ],
)
def test_types(types: tuple[bytes, ...], wanted: bytes, is_allowed: bool) -> None:
    """Only what the ini lists may be asked for; a star leaves out what may hold scripts."""
    rules = replace(RULES, types=frozenset(types))
    if is_allowed:
        check(rules, b"&type=" + wanted)
        return
    with pytest.raises(errors.AccessDenied) as denied:
        check(rules, b"&type=" + wanted)
    assert denied.value.rule == "[fetch] types"


SIGNED = replace(RULES, sign_key=KEY)
EXPIRES = int(NOW) + 10
GOOD = signature(KEY, b"http://a/", EXPIRES)


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"&expires=%d" % EXPIRES,
        b"&signature=" + GOOD,
        b"&expires=%d&signature=" % EXPIRES,
        b"&expires=%d&signature=%b" % (EXPIRES + 1, GOOD),
        b"&expires=%d&signature=%b" % (EXPIRES, GOOD[:-1]),
        b"&expires=%d&signature=%b" % (EXPIRES, GOOD[::-1]),
        b"&expires=%d&signature=%b" % (EXPIRES, signature(b"another", b"http://a/", EXPIRES)),
        b"&expires=%d&signature=%b" % (EXPIRES, signature(KEY, b"http://b/", EXPIRES)),
        b"&expires=%d&signature=%%FF" % EXPIRES,
    ],
)
def test_wrong_signatures(query: bytes) -> None:
    """With a key, nothing is fetched that whoever has it didn't sign."""
    with pytest.raises(errors.AccessDenied) as denied:
        check(SIGNED, query)
    assert denied.value.rule == "[fetch] sign_key"
    assert GOOD.decode() not in denied.value.reason


def test_signatures_expire() -> None:
    """What is signed may be fetched up to its second, and no longer."""
    query = b"&expires=%d&signature=%b" % (EXPIRES, GOOD.upper())
    check(SIGNED, query, EXPIRES)
    with pytest.raises(errors.AccessDenied, match="expired"):
        check(SIGNED, query, EXPIRES + 1)


def test_signatures_are_not_asked_for() -> None:
    """Without a key, signed links go on working."""
    check(RULES, b"&expires=1&signature=anything")


def test_shell_signs_alike() -> None:
    """The recipe of the documentation gives the same signature with openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(
        [openssl, "dgst", "-sha256", "-hmac", KEY.decode(), "-r"],
        input=b"%d\n%b" % (EXPIRES, b"http://a/"),
        capture_output=True,
        check=True,
    )
    assert done.stdout.split()[0] == GOOD
