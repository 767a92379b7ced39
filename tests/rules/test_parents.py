"""Parents: who is asked first, what goes to none of them, and what a name may be asked for."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.config.lists import Destinations
from proxyapp.rules import hops
from proxyapp.rules.guard import DestinationGuard
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.parents import (
    LONGEST_PAUSE,
    DirectHosts,
    Parent,
    Roster,
    Ways,
    literal_of,
)
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Origin

ONE, TWO, THREE = (Parent("http", f"{name}.example", 3128) for name in ("one", "two", "three"))
PARENTS = (ONE, TWO, THREE)
SECRET = Parent("https", "fd00::1", 3129, b"Basic c2VjcmV0")


# --- A parent ---


def test_a_parent_keeps_its_secret() -> None:
    """It has a name for people, an Origin under each scheme, and a line for itself alone."""
    assert SECRET.name == "[fd00::1]:3129"
    assert SECRET.where("parent") == Origin("parent", "fd00::1", 3129)
    assert SECRET.lines == (b"Proxy-Authorization: Basic c2VjcmV0",)
    assert ONE.lines == ()
    assert "c2VjcmV0" not in repr(SECRET)
    assert "c2VjcmV0" not in repr(Ways((SECRET,), DirectHosts(())))


# --- Their order ---


def test_who_fails_is_asked_last() -> None:
    """It keeps its place among those that failed, and has its own again when it answers."""
    roster = Roster((ONE, TWO, THREE))
    assert roster.order == (ONE, TWO, THREE)
    roster.failed(TWO)
    assert roster.order == (ONE, THREE, TWO)
    roster.failed(ONE)
    assert roster.order == (THREE, ONE, TWO)
    assert roster.is_passed_over(ONE)
    assert not roster.is_passed_over(THREE)
    roster.failed(THREE)
    assert roster.order == (ONE, TWO, THREE)
    roster.answered(TWO)
    assert roster.order == (TWO, ONE, THREE)
    roster.answered(ONE)
    roster.answered(THREE)
    assert roster.order == (ONE, TWO, THREE)


def test_pauses_grow() -> None:
    """Each failure in a row doubles the pause, up to the longest; an answer ends that."""
    roster = Roster((ONE,))
    assert [roster.failed(ONE) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    for _ in range(2000):
        assert roster.failed(ONE) == LONGEST_PAUSE
    roster.answered(ONE)
    assert roster.failed(ONE) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.sampled_from((ONE, TWO, THREE)))))
def test_nobody_is_lost(events: list[tuple[bool, Parent]]) -> None:
    """Whatever happens, everybody is in the order once, the well ones in front."""
    roster = Roster((ONE, TWO, THREE))
    for is_failure, parent in events:
        if is_failure:
            roster.failed(parent)
        else:
            roster.answered(parent)
        assert sorted(map(PARENTS.index, roster.order)) == [0, 1, 2]
        are_last = [roster.is_passed_over(each) for each in roster.order]
        assert are_last == sorted(are_last)


# --- What is direct ---

LISTED = (
    "intra.example",
    ".corp.example",
    "*.cam.example",
    "dev-*.example.net",
    "198.51.100.0/24",
    "2001:db8:7::1",
)


@pytest.mark.parametrize(
    "host",
    """
    example xintra.example www.intra.example intra.example.com acorp.example cam.example
    dev-.example.com dev.example.net 198.51.101.1 2001:db8:7::2 printer 10.0.0.1 127.0.0.1
    nas.local 198.51.100.0.example d\u00e9v-1.example.net
    """.split(),
)
def test_what_goes_to_a_parent(host: str) -> None:
    """Entries match whole names, and networks to the bit; what is private isn't listed here."""
    assert not DirectHosts(LISTED).has(host)
    assert not Ways((ONE,), DirectHosts(LISTED)).are_direct(host)


@pytest.mark.parametrize(
    "host",
    """
    intra.example corp.example www.corp.example a.b.corp.example 1.cam.example a.b.cam.example
    corp.example. 1.cam.example. dev-1.example.net dev-.example.net 198.51.100.0 198.51.100.255
    2001:db8:7::1
    """.split(),
)
def test_what_is_listed_is_direct(host: str) -> None:
    """Names, domains with all below, patterns, networks and addresses; also when asked again."""
    direct = DirectHosts(LISTED)
    assert direct.has(host)
    assert direct.has(host)


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("www.example", False),
        ("8.8.8.8", False),
        ("2001:db8::1", False),
        ("local.example", False),
        ("printer", True),
        ("nas.local", True),
        ("a.home.arpa", True),
        ("10.1.2.3", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("100.64.0.1", True),
        ("fd00::1", True),
        ("fe80::1", True),
        ("::ffff:10.0.0.1", True),
    ],
)
def test_private(host: str, is_private: bool) -> None:
    """The word stands for names and addresses that mean something in the LAN only."""
    assert DirectHosts(("private",)).has(host) is is_private


def test_the_memory_is_bounded() -> None:
    """A client that makes hosts up doesn't fill it."""
    direct = DirectHosts((".example",))
    for number in range(10_000):
        assert direct.has(f"h{number}.example")
    assert len(direct._memory) <= 4096


def test_ways_say_why() -> None:
    """The reason names who is asked, in the order, or the list; without parents all is direct."""
    ways = Ways((ONE, SECRET), DirectHosts((".corp.example",)))
    assert ways.reason("x.example") == (
        "it goes to the parent proxy one.example:3128, and if that fails to [fd00::1]:3129"
    )
    assert Ways((ONE,), DirectHosts(())).reason("x.example").endswith("one.example:3128")
    assert ways.reason("a.corp.example").startswith("[upstream] direct lists it")
    assert Ways((), DirectHosts(())).are_direct("x.example")


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("www.example", ""),
        ("localhost.example", ""),
        ("mylocalhost", ""),
        ("localhost", "127.0.0.1"),
        ("a.localhost", "127.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_literals(host: str, literal: str) -> None:
    """Addresses stand for themselves, and localhost for loopback, whoever looks it up."""
    assert literal_of(host) == literal


# --- Names, judged as names ---


@pytest.mark.parametrize(
    ("section", "host", "allowed"),
    [
        (Destinations(), "www.example", False),
        (Destinations(hosts=("files.corp",)), "www.example", False),
        (Destinations(hosts=("files.corp",)), "a.files.corp", False),
        (Destinations(networks=(ip_network("10.0.0.0/8"),)), "www.example", False),
        (Destinations(hosts=("files.corp",)), "files.corp", True),
        (Destinations(hosts=(".corp",)), "files.corp", True),
        (Destinations(public=True), "www.example", True),
        (Destinations(everything=True), "www.example", True),
    ],
)
def test_names_for_a_parent(section: Destinations, host: str, allowed: bool) -> None:
    """`public` lets names pass, which the parent judges by address; a list of hosts stays one."""
    guard = DestinationGuard(section, ())
    for _ in range(2):
        decision = guard.judge_name(host)
        assert decision.allowed is allowed
        assert decision.rule == "[access] destinations"
        assert decision.reason
    assert guard.remembered == 1


def test_names_and_addresses_are_remembered_apart() -> None:
    """What was said of a name says nothing of its address."""
    guard = DestinationGuard(Destinations(public=True), ())
    assert guard.judge_name("www.example").allowed
    assert not guard.judge("www.example", "10.0.0.1", frozenset()).allowed
    assert guard.judge("www.example", "198.41.0.4", frozenset()).allowed
    assert guard.judge_name("www.example").allowed


# --- The lines ---


def _head(*fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"GET", b"http://a.example/", 1, Fields(list(fields)))


def test_credentials_are_for_the_next_hop() -> None:
    """The parent gets ours in place of the client's, and nobody else gets any."""
    plain = hops.hop(b"px", Forwarding.OFF, b"")
    to_parent = hops.Hop(
        plain.pseudonym,
        plain.forwarding,
        plain.removed,
        plain.adds_client,
        plain.via,
        SECRET.lines,
    )
    asked = _head((b"Proxy-Authorization", b"Basic theirs"), (b"Accept", b"*/*"))
    straight = hops.request_lines(asked, b"a.example", "192.0.2.1", NO_BODY, plain)
    by_parent = hops.request_lines(asked, b"a.example", "192.0.2.1", NO_BODY, to_parent)
    assert straight == [b"Host: a.example", b"Accept: */*", b"Via: 1.1 px"]
    assert by_parent == [*straight, b"Proxy-Authorization: Basic c2VjcmV0"]


def test_connect_says_where_it_has_been() -> None:
    """Of the client's fields Via goes on, all of it, and ours behind it."""
    hop = hops.hop(b"px", Forwarding.FORWARDED, b"")
    fields = Fields(
        [(b"Via", b"1.1 a"), (b"Proxy-Authorization", b"x"), (b"via", b"1.0 b"), (b"Cookie", b"c")]
    )
    lines = hops.connect_lines(b"a.example:443", fields, hop)
    assert lines == [b"Host: a.example:443", b"Via: 1.1 a, 1.0 b", b"Via: 1.1 px"]
